"""Every theorem's proof passes; that it can fail is shown beside each theorem's other tests."""

import inspect
import re
import sys
from importlib import import_module

import pytest

from finegrain.theory.theorems import THEOREMS
from finegrain.theory.theorems.symbolic import require_zero

MARKED = [pytest.param(m, marks=getattr(pytest.mark, m.THEOREM.id), id=m.THEOREM.id) for m in THEOREMS]


def sizes_claimed(claims):
    """The sizes in what the proof says of each difference, written as the ledger does: (2,1), or S = 2, 3, 4."""
    tuples, lists = set(), {}
    for claim in claims:
        claim = re.sub(r"(Q =|gates) \([^)]*\)", "", claim)  # of one size, every pattern
        tuples |= set(re.findall(TUPLE, claim.replace(", ", ",")))
        for size in re.finditer(r"\b([SCKLmdn]) = (\d+)", claim):
            lists.setdefault((claim[: size.start()], size[1]), {})[size[2]] = None
    return tuples | {f"{letter} = {', '.join(values)}" for (_, letter), values in lists.items()}


TUPLE, LIST = r"\(\d+(?:,\d+)+\)", r"\b[SCKLmdn] = \d+(?:, \d+)*"


@pytest.mark.parametrize("module", MARKED)
def test_the_proof_passes_at_the_sizes_that_the_ledger_states(module, monkeypatch):
    claims = []
    monkeypatch.setattr(
        module, "require_zero", lambda *claim: (claims.append(claim[0]), require_zero(*claim))
    )
    module.prove()
    stated = module.THEOREM.sizes
    assert sizes_claimed(claims) == {*re.findall(TUPLE, stated), *re.findall(LIST, stated)}


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
