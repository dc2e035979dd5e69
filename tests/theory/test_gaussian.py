"""The orthant and the rectified moments against quadrature in 20 digits, their limits and their symmetries.

Tolerance 1e-15 (times s_1 s_2): a sum of fewer than nine terms, each at most 1/2 and rounded a few times, is
off by less than 9 * 2^-53. The quadrature is within 2e-18 of itself in 30 digits.
"""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, owens_t

from finegrain.theory import gaussian

pytestmark = pytest.mark.T1

TOLERANCE = 1e-15
DIGITS = 20  # of the quadrature
LAST = 1 - 2.0**-53  # the largest correlation below 1
CORRELATIONS = (0.0, 1e-12, -0.3, 0.7, -0.95, 1 - 1e-6, -1 + 1e-9, LAST, -LAST, 1.0, -1.0)

heights = st.floats(-12, 12) | st.sampled_from([0.0, -0.0, 1e-300, 1e8, -1e8, np.inf, -np.inf])
correlations = st.floats(-1, 1) | st.sampled_from(CORRELATIONS)
means = st.floats(-1e8, 1e8) | st.floats(-4, 4)
stds = st.floats(1e-6, 1e3) | st.sampled_from([0.0, 1e-100])


def conditional_quad(f, r, kink, low, high):
    """int_low^high phi(x) f(x) dx in 20 digits, split where f changes: within a few q/|r| of `kink`."""
    width = mp.sqrt((1 - r) * (1 + r)) / abs(r) if r else mp.mpf(0)
    points = [kink + i * width for i in (-8, -3, 0, 3, 8)] + [mp.mpf(i) for i in (-8, -3, 3, 8)]
    points = sorted({p for p in points if low < p < high})
    return mp.quad(lambda x: mp.npdf(x) * f(x), [low, *points, high])


def exact_orthant(h, k, r):
    """P(X < h, Y < k) = int_{-inf}^h phi(x) Phi((k - r x)/q) dx."""
    with mp.workdps(DIGITS):
        h, k, r = mp.mpf(h), mp.mpf(k), mp.mpf(r)
        if abs(r) == 1:
            return mp.ncdf(min(h, k)) if r == 1 else max(mp.ncdf(h) - mp.ncdf(-k), mp.mpf(0))
        if h <= -40:
            return mp.mpf(0)
        q = mp.sqrt((1 - r) * (1 + r))
        f = lambda x: mp.ncdf((k - r * x) / q)  # noqa: E731
        return conditional_quad(f, r, k / r if r else mp.mpf(0), mp.mpf(-40), min(h, mp.mpf(40)))


def exact_delta(h, k, r):
    """Price's integral from 0 to r."""
    with mp.workdps(30):
        h, k, r = mp.mpf(h), mp.mpf(k), mp.mpf(r)

        def density(x):
            gap = 1 - x * x
            return mp.exp(-(h * h - 2 * h * k * x + k * k) / (2 * gap)) / (2 * mp.pi * mp.sqrt(gap))

        return mp.quad(density, [0, r / 2, r])


def exact_mean(h):
    with mp.workdps(60):
        h = mp.mpf(h)
        return h * mp.ncdf(h) + mp.npdf(h)


def exact_covariance(h, k, r):
    """Cov((h + X)_+, (k + Y)_+) = E (h + X)_+ E[(k + Y)_+ - E(k + Y)_+ | X], one integral."""
    # A mean of 1e8 deviations cancels.
    with mp.workdps(DIGITS + 10 * (max(abs(h), abs(k)) > 100)):
        h, k, r = mp.mpf(h), mp.mpf(k), mp.mpf(r)
        q, base = mp.sqrt((1 - r) * (1 + r)), exact_mean(k)

        def f(x):
            m = k + r * x
            given = m * mp.ncdf(m / q) + q * mp.npdf(m / q) if q else max(m, mp.mpf(0))
            return (h + x) * (given - base)

        low = max(-h, mp.mpf(-40))
        return conditional_quad(f, r, -k / r if r else mp.mpf(0), low, max(low, mp.mpf(0)) + 40)


