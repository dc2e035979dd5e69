"""T13: theory, fitted to real images with no free parameter, against a network trained on them."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from empirical.data import load
from empirical.predict import Config, predict
from empirical.prediction_figure import draw as draw_rows

CLAIM = "Gaussians fitted to real images predict the variances of a network trained on them, without a fitted parameter"
CONFIG = Config()


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """scikit-learn's digits, embedded: nothing to download."""
    config = Config(seed=seed)
    return predict(load("digits"), config, device="cpu", progress=True).report()


def draw(numbers: dict[str, Any]) -> Figure:
    """Three observables along training, and the error of their prediction."""
    config = numbers["config"]
    title = (
        f"digits, {config['components']} Gaussians a fine class, width {config['width']}: no fitted parameter"
    )
    return draw_rows(numbers["rows"], title)
