"""Moments of phi(W x) against quadrature, sampling and their symmetries.

`finegrain.theory.gaussian` is right to 1e-15 s_j s_k for a pair, so covariances are compared on that scale (UNIT).
"""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from gaussian_layers import SLOPE, activations, problem
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf

from finegrain.theory import kinematics
from finegrain.theory.moments import Moments, PooledCovariance

pytestmark = pytest.mark.T1

UNIT = 4e-15
PHI = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, SLOPE * z),
    "erf": erf,
    "square": lambda z: z * z,
}


def deviations(Q):
    s = np.sqrt(np.diagonal(Q, axis1=-2, axis2=-1))
    return s[..., :, None] * s[..., None, :]


problems = st.builds(
    problem,
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.integers(1, 7),
    st.sampled_from([1e-6, 0.1, 1.0, 30.0]),
)


def test_identity_is_exact():
    b, Q = problem(0)
    mean, covariance = kinematics.activation_moments(b, Q, "identity")
    np.testing.assert_array_equal(mean, b)
    np.testing.assert_array_equal(covariance, Q)


@pytest.mark.parametrize("r", [0.0, 1e-10, -0.6, 0.98, 1.0])
@pytest.mark.parametrize("s", [1e-7, 1.0, 20.0])
def test_erf_covariance_agrees_with_quadrature(r, s):
    """Cov = E (erf z_1 - c_1) E[erf z_2 | z_1], in 40 digits; small r s^2 keeps its digits."""
    b = np.array([0.3, -0.8])
    Q = np.array([[s * s, r * s * s], [r * s * s, s * s]])
    _, covariance = kinematics.activation_moments(b, Q, "erf")
    with mp.workdps(40):
        variance, shared = mp.mpf(float(Q[0, 0])), mp.mpf(float(Q[0, 1]))
        wide = mp.sqrt(1 + 2 * variance)
        b_1, b_2 = (mp.mpf(float(v)) for v in b)

        def f(x):
            mean = b_2 + shared / mp.sqrt(variance) * x
            left = mp.sqrt(max(1 + 2 * (variance - shared**2 / variance), 1))
            return (
                mp.npdf(x) * (mp.erf(b_1 + mp.sqrt(variance) * x) - mp.erf(b_1 / wide)) * mp.erf(mean / left)
            )

        kinks = [-b_1 / mp.sqrt(variance), -b_2 / mp.sqrt(variance)]
        points = [p + i / mp.sqrt(variance) for p in kinks for i in (-3, 0, 3)] + [
            mp.mpf(i) for i in (-6, -2, 2, 6)
        ]
        exact = float(mp.quad(f, sorted({mp.mpf(-15), mp.mpf(15), *(p for p in points if abs(p) < 15)})))
    quadrature = 1e-25 * s * s
    tolerance = 1e-13 * abs(exact) + quadrature if s < 1 else UNIT
    assert abs(covariance[0, 1] - exact) <= tolerance


