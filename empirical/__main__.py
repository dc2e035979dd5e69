"""python -m empirical: real images with coarse labels, and what theory predicts for a network trained on them."""

from __future__ import annotations

import typer

from empirical import discover_command, measure_command, predict_command, recover_command, train_command
from theory.console import run

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help=__doc__,
    epilog=predict_command.EXAMPLES + measure_command.EXAMPLES.removeprefix("\nExamples:\n\n"),
)


@app.callback()
def _program() -> None:
    """Real images with coarse labels."""


app.command("predict", epilog=predict_command.EXAMPLES)(predict_command.predict)
app.command("measure", epilog=measure_command.EXAMPLES)(measure_command.measure)
app.command("discover", epilog=discover_command.EXAMPLES)(discover_command.discover)
app.command("train", epilog=train_command.EXAMPLES)(train_command.train)
app.command("recover", epilog=recover_command.EXAMPLES)(recover_command.recover)


if __name__ == "__main__":
    run(app)
