"""T11: the unconstrained-features model collapses by soft thresholds in lambda, and never mentions a fine label."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import unconstrained_features as observed
from finegrain.theory.theorems import unconstrained_features as law

CLAIM = "unconstrained features collapse by soft thresholds in lambda, and fine labels play no part"
CLASSES = 4
BIAS_DECAYS = {"no bias": np.inf, "penalised bias": 1.0, "free bias": 0.0}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Singular values of H from a random start for each lambda and kind of bias."""
    relative = np.linspace(0.02, 1.22, 16)
    line = np.linspace(0, 1.25, 251)
    curves, worst = {}, 0.0
    for name, bias_decay in BIAS_DECAYS.items():
        found = []
        for index, value in enumerate(relative):
            lam = float(value) / CLASSES
            end = observed.minimise(
                np.full(CLASSES, 1 / CLASSES),
                width=6,
                weight_decay=lam,
                bias_decay=bias_decay,
                seed=seed + index,
            )
            found.append(observed.top_values(end.H, CLASSES))
            expected = law.predict(CLASSES, lam, bias_decay=bias_decay)
            worst = max(worst, float(np.abs(found[-1] - expected).max()))
        predicted = [law.predict(CLASSES, float(v) / CLASSES, bias_decay=bias_decay) for v in line]
        curves[name] = {"observed": np.array(found).tolist(), "predicted": np.array(predicted).tolist()}
    return {
        "relative": relative.tolist(),
        "line": line.tolist(),
        "curves": curves,
        "worst_absolute_error": worst,
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """The largest and the least of the K singular values against K lambda."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.6))
        axes = figure.subplots()
        equal = numbers["curves"]["no bias"]
        axes.plot(numbers["line"], np.array(equal["predicted"])[:, 0], color=PALETTE[0])
        axes.plot(numbers["relative"], np.array(equal["observed"])[:, 0], "o", mfc="none", color=PALETTE[0])
        axes.plot([], [], "o-", mfc="none", color=PALETTE[0], label="$K - 1$ equal ones, any bias")
        for (name, curve), colour, marker in zip(numbers["curves"].items(), PALETTE[1:], "sD^", strict=False):
            axes.plot(numbers["line"], np.array(curve["predicted"])[:, -1], "--", color=colour)
            axes.plot(numbers["relative"], np.array(curve["observed"])[:, -1], marker, ms=2.5, color=colour)
            axes.plot([], [], marker + "--", ms=2.5, color=colour, label=f"mean mode, {name}")
        axes.set(xlabel=r"$K \lambda$", ylabel="singular value of $H$")
        axes.legend()
    return figure
