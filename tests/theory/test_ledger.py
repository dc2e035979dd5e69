"""The ledger's rows: a theorem by its number, its proof run, and what a failed proof says."""

import pytest

from finegrain.theory import ledger
from finegrain.theory.theorems import THEOREMS, lorentz
from finegrain.theory.theorems.symbolic import ProofFailed


def test_theorems_are_chosen_by_number_in_either_case():
    assert ledger.choose("t14") == [lorentz]
    assert ledger.choose(None) == list(THEOREMS)
    with pytest.raises(ValueError, match=r"--theorem must be one of T1, T2, .*, T19; got 'T1x'"):
        ledger.choose("T1x")


@pytest.mark.parametrize("failure", ["", "T14 law: x is not 0"])
def test_a_row_holds_the_theorem_its_time_and_its_failure(monkeypatch, failure):
    def prove():
        if failure:
            raise ProofFailed(failure)

    monkeypatch.setattr(lorentz, "prove", prove)
    row = ledger.prove(lorentz)
    assert (row["id"], row["assumptions"]) == ("T14", lorentz.THEOREM.assumptions)
    assert row["failure"] == failure
    assert 0 <= row["seconds"] < 10
