"""The harness refuses what only looks like a proof."""

import pytest
import sympy as sp

from finegrain.theory.theorems.proof import (
    Claim,
    Formula,
    Formulas,
    Malformed,
    ProofFailed,
    Step,
    Theorem,
    at_a_point,
    left_over,
)

x = sp.Symbol("x", positive=True)
FORMULAS = Formulas(power=Formula(lambda x: x**2, (x,), "y", "y"), shift=Formula(lambda: sp.Integer(3)))
FALSE = {"power": lambda x: x**3}


def step(residual, false=FALSE, **more):
    return Step("step", "says", residual, false, **more)


def derived(f):
    return sp.diff(f.power(x), x) - 2 * x


FAKES = {
    "always 0": lambda f: sp.S.Zero,
    "the claim minus itself": lambda f: f.power(x) - f.power(x),
    "another formula": lambda f: f.shift() - 3,
    "zero times the truth": lambda f: 0 * derived(f),
    "only for the true object": lambda f: 0 if f is FORMULAS else 1,
    "only for the true function": lambda f: int(f.power.function is not FORMULAS.power.function),
    "0 for the truth, else not a number": lambda f: sp.S.Zero if f.power(2) == 4 else sp.nan,
    "nothing": lambda f: [],
    "an empty matrix": lambda f: sp.zeros(0, 2),
    "not a number": lambda f: sp.nan,
    "infinite": lambda f: sp.oo * f.power(x),
    "an inequality that holds for everything": lambda f: sp.Gt(1 + f.power(x) ** 2, 0),
    "one entry of two": lambda f: [sp.S.Zero, f.power(x)],
    "an inequality left open": lambda f: sp.Gt(sp.Symbol("z"), f.power(0)),
}


@pytest.mark.parametrize("name", FAKES)
def test_a_faked_residual_is_refused(name):
    with pytest.raises(ProofFailed, match=r"^step"):
        step(FAKES[name]).run(FORMULAS)


def test_a_step_that_derives_passes_and_a_false_formula_does_not():
    step(derived).run(FORMULAS)
    with pytest.raises(ProofFailed, match=r"^step: 3\*x\*\*2 - 2\*x is not 0"):
        step(derived).run(FORMULAS.but(**FALSE))


def test_a_residual_without_entries_is_named():
    with pytest.raises(ProofFailed, match=r"^step: has nothing that must vanish"):
        step(FAKES["nothing"]).run(FORMULAS)


def test_a_step_without_a_twin_is_refused():
    with pytest.raises(ProofFailed, match="has no twin"):
        step(derived, {}).run(FORMULAS)


def test_every_twin_must_fail_not_only_the_first():
    with pytest.raises(ProofFailed, match="its twin with a false shift holds too"):
        step(derived, FALSE | {"shift": lambda: sp.Integer(4)}).run(FORMULAS)


def test_what_is_small_or_zero_or_infinite_at_the_point_alone_does_not_vanish():
    point = sp.Rational(123, 202)
    assert abs(at_a_point(x) - point) < 1e-20
    assert 0 not in [left_over(entry) for entry in (x / 10**15, x - point, 1 / (x - point))]


def test_an_inequality_that_is_strict_or_left_open_is_not_shown():
    z = sp.Symbol("z", real=True)
    assert left_over(sp.Ge(abs(z), 0, evaluate=False)) == 0
    assert 0 not in [left_over(open_) for open_ in (sp.Gt(abs(z), 0, evaluate=False), z > 0, z >= 0)]


def test_inequalities_hold_by_their_symbols_assumptions():
    growing = step(lambda f: sp.Gt(f.power(x + 1), f.power(x)), {"power": lambda x: -x})
    growing.run(FORMULAS)
    with pytest.raises(ProofFailed, match="is not true"):
        growing.run(FORMULAS.but(power=lambda x: 1 / x))


def test_every_size_runs_and_is_named_and_twins_run_at_the_smallest():
    seen = []

    def residual(f, n):
        seen.append(n)
        return sp.diff(f.power(x), x) * n - 2 * x * n

    sized = step(residual, over="n", at=(1, 2, 3))
    sized.run(FORMULAS)
    assert seen == [1, 2, 3, 1]
    assert (sized.sizes, step(derived, over="n").sizes) == ("n = 1, 2, 3", "every n")


def theorem(claims, steps, formulas=FORMULAS):
    return Theorem("T0", "subject", (), formulas, claims, steps)


def other(f):
    return f.shift() - 3


TWO = (step(derived), Step("other", "says", other, {"shift": lambda: sp.Integer(4)}))
BAD = {
    "claims name steps that do not exist: typo": (Claim("{power} {shift}", ("step", "other", "typo")),),
    "no claim names the steps: other": (Claim("{power}", ("step",)),),
    "no step of the claim .* has a twin with a false: shift": (
        Claim("{power} {shift}", ("step",)),
        Claim("", ("other",)),
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_claims_and_steps_that_do_not_fit_are_refused(message):
    with pytest.raises(Malformed, match=f"^T0 {message}"):
        theorem(BAD[message], TWO).prove()


def test_a_formula_that_is_neither_claimed_nor_used_is_refused():
    with pytest.raises(Malformed, match="formulas and their uses differ: shift"):
        theorem((Claim("{power}", ("step",)),), TWO[:1]).prove()


def test_a_failed_step_is_told_by_run_and_raised_by_prove():
    wrong = theorem((Claim("{power} {shift}", ("step", "other")),), TWO, FORMULAS.but(**FALSE))
    assert [result.failure.startswith("T0 step: ") for result in wrong.run()] == [True, False]
    with pytest.raises(ProofFailed, match=r"^T0 step: "):
        wrong.prove()


def test_run_refuses_what_does_not_fit_too():
    with pytest.raises(Malformed):
        theorem((Claim("{power}", ("step",)),), TWO).run()


def test_steps_of_one_name_are_refused():
    with pytest.raises(Malformed, match="steps share a name"):
        theorem((Claim("{power} {shift}", ("step", "other")),), (*TWO, TWO[0])).prove()


def test_labels_follow_from_the_steps():
    claim = Claim("{power}", ("step", "other"))
    assert claim.label(["step", "other"]) == "proved"
    assert claim.label(["step"]) == "part proved: without step 'other'"
    assert claim.label([]) == Claim("words").label(["step"]) == "observed only"
    assert Claim("words", ("step",), "the limit").label(["step"]) == "part proved: the limit"


def test_words_take_their_formulas_and_numbers_from_the_theorem():
    claim = Claim("{power}, and {shift}")
    assert claim.text(FORMULAS) == "y = x**2, and 3"
    assert claim.latex(FORMULAS) == "$y = x^{2}$, and $3$"
    assert FORMULAS.power.number(3.0) == 9.0
    with pytest.raises(AttributeError, match="formula must be one of power, shift; got 'speed'"):
        _ = FORMULAS.speed


def test_an_unknown_function_vanishes_only_where_its_terms_cancel():
    f = sp.Function("f")
    assert left_over(f(x * (x + 1)) - f(x**2 + x)) == 0
    assert left_over(f(x) - f(2 * x)) != 0
    assert left_over(sp.sin(x) ** 2 + sp.cos(x) ** 2 - 1) == 0
