"""Does anything turn red when a theorem is falsified? Tried on every theorem.

    python benchmarks/falsify.py                  a table of what was tried, and of what stayed green
    python benchmarks/falsify.py --theorem T2     one theorem, tried anew
    python benchmarks/falsify.py --sample 30 --seed 0      so many mutants, drawn at random from all
    python benchmarks/falsify.py --record         write docs/results/ledger.json, after a wanted change

A falsified theorem takes its module's place, and the tests of tests/theory/theorems/test_proofs.py run on it:
the proof (its steps and twins), the record of the ledger's rows, and the values worked out by hand. A copy in place
of a derivation is seen by the record alone, which holds a digest of each residual's source.

A run of all goes on where an earlier one stopped: each theorem's outcomes are kept in build/falsify.json, beside a
digest of what they depend on, and are taken from there until it changes.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache, partial
from io import StringIO
from pathlib import Path
from random import Random
from types import ModuleType
from typing import NamedTuple
from unittest.mock import patch

import pytest
import sympy as sp

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / part / "theorems") for part in ("theory", "sims"))]

import test_observed as sides  # noqa: E402
import test_proofs as tests  # noqa: E402

from finegrain.sims.theorems.comparison import Comparison  # noqa: E402
from finegrain.theory.theorems import THEOREMS  # noqa: E402
from finegrain.theory.theorems.proof import Formulas, Step, Theorem  # noqa: E402
from finegrain.theory.tools.files import to_json, write_atomic  # noqa: E402

TESTS = {
    "proof": tests.test_every_step_holds_and_its_twins_do_not,
    "record": tests.test_the_row_is_the_recorded_one,
    "values": tests.test_each_formula_has_the_values_worked_out_by_hand,
}
Mutant = tuple[str, Theorem]
# What was found for each theorem that is done.
DONE = ROOT / "build" / "falsify.json"
HEAD = "| theorem | mutation | tried | red | by | stayed green |\n| --- | --- | ---: | ---: | --- | --- |"


class Outcome(NamedTuple):
    """How many mutants were tried, which of them stayed green, and which tests turned red."""

    tried: int
    green: list[str]
    by: set[str]

    def __add__(self, other: Outcome) -> Outcome:  # type: ignore[override]
        return Outcome(self.tried + other.tried, self.green + other.green, self.by | other.by)


# (theorem, mutation, the mutants tried), and what is found of a theorem by mutation.
Trial = tuple[str, str, Callable[[], Outcome]]
Outcomes = dict[str, Outcome]


def without(items: tuple, index: int, *put: object) -> tuple:
    """The items with one replaced, or left out."""
    return (*items[:index], *put, *items[index + 1 :])


def steps_deleted(theorem: Theorem) -> Iterator[Mutant]:
    """Each step, its name left in the claims."""
    for i, step in enumerate(theorem.steps):
        yield step.name, replace(theorem, steps=without(theorem.steps, i))


def residuals_zero(theorem: Theorem) -> Iterator[Mutant]:
    """Each step's assertion replaced by 0; it goes first, so that the others need not be proved before."""
    for i, step in enumerate(theorem.steps):
        zero = replace(step, residual=lambda *_: sp.S.Zero)
        yield step.name, replace(theorem, steps=(zero, *without(theorem.steps, i)))


def proofs_thinned(theorem: Theorem) -> Iterator[Mutant]:
    """Each step and its name gone, run at its smallest size alone, with other words, without what it derives."""
    for i, step in enumerate(theorem.steps):
        claims = [replace(c, steps=tuple(s for s in c.steps if s != step.name)) for c in theorem.claims]
        gone = replace(theorem, claims=tuple(claims), steps=without(theorem.steps, i))
        yield f"{step.name} deleted with its name", gone
        thinner = {"other words": replace(step, says=f"not {step.says}"), "a copy": copied(theorem, step)}
        thinner["absurd twins"] = replace(step, false=dict.fromkeys(step.false, lambda *_: sp.Integer(10**6)))
        if step.at[1:]:
            thinner["one size"] = replace(step, at=step.at[:1])
        for how, other in thinner.items():
            yield f"{step.name}: {how}", replace(theorem, steps=without(theorem.steps, i, other))


