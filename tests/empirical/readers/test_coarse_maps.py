"""Coarse maps by name, and the errors that name them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.readers.cifar_classes import CIFAR10
from finegrain.empirical.readers.coarse_maps import coarse_map

even = st.integers(2, 60).map(lambda half: 2 * half)


@given(even)
def test_mod_pairs_labels_half_the_classes_apart(C):
    g = coarse_map("mod", C)
    np.testing.assert_array_equal(g, [c % (C // 2) for c in range(C)])


@given(even)
def test_halves_splits_the_labels_in_order(C):
    g = coarse_map("halves", C)
    np.testing.assert_array_equal(g, [int(c >= C / 2) for c in range(C)])


@given(even, st.integers(0, 2**40))
def test_random_gives_each_coarse_class_two_fine_ones_and_follows_its_seed(C, seed):
    g = coarse_map(f"random:{seed}", C)
    np.testing.assert_array_equal(np.bincount(g), np.full(C // 2, 2))
    np.testing.assert_array_equal(g, coarse_map(f"random:{seed}", C))


def test_random_seeds_differ():
    maps = {tuple(coarse_map(f"random:{seed}", 10)) for seed in range(20)}
    assert len(maps) == 20  # of 10!/2^5 maps, so that a repeat has odds of 2e-3; the seeds are fixed


@pytest.mark.parametrize(
    "spec", ["0,1,0,1", "0, 1, 0, 1", [0, 1, 0, 1], (0, 1, 0, 1), np.array([0, 1, 0, 1])]
)
def test_a_list_is_the_map_itself(spec):
    g = coarse_map(spec, 4)
    assert g.dtype == np.int64
    np.testing.assert_array_equal(g, [0, 1, 0, 1])


@pytest.mark.parametrize("name", ["mod", "halves", "random:3"])
@pytest.mark.parametrize("C", [2, 3, 9])
def test_names_need_an_even_number_of_classes_from_four(name, C):
    with pytest.raises(ValueError, match=rf"coarse_map '{name}' needs an even number .* at least 4, got {C}"):
        coarse_map(name, C)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("0,1,0", r"coarse_map must have one entry for each fine class, 4 in all, got 3"),
        ("0,2,0,2", r"coarse_map must reach every coarse class 0\.\.2, but none is sent to \[1\]"),
        ("-1,0,1,0", r"coarse_map must have entries >= 0, got -1"),
        ("0,1,zero,1", r"coarse_map as a list must be whole numbers like 0,1,0,1, got '0,1,zero,1'"),
        ([0.0, 1.0, 0.0, 1.0], r"coarse_map must be a non-empty one-dimensional array of integers"),
        ("halfs", r"coarse_map must be one of mod, halves, .*; got 'halfs' \(nearest: halves\)"),
        ("modulo", r"got 'modulo' \(nearest: mod\)"),
        ("", r"got ''"),
        ("mod:2", r"got 'mod:2' \(nearest: mod\)"),
        ("random", r"coarse_map random:SEED needs a whole number >= 0 as its seed, got 'random'"),
        ("random:-1", r"as its seed, got 'random:-1'"),
        ("random:x", r"as its seed, got 'random:x'"),
    ],
)
def test_a_bad_map_is_named_with_what_is_allowed(spec, message):
    with pytest.raises(ValueError, match=message):
        coarse_map(spec, 4)


@pytest.mark.parametrize("name", ["semantic", "opposed"])
@given(order=st.permutations(CIFAR10))
def test_maps_by_class_name_do_not_depend_on_the_order_of_the_classes(name, order):
    g = dict(zip(order, coarse_map(name, 10, order), strict=True))
    assert [g[c] for c in CIFAR10] == coarse_map(name, 10, CIFAR10).tolist()
    assert sorted(g.values()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_like_classes_are_together_in_semantic_and_apart_in_opposed():
    semantic, opposed = (coarse_map(name, 10, CIFAR10) for name in ("semantic", "opposed"))
    cat, dog = CIFAR10.index("cat"), CIFAR10.index("dog")
    assert semantic[cat] == semantic[dog] and opposed[cat] != opposed[dog]
    together = {(a, b) for a in range(10) for b in range(a) if semantic[a] == semantic[b]}
    assert not any(opposed[a] == opposed[b] for a, b in together)


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        (
            "semantic",
            None,
            r"'semantic' needs the 10 classes of CIFAR-10 by name, .* got 4 classes, names: none",
        ),
        ("opposed", ("a", "b", "c", "d"), r"got 4 classes, names: a, b, c, \.\.\."),
        (
            "superclasses",
            CIFAR10[:4],
            r"'superclasses' needs the 100 classes of CIFAR-100 by name, such as apple",
        ),
    ],
)
def test_maps_by_class_name_refuse_other_classes(name, classes, message):
    with pytest.raises(ValueError, match=message):
        coarse_map(name, 4, classes)
