"""finegrain predict: what theory predicts for a network trained on real images, against what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from finegrain.empirical.commands.options import options
from finegrain.empirical.prediction.config import Config
from finegrain.theory.tools.console import cell, console, keeps, say

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


@options(Config)
def predict(
    data: Annotated[
        str,
        typer.Option(
            help="digits, fashion-mnist, mnist, images:PATH (a folder or tar of {train,test}/CLASS/*.jpg|png|webp), "
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
    *,
    config: Config,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for the training.")] = "auto",
    out: Annotated[Path | None, typer.Option(help=r"Output folder \[default: runs/predict-DATA].")] = None,
) -> None:
    """Predict a network's Moments from Gaussians fitted to its data, train the network, and compare.

    No parameter is fitted to the network: theory starts from the same initial weights.
    """
    # Torch and scikit-learn load here, not for --help.
    from finegrain.empirical.prediction import predict
    from finegrain.empirical.prediction.figure import draw
    from finegrain.empirical.readers.data import load
    from finegrain.empirical.readers.image_cache import default_folder
    from finegrain.sims.plotting import save
    from finegrain.sims.run_folder import hold
    from finegrain.theory.tools.files import to_json, writable_file, write_atomic

    with hold(out or Path("runs") / f"predict-{data.replace(':', '-').replace('/', '-')}") as folder:
        writable_file(folder / "prediction.json")  # refused before the work, not after
        keeps(f"recorded steps are kept in {folder}, and the same command goes on from there")
        images = load(data, root, cache=cache or default_folder(), progress=True)
        result = predict.predict(images, config, device=device, folder=folder, progress=True)
        console.print(_table(result, data))
        title = (
            f"{data}, {result.components} Gaussians a fine class, width {config.width}: no fitted parameter"
        )
        write_atomic(folder / "prediction.json", to_json(result.report()))
        paths = [folder / "prediction.json", *save(draw(result.rows(), title), folder, "prediction")]
    say("written: " + ", ".join(str(p) for p in paths))


def _table(result: Prediction, data: str) -> Table:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in result.seconds.items())
    table = Table(title=cell(f"{data}: predicted against observed ({seconds})"))
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
