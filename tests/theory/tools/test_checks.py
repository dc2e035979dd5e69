"""Argument checks: what is allowed passes unchanged, what is not is named with the range and the value received."""

import re

import numpy as np
import pytest
import torch

from finegrain.theory.tools import checks

NAN, INF = float("nan"), float("inf")
SQUARE = np.array([[1.0, 0.5], [0.5, 1.0]])

REFUSED = [
    (lambda: checks.shape("x", np.ones(3), ("N", 2)), "x must have shape (N, 2), got (3,)"),
    (lambda: checks.shape("x", np.ones((3, 3)), ("N", 2)), "x must have shape (N, 2), got (3, 3)"),
    (lambda: checks.shape("x", np.ones((3, 3)), (2,)), "x must have shape (2,), got (3, 3)"),
    (
        lambda: checks.finite("x", np.array([[1, 2, 3], [4, NAN, INF]])),
        "x must be finite, got 2 NaN or infinite entries, the first at (1, 1)",
    ),
    (
        lambda: checks.finite("x", torch.tensor([0.0, -INF])),
        "x must be finite, got 1 NaN or infinite entries, the first at (1,)",
    ),
    (lambda: checks.real("x", ["a"], ("N",)), "x must be an array of real numbers, got list ['a']"),
    (lambda: checks.real("x", None, ()), "x must be finite, got 1 NaN or infinite entries, the first at ()"),
    (lambda: checks.real("x", [[1], [1, 2]], ("N",)), "x must be an array of real numbers, got list [[1], [1, 2]]"),
    (lambda: checks.real("x", [1.0, NAN], ("N",)), "the first at (1,)"),
    (lambda: checks.real("x", [1.0], (2,)), "x must have shape (2,), got (1,)"),
    (lambda: checks.at_least("n", 1.9, 2), "n must be a finite number >= 2, got 1.9"),
    (lambda: checks.at_least("n", INF, 2), "n must be a finite number >= 2, got inf"),
    (lambda: checks.at_least("n", NAN, 2), "n must be a finite number >= 2, got nan"),
    (lambda: checks.positive("n", 0.0), "n must be a finite number > 0, got 0.0"),
    (lambda: checks.positive("n", INF), "n must be a finite number > 0, got inf"),
    (lambda: checks.integer("n", 1, 2), "n must be an integer >= 2, got 1"),
    (lambda: checks.integer("n", 2.0, 2), "n must be an integer >= 2, got 2.0"),
    (lambda: checks.integer("n", True, 0), "n must be an integer >= 0, got True"),
    (lambda: checks.one_of("word", "c", {"b", "a"}), "word must be one of a, b; got 'c'"),
    (lambda: checks.coarse_map([0.0, 1.0]), "coarse_map must be a non-empty one-dimensional array of integers"),
    (lambda: checks.coarse_map([]), "got shape (0,)"),
    (lambda: checks.coarse_map([[0, 1]]), "got shape (1, 2) and dtype int64"),
    (lambda: checks.coarse_map([0, 1], 3), "one entry for each fine class, 3 in all, got 2"),
    (lambda: checks.coarse_map([0, -1]), "coarse_map must have entries >= 0, got -1"),
    (lambda: checks.coarse_map([0, 2]), "coarse_map must have entries below their number, 2, to leave no gap; got 2"),
    (lambda: checks.coarse_map([0, 2, 2]), "reach every coarse class 0..2, but none is sent to [1]"),
    (lambda: checks.float64("x", "abc"), "x must be an array of real numbers, got str 'abc'"),
    (lambda: checks.float64("x", np.array([None, 1])), "x must be finite, got 1"),
    (lambda: checks.not_negative("x", np.array([[0, 1.0], [-2, -1]])), "x must be >= 0, got -2.0 at (1, 0)"),
    (lambda: checks.probabilities("p", np.array([0.5, 0.6]), 2), "p must sum to 1 within 1e-06, got 1.1"),
    (lambda: checks.probabilities("p", np.array([1.5, -0.5]), 2), "p must be >= 0, got -0.5 at (1,)"),
    (lambda: checks.probabilities("p", np.ones(1), 2), "p must have shape (2,), got (1,)"),
    (
        lambda: checks.covariances("C", np.stack([SQUARE, np.triu(SQUARE)]), 1e-10),
        "C must be symmetric, got entries that differ by 0.5 times the largest variance in [1]",
    ),
    (
        lambda: checks.covariances("C", np.stack([SQUARE, 4 * np.diag([1.0, -0.5])]), 1e-10),
        "C must be positive semi-definite, got least eigenvalue -0.5 times the largest variance in [1]",
    ),
    (lambda: checks.features("x", np.ones((2, 0))), "x must have at least one column, got shape (2, 0)"),
    (lambda: checks.features("x", np.ones((2, 2), int)), "x must have a floating-point dtype, got int64"),
    (lambda: checks.features("x", np.ones((2, 3)), 2), "x must have shape (N, 2), got (2, 3)"),
    (lambda: checks.features("x", [["a"]]), "x must be an array of real numbers, got list [['a']]"),
    (lambda: checks.features("x", torch.tensor([[1.0, NAN]])), "the first at (0, 1)"),
    (lambda: checks.labels("y", [0, 1], np.ones((3, 1))), "y must have shape (3,), got (2,)"),
    (lambda: checks.labels("y", [0.0, 1.0], np.ones((2, 1))), "y must be integers, got list [0.0, 1.0]"),
    (lambda: checks.labels("y", np.array([0.0, 1.0]), np.ones((2, 1))), "y must be integers, got dtype float64"),
    (lambda: checks.labels("y", [[0], [0, 1]], np.ones((2, 1))), "y must be integers, got list [[0], [0, 1]]"),
    (lambda: checks.labels("y", [0, 3, -1], np.ones((3, 1)), 3), "y must be in 0..2, got 3 at position 1"),
    (lambda: checks.labels("y", [0, 2, -1], np.ones((3, 1)), 3), "y must be in 0..2, got -1 at position 2"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_is_not_allowed_is_named_with_the_range_and_the_value(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(ValueError) as error:
        checks.real("x", ["a" * 80], ("N",))
    assert str(error.value) == "x must be an array of real numbers, got list ['" + "a" * 55 + "..."
    with pytest.raises(ValueError) as error:
        checks.real("x", ["a" * 56], ("N",))
    assert str(error.value).endswith("'" + "a" * 56 + "']")


def test_only_text_is_told_how_labels_are_numbered():
    with pytest.raises(ValueError, match=r"y must be integers, got list \[0\.0\]$"):
        checks.labels("y", [0.0], np.ones((1, 1)))
    with pytest.raises(
        ValueError, match=r"got list \['a'\]; numpy\.unique\(\.\.\., return_inverse=True\) numbers"
    ):
        checks.labels("y", ["a"], np.ones((1, 1)))


def test_an_object_of_another_class_is_named():
    with pytest.raises(TypeError, match="moments must be a ndarray, got list"):
        checks.instance("moments", [1], np.ndarray)
    checks.instance("moments", np.ones(1), np.ndarray)


def test_what_is_allowed_passes():
    checks.shape("x", np.ones((7, 3)), ("N", 3))
    checks.finite("x", np.ones((0, 3)))
    checks.at_least("n", 2, 2)
    checks.positive("n", 1e-300)
    checks.integer("n", np.int64(2), 2)
    checks.one_of("word", "a", ("a", "b"))
    checks.not_negative("x", np.zeros(2))
    checks.covariances("C", np.zeros((1, 2, 2)), 1e-10)
    checks.covariances("C", np.stack([SQUARE, 1e6 * SQUARE, np.ones((2, 2))]), 1e-10)


def test_covariances_are_judged_relative_to_their_own_largest_variance():
    slightly = np.diag([1.0, -1e-9])
    for size in (1e-12, 1.0, 1e12):
        checks.covariances("C", size * slightly[None], 2e-9)
        with pytest.raises(ValueError, match="positive semi-definite"):
            checks.covariances("C", size * slightly[None], 1e-10)


def test_values_come_back_in_the_promised_type():
    real = checks.real("x", [1, 2], ("N",))
    assert (real.dtype, real.tolist()) == (np.float64, [1, 2])
    chart = checks.coarse_map(np.array([1, 0, 1], dtype=np.uint8), 3)
    assert (chart.dtype, chart.tolist()) == (np.int64, [1, 0, 1])
    given = torch.tensor([[1.0, 2.0]], requires_grad=True)
    assert not checks.features("x", given).requires_grad
    assert not checks.float64("x", given).requires_grad
    assert checks.float64("x", given).dtype == torch.float64
    assert isinstance(checks.float64("x", [1.0], like=given.detach()), torch.Tensor)
    labels = checks.labels("y", [0, 1], torch.ones(2, 1))
    assert (labels.dtype, labels.tolist()) == (torch.int64, [0, 1])
    assert checks.labels("y", [], np.ones((0, 1)), 3).shape == (0,)
    assert checks.labels("y", [7, -7], np.ones((2, 1))).tolist() == [7, -7]


def test_values_lie_on_the_device_of_what_they_go_with():
    like = torch.eye(2, dtype=torch.float64)
    with torch.device("meta"):  # whatever is made without a device would go there, and have no values
        assert checks.float64("x", [1.0], like).device == like.device
        assert checks.labels("y", [0, 1], like).device == like.device
        checks.covariances("C", like[None], 1e-10)
        with pytest.raises(ValueError, match="C must be positive semi-definite"):
            checks.covariances("C", -like[None], 1e-10)


def test_weights_are_scaled_to_sum_to_one_and_left_alone_where_they_do():
    exact = np.array([0.25, 0.75])
    assert checks.probabilities("p", exact, 2) is exact
    rounded = np.array([0.5, 0.5 - 3.4e-16])  # within 4e-16 an entry
    assert checks.probabilities("p", rounded, 2) is rounded
    further = np.array([0.5, 0.5 - 9e-16])
    assert checks.probabilities("p", further, 2) is not further
    off = np.array([0.25, 0.75 + 5e-7])
    assert checks.probabilities("p", off, 2).sum() == pytest.approx(1, abs=2e-16)
    assert checks.probabilities(
        "p", np.full(10, 0.1, dtype=np.float32).astype(float), 10
    ).sum() == pytest.approx(1)
