"""T9: with weight decay training ends at f = (1 - C lambda/(sqrt S ||t||)) t, and the last gap closes as predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, PALETTE, paper_style
from finegrain.sims.theorems import end_state as observed
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import signs
from finegrain.theory.theorems import end_state as law

CLAIM = "the output ends shrunk by C lambda/(sqrt S ||t||), and its last gap closes at twice the separation's rate"
SHARES = (0.1, 0.3, 0.5, 0.7, 1.2, 1.6)


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """End outputs against lambda, S = 2..5 and the linear network; the gap in time for S = 2, 3."""
    ends: dict[str, Any] = {}
    for S in (2, 3, 5):
        runs = [observed.arrival(2, S, share, seed) for share in SHARES]
        top = law.critical(S, 2 * S)
        ends[f"S = {S}"] = {
            "critical": top,
            "weight_decay": [run[1] for run in runs],
            "output": [float(run[2].output[-1]) for run in runs],
        }
    runs_linear = [observed.from_random_start(share, seed, slope=1.0) for share in SHARES]
    ends["linear, S = 2"] = {
        "critical": law.critical(2, 4, slope=1.0),
        "weight_decay": [run[0] for run in runs_linear],
        "output": [float(run[1].output[-1]) for run in runs_linear],
    }
    return {"ends": ends, "gaps": {f"S = {S}": _gap(S, 0.3) for S in (2, 3)}}


def _gap(subclasses: int, share: float) -> dict[str, list[float]]:
    mixture = Mixture.orthonormal(2, subclasses)
    targets, C = signs(mixture.coarse_map), 2 * subclasses
    weight_decay = share * law.critical(subclasses, C)
    W, A = observed.patterns(2, targets, np.append(np.zeros(subclasses - 2), [0.1, 0.3]))
    times = np.linspace(100, 500, 17)
    found = observed.course(mixture, targets, W, A, weight_decay, times, rtol=1e-12)
    return {
        "times": times.tolist(),
        "observed": (law.predict(weight_decay, subclasses, C) - found.output).tolist(),
        "predicted": [law.predict_gap(float(sep), weight_decay, subclasses, C) for sep in found.separation],
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """Left: output against lambda. Right: the gap in time. Lines predicted, markers observed."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.4))
        ends, gaps = figure.subplots(1, 2)
        for (name, curve), colour, marker in zip(numbers["ends"].items(), PALETTE, "osD^", strict=False):
            grid = np.linspace(0, 1.6 * curve["critical"], 200)
            ends.plot(grid, np.maximum(0, 1 - grid / curve["critical"]), color=colour)
            ends.plot(curve["weight_decay"], curve["output"], marker, color=colour, mfc="none", label=name)
        ends.set(xlabel=r"weight decay $\lambda$")
        ends.set_ylabel(r"output at the end, $f \cdot t / \|t\|^2$")
        ends.legend()
        for (name, curve), colour, marker in zip(numbers["gaps"].items(), PALETTE, "os", strict=False):
            gaps.plot(curve["times"], curve["predicted"], color=colour)
            gaps.plot(curve["times"], curve["observed"], marker, color=colour, mfc="none", label=name)
        gaps.set(yscale="log", xlabel="time")
        gaps.set_ylabel(r"$f_\infty - f(t)$, $\lambda = .3 \lambda_c$")
        gaps.legend()
    return figure
