"""T19: 400 neurons of a ReLU network follow the matrices of their active sets, and its outputs a few Gram matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import active_sets as observed
from finegrain.theory.targets import signs
from finegrain.theory.theorems import active_sets as law

CLAIM = "neurons of a ReLU network with the same open gates move as one Lorentz matrix"
WIDTH, WEIGHT_DECAY, SHOWN = 400, 0.02, 5


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Outputs and the norms of five neurons of different sets, from a start whose gates stay as they are."""
    mixture, W0, A0 = observed.own_gates(WIDTH, 2, 1e-3, np.random.default_rng(seed))
    times = np.linspace(1, 45, 23)
    course = observed.course(
        mixture,
        W0,
        A0,
        targets=signs(mixture.coarse_map),
        loss="squared",
        closed=0.0,
        weight_decay=WEIGHT_DECAY,
        times=times,
        rtol=1e-9,
    )
    member = course.predicted.member
    neurons = [int(np.flatnonzero(member == s)[0]) for s in np.unique(member)][-SHOWN:]
    predicted = [
        law.predict_weights(W0, A0, member, U, WEIGHT_DECAY, t)[1][0, neurons]
        for U, t in zip(course.predicted.U, times, strict=True)
    ]
    return {
        "times": times.tolist(),
        "outputs": {
            "predicted": course.predicted.outputs[:, :, 0].tolist(),
            "observed": course.outputs[:, :, 0].tolist(),
        },
        "neurons": {
            "predicted": np.abs(predicted).tolist(),
            "observed": np.abs(course.A[:, 0, neurons]).tolist(),
        },
        "sets": len(course.predicted.slopes),
        "deviation": course.deviation,
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """|a_j| of neurons of different sets, and f at the four inputs; lines predicted, markers observed."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 3.4))
        panels = figure.subplots(2, 1, sharex=True)
        for axes, kind in zip(panels, ("neurons", "outputs"), strict=True):
            lines, dots = (np.array(numbers[kind][name]) for name in ("predicted", "observed"))
            for j, colour in zip(range(lines.shape[1]), PALETTE, strict=False):
                axes.plot(numbers["times"], lines[:, j], color=colour)
                axes.plot(numbers["times"], dots[:, j], "o", ms=2.5, color=colour)
        panels[0].set_yscale("log")
        panels[0].set_ylabel(r"$|a_j|$ in five sets")
        panels[0].set_title(
            f"{WIDTH} neurons, {numbers['sets']} sets: worst deviation {numbers['deviation']:.0e}"
        )
        panels[1].set_ylabel("outputs $f_c$")
        panels[1].set_xlabel("time")
    return figure
