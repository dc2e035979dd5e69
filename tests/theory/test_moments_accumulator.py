"""MomentsAccumulator: accuracy against a long-double two-pass oracle, streaming, merging, and clear errors."""

import pickle
import re
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelled_samples import KINDS, matrices, samples
from random_moments import EPS

from finegrain.theory import moments as moments_module
from finegrain.theory.moments import Moments, MomentsAccumulator
from finegrain.theory.scatter import FEW, block_rows


def oracle(x, labels, num_classes):
    """Weights, means and covariances by two passes in long double."""
    x = x.astype(np.longdouble)
    parts = [x[labels == c] for c in range(num_classes)]
    means = [p.mean(axis=0) for p in parts]
    covariances = [(p - m).T @ (p - m) / len(p) for p, m in zip(parts, means, strict=True)]
    weights = [len(p) / len(x) for p in parts]
    return np.array(weights), np.array(means), np.array(covariances)


def reduced(weights, covariances, kind):
    """Full oracle covariances in one of the three sizes, as a list of arrays."""
    if kind == "full":
        return list(covariances)
    if kind == "diagonal":
        return [np.diag(np.diagonal(c)) for c in covariances]
    return [np.tensordot(weights, covariances, axes=1)]


def worst_error(moments, expected):
    """Largest Frobenius error of a covariance, as a share of its trace."""
    return max(
        float(np.linalg.norm((a - b).astype(np.float64)) / np.trace(b))
        for a, b in zip(matrices(moments), expected, strict=True)
    )


def accumulate(x, labels, num_classes, splits, **options):
    accumulator = MomentsAccumulator(num_classes, x.shape[1], **options)
    for part in splits:
        accumulator.update(x[part], labels[part])
    return accumulator


def collapsed(n=1500, dim=6, num_classes=4):
    """Within-class variance 1e-8 of the total, mean 1e3 standard deviations, the first row 20 sigma off."""
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.arange(n) % num_classes)
    noise = rng.standard_normal((n, dim))
    noise[np.argmax(labels == 0)] *= 20
    x = rng.standard_normal((num_classes, dim))[labels] + 1e-4 * noise
    return x + 1e3 * x.std(), labels


ORDERS = {
    "random": lambda labels, rng: rng.permutation(len(labels)),
    "as given": lambda labels, rng: np.arange(len(labels)),
    "class-sorted": lambda labels, rng: np.argsort(labels, kind="stable"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 64, 10**6])
@pytest.mark.parametrize("order", ORDERS)
def test_collapsed_classes_keep_their_covariance_in_any_order_and_split(order, size, kind):
    x, labels = collapsed()
    rows = ORDERS[order](labels, np.random.default_rng(0))
    splits = [rows[i : i + size] for i in range(0, len(rows), size)]
    moments = accumulate(x, labels, 4, splits, covariance=kind).compute()
    weights, means, covariances = oracle(x, labels, 4)
    # Bound of n-term dot products of once-rounded differences, far inside the 1e-8 that is promised.
    assert worst_error(moments, reduced(weights, covariances, kind)) <= 4 * len(x) * EPS
    assert 4 * len(x) * EPS < 1e-8
    np.testing.assert_array_equal(moments.weights, weights.astype(float))
    np.testing.assert_allclose(moments.means, means.astype(float), rtol=2 * EPS)
    traces = np.trace(covariances, axis1=1, axis2=2).astype(float)
    np.testing.assert_allclose(moments.traces, traces, rtol=4 * len(x) * EPS)


