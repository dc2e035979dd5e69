"""T1: covariances of phi(z_1), phi(z_2) in closed form against sampling, over all correlations and activations."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import gaussian_kinematics as observed
from finegrain.theory import kinematics
from finegrain.theory.theorems import gaussian_kinematics as law

CLAIM = "covariances of a nonlinear layer on Gaussian inputs are known in closed form, for every correlation"
B = np.array([0.4, -0.3])


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Covariance at unit variances and means (0.4, -0.3): a curve over r, samples at eleven correlations."""
    curve, points = np.linspace(-1, 1, 101), np.linspace(-1, 1, 11)
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for activation in kinematics.ACTIVATIONS:
        predicted = [law.predict(B, _matrix(r), activation, slope=observed.SLOPE)[1] for r in curve]
        samples = [observed.sampled(B, _matrix(r), observed.function(activation), rng) for r in points]
        found[activation] = {
            "predicted": [float(c[0, 1]) for c in predicted],
            "observed": [float(sample[1][0, 1]) for sample in samples],
            "standard_errors": [float(sample[3][0, 1]) for sample in samples],
        }
    return {"curve": curve.tolist(), "points": points.tolist(), "activations": found}


def _matrix(r: float) -> np.ndarray:
    return np.array([[1.0, r], [r, 1.0]])


def draw(numbers: dict[str, Any]) -> Figure:
    """Lines predicted, markers sampled; sampling errors are smaller than the markers."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.8))
        axes = figure.subplots()
        cases = zip(numbers["activations"].items(), PALETTE, "osDv^", strict=False)
        for (activation, case), colour, marker in cases:
            axes.plot(numbers["curve"], case["predicted"], color=colour)
            axes.plot(numbers["points"], case["observed"], marker, ms=3.5, color=colour)
            axes.plot([], [], marker + "-", ms=3.5, color=colour, label=activation.replace("_", " "))
        axes.set(xlabel="correlation of the inputs, r", ylabel="covariance of the outputs")
        axes.legend()
    return figure
