"""Every theorem's proof passes; that it can fail is shown beside each theorem's other tests."""

import inspect
import sys
from importlib import import_module

import pytest

from theory.theorems import THEOREMS

MARKED = [pytest.param(m, marks=getattr(pytest.mark, m.THEOREM.id), id=m.THEOREM.id) for m in THEOREMS]


@pytest.mark.parametrize("module", MARKED)
def test_the_proof_passes(module):
    module.prove()


@pytest.mark.parametrize("module", MARKED)
def test_the_theorem_has_a_twin_proof_of_something_false_and_a_necessity_test_for_each_assumption(module):
    sys.path.insert(0, str(__file__).rsplit("/", 1)[0])
    name = module.__name__.rsplit(".", 1)[1]
    tests = [n for n, _ in inspect.getmembers(import_module(f"test_{name}"), inspect.isfunction)]
    assert any(n.startswith("test_a_false_claim_is_not_proved") for n in tests)
    assert sum(n.startswith("test_necessary_") for n in tests) >= len(module.THEOREM.assumptions)


def test_identifiers_are_in_order_and_unique():
    numbers = [int(m.THEOREM.id[1:]) for m in THEOREMS]
    assert numbers == sorted(set(numbers))
