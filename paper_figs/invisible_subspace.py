"""T3: what training does to the invisible weights is a contraction whose determinant the output layer sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.integrate import cumulative_simpson

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import invisible_subspace as observed
from finegrain.theory.theorems import invisible_subspace as law

CLAIM = "on what the labels do not see training is a contraction of known determinant, free of the labels"
WEIGHT_DECAY, WIDTH = 0.05, 3


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """ln det T_s along flows of a linear network, for three variances s of the invisible coordinates."""
    times = np.linspace(0, 12, 121)
    curves = {}
    for s in (0.2, 0.7, 2.0):
        rng = np.random.default_rng([seed, 3])
        problem = observed.draw(rng, coarse=2, visible=3, eigenvalues=np.full(WIDTH + 1, s), width=WIDTH)
        path = observed.flow(problem, times, WEIGHT_DECAY, 1e-9)
        integral = cumulative_simpson(np.sum(path.A**2, axis=(1, 2)), x=times, initial=0)
        transports = [
            observed.transported(problem, W, t, WEIGHT_DECAY) for W, t in zip(path.W, times, strict=True)
        ]
        curves[str(s)] = {
            "predicted": [law.predict_log_det(value, s) for value in integral],
            "observed": [float(np.linalg.slogdet(T)[1]) for T in transports],
            "norm": [float(np.linalg.norm(T, 2)) for T in transports],
        }
    return {"times": times.tolist(), "curves": curves}


def draw(numbers: dict[str, Any]) -> Figure:
    """ln det T_s above, with the prediction as a line; below the norm of T_s, which stays at most 1."""
    times = np.array(numbers["times"])
    with paper_style():
        figure = Figure(figsize=(COLUMN, 3.0))
        determinant, norm = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for (s, curve), colour in zip(numbers["curves"].items(), PALETTE, strict=False):
            determinant.plot(times, curve["predicted"], color=colour)
            determinant.plot(
                times[::8], curve["observed"][::8], "o", color=colour, mfc="none", label=f"s = {s}"
            )
            norm.plot(times[::8], curve["norm"][::8], "o", color=colour, mfc="none")
        determinant.set_ylabel(r"$\ln \det T_s$")
        determinant.legend(title=r"line: $-s \int \|A\|_F^2\,dt$")
        norm.axhline(1, color=PALETTE[-1], lw=0.8, ls="--")
        norm.set(xlabel="time", ylabel=r"$\|T_s\|$", ylim=(0, 1.1))
    return figure
