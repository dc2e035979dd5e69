"""finegrain COMMAND ...: every program of the package under one name; only the one that runs loads its libraries."""

from __future__ import annotations

from typing import Annotated

import typer

import finegrain
from finegrain.empirical import commands
from finegrain.paper_figs import program as figures
from finegrain.sims import program as sims
from finegrain.theory import program as theory
from finegrain.theory.tools.console import run

EXAMPLES = """
Examples:\n
  finegrain theory --theorem T7                         a theorem, its proof run as you watch\n
  finegrain sims verify                                 predicted against observed, on fresh random draws\n
  finegrain predict --data digits                       theory against a network trained on real images\n
  finegrain measure features.npz --coarse-map 0,0,1,1   every observable of your own features\n
  finegrain discover --data digits                      hidden subclasses that no label names\n
  finegrain train cifar --data images:PATH             coarse CIFAR; then the same with recover\n
  finegrain figures                                     every figure and the report
"""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="See, prove and measure the fine-grained structure that hides behind neural collapse.",
    epilog=EXAMPLES,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"finegrain {finegrain.__version__}")
        raise typer.Exit


@app.callback()
def _finegrain(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Theory, simulation and real networks."""


app.command("theory", epilog=theory.EXAMPLES)(theory.main)
app.add_typer(sims.app, name="sims")
for name, command, examples in commands.COMMANDS:
    app.command(name, epilog=examples)(command)
app.command("figures", epilog=figures.EXAMPLES)(figures.main)


def main() -> None:
    """The program `finegrain`."""
    run(app)
