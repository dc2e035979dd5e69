"""Single precision beside double, over the whole range: saturated, equal, opposite and deterministic variables."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erfcx

from finegrain.theory import gaussian
from finegrain.theory import gaussian_single as single

pytestmark = pytest.mark.T1

FIT = 2.7e-6  # of Mills' ratio, as the module's docstring has it
ULP = 2.0**-24


def test_mills_ratio_is_within_the_stated_error_and_beyond_the_fit_too():
    t = np.linspace(0, 40, 100_001)
    error = np.polyval(single.MILLS[::-1], t) - np.sqrt(np.pi / 2) * erfcx(t / np.sqrt(2))
    weighted = np.abs(error) * np.exp(-t * t / 2) * np.maximum(1, t) / (2 * np.pi)
    assert weighted.max() <= FIT
    assert weighted[t <= 4.5].max() > 0.9 * FIT  # the statement is not a loose one


def test_arccos_is_within_the_stated_error():
    gap = np.linspace(0, 1, 10_001)
    error = np.sqrt(2 * gap) * np.polyval(single.ARCCOS[::-1], gap) - np.arccos(1 - gap)
    assert np.abs(error).max() <= 2 * np.pi * 7.7e-7


@pytest.mark.parametrize(("R", "theta"), [(0.0, 1.0), (0.5, np.pi / 2), (1.7, 0.3), (3.0, 1.2)])
def test_the_wedge_is_the_integral_of_the_polynomial(R, theta):
    turn, wedge = single._integrated(single.MILLS)
    t, y = R * np.cos(theta), R * np.sin(theta)
    integral = np.polyval(turn[::-1], -R * R / 2) * theta
    integral -= sum(c * t**i * y ** (2 * k + 1) for (i, k), c in np.ndenumerate(wedge))

    def w(a):
        return 1 - R * np.cos(a) * np.polyval(single.MILLS[::-1], R * np.cos(a))

    assert integral == pytest.approx(quad(w, 0, theta, epsabs=1e-13)[0], abs=1e-12)


def points(seed, n=200_000):
    """h <= 0 and r, as float64 holds them: far tails, equal and opposite pairs, independent and deterministic ones."""
    rng = np.random.default_rng(seed)
    h_1, h_2 = -np.abs(rng.standard_normal((2, n)) * rng.choice([0.1, 1, 4], (2, n)))
    r = np.tanh(2 * rng.standard_normal(n))
    near = 1 - 10.0 ** -rng.uniform(0, 18, n)  # and 1 itself
    r = np.choose(rng.integers(0, 5, n), [r, r, near, -near, np.zeros(n)])
    close = rng.random(n) < 0.3  # within a few q of the kink
    h_2 = np.where(close, -np.abs(r * h_1 + np.sqrt((1 - r) * (1 + r)) * rng.standard_normal(n)), h_2)
    h_1[rng.random(n) < 0.01] = -gaussian.CUT
    h_2[rng.random(n) < 0.01] = 0
    return h_1, h_2, r


@pytest.fixture(scope="module")
def both():
    h_1, h_2, r = points(0)
    found = single.orthant(single.half_line(h_1), single.half_line(h_2), r)
    sides = gaussian.half_line(np.stack([h_1, h_2]))
    parts = gaussian.orthant(sides, r)
    delta = parts.delta - sides.cdf[0] * (0.5 - sides.cdf[1]) - 0.5 * sides.cdf[1]
    exact = single.Pairs(r, delta, sides.pdf * (parts.conditional - 0.5), parts.ring)
    return h_1, h_2, found, exact


def assert_within(found, exact, tolerance, h_1, h_2, r):
    error = np.abs(found - exact)
    worst = int(np.argmax(error))  # NaN is the largest
    assert error[worst] <= tolerance, f"{error[worst]:.2e} at h = {h_1[worst]}, {h_2[worst]}, r = {r[worst]}"


def test_delta_and_ring_are_within_their_bounds(both):
    h_1, h_2, found, exact = both
    assert found.delta.dtype == found.ring.dtype == np.float32
    assert_within(found.delta, exact.delta, np.pi * (FIT + 7.7e-7) + 4 * ULP, h_1, h_2, exact.r)
    assert_within(found.ring, exact.ring, 2 * ULP, h_1, h_2, exact.r)


def test_what_gradients_are_made_of_is_within_six_times_the_error_of_the_fit(both):
    """Cov(1_1, relu_2)/s_2, and the slope by the standard deviation: smooth in h where a shift by itself is not."""
    h_1, h_2, found, exact = both

    def by_mean(parts):
        return h_2 * parts.delta + parts.shift[1] + exact.r * parts.shift[0]

    def by_deviation(parts):
        return (h_2 - exact.r * h_1) * parts.shift[0] + parts.ring

    for part in (by_mean, by_deviation):
        assert_within(part(found), part(exact), 6 * FIT + 8 * ULP, h_1, h_2, exact.r)


def test_covariances_are_within_their_bound(both):
    h_1, h_2, found, exact = both

    def kink(parts):
        return (h_1 * h_2 + exact.r) * parts.delta + h_2 * parts.shift[0] + h_1 * parts.shift[1] + parts.ring

    assert_within(kink(found), kink(exact), 6e-5, h_1, h_2, exact.r)


def test_a_deterministic_variable_turns_no_sign():
    """Of the pair nothing is left but the other's half-line: |z_1 z_2| = -z_1 |z_2|."""
    side = single.half_line(np.array([-gaussian.CUT, -3.0, -0.5, 0.0]))
    certain = single.half_line(np.full(4, -np.inf))
    for r in (0.0, 0.5, 1.0, -1.0):
        for one, two in ((certain, side), (side, certain)):
            found = single.orthant(one, two, np.full(4, r))
            np.testing.assert_allclose(found.delta, -side.half_cdf, atol=ULP)
            np.testing.assert_array_equal(found.ring, 0)
            np.testing.assert_array_equal(found.shift[0 if one is certain else 1], 0)
