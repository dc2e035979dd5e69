"""The representation that a finished `finegrain train` run gives all images, as one file.

    python benchmarks/features_of_run.py runs/NAME --data images:cifar10-images.tar.xz --out features.safetensors

It holds "features" (N, d) of the training images and their fine "labels", "test_features" and "test_labels", and the
classifier's "weight": what `finegrain measure` and `predict --data features:FILE` read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from safetensors.numpy import save_file

from finegrain.empirical.networks.representation import classifier_of, represent
from finegrain.empirical.networks.training import train
from finegrain.theory.tools.console import run
from finegrain.theory.tools.files import writable_folder


def main(
    folder: Annotated[Path, typer.Argument(help="Of the run.")],
    data: Annotated[str, typer.Option(help="What the run was trained on.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
) -> None:
    """A run that is not finished is trained to its end first."""
    writable_folder(out.parent)
    recipe = json.loads((folder / "config.json").read_text())["recipe"]
    trained = train(recipe, data, folder, progress=True)
    arrays: dict[str, np.ndarray] = {"weight": classifier_of(trained.network)}
    for prefix, part in (("", "train"), ("test_", "test")):
        images = trained.images[part]
        arrays[prefix + "features"] = represent(trained.network, images)[-1]
        arrays[prefix + "labels"] = images.labels.cpu().numpy()
    save_file(arrays, out)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
