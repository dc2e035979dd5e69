"""Coarse maps by name: which fine classes share a training label.

mod           y mod C/2: y and y + C/2 are paired, K = C/2
halves        the first C/2 labels against the last C/2, K = 2
random:SEED   fine classes paired at random, K = C/2; NumPy's default generator with that seed
semantic      CIFAR-10's classes in like pairs, such as cat and dog, K = 5 (finegrain.empirical.readers.cifar_classes)
opposed       CIFAR-10's classes in unlike pairs, such as airplane and cat, K = 5
superclasses  what the data's labels.csv says (image_names.py), in the order of their names; without one CIFAR-100's own
              20 superclasses of 5 classes each
0,1,0,1       the coarse class of each fine class, in order
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.readers import cifar_classes
from finegrain.theory.tools import checks

# Maps of classes known by name: the classes of each coarse class, by its name.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "semantic": {" + ".join(pair): pair for pair in cifar_classes.SEMANTIC},
    "opposed": {" + ".join(pair): pair for pair in cifar_classes.OPPOSED},
    "superclasses": dict(cifar_classes.SUPERCLASSES),
}
WORDS = ("mod", "halves", "random:SEED", *GROUPS)
NAMES = (*WORDS, "a list such as 0,1,0,1")


def coarse_map(
    spec: str | Sequence[int] | NDArray[np.integer],
    num_fine: int,
    class_names: Sequence[str] | None = None,
    superclasses: Sequence[str] | None = None,
) -> NDArray[np.int64]:
    """The coarse class of each of `num_fine` fine classes, shape (C,), values 0..K-1, each taken.

    Args:
        spec: a name of the module's table, or the map itself as text or as a sequence of integers.
        num_fine: C. mod, halves and random need it even and at least 4, so that every coarse class hides two
            fine ones.
        class_names: the C names of the fine classes; semantic, opposed and superclasses go by them, in any order.
        superclasses: of each fine class the name of its superclass (C,), where the data tell them.

    Raises:
        ValueError: an unknown name (the error gives the nearest), a name with C odd or below 4, or a list of
            another length than C, with a negative entry or with a coarse class left out; semantic or opposed for
            classes that are not CIFAR-10's, superclasses for others than CIFAR-100's.
    """
    if isinstance(spec, str) and (spec[:1].isdigit() or spec.startswith("-")):
        spec = _listed(spec)
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
    if spec == "superclasses" and superclasses is not None:
        checks.shape("superclasses", np.asarray(superclasses), (num_fine,))
        return np.unique(superclasses, return_inverse=True)[1].astype(np.int64)
    if spec in GROUPS:
        return _grouped(spec, num_fine, class_names)
    nearest = difflib.get_close_matches(word, WORDS, n=1, cutoff=0)[0]
    raise ValueError(f"coarse_map must be one of {', '.join(NAMES)}; got {spec!r} (nearest: {nearest})")


def coarse_names(spec: str, num_coarse: int, superclasses: Sequence[str] | None = None) -> list[str]:
    """Names of the K coarse classes of a map: words for semantic, opposed and superclasses, numbers for others."""
    if spec == "superclasses" and superclasses is not None:
        return sorted(set(superclasses))
    return list(GROUPS[spec]) if spec in GROUPS else [str(k) for k in range(num_coarse)]


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


def _grouped(spec: str, num_fine: int, class_names: Sequence[str] | None) -> NDArray[np.int64]:
    """The place of each class's group in GROUPS[spec]."""
    group_of = {name: i for i, group in enumerate(GROUPS[spec].values()) for name in group}
    if class_names is None or num_fine != len(group_of) or sorted(class_names) != sorted(group_of):
        given = "none" if class_names is None else ", ".join(class_names[:3]) + ", ..."
        raise ValueError(
            f"coarse_map {spec!r} needs the {len(group_of)} classes of CIFAR-{len(group_of)} by name, such as "
            f"{', '.join(sorted(group_of)[:3])}, got {num_fine} classes, names: {given}"
        )
    return np.array([group_of[name] for name in class_names])


def _listed(spec: str) -> list[int]:
    try:
        return [int(entry) for entry in spec.split(",")]
    except ValueError:
        raise ValueError(f"coarse_map as a list must be whole numbers like 0,1,0,1, got {spec!r}") from None
