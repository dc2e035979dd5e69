"""Valley: an exact test of "this law on the line has one mode", from intervals that were chosen on other samples.

M, V and R are adjacent intervals of any widths, in this order. If the density f rises up to a mode and falls after it,

    min(mean of f over M, mean of f over R) <= mean of f over V.

Proof. A mode left of V: f falls on V and R, so that all of R lies below all of V. A mode right of V: M does, alike. A
mode inside V: f on V before the mode is at least f at V's left end, hence at least its mean over M; after the mode it
is at least f at V's right end, hence at least its mean over R. The mean over V mixes the two, so it is not below both.

Which side fails is fixed by the law and the intervals. If it is R, then given N_R + N_V the count N_R is
Binomial(N_R + N_V, theta) with theta <= w_R / (w_R + w_V), w the widths: its upper tail at that share is a p-value for
every sample size. Whichever side it is, the larger of the two tails is a p-value for one mode. An atom is a density
without bound at the mode; elsewhere it is a mode of its own.

The dip needs a mode's share to pass .46/sqrt n, whatever its distance. Here a dozen samples beyond an empty valley of
equal width give 2^-12, among any number of others.

Source: this project, T25.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def counts(sample: ArrayLike, edges: ArrayLike) -> Array:
    """Values of a sample (n,) in [e_0, e_1), [e_1, e_2) and [e_2, e_3]: (3,), for M, V and R.

    Raises:
        ValueError: a sample that is not (n,) and finite, or edges that are not four, each above the one before.
    """
    return np.histogram(checks.real("sample", sample, ("n",)), _edges(edges))[0]


def p_value(sample: ArrayLike, edges: ArrayLike) -> float:
    """The p-value of one mode, for an independent sample that had no say in the edges (4,) of M, V and R.

    In [0, 1]: tails below 1e-323 are 0.

    Raises:
        ValueError: as `counts`.
    """
    left, valley, right = counts(sample, edges)
    widths = np.diff(_edges(edges))
    tails = [
        binom.sf(side - 1, side + valley, width / (width + widths[1]))
        for side, width in ((left, widths[0]), (right, widths[2]))
    ]
    return float(max(tails))


def _edges(edges: ArrayLike) -> Array:
    e = checks.real("edges", edges, (4,))
    if not (np.diff(e) > 0).all():
        raise ValueError(f"edges must increase, got {e.tolist()}")
    return e
