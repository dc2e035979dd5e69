"""How long the ledger takes: every theorem's proof and its rows of predicted against observed, one after the other.

    OMP_NUM_THREADS=1 python benchmarks/ledger.py

Wall and processor seconds; how many rows hold, and how far their bounds are from their errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from statistics import median
from types import ModuleType
from typing import Any

from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory import ledger
from finegrain.theory.theorems import THEOREMS


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, wall seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def observed(law: ModuleType) -> list[Comparison]:
    """The rows at seed 0; a theorem's simulation has its name."""
    simulation = import_module(f"finegrain.sims.theorems.{law.__name__.rsplit('.', 1)[1]}")
    return list(simulation.verify(0))


def main() -> None:
    """A row per theorem and their sums, as a markdown table."""
    print(
        "| theorem | proof, wall s | processor s | verify, wall s | processor s | rows that hold | bound over error |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    sums = [0.0] * 4
    # What the first theorem would otherwise load.
    import_module("finegrain.sims.plain")
    for law in THEOREMS:
        row, *proof = timed(lambda law=law: ledger.prove(law))
        rows, *simulated = timed(lambda law=law: observed(law))
        times = [*proof, *simulated]
        sums = [a + b for a, b in zip(sums, times, strict=True)]
        held = f"{sum(r.holds for r in rows)} of {len(rows)}"
        ratio = median(r.bound / r.error if r.error else float("inf") for r in rows)
        told = " | ".join(f"{seconds:.1f}" for seconds in times)
        print(
            f"| {law.THEOREM.id}{'' if not row['failure'] else ' FAILED'} | {told} | {held} | {ratio:.0f} |",
            flush=True,
        )
    print(f"| all | {' | '.join(f'{seconds:.1f}' for seconds in sums)} | | |")


if __name__ == "__main__":
    main()
