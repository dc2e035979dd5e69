"""T10: how often three rules sort two Gaussians right, and the two variances beyond which 2-means is blind."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtr

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import recoverability as observed
from finegrain.theory.theorems import recoverability as law

CLAIM = "2-means splits two Gaussians by their nuisance once its variance passes a threshold"
RULES = {"optimum": "optimal rule", "bisector": "nearest class mean", "two_means": "2-means"}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Random pairs for each rule; 2-means against the nuisance variance for delta = (2, 0), s = 1."""
    rng = np.random.default_rng(seed)
    linear = [observed.observe_linear(rng, 1) for _ in range(60)]
    pairs = {rule: [draw[rule][:2] for draw in linear] for rule in ("optimum", "bisector")}
    pairs["two_means"] = [observed.observe_two_means(rng, 1)[:2] for _ in range(60)]
    variances = np.linspace(1.4, 3.6, 12)
    shares: dict[str, list[float]] = {"best": [], "from the bisector": []}
    for variance in variances:
        x, label = observed.Pair(np.array([2.0, 0.0]), np.diag([1.0, variance])).sample(40_000, rng)
        shares["best"].append(observed.two_means(x, label)[0].accuracy)
        start = np.array([[np.cos(0.02), np.sin(0.02)]])
        shares["from the bisector"].append(observed.two_means(x, label, start)[0].accuracy)
    return {
        "pairs": pairs,
        "worst_error": max(abs(p - o) for found in pairs.values() for p, o in found),
        "variances": variances.tolist(),
        "shares": shares,
        "thresholds": law.predict_thresholds(1.0, 1.0),
        "bisector": float(ndtr(1.0)),
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """Observed against predicted accuracies above; 2-means on both sides of its thresholds below."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 4.6))
        pairs, steps = figure.subplots(2, 1, height_ratios=(3, 2))
        pairs.plot([0.5, 1], [0.5, 1], color=PALETTE[-1], lw=0.8, label="predicted")
        for (rule, label), colour, marker in zip(RULES.items(), PALETTE, "osD", strict=False):
            predicted, share = np.transpose(numbers["pairs"][rule])
            pairs.plot(predicted, share, marker, color=colour, mfc="none", ms=3, label=label)
        pairs.set_xlabel("predicted share sorted right")
        pairs.set_ylabel("observed")
        pairs.legend(loc="upper left")
        ends = (numbers["variances"][0] - 0.1, numbers["variances"][-1] + 0.1)
        names = {"best": "best of all starts", "from the bisector": "started near the bisector"}
        for (kind, label), threshold, colour, marker in zip(
            names.items(), numbers["thresholds"], PALETTE[2:], "D^", strict=False
        ):
            line = [numbers["bisector"], numbers["bisector"], 0.5, 0.5]
            steps.plot([ends[0], threshold, threshold, ends[1]], line, color=colour)
            steps.plot(
                numbers["variances"], numbers["shares"][kind], marker, color=colour, mfc="none", ms=3.5
            )
            steps.plot([], [], marker + "-", color=colour, mfc="none", label=f"{label}: {threshold:.3f}")
        steps.set_xlabel(r"nuisance variance $\tau^2$, where $\|\delta\| = 2$, $s = 1$")
        steps.set_ylabel("2-means:\nshare sorted right")
        steps.set_ylim(0.47, 1.08)
        steps.legend(loc="upper right", title="predicted threshold", title_fontsize=7)
    return figure
