"""finegrain measure: every observable of your own features or model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from finegrain.theory.tools.console import cell, console, replaces, say

if TYPE_CHECKING:
    from finegrain.empirical.measurement.measure import Measurement

EXAMPLES = """
Examples:\n
  finegrain measure features.npz --coarse-map 0,0,1,1\n
  finegrain measure x.npy --labels y.npy --coarse-map coarse.json --out runs/mine\n
  finegrain measure --model mine.py:build --layer layer4 --num-classes 10\n
  torchrun --nproc-per-node 4 -m finegrain measure shard-*.safetensors --covariance pooled\n
"""


def measure(
    features: Annotated[
        list[str] | None,
        typer.Argument(help="Shards: .npy, .npz, .safetensors, .csv or .parquet, FILE or FILE:NAME."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(help=r"One a shard, in order (repeat the option) \[default: in the same file]."),
    ] = None,
    coarse_map: Annotated[
        str | None,
        typer.Option(
            help="mod, halves, random:SEED, a list 0,1,0,1, or FILE.json: class name -> coarse name."
        ),
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="File of the last layer's weight and bias, for NC3 and NC4.")
    ] = None,
    covariance: Annotated[
        str, typer.Option(help="full, pooled or diagonal: what is kept of each class.")
    ] = "full",
    groups: Annotated[
        int | None,
        typer.Option(min=1, help=r"Of the jackknife; 1: no intervals \[default: 20, or what fits in 1 GiB]."),
    ] = None,
    level: Annotated[float, typer.Option(help="Of the confidence intervals, in (0, 1).")] = 0.95,
    model: Annotated[
        str | None, typer.Option(help="FILE.py:FUNCTION that returns a torch model and its data loader.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Of the model, as in named_modules().")] = None,
    of: Annotated[str, typer.Option(help="With --model: output or input of the layer.")] = "output",
    reduce: Annotated[
        str, typer.Option(help="With --model: of positions, mean, max, cls (first), last or flatten.")
    ] = "mean",
    axes: Annotated[
        str | None,
        typer.Option(help="With --model: the layout where it cannot be known, such as NHWC or TNC."),
    ] = None,
    call: Annotated[
        int | None, typer.Option(help="With --model: which call, from 0, of a layer that runs several times.")
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help=r"Of the loader's labels \[default: those of a listed map].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/measure"),
) -> None:
    """Every observable of your own features, with confidence intervals, a figure sheet and a JSON."""
    from finegrain.empirical import distributed
    from finegrain.empirical.measurement import measure
    from finegrain.empirical.readers.hooks import model_batches
    from finegrain.sims.processor import in_words, processor
    from finegrain.theory.tools.files import writable_file, writable_folder

    if bool(features) == bool(model):
        raise ValueError("measure needs files of features, or --model with --layer, and not both")
    of_model = {"of": of, "reduce": reduce, "axes": axes, "call": call}
    folder = writable_folder(out)
    writable_file(folder / "measure.json")  # refused before the work, not after
    result = measure.measure(
        features or model_batches(str(model), layer, **of_model),
        labels or None,
        coarse_map=coarse_map,
        num_classes=num_classes,
        classifier=classifier,
        covariance=covariance,
        groups=groups,
        level=level,
        progress=True,
    )
    if distributed.rank_and_size()[0]:  # the first process alone writes
        return
    paths = _write(result, folder)
    console.print(_table(result))
    for note in result.notes:
        say(f"note: {note}")
    used = result.precision
    say(f"computed in: {used['features']} features, {used['sums']} sums; {in_words(processor())}")
    say("written: " + ", ".join(str(p) for p in paths))


def _write(result: Measurement, folder: Path) -> list[Path]:
    """Write the report and the figure sheet; returns the paths of the files."""
    from finegrain.empirical.measurement.figure import draw
    from finegrain.sims.plotting import save
    from finegrain.sims.run_folder import hold
    from finegrain.theory.tools.files import to_json, write_atomic

    title = (
        f"{result.counts.sum():,} samples, {len(result.class_names)} classes, {result.moments.dim} dimensions"
    )
    with hold(folder, wait=True):  # the files of two processes are not mixed
        replaces(folder / "measure.json")
        write_atomic(folder / "measure.json", to_json(result.report()))
        return [folder / "measure.json", *save(draw(result, title), folder, "measure")]


def _table(result: Measurement) -> Table:
    table = Table(title=f"observables, {100 * result.level:g} % confidence intervals")
    for column in ("observable", "value", "low", "high"):
        table.add_column(column, justify="left" if column == "observable" else "right", overflow="fold")
    for name, estimate in result.scalars.items():
        numbers = (estimate.value, estimate.low, estimate.high)
        table.add_row(cell(name), *("-" if math.isnan(x) else f"{x:.4g}" for x in numbers))
    return table
