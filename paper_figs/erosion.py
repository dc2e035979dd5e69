"""T8: with weight decay subclasses go on merging after training, at min(lambda, lambda_c) (1 - sqrt((S-1)/S))."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, PALETTE, paper_style
from finegrain.sims.theorems import erosion as observed
from finegrain.theory.theorems import erosion as law
from finegrain.theory.theorems.end_state import critical

CLAIM = "relative separation decays at lambda (1 - sqrt((S-1)/S)) up to lambda_c, and at one rate above it"
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.2, 1.6, 2.0)
WEIGHTS = ((0.3, 0.2), (0.35, 0.15), (0.4, 0.1))


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Late rates against lambda for S = 2, 3, 4; final separations at unequal probabilities."""
    rates: dict[str, Any] = {}
    for S in (2, 3, 4):
        runs = [observed.eroded(2, S, share, seed) for share in SHARES]
        found = [observed.mean_rate(run[1]) for run in runs]
        rates[f"S = {S}"] = {
            "critical": critical(S, 2 * S),
            "subclasses": S,
            "weight_decay": [run[1].weight_decay for run in runs],
            "observed": found,
            "worst_relative_error": float(
                max(abs(o / run[0] - 1) for o, run in zip(found, runs, strict=True))
            ),
        }
    limits = {}
    for pi in WEIGHTS:
        top = float(np.linalg.norm(pi))
        points = [observed.unequal_limit(np.array(pi), share * top, seed) for share in SHARES[:4]]
        limits[f"{pi[0]:g}, {pi[1]:g}"] = {
            "weights": list(pi),
            "weight_decay": [share * top for share in SHARES[:4]],
            "observed": [point[1] for point in points],
        }
    return {"rates": rates, "limits": limits}


def draw(numbers: dict[str, Any]) -> Figure:
    """Left: rate against lambda. Right: what is left at unequal probabilities. Lines predicted, markers observed."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.4))
        rates, limits = figure.subplots(1, 2)
        for (name, curve), colour, marker in zip(numbers["rates"].items(), PALETTE, "osD", strict=False):
            S = curve["subclasses"]
            grid = np.linspace(0, max(curve["weight_decay"]), 200)
            rates.plot(grid, [law.predict_rate(x, S, 2 * S) for x in grid], color=colour)
            rates.plot(curve["weight_decay"], curve["observed"], marker, color=colour, mfc="none", label=name)
        rates.set(xlabel=r"weight decay $\lambda$")
        rates.set_ylabel("decay rate of the separation")
        rates.legend()
        for (name, curve), colour, marker in zip(numbers["limits"].items(), PALETTE, "osD", strict=False):
            grid = np.linspace(0.02, 0.75, 100) * float(np.linalg.norm(curve["weights"]))
            limits.plot(grid, [law.predict_limit(x, curve["weights"])[0, 1] for x in grid], color=colour)
            limits.plot(
                curve["weight_decay"], curve["observed"], marker, color=colour, mfc="none", label=name
            )
        limits.set(xlabel=r"weight decay $\lambda$", ylim=(0, None))
        limits.set_ylabel("separation at the end")
        limits.legend(title="probabilities")
    return figure
