"""One page of what hides inside coarse classes: distances, shares, spectra, and who could tell the classes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finegrain.empirical.measurement.measure import Estimate, Measurement
from finegrain.sims.plotting import PAGE, PALETTE, literal, paper_style
from finegrain.theory.tools.arrays import Array

RULES = {
    "lda_accuracy": "LDA",
    "bisector_accuracy": "nearest centre",
    "two_means_accuracy": "2-means, unsupervised",
}
NAMED = 25  # classes up to which every one is named on an axis


def draw(measurement: Measurement, title: str) -> Figure:
    """Four panels with confidence intervals; what the Moments do not define leaves its panel empty."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 5.6))
        (distances, shares), (spectrum, accuracies) = figure.subplots(2, 2)
        _distances(figure, distances, measurement)
        _shares(shares, measurement)
        _spectrum(spectrum, measurement)
        _accuracies(accuracies, measurement)
        figure.suptitle(literal(title), fontsize=8)
    return figure


def _distances(figure: Figure, axes: Axes, m: Measurement) -> None:
    """Class distances, classes ordered by coarse class: hidden structure is off the diagonal of a block."""
    order = np.argsort(m.coarse_map, kind="stable")
    image = axes.imshow(m.matrices["class_distances"].value[np.ix_(order, order)], cmap="viridis")
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label(r"E $\|h - h'\|^2$")
    borders = np.flatnonzero(np.diff(m.coarse_map[order])) + 0.5
    for border in borders:
        axes.axhline(border, color="white", lw=0.8)
        axes.axvline(border, color="white", lw=0.8)
    axes.set_title("mean squared distance, classes by coarse class")
    if len(order) <= NAMED:
        names = [literal(m.class_names[c]) for c in order]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)


def _shares(axes: Axes, m: Measurement) -> None:
    chosen = [(k, m.scalars[f"fine_share[{k}]"]) for k in _coarse(m) if f"fine_share[{k}]" in m.scalars]
    if chosen:
        _points(axes, np.array([k for k, _ in chosen]), [e for _, e in chosen], color=PALETTE[0])
    if "fine_share" in m.scalars:
        axes.axhline(float(m.scalars["fine_share"].value), color=PALETTE[6], lw=0.8, ls="--", label="all")
        axes.legend(loc="best")
    axes.set(ylabel="share of within-class variance\nthat is fine structure", ylim=(0, None))
    _name_coarse(axes, m)


def _spectrum(axes: Axes, m: Measurement) -> None:
    """Variance along principal axes: within fine classes, between the fine classes of a coarse one, between those."""
    coarse = m.moments.pool(m.coarse_map)
    centred = np.sqrt(coarse.weights)[:, None] * (coarse.means - coarse.weights @ coarse.means)
    inside = np.sqrt(m.moments.weights)[:, None] * (m.moments.means - coarse.means[m.coarse_map])
    within = m.moments.within
    own = np.linalg.eigvalsh(within) if within.ndim == 2 else np.sort(within)
    label = "within classes" + ("" if within.ndim == 2 else " (each column)")
    kinds = [(own[::-1], "-", label)]
    kinds += [(np.linalg.svd(inside, compute_uv=False) ** 2, "o", "between, in one coarse class")]
    kinds += [(np.linalg.svd(centred, compute_uv=False) ** 2, "s", "between coarse classes")]
    largest = max(values.max() for values, _, _ in kinds)
    for values, style, label in kinds:
        shown = values[values > 1e-15 * largest]  # the rest is rounding
        if shown.size:
            axes.plot(np.arange(1, shown.size + 1), shown, style, label=label)
    axes.set(xscale="log", yscale="log", xlabel="principal axis", ylabel="variance")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")


def _accuracies(axes: Axes, m: Measurement) -> None:
    """How often two classes of one coarse class are told apart, mean over its pairs."""
    for i, (rule, label) in enumerate(RULES.items()):
        chosen = [(k, m.scalars[f"{rule}[{k}]"]) for k in _coarse(m) if f"{rule}[{k}]" in m.scalars]
        if chosen:
            at = np.array([k for k, _ in chosen]) + 0.15 * (i - 1)
            _points(axes, at, [e for _, e in chosen], color=PALETTE[i], label=label)
    axes.set(ylabel="pairs in one coarse class:\naccuracy if Gaussian", ylim=(0.45, 1.02))
    axes.axhline(0.5, color=PALETTE[6], lw=0.5, ls=":")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
    _name_coarse(axes, m)


def _points(axes: Axes, at: Array, estimates: list[Estimate], **style: Any) -> None:
    """Markers with their intervals; an interval need not hold its marker (theory/jackknife.py)."""
    value, low, high = (np.array([getattr(e, part) for e in estimates]) for part in ("value", "low", "high"))
    axes.plot(at, value, "o", **style)
    axes.vlines(at, low, high, color=style["color"], lw=1)


def _coarse(m: Measurement) -> range:
    return range(len(m.coarse_names))


def _name_coarse(axes: Axes, m: Measurement) -> None:
    axes.set_xlabel("coarse class")
    if len(m.coarse_names) <= NAMED:
        long = max(map(len, m.coarse_names)) > 4
        axes.set_xticks(_coarse(m), list(map(literal, m.coarse_names)), rotation=90 if long else 0)
    axes.set_xlim(-0.5, len(m.coarse_names) - 0.5)
