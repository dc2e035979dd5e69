"""T18: 2-means on h passes T10's threshold as the rest collapses; off the classifier's row space it never does."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import COLUMN, PALETTE, paper_style
from finegrain.sims.theorems import where_to_look as observed
from finegrain.sims.theorems.recoverability import two_means
from finegrain.theory.theorems import where_to_look as law

CLAIM = "off the classifier's row space 2-means finds the subclasses at all times; on h it loses them as h collapses"
CASES = {"h": "on $h$", "off": "off the row space of $A$"}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """One flow of a linear network; T10's formula on its Moments, and 2-means on 20,000 samples."""
    lines, marks = np.linspace(0, 60, 121), np.linspace(0, 60, 13)
    rng = np.random.default_rng(seed)
    course = observed.course(lines, seed=seed)
    predicted = [law.predict(*_parts(course, i))["two_means"] for i in range(lines.size)]
    found = []
    for i in np.searchsorted(lines, marks).tolist():
        pair, classifier = course.pair(i)
        x, label = pair.sample(20_000, rng)
        found.append([two_means(h, label)[0].accuracy for h in (x, x @ law.projector(classifier))])
    at_marks = np.array(predicted)[np.searchsorted(lines, marks)]
    return {
        "times": lines.tolist(),
        "predicted": predicted,
        "marks": marks.tolist(),
        "observed": found,
        "worst_error": float(np.abs(at_marks - found).max()),
    }


def _parts(course: observed.Course, index: int) -> tuple[Any, Any, Any]:
    pair, classifier = course.pair(index)
    return pair.delta, pair.covariance, classifier


def draw(numbers: dict[str, Any]) -> Figure:
    """Share of samples sorted right along training, on h and off the row space."""
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.4))
        axes = figure.subplots()
        for i, (label, colour, marker) in enumerate(zip(CASES.values(), PALETTE[1::-1], "so", strict=False)):
            axes.plot(numbers["times"], np.array(numbers["predicted"])[:, i], color=colour)
            axes.plot(
                numbers["marks"],
                np.array(numbers["observed"])[:, i],
                marker,
                color=colour,
                mfc="none",
                ms=3.5,
            )
            axes.plot([], [], marker + "-", color=colour, mfc="none", label=label)
        axes.set(xlabel="time", ylabel="2-means: share of samples\nsorted right", ylim=(0.45, 1.02))
        axes.legend(loc="center right", title="line: predicted, marker: observed", title_fontsize=7)
    return figure
