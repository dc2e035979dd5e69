"""The subclasses of one class: a tree of cuts, each tested, and a rule that says which sample is in which.

    1. near-equal rows count once, and grid values are spread over their steps (repeats.py)
    2. the class is tested, cut at the clearest valley, and its parts are tested and cut again (splits.py)
    3. the leaves are polished: a shrunk linear discriminant of them, taught and applied until nothing moves

The level is that asked for at the class, and falls tenfold with each generation of parts. The class's own p-value is
exact. A part was cut out by samples that test it again, so that its p-value is nominal; the fall of the level is a
margin for that. `held_out_parts` counts parts with a guarantee for all cuts together, at less power.

Source: this project, T18, T25; Ledoit & Wolf (2004), the discriminant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finegrain.empirical.hidden_classes.directions import whitening
from finegrain.empirical.hidden_classes.repeats import counted_once, spread_over_steps
from finegrain.empirical.hidden_classes.splits import PER_AXIS, held_out_parts, one_mode, two_sides
from finegrain.theory.tools.arrays import Array, Flags, Floats, Labels

MOST = 64  # subclasses of a class
GENERATION = 10  # by which the level falls for the parts of a class, and again for theirs
POLISHED_AXES = (
    16  # leading components that the discriminant sees, beside the differences of the parts' means
)
POLISHING = 30  # rounds, at most
RIDGE = 1e-10  # of the total variance: parts that are points have no covariance of their own
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Split:
    """One test of a class, or of a part of it.

    Attributes:
        part: "" for the class, "0" and "1" for its parts, "01" for the second part of the first
        samples: in this part, near-equal rows counted once
        p_value: of one mode in every projection
        level: that the p-value had to reach
        direction: (D,) across the valley at which the part was cut, None where it was not
    """

    part: str
    samples: int
    p_value: float
    level: float
    direction: Array | None = None

    @property
    def found(self) -> bool:
        """Whether the part was split."""
        return self.direction is not None

    @property
    def guarantee(self) -> str:
        """ "exact" for the class's own p-value, "nominal" for a part's."""
        return "nominal" if self.part else "exact"

    def record(self) -> dict[str, str | int | float | bool]:
        """All but the direction, for JSON."""
        told = ("part", "samples", "p_value", "level", "found", "guarantee")
        return {name: getattr(self, name) for name in told}


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Which of S parts a sample is in: probabilities softmax(((x - mean) basis) slopes + offsets).

    Attributes:
        mean: (D,); basis: (D, k); slopes: (k, S); offsets: (S,)
    """

    mean: Array
    basis: Array
    slopes: Array
    offsets: Array

    def probabilities(self, x: Floats) -> Array:
        """(n, S) of samples (n, D)."""
        from scipy.special import softmax

        return softmax((x - self.mean) @ self.basis @ self.slopes + self.offsets, axis=1)


@dataclass(frozen=True, eq=False)
class Subclasses:
    """What one class hides.

    Attributes:
        subclass: (n,) 0..S-1, largest first; S = 1 where nothing was found
        confidence: (n,) probability of its subclass that a discriminant taught all other folds gives a sample
        tests: the class's own test first, then those of its parts
        held_out: parts by cuts that were all tested on samples without a say in any of them
        distinct: rows, near-equal ones counted once
        rule: that assigns samples
    """

    subclass: Labels
    confidence: Array
    tests: tuple[Split, ...]
    held_out: int
    distinct: int
    rule: Discriminant

    @property
    def count(self) -> int:
        """S, the number of subclasses."""
        return int(self.subclass.max()) + 1


def find_subclasses(features: Floats, *, level: float = 0.05, most: int = MOST, seed: int = 0) -> Subclasses:
    """Subclasses of one class from its features (n, D), already off the classifier, not normalised.

    Args:
        level: the chance of finding structure in a class without it, at most.
        most: subclasses, at most: no part is tested any more when there are so many.
        seed: of halves, starts and folds; the same seed gives the same answer.
    """
    rng = np.random.default_rng([seed, len(features)])
    x = _rescaled(features)
    rows, stands_for = counted_once(x)
    once = spread_over_steps(x[rows], rng)
    part, tests = _grown(once, level, most, rng)
    part = _by_size(polished(once, part))
    held_out = held_out_parts(once, level, rng) if part.max() else 1
    subclass = part[stands_for]
    confidence = _confidence(once, part, rng)[stands_for]
    return Subclasses(subclass, confidence, tests, held_out, len(once), discriminant(x, subclass))


def _rescaled(features: Floats) -> Array:
    """In float64, and off the range in which a square is no number."""
    x = np.asarray(features, dtype=np.float64)
    largest = np.abs(x).max(initial=0.0)
    return x if largest == 0 or 1e-100 < largest < 1e100 else x / largest


