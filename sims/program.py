"""finegrain sims: what theory predicts beside what gradient flow gives; sweeps of flows and their plots."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from finegrain.theory.tools.console import console, keeps, replaces, say, tracked
from finegrain.theory.tools.files import to_json, writable_file, writable_folder, write_atomic

if TYPE_CHECKING:
    from finegrain.sims.theorems.comparison import Comparison

EXAMPLES = """
Examples:\n
  finegrain sims verify                          every theorem, predicted against observed\n
  finegrain sims verify --theorem T7 --seed 5    one theorem on another draw\n
  finegrain sims verify --draws 10               ten fresh draws of each\n
  finegrain sims verify --json verify.json       the rows as a file\n
  finegrain sims sweep scales.toml --out scales  every point of a grid; run again, it resumes (docs/sims.md)\n
  finegrain sims plot scales/sweep.csv --x eps --y separation --hue S
"""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="What theory predicts beside what gradient flow gives; sweeps of flows and their plots.",
    epilog=EXAMPLES,
)


@app.callback()
def _program() -> None:
    """Gradient flow simulations of the theorems."""


@app.command(epilog=EXAMPLES)
def verify(
    theorem: Annotated[str | None, typer.Option(help="One theorem, such as T7; all by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first draw.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Draws of each theorem, at consecutive seeds.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
) -> None:
    """Predicted, observed, relative error and its bound; exit status 1 if an error exceeds its bound."""
    from finegrain.sims.run_folder import environment
    from finegrain.theory import ledger

    if json_file:
        writable_file(json_file)
    draws_asked = [(m, s) for m in ledger.choose(theorem) for s in range(seed, seed + draws)]
    bar = tracked(draws_asked, "verify", total=len(draws_asked))
    rows = [row for module, s in bar for row in _observed(module).verify(s)]
    console.print(_table(rows))
    if json_file:
        report = {
            "seed": seed,
            "draws": draws,
            "rows": [row.row() for row in rows],
            "environment": environment(),
        }
        replaces(json_file)
        write_atomic(json_file, to_json(report))
        say(f"rows written to {json_file}")
    if not all(row.holds for row in rows):
        raise typer.Exit(1)


@app.command("sweep", epilog=EXAMPLES)
def run_sweep(
    config: Annotated[Path, typer.Argument(help="TOML with times, and a table grid or tables points.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs and of sweep.csv.")] = Path("runs/sweep"),
    jobs: Annotated[int, typer.Option(help="Processes; -1 for one a core.")] = -1,
    backend: Annotated[str, typer.Option(help="loky, processes on this machine, or dask.")] = "loky",
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler; implies dask.")] = None,
) -> None:
    """Run every point that is not finished yet and write one table, OUT/sweep.csv."""
    from finegrain.sims.sweeps.sweep import sweep

    keeps(f"finished points are kept in {out}, and the same command goes on from there")
    table = sweep(config, out, jobs=jobs, backend=backend, scheduler=scheduler, progress=True)
    say(f"{len(table)} rows written to {out / 'sweep.csv'}")


@app.command(epilog=EXAMPLES)
def plot(
    result: Annotated[Path, typer.Argument(help="A sweep.csv.")],
    x: Annotated[str, typer.Option(help="Column along the horizontal axis.")],
    y: Annotated[str, typer.Option(help="Column along the vertical axis.")],
    hue: Annotated[str | None, typer.Option(help="Column that colours tell apart.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Rows to keep, as COLUMN=VALUE; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("figures"),
) -> None:
    """Log-log plot of a sweep with the fitted slopes, and theory's line where it has one; PDF and PNG."""
    from finegrain.sims.plotting import save
    from finegrain.sims.sweeps import plot as sweep_plot
    from finegrain.sims.sweeps.sweep import read_table

    writable_folder(out)  # refused before the work, not after
    fits = sweep_plot.fits(read_table(result), x, y, hue, sweep_plot.conditions(where or []))
    for fit in fits:
        say(fit.report())
    paths = save(sweep_plot.draw(fits, x, y), out, f"{y}_against_{x}")
    say("written: " + ", ".join(map(str, paths)))


def _observed(module: ModuleType) -> ModuleType:
    """A theorem's simulated counterpart: the file of its name in this folder."""
    return import_module(f"finegrain.sims.theorems.{module.__name__.rsplit('.', 1)[1]}")


def _table(rows: list[Comparison]) -> Table:
    table = Table(title="predicted against observed")
    table.add_column("theorem")
    table.add_column("quantity, and where its bound comes from", ratio=1)
    for column in ("predicted", "observed", "error", "bound"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        error = f"{row.error:.1e}" if row.holds else f"[bold red]{row.error:.1e}[/]"
        # Below the bound, how many times the error it is.
        bound = f"{row.bound:.1e}\n[dim]{row.slack:.2g} x[/]"
        cells = (f"{row.predicted:.6g}", f"{row.observed:.6g}", error, bound)
        table.add_row(row.theorem, f"{escape(row.quantity)}\n[dim]{escape(row.reason)}[/]", *cells)
    return table
