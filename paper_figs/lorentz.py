"""T14: the weights of a linear network are their start times one Lorentz matrix, to the integrator's rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import lorentz as observed
from finegrain.theory.theorems import lorentz as law

CLAIM = "one Lorentz matrix moves every neuron of a linear network, whatever the loss"
WEIGHT_DECAY = 0.02


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """The first-layer norm of four neurons under three losses, and the worst deviation of any weight."""
    times = np.linspace(0.5, 12, 24)
    panels = {}
    for index, loss in enumerate(("squared", "logistic", "cross-entropy")):
        rng = np.random.default_rng([seed, index])
        mixture, targets, W0, A0 = observed.random_problem(
            rng, loss=loss, dim=6, width=4, subclasses=2, scale=0.7
        )
        course = observed.course(
            mixture,
            W0,
            A0,
            targets=targets,
            loss=loss,
            weight_decay=WEIGHT_DECAY,
            times=times,
            rtol=1e-12,
        )
        predicted = [
            law.predict_weights(W0, A0, U, WEIGHT_DECAY, t)[0] for t, U in zip(times, course.U, strict=True)
        ]
        panels[loss] = {
            "predicted": np.linalg.norm(predicted, axis=2).tolist(),
            "observed": np.linalg.norm(course.flow.W, axis=2).tolist(),
            "deviation": course.deviation,
            "form_error": course.form_error,
        }
    return {"times": times.tolist(), "panels": panels}


def draw(numbers: dict[str, Any]) -> Figure:
    """A panel for each loss: norms of the rows of W, predicted as lines and observed as markers."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 3.6))
        panels = figure.subplots(3, 1, sharex=True)
        for axes, (loss, panel) in zip(panels, numbers["panels"].items(), strict=True):
            for j, colour in zip(range(4), PALETTE, strict=False):
                axes.plot(numbers["times"], np.array(panel["predicted"])[:, j], color=colour)
                axes.plot(numbers["times"], np.array(panel["observed"])[:, j], "o", ms=2.5, color=colour)
            axes.set_title(f"{loss} loss: worst relative deviation {panel['deviation']:.0e}")
        panels[1].set_ylabel(r"$\|w_j\|$, four neurons")
        panels[1].yaxis.set_label_coords(-0.12, 0.5)
        panels[2].set_xlabel("time")
    return figure
