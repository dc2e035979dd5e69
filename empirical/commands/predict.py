"""finegrain predict: what theory predicts for a network trained on real images, against what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from finegrain.empirical.prediction.config import Config
from finegrain.theory.tools.console import console

if TYPE_CHECKING:
    from finegrain.empirical.prediction.predict import Prediction

EXAMPLES = """
Examples:\n
  finegrain predict --data digits\n
  finegrain predict --data fashion-mnist --components auto\n
  finegrain predict --data fashion-mnist --batch-size 500 --momentum 0.9 --learning-rate 0.03\n
  finegrain predict --data features:conv.safetensors\n
  finegrain predict --data images:PATH --map halves --width 64 --out runs/halves\n
"""
SHOWN = ("loss", "fine_share", "nc1_trace_ratio_coarse", "cdnv_coarse", "mahalanobis", "lda_accuracy")
DEFAULTS = Config()


def predict(
    data: Annotated[
        str,
        typer.Option(
            help="digits, fashion-mnist, mnist, images:PATH (a folder or tar of {train,test}/CLASS/*.jpg|png), "
            "cifar10:PATH or cifar100:PATH (the official archives), or features:PATH (.npz or .safetensors: "
            "features, labels, test_features, test_labels)."
        ),
    ] = "digits",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the IDX files; where a relative PATH of --data starts.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help=r"Folder that keeps decoded images \[default: ~/.cache/finegrain].")
    ] = None,
    map_: Annotated[
        str,
        typer.Option(
            "--map", help="mod, halves, random:SEED, semantic, opposed, superclasses, or a list 0,1,0,1."
        ),
    ] = DEFAULTS.map,
    components: Annotated[
        str, typer.Option(help="Gaussians fitted to each fine class, or auto: by held-out likelihood.")
    ] = str(DEFAULTS.components),
    shape: Annotated[
        str, typer.Option(help="full or spherical: of the Gaussians while they are looked for.")
    ] = DEFAULTS.shape,
    fit_in: Annotated[
        str, typer.Option(help="class-means or all: where to look for them.")
    ] = DEFAULTS.fit_in,
    dim: Annotated[
        int, typer.Option(min=1, help="Principal components kept, fewer where the images span fewer.")
    ] = DEFAULTS.dim,
    width: Annotated[int, typer.Option(min=1, help="Neurons.")] = DEFAULTS.width,
    steps: Annotated[int, typer.Option(min=1, help="Descent steps.")] = DEFAULTS.steps,
    learning_rate: Annotated[float, typer.Option(help="Of the descent, > 0.")] = DEFAULTS.learning_rate,
    momentum: Annotated[float, typer.Option(help="Of the descent, in [0, 1).")] = DEFAULTS.momentum,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help=r"Samples a step \[default: all of them].")
    ] = DEFAULTS.batch_size,
    weight_decay: Annotated[
        float, typer.Option(min=0, help="lambda, on both layers.")
    ] = DEFAULTS.weight_decay,
    scale: Annotated[float, typer.Option(help="Of the initial weights, > 0.")] = DEFAULTS.scale,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and of the fit.")] = DEFAULTS.seed,
    records: Annotated[int, typer.Option(min=1, help="Recorded times after step 0.")] = DEFAULTS.records,
    dynamics: Annotated[
        str, typer.Option(help="descent or flow, on the population loss.")
    ] = DEFAULTS.dynamics,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for the training.")] = "auto",
    out: Annotated[Path | None, typer.Option(help=r"Output folder \[default: runs/predict-DATA].")] = None,
) -> None:
    """Predict a network's Moments from Gaussians fitted to its data, train the network, and compare.

    No parameter is fitted to the network: theory starts from the same initial weights.
    """
    # Torch and scikit-learn load here, not for --help.
    from finegrain.empirical.prediction.figure import draw
    from finegrain.empirical.prediction.predict import predict as compare
    from finegrain.empirical.readers.data import load
    from finegrain.empirical.readers.image_cache import default_folder
    from finegrain.sims.plotting import save
    from finegrain.sims.run_folder import hold
    from finegrain.theory.tools.files import to_json, write_atomic

    config = Config(
        map=map_,
        components=_components(components),
        shape=shape,
        fit_in=fit_in,
        dim=dim,
        width=width,
        steps=steps,
        learning_rate=learning_rate,
        momentum=momentum,
        batch_size=batch_size,
        weight_decay=weight_decay,
        scale=scale,
        seed=seed,
        records=records,
        dynamics=dynamics,
    )
    with hold(out or Path("runs") / f"predict-{data.replace(':', '-').replace('/', '-')}") as folder:
        images = load(data, root, cache=cache or default_folder(), progress=True)
        result = compare(images, config, device=device, folder=folder, progress=True)
        console.print(_table(result, data))
        title = f"{data}, {result.components} Gaussians a fine class, width {width}: no fitted parameter"
        write_atomic(folder / "prediction.json", to_json(result.report()))
        paths = [folder / "prediction.json", *save(draw(result.rows(), title), folder, "prediction")]
    console.print("written: " + ", ".join(str(p) for p in paths), soft_wrap=True)


def _components(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _table(result: Prediction, data: str) -> Table:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in result.seconds.items())
    table = Table(title=f"{data}: predicted against observed ({seconds})")
    for column in ("step", "time", "observable", "predicted", "observed", "error", "test images"):
        left = column == "observable"
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    shown = [row for row in result.rows() if row["observable"] in SHOWN]
    for last, row in zip([*shown[1:], None], shown, strict=True):
        ends = last is None or last["observable"] != row["observable"]
        numbers = (f"{row[part]:.4f}" for part in ("predicted", "observed"))
        cells = (str(row["step"]), f"{row['time']:.4g}", row["observable"], *numbers)
        table.add_row(*cells, f"{100 * row['error']:.2f} %", f"{row['test']:.4f}", end_section=ends)
    return table
