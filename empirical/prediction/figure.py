"""The headline figure: predicted lines through observed markers, on real images."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from finegrain.sims.plotting import PAGE, PALETTE, literal, paper_style

PANELS = {
    "fine_share": "share of within-class variance\nthat is fine structure",
    "nc1_trace_ratio_coarse": "NC1, coarse labels\n" + r"(tr $\Sigma_W$ / tr $\Sigma_B$)",
    "loss": "loss",
}


def draw(rows: list[dict[str, Any]], title: str) -> Figure:
    """Three observables against training time, with the relative error of the prediction below each.

    rows: those of a Prediction (`Prediction.rows`) or of its prediction.json.
    """
    with paper_style():
        figure = Figure(figsize=(PAGE, 3.1))
        axes = figure.subplots(2, len(PANELS), sharex=True, height_ratios=(3, 1))
        for (value, error), (name, label) in zip(axes.T, PANELS.items(), strict=True):
            chosen = [row for row in rows if row["observable"] == name]
            times, predicted, observed, test, errors = (
                np.array([row[key] for row in chosen], dtype=float)
                for key in ("time", "predicted", "observed", "test", "error")
            )
            times = _on_log_axis(times)
            value.plot(times, predicted, color=PALETTE[0], label="predicted")
            value.plot(times, observed, "o", color=PALETTE[1], label="observed on training images")
            if np.isfinite(test).any():
                value.plot(times, test, "s", mfc="none", color=PALETTE[2], label="observed on test images")
            value.set_ylabel(label)
            error.plot(times, 100 * errors, "o-", color=PALETTE[1])
            error.set(xscale="log", xlabel="steps × learning rate (first: 0)", ylabel="error, %")
            error.set_ylim(0, max(1.15 * np.nanmax(100 * errors, initial=0), 1e-3))
        figure.suptitle(literal(title), fontsize=8)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _on_log_axis(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time 0 has no place on a logarithmic axis: it is drawn at a third of the first time after it."""
    return np.where(times == 0, times[times > 0].min() / 3, times)
