"""Random Moments of six classes, what maps of the space make of them, and how far rounding may take a result."""

import numpy as np
from hypothesis import strategies as st

from finegrain.theory.moments import Moments, PooledCovariance

EPS = np.finfo(np.float64).eps
COARSE = np.array([0, 0, 1, 1, 1, 2])
seeds = st.integers(0, 2**32 - 1)


def draw(seed, num_classes=6, dim=7, kind="full"):
    """Well-conditioned random Moments: covariances I + L L^T/d, means N(0, I)."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((num_classes, dim, dim))
    covariances = np.eye(dim) + root @ root.transpose(0, 2, 1) / dim
    weights = rng.dirichlet(np.full(num_classes, 5.0))
    return in_size(Moments(weights, rng.standard_normal((num_classes, dim)), covariances), kind)


def in_size(moments, kind):
    """Full Moments in another size."""
    if kind == "diagonal":
        return Moments(moments.weights, moments.means, np.diagonal(moments.covariances, axis1=1, axis2=2))
    if kind == "pooled":
        return Moments(moments.weights, moments.means, PooledCovariance(moments.within, moments.traces))
    return moments


def transformed(moments, matrix, shift=0.0):
    """Moments of T h + shift."""
    covariances = matrix @ moments.covariances @ matrix.T
    covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
    return Moments(moments.weights, moments.means @ matrix.T + shift, covariances)


def slack(moments, condition=1.0):
    """Relative rounding bound: eps times the sizes times the condition numbers that the formulas divide by."""
    centred = np.sqrt(moments.weights)[:, None] * (moments.means - moments.weights @ moments.means)
    scales = np.linalg.svd(centred, compute_uv=False)[: moments.num_classes - 1]
    between = (scales[0] / scales[-1]) ** 2
    within = max(np.linalg.cond(c) for c in moments.covariances)
    return 64 * EPS * moments.dim * between * within * condition**2


def same(a, b, bound):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=bound, atol=bound)
