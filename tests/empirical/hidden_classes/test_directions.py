"""Directions: whitened, found where the strata are, and never drawn towards the sample that is projected."""

import numpy as np
import pytest

from finegrain.empirical.hidden_classes.directions import between_means, clearest_valley, whitening


def strata(seed, n, d, share, distance):
    rng = np.random.default_rng(seed)
    axis = rng.standard_normal(d)
    axis /= np.linalg.norm(axis)
    return rng.standard_normal((n, d)) + np.outer(np.arange(n) < share * n, distance * axis), axis


@pytest.mark.parametrize("shape", [(200, 30), (40, 300)])
def test_whitened_components_have_unit_variance_and_are_the_leading_ones(shape):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) * np.linspace(3, 1, shape[1]) + 5
    mean, scale = whitening(x, 8)
    z = (x - mean) @ scale
    np.testing.assert_allclose(z.T @ z / len(x), np.eye(8), atol=1e-9)
    largest = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[:8]
    np.testing.assert_allclose(1 / np.linalg.norm(scale, axis=0), largest / np.sqrt(len(x)), rtol=1e-9)


@pytest.mark.parametrize("x", [np.ones((30, 4)), np.zeros((30, 4)), np.ones((5, 40))])
def test_a_constant_class_has_no_direction(x):
    assert clearest_valley(x, 4, np.random.default_rng(0)) is None


@pytest.mark.parametrize(("share", "distance"), [(0.5, 5), (0.05, 7), (0.02, 10)])
def test_the_direction_is_the_one_that_separates(share, distance):
    x, axis = strata(3, 1500, 20, share, distance)
    valley = clearest_valley(x, 20, np.random.default_rng(0))
    assert abs(valley.direction @ axis) / np.linalg.norm(valley.direction) > 0.95
    rare = np.arange(len(x)) < share * len(x)
    right = np.mean(valley.beyond(x) == rare)
    assert max(right, 1 - right) > 0.98


def test_each_sample_is_projected_on_the_direction_made_without_it():
    rng = np.random.default_rng(1)
    z, side = rng.standard_normal((30, 5)), rng.random((30, 3)) < 0.4
    directions, projections = between_means(z, side)
    for i, j in [(0, 0), (7, 1), (29, 2)]:
        rest = np.arange(30) != i
        gap = z[rest & side[:, j]].mean(axis=0) - z[rest & ~side[:, j]].mean(axis=0)
        length = np.linalg.norm(z[side[:, j]].mean(axis=0) - z[~side[:, j]].mean(axis=0))
        assert projections[i, j] == pytest.approx(z[i] @ gap / length, rel=1e-9)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1)


def test_a_cut_that_is_given_is_a_start():
    """Where the search's own starts see a larger valley, the given side is still tried."""
    x, _ = strata(5, 300, 6, 0.4, 8)
    side = np.arange(300) < 120
    valley = clearest_valley(x, 6, np.random.default_rng(0), (side,))
    right = np.mean(valley.beyond(x) == side)
    assert max(right, 1 - right) > 0.99