def test_raw_products_would_fail_where_centred_ones_do_not():
    x, labels = collapsed()
    _, _, covariances = oracle(x, labels, 4)
    rows = x[labels == 1]
    raw = rows.T @ rows / len(rows) - np.outer(rows.mean(0), rows.mean(0))
    # eps (|mean|/std)^2 = 0.02 of the variance: five orders of magnitude more than is promised.
    assert np.linalg.norm(raw - covariances[1].astype(float)) > 1e5 * 1e-8 * np.trace(covariances[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tree", ["left", "balanced", "into empty"])
def test_merging_in_any_tree_gives_the_moments_of_all_samples(tree, kind):
    x, labels = collapsed()
    parts = [accumulate(x, labels, 4, [p], covariance=kind) for p in np.array_split(np.argsort(labels), 9)]
    if tree == "into empty":
        parts.insert(0, MomentsAccumulator(4, x.shape[1], kind))
    while len(parts) > 1:
        first, second = parts.pop(0), parts.pop(0)
        first.merge(second)
        parts.insert(0 if tree == "left" else len(parts), first)
    weights, _, covariances = oracle(x, labels, 4)
    assert worst_error(parts[0].compute(), reduced(weights, covariances, kind)) <= 4 * len(x) * EPS


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 6), num_classes=st.integers(1, 40), data=st.data())
def test_any_split_agrees_with_the_oracle(seed, dim, num_classes, data):
    x, labels = samples(80, dim, num_classes, seed)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=6)))
    splits = [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(x)], strict=True)]
    weights, _, covariances = oracle(x, labels, num_classes)
    for kind in KINDS:
        moments = accumulate(x, labels, num_classes, splits, covariance=kind).compute()
        expected = reduced(weights, covariances, kind)
        largest = max(np.trace(c) for c in expected)
        worst = max(np.abs(a - b).max() for a, b in zip(matrices(moments), expected, strict=True))
        assert worst <= 8 * len(x) * EPS * largest


