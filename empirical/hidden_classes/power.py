"""What discover could have seen: the chance that it finds a stratum, before any data, and the smallest it would find.

Take n samples with unit noise in d dimensions, a share p of them delta away. Half choose the discriminant between the
n_1 = n p / 2 and the n_2 = n (1 - p) / 2, in k axes; what its estimate leaves of the distance is, in the mean,

    delta'^2 = delta^4 / (delta^2 + k / n_1 + k / n_2) (1 - 2 k / n)

(Raudys 1967; Lachenbruch 1968). On that line the rest is a problem of one dimension, with no fitted parameter: samples
at distance delta', intervals chosen on one half, the valley test on the other, over as many halves. It is drawn, not
solved. What is left out is a search that does not come near the stratum at all: rare where p (1 - p) delta^2 passes
sqrt(d / n), where the leading component starts to see it (Baik, Ben Arous & Peche 2005).

Source: this project, T25.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.stats import binom

from finegrain.empirical.hidden_classes.intervals import best_intervals
from finegrain.empirical.hidden_classes.splits import AXES, FEWEST, HALVES, PER_AXIS, combined
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

DRAWS = 200  # a power of 1/2 is good to 0.035
FARTHEST = 64.0  # standard deviations: a stratum not found there has too few samples


def predicted_power(
    n: int, d: int, share: float, distance: float, *, level: float = 0.05, draws: int = DRAWS, seed: int = 0
) -> float:
    """The probability in [0, 1] that discover splits a class of n samples in d dimensions.

    Args:
        share: of the stratum, in (0, 1/2].
        distance: of its mean from the others', in standard deviations of the noise.
        level: of the test.
        draws: of the line; the standard error is at most 1/(2 sqrt(draws)).

    Raises:
        ValueError: n or d below 1, a share or a level out of its range, or a distance below 0.
    """
    checks.integer("n", n, 1)
    checks.integer("d", d, 1)
    checks.integer("draws", draws, 1)
    checks.at_least("distance", distance, 0)
    if not 0 < share <= 0.5:
        raise ValueError(f"share must be in (0, 0.5], got {share}")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    rare = round(share * n)
    if n < FEWEST or rare < 2:
        return 0.0
    seen = _seen(n, d, rare / n, distance)
    rng = np.random.default_rng([seed, n, d])
    line = rng.standard_normal((n, draws))
    line[:rare] += seen
    p_values = np.array([_one_half(line, rng) for _ in range(HALVES)])
    return sum(combined(column) <= level for column in p_values.T.tolist()) / draws


@lru_cache(maxsize=256)
def smallest_distance(n: int, d: int, share: float, *, power: float = 0.9, level: float = 0.05) -> float:
    """How far off a stratum of this share is found with such power, in standard deviations, to 0.1; inf if never.

    Raises:
        ValueError: as `predicted_power`, or a power outside (0, 1).
    """
    if not 0 < power < 1:
        raise ValueError(f"power must be in (0, 1), got {power}")
    if predicted_power(n, d, share, FARTHEST, level=level) < power:
        return float("inf")
    low, high = 0.0, FARTHEST
    while high - low > 0.1:
        middle = (low + high) / 2
        low, high = (
            (low, middle) if predicted_power(n, d, share, middle, level=level) >= power else (middle, high)
        )
    return round(high, 1)


def _seen(n: int, d: int, share: float, distance: float) -> float:
    """delta', the distance on the line that half of the samples choose."""
    half = n / 2
    axes = max(1, min(int(np.mean(AXES)), n // (2 * PER_AXIS), d))
    noise = axes / (share * half) + axes / ((1 - share) * half)
    return distance**2 / np.sqrt(distance**2 + noise) * np.sqrt(1 - axes / half) if distance else 0.0


def _one_half(lines: Array, rng: np.random.Generator) -> Array:
    """The valley test's p-value (B,) of half of each column of lines (n, B), intervals chosen on its other half."""
    shuffled = rng.permuted(lines, axis=0)
    choose, test = np.array_split(shuffled, 2)
    evidence, edges = best_intervals(choose)
    below = [(test < edge).sum(axis=0) for edge in edges.T]
    left, valley, right = (after - before for before, after in pairwise(below))
    widths = np.diff(edges, axis=1).T
    tails = [
        binom.sf(side - 1, side + valley, width / (width + widths[1]))
        for side, width in ((left, widths[0]), (right, widths[2]))
    ]
    return np.where(evidence > 0, np.maximum(*tails), 1.0)
