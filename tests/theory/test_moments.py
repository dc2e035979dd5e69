"""Moments: pooling by the law of total variance, and clear errors."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelled_samples import KINDS, matrices, samples
from random_moments import EPS

from finegrain.theory.moments import Moments, PooledCovariance


def test_from_samples_counts_classes_and_takes_lists():
    moments = Moments.from_samples([[0.0], [2.0], [5.0], [5.0]], [0, 0, 1, 1])
    np.testing.assert_array_equal(moments.weights, [0.5, 0.5])
    np.testing.assert_array_equal(moments.means, [[1.0], [5.0]])
    np.testing.assert_array_equal(moments.covariances, [[[1.0]], [[0.0]]])  # divisor n_c
    assert (moments.num_classes, moments.dim, moments.kind) == (2, 1, "full")


def test_pooled_covariances_are_taken_as_given_in_float64():
    given = PooledCovariance([[2, 1], [1, 3]], [4, 6])
    moments = Moments([0.5, 0.5], np.zeros((2, 2)), given)
    assert moments.kind == "pooled"
    for taken, expected in zip(moments.covariances, given, strict=True):
        assert taken.dtype == np.float64
        assert taken.tolist() == expected


# --- pooling ---


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 5), num_classes=st.integers(2, 8))
def test_pooling_is_the_law_of_total_variance(seed, dim, num_classes):
    x, labels = samples(60, dim, num_classes, seed)
    coarse = np.arange(num_classes) // 2
    for kind in KINDS:
        pooled = Moments.from_samples(x, labels, covariance=kind).pool(coarse)
        direct = Moments.from_samples(x, coarse[labels], covariance=kind)
        assert pooled.kind == kind
        tolerance = 8 * len(x) * EPS * max(float(np.max(direct.traces)), 1.0)
        np.testing.assert_allclose(pooled.weights, direct.weights, atol=tolerance)
        np.testing.assert_allclose(pooled.means, direct.means, atol=tolerance)
        np.testing.assert_allclose(pooled.traces, direct.traces, atol=tolerance)
        for a, b in zip(matrices(pooled), matrices(direct), strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS))
def test_pooling_twice_is_pooling_once(seed, kind):
    x, labels = samples(60, 3, 8, seed)
    once, twice = np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.array([0, 1, 1, 0])
    fine = Moments.from_samples(x, labels, covariance=kind)
    a, b = fine.pool(once).pool(twice), fine.pool(twice[once])
    np.testing.assert_allclose(a.means, b.means, atol=64 * EPS * np.abs(fine.means).max())
    for left, right in zip(matrices(a), matrices(b), strict=True):
        np.testing.assert_allclose(left, right, atol=64 * EPS * np.trace(right))


def test_pooling_by_the_identity_changes_no_bit():
    x, labels = samples()
    fine = Moments.from_samples(x, labels)
    same = fine.pool(np.arange(4))
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(same, name), getattr(fine, name))


def test_pooling_torch_stays_in_torch_on_its_device():
    x, labels = samples()
    with torch.device("meta"):  # whatever is made without a device would go there, and have no values
        there = Moments.from_samples(torch.from_numpy(x), torch.from_numpy(labels)).pool([0, 1, 0, 1])
    here = Moments.from_samples(x, labels).pool([0, 1, 0, 1])
    assert isinstance(there.covariances, torch.Tensor)
    np.testing.assert_allclose(there.covariances, here.covariances, atol=16 * EPS)


# --- clear errors ---

GOOD = {"weights": [0.5, 0.5], "means": np.zeros((2, 2)), "covariances": np.stack([np.eye(2)] * 2)}
BAD_MOMENTS = [
    ({"weights": [0.5, 0.6]}, "weights must sum to 1 within 1e-06, got 1.1"),
    ({"weights": [1.5, -0.5]}, "weights must be >= 0, got -0.5 at (1,)"),
    ({"weights": [1.0]}, "weights must have shape (2,), got (1,)"),
    ({"means": [0.0, 1.0]}, "means must have shape (C, d), got (2,)"),
    (
        {"means": [[0.0, np.nan], [0, 0]]},
        "means must be finite, got 1 NaN or infinite entries, the first at (0, 1)",
    ),
    (
        {"means": [["a", "b"]] * 2},
        "means must be an array of real numbers, got list [['a', 'b'], ['a', 'b']]",
    ),
    ({"means": np.zeros((0, 2))}, "means must have C >= 1 and d >= 1, got shape (0, 2)"),
    ({"covariances": np.zeros((2, 3, 3))}, "covariances must have shape (2, 2, 2), got (2, 3, 3)"),
    ({"covariances": [[1.0, -2.0], [1, 1]]}, "covariances must be >= 0, got -2.0 at (0, 1)"),
    (
        {"covariances": [np.eye(2), [[1.0, 2.0], [2.0, 1.0]]]},
        "covariances must be positive semi-definite, got least eigenvalue -1.0 times the largest variance in [1]",
    ),
    (
        {"covariances": [np.eye(2), [[1.0, 0.5], [0.0, 1.0]]]},
        "covariances must be symmetric, got entries that differ by 0.5 times the largest variance in [1]",
    ),
    (
        {"covariances": PooledCovariance(np.eye(2), np.array([1.0, 1.0]))},
        "covariances.traces must have weighted mean 2.0, the trace of the matrix, got 1.0",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_MOMENTS)
def test_bad_moments_are_refused_with_the_reason(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Moments(**(GOOD | change))


def test_covariances_may_miss_psd_by_rounding_alone():
    edge = np.stack([np.diag([1.0, -0.5e-10])] * 2)
    assert Moments(**(GOOD | {"covariances": edge})).kind == "full"
    with pytest.raises(ValueError, match="positive semi-definite"):
        Moments(**(GOOD | {"covariances": 4 * edge - np.diag([3.0, 0.0])}))


def test_weights_of_unit_sum_keep_their_bits_and_others_are_scaled():
    weights = np.array([0.1, 0.2, 0.7])
    assert Moments(weights, np.zeros((3, 1)), np.zeros((3, 1))).weights.tolist() == weights.tolist()
    third = Moments(np.full(3, np.float32(1) / 3), np.zeros((3, 1)), np.zeros((3, 1)))
    assert abs(third.weights.sum() - 1) <= 3 * EPS


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (
            np.ones((3, 2)),
            [0, 1, 10**12],
            "labels must be 0..C-1 with samples in every class, got 1000000000000",
        ),
        (np.ones((2, 2)), ["cat", "dog"], "labels must be integers, got list ['cat', 'dog']; numpy.unique("),
        (np.ones((2, 2)), np.array(["cat", "dog"]), "labels must be integers, got ndarray"),
        (np.ones((2, 2)), None, "labels must be integers, got NoneType None"),
        (
            [[1.0, 2.0], [3.0]],
            [0, 0],
            "features must be an array of real numbers, got list [[1.0, 2.0], [3.0]]",
        ),
        (np.ones((2, 0)), [0, 0], "features must have at least one column, got shape (2, 0)"),
    ],
)
def test_what_is_no_labelled_sample_is_refused_by_name(features, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Moments.from_samples(features, labels)


def test_pooling_refuses_a_coarse_class_of_weight_zero():
    moments = Moments([1.0, 0.0], np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(
        ValueError, match="weights must have a sum > 0 in each coarse class, got 0 in class 1"
    ):
        moments.pool([0, 1])
