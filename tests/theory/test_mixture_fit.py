"""Fitting Gaussians: R by held-out likelihood, and what each shape of search looks at."""

import re

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from finegrain.theory.mixture import Mixture
from finegrain.theory.mixture_fit import RIDGE, choose_components, log_likelihood
from finegrain.theory.moments import Moments


def four_clusters(count, seed=0):
    """Two classes of two round clusters each in five dimensions, ten standard deviations apart."""
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(4, 5)
    which = np.arange(count) % 4
    return centres[which] + rng.standard_normal((count, 5)), which // 2


@pytest.mark.parametrize("shape", ["full", "spherical"])
def test_held_out_likelihood_finds_the_number_of_clusters(shape):
    x, fine = four_clusters(800)
    assert choose_components(x, fine, shape=shape, candidates=(1, 2, 4, 8)) == 2


def test_held_out_likelihood_does_not_split_what_is_gaussian_or_too_small():
    rng = np.random.default_rng(1)
    assert choose_components(rng.standard_normal((600, 4)), np.arange(600) % 2, candidates=(1, 2, 4)) == 1
    x, fine = rng.standard_normal((16, 2)), np.arange(16) % 2
    assert choose_components(x, fine, candidates=(1, 4, 8)) == 1  # six samples a class in the fit


def test_two_samples_for_each_component_are_enough():
    """Eight a class, of which six are fitted: three components and no more."""
    x, fine = np.random.default_rng(3).standard_normal((16, 2)), np.arange(16) % 2
    assert choose_components(x, fine, candidates=(3,)) == 3
    with pytest.raises(ValueError, match=r"candidates must hold a number .*, got \[4\]"):
        choose_components(x, fine, candidates=(4,))


def test_a_constant_coordinate_changes_no_choice():
    x, fine = four_clusters(800)
    padded = np.hstack([x, np.ones((800, 1))])
    assert (
        choose_components(padded, fine, candidates=(1, 2))
        == choose_components(x, fine, candidates=(1, 2))
        == 2
    )


def test_the_likelihood_is_that_of_the_components_densities():
    x, fine = four_clusters(400)
    fitted = Mixture.fit(x, fine, [0, 1], 3).moments
    expected, ridge = 0.0, RIDGE * x.var(axis=0).mean() * np.eye(5)
    for c in (0, 1):
        own = range(3 * c, 3 * c + 3)
        shares = fitted.weights[3 * c : 3 * c + 3] / fitted.weights[3 * c : 3 * c + 3].sum()
        parts = [
            np.log(p)
            + multivariate_normal(fitted.means[j], fitted.covariances[j] + ridge).logpdf(x[fine == c])
            for p, j in zip(shares, own, strict=True)
        ]
        expected += logsumexp(parts, axis=0).sum()
    assert log_likelihood(fitted, x, fine, 3) == pytest.approx(expected, rel=1e-12)


def test_a_spherical_search_splits_along_the_longest_direction_not_the_clearest():
    """One class, long along x, with two clusters along y: distance sees x alone."""
    rng = np.random.default_rng(2)
    side = np.where(np.arange(2000) % 2, 1, -1)
    x = np.column_stack([30 * rng.uniform(-1, 1, 2000), side + 0.1 * rng.standard_normal(2000)])
    means = Mixture.fit(x, np.zeros(2000, int), [0], 2, shape="spherical").moments.means
    along, across = np.abs(means[0] - means[1])
    assert along > 20 and across < 0.2


@pytest.mark.parametrize("shape", ["full", "spherical"])
def test_every_shape_keeps_the_moments_of_each_class(shape):
    x, fine = four_clusters(400)
    fitted = Mixture.fit(x, fine, [0, 1], 4, shape=shape).fine_moments
    samples = Moments.from_samples(x, fine)
    scale = 400 * np.finfo(float).eps * np.abs(x).max() ** 2
    np.testing.assert_allclose(fitted.means, samples.means, rtol=0, atol=scale)
    np.testing.assert_allclose(fitted.covariances, samples.covariances, rtol=0, atol=scale)


BAD_CALLS = [
    ({"shape": "oval"}, "shape must be one of full, spherical; got 'oval'"),
    ({"candidates": (900,)}, "candidates must hold a number the smallest class allows, got [900]"),
    ({"candidates": ()}, "candidates must hold a number the smallest class allows, got []"),
    ({"fine": np.r_[np.zeros(95, int), np.ones(5, int)]}, "fine must hold every class at least 8 times"),
    ({"x": np.full((100, 5), np.nan)}, "x must be finite"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS)
def test_bad_input_is_named(change, message):
    x, fine = four_clusters(100)
    with pytest.raises(ValueError, match=re.escape(message)):
        choose_components(**({"x": x, "fine": fine} | change))
