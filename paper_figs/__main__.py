"""python -m paper_figs: every figure, recomputed and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theory.console import console, run
from theory.theorems import THEOREMS

NAMES = (
    "prediction_fashion_mnist",  # T13, recorded
    "prediction",  # T13, digits
    *(module.__name__.rsplit(".", 1)[1] for module in THEOREMS),  # one a theorem
)

EXAMPLES = """
Examples:\n
  python -m paper_figs                              all figures into figures/\n
  python -m paper_figs specialisation --out out     one figure, into out/\n
  python -m paper_figs --seed 3                     other random draws\n
"""


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Some figures, such as specialisation; all by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("figures"),
    seed: Annotated[int, typer.Option(min=0, help="First seed of the random draws.")] = 0,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1 for one a core.")] = -1,
) -> None:
    """Compute each figure's numbers, draw it, and write NAME.pdf, NAME.png and NAME.json (the numbers)."""
    from importlib import import_module

    from sims.plotting import save
    from sims.run_folder import environment
    from theory.files import to_json, writable_folder, write_atomic

    chosen = list(names or NAMES)
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        raise ValueError(f"figure names must be among {', '.join(NAMES)}; got {', '.join(unknown)}")
    if jobs == 0:
        raise ValueError("--jobs must be a number of processes, or -1 for one a core, got 0")
    folder = writable_folder(out)
    for i, name in enumerate(chosen, 1):
        figure = import_module(f"paper_figs.{name}")
        console.print(f"[{i}/{len(chosen)}] {name}: {figure.CLAIM}", markup=False, highlight=False)
        numbers = figure.compute(jobs, seed)
        record = {"claim": figure.CLAIM, "seed": seed, "numbers": numbers, "environment": environment()}
        write_atomic(folder / f"{name}.json", to_json(record))
        paths = [*save(figure.draw(numbers), folder, name), folder / f"{name}.json"]
        console.print("      written: " + ", ".join(map(str, paths)), soft_wrap=True)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=EXAMPLES)(main)
    run(app)
