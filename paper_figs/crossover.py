"""T16: a leak or a noise eps^kappa opens the gates, and the exponent turns from 1 - rho_S to 1 - kappa."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import crossover as observed
from finegrain.theory.theorems import crossover as law

CLAIM = "with a leak or a noise eps^kappa the separation's exponent is 1 - min(kappa, rho_S), by the gate equations"
KAPPAS = {"leak": (0.2, 0.4, 0.6, 0.8, 1.2), "noise": (0.4, 0.6, 0.9)}
EPS = (1e-5, 1e-6)


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Slopes at S = 2 between two scales, observed in gradient flow; the gate equations' on a grid of kappa."""
    W, A = observed.aligned(2, np.random.default_rng([seed, 16]))
    eps, curves = np.array(EPS), {}
    for kind, kappas in KAPPAS.items():
        pairs = [observed.slopes(W, A, kind, kappa, eps, rtol=1e-6) for kappa in kappas]
        predicted, found = (np.array(column) for column in zip(*pairs, strict=True))
        grid = np.linspace(0.15 if kind == "leak" else 0.3, 1.3, 10)
        gate = observed.GATES[kind]
        line = [law.predict_slope(W, A[0], observed.labels_of(W), gate, float(k), eps) for k in grid]
        curves[kind] = {
            "kappas": list(kappas),
            "slopes": found.tolist(),
            "grid": grid.tolist(),
            "gate_equations": line,
            "worst_relative_error": float(np.abs(found / predicted - 1).max()),
        }
    return curves


def draw(numbers: dict[str, Any]) -> Figure:
    """Exponent against kappa: the limit in black, the gate equations at finite eps as lines, flows as markers."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.6))
        axes = figure.subplots()
        kappa = np.linspace(0, 1.3, 261)
        axes.plot(
            kappa, [law.predict(k, 2) for k in kappa], "k--", lw=0.8, label=r"limit $\varepsilon \to 0$"
        )
        for (kind, curve), colour, marker in zip(numbers.items(), PALETTE, "os", strict=False):
            axes.plot(curve["grid"], curve["gate_equations"], color=colour)
            axes.plot(curve["kappas"], curve["slopes"], marker, color=colour, mfc="none")
            label = f"{kind}: gate equations, flow (error {curve['worst_relative_error']:.0e})"
            axes.plot([], [], marker + "-", color=colour, mfc="none", label=label)
        axes.set(xlabel=r"$\kappa$", ylabel=r"slope of $\ln$ sep against $\ln \varepsilon$", ylim=(0, 1.05))
        axes.legend(loc="upper right")
    return figure
