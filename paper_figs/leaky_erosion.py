"""T22: a leak makes slow erosion temporary; how long it lasts grows with the logarithm of 1/alpha."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import leaky_erosion as observed
from finegrain.theory.theorems import leaky_erosion as law

CLAIM = (
    "separation erodes at lambda (1 - rho_S) until the leak opens the gates at t*, and at lambda from then on"
)
SLOPES = (1e-2, 1e-3, 1e-4)
# S, lambda, v/u.
SETTING = 2, 0.1, 0.5


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Gaps along training for three leaks, and when the gates open."""
    S, weight_decay, ratio = SETTING
    curves: dict[str, Any] = {}
    for slope in SLOPES:
        times = np.linspace(0, 160, 65)
        found = observed.course(S, weight_decay, slope, ratio, S - 1, times)
        curves[f"{slope:g}"] = {
            "slope": slope,
            "times": times.tolist(),
            "observed": (found.gap / observed.SMALL).tolist(),
            "opens": found.opening,
            "predicted": law.predict(ratio, 1.0, slope, weight_decay, S, 2 * S),
        }
    return curves


def draw(numbers: dict[str, Any]) -> Figure:
    """The gap against time: lines predicted, markers plain RK45; a tick where each gate is predicted to open."""
    S, weight_decay, ratio = SETTING
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.6))
        axes = figure.subplots()
        for curve, colour, marker in zip(numbers.values(), PALETTE, "osD", strict=False):
            grid = np.linspace(0, 160, 641)
            predicted = law.predict_gap(ratio, 1.0, curve["slope"], weight_decay, grid, S, 2 * S)
            axes.plot(grid, predicted, color=colour)
            label = f"leak {curve['slope']:g}: opens at {curve['opens']:.1f} ({curve['predicted']:.1f})"
            axes.plot(
                curve["times"][::4], curve["observed"][::4], marker, color=colour, mfc="none", label=label
            )
            axes.axvline(curve["predicted"], color=colour, lw=0.6, ls=":")
        axes.set(xlabel="time", yscale="log")
        axes.set_ylabel("gap between two subclasses")
        axes.legend(loc="lower left")
    return figure