def assert_close(actual, exact, tolerance, points):
    errors = np.array([float(abs(mp.mpf(float(a)) - e)) for a, e in zip(actual, exact, strict=True)])
    worst = int(np.argmax(errors))
    assert errors[worst] <= tolerance, f"error {errors[worst]:.2e} at {points[worst]}"


@pytest.mark.parametrize("r", CORRELATIONS)
def test_the_orthant_agrees_with_quadrature(r):
    pairs = [
        (0, 0.7),
        (0.3, 0.3),
        (0.3, -0.3 - 1e-9),
        (-1, -1.5),
        (2.5, -0.4),
        (-6, -5.5),
        (1e-9, 0),
        (8.9, 1),
    ]
    actual = gaussian.bivariate_normal_cdf(*np.array(pairs).T, r)
    assert_close(actual, [exact_orthant(h, k, r) for h, k in pairs], TOLERANCE, pairs)


@pytest.mark.parametrize("gap", [1e-4, 1e-8, 1e-12, 2.0**-53])
def test_the_orthant_holds_where_both_sides_nearly_coincide(gap):
    pairs = [(h, h * (1 + j * gap)) for h in (0.3, -1.1) for j in (0, 1, -3)]
    actual = gaussian.bivariate_normal_cdf(*np.array(pairs).T, 1 - gap)
    assert_close(actual, [exact_orthant(h, k, 1 - gap) for h, k in pairs], TOLERANCE, pairs)


def test_owens_formula_as_written_in_T1_loses_half_the_digits_near_r_1():
    """(k - r h)/(h q) cancels; with the exact offset the same function differs by 1e-9."""
    h = np.linspace(0.1, 1, 50)
    q = np.sqrt((1 - LAST) * (1 + LAST))
    written = ndtr(h) - 2 * owens_t(h, (h - LAST * h) / (h * q))
    exact = ndtr(h) - 2 * owens_t(h, (1 - LAST) / q)
    assert np.abs(written - exact).max() > 1e-10
    np.testing.assert_allclose(gaussian.bivariate_normal_cdf(h, h, LAST), exact, rtol=0, atol=TOLERANCE)


@given(st.floats(0.01, 5), st.floats(0.01, 5) | st.floats(-5, -0.01), st.floats(-0.99, 0.99))
def test_the_orthant_agrees_with_scipys_owens_t(h, k, r):
    q = np.sqrt((1 - r) * (1 + r))
    owen = owens_t(h, (k - r * h) / (h * q)) + owens_t(k, (h - r * k) / (k * q))
    expected = (ndtr(h) + ndtr(k)) / 2 - owen - 0.5 * (k < 0)
    # An offset u = (k - r h)/q is rounded by 2^-53 |k| / q there, and T changes by at most that over 2 pi.
    slack = 2.0**-53 * (abs(h) + abs(k)) / q / abs(min(h, abs(k)))
    assert abs(gaussian.bivariate_normal_cdf(h, k, r) - expected) <= TOLERANCE + slack


@given(heights, heights)
def test_the_orthant_at_r_1_is_an_interval(h, k):
    assert abs(gaussian.bivariate_normal_cdf(h, k, 1) - ndtr(min(h, k))) <= TOLERANCE
    assert abs(gaussian.bivariate_normal_cdf(h, k, -1) - max(ndtr(h) - ndtr(-k), 0)) <= TOLERANCE


@given(heights, correlations)
def test_infinite_sides_leave_one_variable(h, r):
    assert abs(gaussian.bivariate_normal_cdf(h, np.inf, r) - ndtr(h)) <= TOLERANCE
    assert gaussian.bivariate_normal_cdf(h, -np.inf, r) == 0


