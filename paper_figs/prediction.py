"""T13: theory, fitted to real images with no free parameter, against a network trained on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.empirical.prediction.figure import draw as draw_rows
from finegrain.empirical.prediction.predict import Config, predict
from finegrain.empirical.readers.data import load
from finegrain.theory import observables
from finegrain.theory.moments import Moments

TITLE = "Digits: predicted against observed"
CLAIM = "Gaussians fitted to real images predict the variances of a network trained on them, without a fitted parameter"


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """scikit-learn's digits, embedded: nothing to download. The class distances (T, C, C) are for the report."""
    result = predict(load("digits"), Config(seed=seed), device="cpu", progress=True)
    distances = {
        "predicted": _distances(result.predicted.moments),
        "observed": _distances(result.observed.moments),
    }
    return result.report() | {"class_distances": distances}


def draw(numbers: dict[str, Any]) -> Figure:
    """Three observables along training, and the error of their prediction."""
    R, width = (numbers["config"][name] for name in ("components", "width"))
    title = f"digits, {R} Gaussians a fine class, width {width}: no fitted parameter"
    return draw_rows(numbers["rows"], title)


def _distances(course: list[Moments]) -> list[list[list[float]]]:
    """Mean squared distance between classes at each recorded time, to four digits: what a screen can show."""
    return [
        [[float(f"{d:.4g}") for d in row] for row in np.asarray(observables.class_distances(m))]
        for m in course
    ]
