"""python -m finegrain.empirical COMMAND: the same as finegrain COMMAND, for the commands of this folder."""

import typer

from finegrain.empirical.commands import COMMANDS
from finegrain.theory.tools.console import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
for name, command, examples in COMMANDS:
    app.command(name, epilog=examples)(command)

if __name__ == "__main__":
    run(app)
