"""finegrain figures: every figure and the report, recomputed where anything they are made from has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from finegrain.theory.tools.console import keeps, program, say, tracked
from finegrain.theory.tools.files import inside

EXAMPLES = """
Examples:\n
  finegrain figures                              all figures and report.html into figures/\n
  finegrain figures specialisation --out out     one figure, into out/\n
  finegrain figures --quick                      without the figures that take longest\n
  finegrain figures --seed 3                     other random draws\n
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
    from finegrain.paper_figs.gallery import changes, report
    from finegrain.paper_figs.gallery.order import PROOFS
    from finegrain.sims.run_folder import hold

    chosen = _chosen([*(names or []), *(only or [])], quick)
    if jobs == 0:
        raise ValueError("--jobs must be a number of processes, or -1 for one a core, got 0")
    steps = [(name, False) for name in chosen] + [(name, True) for name in PROOFS if name in chosen]
    keeps(f"finished figures are kept in {out}, and the same command goes on from there")
    with hold(out) as folder, hold(inside(out, "ledger")):
        made = _make(steps, folder, seed, jobs)
        figures, ledger = ([made[step] for step in steps if step[1] is proof] for proof in (False, True))
        page = report.write(folder, figures, ledger)
    if accept:
        changes.accept(figures)
        say(f"numbers committed to {changes.COMMITTED}")
    different = {f["name"]: len(changes.changes(f)) for f in figures}
    for name, count in different.items():
        if count:
            say(f"{name}: {count} numbers differ from the committed ones (see the report)")
    say(f"written: {page}")
    failed = [row["id"] for row in ledger if row["failure"]]
    if failed:
        raise RuntimeError(f"the proofs of {', '.join(failed)} failed; the report says why")


app = program(main, EXAMPLES)


def _chosen(asked: list[str], quick: bool) -> list[str]:
    from finegrain.paper_figs.gallery.order import NAMES, SLOW

    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        raise ValueError(f"figure names must be among {', '.join(NAMES)}; got {', '.join(unknown)}")
    return [name for name in asked or NAMES if not (quick and name in SLOW)]


def _make(steps: Steps, folder: Path, seed: int, jobs: int) -> dict[tuple[str, bool], dict[str, Any]]:
    """Every step's record; steps run side by side, one process each, unless there is only one to run."""
    import joblib

    from finegrain.sims import workers

    alone = len(steps) == 1 or jobs == 1
    work = (joblib.delayed(_step)(step, folder, seed, jobs if alone else 1) for step in steps)
    results = workers.results(workers.parallel(1 if alone else jobs, "generator_unordered"), work)
    made = {}
    for step, record, computed in tracked(results, "figures and proofs", total=len(steps), show=not alone):
        made[step] = record
        name, proof = step
        what = f"proof of {record['id']}" if proof else f"{name}: {record['claim']}"
        where = folder / "ledger" / f"{name}.json" if proof else folder / f"{name}.pdf, .png, .json"
        state = f"{record['seconds']} s" if computed else "unchanged"
        say(what)
        say(f"      {state}, written: {where}")
    return made


def _step(
    step: tuple[str, bool], folder: Path, seed: int, jobs: int
) -> tuple[tuple[str, bool], dict[str, Any], bool]:
    from finegrain.paper_figs.gallery import build

    name, proof = step
    record, computed = build.proof(name, folder) if proof else build.figure(name, folder, seed, jobs)
    return step, record, computed
