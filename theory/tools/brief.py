"""Results on one line: the `repr` of a result names its fields, and of large arrays tells the shape, not the numbers.

    Trajectory(times=[0, ..., 100] of 25, W=array (25, 16, 4), A=array (25, 1, 16), ...)

A dataclass asks for it by `__repr__ = brief` in its body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

FEW = 6  # entries that are shown one by one; of more, the first and the last
LONG = 60  # characters beyond which a part is shown as its type alone


def brief(result: Any) -> str:
    """A dataclass as NAME(FIELD=..., ...), floating and complex numbers to four digits."""
    parts = (f"{field.name}={_short(getattr(result, field.name))}" for field in fields(result))
    return f"{type(result).__name__}({', '.join(parts)})"


def _short(value: Any) -> str:
    if hasattr(value, "ndim"):  # of NumPy or torch
        if value.ndim > 1:
            return f"array {tuple(value.shape)}"
        return _row(value) if value.ndim else _short(value.tolist())
    if isinstance(value, list | tuple):
        return _row(value)
    if isinstance(value, dict):
        return _row(list(value.items()), "{}", lambda pair: f"{pair[0]}: {_short(pair[1])}")
    text = f"{value:.4g}" if isinstance(value, float | complex) else repr(value)
    return text if len(text) <= LONG else f"<{type(value).__name__}>"


def _row(entries: Any, brackets: str = "[]", show: Callable[[Any], str] = _short) -> str:
    if len(entries) <= FEW:
        return brackets[0] + ", ".join(map(show, entries)) + brackets[1]
    return f"{brackets[0]}{show(entries[0])}, ..., {show(entries[-1])}{brackets[1]} of {len(entries)}"