@given(correlations)
def test_the_orthant_at_the_origin_is_sheppards(r):
    expected = 0.25 + np.arcsin(r) / (2 * np.pi)
    for zero in (0.0, -0.0):
        assert abs(gaussian.bivariate_normal_cdf(zero, 0.0, r) - expected) <= TOLERANCE


@given(heights, heights, correlations)
def test_the_orthant_is_symmetric_and_its_complement_completes_it(h, k, r):
    value = gaussian.bivariate_normal_cdf(h, k, r)
    assert abs(value - gaussian.bivariate_normal_cdf(k, h, r)) <= TOLERANCE
    assert abs(value + gaussian.bivariate_normal_cdf(h, -k, -r) - ndtr(h)) <= 2 * TOLERANCE
    assert max(ndtr(h) + ndtr(k) - 1, 0) - TOLERANCE <= value <= min(ndtr(h), ndtr(k)) + TOLERANCE


def test_the_orthant_broadcasts_and_does_not_depend_on_its_neighbours():
    h, k, r = np.linspace(-12, 12, 41)[:, None, None], np.linspace(-3, 3, 31)[:, None], np.linspace(-1, 1, 9)
    values = gaussian.bivariate_normal_cdf(h, k, r)
    assert values.shape == (41, 31, 9)  # more than one block, and pairs that are left out
    for index in [(0, 0, 0), (20, 15, 4), (40, 30, 8), (13, 7, 2)]:
        alone = gaussian.bivariate_normal_cdf(h[index[0], 0, 0], k[index[1], 0], r[index[2]])
        assert abs(alone - values[index]) <= TOLERANCE


@pytest.mark.parametrize("strong", [0.0, 0.1, 0.9])
def test_both_ways_to_delta_agree_whatever_the_share_of_strong_correlations(strong):
    rng = np.random.default_rng(0)
    h, k = 3 * rng.standard_normal((2, 5000))
    edge = (
        rng.choice([-1, 1], 5000) * gaussian.WEAK
    )  # the last weak ones, and the first strong ones beside them
    r = np.where(rng.random(5000) < strong, np.nextafter(edge, np.sign(edge)), edge)
    found = gaussian.bivariate_normal_cdf(h, k, r)
    alone = gaussian.bivariate_normal_cdf(
        h, k, np.nextafter(edge, np.sign(edge))
    )  # all strong: the other way
    np.testing.assert_allclose(found, alone, rtol=0, atol=2 * TOLERANCE)


def test_the_orthant_names_a_bad_argument():
    with pytest.raises(ValueError, match=r"^r must be in \[-1, 1\], got 1\.5$"):
        gaussian.bivariate_normal_cdf(0, 0, [0.5, 1.5])
    with pytest.raises(ValueError, match=r"^r must be in \[-1, 1\], got nan$"):
        gaussian.bivariate_normal_cdf(0, 0, np.nan)
    with pytest.raises(ValueError, match=r"^h and k must be real or \+-inf, got NaN$"):
        gaussian.bivariate_normal_cdf(0, np.nan, 0)


def test_weak_delta_keeps_its_digits_as_r_vanishes():
    points = [(h, k, r) for h in (0.2, -2.0) for k in (-0.1, 3.0) for r in (1e-14, -1e-6, 0.2, -0.4, 0.4)]
    h, k, r = np.array(points).T
    exact = [float(exact_delta(*point)) for point in points]
    # The exponent, at most 20, is rounded: relative error 20 * 2^-52, and the rule's own rounding beside it.
    np.testing.assert_allclose(gaussian.weak_delta(h, k, r), exact, rtol=3e-14, atol=0)


STANDARDISED = np.array([-1e8, -39, -12, -8.5, -3, -0.4, -1e-9, 0, 1e-9, 0.4, 3, 8.5, 12, 39, 1e8])


