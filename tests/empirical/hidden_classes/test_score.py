"""What a clustering is worth: matching is the best naming, CLP is a probe."""

import re
from itertools import permutations

import numpy as np
import pytest
from hidden_features import FINE_TO_COARSE, hidden
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.hidden_classes.cluster import METHODS
from finegrain.empirical.hidden_classes.score import cluster_and_probe, linear_probe, match

EPS = np.finfo(float).eps


@given(st.integers(0, 2**32), st.integers(2, 4))
def test_matching_is_the_best_of_all_namings(seed, size):
    rng = np.random.default_rng(seed)
    fine = np.concatenate([np.arange(size), rng.integers(0, size, 40)])
    found = np.concatenate([np.arange(size), rng.integers(0, size, 40)])
    best = max(np.mean(np.array(order)[found] == fine) for order in permutations(range(size)))
    assert match(found, np.zeros_like(fine), fine).share == pytest.approx(best, abs=4 * EPS)


def test_a_perfect_clustering_is_recovered_whole_under_any_names():
    rng = np.random.default_rng(5)
    fine = rng.integers(0, 4, 100)
    result = match(np.array([1, 0, 3, 2])[fine], FINE_TO_COARSE[fine], fine)
    assert result.share == 1
    np.testing.assert_array_equal(result.share_by_class, [1, 1])
    np.testing.assert_array_equal(result.fine_of_cluster, [1, 0, 3, 2])


def test_a_cluster_too_many_is_named_by_no_class_and_counts_as_wrong():
    result = match([0, 0, 1, 1, 2], [0] * 5, [0, 0, 1, 1, 1])
    assert result.fine_of_cluster.tolist() == [0, 1, -1]
    assert result.share == 0.8


def test_the_probe_taught_good_clusters_comes_near_the_oracle():
    x, coarse, fine, A = hidden(6, n=800)
    test = hidden(7)
    results = cluster_and_probe((x, coarse, fine), (test[0], test[2]), 2, classifier=A)
    assert [r.method for r in results] == list(METHODS)
    plain, _, guided = results
    assert guided.oracle > 0.95
    assert guided.oracle - guided.probe < 0.02
    assert plain.probe < 0.7


def test_told_the_coarse_class_the_probe_chooses_within_it():
    """Features that do not tell the coarse classes apart: with the class told, the subclass is all there is to find."""
    x, coarse, fine, _ = hidden(9)
    x = np.delete(x, 0, axis=1)
    (right,) = cluster_and_probe((x, coarse, fine), (x, fine), 2, named=coarse, methods=["k-means"])
    assert right.probe < 0.6
    assert min(right.probe_in_class, right.oracle_in_class) > 0.95
    (wrong,) = cluster_and_probe((x, coarse, fine), (x, fine), 2, named=1 - coarse, methods=["k-means"])
    assert (wrong.probe, wrong.probe_in_class, wrong.oracle_in_class) == (right.probe, 0, 0)


def test_within_the_only_coarse_class_the_probe_chooses_as_among_all():
    x, _, fine, _ = hidden(9)
    one = np.zeros_like(fine)
    (found,) = cluster_and_probe((x, one, fine % 2), (x, fine % 2), 2, named=one, methods=["guided-k-means"])
    assert (found.probe_in_class, found.oracle_in_class) == (found.probe, found.oracle)


def test_the_probe_does_not_mind_a_constant_feature():
    x, _, fine, _ = hidden(8)
    x[:, 5] = 1
    assert np.mean(linear_probe(x, fine).predict(x) == fine) > 0.9


def test_probes_see_the_layer_before_as_well():
    """The layer read by the classifier has lost the subclasses; the one before still has them."""
    x, coarse, fine, A = hidden(5)
    last, rows = np.delete(x, 1, axis=1), np.delete(A, 1, axis=1)
    (score,) = cluster_and_probe(
        (last, coarse, fine), (last, fine), 2, classifier=rows, before=(x, x), methods=["guided-mixture"]
    )
    assert min(score.probe, score.oracle) > 0.95


X, COARSE, FINE, ROWS = hidden(0, n=40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: cluster_and_probe((X, COARSE, FINE), (X, FINE), 2, named=COARSE + 1),
            "named must be in 0..1, got 2 at position",
        ),
        (
            lambda: cluster_and_probe((X, COARSE, FINE), (X, FINE), 2, classifier=ROWS, before=(X[:-1], X)),
            "before must have a row for each of the 40 samples in features, got 39",
        ),
        (
            lambda: cluster_and_probe((X, COARSE, FINE), (X, FINE), 2, classifier=ROWS, before=(X, X[:-1])),
            "before must have a row for each of the 40 test samples in features, got 39",
        ),
        (lambda: match(FINE, COARSE[1:], FINE), "clusters must have shape (39,), got (40,)"),
        (
            lambda: match(FINE % 2, COARSE, FINE),
            "clusters must each lie in one coarse class, but 0 is in several",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
