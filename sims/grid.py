"""Files that ask for many runs, in one TOML dialect: sweeps of flows and recipes of trainings alike.

    [grid]                      lists that are crossed, the last name varying fastest
    eps = [1e-2, 1e-3]
    seed = [0, 1]

or one table per run:

    [[points]]
    eps = 1e-2
    seed = 0

What stands beside them is shared by all runs. An unknown name is refused with the nearest known one, a value of another
type by name. What the names mean is said by who reads the file (sweeps/points.py, empirical/networks/recipe.py).
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable
from itertools import product
from numbers import Integral, Real
from typing import Any

import numpy as np

TABLES = ("grid", "points")
# What a value of each type is called, and what passes for one.
WORDS = {str: "text", bool: "true or false", int: "an integer", float: "a number"}
ACCEPTED = {str: str, bool: bool, int: Integral, float: Real}


def read_toml(path: Traversable) -> dict[str, Any]:
    """The content of a TOML file; raises ValueError, with the file's name, for anything else."""
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} must be a TOML file: {error}") from error


def combinations(
    source: str,
    content: Mapping[str, Any],
    names: tuple[str, ...],
    *,
    most: int,
    letters: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """What each run has of its own, in the order of the file; one run, with nothing of its own, without a table.

    Args:
        source: what errors call the file.
        content: the file's content, of which [grid] or [[points]] is read.
        names: that may vary.
        most: combinations that a grid may have.
        letters: short names, and what they stand for.

    Raises:
        ValueError: both tables, or one of another form; an unknown name; a grid of more than `most` combinations.
    """
    if all(table in content for table in TABLES):
        raise ValueError(f"{source} must have [grid] or [[points]], got both")
    if "grid" in content:
        return _crossed(f"{source}, [grid]", content["grid"], names, most, letters)
    points = content.get("points", [{}])
    if not isinstance(points, list | tuple) or not points or not all(isinstance(p, Mapping) for p in points):
        raise ValueError(f"{source} must have at least one table [[points]], got {points!r}")
    return [named(f"{source}, point {i}", point, names, letters) for i, point in enumerate(points, 1)]


def named(
    where: str, table: Mapping[str, Any], names: Iterable[str], letters: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The table under full names; raises ValueError for an unknown name, or one given by its letter too."""
    known, short = tuple(names), letters or {}
    for key in table:
        if key == "vary":
            raise ValueError(f"{where}: vary must be written as a table [grid] of the lists to cross")
        if key not in known and key not in short:
            raise ValueError(
                f"{where}: unknown key {key!r}; did you mean {nearest(key, known)!r}? "
                f"Known keys: {', '.join(known)}"
            )
    full = [short.get(key, key) for key in table]
    twice = [key for key, count in Counter(full).items() if count > 1]
    if twice:
        raise ValueError(f"{where}: {twice[0]!r} must be given once, got its letter too")
    return dict(zip(full, table.values(), strict=True))


def nearest(key: str, known: tuple[str, ...]) -> str:
    """The known name most like `key`."""
    return difflib.get_close_matches(key, known, n=1, cutoff=0)[0]


def typed(name: str, kind: type, value: Any) -> Any:
    """The value as str, bool, int or float; a whole number will do for any number, nothing else for another type."""
    if not isinstance(value, ACCEPTED[kind]) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} must be {WORDS[kind]}, got {value!r}")
    if isinstance(value, Integral) and abs(int(value)) >= 2**63:
        raise ValueError(f"{name} must be below 2^63, got a number of {int(value).bit_length()} bits")
    return kind(value)


def plain(value: Any) -> Any:
    """A NumPy array, or a tuple, as a list."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _crossed(
    where: str, grid: Any, names: tuple[str, ...], most: int, letters: Mapping[str, str] | None
) -> list[dict[str, Any]]:
    """Every combination of the grid's lists."""
    if not isinstance(grid, Mapping):
        raise ValueError(f"{where} must be a table of lists, got {grid!r}")
    lists = {key: plain(values) for key, values in named(where, grid, names, letters).items()}
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{where}: {key} must be a non-empty list, got {values!r}")
    # Counted before it is built: a few long lists would fill the memory.
    if (count := math.prod(map(len, lists.values()))) > most:
        raise ValueError(f"{where} must cross its lists to at most {most} points, got {count}")
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
