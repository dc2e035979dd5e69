"""T13: Gaussians fitted to skewed classes predict training on them, the better the more of them a class has."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import gaussian_equivalence as observed
from finegrain.theory.mixture import Mixture

CLAIM = "one Gaussian a class is exact for a linear network; for ReLU the error falls as Gaussians are added"
COMPONENTS = (1, 4, 16)
SAMPLES = 1500


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """fine_share along descent on 1,500 skewed samples and on R Gaussians a class fitted to them."""
    steps = np.unique(np.geomspace(1, 600, 14).round().astype(int)).tolist()
    x, fine = observed.skewed(np.random.default_rng([seed, 2]), SAMPLES)
    data = observed.points(x, fine, observed.COARSE_MAP)
    found: dict[str, Any] = {"steps": steps}
    for activation, fits in (("identity", COMPONENTS[:1]), ("relu", COMPONENTS)):
        true = observed.course(data, seed, steps, activation=activation)["fine_share"]
        predicted = {}
        for R in fits:
            mixture = Mixture.fit(x, fine, observed.COARSE_MAP, R, seed=seed)
            predicted[str(R)] = observed.course(mixture, seed, steps, activation=activation)[
                "fine_share"
            ].tolist()
        worst = {R: float(np.abs(np.array(p) / true - 1).max()) for R, p in predicted.items()}
        found[activation] = {"observed": true.tolist(), "predicted": predicted, "worst_error": worst}
    return found


def draw(numbers: dict[str, Any]) -> Figure:
    """Observed fine_share as markers, predictions as lines, for a linear network and for ReLU."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 3.8))
        panels = figure.subplots(2, 1, sharex=True, sharey=True)
        for axes, (activation, name) in zip(panels, (("identity", "linear"), ("relu", "ReLU")), strict=True):
            curves = numbers[activation]
            for (R, predicted), colour in zip(curves["predicted"].items(), PALETTE, strict=False):
                label = f"R = {R}: error {curves['worst_error'][R]:.0e}"
                axes.plot(numbers["steps"], predicted, color=colour, label=label)
            axes.plot(numbers["steps"], curves["observed"], "o", color=PALETTE[-1], mfc="none", ms=3.5)
            axes.plot([], [], "o", color=PALETTE[-1], mfc="none", ms=3.5, label="observed")
            axes.set(xscale="log", ylabel="fine share")
            axes.margins(y=0.1)
            axes.legend(title=name, title_fontsize=7, loc="upper left", ncols=2)
        low, high = panels[1].get_ylim()
        panels[1].set_ylim(low, high + 0.5 * (high - low))  # room for the legends
        panels[1].set_xlabel("steps of gradient descent")
    return figure
