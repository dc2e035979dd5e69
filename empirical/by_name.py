"""The public calls that take names: `fg.train("cifar", "digits")`, `fg.predict("digits", steps=300)`.

Names become a recipe, settings and images here, once; what lies below is given those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from finegrain.empirical.networks import training
from finegrain.empirical.networks.recipe import Recipe, one_recipe
from finegrain.empirical.networks.training import Trained
from finegrain.empirical.networks.two_layer import TrainingRecord
from finegrain.empirical.prediction import predict as prediction
from finegrain.empirical.prediction.config import Config
from finegrain.empirical.prediction.predict import Prediction
from finegrain.empirical.readers.data import Dataset, as_dataset
from finegrain.sims.grid import nearest

SETTINGS = tuple(field.name for field in fields(Config))


def train(
    recipe: Recipe | Mapping[str, Any] | Path | str,
    data: Dataset | str,
    folder: Path | str | None = None,
    *,
    device: str = "auto",
    steps: int | None = None,
    progress: bool = False,
) -> Trained:
    """Train, or go on with, or only read back, the run in `folder`.

    Args:
        recipe: settings; as a mapping those that differ from the defaults; or a recipe file of one run
            (recipe.read_recipes reads those of several), or the name of one in the package, such as "cifar".
        data: images with fine labels, or as on the command line: "digits", "cifar10:PATH".
        folder: the run folder, runs/NAME by default; refused when it holds a run of another recipe, precision or
            images.
        device: "cpu", "cuda", or "auto".
        steps: stop after so many steps of this call, to try a recipe; only checkpoints are kept.
        progress: show bars with the time left, and a line an epoch.

    Raises:
        FileNotFoundError: no such recipe, or no such images.
        ValueError: settings that do not fit the images, or a folder with another run.
        Diverged: the loss stopped being finite; the message names the epoch.
    """
    name, settings = one_recipe(recipe)
    images = as_dataset(data, progress=progress)
    return training.train(
        settings, images, folder or Path("runs") / name, device=device, steps=steps, progress=progress
    )


def predict(
    data: Dataset | str,
    config: Config | None = None,
    *,
    device: str = "auto",
    folder: Path | str | None = None,
    progress: bool = False,
    observed: TrainingRecord | None = None,
    **settings: Any,
) -> Prediction:
    """Fit Gaussians to the images, predict a network's Moments from them, train it, and compare.

    Args:
        data: images with fine labels, or as on the command line: "digits", "cifar10:PATH".
        config: all settings at once (finegrain.empirical.prediction.config.Config); by default those of
            docs/results/prediction.md.
        device: of the training, "auto", "cpu" or "cuda".
        folder: holds the run folders "predicted" and "observed", which resume after a kill.
        progress: show bars with the time left.
        observed: the same training from an earlier call, to set another prediction beside it.
        settings: those that differ from `config`, by name: steps=300, map="halves", components="auto".

    Raises:
        TypeError: a setting that there is not; the message has those there are.
        ValueError: a setting out of its range, or one that does not fit the images.
        FileNotFoundError: no such images.
    """
    for name in settings:
        if name not in SETTINGS:
            raise TypeError(
                f"predict has no argument {name!r}; did you mean {nearest(name, SETTINGS)!r}? "
                f"Known settings: {', '.join(SETTINGS)}"
            )
    return prediction.predict(
        as_dataset(data, progress=progress),
        replace(config or Config(), **settings),
        device=device,
        folder=None if folder is None else Path(folder),
        progress=progress,
        observed=observed,
    )