def test_square_moments_agree_with_gauss_hermite():
    """Five nodes are exact for polynomials of degree nine."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = weights / weights.sum()
    b, Q = problem(1, n=1, m=2)
    x = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    w = np.outer(weights, weights).ravel()
    h = (b[0] + x @ np.linalg.cholesky(Q[0]).T) ** 2
    mean, covariance = kinematics.activation_moments(b[0], Q[0], "square")
    np.testing.assert_allclose(mean, w @ h, rtol=1e-13)
    np.testing.assert_allclose(covariance, (h - w @ h).T @ (w[:, None] * (h - w @ h)), rtol=1e-12)


@given(problems)
def test_leaky_relu_is_a_combination_of_rectified_halves(case):
    """phi(z) = relu(z) - a relu(-z), so its moments are those of relu at 2m neurons z and -z."""
    b, Q = case
    m = b.shape[1]
    mean, covariance = kinematics.activation_moments(b, Q, "leaky_relu", slope=SLOPE)
    both = np.concatenate([np.eye(m), -np.eye(m)])
    part_mean, part_covariance = kinematics.activation_moments(b @ both.T, both @ Q @ both.T, "relu")
    fold = np.concatenate([np.eye(m), -SLOPE * np.eye(m)], axis=1)
    scale = 1 + np.abs(b).max() + np.sqrt(Q.max())
    np.testing.assert_allclose(mean, part_mean @ fold.T, rtol=0, atol=UNIT * scale)
    assert (np.abs(covariance - fold @ part_covariance @ fold.T) <= 2 * UNIT * deviations(Q)).all()


@given(problems)
def test_leaky_relu_spans_identity_and_relu(case):
    b, Q = case
    mean, covariance = kinematics.activation_moments(b, Q, "leaky_relu", slope=1)
    np.testing.assert_array_equal(mean, b)
    assert (np.abs(covariance - Q) <= UNIT * deviations(Q)).all()
    for leaky, relu in zip(
        kinematics.activation_moments(b, Q, "leaky_relu", slope=0),
        kinematics.activation_moments(b, Q),
        strict=True,
    ):
        np.testing.assert_array_equal(leaky, relu)


@given(problems)
def test_zero_mean_erf_gives_the_arcsine_kernel(case):
    """Williams (1997): (2/pi) asin(2 Q_12/(D_1 D_2))."""
    _, Q = case
    D = np.sqrt(1 + 2 * np.diagonal(Q, axis1=1, axis2=2))
    _, covariance = kinematics.activation_moments(np.zeros(Q.shape[:2]), Q, "erf")
    r = 2 * Q / (D[:, :, None] * D[:, None, :])
    # asin is steep near 1: it multiplies the rounding of r.
    slack = 8 * np.finfo(float).eps * np.abs(r) / np.sqrt((1 - r) * (1 + r))
    assert (np.abs(covariance - 2 / np.pi * np.arcsin(r)) <= UNIT * np.abs(r) + slack).all()


@given(problems)
def test_zero_mean_relu_gives_the_arc_cosine_kernel(case):
    """Cho & Saul (2009), centred. The kernel's slope in r is at most 1/2, so r's rounding does no harm."""
    _, Q = case
    scale = deviations(Q)
    _, covariance = kinematics.activation_moments(np.zeros(Q.shape[:2]), Q)
    r = np.clip(Q / scale, -1, 1)
    kernel = np.sqrt((1 - r) * (1 + r)) + r * (np.pi - np.arccos(r)) - 1
    assert (np.abs(covariance - scale * kernel / (2 * np.pi)) <= UNIT * scale).all()


@activations
@given(case=problems)
def test_covariances_are_symmetric_and_positive_semidefinite(activation, case):
    b, Q = case
    _, covariance = kinematics.activation_moments(b, Q, activation, slope=SLOPE)
    np.testing.assert_array_equal(covariance, covariance.swapaxes(1, 2))
    # Entry (j, k) is off by UNIT a_j a_k, a_j^2 the size of its terms: eigenvalues by UNIT sum a_j^2.
    s2 = np.diagonal(Q, axis1=1, axis2=2)
    size = {"square": 8 * s2 * (b**2 + s2), "erf": np.ones_like(s2)}.get(activation, s2)
    assert (np.linalg.eigvalsh(covariance)[:, 0] >= -UNIT * size.sum(axis=1)).all()


@activations
@given(case=problems, order=st.randoms(use_true_random=False))
def test_permuting_neurons_permutes_the_moments(activation, case, order):
    b, Q = case
    p = list(range(b.shape[1]))
    order.shuffle(p)
    mean, covariance = kinematics.activation_moments(b, Q, activation)
    mean_p, covariance_p = kinematics.activation_moments(b[:, p], Q[:, p][:, :, p], activation)
    np.testing.assert_array_equal(mean_p, mean[:, p])
    scale = deviations(Q)
    if activation == "square":  # the size of 4 b_1 b_2 Q_12 + 2 Q_12^2 before its terms cancel
        scale = 4 * np.abs(b[:, :, None] * b[:, None, :] * Q) + 2 * Q**2
    difference = covariance_p - covariance[:, p][:, :, p]
    assert (np.abs(difference) <= UNIT * scale[:, p][:, :, p]).all()


@given(problems)
def test_scaling_the_weights_scales_relu_without_rounding(case):
    b, Q = case
    mean, covariance = kinematics.activation_moments(b, Q)
    for c in (4.0, 2.0**-200):
        scaled_mean, scaled_covariance = kinematics.activation_moments(c * b, c * c * Q)
        np.testing.assert_array_equal(scaled_mean, c * mean)
        np.testing.assert_array_equal(scaled_covariance, c * c * covariance)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("scale", [1.0, 1e-150])
def test_duplicated_neurons_have_the_same_variance_and_covariance(activation, scale):
    b, Q = problem(2, n=4, m=3, scale=scale)
    twice = np.concatenate([np.eye(3), np.eye(3), -np.eye(3)])  # and one reflected
    _, covariance = kinematics.activation_moments(b @ twice.T, twice @ Q @ twice.T, activation, slope=SLOPE)
    bound = UNIT * deviations(Q)
    assert (np.abs(covariance[:, :3, 3:6] - covariance[:, :3, :3]) <= bound).all()
    assert (np.abs(covariance[:, 3:6, 3:6] - covariance[:, :3, :3]) <= bound).all()
    if activation == "relu":  # relu(z) relu(-z) = 0: the covariance is minus the product of the means
        mean, _ = kinematics.activation_moments(b @ twice.T, twice @ Q @ twice.T, activation)
        exclusive = np.einsum("nj,nj->nj", mean[:, :3], mean[:, 6:])
        across = np.einsum("njj->nj", covariance[:, :3, 6:])
        assert (np.abs(across + exclusive) <= np.einsum("njj->nj", bound)).all()


@activations
def test_without_variance_the_mean_is_phi_of_b(activation):
    b = np.array([-2.0, -1e-300, 0.0, 0.5, 3.0])
    mean, covariance = kinematics.activation_moments(b, np.zeros((5, 5)), activation, slope=SLOPE)
    np.testing.assert_allclose(mean, PHI[activation](b), rtol=1e-15, atol=1e-15 * (activation == "erf"))
    np.testing.assert_array_equal(covariance, 0)


@activations
def test_moments_agree_with_sampling(activation):
    """Within four standard errors, estimated from the fourth moments of the sample."""
    b, Q = problem(3, n=1, m=4)
    z = np.random.default_rng(4).multivariate_normal(b[0], Q[0], size=50_000)
    mean, covariance = kinematics.activation_moments(b[0], Q[0], activation, slope=SLOPE)
    h = PHI[activation](z)
    products = (h - mean)[:, :, None] * (h - mean)[:, None, :]
    for samples, expected in ((h, mean), (products, covariance)):
        error = samples.std(axis=0) / np.sqrt(len(z))
        assert (np.abs(samples.mean(axis=0) - expected) <= 4 * error).all()


def test_many_components_are_done_in_parts_of_bounded_size():
    b, Q = problem(17, n=3, m=400)  # 2^18 / 400^2 = 1 at a time
    mean, covariance = kinematics.activation_moments(b, Q)
    whole_mean, whole_covariance, _ = kinematics.moments_and_pullback(b, Q)
    np.testing.assert_array_equal(mean, whole_mean)
    assert (np.abs(covariance - whole_covariance) <= UNIT * deviations(Q)).all()


def mixture(kind, rng):
    covariances = rng.uniform(0.1, 2, size=(3, 4))
    if kind == "full":
        covariances = covariances[:, :, None] * np.eye(4)
    return Moments(np.array([0.5, 0.3, 0.2]), rng.normal(size=(3, 4)), covariances)


@activations
def test_propagate_takes_full_and_diagonal_covariances_alike(activation):
    W = np.random.default_rng(18).normal(size=(5, 4))
    full, diagonal = (
        kinematics.propagate(mixture(kind, np.random.default_rng(19)), W, activation, slope=SLOPE)
        for kind in ("full", "diagonal")
    )
    np.testing.assert_array_equal(full.weights, [0.5, 0.3, 0.2])
    np.testing.assert_allclose(full.means, diagonal.means, rtol=1e-13)
    np.testing.assert_allclose(full.covariances, diagonal.covariances, rtol=1e-12, atol=1e-14)


@activations
def test_propagate_without_noise_is_phi_of_the_means(activation):
    rng = np.random.default_rng(20)
    W, means = rng.normal(size=(5, 4)), rng.normal(size=(3, 4))
    h = kinematics.propagate(
        Moments(np.full(3, 1 / 3), means, np.zeros((3, 4, 4))), W, activation, slope=SLOPE
    )
    np.testing.assert_allclose(h.means, PHI[activation](means @ W.T), rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(h.covariances, 0)


def test_propagate_identity_is_W_Sigma_WT():
    rng = np.random.default_rng(21)
    x, W = mixture("diagonal", rng), rng.normal(size=(5, 4))
    h = kinematics.propagate(x, W, "identity")
    np.testing.assert_allclose(h.means, x.means @ W.T, rtol=1e-14)
    expected = np.einsum("jd,cd,kd->cjk", W, x.covariances, W)
    np.testing.assert_allclose(h.covariances, expected, rtol=0, atol=1e-14 * np.abs(expected).max())


def test_bad_arguments_are_named():
    x = mixture("full", np.random.default_rng(22))
    allowed = "erf, identity, leaky_relu, relu, square"
    with pytest.raises(ValueError, match=rf"^activation must be one of {allowed}; got 'gelu'$"):
        kinematics.propagate(x, np.eye(4), "gelu")
    with pytest.raises(ValueError, match=r"^W must have shape \(m, 4\), got \(4, 3\)$"):
        kinematics.propagate(x, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"^the width m of W must be an integer >= 1, got 0$"):
        kinematics.propagate(x, np.ones((0, 4)))
    with pytest.raises(ValueError, match=r"^slope must be a finite number, got nan$"):
        kinematics.propagate(x, np.eye(4), "leaky_relu", slope=np.nan)
    pooled = Moments(x.weights, x.means, PooledCovariance(np.eye(4), np.full(3, 4.0)))
    with pytest.raises(ValueError, match=r"^moments\.covariances must be full or diagonal, got pooled$"):
        kinematics.propagate(pooled, np.eye(4))
    with pytest.raises(ValueError, match=r"^Q must have shape \(2, 2\), got \(2, 3\)$"):
        kinematics.activation_moments(np.zeros(2), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"^b must have shape \(\.\.\., m\), got \(\)$"):
        kinematics.moments_and_pullback(0.0, np.zeros(1))
    with pytest.raises(
        ValueError, match=r"^Q must be finite, got 1 NaN or infinite entries, the first at \(0, 1\)$"
    ):
        kinematics.moments_and_pullback(np.zeros(2), [[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"^Q must be positive semi-definite, got least eigenvalue -2\.0 "):
        kinematics.activation_moments(np.zeros(2), [[1.0, 3.0], [3.0, 1.0]])
    with pytest.raises(ValueError, match=r"^Q must be symmetric"):
        kinematics.activation_moments(np.zeros(2), [[1.0, 0.5], [0.0, 1.0]])
