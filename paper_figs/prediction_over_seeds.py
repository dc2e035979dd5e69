"""T13's error over starts of the network against the number of Gaussians, drawn from a recorded run.

Record again, into the files that RECORDS names (docs/results/prediction.md has the commands of both):
    python benchmarks/prediction_over_seeds.py --shape spherical --fit-in all --components 1 2 4 8 16 64 --json FILE
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finegrain.empirical.prediction.accuracy import law_in_components
from finegrain.sims.plotting import COLUMN, PALETTE, paper_style

TITLE = "Error of the prediction, over starts"
CLAIM = "the error of T13's prediction falls with the number of Gaussians a class, over starts"
FOLDER = Path(__file__).parent / "gallery" / "recorded"
RECORDS = {
    "Fashion-MNIST": FOLDER / "prediction_over_seeds_fashion_mnist.json",
    "CIFAR-10 pixels": FOLDER / "prediction_over_seeds_cifar.json",
}
OBSERVABLES = {"fine_share": "fine_share", "nc1_trace_ratio_coarse": "NC1", "loss": "loss"}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """The recorded runs, whatever the seed asked for: errors at the end by R, and the exponents of their laws in R."""
    return {data: _errors(json.loads(file.read_text())["points"]) for data, file in RECORDS.items()}


def _errors(points: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in OBSERVABLES:
        law = law_in_components(points, name)
        errors: dict[str, list[float]] = {}
        for point in sorted(points, key=lambda p: (p["components"], p["config"]["seed"])):
            errors.setdefault(str(point["components"]), []).append(point[name]["end"])
        found[name] = {"errors": errors, "exponent": law.exponent, "interval": list(law.interval)}
        found[name]["prefactor"] = law.prefactor
    return found


def draw(numbers: dict[str, Any]) -> Figure:
    """Small markers the starts, large ones their root mean square, lines the power laws."""
    with paper_style():
        figure = Figure(figsize=(COLUMN * len(numbers), 2.6))
        panels = figure.subplots(1, len(numbers), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (data, found) in zip(panels, numbers.items(), strict=True):
            for color, (name, label) in zip(PALETTE, OBSERVABLES.items(), strict=False):
                _observable(axes, found[name], label, color)
            axes.set(title=data, xlabel="Gaussians a class, R", xscale="log", yscale="log", ylim=(0.01, 30))
            R = sorted({int(R) for name in OBSERVABLES for R in found[name]["errors"]})
            axes.set_xticks(R, [str(number) for number in R])
            axes.minorticks_off()
            axes.legend(fontsize=6, loc="lower left")
        panels[0].set_ylabel("error at the end, %")
    return figure


def _observable(axes: Axes, found: dict[str, Any], label: str, color: str) -> None:
    R = np.array([int(number) for number in found["errors"]])
    errors = [100 * np.array(starts) for starts in found["errors"].values()]
    for number, starts in zip(R, errors, strict=True):
        axes.plot(np.full(starts.size, number), starts, ".", color=color, alpha=0.35, ms=3)
    axes.plot(R, [np.sqrt(np.mean(starts**2)) for starts in errors], "o", color=color)
    line = 100 * found["prefactor"] * R ** found["exponent"]
    axes.plot(R, line, color=color, label=rf"{label}: $R^{{{found['exponent']:.2f}}}$")
