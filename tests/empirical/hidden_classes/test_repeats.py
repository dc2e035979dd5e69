"""Repeats: near-equal rows count once, points that the class sits on stay, grids are spread over their steps."""

import numpy as np
import pytest

from finegrain.empirical.hidden_classes.repeats import (
    FEWEST_OF_A_POINT,
    counted_once,
    near_equal,
    spread_over_steps,
)


@pytest.mark.parametrize("d", [1, 2, 8, 64, 300])
def test_independent_rows_are_not_near(d):
    x = np.random.default_rng(d).standard_normal((400, d))
    assert len(np.unique(near_equal(x))) > 0.9 * 400


@pytest.mark.parametrize("jitter", [0.0, 1e-6, 1e-3])
@pytest.mark.parametrize("d", [6, 64])
def test_repeated_rows_are_one_wherever_they_stand(d, jitter):
    rng = np.random.default_rng(d)
    of = rng.permutation(np.repeat(np.arange(60), 5))
    x = rng.standard_normal((60, d))[of] + jitter * rng.standard_normal((300, d))
    group = near_equal(x)
    assert len(np.unique(group)) == 60
    assert len(np.unique(np.stack([of, group]), axis=1).T) == 60
    rows, stands_for = counted_once(x)
    assert len(rows) == 60
    np.testing.assert_array_equal(of[rows][stands_for], of)


def test_a_point_that_holds_a_part_of_the_class_keeps_its_rows():
    x = np.repeat([[0.0, 1.0], [2.0, 1.0]], [40, 60], axis=0)
    rows, stands_for = counted_once(x)
    assert len(rows) == 100
    np.testing.assert_array_equal(np.sort(stands_for), np.arange(100))
    few = np.concatenate([x[: FEWEST_OF_A_POINT - 1], np.random.default_rng(0).standard_normal((80, 2))])
    assert len(counted_once(few)[0]) == 81


@pytest.mark.parametrize("scale", [2.0**-40, 1.0, 2.0**40])
def test_units_do_not_matter(scale):
    x = np.random.default_rng(0).standard_normal((100, 5))
    x[50:] = x[:50] + 1e-5
    assert len(np.unique(near_equal(scale * x))) == 50


def test_a_grid_is_spread_over_half_its_gaps_and_nothing_else_is():
    rng = np.random.default_rng(0)
    x = np.stack(
        [np.round(rng.standard_normal(500)), rng.standard_normal(500), rng.integers(0, 2, 500)], axis=1
    )
    spread = spread_over_steps(x, rng)
    np.testing.assert_array_equal(spread[:, 1:], x[:, 1:])
    assert np.abs(spread[:, 0] - x[:, 0]).max() <= 0.5
    assert len(np.unique(spread[:, 0])) == 500
    np.testing.assert_array_equal(np.round(x[:, 0]), x[:, 0])
