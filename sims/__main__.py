"""python -m sims: what theory predicts beside what gradient flow gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sims import collapse_of_scale, invisible_subspace, specialisation
from sims.comparison import Comparison
from sims.run_folder import environment, write_atomic
from theory.console import console, run, tracked

VERIFIED = {"T3": invisible_subspace, "T4": collapse_of_scale, "T7": specialisation}

EXAMPLES = """
Examples:\n
  python -m sims verify                          every theorem, predicted against observed\n
  python -m sims verify --theorem T7 --seed 5    one theorem on another draw\n
  python -m sims verify --json verify.json       the rows as a file
"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help=__doc__, epilog=EXAMPLES
)


@app.callback()
def _program() -> None:
    """Gradient flow simulations of the theorems."""


@app.command(epilog=EXAMPLES)
def verify(
    theorem: Annotated[str | None, typer.Option(help="One theorem, such as T7; all by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random draws.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
) -> None:
    """Predicted, observed, relative error and its bound; exit status 1 if an error exceeds its bound."""
    if theorem is not None and theorem.upper() not in VERIFIED:
        raise ValueError(f"--theorem must be one of {', '.join(VERIFIED)}; got {theorem!r}")
    chosen = {k: v for k, v in VERIFIED.items() if theorem is None or k == theorem.upper()}
    rows = [row for m in tracked(chosen.values(), "verify", total=len(chosen)) for row in m.verify(seed)]
    console.print(_table(rows))
    if json_file:
        report = {"seed": seed, "rows": [row.row() for row in rows], "environment": environment()}
        write_atomic(json_file, json.dumps(report, indent=1))
        console.print(f"rows written to {json_file}")
    if not all(row.holds for row in rows):
        raise typer.Exit(1)


def _table(rows: list[Comparison]) -> Table:
    table = Table(title="predicted against observed")
    table.add_column("theorem")
    table.add_column("quantity, and where its bound comes from", ratio=1)
    for column in ("predicted", "observed", "error", "bound"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        error = f"{row.error:.1e}" if row.holds else f"[bold red]{row.error:.1e}[/]"
        cells = (f"{row.predicted:.6g}", f"{row.observed:.6g}", error, f"{row.bound:.1e}")
        table.add_row(row.theorem, f"{row.quantity}\n[dim]{row.reason}[/]", *cells)
    return table


if __name__ == "__main__":
    run(app)
