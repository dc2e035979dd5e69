"""finegrain discover: subclasses that nobody named, in features of your own or of a small trained network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from finegrain.theory.tools.console import cell, console, replaces, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finegrain.empirical.hidden_classes.discover import Discovery

EXAMPLES = """
Examples:\n
  finegrain discover --data digits --map mod\n
  finegrain discover --features features.npz --classifier head.npz --images images.npy\n
  finegrain discover --features x.npy --labels y.npy --alpha 0.01 --out runs/mine\n
"""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Features (N, D), coarse labels (N,) with names, and where at hand weights (K, D), images and fine labels (N,)."""

    features: NDArray[Any]
    coarse: NDArray[np.int64]
    names: list[str]
    classifier: NDArray[Any] | None = None
    images: NDArray[Any] | None = None
    fine: NDArray[np.int64] | None = None


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
    alpha: Annotated[float, typer.Option(help="Chance of structure found where there is none.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of random thirds and starts, and of the network.")] = 0,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/discover"),
) -> None:
    """For each class: is there hidden structure, how many subclasses, which samples, how sure?

    With --data a two-layer network is trained on the coarse labels, and the fine ones only say how many were right.
    """
    from finegrain.empirical.hidden_classes import discover
    from finegrain.sims.run_folder import environment, hold
    from finegrain.theory.tools.files import writable_folder

    if (features is None) == (data is None):
        raise ValueError("discover needs --features or --data, and not both")
    of_features = {"--labels": labels, "--classifier": classifier, "--images": images}
    other, unread = ("--data", {"--root": root}) if data is None else ("--features", of_features)
    stray = [name for name, value in unread.items() if value is not None]
    if stray:
        raise ValueError(f"discover without {other} does not read {', '.join(stray)}: leave it out")
    folder = writable_folder(out)
    details: dict[str, Any] = {"seed": seed, "environment": environment()}
    if features is not None:
        given = _from_files(features, labels, classifier, images)
    else:
        given, details["coarse_test_accuracy"] = _from_training(str(data), root, map_, width, steps, seed)
    found = discover.discover(
        given.features, given.coarse, given.classifier, alpha=alpha, seed=seed, progress=True
    )
    if given.fine is not None:
        details["right"] = _right(found, given.fine)
    with hold(folder, wait=True):  # the files of two processes are not mixed
        replaces(folder / "discovery.json")
        paths = discover.write(found, folder, given.names, **details)
        if given.images is not None:
            from finegrain.empirical.hidden_classes.contact_sheet import draw
            from finegrain.sims.plotting import literal, save

            paths += save(draw(found, given.images, list(map(literal, given.names))), folder, "contact_sheet")
    console.print(_table(found, given.names, details.get("right")))
    say("written: " + ", ".join(str(p) for p in paths))


def _from_files(features: str, labels: str | None, classifier: str | None, images: str | None) -> Inputs:
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
    weights = None if classifier is None else read_linear(classifier)[0]
    return Inputs(np.concatenate([x for x, _ in batches]), coarse, stream.class_names, weights, pictures)


def _images(spec: str) -> NDArray[Any]:
    """The array of FILE:NAME, or of FILE the only one, or the only one with axes for pixels."""
    from finegrain.empirical.readers.array_files import read_whole, split_spec

    file, wanted = split_spec(spec)
    arrays = read_whole(file, "images")
    fitting = [key for key, array in arrays.items() if (key == wanted if wanted else array.ndim > 2)]
    if wanted is None and len(arrays) == 1:
        fitting = list(arrays)
    if len(fitting) != 1:
        raise ValueError(
            f"images must name one array as FILE:NAME, of {', '.join(sorted(arrays))}; got {spec}"
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


def _table(found: Discovery, names: list[str], right: dict[str, Any] | None) -> Table:
    title = f"hidden structure at level {found.alpha:g}" + (
        "" if right is None else f", {right['share']:.1%} right"
    )
    table = Table(title=title)
    for column in (
        "class",
        "samples",
        "subclasses",
        "p-value",
        "sizes",
        "confidence",
        *(["right"] if right else []),
    ):
        table.add_column(column, justify="left" if column == "class" else "right", overflow="fold")
    for k, entry in enumerate(found.report(names)["classes"]):
        cells: list[Any] = [
            cell(names[k]),
            str(entry["samples"]),
            str(entry["subclasses"]),
            f"{entry['p_value']:.2g}",
        ]
        cells += [", ".join(map(str, entry["sizes"])), ", ".join(f"{c:.3f}" for c in entry["confidence"])]
        table.add_row(*cells, *([f"{right['share_by_class'][k]:.1%}"] if right else []))
    return table
