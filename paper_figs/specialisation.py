"""T7: ReLU keeps fine structure as eps^(1 - sqrt((S-1)/S)), a linear network only as eps."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import specialisation as observed
from finegrain.theory.theorems import specialisation as law

CLAIM = "relative separation of subclasses after training scales as eps^(1 - sqrt((S-1)/S)), against eps without ReLU"


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Slopes over seeds for S = 2, 3 and the linear network, by gradient flow."""
    curves: dict[str, Any] = {}
    for S in (2, 3):
        slope = observed.measure(S, seeds=4, first_seed=seed, jobs=jobs, progress=True)
        curves[f"S = {S}"] = {
            "eps": slope.eps.tolist(),
            "separations": slope.separations.tolist(),
            "finite_eps_law": slope.predicted_ends.tolist(),
            "predicted_slope": law.predict(S),
            "observed_slope": slope.value,
            "standard_error": slope.standard_error,
        }
    eps = np.logspace(-2, -5, 4)
    separations = [[observed.final_separation(2, 80, e, seed, activation="identity") for e in eps]]
    curves["linear, S = 2"] = {
        "eps": eps.tolist(),
        "separations": separations,
        "predicted_slope": 1.0,
        "observed_slope": float(np.polyfit(np.log(eps), np.log(separations[0]), 1)[0]),
    }
    return curves


def draw(numbers: dict[str, Any]) -> Figure:
    """Separation against eps: markers a seed each, lines the predicted slope through their mean."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.9))
        axes = figure.subplots()
        for (name, curve), colour, marker in zip(numbers.items(), PALETTE, "osD", strict=False):
            eps, log_sep = np.array(curve["eps"]), np.log(curve["separations"])
            offset = np.mean(log_sep) - curve["predicted_slope"] * np.mean(np.log(eps))
            axes.plot(eps, np.exp(offset) * eps ** curve["predicted_slope"], color=colour)
            axes.plot(eps, np.exp(log_sep).T, marker, color=colour, mfc="none", ms=3.5)
            label = (
                f"{name}: predicted {curve['predicted_slope']:.4f}, observed {curve['observed_slope']:.4f}"
            )
            axes.plot([], [], marker + "-", color=colour, mfc="none", label=label)
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel(r"initialisation scale $\varepsilon$")
        axes.set_ylabel("relative separation of subclasses")
        figure.legend(loc="outside upper left")
    return figure
