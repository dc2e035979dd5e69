"""Plots of sweeps: slopes that fits find, theory's line where its assumptions hold, and what is refused."""

import re
from itertools import product

import pytest

from finegrain.sims.sweeps import plot as sweep_plot
from finegrain.sims.sweeps.points import Point
from finegrain.theory.theorems import specialisation as law


def rows(exponents, times=(1.0,), **settings):
    """A table with separation = 3 eps^exponent at the last of the times, a tenth of it before."""
    table = []
    for (S, exponent), eps, t in product(exponents.items(), (1e-2, 1e-3, 1e-4), times):
        point = Point(**{"times": times, "subclasses": S, "eps": eps} | settings)
        separation = 3 * eps**exponent * (1 if t == times[-1] else 0.1 * eps)
        table.append({"run": point.name} | point.settings | {"time": t, "separation": separation})
    return table


def test_the_fit_finds_each_hues_exponent_at_the_last_time():
    found = sweep_plot.fits(rows({3: 0.2, 2: 0.7}, times=(1.0, 2.0)), "eps", "separation", "S")
    assert [fit.name for fit in found] == ["subclasses = 2", "subclasses = 3"]
    for fit, exponent, S in zip(found, (0.7, 0.2), (2, 3), strict=True):
        # Logarithms to 20 carry rounding of 20 * 1.1e-16 each; over a range of 4.6 that is below 1e-14.
        assert abs(fit.slope - exponent) < 1e-14
        assert fit.x.size == 3
        assert fit.predicted == law.predict(S)


@pytest.mark.parametrize(
    ("settings", "predicted"),
    [
        ({}, law.predict(2)),
        ({"activation": "identity"}, 1.0),
        ({"activation": "erf"}, None),
        ({"weight_decay": 0.1}, None),
        ({"noise": 0.1}, None),
        ({"start": "gaussian"}, None),
        ({"loss": "logistic"}, None),
    ],
)
def test_theory_draws_its_line_where_its_assumptions_hold(settings, predicted):
    (fit,) = sweep_plot.fits(rows({2: 0.5}, **settings), "eps", "separation")
    assert fit.predicted == predicted


def test_what_a_plot_cannot_mean_is_refused():
    table = rows({2: 0.5, 3: 0.5})
    wrong = [
        (("epz", "separation", None), "unknown column 'epz'; did you mean 'eps'? Columns: run, coarse"),
        (("eps", "separation", None), "subclasses varies too (such as 2 and 3): make it the hue, or hold it"),
        (("eps", "activation", "S"), "activation must be finite numbers > 0 for a log-log plot, got 'relu'"),
        (("eps", "noise", "S"), "noise must be finite numbers > 0 for a log-log plot, got 0.0 in run"),
        (("coarse", "separation", "eps"), "coarse must have at least two values for a slope, got 2.0 alone"),
    ]
    for columns, message in wrong[:4]:
        with pytest.raises(ValueError, match=re.escape(message)):
            sweep_plot.fits(table, *columns)
    with pytest.raises(ValueError, match=re.escape(wrong[4][1])):
        sweep_plot.fits(table, *wrong[4][0], {"S": 2})
    with pytest.raises(ValueError, match="no row has subclasses = 4"):
        sweep_plot.fits(table, "eps", "separation", None, {"S": 4})
    with pytest.raises(ValueError, match="--where must be COLUMN=VALUE, got 'S'"):
        sweep_plot.conditions(["S"])
    (fit,) = sweep_plot.fits(table, "eps", "separation", None, sweep_plot.conditions(["S=3"]))
    assert fit.predicted == law.predict(3)