def _grown(x: Array, level: float, most: int, rng: np.random.Generator) -> tuple[Labels, tuple[Split, ...]]:
    """Parts (n,) of the class x (n, D), one generation after the other, and the tests that made them."""
    tests: list[Split] = []
    part = np.zeros(len(x), dtype=np.int64)
    waiting = [("", 0)]
    while waiting and (part.max() + 1 < most or not tests):
        name, number = waiting.pop(0)
        members = np.flatnonzero(part == number)
        test, side = _tested(x[members], name, level / GENERATION ** len(name), rng)
        tests.append(test)
        if test.found and most > 1:
            other = int(part.max()) + 1
            part[members[side]] = other
            waiting += [(f"{name}0", number), (f"{name}1", other)]
    return part, tuple(tests)


def _tested(x: Array, name: str, level: float, rng: np.random.Generator) -> tuple[Split, Flags]:
    """The test of a part's samples (n, D), and which of them are on the far side of the cut, if there is one."""
    p, valleys = one_mode(x, level, rng)
    valley = two_sides(x, valleys, rng) if p <= level else None
    side: Flags = np.zeros(len(x), dtype=bool) if valley is None else valley.beyond(x)
    cut = None if valley is None or side.all() or not side.any() else valley.direction
    return Split(name, len(x), p, level, cut), side


def polished(x: Array, part: Labels) -> Labels:
    """Parts (n,) of samples (n, D) as their own discriminant sees them, until it agrees with itself."""
    for _ in range(POLISHING):
        if part.max() == 0:
            break
        again = discriminant(x, part).probabilities(x).argmax(axis=1)
        if np.array_equal(again, part):
            break
        part = np.unique(again, return_inverse=True)[1].astype(np.int64)
    return part


def discriminant(x: Array, part: Labels) -> Discriminant:
    """The linear discriminant of S parts (n,) of samples (n, D), its covariance shrunk as Ledoit and Wolf do.

    It sees the leading components and the differences of the parts' means.
    """
    from sklearn.covariance import ledoit_wolf

    sizes = np.bincount(part)
    mean, axes = whitening(x, max(1, min(POLISHED_AXES, len(x) // PER_AXIS, x.shape[1])))
    means = np.stack([x[part == s].mean(axis=0) for s in range(len(sizes))]) - mean
    basis = _span(axes, means.T) if len(sizes) > 1 else axes[:, :0]
    if not basis.shape[1]:
        return Discriminant(mean, basis, np.zeros((0, len(sizes))), np.zeros(len(sizes)))
    z, centres = (x - mean) @ basis, means @ basis
    total = (z**2).mean(axis=0).sum()
    within = ledoit_wolf(z - centres[part], assume_centered=True)[0]
    slopes = np.linalg.solve(within + RIDGE * total * np.eye(basis.shape[1]), centres.T)
    offsets = np.log(sizes / len(x)) - (centres.T * slopes).sum(axis=0) / 2
    return Discriminant(mean, basis, slopes, offsets)


def _span(axes: Array, more: Array) -> Array:
    """An orthonormal basis (D, k) of orthogonal axes (D, a) and of what columns (D, b) add to them."""
    axes = axes / np.linalg.norm(axes, axis=0)
    left, sizes, _ = np.linalg.svd(more - axes @ (axes.T @ more), full_matrices=False)
    # Below that it is rounding, whose direction would be another on another processor.
    added = left[:, sizes > 1e-8 * np.linalg.norm(more)]
    return np.concatenate([axes, added], axis=1)


def _by_size(part: Labels) -> Labels:
    """Numbered anew, the largest first."""
    sizes = np.bincount(part)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[part]


def _confidence(x: Array, part: Labels, rng: np.random.Generator) -> Array:
    """Cross-validated probability (n,) of each sample's part; 1 where there is one part.

    Each part's samples are dealt to the folds in turn, so that a part of two samples is in two.
    """
    result = np.ones(len(x))
    if part.max() == 0:
        return result
    order = rng.permutation(len(x))
    order = order[np.argsort(part[order], kind="stable")]
    fold = np.empty(len(x), dtype=np.int64)
    fold[order] = np.arange(len(x)) % FOLDS
    for f in range(FOLDS):
        held = fold == f
        known, taught = np.unique(part[~held], return_inverse=True)
        given = discriminant(x[~held], taught.astype(np.int64)).probabilities(x[held])
        at = np.searchsorted(known, part[held])
        there = (at < len(known)) & (known[np.minimum(at, len(known) - 1)] == part[held])
        result[held] = np.where(there, given[np.arange(held.sum()), np.minimum(at, len(known) - 1)], 0.0)
    return result
