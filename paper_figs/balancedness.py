"""T2: the imbalance of the layers decays at twice weight decay, for every homogeneous activation; not for erf."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems import balancedness as observed
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.theorems import balancedness as law

CLAIM = "the layers' imbalance decays at twice weight decay for every homogeneous activation, not for erf"
WEIGHT_DECAY = 0.05


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """For each activation the neuron that ends farthest from its prediction; one start, one noisy mixture."""
    rng = np.random.default_rng(seed)
    mixture = observed.random_mixture(rng, coarse=3, subclasses=2, dim=6)
    W0, A0 = gaussian(8, 6, 3, 1.5, rng)
    times = np.linspace(0, 30, 16)
    curves = {}
    for activation in ("identity", "relu", "square", "erf"):
        flow = population_flow(
            mixture,
            W0,
            A0,
            targets=centred_one_hot(mixture.coarse_map),
            activation=activation,
            weight_decay=WEIGHT_DECAY,
            times=times,
        )
        p = law.DEGREES.get(activation, 1)
        start = law.predict_neurons(W0, A0, p, 0, 0)
        ratios = law.predict_neurons(flow.W[-1], flow.A[-1], p, 0, 0) / start
        j = int(np.abs(ratios - np.exp(-2 * WEIGHT_DECAY * times[-1])).argmax())
        found = [law.predict_neurons(W, A, p, 0, 0)[j] for W, A in zip(flow.W, flow.A, strict=True)]
        predicted = [law.predict_neurons(W0, A0, p, WEIGHT_DECAY, t)[j] / start[j] for t in times]
        curves[activation] = {
            "degree": p,
            "observed": (np.array(found) / start[j]).tolist(),
            "predicted": [float(v) for v in predicted],
        }
    return {"times": times.tolist(), "curves": curves}


def draw(numbers: dict[str, Any]) -> Figure:
    """Imbalance relative to its start: the predicted line, and markers for each activation."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.6))
        axes = figure.subplots()
        predicted = numbers["curves"]["identity"]["predicted"]
        axes.plot(numbers["times"], predicted, color=PALETTE[6], label=r"predicted, $e^{-2\lambda t}$")
        marks = zip(numbers["curves"].items(), PALETTE, ("o", "s", "D", "x"), (7, 5, 2.5, 4), strict=False)
        for (name, curve), colour, marker, size in marks:
            degree = f"p = {curve['degree']}" if name in law.DEGREES else "no degree"
            style: dict[str, Any] = {
                "ms": size,
                "color": colour,
                "mfc": "none",
                "label": f"{name} ({degree})",
            }
            axes.plot(numbers["times"], np.abs(curve["observed"]), marker, **style)
        axes.set(yscale="log", xlabel="time")
        axes.set_ylabel("imbalance of a neuron,\nrelative to its start")
        axes.legend()
    return figure
