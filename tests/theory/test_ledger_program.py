"""finegrain theory: the table and the file say what the proofs said, and so does the exit status."""

import json
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from finegrain.theory import ledger, program
from finegrain.theory.theorems import lorentz
from finegrain.theory.theorems.proof import Result, Theorem

app = typer.Typer()
app.command()(program.main)


@pytest.fixture
def proved(monkeypatch):
    """T14 alone, whose proof does what the test says."""

    def choose(failure=""):
        steps = [Result(s.name, 0.0, failure if s.name == "law" else "") for s in lorentz.THEOREM.steps]
        monkeypatch.setattr(Theorem, "run", lambda _: tuple(steps))
        module = SimpleNamespace(THEOREM=lorentz.THEOREM, __doc__="T14 Lorentz law.\n\nIn full.")
        monkeypatch.setattr(ledger, "choose", lambda theorem: [module])
        monkeypatch.setattr(program.console, "width", 1000)

    return choose


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_proof_that_fails_is_shown_written_and_sets_the_exit_status(proved, tmp_path, capsys):
    proved("T14 law: [x] is not 0")
    for arguments in ([], ["--theorem", "T14"]):
        result = run(*arguments, "--json", tmp_path / "new" / "ledger.json")
        assert result.exit_code == 1
        (row,) = json.loads((tmp_path / "new" / "ledger.json").read_text())
        assert row["failure"] == "T14 law: [x] is not 0"
        assert "T14 law: [x] is not 0" in result.stdout
        assert "and their twins in" not in result.stdout


def test_the_ledger_has_statement_numbered_assumptions_sizes_and_time(proved, tmp_path):
    proved()
    result = run("--json", tmp_path / "ledger.json")
    assert result.exit_code == 0
    for part in (
        lorentz.THEOREM.subject,
        *(claim.text(lorentz.THEOREM.formulas) for claim in lorentz.THEOREM.claims),
        f"({lorentz.THEOREM.steps[0].sizes})",
        f"{len(lorentz.THEOREM.steps)} steps and their twins in 0.0 s",
    ):
        assert part in result.stdout
    for i, assumption in enumerate(lorentz.THEOREM.assumptions, 1):
        assert f"{i}. {assumption}" in result.stdout
    assert json.loads((tmp_path / "ledger.json").read_text())[0]["statement"] == lorentz.THEOREM.statement


def test_one_theorem_is_printed_in_full(proved):
    proved()
    result = run("--theorem", "T14")
    assert result.exit_code == 0
    assert "In full." in result.stdout
    assert f"  3. {lorentz.THEOREM.assumptions[2]}" in result.stdout
    for step in lorentz.THEOREM.steps:
        assert f"  {step.name}: {step.says} ({step.sizes})" in result.stdout
    assert f"{len(lorentz.THEOREM.steps)} steps and their twins in 0.0 s" in result.stdout


def test_latex_prints_expressions_and_proves_nothing(proved, tmp_path):
    proved("never run")
    result = run("--latex")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["% T14: Lorentz law", *lorentz.THEOREM.latex]
    both = run("--latex", "--json", tmp_path / "ledger.json")
    assert str(both.exception) == "--json writes the ledger and --latex prints expressions: give one of them"
    assert not (tmp_path / "ledger.json").exists()
