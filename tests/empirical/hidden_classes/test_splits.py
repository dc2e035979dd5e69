"""Splitting a class: structure is found, none is invented, and what was not looked at decides."""

import itertools

import numpy as np
import pytest
from scipy.special import ndtr

from benchmarks.discover_error_rates import counts
from finegrain.empirical.hidden_classes import splits as subclasses
from finegrain.empirical.hidden_classes.splits import (
    FEWEST,
    GENERATION,
    combined,
    direction,
    find_subclasses,
    split_p_value,
)
from finegrain.theory.dip import p_value


def groups(seed, sizes, distance=8.0, dim=6):
    """Gaussians of these sizes around distant points, far from the origin, in random order; and which is which."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    means = distance * np.eye(len(sizes), dim) + 10
    return means[label] + rng.standard_normal((len(label), dim)), label


@pytest.mark.parametrize("sizes", [(150,), (120, 90), (110, 100, 90), (100, 90, 80, 70)])
def test_clear_subclasses_are_counted_and_told_apart(sizes):
    x, label = groups(1, sizes)
    found = find_subclasses(x)
    assert found.count == len(sizes)
    np.testing.assert_array_equal(found.subclass, label)  # both are numbered by size
    assert found.confidence.min() > 0.9
    assert len(found.tests) == 2 * len(sizes) - 1  # each split and each leaf


def test_the_level_falls_with_each_generation():
    found = find_subclasses(groups(2, (90, 80, 70))[0], alpha=0.04)
    assert found.tests[0].part == ""
    assert [t.level for t in found.tests] == [0.04 / GENERATION ** len(t.part) for t in found.tests]
    assert all(t.found == (t.p_value <= t.level) for t in found.tests)


def test_p_values_are_combined_as_they_come():
    assert combined([0.3]) == 0.6
    assert combined([0.3, 0.01]) == 0.02  # the lower median of two
    assert combined([0.38, 0.03, 0.0024, 1e-6, 1]) == 0.0048  # less than twice the median of all
    assert combined([0.9, 1, 1]) == 1


def test_parts_are_asked_for_more_than_classes(monkeypatch):
    """What two of five thirds see splits a class, and not a part of one."""
    seen = itertools.cycle([1e-4, 0.4, 1e-4, 0.4, 0.4])
    monkeypatch.setattr(subclasses, "p_value", lambda projection: next(seen))
    found = find_subclasses(groups(3, (90, 80))[0])
    assert [test.p_value for test in found.tests] == [2e-4, 0.8, 0.8]
    assert found.count == 2


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9, 1.0])
def test_a_combination_of_exchangeable_p_values_is_a_p_value(shared):
    """Normal scores with a part in common; 4 standard errors are allowed to 4,000 draws."""
    rng = np.random.default_rng(12)
    scores = np.sqrt(shared) * rng.standard_normal((4000, 1)) + np.sqrt(1 - shared) * rng.standard_normal(
        (4000, 5)
    )
    p = np.array([combined(row) for row in ndtr(scores).tolist()])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 4 * np.sqrt(level / len(p))


FAMILIES = {
    "isotropic": lambda rng, n: rng.standard_normal((n, 8)),
    "along one axis": lambda rng, n: rng.standard_normal((n, 8)) * [1, *[0.01] * 7],
    "exponential": lambda rng, n: rng.exponential(size=(n, 8)),
    "Cauchy": lambda rng, n: rng.standard_normal((n, 8)) / np.abs(rng.standard_normal((n, 1))),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_mode_is_one_class(family):
    """At a level of 5 %, more than 6 of 30 has a chance of 6e-4; benchmarks/discover_error_rates.py draws 1,000."""
    rng = np.random.default_rng(5)
    p = [split_p_value(FAMILIES[family](rng, 60), seed=s) for s in range(30)]
    assert sum(value <= 0.05 for value in p) <= 6


def test_unit_norm_alone_would_invent_two_modes():
    """Why the test projects samples as they are: at unit norm a Gaussian along one axis is two points."""
    x = FAMILIES["along one axis"](np.random.default_rng(6), 200)
    assert split_p_value(x / np.linalg.norm(x, axis=1, keepdims=True)) < 1e-4
    assert split_p_value(x) > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_testing_the_samples_that_chose_the_direction_would_invent_two_modes(seed):
    """Why samples are split: among many axes the direction fits the noise of those that chose it."""
    x = np.random.default_rng(seed).standard_normal((120, 500))
    chosen = direction(x[:60])
    assert p_value(x[:60] @ chosen) < 0.05
    assert p_value(x[60:] @ chosen) > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_a_scale_of_each_samples_own_does_not_hide_structure(seed):
    """Where T18 is silent: h = rho (mean + noise), rho random."""
    x, _ = groups(seed, (100, 100), distance=9)
    rho = np.random.default_rng(seed).lognormal(0, 0.4, (200, 1))
    assert split_p_value(rho * x) <= 0.05


def test_the_direction_is_the_one_that_separates():
    x, label = groups(8, (200, 200))
    w = direction(x)
    gap = x[label == 1].mean(axis=0) - x[label == 0].mean(axis=0)
    assert abs(w @ gap) / np.linalg.norm(w) / np.linalg.norm(gap) > 0.98


def test_size_does_not_matter_and_the_same_seed_gives_the_same_answer():
    x, _ = groups(9, (60, 60))
    first, again, small = (find_subclasses(scale * x, seed=3) for scale in (1, 1, 2**-30))
    for other in (again, small):
        np.testing.assert_array_equal(other.subclass, first.subclass)
        assert other.tests == first.tests


@pytest.mark.parametrize("n", [1, 2, FEWEST - 1])
def test_too_few_samples_are_one_subclass(n):
    found = find_subclasses(groups(10, (n,))[0])
    assert found.count == 1
    assert found.tests[0].p_value == 1
    np.testing.assert_array_equal(found.confidence, 1)


def test_degenerate_classes_are_one_subclass():
    for x in (np.ones((40, 5)), np.zeros((40, 5)), np.random.default_rng(11).standard_normal((40, 1))):
        assert find_subclasses(x).count == 1


def test_far_gaussians_of_few_samples_are_cut_once():
    """The likeliest two Gaussians of a hundred samples each may be one around the other; the cut is not that one."""
    assert set(counts("two Gaussians", 200, 5.0, seed=0)) == {2}
