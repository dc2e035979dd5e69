"""What is asked of a file of features or labels: which array or columns, of what shape, and which are no features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finegrain.empirical.readers.array_files import (
    MAX_COLUMNS,
    MAX_LABEL,
    Block,
    Refused,
    whole_or_named,
)

HEAD = 1000  # rows that tell whether a column numbers them, fewer of a wide table
HEAD_ENTRIES = 2**22
FEWEST_ROWS = 8
LABEL_NAMES = ("labels", "label")
CURES = {  # of an array with too many axes
    "features": "average or flatten all axes but the first",
    "labels": "they are one a sample; where they lie in another file, name it (--labels)",
}


@dataclass(frozen=True)
class Source:
    """One array on disk: (N, d) features or (N,) labels.

    Attributes:
        name: the file, and the array in it, for messages.
        rows: N, or None where only reading to the end tells.
        blocks: size -> iterator over blocks of `size` consecutive rows, the last one shorter.
        notes: what was left out of the file, and why.
    """

    name: str
    rows: int | None
    blocks: Callable[[int], Iterator[Block]]
    notes: tuple[str, ...] = ()


def streamed(path: Path, blocks: Iterator[Block]) -> Iterator[Block]:
    with whole_or_named(path):
        yield from blocks


def chosen_of(path: Path, names: list[str], name: str | None, role: str) -> str:
    """The array asked for, or the one that its name or its being alone makes plain."""
    if name in names:
        return name
    usual = ("features",) if role == "features" else LABEL_NAMES
    fitting = [n for n in names if n in usual] or names
    if name is None and len(fitting) == 1:
        return fitting[0]
    asked = f"no array {name!r}" if name else f"no single array for the {role}"
    raise Refused(f"{path} holds {asked}; name one as {path.name}:NAME, of {', '.join(sorted(names))}")


def columns_of(
    path: Path, columns: list[str], name: str | None, role: str, labels: tuple[str, ...]
) -> list[int]:
    """Positions of the label column, or of the feature columns, in a table."""
    if name is None and role == "features" and "features" not in columns:
        return [i for i, column in enumerate(columns) if column not in labels]
    chosen = chosen_of(path, columns, name, role)
    if columns.count(chosen) > 1:
        raise Refused(f"{path} must have one column {chosen!r}, got {columns.count(chosen)}")
    return [columns.index(chosen)]


def head_rows(width: int) -> int:
    """Rows of a table so wide that tell whether a column numbers them."""
    return max(min(HEAD, HEAD_ENTRIES // max(width, 1)), FEWEST_ROWS)


def without_index(
    path: Path, columns: list[str], kept: list[int], head: Block, known: Collection[str] = ()
) -> tuple[list[int], tuple[str, ...]]:
    """The feature columns without those that only say which row it is, and a note on each.

    That is a first column without a name, as a data frame's index leaves it, those that are `known`, and any whose
    numbers go up by the same whole step from row to row.
    """
    index = {
        k: "it has no name"
        if not columns[k].strip() or columns[k] == "Unnamed: 0"
        else "it is the data frame's index"
        for k in kept
        if columns[k] in known or (k == 0 and columns[k].strip() in ("", "Unnamed: 0"))
    }
    if len(head) >= FEWEST_ROWS:
        steps = np.diff(head, axis=0)
        numbering = (steps == steps[:1]).all(axis=0) & (steps[0] != 0) & (head == np.round(head)).all(axis=0)
        index |= {
            k: "it numbers the rows" for k, one in zip(kept, numbering, strict=True) if one and k not in index
        }
    if len(index) == len(kept):
        return kept, ()
    notes = (f"{path}: column {columns[k] or 1!r} is left out: {why}" for k, why in index.items())
    return [k for k in kept if k not in index], tuple(notes)


def rows_of(name: Path | str, shape: tuple[int, ...], role: str) -> int:
    """N, or an error that says what shape is needed."""
    wanted, axes = ("(N, d)", 2) if role == "features" else ("(N,)", 1)
    if len(shape) != axes or 0 in shape:
        cure = f": {CURES[role]}" if len(shape) > axes else ""
        raise Refused(f"{name} must hold {role} of shape {wanted}, not empty, got {shape}{cure}")
    if len(shape) > 1 and shape[1] > MAX_COLUMNS:
        raise Refused(f"{name} must have at most {MAX_COLUMNS} columns, got {shape[1]}")
    return shape[0]


def require_short(path: Path, dtype: np.dtype[Any], role: str) -> None:
    """Text takes the width of its longest entry in every row."""
    width = dtype.itemsize // (4 if dtype.kind == "U" else 1)
    if role == "labels" and width > MAX_LABEL:
        raise Refused(f"{path} must hold labels of at most {MAX_LABEL} characters, got {dtype}")