def test_rectified_means_and_variances_agree_with_60_digits():
    with mp.workdps(60):
        h = [mp.mpf(float(a)) for a in STANDARDISED]
        second = [(a * a + 1) * mp.ncdf(a) + a * mp.npdf(a) for a in h]
        mean = [exact_mean(a) for a in h]
        variance = [b - a * a for a, b in zip(mean, second, strict=True)]
    for std in (1.0, 1e-150, 1e100):
        actual = gaussian.rectified_mean(std * STANDARDISED, std) / std
        relative = [max(1, float(a)) for a in mean]
        assert_close(actual / relative, [a / b for a, b in zip(mean, relative, strict=True)], TOLERANCE, h)
        actual = gaussian.rectified_variance(std * STANDARDISED, std) / std / std
        assert_close(actual, variance, TOLERANCE, h)


@pytest.mark.parametrize("r", CORRELATIONS)
def test_rectified_covariance_agrees_with_quadrature(r):
    pairs = [(0, 0), (0.5, 0.5), (0.4, -0.4), (-1, 2), (7, -0.3), (-3, -3.5), (1e8, 0.6), (1e8, -1e8)]
    h, k = np.array(pairs).T
    exact = [exact_covariance(a, b, r) for a, b in pairs]
    assert_close(gaussian.rectified_covariance(h, k, 1, 1, r), exact, 2 * TOLERANCE, pairs)


@given(means, means, stds, stds, correlations)
def test_rectified_covariances_over_all_signs_add_to_the_covariance(b_1, b_2, s_1, s_2, r):
    """relu(z) - relu(-z) = z, in both arguments."""
    cov = gaussian.rectified_covariance
    total = cov(b_1, b_2, s_1, s_2, r) + cov(-b_1, -b_2, s_1, s_2, r)
    total -= cov(-b_1, b_2, s_1, s_2, -r) + cov(b_1, -b_2, s_1, s_2, -r)
    assert abs(total - r * s_1 * s_2) <= 4 * TOLERANCE * s_1 * s_2


@given(means, means, stds, stds, correlations)
def test_rectified_covariance_is_symmetric_and_homogeneous(b_1, b_2, s_1, s_2, r):
    value = gaussian.rectified_covariance(b_1, b_2, s_1, s_2, r)
    assert abs(value - gaussian.rectified_covariance(b_2, b_1, s_2, s_1, r)) <= 2 * TOLERANCE * s_1 * s_2
    # Powers of two scale without rounding.
    assert gaussian.rectified_covariance(4 * b_1, b_2 / 2, 4 * s_1, s_2 / 2, r) == 2 * value


@given(correlations)
def test_zero_means_give_the_arc_cosine_kernel(r):
    """Cho & Saul (2009): E relu relu = (q + r (pi - acos r))/(2 pi); the means are 1/sqrt(2 pi)."""
    expected = (np.sqrt((1 - r) * (1 + r)) + r * (np.pi - np.arccos(r)) - 1) / (2 * np.pi)
    assert abs(gaussian.rectified_covariance(0, 0, 1, 1, r) - expected) <= TOLERANCE


@given(means, means, correlations)
def test_without_variance_the_mean_is_relu_and_covariances_vanish(b_1, b_2, r):
    assert gaussian.rectified_mean(b_1, 0) == max(b_1, 0)
    assert gaussian.rectified_variance(b_1, 0) == 0
    assert gaussian.rectified_covariance(b_1, b_2, 0, 1, r) == 0


def test_rectified_moments_name_a_bad_argument():
    with pytest.raises(ValueError, match=r"^std must be >= 0, got -1\.0$"):
        gaussian.rectified_mean(0, -1)
    with pytest.raises(
        ValueError, match=r"^std must be finite, got 1 NaN or infinite entries, the first at \(1,\)$"
    ):
        gaussian.rectified_variance(0, [1, np.nan])
    with pytest.raises(ValueError, match=r"^r must be in \[-1, 1\], got -2\.0$"):
        gaussian.rectified_covariance(0, 0, 1, 1, -2)
