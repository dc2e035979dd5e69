"""The valley test: its inequality for every law of one mode, its level at every size, and what it sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from finegrain.theory.valley import counts, p_value

WIDTHS = st.floats(0.05, 3)


@st.composite
def steps_with_one_mode(draw):
    """Edges of a step density on [0, 1] and its heights: they rise, then fall."""
    n = draw(st.integers(3, 12))
    heights = sorted(draw(st.lists(st.floats(0, 10), min_size=n, max_size=n)))
    falling = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    rise = [h for h, f in zip(heights, falling, strict=True) if not f]
    fall = [h for h, f in zip(heights, falling, strict=True) if f]
    return np.linspace(0, 1, n + 1), np.array(rise + fall[::-1])


def mean_over(edges, heights, low, high):
    """The mean of a step density, 0 outside its steps, over an interval."""
    overlap = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
    return overlap @ heights / (high - low)


@given(steps_with_one_mode(), st.floats(-0.5, 1), WIDTHS, WIDTHS, WIDTHS)
def test_between_two_intervals_a_density_of_one_mode_is_not_below_both(density, start, left, valley, right):
    e = start + np.cumsum([0, left, valley, right])
    m, v, r = (mean_over(*density, e[i], e[i + 1]) for i in range(3))
    assert min(m, r) <= v + 1e-12 * (1 + v)


def test_a_density_of_two_modes_is_below_both():
    """Necessity of one mode."""
    edges, heights = np.arange(4.0), np.array([1.0, 0.1, 1.0])
    assert mean_over(edges, heights, 1, 2) < min(mean_over(edges, heights, i, i + 1) for i in (0, 2))


def test_intervals_apart_from_the_valley_would_do_but_a_wrong_order_would_not():
    """Necessity of the order: with V outside, a falling density is below both."""
    falling = np.arange(5.0), np.array([4.0, 3.0, 2.0, 1.0])
    m, r = mean_over(*falling, 0, 1), mean_over(*falling, 1, 2)
    assert min(m, r) > mean_over(*falling, 3, 4)


LAWS = {
    "uniform": lambda r, n: r.random((600, n)),
    "at the edge, falling": lambda r, n: r.random((600, n)) ** 2,
    "rising": lambda r, n: 1 - r.random((600, n)) ** 2,
    "normal": lambda r, n: 0.5 + 0.25 * r.standard_normal((600, n)),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [5, 30, 200])
@pytest.mark.parametrize("edges", [(0, 0.33, 0.67, 1), (0.1, 0.15, 0.6, 0.9), (0.3, 0.5, 0.6, 1.0)])
def test_the_level_holds_for_every_law_of_one_mode(law, n, edges):
    """600 samples: four standard errors of the level are allowed."""
    p = np.array([p_value(x, edges) for x in LAWS[law](np.random.default_rng(n), n)])
    for level in (0.2, 0.05, 0.01):
        assert np.mean(p <= level) <= level + 4 * np.sqrt(level / len(p))


def test_a_dozen_samples_beyond_an_empty_valley_are_enough_among_any_number():
    sample = np.concatenate([np.linspace(0, 0.99, 10_000), np.linspace(2.01, 2.99, 12)])
    assert p_value(sample, (0, 1, 2, 3)) == pytest.approx(2.0**-12)


@given(st.lists(st.integers(0, 40), min_size=3, max_size=3), WIDTHS, WIDTHS, WIDTHS)
def test_the_p_value_is_the_larger_binomial_tail(inside, left, valley, right):
    e = np.cumsum([0, left, valley, right])
    sample = np.concatenate([np.linspace(e[i], e[i + 1], k + 2)[1:-1] for i, k in enumerate(inside)])
    np.testing.assert_array_equal(counts(sample, e), inside)
    m, v, r = inside
    tails = [sum(binom.pmf(range(s, s + v + 1), s + v, w / (w + valley))) for s, w in ((m, left), (r, right))]
    assert p_value(sample, e) == pytest.approx(max(tails), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(
    ("sample", "edges", "message"),
    [
        ([[0.0]], (0, 1, 2, 3), r"sample must have shape \(n,\), got \(1, 1\)"),
        ([0.0], (0, 1, 2), r"edges must have shape \(4,\), got \(3,\)"),
        ([0.0], (0, 1, 1, 3), r"edges must increase, got \[0.0, 1.0, 1.0, 3.0\]"),
        ([np.nan], (0, 1, 2, 3), "sample must be finite"),
    ],
)
def test_bad_arguments_are_named(sample, edges, message):
    with pytest.raises(ValueError, match=message):
        p_value(sample, edges)
