"""The arrows between folders and rooms: each contract of pyproject.toml is broken by an import that it must forbid."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOPS = ("theory", "sims", "empirical", "paper_figs")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
# Contract -> the file that breaks it, and the module that it must not import. None of them breaks another contract.
PLANTED = {
    "folders": ("sims/plotting.py", "finegrain.empirical.distributed"),
    "mathematics": ("theory/dip.py", "matplotlib"),
    "theory": ("theory/tools/checks.py", "finegrain.theory.moments"),
    "sims": ("sims/gates/sets.py", "finegrain.sims.population.flow"),
    "empirical": ("empirical/readers/idx.py", "finegrain.empirical.networks.recipe"),
    "plain": ("sims/plain.py", "finegrain.theory.kinematics"),
    "figures": ("paper_figs/lorentz.py", "finegrain.paper_figs.gallery.order"),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """KEPT or BROKEN for each contract's name, in a copy of the tree with every violation planted."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "finegrain", folder / "finegrain", ignore=shutil.ignore_patterns(*TOPS))
    for top in TOPS:
        shutil.copytree(ROOT / top, folder / "finegrain" / top, ignore=shutil.ignore_patterns("__pycache__"))
    for file, module in PLANTED.values():
        with open(folder / "finegrain" / file, "a") as source:
            source.write(f"\nimport {module}\n")
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
        "--no-cache",
    ]
    environment = dict(os.environ) | {"COLUMNS": "300", "PYTHONPATH": str(folder)}
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment).stdout
    return dict(re.findall(r"^(\S.*) (KEPT|BROKEN)", told, re.MULTILINE))


def test_every_contract_has_a_planted_violation():
    assert {contract["id"] for contract in CONTRACTS} == PLANTED.keys()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c["id"])
def test_the_contract_is_broken_by_what_it_forbids(contract, verdicts):
    assert verdicts[contract["name"]] == "BROKEN"
