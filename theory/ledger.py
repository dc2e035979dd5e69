"""The ledger: theorems chosen by their number, and each one's row with its proof run anew.

What of a row does not depend on the run is recorded in docs/results/ledger.json, and a test holds the two together: a
statement, an assumption or a formula is changed at two places or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from finegrain.theory.theorems import THEOREMS
from finegrain.theory.theorems.proof import Theorem


def choose(theorem: str | None) -> list[ModuleType]:
    """The modules of one theorem, such as "T7", or of all."""
    chosen = [m for m in THEOREMS if theorem is None or m.THEOREM.id.lower() == theorem.lower()]
    if not chosen:
        known = ", ".join(m.THEOREM.id for m in THEOREMS)
        raise ValueError(f"--theorem must be one of {known}; got {theorem!r}")
    return chosen


def prove(module: ModuleType) -> dict[str, Any]:
    """The ledger's row: the theorem, the seconds its proof took just now, and its failure ("" if it passed)."""
    results = module.THEOREM.run()
    passed = [result.step for result in results if not result.failure]
    row = record(module.THEOREM, passed)
    for step, result in zip(row["steps"], results, strict=True):
        step |= {"seconds": round(result.seconds, 2), "failure": result.failure}
    seconds = round(sum(result.seconds for result in results), 2)
    return row | {"seconds": seconds, "failure": "; ".join(r.failure for r in results if r.failure)}


def record(theorem: Theorem, passed: Iterable[str] | None = None) -> dict[str, Any]:
    """What the row says whatever the run; `passed`: the steps that labels count on, all by default."""
    passed = [step.name for step in theorem.steps] if passed is None else list(passed)
    f = theorem.formulas
    claims = [
        {"words": c.text(f), "latex": c.latex(f), "label": c.label(passed), "steps": list(c.steps)}
        for c in theorem.claims
    ]
    steps = [
        {"name": s.name, "says": s.says, "sizes": s.sizes, "refuses a false": list(s.false)}
        for s in theorem.steps
    ]
    return {
        "id": theorem.id,
        "subject": theorem.subject,
        "statement": theorem.statement,
        "claims": claims,
        "assumptions": list(theorem.assumptions),
        "steps": steps,
        "sizes": theorem.sizes,
        "latex": list(theorem.latex),
    }
