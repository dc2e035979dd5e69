"""Predictions over starts of the network: how far they are, how many hold the aims, and how the error falls with R.

The points are those of `finegrain.empirical.prediction.sweep`, of one data set and one search, at several R and seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from finegrain.empirical.prediction.error_law import PowerLaw, power_law, rms
from finegrain.theory.tools.arrays import Array

Point = dict[str, Any]

# What a prediction aims at, at the end and at the worst recorded time.
AIMS = {"fine_share": (0.01, 0.02), "nc1_trace_ratio_coarse": (0.03, 0.03), "nc1_coarse": (0.03, 0.03)}


class Accuracy(NamedTuple):
    """Over the starts at one R: root mean square of the error at the end and at the worst time; starts that hold."""

    components: int
    starts: int
    end: float
    worst: float
    held_end: int
    held_worst: int


def accuracy(points: Sequence[Point], name: str) -> list[Accuracy]:
    """One entry an R, in increasing order, for an observable of AIMS or the loss, for which nothing is aimed at."""
    aims = AIMS.get(name, (np.inf, np.inf))
    found = []
    for R in sorted({point["components"] for point in points}):
        own = [point[name] for point in points if point["components"] == R]
        end, worst = (np.array([[entry[key] for entry in own]]) for key in ("end", "worst"))
        held = (int(np.sum(e <= aim)) for e, aim in zip((end, worst), aims, strict=True))
        found.append(Accuracy(R, len(own), float(rms(end)[0]), float(rms(worst)[0]), *held))
    return found


def by_start(points: Sequence[Point], name: str, key: str = "end") -> tuple[list[int], Array]:
    """The numbers R, (X,), and errors (X, starts) of the starts that have been predicted at every R."""
    errors = {(point["components"], point["config"]["seed"]): point[name][key] for point in points}
    numbers, seeds = (sorted({place[i] for place in errors}) for i in (0, 1))
    whole = [seed for seed in seeds if all((R, seed) in errors for R in numbers)]
    return numbers, np.array([[errors[R, seed] for seed in whole] for R in numbers])


def law_in_components(points: Sequence[Point], name: str, key: str = "end") -> PowerLaw:
    """The power law in R of the root mean square over starts of the error at the end, or at the worst time.

    Raises:
        ValueError: fewer than two R, or fewer than three starts that have been predicted at all of them.
    """
    numbers, errors = by_start(points, name, key)
    return power_law(numbers, errors)
