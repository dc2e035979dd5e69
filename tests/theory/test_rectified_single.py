"""The noise at the output, and its gradient, beside `finegrain.theory.kinematics` in double precision."""

import numpy as np
import pytest

from finegrain.theory import kinematics, rectified_single

pytestmark = pytest.mark.T1


def problem(m, n, d=6, seed=0):
    """W with equal, opposite, nearly equal and zero neurons; means on and off the kinks; one flat covariance."""
    rng = np.random.default_rng(seed)
    W, A = rng.standard_normal((m, d)), rng.standard_normal((3, m))
    for row, factor in zip(W[1:5], (1, -1, 1 + 1e-6, 0), strict=False):
        row[:] = factor * W[0]
    root = rng.standard_normal((n, d, d)) / np.sqrt(d)
    root[-1, :, 1:] = 0
    mu = rng.standard_normal((n, d)) * rng.choice([0.3, 3, 30], (n, 1))
    return W, A, mu, root @ root.swapaxes(1, 2)


def single(W, A, mu, cov, slope, mean_bar):
    W_cov = W @ cov
    mean, products, pull = rectified_single.output_noise(mu @ W.T, W, W_cov, A, slope)
    return mean, products, *pull(mean_bar, np.arange(1.0, len(mu) + 1))


def double(W, A, mu, cov, slope, mean_bar):
    W_cov = W @ cov
    Q = W_cov @ W.T
    mean, covariance, pullback = kinematics.moments_and_pullback(mu @ W.T, Q, "leaky_relu", slope=slope)
    b_bar, Q_bar = pullback(mean_bar, np.broadcast_to(0.5 * A.T @ A, Q.shape))
    weights = np.arange(1.0, len(mu) + 1)
    return mean, covariance @ A.T, b_bar, np.tensordot(weights, 2 * Q_bar @ W_cov, axes=1)


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0, -1.0])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 2), (33, 5), (130, 2)])
def test_it_agrees_with_double_precision_within_its_bounds(m, n, slope):
    W, A, mu, cov = problem(m, n)
    mean_bar = np.random.default_rng(1).standard_normal((n, m))
    found, exact = (path(W, A, mu, cov, slope, mean_bar) for path in (single, double))
    np.testing.assert_allclose(found[0], exact[0], rtol=1e-13, atol=1e-13)  # the means are double

    scale = np.maximum((1 - slope) ** 2, 1)
    s = np.sqrt(np.einsum("md,nde,me->nm", W, cov, W))
    G = np.abs(A.T @ A)
    partners = s @ G  # sum_k |G_jk| s_k
    assert (np.abs(found[1] - exact[1]) <= 6e-5 * scale * s[..., None] * (s @ np.abs(A).T)[:, None]).all()
    assert (np.abs(found[2] - exact[2]) <= 2e-5 * scale * partners + 1e-13 * np.abs(mean_bar)).all()
    # Rows of W Sigma are at most s_k sqrt(largest eigenvalue) long.
    lengths = np.arange(1.0, n + 1) * np.sqrt(np.linalg.eigvalsh(cov)[:, -1])
    bound = 2e-5 * scale * lengths @ (s @ G) + 1e-12 * np.abs(exact[3]).max()
    assert (np.linalg.norm(found[3] - exact[3], axis=1) <= bound).all()


def test_the_bounds_are_not_idle():
    """Single precision is seen: the difference from double is above double's own rounding."""
    case = (*problem(40, 3), 0.0, np.zeros((3, 40)))
    assert np.abs(single(*case)[2] - double(*case)[2]).max() > 1e-10


@pytest.mark.parametrize(("size", "strip"), [(1, 1), (50, 7), (10**6, 100)])
def test_the_blocks_change_nothing_beyond_the_bounds(monkeypatch, size, strip):
    case = (*problem(37, 4), 0.2, np.ones((4, 37)))
    whole = single(*case)
    monkeypatch.setattr(rectified_single, "SIZE", size)
    monkeypatch.setattr(rectified_single, "STRIP", strip)
    for a, b in zip(single(*case), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())


def test_blocks_hold_every_pair_once_but_for_the_lower_halves_of_squares():
    seen = np.zeros((3, 37, 37), dtype=int)
    for block in rectified_single._blocks(3, 37):
        seen[block.components, block.rows, block.columns] += 1
    assert (np.triu(seen) == np.triu(np.ones((37, 37), dtype=int))).all()


def test_without_noise_the_noise_has_no_gradient():
    W, A, mu, cov = problem(9, 2)
    mean, products, b_bar, W_bar = single(W, A, mu, 0 * cov, 0.0, np.ones((2, 9)))
    np.testing.assert_array_equal(mean, np.maximum(mu @ W.T, 0))
    np.testing.assert_array_equal(b_bar, mu @ W.T > 0)
    np.testing.assert_array_equal(products, 0)
    np.testing.assert_array_equal(W_bar, 0)
