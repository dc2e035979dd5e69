"""finegrain sims verify: every draw is a new seed, and an error beyond its bound sets the exit status."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from finegrain.sims import program
from finegrain.sims.theorems.comparison import Comparison


@pytest.mark.parametrize(("observed", "status"), [(1.009, 0), (1.011, 1), (float("nan"), 1)])
def test_an_error_beyond_its_bound_sets_the_exit_status(monkeypatch, tmp_path, observed, status):
    def verify(seed):
        return [
            Comparison("T7", f"seed {seed}", 1.0, 1.0, 0.01, "in [low, high]"),
            Comparison("T7", f"seed {seed}", 1.0, observed if seed == 6 else 1.0, 0.01, "exact"),
        ]

    monkeypatch.setattr(program, "_observed", lambda module: SimpleNamespace(verify=verify))
    file = tmp_path / "new" / "rows.json"
    arguments = ["verify", "--theorem", "T7", "--seed", "5", "--draws", "3", "--json", str(file)]
    result = CliRunner().invoke(program.app, arguments)
    assert result.exit_code == status, result.output
    assert "in [low, high]" in result.stdout
    report = json.loads(file.read_text())
    assert [row["quantity"] for row in report["rows"][::2]] == ["seed 5", "seed 6", "seed 7"]
    assert [row["holds"] for row in report["rows"]].count(False) == status
    assert (report["seed"], report["draws"]) == (5, 3)
