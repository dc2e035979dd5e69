"""What is in a subclass, by eye: a row of example images each, from the surest on the left to the least sure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from finegrain.empirical.hidden_classes.discover import Discovery
from finegrain.sims.plotting import PAGE, literal, paper_style

COLUMNS = 14
MOST_ROWS = 60  # of one sheet; further subclasses are left out, and the title says so


def draw(found: Discovery, images: NDArray[Any]) -> Figure:
    """Images (N, H, W) or (N, H, W, 3) of the samples that `found` is about.

    Raises:
        ValueError: another number of images than samples, or another shape.
    """
    check_images(images, len(found.coarse))
    rows = [(k, s) for k, count in enumerate(found.counts) for s in range(count)]
    shown = rows[:MOST_ROWS]
    height, width = images.shape[1:3]
    inch = PAGE / COLUMNS * height / width
    with paper_style():
        figure = Figure(figsize=(PAGE + 1.2, inch * len(shown) + 0.5))
        for axes, (k, s) in zip(np.atleast_1d(figure.subplots(len(shown), 1)), shown, strict=True):
            members = np.flatnonzero((found.coarse == k) & (found.subclass == s))
            strip = _strip(images[_from_surest(members, found.confidence)])
            axes.imshow(strip, cmap="gray_r", aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            label = f"{literal(found.class_names[k])}, {s}\n{len(members)} samples"
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=6)
        left_out = f", first {len(shown)} of {len(rows)} rows" if len(rows) > len(shown) else ""
        figure.suptitle(f"class, subclass: from the surest sample to the least sure{left_out}", fontsize=8)
    return figure


def check_images(images: NDArray[Any], count: int) -> None:
    """Require one image a sample."""
    grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
    if len(images) != count or not (grey or colour):
        raise ValueError(f"images must have shape ({count}, H, W) or ({count}, H, W, 3), got {images.shape}")


def _from_surest(members: NDArray[np.int64], confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """At most COLUMNS members, at equal steps down the order of their confidence."""
    order = members[np.argsort(-confidence[members], kind="stable")]
    return order[np.linspace(0, len(order) - 1, min(COLUMNS, len(order))).round().astype(int)]


def _strip(images: NDArray[Any]) -> NDArray[np.float64]:
    """Images (n, H, W[, 3]) side by side (H, COLUMNS W[, 3]) in [0, 1], ink dark for grey ones; short rows padded."""
    x = images.astype(np.float64)
    low, high = x.min(), x.max()
    x = (x - low) / (high - low or 1.0)
    blank = np.full((COLUMNS - len(x), *x.shape[1:]), 1.0 if x.ndim == 4 else 0.0)
    return np.concatenate(list(np.concatenate([x, blank])), axis=1)
