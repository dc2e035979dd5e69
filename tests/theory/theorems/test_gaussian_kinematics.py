"""T1: closed-form moments against quadrature and sampling, derivatives against their formulas; assumptions dropped."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import erf

from finegrain.sims.theorems import gaussian_kinematics as observed
from finegrain.theory import kinematics
from finegrain.theory.theorems import gaussian_kinematics as law
from finegrain.theory.tools import testing

pytestmark = pytest.mark.T1
EPS = np.finfo(float).eps
ACTIVATIONS = kinematics.ACTIVATIONS


@st.composite
def gaussians(draw, m, kind="anisotropic", scale=(0.1, 10)):
    """b (m,) and Q (m, m), with means of up to several standard deviations."""
    Q = draw(testing.psd_matrices(dim=m, kind=kind, scale=scale, anisotropy=1e3))
    h = np.array(draw(st.lists(st.floats(-5, 5), min_size=m, max_size=m)))
    return h * np.sqrt(np.maximum(np.diag(Q), 0)), Q


@given(case=gaussians(2), activation=st.sampled_from(ACTIVATIONS))
def test_moments_of_a_pair_agree_with_quadrature(case, activation):
    b, Q = case
    mean, covariance = law.predict(b, Q, activation, slope=observed.SLOPE)
    means, found = observed.quadrature(b, Q, observed.function(activation))
    # Rounding of sums of a few thousand terms, each at most the largest |phi|^2 within nine deviations.
    largest = 1 + np.abs(b).max() + 9 * np.sqrt(Q.max())
    size = largest**4 if activation == "square" else largest**2
    np.testing.assert_allclose(mean, means, rtol=0, atol=100 * EPS * size)
    assert abs(covariance[0, 1] - found) <= 100 * EPS * size


@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 64),
    dim=st.integers(2, 40),
    activation=st.sampled_from(ACTIVATIONS),
)
def test_moments_of_a_layer_agree_with_sampling(seed, width, dim, activation):
    """Any m, also m > d, where Q is singular.

    2,144 entries at most: 7 standard errors are passed once in 1e8 draws, 8 allow for skew.
    """
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((width, dim)) / np.sqrt(dim)
    Q = W @ W.T
    # Every ReLU is active on 7 % of the samples at least: standard errors cannot be seen in rarer events.
    b = rng.uniform(-1.5, 1.5, width) * np.sqrt(np.diag(Q))
    mean, covariance = law.predict(b, Q, activation, slope=observed.SLOPE)
    n, phi = 20_000, observed.function(activation)
    h = phi(b + rng.standard_normal((n, dim)) @ W.T)
    variances = np.diag(covariance)
    assert (np.abs(h.mean(axis=0) - mean) <= 7 * np.sqrt(variances / n)).all()
    centred = h - h.mean(axis=0)
    found = centred.T @ centred / n
    error = np.sqrt(np.maximum((centred**2).T @ centred**2 / n - found**2, 0) / n)
    # Products of squares have heavy tails, so that the normal law is off by the next (Edgeworth) order; and 1/n bias.
    assert (np.abs(found - covariance) <= 8 * error + 10 * np.outer(variances, variances) ** 0.5 / n).all()


@given(case=gaussians(2))
def test_derivatives_of_relu_are_the_explicit_formulas(case):
    b, Q = case
    correlation = Q[0, 1] / np.sqrt(Q[0, 0] * Q[1, 1])
    assume(abs(correlation) < 0.999)
    mean, _, pullback = kinematics.moments_and_pullback(b, Q, "relu")
    # G = Cov + product of means.
    b_bar, Q_bar = pullback(mean[::-1], np.array([[0.0, 1.0], [0.0, 0.0]]))
    found = (b_bar[0], 2 * Q_bar[0, 1], Q_bar[0, 0])
    s = np.sqrt(np.diag(Q))
    rounding = 100 * EPS / (1 - correlation**2) * (1 + np.abs(b / s).max()) ** 2
    for value, predicted, unit in zip(
        found, law.predict_derivatives(b, Q), (s[1], 1, s[1] / s[0]), strict=True
    ):
        assert abs(value - predicted) <= rounding * unit


@given(Q=testing.psd_matrices(dim=(1, 12), kind="anisotropic", scale=(0.1, 10)))
def test_zero_means_give_the_arc_cosine_and_arc_sine_kernels(Q):
    zero = np.zeros(len(Q))
    mean, covariance = law.predict(zero, Q, "relu")
    scale = np.max(np.diag(Q))
    np.testing.assert_allclose(
        covariance + np.outer(mean, mean), law.predict_arc_cosine(Q), rtol=0, atol=50 * EPS * scale
    )
    # The slope of asin at 1 - rounding is 1/sqrt(rounding): on the diagonal of a large Q only.
    D2 = 1 + 2 * np.diag(Q)
    lost = EPS * np.sqrt(np.max(D2))
    np.testing.assert_allclose(
        law.predict(zero, Q, "erf")[1], law.predict_arc_sine(Q), rtol=0, atol=50 * (EPS + lost)
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_deterministic_input_has_its_own_value_and_no_covariance(activation):
    b = np.array([-0.7, 0.0, 1.3])
    mean, covariance = law.predict(b, np.zeros((3, 3)), activation, slope=observed.SLOPE)
    np.testing.assert_allclose(mean, observed.function(activation)(b), atol=2 * EPS)
    assert np.abs(covariance).max() == 0


def test_necessary_gaussian():
    """The same b and Q from a uniform or a two-point z: E relu(z) is off by more than 5 %."""
    claimed = 1 / np.sqrt(2 * np.pi)
    two_points = 0.5 * 1.0  # z = +-1
    uniform = np.sqrt(3) / 4  # E max(z, 0) on (-sqrt 3, sqrt 3)
    assert abs(two_points / claimed - 1) > 0.2
    assert abs(uniform / claimed - 1) > 0.05


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_necessary_the_activations_own_formula(activation):
    """The covariance of any other activation is another by 3 % or more: no formula serves two."""
    b, Q = np.array([0.4, -0.3]), np.array([[1.2, 0.6], [0.6, 0.9]])
    _, found = observed.quadrature(b, Q, observed.function(activation))
    for other in set(ACTIVATIONS) - {activation}:
        assert abs(observed.quadrature(b, Q, observed.function(other))[1] / found - 1) > 0.03


def test_necessary_a_loss_of_mean_and_covariance():
    """Logistic loss: equal moments of h, unequal expected losses, so no function of the moments is its gradient.

    f = h = relu(z) for z ~ N(0, 1), against a Gaussian f of the same mean and variance.
    """
    mean, variance = 1 / np.sqrt(2 * np.pi), 1 / 2 - 1 / (2 * np.pi)
    x, w = np.polynomial.legendre.leggauss(200)
    z, w = 10 * x, 10 * w * np.exp(-((10 * x) ** 2) / 2) / np.sqrt(2 * np.pi)
    loss = w @ np.logaddexp(0, 5 * np.maximum(z, 0))
    twin = w @ np.logaddexp(0, 5 * (mean + np.sqrt(variance) * z))
    assert abs(loss / twin - 1) > 0.03


@given(case=gaussians(2))
def test_the_fast_moments_are_the_formulas_that_are_proved(case):
    """theory/kinematics.py, which `predict` calls, beside each formula of T1 as printed."""
    b, Q = case
    s1, s2 = s = np.sqrt(np.diag(Q))
    r, h = Q[0, 1] / (s1 * s2), b / s
    assume(abs(r) < 0.99)
    relu = [number("relu_mean", *pair) for pair in zip(b, s, strict=True)]
    scaled = s1 * s2 * number("relu_covariance", *h, r)
    erfs = [number("erf_mean", *pair) for pair in zip(b, s**2, strict=True)]
    expected = {
        "relu": (relu, scaled),
        "leaky_relu": (0.3 * b + 0.7 * np.array(relu), number("leaky_covariance", 0.3, Q[0, 1], *h, scaled)),
        "square": (number("square_mean", b, s**2), number("square_covariance", *b, Q[0, 1])),
        "erf": (erfs, number("erf_product", *b, *s**2, Q[0, 1]) - erfs[0] * erfs[1]),
    }
    for activation, (means, covariance) in expected.items():
        mean, found = law.predict(b, Q, activation, slope=0.3)
        # The formulas as printed lose what cancels, relative to the largest product of their terms.
        size = 1 + np.abs(b).max() ** 2 + Q.max()
        rounding = 1e3 * EPS * (size**2 if activation == "square" else size) / (1 - r**2)
        np.testing.assert_allclose(mean, means, rtol=0, atol=rounding)
        assert abs(found[0, 1] - covariance) <= rounding
    product = s1 * s2 * number("relu_product", *h, r)
    assert abs(product - scaled - relu[0] * relu[1]) <= 1e3 * EPS * size / (1 - r**2)


def number(name, *arguments):
    return law.THEOREM.formulas[name].number(*arguments)


# At the origin Phi = 1/2, phi = 1/sqrt(2 pi), and F2 = 1/4 + asin(r)/(2 pi): 1/3 at r = 1/2, 1/4 at r = 0.
ROOT = np.sqrt(2 * np.pi)
CORNER = 1 / 6 + np.sqrt(3) / (4 * np.pi)
ONE = np.ones((1, 1))
VALUES = {
    "density": [(lambda: number("density", 0.0, 0.0, 0.0, 0.0, 2.0, 1.0, 1.0), 1 / (2 * np.pi))],
    "relu_mean": [(lambda: number("relu_mean", 0.0, 3.0), 3 / ROOT)],
    "relu_square": [(lambda: number("relu_square", 0.0, 3.0), 4.5)],
    "relu_product": [(lambda: number("relu_product", 0.0, 0.0, 0.5), CORNER)],
    "relu_covariance": [(lambda: number("relu_covariance", 0.0, 0.0, 0.5), CORNER - 1 / (2 * np.pi))],
    "leaky_covariance": [(lambda: number("leaky_covariance", 0.5, 3.0, 0.0, 0.0, 4.0), 2.5)],
    "square_mean": [(lambda: number("square_mean", 3.0, 2.0), 11.0)],
    "square_covariance": [(lambda: number("square_covariance", 3.0, 2.0, 0.5), 12.5)],
    "erf_mean": [(lambda: number("erf_mean", 3.0, 4.0), erf(1.0))],
    "erf_product": [(lambda: number("erf_product", 0.0, 0.0, 1.5, 1.5, 1.0), 1 / 3)],
    # b = (0, 0), Q = [[1, 1], [1, 4]]: D_21 = D_12/2 = 1/(4 ROOT) each half open, and G's slope (4/4 + 1/2)/ROOT.
    "by_mean": [(lambda: law.predict_derivatives([0, 0], [[1.0, 1], [1, 4]])[0], 1.5 / ROOT)],
    "by_covariance": [(lambda: law.predict_derivatives([0, 0], [[1.0, 1], [1, 4]])[1], 1 / 3)],
    "by_variance": [
        (lambda: law.predict_derivatives([0, 0], [[1.0, 1], [1, 4]])[2], np.sqrt(3) / (4 * np.pi))
    ],
    "gradient": [(lambda: number("gradient", 2 * ONE, 3 * ONE, 5 * ONE, 7 * ONE, 11 * ONE)[0, 0], 776.0)],
    "arc_cosine": [(lambda: law.predict_arc_cosine([[1.0, 1], [1, 4]])[0, 1], 2 * CORNER)],
    "arc_sine": [(lambda: law.predict_arc_sine([[1.5, 1], [1, 1.5]])[0, 1], 1 / 3)],
}
