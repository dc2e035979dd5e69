"""Intervals: every valley is tried, the evidence is the likelihood ratio, and the floor lies in the valley."""

import numpy as np
import pytest

from finegrain.empirical.hidden_classes.intervals import (
    CELLS,
    FEWEST_BESIDE,
    NARROWEST,
    VALLEYS,
    WIDTHS,
    _cells,
    best_intervals,
    floors,
)
from finegrain.theory.valley import counts


def two_heaps(seed, n=400, share=0.3, distance=7.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(n) + distance * (np.arange(n) < share * n)


def log_ratio(beside, inside, wide, width):
    """The likelihood ratio of "denser than V", in plain words."""
    if beside < FEWEST_BESIDE or wide < NARROWEST * width:
        return -1.0
    share, even = beside / (beside + inside), wide / (wide + width)
    if share <= even:
        return -1.0
    empty = 0.0 if inside == 0 else inside * np.log((1 - share) / (1 - even))
    return beside * np.log(share / even) + empty


@pytest.mark.parametrize("seed", range(3))
def test_the_best_triple_is_the_best_of_all_tried_one_by_one(seed):
    p = two_heaps(seed, 120)[:, None]
    edges, below = _cells(p)
    best = -2.0
    for a, b in VALLEYS:
        sides = []
        for start, ends in ((a, [max(a - w, 0) for w in WIDTHS]), (b, [min(b + w, CELLS) for w in WIDTHS])):
            found = [
                log_ratio(
                    abs(below[0, e] - below[0, start]),
                    below[0, b] - below[0, a],
                    abs(edges[0, e] - edges[0, start]),
                    edges[0, b] - edges[0, a],
                )
                for e in ends
                if e != start
            ]
            sides.append(max(found))
        best = max(best, min(sides))
    assert best_intervals(p)[0][0] == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_edges_are_those_of_the_evidence(seed):
    p = two_heaps(seed)
    evidence, edges = best_intervals(p[:, None])
    left, valley, right = counts(p, edges[0])
    m, v, r = np.diff(edges[0])
    assert min(log_ratio(left, valley, m, v), log_ratio(right, valley, r, v)) == pytest.approx(
        evidence[0], rel=1e-6
    )


def test_columns_do_not_see_each_other():
    columns = np.stack([two_heaps(s) for s in range(4)], axis=1)
    evidence, edges = best_intervals(columns)
    for j in range(4):
        alone = best_intervals(columns[:, [j]])
        assert alone[0][0] == pytest.approx(evidence[j], rel=1e-12)
        np.testing.assert_allclose(alone[1][0], edges[j], rtol=1e-12)


def test_cells_hold_every_value():
    p = np.stack([two_heaps(0), np.zeros(400), np.repeat([0.0, 1.0], 200)], axis=1)
    edges, below = _cells(p)
    assert (below[:, -1] == 400).all()
    assert (edges[:, 0] <= p.min(axis=0) + 1e-9).all() and (edges[:, -1] >= p.max(axis=0) - 1e-9).all()


def test_the_floor_lies_between_the_heaps_and_in_the_valley():
    p = np.stack([two_heaps(1, 4000), two_heaps(2, 4000, 0.5, 4.0)], axis=1)
    evidence, edges = best_intervals(p)
    cuts = floors(p, edges)
    assert (edges[:, 1] <= cuts).all() and (cuts <= edges[:, 2]).all()
    assert 2 < cuts[0] < 5 and 1.2 < cuts[1] < 2.8
    assert counts(p[:, 0], edges[0])[1] < counts(p[:, 0], edges[0])[[0, 2]].min()
    assert evidence.min() > 50


def test_one_point_has_no_valley():
    assert best_intervals(np.zeros((50, 1)))[0][0] < 0