def copied(theorem: Theorem, step: Step) -> Step:
    """A step that compares each formula of its twins with a copy, and derives nothing."""

    def residual(f: Formulas, *_: object) -> list[sp.Expr]:
        return [sp.sympify(f[x](*f[x].symbols) - theorem.formulas[x].expression) for x in step.false]

    return replace(step, residual=residual)


def formulas_false(theorem: Theorem) -> Iterator[Mutant]:
    """Each formula doubled, and one more."""
    for name in theorem.formulas:
        for how in tests.FALSE:
            yield f"{name} {how}", tests.falsified(theorem, name, how)


def words_false(theorem: Theorem) -> Iterator[Mutant]:
    """Each claim and each assumption negated, each open part dropped or made up."""
    for i, claim in enumerate(theorem.claims):
        negated = replace(claim, words=f"it is false that {claim.words}")
        yield f"claim {i + 1}", replace(theorem, claims=without(theorem.claims, i, negated))
        other = replace(claim, open="" if claim.open else "all of it")
        if claim.steps:
            yield f"claim {i + 1}, what is open", replace(theorem, claims=without(theorem.claims, i, other))
    for i, assumption in enumerate(theorem.assumptions):
        negated = without(theorem.assumptions, i, f"not: {assumption}")
        yield f"assumption {i + 1}", replace(theorem, assumptions=negated)


def latex_false(theorem: Theorem) -> Iterator[Mutant]:
    """Each formula's left side in LaTeX; the right is printed from what is proved."""
    for name, formula in theorem.formulas.items():
        false = theorem.formulas.but()
        false._formulas[name] = replace(formula, left_latex=formula.left_latex + "'")
        if formula.left_latex:
            yield name, replace(theorem, formulas=false)


MUTATIONS: dict[str, Callable[[Theorem], Iterator[Mutant]]] = {
    "step deleted": steps_deleted,
    "residual := 0": residuals_zero,
    "proof thinned": proofs_thinned,
    "formula false": formulas_false,
    "words or assumption false": words_false,
    "LaTeX false": latex_false,
}

# One row of `verify` at a time, in all three of its forms (tests/sims/theorems/test_observed.py).
SIDES: dict[str, Callable[[Comparison], Comparison]] = {
    "observed := predicted": lambda row: replace(row, observed=row.predicted),
    "predicted := observed": lambda row: replace(row, predicted=row.observed),
    "observed + 3 bounds": lambda row: replace(row, observed=row.observed + 3 * _allowed(row)),
    "predicted - 3 bounds": lambda row: replace(row, predicted=row.predicted - 3 * _allowed(row)),
}
# As if it were computed apart from the training: near the prediction, and the same whatever is falsified.
CLOSED_FORM = "plainly trained row := a closed form"
WIDER = "bound 1e6 times as large"


def _allowed(row: Comparison) -> float:
    """The largest error that the row's bound lets pass."""
    return row.bound * (abs(row.predicted) or 1.0)


@cache
def forms(module: ModuleType) -> tuple[list[Comparison], ...]:
    """The rows of the theorem's observed side: as they are, with false predictions, with false training."""
    return sides.rows_of(module)


def row_false(module: ModuleType, change: Callable[[Comparison], Comparison]) -> Outcome:
    """Each row changed, one at a time."""
    green = []
    for i, row in enumerate(forms(module)[0]):
        mutated = [without(tuple(rows), i, change(rows[i])) for rows in forms(module)]
        if not sides.faults(*mutated):
            green.append(row.quantity)
    return Outcome(len(forms(module)[0]), green, {"sides"})


