"""Units change no observable that scale leaves alone, from 1e-139 to 1e150; beyond, they are refused in words."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.measurement.measure import measure
from finegrain.theory import observables
from finegrain.theory.jackknife import interval
from finegrain.theory.moments import Moments, MomentsAccumulator
from finegrain.theory.tools import checks

Y, COARSE = np.arange(120) % 4, [0, 0, 1, 1]
CENTRES = np.array([[0, 0, 0, 0, 0], [1.5, 0, 0, 0, 0], [0, 2.5, 0, 0, 0], [0, 2.5, 1, 0, 0]])
X = np.random.default_rng(21).standard_normal((120, 5)) + CENTRES[Y]
A = np.random.default_rng(22).standard_normal((4, 5))
# Powers of two change no digit; the largest feature, 4.9, stays above 1e-140 and its squares below 1e308.
EXPONENTS = st.integers(-460, 498)


def every(moments):
    """Each observable that scale leaves alone."""
    found = observables.table(moments, COARSE, without=())
    found.pop("class_distance")
    return found | {
        "nc3": observables.nc3(moments, A),
        "nc4": observables.nc4(moments, A),
        "fine_share_per_class": observables.fine_share_per_class(moments, COARSE),
    }


RIGHT = every(Moments.from_samples(X, Y))


@given(EXPONENTS, st.sampled_from(["full", "pooled", "diagonal"]), st.booleans())
def test_no_observable_sees_the_unit(exponent, kind, in_torch):
    x = np.ldexp(X, exponent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind != "full":
            scaled, plain = (
                observables.table(Moments.from_samples(z, Y, covariance=kind), COARSE) for z in (x, X)
            )
            scaled.pop("class_distance"), plain.pop("class_distance")
        else:
            given_ = (torch.from_numpy(x), torch.from_numpy(Y)) if in_torch else (x, Y)
            scaled, plain = every(Moments.from_samples(*given_)), RIGHT
    assert scaled.keys() == plain.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(
            np.asarray(scaled[name]), np.asarray(value), rtol=1e-9, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("exponent", [-1000, -600, 600, 1000])
def test_collapsed_moments_of_any_size_have_the_observables_of_their_means(exponent):
    """Whose variances, unlike their squares, float64 holds: none."""
    right, far = (Moments(np.full(4, 0.25), np.ldexp(A, e), np.zeros((4, 5, 5))) for e in (0, exponent))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = observables.table(far, COARSE)
    for name, value in observables.table(right, COARSE).items():
        if name != "class_distance":
            assert found[name] == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("scale", [1e-150, 1e-170, 1e-220, 1e-300])
@pytest.mark.parametrize("read", [lambda x: Moments.from_samples(x, Y), lambda x: measure(x, Y)])
def test_features_whose_squares_lose_digits_are_refused_with_the_cure(scale, read):
    with pytest.raises(
        ValueError, match=r"features must be 0 or have entries of size 1e-140 or more.*multiply them"
    ):
        read(X * scale)


@pytest.mark.parametrize("scale", [1e160, 1e200, 1e300])
@pytest.mark.parametrize("kind", ["full", "pooled", "diagonal"])
def test_features_whose_squares_overflow_are_refused_without_a_warning(scale, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            ValueError, match="squares that can be summed in float64: divide them by a constant"
        ):
            Moments.from_samples(X * scale, Y, covariance=kind)


def test_a_batch_may_be_tiny_where_another_is_not():
    whole, parts = MomentsAccumulator(4, 5), MomentsAccumulator(4, 5)
    x = np.concatenate([X[:60], X[60:] * 1e-200])
    whole.update(x, Y)
    for part in (slice(60, 120), slice(0, 60)):
        one = MomentsAccumulator(4, 5)
        one.update(x[part], Y[part])
        parts.merge(one)
    np.testing.assert_allclose(parts.compute().covariances, whole.compute().covariances, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_products_of_float32_beyond_its_range_are_refused(scale):
    accumulator = MomentsAccumulator(4, 5, product_dtype="float32")
    accumulator.update(X * scale, Y)
    with pytest.raises(
        ValueError, match=r"for products in float32, got at most .*take product_dtype='float64'"
    ):
        accumulator.compute()


def test_an_interval_scales_with_its_observable():
    values = np.random.default_rng(0).standard_normal(9) + 4
    right = interval(4.0, values)
    for scale in (2.0**-1000, 2.0**1000):
        np.testing.assert_array_equal(
            np.array(interval(4.0 * scale, values * scale)), scale * np.array(right)
        )


@pytest.mark.parametrize("value", [np.ones((2, 2)) * 1j, [[1j]], torch.ones(2, 2, dtype=torch.complex64)])
def test_complex_numbers_are_refused(value):
    for check in (lambda v: checks.features("x", v), lambda v: checks.float64("x", v)):
        with pytest.raises(ValueError, match=r"x must "):
            check(value)
    if not isinstance(value, torch.Tensor):
        with pytest.raises(ValueError, match="x must be an array of real numbers"):
            checks.real("x", value, ("N", "d"))


@pytest.mark.parametrize("value", [["1.5"], np.array(["2020-01-01"], dtype="M8[D]"), [None], [[1], [1, 2]]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"x must be (an array of real numbers|finite), got"):
        checks.real("x", value, ("N",))


def test_the_matrix_inside_coarse_classes_is_that_of_all_pairs_there():
    for kind in ("full", "pooled"):
        moments = Moments.from_samples(X, Y, covariance=kind)
        for name in ("mahalanobis", "lda_accuracy", "bisector_accuracy", "two_means_accuracy", "separation"):
            rule = getattr(observables, name)
            inside, whole = rule(moments, [0, 0, 1, 2], mean=False), np.asarray(rule(moments))
            together = np.zeros((4, 4), dtype=bool)
            together[:2, :2] = True
            np.testing.assert_allclose(inside[together], whole[together], rtol=1e-12)
            assert np.isnan(inside[~together]).all()
