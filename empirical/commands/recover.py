"""finegrain recover: the hidden classes in every run of a recipe file, and how they were found."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from finegrain.theory.tools.console import cell, console, keeps, replaces, say
from finegrain.theory.tools.files import inside, to_json, writable_file, writable_folder, write_atomic

if TYPE_CHECKING:
    from finegrain.empirical.networks.recipe import Recipe

EXAMPLES = """
Examples:\n
  finegrain recover cifar --data images:PATH\n
  finegrain recover cifar_grid --data images:PATH --glance --json grid.json\n
"""


def recover(
    recipes: Annotated[
        Path, typer.Argument(help="As for train; a run that train has not finished is trained first.")
    ],
    data: Annotated[str, typer.Option(help="As for train.")],
    root: Annotated[Path | None, typer.Option(help="As for train.")] = None,
    out: Annotated[Path, typer.Option(help="Where train put its runs.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    glance: Annotated[
        bool, typer.Option(help="By view alone, from part of the training images, for many runs.")
    ] = False,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Training images that --glance takes, 10,000 by default, or all there are."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that cluster and probe.")] = 1,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Recipe, accuracy and what was recovered of every run, in one file."),
    ] = None,
) -> None:
    """Cluster, match and probe the representations of trained runs; write recovery.json beside each run.

    A run on fine labels is the baseline: its test accuracy alone is taken. A run that diverged is left out of the table
    and of FILE; the exit status then is 2.
    """
    # Torch and scikit-learn load here, not for --help.
    from finegrain.empirical.hidden_classes import report
    from finegrain.empirical.networks.recipe import read_recipes
    from finegrain.empirical.networks.training import Diverged
    from finegrain.empirical.readers.data import load
    from finegrain.empirical.readers.image_cache import default_folder

    if images is not None and not glance:
        raise ValueError("--images says how many a glance takes; add --glance, or leave it out")
    runs = read_recipes(recipes)
    # Refused before the work, not after.
    writable_folder(out)
    if json_file:
        writable_file(json_file)
    dataset = load(data, root, cache=default_folder(), progress=True)
    write, file = report.whole, "recovery.json"
    if glance:
        write, file = partial(report.glance, images=images or report.BESIDE), "glance.json"
    keeps(f"what was trained and recovered is kept in {out}, and the same command goes on from there")
    reports, diverged = [], []
    for name, recipe in runs:
        if untrained := _untrained(recipe, out / name):
            console.print(untrained, markup=False, highlight=False, soft_wrap=True)
        try:
            reports.append(write(recipe, dataset, inside(out, name), device=device, jobs=jobs, progress=True))
            say(f"written: {out / name / file}")
        except Diverged as error:
            say(f"{name}: {error}")
            diverged.append(name)
    console.print(_table(report.summary(reports), report.WAY, report.SCORES))
    if reports:
        say(_computed_in(reports))
    if json_file:
        replaces(json_file)
        write_atomic(json_file, to_json(report.together(reports)))
        say(f"written: {json_file}")
    if diverged:
        raise RuntimeError(f"{len(diverged)} of {len(runs)} runs diverged: {', '.join(diverged)}")


def _untrained(recipe: Recipe, folder: Path) -> str:
    """What is trained before anything is recovered, in one line; empty for a finished run."""
    due, found = len(recipe.checkpoints()), len(list((folder / "checkpoints").glob("*.safetensors")))
    if found == 0:
        return f"{folder}: no run there, so it is trained first, {recipe.epochs} epochs"
    return f"{folder}: {found} of {due} checkpoints, so training goes on first" if found < due else ""


def _computed_in(reports: list[dict[str, Any]]) -> str:
    """The precisions that trained the runs, that of their representations, and the processor."""
    from finegrain.sims.processor import in_words

    trained = ", ".join(sorted({r["precision"]["training"] for r in reports}))
    read = reports[0]["precision"]["representation"]
    kernels = in_words(reports[0]["environment"]["processor"])
    return f"computed in: training {trained}, representation {read}; {kernels}"


def _table(rows: list[dict[str, Any]], way: tuple[str, ...], scores: tuple[str, ...]) -> Table:
    """For a terminal of 80 columns: numbers keep their width, words are folded."""
    title = "hidden classes recovered, in % (± 95 % intervals over runs); the last column is a ratio"
    table = Table(title=title, box=SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column("map", overflow="fold")
    table.add_column("view, stages, method", overflow="fold")
    for column in (
        *("runs", "share\nmatched", "CLP", "oracle\nprobe"),
        *("CLP in\nclass", "oracle\nin\nclass", "CLP /\nfine-\ntrained"),
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        numbers = (_percent(row[n], row[f"{n} ±"]) for n in scores)
        ratio = f"{row['ratio']:.3f}" if row["ratio"] is not None else "-"
        table.add_row(
            cell(row["map"]), cell(", ".join(row[key] for key in way)), str(row["runs"]), *numbers, ratio
        )
    return table


def _percent(share: float, error: float) -> str:
    """In percent, its interval below it where there is one."""
    return f"{100 * share:.2f}" + ("" if math.isnan(error) else f"\n± {100 * error:.2f}")