def training_replaced(module: ModuleType) -> Outcome:
    """Each plainly trained row's observation replaced by one that nothing moves, one at a time."""
    true, _, trained = forms(module)
    plain = [i for i, row in enumerate(true) if row.observed != trained[i].observed]
    green = []
    for i in plain:
        value = true[i].predicted + 0.1 * _allowed(true[i])
        mutated = [without(tuple(rows), i, replace(rows[i], observed=value)) for rows in forms(module)]
        if not sides.faults(*mutated):
            green.append(true[i].quantity)
    return Outcome(len(plain), green, {"sides"})


def bounds_widened(module: ModuleType) -> Outcome:
    """Each row's bound widened, one at a time."""
    rows = forms(module)[0]
    green = [row.quantity for row in rows if not sides.wide([replace(row, bound=1e6 * row.bound)])]
    return Outcome(len(rows), green, {"bounds"})


def functions_false(module: ModuleType) -> Outcome:
    """Each function that gives a number falsified, one at a time: noticed by the values, a row or its own tests."""
    store: dict[tuple[str, str], object] = {}
    found = Outcome(0, [], set())
    for function in sides.numbers_of(module):
        tried = {
            "values": TESTS["values"],
            "sides": rows_hold(store),
            "own tests": own_tests_pass(function.__name__),
        }
        with sides.false_numbers([function]):
            red = next((name for name, test in tried.items() if fails(test, module)), "")
        found += Outcome(1, [] if red else [function.__name__], {red} - {""})
    return found


def own_tests_pass(name: str) -> Callable[[ModuleType], None]:
    """A test that the theorem's tests that name the function pass."""

    def test(module: ModuleType) -> None:
        file = str(tests.own_tests(module).__file__)
        source = Path(file).read_text()
        named = [
            f"{file}::{node.name}"
            for node in ast.parse(source).body
            if isinstance(node, ast.FunctionDef) and name in str(ast.get_source_segment(source, node))
        ]
        chosen = [node for node in named if "::test_" in node]
        with redirect_stdout(StringIO()):
            assert (
                not chosen
                or pytest.main([*chosen, "-x", "-q", "--assert=plain", "-p", "no:cacheprovider"]) == 0
            )

    return test


def rows_hold(store: dict) -> Callable[[ModuleType], None]:
    """A test that every row holds; what takes long is kept in the store."""

    def test(module: ModuleType) -> None:
        with sides.remembering(store):
            assert all(row.holds for row in sides.simulation(module).verify(0))

    return test


def reds(module: ModuleType, mutant: Theorem, alone: bool) -> list[str]:
    """The tests that fail on the module with the mutant as its theorem.

    alone: the proof must notice it by itself. Else the slow proof runs only where the record and the values do not.
    """
    with patch.object(module, "THEOREM", mutant):
        quick = [] if alone else [name for name in ("record", "values") if fails(TESTS[name], module)]
        return quick or ["proof"] * fails(TESTS["proof"], module)


def fails(test: Callable[[ModuleType], None], module: ModuleType) -> bool:
    """Whether the test is red. A falsified formula may also stop a derivation: solve finds nothing."""
    try:
        test(module)
    except (AssertionError, ValueError, TypeError):
        return True
    return False


def theorem_false(module: ModuleType, what: str, mutant: Theorem, alone: bool) -> Outcome:
    red = reds(module, mutant, alone)
    return Outcome(1, [] if red else [what], set(red))


def trials(module: ModuleType) -> Iterator[Trial]:
    """(theorem, mutation, the mutants tried) for all mutants of a theorem."""
    for mutation, mutants in MUTATIONS.items():
        alone = mutation in ("step deleted", "residual := 0")
        for what, mutant in mutants(module.THEOREM):
            yield module.THEOREM.id, mutation, partial(theorem_false, module, what, mutant, alone)
    yield module.THEOREM.id, "function of numbers false", partial(functions_false, module)
    for mutation, change in SIDES.items():
        yield module.THEOREM.id, mutation, partial(row_false, module, change)
    yield module.THEOREM.id, CLOSED_FORM, partial(training_replaced, module)
    yield module.THEOREM.id, WIDER, partial(bounds_widened, module)


