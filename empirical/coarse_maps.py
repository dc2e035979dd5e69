"""Coarse maps by name: which fine classes share a training label.

mod           y mod C/2: y and y + C/2 are paired, K = C/2
halves        the first C/2 labels against the last C/2, K = 2
random:SEED   fine classes paired at random, K = C/2; NumPy's default generator with that seed
0,1,0,1       the coarse class of each fine class, in order
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theory import checks

NAMES = ("mod", "halves", "random:SEED", "a list such as 0,1,0,1")


def coarse_map(spec: str | Sequence[int] | NDArray[np.integer], num_fine: int) -> NDArray[np.int64]:
    """The coarse class of each of `num_fine` fine classes, shape (C,), values 0..K-1, each taken.

    Args:
        spec: a name of the module's table, or the map itself as text or as a sequence of integers.
        num_fine: C. The names need it even and at least 4, so that every coarse class hides two fine ones.

    Raises:
        ValueError: an unknown name (the error gives the nearest), a name with C odd or below 4, or a list of
            another length than C, with a negative entry or with a coarse class left out.
    """
    checks.at_least("num_fine", num_fine, 1)
    if not isinstance(spec, str):
        return checks.coarse_map(np.asarray(spec), num_fine)
    word, _, argument = spec.partition(":")
    if spec == "mod":
        return np.arange(num_fine) % _half(spec, num_fine)
    if spec == "halves":
        return np.arange(num_fine) // _half(spec, num_fine)
    if word == "random":
        return _random_pairs(spec, argument, num_fine)
    if spec[:1].isdigit() or spec.startswith("-"):
        return checks.coarse_map(_listed(spec), num_fine)
    nearest = difflib.get_close_matches(word, ("mod", "halves", "random:SEED"), n=1, cutoff=0)[0]
    raise ValueError(f"coarse_map must be one of {', '.join(NAMES)}; got {spec!r} (nearest: {nearest})")


def _half(spec: str, num_fine: int) -> int:
    if num_fine < 4 or num_fine % 2:
        raise ValueError(
            f"coarse_map {spec!r} needs an even number of fine classes, at least 4, got {num_fine}; "
            "give the map as a list instead"
        )
    return num_fine // 2


def _random_pairs(spec: str, seed: str, num_fine: int) -> NDArray[np.int64]:
    if not seed.isdecimal():
        raise ValueError(f"coarse_map random:SEED needs a whole number >= 0 as its seed, got {spec!r}")
    coarse = np.arange(num_fine) % _half(spec, num_fine)
    return np.random.default_rng(int(seed)).permutation(coarse)


def _listed(spec: str) -> list[int]:
    try:
        return [int(entry) for entry in spec.split(",")]
    except ValueError:
        raise ValueError(f"coarse_map as a list must be whole numbers like 0,1,0,1, got {spec!r}") from None
