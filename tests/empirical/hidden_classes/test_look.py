"""Where to look: the projection keeps what the classifier does not see, and unit norm keeps nothing else."""

import re

import numpy as np
import pytest
from hidden_features import hidden
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.hidden_classes.look import look_where_theory_says, off_classifier, unit_norm

EPS = np.finfo(float).eps


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_off_the_classifier_nothing_is_left_that_it_sees_and_nothing_else_is_lost(seed, rows):
    rng = np.random.default_rng(seed)
    x, A = rng.standard_normal((20, 6)), rng.standard_normal((rows, 6))
    y = off_classifier(x, A)
    bound = 20 * EPS * np.linalg.cond(A) * np.linalg.norm(x) * np.linalg.norm(A)
    np.testing.assert_allclose(y @ A.T, 0, atol=bound)
    kept = np.linalg.svd(A)[2][rows:]  # the orthogonal complement of the rows
    np.testing.assert_allclose(y @ kept.T, x @ kept.T, atol=bound)


def test_without_a_classifier_the_class_means_coincide_and_what_they_share_stays():
    x, coarse, _, _ = hidden(0)
    means = np.array([x[coarse == k].mean(axis=0) for k in range(2)])
    y = look_where_theory_says(x, coarse)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, rtol=4 * EPS)
    gap = (means[1] - means[0]) / np.linalg.norm(means[1] - means[0])
    np.testing.assert_allclose(y @ gap, 0, atol=100 * EPS)
    assert abs(y[:, 2].mean()) > 0.9


def test_unit_norm_leaves_a_row_of_zeros():
    np.testing.assert_array_equal(unit_norm(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])


def test_features_keep_their_dtype():
    x, coarse, _, A = hidden(1)
    assert look_where_theory_says(x.astype(np.float32), coarse, A).dtype == np.float32


X, _, _, ROWS = hidden(0, n=40)


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (ROWS[:, 1:], "classifier must have shape (K, 8), got (1, 7)"),
        (np.eye(8), "classifier must leave a direction to look in, got rank 8"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(classifier, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        off_classifier(X, classifier)
