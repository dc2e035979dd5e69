"""The tools of proofs: matrices of symbols, losses by entries, derivatives, and a check that can fail."""

import sympy as sp

from finegrain.theory.theorems import symbolic
from finegrain.theory.theorems.proof import left_over


def test_matrices_have_a_symbol_for_each_entry():
    assert [str(x) for x in symbolic.matrix("W", 2, 3)] == ["W_00", "W_01", "W_02", "W_10", "W_11", "W_12"]
    S = symbolic.symmetric("S", 3)
    assert S == S.T
    assert len(S.free_symbols) == 6
    assert str(S[2, 1]) == "S_12"
    assert all(x.is_real for x in [*symbolic.matrix("W", 2, 3), *S])


def test_the_squared_loss_is_that_of_samples_up_to_its_constant():
    F, x, t = symbolic.matrix("F", 2, 3), symbolic.matrix("x", 3, 1), symbolic.matrix("t", 2, 1)
    loss = symbolic.squared_loss(F, x * x.T, t * x.T)
    error = F * x - t
    assert sp.expand(loss - ((error.T * error)[0] - (t.T * t)[0]) / 2) == 0
    assert sp.expand(symbolic.gradient(loss, F) - error * x.T) == sp.zeros(2, 3)


def test_an_unknown_loss_has_an_unknown_slope_for_each_output():
    x, y = sp.symbols("x y")
    slope = sp.diff(symbolic.UnknownLoss(x**2, y), x)
    assert slope == 2 * x * sp.Function("dl1")(x**2, y)
    assert sp.diff(symbolic.UnknownLoss(x, y), y) == sp.Function("dl2")(x, y)


def test_the_penalty_sums_every_entry_of_every_matrix():
    lam = sp.Symbol("lambda")
    W, A = symbolic.matrix("W", 2, 2), symbolic.matrix("A", 1, 2)
    penalty = symbolic.penalty(lam, W, A)
    assert sp.expand(penalty - lam * ((W.T * W).trace() + (A * A.T).trace()) / 2) == 0


def test_what_is_left_is_seen_through_forms():
    x = sp.Symbol("x")
    assert left_over(sp.sin(x) ** 2 + sp.cos(x) ** 2 - 1) == 0
    assert left_over((x + 1) ** 2 - x**2 - 2 * x - 1) == 0
    assert left_over(x * (x + 1) - x**2) == x
