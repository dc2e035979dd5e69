"""Does a part of a class hide two groups? A direction chosen on half of its samples, tested on the other half.

No structure means: every projection of the class onto a line has one mode. Against that,

    choose    on a random half, the direction and the three intervals that show a valley best (directions.py)
    test      on the other half, which had no say in the choice, the valley test: exact for every law and size
    repeat    over HALVES halves, and combine their p-values

All halves are drawn alike, so that their p-values are exchangeable, and the share of p_1..p_l that are at most alpha/2
is a martingale from the last l to the first. By Ville's inequality it reaches 1/2, at any l, with a probability of at
most alpha. So the least over l of twice the lower median of p_1..p_l is a p-value, and it may stop at any l.

Source: this project, T18, T25; Gasparin, Wang & Ramdas (2025), Combining exchangeable p-values, PNAS 122.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finegrain.empirical.hidden_classes.directions import Valley, clearest_valley
from finegrain.theory.tools.arrays import Array
from finegrain.theory.valley import p_value

HALVES = 7  # random choices a test
AXES = (32, 64)  # leading components that a half looks at, drawn anew for each
PER_AXIS = 8  # samples an axis, at least, where a direction is chosen
FEWEST = 24  # samples that can be split and tested
ENOUGH = 1e-3  # of the level: further halves would not change the answer


def combined(p_values: Sequence[float]) -> float:
    """One p-value from exchangeable ones, in the order they came: the least of twice the lower median so far."""
    return min(1.0, *(2 * sorted(p_values[:seen])[(seen - 1) // 2] for seen in range(1, len(p_values) + 1)))


def one_mode(x: Array, level: float, rng: np.random.Generator) -> tuple[float, list[Valley]]:
    """p-value of "every projection of this law has one mode", samples (n, D), and the valleys that halves chose.

    1 for too few samples to tell. The clearest valley in the eyes of the tested halves comes first.
    """
    if len(x) < FEWEST:
        return 1.0, []
    p_values, valleys = [], []
    for _ in range(HALVES):
        choose, test = (x[half] for half in np.array_split(rng.permutation(len(x)), 2))
        valley = clearest_valley(choose, axes_for(choose, rng), rng)
        p = 1.0 if valley is None else p_value(test @ valley.direction, valley.edges)
        p_values.append(p)
        if valley is not None:
            valleys.append((p, valley))
        few = sum(p > 0.5 for p in p_values) > HALVES / 2
        if few or (len(p_values) > 2 and combined(p_values) <= ENOUGH * level):
            break
    return combined(p_values), [valley for _, valley in sorted(valleys, key=lambda one: one[0])]


def two_sides(x: Array, valleys: list[Valley], rng: np.random.Generator) -> Valley | None:
    """The clearest valley of all samples (n, D), sought anew and from those that the halves chose."""
    sides = tuple(valley.beyond(x) for valley in valleys[:3])
    return clearest_valley(x, axes_for(x, rng), rng, sides)


def held_out_parts(x: Array, level: float, rng: np.random.Generator) -> int:
    """Parts of samples (n, D) by cuts that are all chosen on one half of them and tested on the other.

    With a probability of at least 1 - level every cut divides a law that has two modes on some line: the level halves
    with each generation of parts, a part is tested only where the one before was cut, and over the parts that should
    not be cut, though all before them should, the sum of 2^-generation is at most 1 (Kraft).
    """
    choose, test = (x[half] for half in np.array_split(rng.permutation(len(x)), 2))

    def parts(chosen: Array, tested: Array, level: float) -> int:
        if len(chosen) < FEWEST // 2:
            return 1
        valley = clearest_valley(chosen, axes_for(chosen, rng), rng)
        if valley is None or p_value(tested @ valley.direction, valley.edges) > level:
            return 1
        sides = valley.beyond(chosen), valley.beyond(tested)
        return sum(parts(chosen[sides[0] == s], tested[sides[1] == s], level / 2) for s in (False, True))

    return parts(choose, test, level)


def axes_for(x: Array, rng: np.random.Generator) -> int:
    """How many leading components to look at: drawn, and no more than the samples bear."""
    return max(1, min(int(rng.choice(AXES)), len(x) // PER_AXIS, x.shape[1]))
