"""T17: subclasses part at l lambda in layer l of a deep linear network; T3's determinant under convex losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import depth as observed
from finegrain.theory.theorems import depth as law

CLAIM = (
    "layer l of a linear network forgets subclasses at l lambda, and convex losses keep T3's determinant law"
)
WEIGHT_DECAY = 0.1


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Four layers along one flow; ln det T_s of two layers under logistic loss and cross-entropy."""
    rng = np.random.default_rng(seed)
    problem = observed.draw_deep(rng, depth=4, width=8, visible=2, invisible=5, eta=0.3)
    times = np.linspace(1, 30, 15)
    path = observed.linear_flow(
        problem.second, problem.cross, problem.start, weight_decay=WEIGHT_DECAY, times=times
    )
    initial = observed.separations(problem.start, problem.delta)
    convex: dict[str, Any] = {}
    for loss in ("logistic", "cross-entropy"):
        case = observed.draw_convex(rng, loss=loss, dim=1)
        W0, A0 = rng.standard_normal((1, 3)), rng.standard_normal((case.targets.shape[1], 1))
        ends = np.linspace(1, 10, 7)
        pairs = [
            observed.convex_log_det(case, W0, A0, weight_decay=0.02, end=float(end), rtol=1e-10)
            for end in ends
        ]
        predicted, found = zip(*pairs, strict=True)
        convex[loss] = {"times": ends.tolist(), "predicted": predicted, "observed": found}
    return {
        "times": times.tolist(),
        "predicted": [law.predict(initial, WEIGHT_DECAY, t).tolist() for t in times],
        "observed": [observed.separations(layers, problem.delta).tolist() for layers in path],
        "convex": convex,
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """Separations of the hidden layers above, determinants below; lines predicted, markers observed."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 4.0))
        depth, convex = figure.subplots(2, 1)
        for layer, colour in zip((1, 2, 3), PALETTE, strict=False):
            depth.plot(numbers["times"], np.array(numbers["predicted"])[:, layer - 1], color=colour)
            depth.plot(numbers["times"], np.array(numbers["observed"])[:, layer - 1], "o", ms=3, color=colour)
            depth.plot([], [], "o-", ms=3, color=colour, label=f"layer {layer} of 4")
        depth.set(yscale="log", xlabel="time", ylabel="separation of\ntwo subclasses")
        depth.legend()
        for (loss, curve), colour, marker in zip(numbers["convex"].items(), PALETTE[3:], "sD", strict=False):
            convex.plot(curve["times"], curve["predicted"], color=colour)
            convex.plot(curve["times"], curve["observed"], marker, ms=3.5, color=colour)
            convex.plot([], [], marker + "-", ms=3.5, color=colour, label=f"{loss} loss")
        convex.set(xlabel="time", ylabel=r"$\ln \det T_s$")
        convex.legend()
    return figure
