"""Do the tests of theory/ notice a wrong line? Mutation testing on a random sample.

    python benchmarks/mutation.py --sample 400 --seed 0 --json mutants.json
    python benchmarks/mutation.py --again mutants.json        # only those that survived, after new tests

A mutant is the code with one expression changed by one of mutmut's operators: + for -, < for <=, a number plus 1, an
argument dropped, None for a value. Strings (messages, LaTeX, statements), annotations, decorators and type aliases
are left alone. The sample is drawn file by file, as many from each as its share of all mutants, so the killed share is
an estimate of that of the whole. What must kill a mutant of theory/x.py: tests/theory/test_x.py (pyproject.toml,
[tool.mutation], has the exceptions), and for a theorem its proof too. Timeouts, in processor time, count as killed.

The tests run in a copy of the tree, each time in a fork of this process, which has loaded the large libraries and
nothing of this project.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy  # noqa: F401
import libcst as cst
import mpmath  # noqa: F401
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import sympy  # noqa: F401
import torch  # noqa: F401
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutation"]
STRINGS = (cst.SimpleString, cst.FormattedString)
# Of Hypothesis (tests/conftest.py): a few examples of each property, then all.
PROFILES = ("mutation-first", "mutation")
LEFT_ALONE = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, *STRINGS)


def left_alone(node: cst.CSTNode) -> bool:
    """Strings and annotations, names for types (`Array = ...`), and a theorem's row of the ledger."""
    target = node.targets[0].target if isinstance(node, cst.Assign) else None
    named = isinstance(target, cst.Name) and target.value in SETTINGS["left_alone"]
    return named or isinstance(node, LEFT_ALONE)


@cache
def strings(node: cst.CSTNode) -> int:
    """How many there are in an expression; cached, for a mutant shares its parts with the original."""
    return 1 if isinstance(node, STRINGS) else sum(map(strings, node.children))


@cache
def mutants(file: str) -> tuple[MetadataWrapper, list[tuple[cst.CSTNode, cst.CSTNode]]]:
    """The parsed file, and every (expression, its mutant)."""
    wrapper = MetadataWrapper(cst.parse_module((ROOT / file).read_text()), unsafe_skip_copy=True)
    pairs, nodes = [], [wrapper.module]
    while nodes:
        node = nodes.pop()
        if left_alone(node):
            continue
        found = [
            new for kind, operator in mutation_operators if isinstance(node, kind) for new in operator(node)
        ]
        pairs += [(node, new) for new in found if strings(new) == strings(node)]
        nodes.extend(reversed(node.children))
    return wrapper, pairs


def sample(files: list[str], size: int, seed: int) -> list[tuple[str, int]]:
    """(file, number of the mutant in it): from each file its share of `size`, at random, then shuffled."""
    counts = {file: len(mutants(file)[1]) for file in files}
    total, rng = sum(counts.values()), np.random.default_rng(seed)
    # A file's fractional part is its chance of one more, so that every mutant is as likely as any other.
    drawn = {f: min(n, int(n * size / total + rng.random())) for f, n in counts.items()}
    chosen = [(f, int(i)) for f in files for i in rng.choice(counts[f], drawn[f], replace=False)]
    print(f"{len(chosen)} of {total} mutants in {len(files)} files, seed {seed}", flush=True)
    return [chosen[i] for i in rng.permutation(len(chosen))]


def tests_of(file: str) -> list[str]:
    """The tests that must kill a mutant of `file`."""
    folder, name = file.rsplit("/", 1)
    chosen = SETTINGS["tests"].get(file, [f"tests/{folder}/test_{name}"])
    theorem = re.search(r'\bid="(T\d+)"', (ROOT / file).read_text())
    proof = "tests/theory/theorems/test_proofs.py::test_the_proof_passes_at_the_sizes_that_the_ledger_states"
    return [f"{proof}[{theorem[1]}]", *chosen] if theorem else chosen  # the proof first, the quickest to fail


def _run_pytest(folder: Path, tests: list[str], profile: str) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (SETTINGS["timeout"], SETTINGS["timeout"] + 1))
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:benchmark"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of Hypothesis, loaded before
    os._exit(int(pytest.main([*options, f"--hypothesis-profile={profile}", *tests])))


def outcome(folder: Path, tests: list[str], profiles: tuple[str, ...] = PROFILES) -> str:
    """survived, if the tests pass in `folder`, or killed or timeout."""
    for profile in profiles:
        # By its name a worker would be told from the program itself (theory/tools/console.py).
        process = multiprocessing.get_context("fork").Process(
            target=_run_pytest, args=(folder, tests, profile), name="MainProcess"
        )
        process.start()
        process.join(20 * SETTINGS["timeout"])  # for one that waits without end; the machine may be busy
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            return "timeout"
        if process.exitcode != 0:
            return "timeout" if process.exitcode == -signal.SIGXCPU else "killed"
    return "survived"


def examine(folder: Path, file: str, number: int) -> dict[str, Any]:
    """Write mutant `number` of `file` into the copy, run its tests, restore the file."""
    wrapper, pairs = mutants(file)
    node, new = pairs[number]
    line = wrapper.resolve(PositionProvider)[node].start.line
    before, after = (" ".join(wrapper.module.code_for_node(x).split()) for x in (node, new))
    started = time.perf_counter()
    try:
        (folder / file).write_text(wrapper.module.deep_replace(node, new).code)
        verdict = outcome(folder, tests_of(file))
    finally:
        shutil.copy(ROOT / file, folder / file)
    seconds = round(time.perf_counter() - started, 1)
    change = {"file": file, "number": number, "line": line, "before": before, "after": after}
    return change | {"outcome": verdict, "seconds": seconds}


def summary(rows: list[dict[str, Any]]) -> str:
    killed = sum(row["outcome"] != "survived" for row in rows)
    low, high = scipy.stats.binomtest(killed, len(rows)).proportion_ci(method="wilson")
    return f"killed {killed} of {len(rows)}: {killed / len(rows):.1%}, 95 % interval {low:.1%} to {high:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--files", nargs="+", help="such as theory/tools/checks.py; all of theory/ by default"
    )
    parser.add_argument(
        "--again", type=Path, help="run only the survivors of this file, and write them back to it"
    )
    parser.add_argument("--json", type=Path, default=Path("mutants.json"))
    options = parser.parse_args()
    files = options.files or sorted(str(path.relative_to(ROOT)) for path in (ROOT / "theory").rglob("*.py"))
    results = options.again or options.json
    rows = json.loads(options.again.read_text()) if options.again else []
    todo = [(r["file"], r["number"]) for r in rows if r["outcome"] == "survived"]
    todo = todo if options.again else sample(files, options.sample, options.seed)
    rows = [r for r in rows if r["outcome"] != "survived"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "copy"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv", "figures", ".*_cache"))
        sound: set[str] = set()
        for file, number in todo:
            if file not in sound and outcome(folder, tests_of(file), PROFILES[:1]) != "survived":
                raise SystemExit(f"the tests of {file} fail without a mutant, so that its kills mean nothing")
            sound.add(file)
            rows.append(examine(folder, file, number))
            results.write_text(json.dumps(rows, indent=1))
            if rows[-1]["outcome"] == "survived":
                print("{file}:{line}: {before}  ->  {after}".format(**rows[-1]), flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main()
