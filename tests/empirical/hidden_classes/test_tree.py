"""The tree: strata are counted and told apart, rare ones too, and its rule speaks for new samples."""

import numpy as np
import pytest

from benchmarks.discover_laws import strata
from finegrain.empirical.hidden_classes.splits import FEWEST
from finegrain.empirical.hidden_classes.tree import GENERATION, discriminant, find_subclasses, polished


def groups(seed, sizes, distance=8.0, dim=6):
    """Gaussians of these sizes around distant points, far from the origin, in random order; and which is which."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    means = distance * np.eye(len(sizes), dim) + 10
    return means[label] + rng.standard_normal((len(label), dim)), label


@pytest.mark.parametrize("sizes", [(150,), (120, 90), (140, 120, 100), (160, 150, 140, 130)])
def test_clear_subclasses_are_counted_and_told_apart(sizes):
    x, label = groups(1, sizes)
    found = find_subclasses(x)
    assert found.count == len(sizes)
    np.testing.assert_array_equal(found.subclass, label)  # both are numbered by size
    assert found.confidence.min() > 0.9
    assert len(found.tests) == 2 * len(sizes) - 1  # each split and each leaf
    assert 1 <= found.held_out <= len(sizes)


@pytest.mark.parametrize(("n", "share", "distance"), [(1000, 0.05, 12), (2000, 0.02, 10), (1000, 0.03, 14)])
def test_a_rare_stratum_is_found_whole(n, share, distance):
    x, label = strata(n, 20, (share,), distance)(np.random.default_rng(2))
    found = find_subclasses(x)
    assert found.count == 2
    assert np.mean(found.subclass == label) > 0.995


def test_the_level_falls_with_each_generation_and_only_the_root_is_exact():
    found = find_subclasses(groups(2, (120, 110, 100))[0], level=0.04)
    assert found.tests[0].part == ""
    assert [t.level for t in found.tests] == [0.04 / GENERATION ** len(t.part) for t in found.tests]
    assert all(t.p_value <= t.level for t in found.tests if t.found)
    assert [t.guarantee for t in found.tests] == ["exact" if t.part == "" else "nominal" for t in found.tests]
    assert all((t.direction is not None) == t.found for t in found.tests)


def test_no_more_parts_than_asked_for():
    x, _ = groups(3, (160, 150, 140, 130))
    assert [find_subclasses(x, most=m).count for m in (1, 2, 3)] == [1, 2, 3]


def test_two_exact_points_are_two():
    x = 3.0 * np.eye(2, 5)[np.arange(100) % 2]
    found = find_subclasses(x)
    assert found.count == 2
    assert found.confidence.min() > 0.99


@pytest.mark.parametrize("times", [2, 10])
def test_repeated_samples_are_no_strata(times):
    x = np.repeat(np.random.default_rng(5).standard_normal((60, 6)), times, axis=0)
    found = find_subclasses(x)
    assert found.count == 1
    assert found.distinct == 60


def test_degenerate_classes_are_one_subclass():
    for x in (np.ones((40, 5)), np.zeros((40, 5)), np.random.default_rng(11).standard_normal((40, 1))):
        assert find_subclasses(x).count == 1


@pytest.mark.parametrize("n", [1, 2, FEWEST - 1])
def test_too_few_samples_are_one_subclass(n):
    found = find_subclasses(groups(10, (n,))[0])
    assert found.count == 1
    assert found.tests[0].p_value == 1
    np.testing.assert_array_equal(found.confidence, 1)


@pytest.mark.parametrize("scale", [2.0**-30, 1e-150, 1e150])
def test_size_does_not_matter_and_the_same_seed_gives_the_same_answer(scale):
    x, _ = groups(9, (70, 55))
    first, again, other = (find_subclasses(s * x, seed=3) for s in (1, 1, scale))
    np.testing.assert_array_equal(again.confidence, first.confidence)
    np.testing.assert_array_equal(other.subclass, first.subclass)
    assert [t.p_value for t in again.tests] == [t.p_value for t in first.tests]


def test_one_dimension_is_enough():
    line = np.concatenate([np.random.default_rng(0).standard_normal(150), 8 + np.linspace(-1, 1, 100)])
    assert find_subclasses(line[:, None]).count == 2


def test_the_rule_is_the_linear_discriminant_and_gives_new_samples_their_part():
    x, _ = groups(7, (200, 150), distance=6)
    new, theirs = groups(8, (200, 150), distance=6)
    rule = find_subclasses(x).rule
    given = rule.probabilities(new)
    np.testing.assert_allclose(given.sum(axis=1), 1)
    assert np.mean(given.argmax(axis=1) == theirs) > 0.99


def test_polishing_mends_samples_on_the_wrong_side():
    x, label = groups(6, (200, 150), distance=6)
    wrong = np.random.default_rng(0).random(len(x)) < 0.15
    part = polished(x, np.where(wrong, 1 - label, label))
    assert np.mean(part == label) > 0.99


def test_the_discriminant_of_one_part_is_sure_of_it():
    x, _ = groups(6, (30,))
    np.testing.assert_array_equal(discriminant(x, np.zeros(30, dtype=np.int64)).probabilities(x), 1)
