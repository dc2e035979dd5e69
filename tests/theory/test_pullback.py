"""Pullbacks of the moments of phi(W x): against finite differences, and down to weights that vanish."""

from __future__ import annotations

import numpy as np
import pytest
from gaussian_layers import SLOPE, activations, problem

from finegrain.theory import kinematics

pytestmark = pytest.mark.T1


def cotangents(seed, b):
    rng = np.random.default_rng(seed)
    return rng.normal(size=b.shape), rng.normal(size=(*b.shape, b.shape[-1]))


@activations
@pytest.mark.parametrize("scale", [1e-3, 1.0, 5.0])
def test_pullback_agrees_with_finite_differences(activation, scale):
    """Central differences at two steps, extrapolated: their distance bounds truncation, eps/step rounding."""
    b, Q = problem(5, scale=scale)
    mean_bar, cov_bar = cotangents(6, b)
    _, _, pullback = kinematics.moments_and_pullback(b, Q, activation, slope=SLOPE)
    b_bar, Q_bar = pullback(mean_bar, cov_bar)
    rng = np.random.default_rng(7)

    def loss(b, Q):
        mean, covariance = kinematics.activation_moments(b, Q, activation, slope=SLOPE)
        terms = np.concatenate([(mean_bar * mean).ravel(), (cov_bar * covariance).ravel()])
        return terms.sum(), np.abs(terms).sum()

    for _ in range(4):
        db = scale * rng.normal(size=b.shape)
        root = rng.normal(size=Q.shape)
        dQ = scale**2 * (root + root.swapaxes(1, 2)) / 10
        slopes = [
            (loss(b + e * db, Q + e * dQ)[0] - loss(b - e * db, Q - e * dQ)[0]) / (2 * e)
            for e in (2e-4, 1e-4)
        ]
        estimate = (4 * slopes[1] - slopes[0]) / 3
        tolerance = abs(estimate - slopes[1]) + 10 * np.finfo(float).eps * loss(b, Q)[1] / 1e-4
        assert abs((b_bar * db).sum() + (Q_bar * dQ).sum() - estimate) <= tolerance
    np.testing.assert_array_equal(Q_bar, Q_bar.swapaxes(1, 2))


@activations
def test_pullback_sees_the_symmetric_part_alone_and_is_linear(activation):
    b, Q = problem(8)
    mean_bar, cov_bar = cotangents(9, b)
    _, _, pullback = kinematics.moments_and_pullback(b, Q, activation)
    direct = pullback(mean_bar, cov_bar)
    for other in (
        pullback(mean_bar, cov_bar.swapaxes(1, 2)),
        [
            x + y
            for x, y in zip(pullback(mean_bar, 0 * cov_bar), pullback(0 * mean_bar, cov_bar), strict=True)
        ],
    ):
        for a, c in zip(direct, other, strict=True):
            np.testing.assert_allclose(a, c, rtol=0, atol=1e-13 * np.abs(a).max())


@pytest.mark.parametrize("c", [2.0**-27, 2.0**-500, 2.0**100])
def test_weight_gradient_of_relu_means_does_not_depend_on_the_scale_of_the_weights(c):
    """Means are homogeneous of degree one in W, covariances of degree two, down to W = 1e-150."""
    rng = np.random.default_rng(10)
    W, mu, root = rng.normal(size=(6, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3, 4, 4))
    Sigma = root @ root.swapaxes(1, 2)

    def gradient(W, mean_bar, cov_bar):
        b, spread = mu @ W.T, W @ Sigma
        _, _, pullback = kinematics.moments_and_pullback(b, spread @ W.T)
        b_bar, Q_bar = pullback(mean_bar, cov_bar)
        return np.einsum("cj,cd->jd", b_bar, mu) + 2 * (Q_bar @ spread).sum(axis=0)

    mean_bar, cov_bar = cotangents(11, mu @ W.T)
    np.testing.assert_array_equal(gradient(c * W, mean_bar, 0 * cov_bar), gradient(W, mean_bar, 0 * cov_bar))
    np.testing.assert_array_equal(
        gradient(c * W, 0 * mean_bar, cov_bar), c * gradient(W, 0 * mean_bar, cov_bar)
    )


def test_weight_gradient_keeps_its_documented_bound_as_one_neuron_vanishes():
    """phi(h) (|h| + E|X|) < 1/2 bounds 2 s_j dCov_jk/dQ_jj / s_k, as relu is 1-Lipschitz; phi(0)/2 < 1/5."""
    b, Q = problem(12, n=1, m=4)
    mean_bar, cov_bar = cotangents(13, b)
    for s in (1e-8, 1e-150, 1e-161):
        shrink = np.diag([s, 1.0, 1.0, 1.0])
        Q_small = shrink @ Q @ shrink
        b_small = b * np.diagonal(shrink)
        _, _, pullback = kinematics.moments_and_pullback(b_small, Q_small)
        b_bar, Q_bar = pullback(mean_bar, cov_bar)
        assert np.isfinite(b_bar).all() and np.isfinite(Q_bar).all()
        deviation = np.sqrt(np.diagonal(Q_small[0]))
        S = np.abs(cov_bar + cov_bar.swapaxes(1, 2))[0, 0]
        bound = abs(mean_bar[0, 0]) / 5 + S @ deviation / 4 + S[0] * deviation[0] / 2
        assert 0 < abs(Q_bar[0, 0, 0]) * deviation[0] <= bound


def test_without_variance_the_pullback_is_that_of_phi():
    """relu'(0) = 0, and dCov_jk/dQ_jk = relu'(b_j) relu'(b_k)."""
    b = np.array([[-1.0, 0.0, 2.0, 1e-9]])
    mean_bar, cov_bar = cotangents(14, b)
    _, _, pullback = kinematics.moments_and_pullback(b, np.zeros((1, 4, 4)))
    b_bar, Q_bar = pullback(mean_bar, cov_bar)
    on = (b > 0).astype(float)
    np.testing.assert_array_equal(b_bar, mean_bar * on)
    symmetric = 0.5 * (cov_bar + cov_bar.swapaxes(1, 2))
    np.testing.assert_array_equal(Q_bar, symmetric * on[:, :, None] * on[:, None, :])


def test_leading_axes_are_a_batch():
    b, Q = problem(15, n=6, m=4)
    mean, covariance, pullback = kinematics.moments_and_pullback(b.reshape(2, 3, 4), Q.reshape(2, 3, 4, 4))
    mean_bar, cov_bar = cotangents(16, mean)
    b_bar, Q_bar = pullback(mean_bar, cov_bar)
    for i in np.ndindex(2, 3):
        mean_i, covariance_i, pullback_i = kinematics.moments_and_pullback(
            b[3 * i[0] + i[1]], Q[3 * i[0] + i[1]]
        )
        b_bar_i, Q_bar_i = pullback_i(mean_bar[i], cov_bar[i])
        for batched, alone in (
            (mean, mean_i),
            (covariance, covariance_i),
            (b_bar, b_bar_i),
            (Q_bar, Q_bar_i),
        ):
            np.testing.assert_allclose(batched[i], alone, rtol=0, atol=1e-14 * np.abs(alone).max())
