"""The package as one installs it: one command for the programs, and imports that load no more than they need."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HELP = """
import runpy, sys
sys.argv = ["{0}", "--help"]
try:
    runpy.run_module("{0}", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
"""
LOADED = "\nprint('LOADED', *sorted({m.partition('.')[0] for m in sys.modules}))"
PUBLIC = "import sys\nfrom theory import Mixture, Moments, MomentsAccumulator, kinematics, observables"
HEAVY = {"torch", "sklearn", "matplotlib", "sympy", "PIL"}


def python(*arguments):
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "dumb"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import sys, theory", HEAVY | {"numpy", "scipy", "typer", "rich"}),
        (PUBLIC, HEAVY | {"typer", "rich"}),
        (HELP.format("empirical"), HEAVY | {"scipy", "sims"}),
        ("import sys, finegrain", HEAVY | {"numpy", "scipy", "typer", "rich", "theory"}),
    ],
    ids=["theory", "the public names", "empirical --help", "finegrain"],
)
def test_nothing_is_loaded_before_it_is_needed(code, unwanted):
    """What makes an import slow, rather than a time, which would depend on the machine."""
    result = python("-c", code + LOADED)
    assert result.returncode == 0, result.stderr
    loaded = result.stdout.splitlines()[-1].split()
    assert loaded[0] == "LOADED" and not unwanted & set(loaded)


def test_the_public_names_of_theory_are_what_they_were_before_loading():
    from finegrain import theory
    from finegrain.theory.moments import Moments

    assert theory.Moments is Moments
    assert {getattr(theory, name) for name in theory.__all__}
    with pytest.raises(AttributeError, match="module 'theory' has no attribute 'Moment'"):
        theory.Moment  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 0, "usage: finegrain PROGRAM ..."),
        (["--help"], 0, "empirical"),
        (["theory", "--theorem", "T3"], 0, "Proof: proved"),
        (["sims", "verify", "--theorem", "T99"], 2, "got 'T99'"),
        (["theroy"], 2, "PROGRAM must be one of theory, sims, empirical, paper_figs, got 'theroy'"),
    ],
)
def test_one_command_runs_the_programs(arguments, code, text):
    result = python("-c", "import finegrain; finegrain.main()", *arguments)
    assert result.returncode == code, result.stderr
    assert text in result.stdout + result.stderr


def test_what_is_installed_is_what_is_here():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"finegrain": "finegrain:main"}
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_oldest_versions_that_are_tested_are_those_allowed():
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    tested = (ROOT / "tests" / "oldest.txt").read_text()
    for library in ("numpy", "scipy"):
        (least,) = [d.removeprefix(f"{library}>=") for d in allowed if d.startswith(f"{library}>=")]
        assert f"{library}=={least}\n" in tested