def test_more_rows_than_a_block_give_the_same_moments(monkeypatch):
    x, labels = samples(700, 3, FEW + 5)
    whole = Moments.from_samples(x, labels)
    monkeypatch.setattr("finegrain.theory.scatter.CPU_BYTES", 3 * 64 * 8)
    assert block_rows(x, x.dtype) == 64
    blocks = Moments.from_samples(x, labels)
    np.testing.assert_allclose(blocks.covariances, whole.covariances, atol=4 * len(x) * EPS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["host", "accelerator"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_torch_of_every_float_type_is_summed_in_float64(dtype, place, kind, monkeypatch):
    if place == "accelerator":  # its code path, run on the CPU
        monkeypatch.setattr(moments_module, "_host_view", lambda array: array)
    x, labels = samples(300, 4, FEW + 4)
    features = torch.from_numpy(x).to(dtype).requires_grad_()
    accumulator = MomentsAccumulator(FEW + 4, 4, kind)
    with torch.device("meta"):  # whatever is made without a device would go there, and have no values
        for part in (slice(0, 100), slice(100, None)):
            accumulator.update(features[part], torch.from_numpy(labels[part]))
        moments = accumulator.compute()
    assert isinstance(moments.means, torch.Tensor) and moments.means.dtype == torch.float64
    weights, _, covariances = oracle(features.detach().double().numpy(), labels, FEW + 4)
    assert worst_error(moments, reduced(weights, covariances, kind)) <= 4 * len(x) * EPS


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_products_lose_only_float32_rounding(kind, dtype):
    x, labels = collapsed() if dtype == np.float64 else samples()
    x = x.astype(dtype)
    weights, _, covariances = oracle(x, labels, 4)
    moments = accumulate(x, labels, 4, [slice(None)], covariance=kind, product_dtype="float32").compute()
    bound = 4 * len(x) * np.finfo(np.float32).eps
    assert worst_error(moments, reduced(weights, covariances, kind)) <= bound


def test_large_tables_of_class_means_stay_within_their_memory():
    C, d = 2000, 64
    x = np.random.default_rng(0).standard_normal((2 * C, d)).astype(np.float32)
    labels = np.arange(2 * C) % C
    tracemalloc.start()
    accumulate(x, labels, C, [slice(0, C), slice(C, None)], covariance="pooled").compute()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Two tables in the state, one in the result, and a handful of blocks (here as large as the table).
    assert peak < 12 * C * d * 8 < C * d * d * 8


BAD_UPDATES = [
    (
        np.full((3, 2), np.nan),
        [0, 1, 1],
        "features must be finite, got 6 NaN or infinite entries, the first at (0, 0)",
    ),
    (
        np.array([[0.0, -np.inf]]),
        [0],
        "features must be finite, got 1 NaN or infinite entries, the first at (0, 1)",
    ),
    (np.zeros((3, 2)), [0, 1], "labels must have shape (3,), got (2,)"),
    (np.zeros((3, 5)), [0, 1, 1], "features must have shape (N, 2), got (3, 5)"),
    (np.zeros((3, 2)), [0, 1, 3], "labels must be in 0..2, got 3 at position 2"),
    (np.zeros((3, 2)), [0, -1, 1], "labels must be in 0..2, got -1 at position 1"),
    (np.zeros((3, 2)), [0.0, 1.0, 1.0], "labels must be integers, got dtype float64"),
    (np.zeros((3, 2), dtype=complex), [0, 1, 1], "features must have a floating-point dtype, got complex128"),
    (np.zeros((3, 2), dtype=np.uint8), [0, 1, 1], "features must have a floating-point dtype, got uint8"),
]


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize(("features", "labels", "message"), BAD_UPDATES)
def test_an_update_that_raises_changes_nothing(features, labels, message, library):
    accumulator = MomentsAccumulator(3, 2)
    x, good = samples(50, 2, 3)
    accumulator.update(x, good)
    before = pickle.dumps(accumulator)
    if library is torch.as_tensor:
        message = message.replace("dtype float64", "dtype torch.float").replace(
            "got complex", "got torch.complex"
        )
        message = message.replace("got uint8", "got torch.uint8")
    with pytest.raises(ValueError, match=re.escape(message)):
        accumulator.update(library(features), library(labels))
    assert pickle.dumps(accumulator) == before


def test_compute_names_the_classes_without_two_samples():
    accumulator = MomentsAccumulator(5, 1)
    with pytest.raises(ValueError, match="every class must have at least 2 samples, got none in any class"):
        accumulator.compute()
    accumulator.update(np.zeros((4, 1)), [0, 0, 2, 4])
    message = "every class must have at least 2 samples, got none in classes 1, 3 and one in classes 2, 4"
    with pytest.raises(ValueError, match=message):
        accumulator.compute()


@pytest.mark.parametrize(
    ("num_classes", "named"),
    [
        (2, "class 1"),
        (9, "classes 1, 2, 3, 4, 5, 6, 7, 8"),
        (12, "classes 1, 2, 3, 4, 5, 6, 7, 8 and 3 more"),
    ],
)
def test_of_many_classes_without_samples_eight_are_named(num_classes, named):
    accumulator = MomentsAccumulator(num_classes, 1)
    accumulator.update(np.zeros((2, 1)), [0, 0])
    with pytest.raises(ValueError, match=f"got none in {named}$"):
        accumulator.compute()


def test_compute_refuses_sums_beyond_float64():
    accumulator = MomentsAccumulator(1, 1)
    accumulator.update(np.array([[1e200], [-1e200]]), [0, 0])
    with pytest.raises(ValueError, match="divide them by a constant"):
        accumulator.compute()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (MomentsAccumulator(4, 2), "other must have num_classes = 3, got 4"),
        (MomentsAccumulator(3, 5), "other must have dim = 2, got 5"),
        (MomentsAccumulator(3, 2, "pooled"), "other must have covariance = 'full', got 'pooled'"),
    ],
)
def test_accumulators_of_different_kinds_do_not_merge(other, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MomentsAccumulator(3, 2).merge(other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be an integer >= 1, got 0"),
        ({"dim": 0}, "dim must be an integer >= 1, got 0"),
        ({"covariance": "ful"}, "covariance must be one of diagonal, full, pooled; got 'ful'"),
        ({"product_dtype": "float16"}, "product_dtype must be one of float32, float64; got 'float16'"),
    ],
)
def test_bad_accumulators_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MomentsAccumulator(**({"num_classes": 2, "dim": 3} | arguments))


def test_reset_forgets_and_empty_updates_add_nothing():
    x, labels = samples()
    accumulator = accumulate(x, labels, 4, [slice(None)])
    accumulator.reset()
    accumulator.update(np.zeros((0, 5)), [])
    accumulator.update(x, labels)
    np.testing.assert_array_equal(
        accumulator.compute().covariances, Moments.from_samples(x, labels).covariances
    )


def test_merging_leaves_the_other_as_it_was():
    x, labels = samples()
    first, second = (accumulate(x, labels, 4, [part]) for part in (slice(0, 200), slice(200, None)))
    before = pickle.dumps(second)
    first.merge(second)
    assert pickle.dumps(second) == before


def test_an_accumulator_says_its_sizes_and_how_many_samples_it_holds():
    accumulator = MomentsAccumulator(2, 3, "pooled")
    accumulator.update(np.ones((5, 3)), np.array([0, 1, 0, 1, 1]))
    assert repr(accumulator) == (
        "MomentsAccumulator(num_classes=2, dim=3, covariance='pooled', product_dtype='float64') of 5 samples"
    )
