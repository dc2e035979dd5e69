"""Targets: what a network is asked to output on each fine class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finegrain.theory import targets


@st.composite
def coarse_maps(draw):
    """A map of up to 12 fine classes onto K >= 2 coarse ones, each taken."""
    coarse = draw(st.integers(2, 6))
    rest = draw(st.lists(st.integers(0, coarse - 1), max_size=6))
    return draw(st.permutations([*range(coarse), *rest]))


@given(coarse_maps())
def test_one_hot_marks_the_coarse_class_of_each_fine_class(coarse_map):
    t = targets.one_hot(coarse_map)
    assert t.shape == (len(coarse_map), max(coarse_map) + 1)
    assert (t.sum(axis=1) == 1).all()
    assert (t.argmax(axis=1) == coarse_map).all()


@given(coarse_maps())
def test_centred_one_hot_rows_form_a_simplex_etf(coarse_map):
    t = targets.centred_one_hot(coarse_map)
    K = t.shape[1]
    same = np.equal.outer(coarse_map, coarse_map)
    # K products of entries of magnitude at most 1, each entry rounded once.
    np.testing.assert_allclose(t @ t.T, same - 1 / K, rtol=0, atol=4 * K * np.finfo(float).eps)


def test_signs_are_minus_one_on_the_first_class_and_plus_one_on_the_second():
    np.testing.assert_array_equal(targets.signs([0, 1, 1, 0]), [[-1], [1], [1], [-1]])


@pytest.mark.parametrize("coarse_map", [[0, 1, 2], [0, 0]])
def test_signs_need_exactly_two_coarse_classes(coarse_map):
    with pytest.raises(ValueError, match=rf"exactly 2 coarse classes for signs, got {max(coarse_map) + 1}"):
        targets.signs(coarse_map)


@pytest.mark.parametrize("make", [targets.one_hot, targets.centred_one_hot, targets.signs])
def test_a_coarse_map_with_a_gap_is_refused(make):
    with pytest.raises(
        ValueError, match=r"coarse_map must reach every coarse class 0\.\.2, but none .* \[1\]"
    ):
        make([0, 2, 2])
