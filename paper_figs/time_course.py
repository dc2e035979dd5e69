"""T5: NC1(t) and fine_share(t) in closed form, from the first step to long after convergence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import time_course as observed
from finegrain.theory import observables
from finegrain.theory.theorems import time_course as law

CLAIM = (
    "NC1 and fine_share of an aligned linear network are closed forms in time, with an error of order eta^2"
)
ETA = 0.03
WEIGHT_DECAYS = (0.0, 0.05, 0.2)


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Three weight decays, S = 3, little noise; and the order of the error in eta."""
    problem = observed.draw(
        np.random.default_rng(seed), coarse=2, subclasses=3, invisible=4, width=8, noise=0.02
    )
    start = replace(problem.start, amplitudes=np.array([1e-3]))
    problem = replace(problem, start=start)
    within, between, sub = problem.covariances()
    coarse_map, seen = problem.mixture.coarse_map, np.linspace(0, 14, 15)
    line = np.linspace(0, 14, 141)
    curves: dict[str, Any] = {}
    for weight_decay in WEIGHT_DECAYS:
        path = observed.flow(problem, ETA, weight_decay, seen)
        at = problem.at(ETA)
        pairs = {"nc1": (within, between), "fine_share": (sub, within)}
        curves[str(weight_decay)] = {
            "observed_nc1": [observables.nc1_trace_ratio(h.pool(coarse_map)) for h in path.moments],
            "observed_fine_share": [observables.fine_share(h, coarse_map) for h in path.moments],
        } | {
            f"predicted_{name}": [law.predict_ratio(at, *pair, weight_decay, t) for t in line]
            for name, pair in pairs.items()
        }
    etas = np.logspace(-1, -3, 5)
    worst = [observed.errors(problem, eta, 0.05, seen)["W_v"].max() for eta in etas]
    return {
        "seen": seen.tolist(),
        "line": line.tolist(),
        "curves": curves,
        "etas": etas.tolist(),
        "errors": [float(e) for e in worst],
        "observed_order": float(np.polyfit(np.log(etas), np.log(worst), 1)[0]),
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """NC1, fine_share and the error against eta: lines predicted, markers observed."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 4.6))
        nc1, share, error = figure.subplots(3, 1)
        for (weight_decay, curve), colour in zip(numbers["curves"].items(), PALETTE, strict=False):
            for axes, name in ((nc1, "nc1"), (share, "fine_share")):
                axes.plot(numbers["line"], curve[f"predicted_{name}"], color=colour)
                axes.plot(numbers["seen"], curve[f"observed_{name}"], "o", mfc="none", color=colour)
            nc1.plot([], [], "o-", mfc="none", color=colour, label=rf"$\lambda$ = {weight_decay}")
        nc1.set(yscale="log", ylabel="NC1 (trace ratio)")
        nc1.legend()
        share.set(xlabel="time", ylabel="fine_share")
        etas, errors = np.array(numbers["etas"]), np.array(numbers["errors"])
        error.loglog(etas, errors[-1] * (etas / etas[-1]) ** 2, color=PALETTE[0], label=r"slope 2")
        label = f"observed, slope {numbers['observed_order']:.3f}"
        error.loglog(etas, errors, "o", color=PALETTE[1], label=label)
        error.set(xlabel=r"size of the remainder $\eta$", ylabel="error of $W_v$")
        error.legend()
    return figure
