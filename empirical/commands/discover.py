"""finegrain discover: subclasses that nobody named, in features of your own or of a small trained network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from finegrain.theory.tools import checks
from finegrain.theory.tools.console import cell, console, replaces, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finegrain.empirical.hidden_classes.discover import Discovery

EXAMPLES = """
Examples:\n
  finegrain discover --data digits --map mod\n
  finegrain discover --features features.npz --classifier head.npz --images images.npy\n
  finegrain discover --features x.npy --labels y.npy --level 0.01 --out runs/mine\n
  finegrain discover --features x.npz --predictions predicted.npy   does a stratum fail?\n
"""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Features (N, D) and coarse labels (N,) with their names, and what else is at hand.

    Weights (K, D), images, fine labels (N,), predicted coarse labels (N,).
    """

    features: NDArray[Any]
    coarse: NDArray[Any]
    names: list[str] | None = None
    classifier: NDArray[Any] | None = None
    images: NDArray[Any] | None = None
    fine: NDArray[np.int64] | None = None
    predictions: NDArray[Any] | None = None


def discover(
    features: Annotated[
        str | None,
        typer.Option(help=".npy, .npz, .safetensors, .csv or .parquet, FILE or FILE:NAME."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help=r"Coarse labels, numbers or text \[default: in the same file].")
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(help=r"FILE or FILE:NAME, weights (K, D) of the last layer \[default: class means]."),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="FILE or FILE:NAME, images (N, H, W) or (N, H, W, 3), for the sheet.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Instead of features: digits, fashion-mnist, mnist, images:PATH, cifar10:PATH or cifar100:PATH."
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the IDX files; where a relative PATH of --data starts.")
    ] = None,
    map_: Annotated[str, typer.Option("--map", help="With --data: the coarse labels to train on.")] = "mod",
    width: Annotated[int, typer.Option(min=1, help="With --data: neurons.")] = 256,
    steps: Annotated[int, typer.Option(min=1, help="With --data: descent steps.")] = 1200,
    predictions: Annotated[
        str | None,
        typer.Option(help="FILE or FILE:NAME, predicted coarse labels (N,): the error of each stratum."),
    ] = None,
    level: Annotated[float, typer.Option(help="Chance of structure found where there is none.")] = 0.05,
    most: Annotated[int, typer.Option(min=1, help="Subclasses of a class, at most.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of random halves and starts, and of the network.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes over classes; -1 for one a core.")] = 1,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/discover"),
    stray_files: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """For each class: is there hidden structure, how many subclasses, which samples, how sure?

    With --data a two-layer network is trained on the coarse labels, and the fine ones only say how many were right.
    """
    from finegrain.empirical.hidden_classes import discover
    from finegrain.empirical.hidden_classes.discovered_files import write
    from finegrain.sims.run_folder import environment, hold
    from finegrain.theory.tools.files import writable_folder

    if stray_files:
        raise ValueError(f"discover takes its files by name: write --features {stray_files[0]}")
    if (features is None) == (data is None):
        raise ValueError("discover needs --features or --data, and not both")
    of_features = {"--labels": labels, "--classifier": classifier, "--images": images}
    of_features["--predictions"] = predictions
    other, unread = ("--data", {"--root": root}) if data is None else ("--features", of_features)
    stray = [name for name, value in unread.items() if value is not None]
    if stray:
        raise ValueError(f"discover without {other} does not read {', '.join(stray)}: leave it out")
    folder = writable_folder(out)
    details: dict[str, Any] = {"seed": seed, "environment": environment()}
    if features is not None:
        given = _from_files(features, labels, classifier, images, predictions)
    else:
        given, details["coarse_test_accuracy"] = _from_training(str(data), root, map_, width, steps, seed)
    taught = given.features, given.coarse, given.classifier
    found = discover.discover(*taught, level=level, most=most, seed=seed, jobs=jobs, progress=True)
    if given.names is not None:
        found = replace(found, class_names=given.names)
    if given.predictions is not None:
        details["errors"] = found.errors(_as_classes(given.predictions, found.class_names))
    if given.fine is not None:
        details["right"] = _right(found, given.fine)
    with hold(folder, wait=True):  # the files of two processes are not mixed
        replaces(folder / "discovery.json")
        paths = write(found, folder, **details)
        if given.images is not None:
            from finegrain.empirical.hidden_classes.contact_sheet import draw
            from finegrain.sims.plotting import save

            paths += save(draw(found, given.images), folder, "contact_sheet")
    console.print(_table(found, details.get("right")))
    _say_more(found, details)
    say("written: " + ", ".join(str(p) for p in paths))


def _from_files(
    features: str, labels: str | None, classifier: str | None, images: str | None, predictions: str | None
) -> Inputs:
    import numpy as np

    from finegrain.empirical.hidden_classes.contact_sheet import check_images
    from finegrain.empirical.readers.classifier import read_linear
    from finegrain.empirical.readers.labelled_stream import labelled_stream

    stream = labelled_stream(features, labels)
    batches = list(stream.batches)
    for note in stream.notes:
        say(f"note: {note}")
    coarse = np.concatenate([y for _, y in batches])
    pictures = None if images is None else _images(images)
    if pictures is not None:
        check_images(pictures, len(coarse))  # refused before the work
    predicted = None if predictions is None else _one_array(predictions, "predictions", axes=1)
    if predicted is not None:
        checks.shape("predictions", predicted, (len(coarse),))
        _as_classes(predicted, stream.class_names)
    weights = None if classifier is None else read_linear(classifier)[0]
    x = np.concatenate([x for x, _ in batches])
    return Inputs(x, coarse, stream.class_names, weights, pictures, predictions=predicted)


def _as_classes(predicted: NDArray[Any], names: list[str]) -> NDArray[np.int64]:
    """The number of each predicted class, given by number or by name."""
    import numpy as np

    known, inverse = np.unique(predicted, return_inverse=True)
    stray = [str(value) for value in known if str(value) not in names]
    if stray:
        raise ValueError(f"predictions must be of the classes {', '.join(names[:8])}; got {stray[0]}")
    return np.array([names.index(str(value)) for value in known])[inverse]


def _images(spec: str) -> NDArray[Any]:
    """The array of FILE:NAME, or of FILE the only one, or the only one with axes for pixels."""
    return _one_array(spec, "images", axes=3)


def _one_array(spec: str, what: str, axes: int) -> NDArray[Any]:
    """The array of FILE:NAME, or of FILE the only one, or the only one of so many axes or, of pictures, more."""
    from finegrain.empirical.readers.array_files import read_whole, split_spec

    file, wanted = split_spec(spec)
    arrays = read_whole(file, what)
    fitting = [
        key
        for key, array in arrays.items()
        if (key == wanted if wanted else array.ndim == axes or array.ndim > axes > 2)
    ]
    if wanted is None and len(arrays) == 1:
        fitting = list(arrays)
    if len(fitting) != 1:
        raise ValueError(
            f"{what} must name one array as FILE:NAME, of {', '.join(sorted(arrays))}; got {spec}"
        )
    return arrays[fitting[0]]


def _from_training(
    data: str, root: Path | None, map_: str, width: int, steps: int, seed: int
) -> tuple[Inputs, float]:
    from finegrain.empirical.networks.coarse_network import train_on_coarse_labels
    from finegrain.empirical.readers.data import load
    from finegrain.empirical.readers.image_cache import default_folder

    images = load(data, root, cache=default_folder(), progress=True)
    network = train_on_coarse_labels(images, map_, width=width, steps=steps, seed=seed, progress=True)
    taught = network.features, network.coarse, network.coarse_names, network.classifier
    return Inputs(*taught, images.train_x, images.train_y), network.test_accuracy


def _right(found: Discovery, fine: NDArray[np.int64]) -> dict[str, Any]:
    from finegrain.empirical.hidden_classes.score import match

    named = match(found.clusters, found.coarse, fine)
    return {"share": named.share, "share_by_class": named.share_by_class.tolist()}


def _table(found: Discovery, right: dict[str, Any] | None) -> Table:
    title = f"hidden structure at level {found.level:g}" + (
        "" if right is None else f", {right['share']:.1%} right"
    )
    table = Table(title=title)
    columns = ("class", "samples", "subclasses", "p-value", "surely", "sizes", "confidence")
    for column in (*columns, *(["right"] if right else [])):
        table.add_column(column, justify="left" if column == "class" else "right", overflow="fold")
    for k, entry in enumerate(found.report()["classes"]):
        cells: list[Any] = [cell(entry["class"]), str(entry["samples"]), str(entry["subclasses"])]
        cells += [f"{entry['p_value']:.2g}", str(entry["held_out"])]
        cells += [", ".join(map(str, entry["sizes"])), ", ".join(f"{c:.3f}" for c in entry["confidence"])]
        table.add_row(*cells, *([f"{right['share_by_class'][k]:.1%}"] if right else []))
    return table


def _say_more(found: Discovery, details: dict[str, Any]) -> None:
    """What the table has no column for: the guarantees, samples that repeat others, strata that fail."""
    say(
        "p-value: exact. surely: so many parts by cuts that were tested on samples without a say in any of them."
    )
    repeats = len(found.coarse) - int(found.distinct.sum())
    if repeats:
        say(
            f"note: {repeats} of {len(found.coarse)} samples repeat another nearly, and counted once in the tests"
        )
    for row in details.get("errors", [])[:5]:
        say(
            f"error {row['error']:.1%} ({row['low']:.1%} to {row['high']:.1%}) in class {row['class']}, "
            f"subclass {row['subclass']}, of {row['samples']} samples"
        )
