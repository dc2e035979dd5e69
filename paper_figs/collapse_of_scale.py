"""T4: the trace ratio falls by orders of magnitude while the Mahalanobis distance does not move."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import collapse_of_scale as observed

CLAIM = "the label-invisible part of the representation collapses in scale, not in information"
WEIGHT_DECAY = 0.05


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """One flow of a linear network on a noisy mixture, S = 2."""
    found = observed.course(weight_decay=WEIGHT_DECAY, times=np.linspace(0, 140, 36), seed=seed)
    return {
        "times": found.times.tolist(),
        "trace_ratio": found.trace_ratio.tolist(),
        "mahalanobis": found.mahalanobis[:, 0].tolist(),
        "predicted_mahalanobis": float(found.predicted_mahalanobis[0]),
        "predicted_rate": found.rate,
        "worst_relative_error": float(np.abs(found.mahalanobis / found.predicted_mahalanobis - 1).max()),
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """Trace ratio with its predicted late slope above; Mahalanobis distance with its predicted constant below."""
    times, ratio = np.array(numbers["times"]), np.array(numbers["trace_ratio"])
    with paper_style():
        figure = Figure(figsize=(COLUMN, 3.0))
        scale, distance = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        late = times >= times[-1] / 2
        line = ratio[-1] * np.exp(-numbers["predicted_rate"] * (times - times[-1]))
        scale.plot(times[late], line[late], color=PALETTE[0], label=r"predicted late slope, $2\lambda$")
        scale.plot(times, ratio, "o", ms=2.5, color=PALETTE[1], label="observed")
        scale.set_yscale("log")
        scale.set_ylabel(r"tr Cov$_v$ / tr $\Sigma_B$")
        scale.legend()
        distance.axhline(
            numbers["predicted_mahalanobis"], color=PALETTE[0], label="predicted: the inputs' own"
        )
        distance.plot(times, numbers["mahalanobis"], "o", ms=2.5, color=PALETTE[1], label="observed")
        distance.set(xlabel="time", ylim=(0, 1.4 * numbers["predicted_mahalanobis"]))
        distance.set_ylabel("Mahalanobis\ndistance")
        distance.legend(loc="lower right", ncols=2)
    return figure
