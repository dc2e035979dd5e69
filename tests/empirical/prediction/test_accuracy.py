"""Errors over starts: counted against the aims, and their law in R from the starts that have every R."""

import pytest

from finegrain.empirical.prediction.accuracy import accuracy, by_start, law_in_components


def points(errors):
    """Points of errors {(R, seed): end}; the worst error is half as large again."""
    return [
        {"components": R, "config": {"seed": seed}, "fine_share": {"end": e, "worst": 1.5 * e}}
        for (R, seed), e in errors.items()
    ]


ERRORS = {(R, seed): size / R for R in (1, 2, 8) for seed, size in enumerate((0.01, 0.02, 0.04))}


def test_the_starts_that_hold_an_aim_are_counted():
    one, two, eight = accuracy(points(ERRORS), "fine_share")
    assert (one.components, two.components, eight.components) == (1, 2, 8)
    assert (one.held_end, one.held_worst) == (1, 1)  # 1 % at the end, 2 % at worst
    assert (two.held_end, two.held_worst) == (2, 2)
    assert (eight.starts, eight.held_end) == (3, 3)
    assert one.end == pytest.approx(0.01 * (21 / 3) ** 0.5)
    assert one.worst == pytest.approx(1.5 * one.end)


def test_the_law_is_of_starts_with_every_number_of_gaussians():
    numbers, errors = by_start(points(ERRORS | {(1, 7): 5.0}), "fine_share")
    assert numbers == [1, 2, 8]
    assert errors.shape == (3, 3)
    law = law_in_components(points(ERRORS | {(1, 7): 5.0}), "fine_share", "worst")
    assert law.exponent == pytest.approx(-1)
    assert law.prefactor == pytest.approx(1.5 * 0.01 * (21 / 3) ** 0.5)
