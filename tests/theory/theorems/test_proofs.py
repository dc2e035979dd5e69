"""Every theorem's proof passes and can fail: steps, words and formulas are each shown to matter.

The tests of written theorems take a module, so that benchmarks/falsify.py can hand them a theorem that it falsified.
"""

import ast
import hashlib
import inspect
import json
import sys
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import sympy as sp

from finegrain.theory import ledger
from finegrain.theory.theorems import THEOREMS
from finegrain.theory.theorems.proof import Malformed, ProofFailed

ROOT = Path(__file__).parents[3]
RECORDED = ROOT / "docs" / "results" / "ledger.json"


def marked(modules):
    return [pytest.param(m, marks=getattr(pytest.mark, m.THEOREM.id), id=m.THEOREM.id) for m in modules]


def own_tests(module):
    """The module of the theorem's own tests."""
    sys.path.insert(0, str(ROOT))  # under the name that pytest gives it, so that it is imported once
    return import_module(f"tests.theory.theorems.test_{module.__name__.rsplit('.', 1)[1]}")


@pytest.mark.parametrize("module", marked(THEOREMS))
def test_every_step_holds_and_its_twins_do_not(module):
    module.THEOREM.prove()


@pytest.mark.parametrize("module", marked(THEOREMS))
def test_the_row_is_the_recorded_one(module):
    """Words, assumptions, LaTeX, labels and steps; python benchmarks/falsify.py --record writes them."""
    recorded = json.loads(RECORDED.read_text())
    assert record(module.THEOREM) == recorded[module.THEOREM.id]


def record(theorem):
    """The ledger's row, each step with its falsehoods spelled out and with a digest of what derives it.

    No run can tell a derivation from a copy of the formula: a proof that changes is recorded anew, or is red.
    """
    row = ledger.record(theorem)
    for entry, step in zip(row["steps"], theorem.steps, strict=True):
        false = {name: theorem.formulas[name].but(function) for name, function in step.false.items()}
        entry["refuses a false"] = {name: str(formula.expression) for name, formula in false.items()}
        entry["derivation"] = digest(step.residual)
    return row


@cache
def digest(residual):
    """Of the source of a residual and of all that it calls in its own module."""
    sources, waiting = {}, [residual]
    while waiting:
        found = waiting.pop()
        if found.__qualname__ not in sources:
            sources[found.__qualname__] = inspect.getsource(found)
            waiting += called(found) if inspect.isfunction(found) else []
    text = "".join(sources[name] for name in sorted(sources))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def called(function):
    """The functions and classes of its own module that a function names."""
    codes, names = [function.__code__], set()
    for code in codes:
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if inspect.iscode(constant)]
    named = (function.__globals__.get(name) for name in sorted(names))
    return [
        x
        for x in named
        if (inspect.isfunction(x) or inspect.isclass(x)) and x.__module__ == function.__module__
    ]


@pytest.mark.parametrize("module", marked(THEOREMS))
def test_each_formula_has_the_values_worked_out_by_hand(module):
    """VALUES of the theorem's tests: formula -> (call, value), the call through predict wherever there is one."""
    assert set(own_tests(module).VALUES) == set(module.THEOREM.formulas)
    assert wrong_values(module) == []


def wrong_values(module, name=None):
    """(formula, value found, value by hand), where they differ; of one formula, or of all."""
    rows = own_tests(module).VALUES
    chosen = rows if name is None else [name]
    cases = [(name, call(), value) for name in chosen for call, value in rows[name]]
    return [case for case in cases if case[1] != pytest.approx(case[2], rel=1e-14)]


@pytest.mark.parametrize("module", marked(THEOREMS))
def test_without_a_step_its_claims_fall(module):
    theorem = module.THEOREM
    for gone in theorem.steps:
        left = replace(theorem, steps=tuple(step for step in theorem.steps if step is not gone))
        with pytest.raises(Malformed, match=f"steps that do not exist: {gone.name}"):
            left.prove()
        names = [step.name for step in left.steps]
        for claim in theorem.claims:
            before, after = (claim.label(passed) for passed in ([*names, gone.name], names))
            assert (before != after) == (gone.name in claim.steps)


@pytest.mark.parametrize("module", marked(THEOREMS))
def test_a_step_that_is_always_zero_is_refused_by_its_twin(module):
    for step in module.THEOREM.steps:
        with pytest.raises(ProofFailed, match=f"^{step.name}: its twin with a false"):
            replace(step, residual=lambda *_: sp.S.Zero).run(module.THEOREM.formulas)


FALSE = {"doubled": lambda value: 2 * value, "one more": lambda value: value + 1}


def falsified(theorem, name, how):
    """The theorem with a formula's value doubled, or one more; a matrix, to which 1 cannot be added, changes sign."""
    function = theorem.formulas[name].function

    def false(*arguments):
        value = function(*arguments)
        return -value if how == "one more" and hasattr(value, "shape") else FALSE[how](value)

    return theorem.but(**{name: false})


@pytest.mark.parametrize("how", FALSE)
@pytest.mark.parametrize("module", marked(THEOREMS))
def test_a_false_formula_is_noticed_by_its_values(module, how, monkeypatch):
    for name in module.THEOREM.formulas:
        with monkeypatch.context() as patch:
            patch.setattr(module, "THEOREM", falsified(module.THEOREM, name, how))
            assert wrong_values(module, name)


@pytest.mark.parametrize("module", marked(THEOREMS))
def test_the_theorem_has_a_necessity_test_for_each_assumption(module):
    assert len(necessity_tests(module)) >= len(module.THEOREM.assumptions)


@pytest.mark.parametrize("module", marked(THEOREMS))
def test_no_necessity_test_takes_the_claim_from_predict(module):
    """A literal formula, a flow or samples: else a false predict could fail with the assumption dropped or not."""
    tests = own_tests(module)
    asking = [name for name in necessity_tests(module) if "predict" in called_by(getattr(tests, name))]
    assert asking == []


def called_by(function):
    """Names of functions that a test calls, predict... as predict."""
    nodes = ast.walk(ast.parse(inspect.getsource(function)))
    functions = [node.func for node in nodes if isinstance(node, ast.Call)]
    names = {getattr(f, "attr", None) or getattr(f, "id", "") for f in functions}
    return {"predict" if name.startswith("predict") else name for name in names}


def necessity_tests(module):
    names = [name for name, _ in inspect.getmembers(own_tests(module), inspect.isfunction)]
    return [name for name in names if name.startswith("test_necessary_")]


def test_identifiers_are_in_order_and_unique():
    numbers = [int(m.THEOREM.id[1:]) for m in THEOREMS]
    assert numbers == sorted(set(numbers))
