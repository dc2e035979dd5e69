"""The dip against its definition as linear programmes, exact values and published quantiles; the test's level."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.dip_on_ties import drawn, least_error
from finegrain.theory import dip

EPS = np.finfo(float).eps


@pytest.mark.parametrize("seed", range(12))
def test_the_dip_is_the_least_error_of_a_unimodal_distribution(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 13))
    x = rng.standard_normal(n) + (seed % 3) * 2 * (rng.random(n) < 0.5)
    assert dip.dip(x) == pytest.approx(least_error(x), abs=1e-9)  # linprog's own tolerance


@pytest.mark.parametrize("seed", range(20))
def test_the_dip_is_the_least_error_where_values_repeat(seed):
    """benchmarks/dip_on_ties.py draws 10,000 such samples."""
    rng = np.random.default_rng([seed, 1])
    for x in [drawn(rng) for _ in range(15)]:
        assert dip.dip(x) == pytest.approx(least_error(x), abs=1e-9), x.tolist()


@given(st.lists(st.integers(0, 30), min_size=2, max_size=7).filter(lambda counts: sum(map(bool, counts)) > 1))
def test_the_dip_of_counts_on_a_grid_is_the_least_error(counts):
    x = np.repeat(np.arange(len(counts)), counts)
    assert dip.dip(x) == pytest.approx(least_error(x), abs=1e-9)


def test_atoms_at_both_ends_and_one_in_the_middle_by_hand():
    """F has one atom at most: it misses the other, of 2/5 or 27/60, by half of it."""
    assert dip.dip([0.0] * 4 + [1.0, 2.0] + [3.0] * 4) == pytest.approx(1 / 5, rel=8 * EPS)
    assert dip.dip([0.0] * 27 + [1.0] * 6 + [2.0] * 27) == pytest.approx(27 / 120, rel=8 * EPS)
    assert dip.p_value([0.0] * 27 + [1.0] * 6 + [2.0] * 27) < 1e-10
    assert dip.dip([0.0] + [1.0] * 8 + [2.0]) == pytest.approx(1 / 20, rel=8 * EPS)  # the atom is the mode


@pytest.mark.parametrize("gap", [5e-324, 3e-310, 1e-300, 1e-200])
@pytest.mark.parametrize("spread", [1.0, 1e300])
def test_gaps_too_small_for_a_slope_are_small_gaps(gap, spread):
    rest = np.random.default_rng(43).standard_normal(150)
    far, near = (
        np.concatenate([[one, 3 * one, 0.0] * 5, rest * s]) for one, s in ((gap, spread), (1e-9, 1.0))
    )
    assert dip.dip(far) == pytest.approx(dip.dip(near), abs=1e-7)
    assert 0 < dip.p_value(far) <= 1


def test_the_widest_range_of_all_does_not_overflow():
    assert dip.dip([-1.7e308, -1.7e308, 1.7e308, 1.7e308]) == pytest.approx(1 / 4, rel=8 * EPS)


def test_exact_values():
    assert dip.dip(np.arange(10.0)) == pytest.approx(1 / 20, rel=8 * EPS)  # evenly spaced: 1/(2n), the least
    assert dip.dip([0.0, 0.0, 1.0, 1.0]) == pytest.approx(1 / 4, rel=8 * EPS)  # two points: 1/4, the largest
    assert dip.dip([3.0]) == 1 / 2


def test_far_apart_halves_reach_a_quarter_in_the_limit():
    x = np.linspace(0, 1, 500)
    assert dip.dip(np.concatenate([x, x + 1e6])) == pytest.approx(1 / 4, abs=2 / 1000)


@given(st.integers(0, 2**32), st.integers(2, 80), st.floats(0.01, 100), st.floats(-100, 100))
def test_shift_scale_and_mirror_change_nothing(seed, n, scale, shift):
    x = np.random.default_rng(seed).standard_normal(n)
    whole = dip.dip(x)
    assert 1 / (2 * n) - EPS <= whole <= 1 / 4 + EPS
    # Rounding moves gaps by eps times the largest value; slopes are ratios with them.
    bound = 1e3 * EPS * n * (1 + abs(shift) / scale) / np.diff(np.sort(x)).min()
    assert dip.dip(scale * x + shift) == pytest.approx(whole, abs=bound)
    assert dip.dip(-x) == pytest.approx(whole, abs=bound)


PUBLISHED = {
    50: 0.07027379,
    200: 0.03684184,
    1000: 0.0169344,
}  # R package diptest, table qDiptab, 0.95 quantiles


@pytest.mark.parametrize("n", PUBLISHED)
def test_the_p_value_at_published_quantiles(n):
    """A probability of 0.05 from 10,000 draws errs by 0.0022: 3 standard errors, for interpolation between sizes."""
    row = [np.interp(np.log(n), np.log(dip.SIZES), column) for column in dip.QUANTILES.T]
    tail = np.exp(np.interp(np.sqrt(n) * PUBLISHED[n], row, np.log(dip.TAIL)))
    assert tail == pytest.approx(0.05, abs=3 * 0.0022)


def test_the_table_is_what_its_recipe_gives():
    """400 draws of another seed: their 0.8 quantile errs in probability by sqrt(0.2 * 0.8 / 400)."""
    found, row = dip.uniform_quantiles(32, 400, seed=7), dip.QUANTILES[dip.SIZES == 32][0]
    assert dip.TAIL[1] == 0.2
    assert np.interp(found[1], row, dip.TAIL) == pytest.approx(0.2, abs=4 * 0.02)
    assert np.all(np.diff(dip.QUANTILES, axis=1) > 0)


def test_a_row_of_the_table_is_like_the_next_one():
    """Sizes are powers of two, levels fall, and sqrt(n) dip converges: 0.053 is the largest step between two rows."""
    assert np.all(np.log2(dip.SIZES) % 1 == 0) and np.all(np.diff(dip.SIZES) > 0)
    assert dip.TAIL[0] == 0.5 and np.all(np.diff(dip.TAIL) < 0)
    assert np.abs(np.diff(dip.QUANTILES, axis=0)).max() < 0.055


def test_p_values_of_uniform_samples_are_below_a_level_as_often_as_it_says():
    rng = np.random.default_rng(3)
    p = np.array([dip.p_value(rng.random(60)) for _ in range(600)])
    for level in (0.05, 0.2):
        error = 4 * np.sqrt(level * (1 - level) / len(p))
        assert abs(np.mean(p <= level) - level) <= error


def test_two_clear_groups_are_found_and_a_gaussian_is_not():
    rng = np.random.default_rng(4)
    x = rng.standard_normal(400)
    assert dip.p_value(x) > 0.5
    assert dip.p_value(x + 6 * (np.arange(400) % 2)) < 1e-6


def test_beyond_the_table_p_values_go_on_falling():
    values = [
        dip.p_value(np.concatenate([np.linspace(0, 1, n), np.linspace(9, 10, n)])) for n in (20, 40, 80)
    ]
    assert np.all(np.diff(values) < 0)
    assert values[-1] > 0


def test_beyond_the_table_log_p_is_a_straight_line():
    """Two points, 8 times each: sqrt(16)/4 = 1. The line goes through the last and the third last quantile of 16."""
    assert dip.TAIL[-3:].tolist() == [0.005, 0.002, 0.001]
    third_last, _, last = dip.QUANTILES[1, -3:]
    expected = 0.001 * 5 ** (-(1 - last) / (last - third_last))
    assert dip.p_value([0.0, 1.0] * 8) == pytest.approx(expected, rel=1e-12)


def test_seven_values_say_nothing_and_eight_are_enough():
    assert dip.p_value([0.0, 0.0, 1.0, 1.0]) == dip.p_value([0.0, 1.0] * 3 + [1.0]) == 1
    assert dip.p_value([0.0, 1.0] * 4) < 0.001


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([], "sample must hold at least one value, got none"),
        ([[1.0]], "sample must have shape (n,), got (1, 1)"),
        ([1.0, np.inf], "sample must be finite"),
    ],
)
def test_bad_input_is_refused_by_name(sample, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dip.dip(sample)
