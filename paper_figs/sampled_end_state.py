"""T20: the fine structure that a ReLU network keeps at its global minimum on noisy samples, and where it is certain."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, PALETTE, paper_style
from finegrain.sims.theorems import sampled_end_state as observed
from finegrain.theory.theorems import sampled_end_state as law

CLAIM = (
    "at the global minimum on noisy samples a class lies on one ray, and its subclasses differ by a ridge fit"
)
NOISES = (0.01, 0.03, 0.1, 0.3)
SIZES = (2, 8)
PARTS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 1.0)
WEIGHT_DECAY, DRAWS = 0.1, 20


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Separation over draws of the samples, trained and predicted; and the loss found below or above the formula's."""
    kept: dict[str, Any] = {}
    for each in SIZES:
        draws = [[_separation(seed + s, each, noise) for s in range(DRAWS)] for noise in NOISES]
        trained = [_trained(seed, each, noise) for noise in NOISES]
        kept[str(each)] = {"predicted": draws, "trained": trained, "same_draw": [row[0] for row in draws]}
    excess = []
    for part in PARTS:
        samples = observed.draw(seed, coarse_part=part, noise=0.15)
        end = law.predict(samples.inputs, samples.coarse, WEIGHT_DECAY)
        found = observed.train(samples, WEIGHT_DECAY, seed).loss
        excess.append(
            {"part": part, "across": end.across, "certified": end.certified, "gap": found - end.minimum}
        )
    return {"kept": kept, "excess": excess}


def _separation(seed: int, each: int, noise: float) -> float:
    samples = observed.draw(seed, each=each, noise=noise)
    end = law.predict(samples.inputs, samples.coarse, WEIGHT_DECAY)
    return float(law.predict_separation(end, samples.fine)[0, 1])


def _trained(seed: int, each: int, noise: float) -> float:
    samples = observed.draw(seed, each=each, noise=noise)
    return observed.train(samples, WEIGHT_DECAY, seed, steps=2000).separation(samples, 0, 1)


def draw(numbers: dict[str, Any]) -> Figure:
    """Left: separation against noise, median and spread over draws, one draw trained. Right: loss off the formula."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.5))
        kept, off = figure.subplots(1, 2)
        for (each, curve), colour, marker in zip(numbers["kept"].items(), PALETTE, "os", strict=False):
            values = np.array(curve["predicted"])
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1)
            kept.fill_between(NOISES, low, high, color=colour, alpha=0.2, lw=0)
            kept.plot(NOISES, middle, color=colour, label=f"{each} samples a subclass")
            kept.plot(NOISES, curve["same_draw"], color=colour, lw=0.8, ls=":")
            kept.plot(NOISES, curve["trained"], marker, color=colour, mfc="none")
        kept.set(xscale="log", yscale="log", xlabel=r"noise $\sigma$")
        kept.set_ylabel("separation at the end")
        kept.legend(loc="upper left")
        for certified, marker, label in ((True, "o", "certified"), (False, "x", "not certified")):
            rows = [row for row in numbers["excess"] if row["certified"] == certified]
            off.plot(
                [row["across"] for row in rows], [row["gap"] for row in rows], marker, mfc="none", label=label
            )
        off.axhline(0, color="k", lw=0.6)
        off.axvline(0, color="k", lw=0.6, ls=":")
        off.set_xlabel("largest product across coarse classes")
        off.set_ylabel("loss found less the formula")
        off.legend(loc="upper left")
    return figure
