"""Which three intervals of a line show a valley best: chosen on one half of the samples, tested on the other.

A projection's values fall into CELLS cells of equal width on an arcsinh scale, which is even in the bulk and grows with
the distance from it: a rare mode far out is as few cells wide as the bulk. Every valley V of some widths is tried. Next
to it, the best M on its left and the best R on its right are found apart, for the evidence of a triple is the smaller
of its two sides': the logarithm of the likelihood ratio of "denser than V" to "as dense". All directions are done in
one array.
"""

from __future__ import annotations

import numpy as np

from finegrain.theory.tools.arrays import Array, Index

CELLS = 64
WIDTHS = (2, 3, 4, 6, 8, 11, 15, 20, 27, 36)  # of an interval, in cells
FEWEST_BESIDE = 4  # samples in M and in R, at least
NARROWEST = 1 / 3  # of V's width: a narrower M or R finds a few values that lie together by chance
VALLEYS = np.array([(a, a + w) for w in WIDTHS[:-1] for a in range(1, CELLS) if a + w < CELLS])


def best_intervals(projections: Array) -> tuple[Array, Array]:
    """Evidence (B,) and edges (B, 4) of the clearest valley of each column of projections (n, B); below 0 for none."""
    edges, below = _cells(projections)
    a, b = VALLEYS.T
    valley = below[:, b] - below[:, a], edges[:, b] - edges[:, a]
    left, left_end = _best_side(edges, below, valley, [np.maximum(a - w, 0) for w in WIDTHS], a)
    right, right_end = _best_side(edges, below, valley, [np.minimum(b + w, CELLS) for w in WIDTHS], b)
    evidence = np.minimum(left, right)
    best = evidence.argmax(axis=1)
    row = np.arange(len(edges))
    cells = np.stack([left_end[row, best], a[best], b[best], right_end[row, best]], axis=1)
    return evidence[row, best], edges[row[:, None], cells]


def floors(projections: Array, edges: Array) -> Array:
    """Where to cut each column of projections (n, B), (B,): the emptiest place of its valley, edges (B, 4)."""
    return np.array([_floor(p, e[1], e[2]) for p, e in zip(projections.T, edges, strict=True)])


def _floor(projection: Array, low: float, high: float) -> float:
    """The middle of the widest gap if the valley holds a handful; of many, the least of a smoothed histogram."""
    inside = np.sort(projection[(projection > low) & (projection < high)])
    if len(inside) < 12:
        points = np.concatenate([[low], inside, [high]])
        widest = np.diff(points).argmax()
        return float(points[widest : widest + 2].mean())
    cells, ends = np.histogram(inside, 12, (low, high))
    smooth = np.convolve(np.pad(cells, 1, mode="edge"), np.ones(3), mode="valid")
    least = smooth.argmin()
    return float(ends[least : least + 2].mean())


def _cells(p: Array) -> tuple[Array, Index]:
    """Edges (B, CELLS + 1) of each column's cells, and how many of its values lie below each."""
    middle = np.median(p, axis=0)
    spread = np.median(np.abs(p - middle), axis=0)
    spread = np.where(spread > 0, spread, np.abs(p - middle).max(axis=0))
    spread = np.where(spread > 0, spread, 1.0)
    u = np.arcsinh((p - middle) / (1.5 * spread))
    low = u.min(axis=0)
    step = (u.max(axis=0) - low) / CELLS
    step = np.where(step > 0, step, 1.0)
    cell = np.minimum(((u - low) / step).astype(np.int64), CELLS - 1)
    of = cell + CELLS * np.arange(p.shape[1])
    inside = np.bincount(of.ravel(), minlength=CELLS * p.shape[1]).reshape(-1, CELLS)
    below = np.pad(np.cumsum(inside, axis=1), ((0, 0), (1, 0)))
    ends = low[:, None] + step[:, None] * np.arange(CELLS + 1)
    return middle[:, None] + 1.5 * spread[:, None] * np.sinh(ends), below


def _best_side(
    edges: Array, below: Index, valley: tuple[Index, Array], ends: list[Index], start: Index
) -> tuple[Array, Index]:
    """Evidence (B, V) of each valley's best neighbour on one side, and the cell where that ends."""
    inside, width = valley
    best: Array = np.full(inside.shape, -2.0)
    at: Index = np.zeros(inside.shape, np.int64)
    for end in ends:
        count, wide = np.abs(below[:, end] - below[:, start]), np.abs(edges[:, end] - edges[:, start])
        evidence = _evidence(count, inside, wide, width)
        better = evidence > best
        best, at = np.where(better, evidence, best), np.where(better, end, at)
    return best, at


def _evidence(beside: Index, inside: Index, wide: Array, width: Array) -> Array:
    """Log likelihood ratio of counts in an interval and in V, if the interval is denser; else -1."""
    even = wide / (wide + width)
    total = np.maximum(beside + inside, 1)
    share = beside / total
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = beside * np.log(share / even) + np.where(
            inside > 0, inside * np.log((1 - share) / (1 - even)), 0
        )
    fit = (share > even) & (beside >= FEWEST_BESIDE) & (wide >= NARROWEST * width)
    result: Array = np.where(fit, ratio, -1.0)
    return result
