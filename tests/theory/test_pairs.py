"""Observables of pairs of classes: their formulas, what samples show, and the edges of their range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_moments import COARSE, EPS, draw, in_size, same, seeds, slack, transformed
from scipy.special import ndtr
from scipy.stats import special_ortho_group

from finegrain.theory import observables
from finegrain.theory.moments import Moments

PAIRS = {
    name: getattr(observables, name)
    for name in ("class_distances", "separation", "mahalanobis", "lda_accuracy", "bisector_accuracy")
}


@pytest.mark.parametrize("name", PAIRS)
@given(seed=seeds)
def test_pair_matrices_are_symmetric_and_follow_a_relabelling(name, seed):
    moments = draw(seed)
    order = np.random.default_rng(seed).permutation(moments.num_classes)
    shuffled = Moments(moments.weights[order], moments.means[order], moments.covariances[order])
    matrix = PAIRS[name](moments)
    np.testing.assert_array_equal(matrix, matrix.T)
    same(PAIRS[name](shuffled), matrix[np.ix_(order, order)], slack(moments))


@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_separation_and_distances_scale_as_they_say(seed, scale):
    moments = draw(seed)
    rotation = special_ortho_group.rvs(moments.dim, random_state=seed)
    image = transformed(moments, scale * rotation)
    same(observables.separation(image), observables.separation(moments), slack(moments))
    ratio = observables.class_distances(image) / observables.class_distances(moments)
    same(ratio / scale**2, np.ones_like(ratio), slack(moments))


@given(seed=seeds)
def test_pooled_covariances_are_exact_for_pairs_of_equal_covariance(seed):
    moments = draw(seed)
    equal = Moments(moments.weights, moments.means, np.stack([moments.covariances[0]] * 6))
    for name in ("mahalanobis", "lda_accuracy", "bisector_accuracy"):
        f = getattr(observables, name)
        same(f(in_size(equal, "pooled")), f(equal), slack(moments))


@given(seed=seeds)
def test_mahalanobis_and_accuracies_are_their_formulas(seed):
    moments = draw(seed)
    pi, mu, cov = moments.weights, moments.means, moments.covariances
    p = pi[0] / (pi[0] + pi[3])
    delta, pooled = mu[0] - mu[3], p * cov[0] + (1 - p) * cov[3]
    Delta = np.sqrt(delta @ np.linalg.solve(pooled, delta))
    tilt, n = np.log(p / (1 - p)) / Delta, delta / np.linalg.norm(delta)
    lda = p * ndtr(Delta / 2 + tilt) + (1 - p) * ndtr(Delta / 2 - tilt)
    half = np.linalg.norm(delta) / 2
    bisector = p * ndtr(half / np.sqrt(n @ cov[0] @ n)) + (1 - p) * ndtr(half / np.sqrt(n @ cov[3] @ n))
    same(observables.mahalanobis(moments)[0, 3], Delta, slack(moments))
    same(observables.lda_accuracy(moments)[0, 3], lda, slack(moments))
    same(observables.bisector_accuracy(moments)[0, 3], bisector, slack(moments))


@pytest.mark.T10
@given(seed=seeds, share=st.floats(0.05, 0.95))
def test_gaussian_samples_meet_the_predicted_accuracies(seed, share):
    n, rng = 4000, np.random.default_rng(seed)
    drawn = draw(seed, num_classes=2, dim=3)
    cov = drawn.covariances[0]
    moments = Moments([share, 1 - share], drawn.means, np.stack([cov, cov]))
    y = rng.random(n) < share  # True: class 0
    mu = moments.means
    x = np.where(y[:, None], mu[0], mu[1]) + rng.multivariate_normal(np.zeros(3), cov, n)
    score = (x - mu.mean(0)) @ np.linalg.solve(cov, mu[0] - mu[1]) + np.log(share / (1 - share))
    nearest = np.sum((x - mu[0]) ** 2, 1) < np.sum((x - mu[1]) ** 2, 1)
    five_standard_errors = 5 * 0.5 / np.sqrt(n)
    assert abs(np.mean((score > 0) == y) - observables.lda_accuracy(moments)[0, 1]) < five_standard_errors
    assert abs(np.mean(nearest == y) - observables.bisector_accuracy(moments)[0, 1]) < five_standard_errors


@pytest.mark.T10
@given(seed=seeds)
def test_the_nearest_centre_is_never_better_than_lda_where_both_are_exact(seed):
    moments = draw(seed)
    equal = Moments(moments.weights, moments.means, np.stack([moments.covariances[0]] * 6))
    assert (observables.bisector_accuracy(equal) <= observables.lda_accuracy(equal) + 8 * EPS).all()


@pytest.mark.T10
def test_accuracies_are_not_exact_beyond_gaussians():
    """h = relu(z), z ~ N(+-1/2, 1): LDA on Moments 0.661, Bayes accuracy Phi(1/2) = 0.6915 (sign of z - 0)."""
    b = np.array([0.5, -0.5])
    density = np.exp(-(b**2) / 2) / np.sqrt(2 * np.pi)
    means = b * ndtr(b) + density
    variances = (b**2 + 1) * ndtr(b) + b * density - means**2
    relu = Moments([0.5, 0.5], means[:, None], variances[:, None, None])
    assert round(float(observables.lda_accuracy(relu)[0, 1]), 3) == 0.661
    assert round(float(ndtr(0.5)), 4) == 0.6915


@pytest.mark.T10
@pytest.mark.parametrize(("tau2", "expected"), [(1.0, ndtr(1)), (2.13, ndtr(1)), (2.15, 0.5), (9.0, 0.5)])
def test_two_means_leaves_the_bisector_at_its_threshold(tau2, expected):
    """delta = (2, 0), s = 1: the threshold (pi/2)(E|X|)^2 = 2.138."""
    absolute = 2 * np.exp(-0.5) / np.sqrt(2 * np.pi) + 1 - 2 * ndtr(-1)
    assert round(np.pi / 2 * absolute**2, 3) == 2.138
    moments = Moments([0.5, 0.5], [[1.0, 0], [-1, 0]], np.stack([np.diag([1.0, tau2])] * 2))
    # Lloyd stops when steps fall below 1e-13; near the thresholds it contracts by 0.9 a step at worst.
    assert abs(observables.two_means_accuracy(moments)[0, 1] - expected) < 1e-11
    same(observables.bisector_accuracy(moments)[0, 1], ndtr(1), 8 * EPS)


def test_coincident_means_are_a_coin_toss_and_noise_free_differences_are_certain():
    same_means = Moments([0.25, 0.75], np.ones((2, 2)), np.stack([np.eye(2)] * 2))
    assert observables.mahalanobis(same_means)[0, 1] == 0
    assert observables.lda_accuracy(same_means)[0, 1] == 0.75  # the larger class
    assert observables.bisector_accuracy(same_means)[0, 1] == 0.5
    assert observables.two_means_accuracy(same_means)[0, 1] == 0.5
    flat = Moments([0.5, 0.5], [[0.0, 1], [0, 0]], np.stack([np.diag([1.0, 0])] * 2))
    assert observables.mahalanobis(flat)[0, 1] == np.inf
    assert observables.lda_accuracy(flat)[0, 1] == observables.bisector_accuracy(flat)[0, 1] == 1
    assert "mahalanobis" not in observables.table(flat, [0, 0])


@pytest.mark.parametrize("seed", range(8))
def test_a_difference_free_of_noise_is_found_where_rounding_makes_its_variance_negative(seed):
    """delta = 10 u and Cov = v v^T, u and v orthonormal: u^T Cov u is 0, and in floating point as often below it."""
    u, v = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 2)))[0].T
    moments = Moments([0.5, 0.5], [5 * u, -5 * u], np.stack([np.outer(v, v)] * 2))
    assert observables.two_means_accuracy(moments)[0, 1] == 1


@given(seed=seeds, small=st.floats(1e-3, 1))
def test_mahalanobis_in_a_larger_space_keeps_the_distance_of_the_smaller(seed, small):
    """h = W x with m > d: Cov is singular, delta lies in its range, and the pseudo-inverse is right."""
    moments, rng = draw(seed, dim=3), np.random.default_rng(seed)
    W = np.linalg.qr(rng.standard_normal((10, 3)))[0] * np.array([1.0, 1.0, small])
    condition = max(np.linalg.cond(c) for c in moments.covariances) / small**2
    image = transformed(moments, W)
    same(observables.mahalanobis(image), observables.mahalanobis(moments), 64 * 10 * EPS * condition)


@given(seed=seeds)
def test_nc4_is_the_rate_of_agreement_on_gaussian_samples(seed):
    n, rng, moments = 20_000, np.random.default_rng(seed), draw(seed, num_classes=3, dim=4)
    A, b = moments.means + 0.5 * rng.standard_normal((3, 4)), 0.3 * rng.standard_normal(3)
    rates = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        weights = moments.weights[[i, j]] / moments.weights[[i, j]].sum()
        for c, weight in zip((i, j), weights, strict=True):
            h = rng.multivariate_normal(moments.means[c], moments.covariances[c], n)
            network = (h @ (A[i] - A[j]) + b[i] - b[j]) > 0
            centre = np.sum((h - moments.means[i]) ** 2, 1) < np.sum((h - moments.means[j]) ** 2, 1)
            rates.append(weight * np.mean(network == centre) / 3)
    assert abs(sum(rates) - observables.nc4(moments, A, b)) < 5 * 0.5 / np.sqrt(n)


def test_nc4_is_one_for_the_nearest_centre_classifier():
    moments = draw(0)
    bias = -np.sum(moments.means**2, axis=1) / 2
    # arccos of a correlation of 1 - eps: a disagreement of sqrt(eps).
    assert 1 - observables.nc4(moments, moments.means, bias) <= 4 * np.sqrt(EPS)


@given(seed=seeds)
def test_means_inside_coarse_classes_are_those_of_the_matrix(seed):
    moments = draw(seed)
    for f in PAIRS.values():
        matrix = f(moments)
        inside = [matrix[0, 1], np.mean([matrix[2, 3], matrix[2, 4], matrix[3, 4]]), np.nan]
        np.testing.assert_allclose(observables.inside(f, moments, COARSE), inside, rtol=slack(moments))
        pairs = [matrix[0, 1], matrix[2, 3], matrix[2, 4], matrix[3, 4]]
        np.testing.assert_allclose(f(moments, COARSE), np.mean(pairs), rtol=slack(moments))


def test_pairs_in_pieces_are_the_pairs_at_once(monkeypatch):
    moments = draw(1)
    whole = [f(moments) for f in PAIRS.values()]
    monkeypatch.setattr("finegrain.theory.pairs.PAIR_ENTRIES", 100)
    for f, expected in zip(PAIRS.values(), whole, strict=True):
        same(f(moments), expected, slack(moments))
