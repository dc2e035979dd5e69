"""The ledger: theorems chosen by their number, and each one's row with its proof run anew."""

from __future__ import annotations

import time
from dataclasses import asdict
from types import ModuleType
from typing import Any

from finegrain.theory.theorems import THEOREMS
from finegrain.theory.theorems.symbolic import ProofFailed


def choose(theorem: str | None) -> list[ModuleType]:
    """The modules of one theorem, such as "T7", or of all."""
    chosen = [m for m in THEOREMS if theorem is None or m.THEOREM.id.lower() == theorem.lower()]
    if not chosen:
        known = ", ".join(m.THEOREM.id for m in THEOREMS)
        raise ValueError(f"--theorem must be one of {known}; got {theorem!r}")
    return chosen


def prove(module: ModuleType) -> dict[str, Any]:
    """The ledger's row: the theorem, the seconds its proof took just now, and its failure ("" if it passed)."""
    started = time.perf_counter()
    try:
        module.prove()
        failure = ""
    except ProofFailed as error:
        failure = str(error)
    seconds = round(time.perf_counter() - started, 2)
    return asdict(module.THEOREM) | {"seconds": seconds, "failure": failure}
