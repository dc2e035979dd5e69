"""Splitting: no structure is invented, what was not looked at decides, and p-values are combined as they come."""

import numpy as np
import pytest
from scipy.special import ndtr

from benchmarks.discover_laws import ONE_MODE, strata
from finegrain.empirical.hidden_classes.intervals import best_intervals
from finegrain.empirical.hidden_classes.splits import FEWEST, HALVES, combined, held_out_parts, one_mode
from finegrain.theory.valley import p_value


def test_p_values_are_combined_as_they_come():
    assert combined([0.3]) == 0.6
    assert combined([0.3, 0.01]) == 0.02  # the lower median of two
    assert combined([0.38, 0.03, 0.0024, 1e-6, 1]) == 0.0048  # less than twice the median of all
    assert combined([0.9, 1, 1]) == 1


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9, 1.0])
def test_a_combination_of_exchangeable_p_values_is_a_p_value(shared):
    """Normal scores with a part in common; 4 standard errors are allowed to 4,000 draws."""
    rng = np.random.default_rng(12)
    scores = np.sqrt(shared) * rng.standard_normal((4000, 1)) + np.sqrt(1 - shared) * rng.standard_normal(
        (4000, HALVES)
    )
    p = np.array([combined(row) for row in ndtr(scores).tolist()])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 4 * np.sqrt(level / len(p))


@pytest.mark.parametrize(
    "law", ["Gaussian", "exponential", "cube", "Student t, 3, elliptical", "ReLU features"]
)
def test_one_mode_is_one_class(law):
    """At a level of 5 %, more than 3 of 12 has a chance of 2e-3; benchmarks/discover_contest.py draws more."""
    rng = np.random.default_rng(5)
    p = [one_mode(ONE_MODE[law](rng, 60, 8), 0.05, rng)[0] for _ in range(12)]
    assert sum(value <= 0.05 for value in p) <= 3


def test_testing_the_samples_that_chose_the_intervals_would_invent_valleys():
    """Why samples are halved: among thousands of intervals some fit the noise of those that chose them."""
    rng = np.random.default_rng(0)
    own, others = [], []
    for x in rng.standard_normal((40, 240, 1)):
        edges = best_intervals(x[:120])[1][0]
        own.append(p_value(x[:120, 0], edges))
        others.append(p_value(x[120:, 0], edges))
    assert np.mean(np.array(own) <= 0.05) > 0.5
    assert np.mean(np.array(others) <= 0.05) <= 0.15  # more has a chance of 3e-3 at level 5 %


@pytest.mark.parametrize(("share", "distance"), [(0.5, 5.0), (0.05, 9.0), (0.02, 12.0)])
def test_strata_are_seen_rare_ones_too(share, distance):
    rng = np.random.default_rng(3)
    x, label = strata(1000, 20, (share,), distance)(rng)
    p, valleys = one_mode(x, 0.05, rng)
    assert p < 0.01
    right = np.mean(valleys[0].beyond(x) == label)
    assert max(right, 1 - right) > 0.97


@pytest.mark.parametrize("n", [1, 2, FEWEST - 1])
def test_too_few_samples_tell_nothing(n):
    assert one_mode(np.eye(n, 3), 0.05, np.random.default_rng(0)) == (1.0, [])


def test_held_out_cuts_count_what_is_there_and_no_more():
    rng = np.random.default_rng(4)
    three, _ = strata(900, 10, (1 / 3, 1 / 3), 9)(rng)
    assert held_out_parts(three, 0.05, rng) == 3
    ones = [held_out_parts(rng.standard_normal((60, 5)), 0.05, rng) for _ in range(20)]
    assert sum(parts > 1 for parts in ones) <= 4  # more has a chance of 3e-3 at level 5 %
