"""finegrain terms: a third level below the classes, in pixels and in trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from finegrain.theory.tools.console import cell, console, replaces, say

if TYPE_CHECKING:
    from finegrain.empirical.networks.representation import Features
    from finegrain.empirical.readers.data import Dataset

EXAMPLES = """
Examples:\n
  finegrain terms --data images:PATH --terms subtypes:PATH\n
  finegrain terms --data images:PATH --terms subtypes:PATH --run runs/cifar_long_labels-coarse_seed-0\n
"""


def terms(
    data: Annotated[str, typer.Option(help="images:PATH, as for train.")],
    terms: Annotated[
        str, typer.Option(help="subtypes:PATH, a csv or csv.xz: path and synset of each image.")
    ],
    run: Annotated[
        list[Path] | None,
        typer.Option(help="A run's folder, in which recover left its representation; repeatable."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where relative PATHs start.")] = None,
    least: Annotated[
        int | None, typer.Option(min=1, help=r"Training images that a term must have \[default: 250].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of clusterings and of chance.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="All rows, in one file.")] = None,
) -> None:
    """Within each class: do clusters follow the terms that images were found by, and does a linear probe name them?

    Of the pixels' principal components, and of each --run.
    """
    from finegrain.empirical.hidden_classes import study, third_level
    from finegrain.empirical.readers.data import load
    from finegrain.empirical.readers.image_cache import default_folder
    from finegrain.empirical.readers.subtypes import read_subtypes
    from finegrain.sims.run_folder import environment
    from finegrain.theory.tools.files import to_json, writable_file, write_atomic

    if json_file:
        writable_file(json_file)
    least = third_level.LEAST if least is None else least
    images = load(data, root, cache=default_folder(), progress=True)
    below = read_subtypes(terms, images, root)
    shown = {folder.name: _representation(folder, images) for folder in run or []}
    pixels = study.pixel_components(*(study.flat_pixels(x) for x in (images.train_x, images.test_x)))
    places = {f"{study.COMPONENTS} principal components of pixels": pixels} | shown
    found: dict[str, Any] = {}
    for place, (x, test_x) in places.items():
        rows = third_level.by_class(
            *(below, x, test_x, images.class_names), least=least, seed=seed, progress=True
        )
        found[place] = {"all": third_level.summary(rows), "classes": rows}
        console.print(_table(place, rows, found[place]["all"]))
    if json_file:
        replaces(json_file)
        record = {"least": least, "seed": seed, "environment": environment(), "places": found}
        write_atomic(json_file, to_json(record))
        say(f"written: {json_file}")


def _representation(folder: Path, data: Dataset) -> tuple[Features, Features]:
    """What `recover` wrote into a run's folder, once it is known to be of these images."""
    import numpy as np

    from finegrain.empirical.readers.array_files import read_whole

    file = folder / "representation.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"--run needs {file}, which finegrain recover writes: run it first")
    arrays = read_whole(file, "run")
    for split, fine in (("train", data.train_y), ("test", data.test_y)):
        if not np.array_equal(arrays.get(f"fine.{split}", np.empty(0)), fine):
            raise ValueError(f"{file} is not of these images: its {split} labels are others")
    return arrays["train.as is"], arrays["test.as is"]


def _table(place: str, rows: list[dict[str, Any]], whole: dict[str, Any]) -> Table:
    """For a terminal of 80 columns."""
    table = Table(title=cell(f"{place}: terms within each class"), box=SIMPLE, pad_edge=False)
    table.add_column("class", overflow="fold")
    methods = list(whole["ari"])
    for column in ("terms", *(f"{m}\nARI" for m in methods), "probe", "largest"):
        table.add_column(column, justify="right", overflow="fold")
    for row in [*rows, whole | {"class": "all", "terms": range(whole["terms"]), "chance": None}]:
        aris = (_index(row["ari"][m], row["chance"] and row["chance"][m]) for m in methods)
        table.add_row(
            cell(row["class"]),
            str(len(row["terms"])),
            *aris,
            _percent(row["probe"]),
            _percent(row["largest"]),
        )
    table.caption = "ARI: in brackets the 95 % quantile by chance. probe, largest: % of test images"
    return table


def _index(value: float, chance: float | None) -> str:
    return f"{value:.3f}" + ("" if chance is None else f" ({chance:.3f})")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
