"""T6: a closed gate stays closed, and small starts end with the gates that the start foretells."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import delayed
from matplotlib.figure import Figure

from finegrain.sims import workers
from finegrain.sims.plotting import PAGE, PALETTE, paper_style
from finegrain.sims.theorems import relu_gates as observed
from finegrain.theory.mixture import Mixture

CLAIM = "closed ReLU gates only decay, and below an eps known from the start every neuron ends with the predicted gates"
WIDTH, WEIGHT_DECAY, RTOL = 100, 0.1, 1e-6


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Share of neurons with the predicted gates against eps, S = 1, 2, 3; and every closed coordinate's decay."""
    eps = np.logspace(0, -6, 13)
    shares = {}
    for S in (1, 2, 3):
        mixture = Mixture.orthonormal(2, S)
        tasks = [
            delayed(observed.train)(mixture, float(e), seed, width=WIDTH, records=1, rtol=RTOL) for e in eps
        ]
        networks = workers.in_order(jobs, tasks)
        shares[f"S = {S}"] = {
            "observed": [float(o.follows_rule.mean()) for o in networks],
            "guaranteed": [float(o.guaranteed.mean()) for o in networks],
        }
    times = np.linspace(1, 20, 9)
    decay = []
    for t in times:
        predicted, found = observed.frozen(
            Mixture.orthonormal(2, 2), seed, weight_decay=WEIGHT_DECAY, end=float(t), rtol=RTOL
        )
        decay.append({"predicted": (-predicted).tolist(), "observed": (-found).tolist()})
    return {"eps": eps.tolist(), "shares": shares, "times": times.tolist(), "decay": decay}


def draw(numbers: dict[str, Any]) -> Figure:
    """Left: observed shares (markers) above the guaranteed ones (lines). Right: coordinates behind closed gates."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.4))
        share, decay = figure.subplots(1, 2)
        for (name, curve), colour, marker in zip(numbers["shares"].items(), PALETTE, "osD", strict=False):
            share.plot(numbers["eps"], curve["guaranteed"], color=colour)
            share.plot(numbers["eps"], curve["observed"], marker, color=colour, mfc="none", label=name)
        share.plot([], [], "-", color="black", label="guaranteed, at least")
        share.set(xscale="log", xlabel=r"initialisation scale $\varepsilon$")
        share.set_ylabel("neurons with the predicted gates")
        share.legend()
        times = numbers["times"]
        lines = np.array([d["predicted"] for d in numbers["decay"]])[:, :6]
        markers = np.array([d["observed"] for d in numbers["decay"]])[:, :6]
        decay.plot(times, lines, color=PALETTE[0])
        decay.plot(times, markers, "o", color=PALETTE[1], mfc="none", ms=3)
        decay.plot([], [], color=PALETTE[0], label=r"predicted, $e^{-\lambda t}$")
        decay.plot([], [], "o", color=PALETTE[1], mfc="none", ms=3, label="observed")
        decay.set(yscale="log", xlabel="time")
        decay.set_ylabel(r"$-w_{jc}$ behind a closed gate")
        decay.legend()
    return figure
