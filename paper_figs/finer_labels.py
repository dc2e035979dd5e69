"""T26: what samples keep of a split that the inputs do not know, as their number grows."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import finer_labels as observed

CLAIM = (
    "labels split at random leave only memory, v/n sum h_k^2 for fixed features, which dies with the samples"
)
COUNTS = (10, 20, 40, 80, 160)


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Mean square of the outputs' difference: a readout, predicted and by plain RK45, and a trained network."""
    readout = [observed.memory(n, 20.0, 0.0, seed) for n in COUNTS]
    trained = [observed.trace(n, seed, draws=10) for n in COUNTS]
    return {
        "n": list(COUNTS),
        "predicted": [predicted for predicted, _ in readout],
        "observed": [found for _, found in readout],
        "worst_relative_error": float(max(abs(o / p - 1) for p, o in readout)),
        "trained": [found for found, _ in trained],
        "trained_error": [error for _, error in trained],
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """Against n: the law as a line, the readout as circles, the trained network as squares with two errors."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.6))
        axes = figure.subplots()
        n = np.array(numbers["n"])
        axes.plot(n, numbers["predicted"], color=PALETTE[0])
        label = f"fixed features (error {numbers['worst_relative_error']:.0e})"
        axes.plot(n, numbers["observed"], "o", color=PALETTE[0], mfc="none", label=label)
        errors = 2 * np.array(numbers["trained_error"])
        axes.errorbar(
            n, numbers["trained"], errors, fmt="s", color=PALETTE[1], mfc="none", label="trained features"
        )
        axes.plot(n, numbers["trained"][0] * n[0] / n, ":", color=PALETTE[1], lw=0.8, label="1/n")
        axes.set(xscale="log", yscale="log", xlabel="samples $n$")
        axes.set_ylabel("trace of the split in the outputs")
        axes.legend(loc="lower left")
    return figure
