"""The dip: how far a sample is from having one mode, and the test that rests on it.

    dip(x) = min over unimodal F of sup |F_n - F|,   F_n the sample's distribution function

F unimodal: convex up to a mode, concave after it, with an atom there or none. The best F hugs F_n from below up to some
point (the greatest convex minorant), from above after another (the least concave majorant), with a straight piece
between them. Each hull's slopes are an isotonic regression of F_n's slopes. Narrowing the piece between, from the whole
sample inwards, as long as the two hulls are further apart there than F already errs outside, ends at the dip.

Where values repeat, F_n jumps at each by the share of its samples, which F, continuous everywhere but at its mode,
misses by half at least. The hulls' distance is concave, so it is largest where one of them touches F_n: there the piece
is cut, and it always shrinks, at last to a single value, which then is a mode with an atom.

The p-value is that of a uniform sample: in large samples no unimodal distribution has a larger dip (conjectured for
finite ones), so that it holds for all of them, and is conservative for most (a Gaussian's dip is far below).

Source: Hartigan & Hartigan (1985), The dip test of unimodality, Annals of Statistics 13.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, Index

# Quantiles of sqrt(n) dip of n uniform samples, a row a size, at these upper tail probabilities; 10,000 draws each
# (3,000 at n = 8192) by `uniform_quantiles`: good to 1 % up to 0.01 and to 3 % at the end.
TAIL = np.array([0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001])
SIZES = np.array([8, 16, 32, 64, 128, 256, 512, 2048, 8192])
QUANTILES = np.array(
    [
        [0.3143, 0.3545, 0.4026, 0.4387, 0.4732, 0.4931, 0.5101, 0.5289, 0.5528],
        [0.3251, 0.388, 0.4286, 0.4653, 0.504, 0.5311, 0.557, 0.5805, 0.6014],
        [0.3388, 0.4081, 0.4506, 0.4848, 0.5283, 0.5576, 0.5891, 0.6229, 0.6546],
        [0.3471, 0.418, 0.4646, 0.4998, 0.5462, 0.5793, 0.6138, 0.6601, 0.6773],
        [0.3589, 0.4307, 0.4774, 0.517, 0.5678, 0.5968, 0.6301, 0.6715, 0.6912],
        [0.3642, 0.4375, 0.4833, 0.5273, 0.5746, 0.6169, 0.6442, 0.6836, 0.7104],
        [0.3683, 0.4449, 0.49, 0.5328, 0.5833, 0.6232, 0.6591, 0.7069, 0.7393],
        [0.3744, 0.4494, 0.4961, 0.5362, 0.5869, 0.6165, 0.6515, 0.6957, 0.714],
        [0.3774, 0.4514, 0.4991, 0.5405, 0.5975, 0.6314, 0.6672, 0.6794, 0.6931],
    ]
)


def dip(sample: ArrayLike) -> float:
    """The dip of a sample (n,), in [1/(2n), 1/4]; unchanged by shift and scale, -x included. O(n log n).

    That of equal values, which F_n itself has as the only mode, is 1/(2n) by convention, as in the literature.

    Raises:
        ValueError: no sample, not one-dimensional, or not finite.
    """
    x, counts = np.unique(_sample(sample), return_counts=True)
    gaps = _gaps(x) if len(x) > 1 else x[:0]
    above = np.cumsum(counts) / counts.sum()  # F_n at x, and just before it
    below = np.concatenate([[0.0], above[:-1]])
    first, last, width = 0, len(x) - 1, 1 / counts.sum()  # width: twice the error of F so far
    while first < last:
        inside = slice(first, last + 1)
        lower, left = _hull(gaps[first:last], below[inside], convex=True)
        upper, right = _hull(gaps[first:last], above[inside], convex=False)
        touched = np.union1d(left, right)
        widest = int(touched[np.argmax((upper - lower)[touched])])
        if upper[widest] - lower[widest] <= width:
            break
        # The straight piece runs between the touching points on either side of the widest gap.
        start = int(left[np.searchsorted(left, widest, side="right") - 1])
        stop = int(right[np.searchsorted(right, widest, side="left")])
        outside = np.concatenate([(above[inside] - lower)[:start], (upper - below[inside])[stop + 1 :]])
        width = max(width, float(np.max(outside, initial=0)))
        first, last = first + start, first + stop
    return width / 2


def _hull(gaps: Array, y: Array, convex: bool) -> tuple[Array, Index]:
    """The greatest convex minorant of points so far apart (n - 1,) at heights y (n,), or least concave majorant.

    Its heights (n,), and where it touches the points.
    """
    touched = isotonic_regression(np.diff(y) / gaps, weights=gaps, increasing=convex).blocks
    x = np.concatenate([[0], np.cumsum(gaps)])
    heights = np.interp(x, x[touched], y[touched])
    # Exact there also where x does not tell two points apart.
    heights[touched] = y[touched]
    return heights, touched


def _gaps(x: Array) -> Array:
    """Between n rising values, (n - 1,), of sum 1 but for those that slopes could not be formed with."""
    # By halves, so that no difference of two finite numbers overflows.
    return np.maximum(np.diff(x / 2) / (x[-1] / 2 - x[0] / 2), 1e-290)


def p_value(sample: ArrayLike) -> float:
    """The probability of so large a dip in a uniform sample of the same size, in (0, 1].

    Interpolated in the table above, linearly in log p; beyond its last column extended at that slope, which is
    conservative, for the tail falls faster; above 1/2 only 1 is said. Below 8 values nothing is ever found: 1.
    """
    x = _sample(sample)
    if len(x) < SIZES[0]:
        return 1.0
    row = np.array([np.interp(np.log(len(x)), np.log(SIZES), column) for column in QUANTILES.T])
    statistic = np.sqrt(len(x)) * dip(x)
    if statistic < row[0]:
        return 1.0
    log_tail = np.log(TAIL)
    if statistic > row[-1]:
        slope = (log_tail[-1] - log_tail[-3]) / (row[-1] - row[-3])
        return float(np.exp(log_tail[-1] + slope * (statistic - row[-1])))
    return float(np.exp(np.interp(statistic, row, log_tail)))


def uniform_quantiles(n: int, draws: int, seed: int = 1985) -> Array:
    """A row of the table: quantiles of sqrt(n) dip at TAIL, over `draws` samples of n uniforms."""
    rng = np.random.default_rng([n, seed])
    return np.sqrt(n) * np.quantile([dip(rng.random(n)) for _ in range(draws)], 1 - TAIL)


def _sample(sample: ArrayLike) -> Array:
    x = checks.real("sample", sample, ("n",))
    if not len(x):
        raise ValueError("sample must hold at least one value, got none")
    return x
