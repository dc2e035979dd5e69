"""The ledger's rows: a theorem by its number, its proof run, and what a failed proof says."""

import pytest

from finegrain.theory import ledger
from finegrain.theory.theorems import THEOREMS, lorentz
from finegrain.theory.theorems.proof import Result, Theorem


def test_theorems_are_chosen_by_number_in_either_case():
    assert ledger.choose("t14") == [lorentz]
    assert ledger.choose(None) == list(THEOREMS)
    with pytest.raises(ValueError, match=r"--theorem must be one of T1, T2, .*, T26; got 'T1x'"):
        ledger.choose("T1x")


@pytest.mark.parametrize("failure", ["", "T14 law: x is not 0"])
def test_a_row_holds_the_theorem_its_time_and_its_failure(monkeypatch, failure):
    steps = [Result(step.name, 0.5, failure if step.name == "law" else "") for step in lorentz.THEOREM.steps]
    monkeypatch.setattr(Theorem, "run", lambda _: tuple(steps))
    row = ledger.prove(lorentz)
    assert (row["id"], row["assumptions"]) == ("T14", list(lorentz.THEOREM.assumptions))
    assert row["failure"] == failure
    assert row["seconds"] == 0.5 * len(steps)
    assert [claim["label"].startswith("part proved: without step 'law'") for claim in row["claims"]] == [
        bool(failure) and "law" in claim.steps for claim in lorentz.THEOREM.claims
    ]
