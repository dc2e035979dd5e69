"""Predicted power: what it must be at the ends, and what discover does."""

import numpy as np
import pytest

from benchmarks.discover_laws import strata
from finegrain.empirical.hidden_classes.power import predicted_power, smallest_distance
from finegrain.empirical.hidden_classes.splits import one_mode


def test_power_rises_from_the_level_to_one():
    powers = [predicted_power(300, 10, 0.2, delta, draws=40) for delta in (0.0, 3.5, 5.0, 9.0)]
    assert powers[0] <= 0.05 + 3 * np.sqrt(0.05 / 40)
    assert powers[3] > 0.97
    assert powers == sorted(powers)


def test_too_few_samples_have_no_power():
    assert predicted_power(20, 5, 0.5, 30) == 0
    assert predicted_power(1000, 5, 0.001, 30) == 0
    assert smallest_distance(30, 5, 0.05) == float("inf")


def test_the_smallest_distance_has_the_power_asked_for():
    delta = smallest_distance(100, 5, 0.3)
    assert predicted_power(100, 5, 0.3, delta) >= 0.9
    assert predicted_power(100, 5, 0.3, delta - 1) < 0.9


@pytest.mark.parametrize(("share", "distance"), [(0.4, 5.0), (0.3, 5.0)])
def test_observed_power_is_the_predicted_one(share, distance):
    """16 classes; 0.15 is left for the search, and two standard errors for the draws."""
    rng = np.random.default_rng(1)
    found = [one_mode(strata(300, 6, (share,), distance)(rng)[0], 0.05, rng)[0] <= 0.05 for _ in range(16)]
    told = predicted_power(300, 6, share, distance)
    assert 0.3 < told < 1
    assert abs(np.mean(found) - told) <= 0.15 + 2 * np.sqrt(told * (1 - told) / 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, 0.1, 3), "n must be an integer >= 1, got 0"),
        ((100, 5, 0.6, 3), r"share must be in \(0, 0.5\], got 0.6"),
        ((100, 5, 0.1, -1), "distance must be a finite number >= 0, got -1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        predicted_power(*arguments)
