"""Numbers that differ from the committed ones: recorded/numbers.json holds a summary of every figure at seed 0.

A single number is kept as it is, a curve as its mean and its last value. Committed anew by
finegrain figures --accept.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from finegrain.theory.tools.files import to_json, write_atomic

COMMITTED = Path(__file__).parent / "recorded" / "numbers.json"
RELATIVE, ABSOLUTE = 1e-6, 1e-9  # what other processors and thread counts may round differently
# Where rounding is amplified. By figure and the beginning of a number's path: relative and absolute tolerance.
AMPLIFIED = {
    # A network trained in float32: 2^-23 a step, at random signs over 1,200 steps 4e-6; ten times that, relative.
    # Kernels without AVX moved it by 8e-6, and its errors, which are small, by 8e-7.
    ("prediction", ""): (4e-5, 4e-6),
    # The slope of errors down to 8e-8, which are differences of numbers known to 1e-12, each to some 1e-5 of itself.
    ("time_course", "observed_order"): (1e-4, 0.0),
    # The scatter of a slope of 0.18 over eight starts, 1.5e-5: rounding moves each slope by 1e-9 or so.
    ("specialisation", "S = 3 / standard_error"): (0.0, 1e-8),
}
NOT_RESULTS = ("config", "environment", "seconds", "training", "read_back", "command")


class Change(NamedTuple):
    """A number that is not what it was; None where it is new or gone."""

    key: str
    committed: float | None
    now: float | None


def summary(numbers: Any) -> dict[str, float]:
    """Every number of nested mappings and lists by its path "a / b"; of a list its mean and its last entry."""
    found: dict[str, list[float]] = defaultdict(list)
    _collect(numbers, "", found)
    result = {}
    for key, values in found.items():
        if len(values) == 1:
            result[key] = values[0]
        else:
            result[f"{key}, mean"], result[f"{key}, last"] = math.fsum(values) / len(values), values[-1]
    return result


def committed() -> dict[str, dict[str, float]]:
    """The committed summary of each figure."""
    return json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}


def changes(record: dict[str, Any]) -> list[Change]:
    """How a figure's record differs from what is committed; nothing for another seed, which draws afresh."""
    if record["seed"] != 0:
        return []
    old, new = committed().get(record["name"], {}), summary(record["numbers"])
    keys = sorted(old.keys() | new.keys())
    return [
        Change(key, old.get(key), new.get(key))
        for key in keys
        if not _same(old.get(key), new.get(key), *_tolerance(record["name"], key))
    ]


def accept(records: list[dict[str, Any]]) -> None:
    """Commit the numbers of these records; those of other figures stay."""
    known = committed() | {r["name"]: summary(r["numbers"]) for r in records if r["seed"] == 0}
    write_atomic(COMMITTED, to_json(dict(sorted(known.items()))) + "\n")


def _collect(value: Any, path: str, found: dict[str, list[float]]) -> None:
    """Numbers at each path; the entries of a list share theirs."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key not in NOT_RESULTS:
                _collect(entry, f"{path} / {key}" if path else key, found)
    elif isinstance(value, list):
        for entry in value:
            _collect(entry, path, found)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found[path].append(float(value))


def _tolerance(figure: str, key: str) -> tuple[float, float]:
    """Relative and absolute, of a number of a figure."""
    found = (pair for (name, path), pair in AMPLIFIED.items() if figure == name and key.startswith(path))
    return next(found, (RELATIVE, ABSOLUTE))


def _same(old: float | None, new: float | None, relative: float, absolute: float) -> bool:
    if old is None or new is None:
        return False
    return math.isclose(old, new, rel_tol=relative, abs_tol=absolute)
