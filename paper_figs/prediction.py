"""T13: theory, fitted to real images with no free parameter, against a network trained on them."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from empirical.data import load
from empirical.predict import Config, predict
from empirical.prediction_figure import draw as draw_rows

CLAIM = "Gaussians fitted to real images predict the variances of a network trained on them, without a fitted parameter"


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """scikit-learn's digits, embedded: nothing to download."""
    return predict(load("digits"), Config(seed=seed), device="cpu", progress=True).report()


def draw(numbers: dict[str, Any]) -> Figure:
    """Three observables along training, and the error of their prediction."""
    R, width = (numbers["config"][name] for name in ("components", "width"))
    title = f"digits, {R} Gaussians a fine class, width {width}: no fitted parameter"
    return draw_rows(numbers["rows"], title)
