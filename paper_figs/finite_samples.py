"""T12: the remainder of n samples is their Gram matrix deflated by F's rows; weight decay leaves a ridge's scatter."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import finite_samples as observed
from finegrain.theory.theorems import finite_samples as law

CLAIM = "on finite samples the remainder is a deflated Gram matrix at all times, and the visible scatter a ridge's"
EPS = 1e-2


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Eigenvalues of the remainder's Gram after training on generic data; scatter against lambda."""
    rng = np.random.default_rng(seed)
    data = observed.draw(rng, coarse=2, samples=20, dim=30)
    W0, A0 = observed.isometric(40, 30, 1, EPS, rng)
    weight_decay, t = 0.02, 60.0
    path = observed.flow(data, W0, A0, np.array([t]), weight_decay)
    W, A = path.W[0], path.A[0]
    found = observed.remainder(W, A, data.X)
    exact = law.predict_remainder(data.X, A @ W, EPS, weight_decay, t)
    by_labels = law.predict_commuting_remainder(data.X, data.Y, EPS, weight_decay, t)

    gram, y = data.X.T @ data.X, data.Y[0]
    critical = float(np.linalg.norm(data.X @ y)) / y.size
    line, seen = np.logspace(-2, np.log10(0.98), 80), np.logspace(-2, np.log10(0.8), 8)
    predicted = [law.predict_scatter(gram, y, data.labels, critical * float(v)) for v in line]
    scatter = [observed.trained_scatter(data, critical * float(v), 12, rng)[0] for v in seen]
    at_seen = np.array([law.predict_scatter(gram, y, data.labels, critical * float(v)) for v in seen])
    return {
        "remainder": {
            "observed": _eigenvalues(found),
            "predicted": _eigenvalues(exact),
            "label_deflation": _eigenvalues(by_labels),
            "gap": observed.relative_gap(found, exact),
            "label_gap": observed.relative_gap(found, by_labels),
        },
        "line": line.tolist(),
        "predicted_scatter": predicted,
        "seen": seen.tolist(),
        "observed_scatter": scatter,
        "worst_relative_error": float(np.abs(np.array(scatter) / at_seen - 1).max()),
    }


def _eigenvalues(gram: np.ndarray) -> list[float]:
    """Largest first, without the direction that is deflated to 0."""
    return np.linalg.eigvalsh(gram)[:0:-1].tolist()


def draw(numbers: dict[str, Any]) -> Figure:
    """Spectrum of the remainder above, scatter against lambda below: lines predicted, markers observed."""
    found = numbers["remainder"]
    with paper_style():
        figure = Figure(figsize=(COLUMN, 4.0))
        spectrum, scatter = figure.subplots(2, 1)
        index = np.arange(1, len(found["observed"]) + 1)
        label = f"deflated by $X Y^\\top$, {100 * found['label_gap']:.0f} % off"
        spectrum.plot(index, found["predicted"], color=PALETTE[0], label="deflated by the rows of $F$")
        spectrum.plot(index, found["label_deflation"], "--", color=PALETTE[2], label=label)
        spectrum.plot(index, found["observed"], "o", ms=2.5, color=PALETTE[1], label="observed")
        spectrum.set(yscale="log", xlabel="eigenvalue of the remainder's Gram matrix", ylabel="size")
        spectrum.legend()
        scatter.plot(numbers["line"], numbers["predicted_scatter"], color=PALETTE[0], label="self-made ridge")
        scatter.plot(numbers["seen"], numbers["observed_scatter"], "o", color=PALETTE[1], label="observed")
        scatter.set(xscale="log", xlabel=r"$\lambda$ / critical", ylabel="std of $h$ within classes")
        scatter.legend()
    return figure
