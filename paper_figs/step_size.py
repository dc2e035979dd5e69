"""T21: gradient descent keeps more fine structure the larger its steps, up to the step at which it stops settling."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import step_size as observed
from finegrain.theory.theorems import step_size as law

CLAIM = "the separation's exponent falls as steps grow, from gradient flow's to 1 - ln(1 + rho_S)/ln 2"
SHARES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.9)


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Exponents by plain descent for S = 2, 3, 4, at shares of the largest step."""
    curves: dict[str, Any] = {}
    for S, eps in ((2, 1e-10), (3, 1e-20), (4, 1e-30)):
        steps = np.array(SHARES) * law.predict_largest_step(S, 2 * S)
        found = [observed.exponent(S, float(step), seed, eps=eps)[0] for step in steps]
        predicted = [law.predict(S, 2 * S, float(step)) for step in steps]
        curves[f"S = {S}"] = {
            "subclasses": S,
            "steps": steps.tolist(),
            "observed": found,
            "worst_relative_error": float(np.abs(np.array(found) / predicted - 1).max()),
        }
    return curves


def draw(numbers: dict[str, Any]) -> Figure:
    """Exponent against step: lines predicted, markers descent; each line ends at its largest step."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.6))
        axes = figure.subplots()
        for (name, curve), colour, marker in zip(numbers.items(), PALETTE, "osD", strict=False):
            S = curve["subclasses"]
            grid = np.linspace(1e-3, 0.999, 200) * law.predict_largest_step(S, 2 * S)
            axes.plot(grid, [law.predict(S, 2 * S, float(x)) for x in grid], color=colour)
            label = f"{name} (error {curve['worst_relative_error']:.0e})"
            axes.plot(curve["steps"], curve["observed"], marker, color=colour, mfc="none", label=label)
        axes.set(xlabel=r"step size $\eta$", ylim=(0, None))
        axes.set_ylabel(r"exponent of sep in $\varepsilon$")
        axes.legend(loc="lower left")
    return figure
