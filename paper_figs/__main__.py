"""python -m paper_figs: every figure and the report, recomputed where anything they are made from has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from theory.console import console, run, tracked
from theory.theorems import THEOREMS

PROOFS = tuple(module.__name__.rsplit(".", 1)[1] for module in THEOREMS)
NAMES = (
    "prediction_fashion_mnist",  # T13, recorded
    "prediction",  # T13, digits
    "prediction_over_seeds",  # T13, recorded
    "where_prediction_breaks",  # T13, recorded
    "erosion_on_images",  # T8, recorded
    "cifar_course",  # recorded
    "cifar_course_resnet18",  # recorded
    "cifar_structure",  # recorded
    "cifar_grid",  # recorded
    "cifar_networks",  # recorded
    "sweep",  # T7 through the sweep engine
    *PROOFS,  # one a theorem
)
SLOW = ("specialisation", "erosion", "end_state", "crossover")  # seven seconds and more on a core, each

EXAMPLES = """
Examples:\n
  python -m paper_figs                              all figures and report.html into figures/\n
  python -m paper_figs specialisation --out out     one figure, into out/\n
  python -m paper_figs --quick                      without the figures that take longest\n
  python -m paper_figs --seed 3                     other random draws\n
"""

Steps = list[tuple[str, bool]]  # name, and whether it is a proof


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Some figures, such as specialisation; all by default.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="The same as an option; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the figures that take longest.")] = False,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("figures"),
    seed: Annotated[int, typer.Option(min=0, help="First seed of the random draws.")] = 0,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1 for one a core.")] = -1,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="Keep these numbers in the package, for later runs to be compared with."
        ),
    ] = False,
) -> None:
    """Compute and draw figures: NAME.pdf, NAME.png, NAME.json (the numbers), and report.html over these."""
    from paper_figs import changes, report
    from sims.run_folder import hold

    chosen = _chosen([*(names or []), *(only or [])], quick)
    if jobs == 0:
        raise ValueError("--jobs must be a number of processes, or -1 for one a core, got 0")
    steps = [(name, False) for name in chosen] + [(name, True) for name in PROOFS if name in chosen]
    with hold(out) as folder, hold(out / "ledger"):
        made = _make(steps, folder, seed, jobs)
        figures, ledger = ([made[step] for step in steps if step[1] is proof] for proof in (False, True))
        page = report.write(folder, figures, ledger)
    if accept:
        changes.accept(figures)
        console.print(f"numbers committed to {changes.COMMITTED}", soft_wrap=True)
    different = {f["name"]: len(changes.changes(f)) for f in figures}
    for name, count in different.items():
        if count:
            console.print(f"{name}: {count} numbers differ from the committed ones (see the report)")
    console.print(f"written: {page}", soft_wrap=True)
    failed = [row["id"] for row in ledger if row["failure"]]
    if failed:
        raise RuntimeError(f"the proofs of {', '.join(failed)} failed; the report says why")


def _chosen(asked: list[str], quick: bool) -> list[str]:
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        raise ValueError(f"figure names must be among {', '.join(NAMES)}; got {', '.join(unknown)}")
    return [name for name in asked or NAMES if not (quick and name in SLOW)]


def _make(steps: Steps, folder: Path, seed: int, jobs: int) -> dict[tuple[str, bool], dict[str, Any]]:
    """Every step's record; steps run side by side, one process each, unless there is only one to run."""
    import joblib

    alone = len(steps) == 1 or jobs == 1
    work = (joblib.delayed(_step)(step, folder, seed, jobs if alone else 1) for step in steps)
    results = joblib.Parallel(n_jobs=1 if alone else jobs, return_as="generator_unordered")(work)
    made = {}
    for step, record, computed in tracked(results, "figures and proofs", total=len(steps), show=not alone):
        made[step] = record
        name, proof = step
        what = f"proof of {record['id']}" if proof else f"{name}: {record['claim']}"
        where = folder / "ledger" / f"{name}.json" if proof else folder / f"{name}.pdf, .png, .json"
        state = f"{record['seconds']} s" if computed else "unchanged"
        console.print(
            f"{what}\n      {state}, written: {where}", markup=False, highlight=False, soft_wrap=True
        )
    return made


def _step(
    step: tuple[str, bool], folder: Path, seed: int, jobs: int
) -> tuple[tuple[str, bool], dict[str, Any], bool]:
    from paper_figs import build

    name, proof = step
    record, computed = build.proof(name, folder) if proof else build.figure(name, folder, seed, jobs)
    return step, record, computed


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=EXAMPLES)(main)
    run(app)
