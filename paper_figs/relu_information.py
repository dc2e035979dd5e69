"""T23: as the start shrinks, subclasses merge in scale, and the representation tells them apart as well as before."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, PALETTE, paper_style
from finegrain.sims.theorems import relu_information as observed
from finegrain.theory.theorems import relu_information as law

CLAIM = (
    "separation falls with eps; the accuracy of telling subclasses apart from noisy inputs does not change"
)
EPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
NOISES = (0.3, 0.5, 0.8)


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Separations, and accuracies at three levels of test noise, for S = 2 and every pattern."""
    networks = [observed.trained(observed.every_set(2), 2, eps, seed) for eps in EPS]
    seen = {
        f"{noise:g}": [observed.accuracy(network, noise, seed, each=20_000) for network in networks]
        for noise in NOISES
    }
    return {"separation": [network.separation for network in networks], "accuracy": seen}


def draw(numbers: dict[str, Any]) -> Figure:
    """Left: separation against eps. Right: accuracy, predicted as lines, by counting as markers."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.4))
        scale, information = figure.subplots(1, 2)
        scale.plot(EPS, numbers["separation"], "o-", color=PALETTE[0], mfc="none")
        scale.set(xscale="log", yscale="log", xlabel=r"initialisation scale $\varepsilon$")
        scale.set_ylabel("separation at the end")
        for (noise, seen), colour, marker in zip(numbers["accuracy"].items(), PALETTE, "osD", strict=False):
            information.axhline(law.predict_accuracy(float(noise)), color=colour, lw=1)
            information.plot(EPS, seen, marker, color=colour, mfc="none", label=f"noise {noise}")
        information.set(xscale="log", ylim=(0.5, 1.02), xlabel=r"initialisation scale $\varepsilon$")
        information.set_ylabel("accuracy from $h$")
        information.legend(loc="lower right", ncols=3)
        for axes in (scale, information):
            axes.set_xlim(3e-1, 3e-7)
            axes.set_xticks(np.array(EPS[::2]))
    return figure