def outcomes(chosen: Iterable[Trial]) -> dict[str, Outcomes]:
    """theorem -> mutation -> what became of its mutants."""
    found: dict[str, Outcomes] = {}
    for number, mutation, trial in chosen:
        rows = found.setdefault(number, {})
        rows[mutation] = rows.get(mutation, Outcome(0, [], set())) + trial()
    return found


def table(found: dict[str, Outcomes]) -> str:
    """The rows of a markdown table, one per theorem and mutation."""
    lines = []
    for number, rows in found.items():
        for mutation, (tried, green, by) in rows.items():
            cells = (number, mutation, tried, tried - len(green), ", ".join(sorted(by)), "; ".join(green))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def survived(found: dict[str, Outcomes]) -> bool:
    """Whether a mutant stayed green."""
    return any(outcome.green for rows in found.values() for outcome in rows.values())


def sources(module: ModuleType) -> str:
    """A digest of the theorem's files, of all that theory says, and of what tries them."""
    name = module.__name__.rsplit(".", 1)[1]
    own = [f"sims/theorems/{name}.py", f"tests/theory/theorems/test_{name}.py", "sims/plain.py"]
    files = [*own, sides.__file__, tests.__file__, __file__, tests.RECORDED]
    files += sorted((ROOT / "theory").rglob("*.py"))
    return hashlib.sha256(b"".join((ROOT / file).read_bytes() for file in files)).hexdigest()[:12]


def tried_before(module: ModuleType) -> Outcomes | None:
    """The theorem's outcomes of an earlier run on the same sources."""
    kept = json.loads(DONE.read_text()) if DONE.exists() else {}
    entry = kept.get(module.THEOREM.id, {})
    if entry.get("sources") != sources(module):
        return None
    return {mutation: Outcome(n, green, set(by)) for mutation, (n, green, by) in entry["outcomes"].items()}


def keep(module: ModuleType, rows: Outcomes) -> None:
    """Add the theorem's outcomes to those that are kept."""
    kept = json.loads(DONE.read_text()) if DONE.exists() else {}
    plain = {mutation: [n, green, sorted(by)] for mutation, (n, green, by) in rows.items()}
    kept[module.THEOREM.id] = {"sources": sources(module), "outcomes": plain}
    DONE.parent.mkdir(exist_ok=True)
    write_atomic(DONE, to_json(kept) + "\n")


def sample(count: int, seed: int) -> dict[str, Outcomes]:
    """So many mutants, drawn at random from all."""
    every = [trial for module in THEOREMS for trial in trials(module)]
    chosen = Random(seed).sample(every, min(count, len(every)))
    return outcomes(sorted(chosen, key=lambda trial: trial[:2]))


def one_by_one(modules: Iterable[ModuleType], anew: bool) -> Iterator[dict[str, Outcomes]]:
    """Each theorem's outcomes as soon as they are there."""
    for module in modules:
        rows = None if anew else tried_before(module)
        if rows is None:
            rows = outcomes(trials(module))[module.THEOREM.id]
            keep(module, rows)
        yield {module.THEOREM.id: rows}


def main() -> int:
    """Print the table; exit status 1 if a mutant stayed green."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--theorem", help="one theorem, such as T7, tried anew")
    parser.add_argument("--sample", type=int, metavar="N", help="so many mutants, at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--record", action="store_true", help="write the record of the ledger's rows")
    arguments = parser.parse_args()
    if arguments.record:
        rows = {m.THEOREM.id: tests.record(m.THEOREM) for m in THEOREMS}
        write_atomic(tests.RECORDED, to_json(rows) + "\n")
        return 0
    if arguments.sample:
        parts = iter([sample(arguments.sample, arguments.seed)])
    else:
        modules = [m for m in THEOREMS if arguments.theorem in (None, m.THEOREM.id)]
        parts = one_by_one(modules, anew=arguments.theorem is not None)
    print(HEAD)
    green = False
    for part in parts:
        print(table(part), flush=True)
        green = green or survived(part)
    return int(green)


if __name__ == "__main__":
    sys.exit(main())
