"""Confidence intervals for any function of Moments from one pass over the samples: the delete-a-group jackknife.

Samples are dealt to G groups, each class evenly, and each group keeps Moments of its own. An observable f is then
evaluated on all samples and G more times, each time without one group:

    bias = (G - 1) (mean_g f_(g) - f),   se^2 = (G - 1)/G sum_g (f_(g) - mean_g f_(g))^2,
    interval = f - bias +- t_{G-1} se

It is the linear approximation of the bootstrap (Efron 1982), at a tenth of its evaluations, and it takes out the
plug-in bias of order d/n that a percentile bootstrap doubles: squared distances of class means, for one, are too large
by tr(Cov)/n on average. An interval that does not hold the plain estimate says that the samples are few for the
dimension.

Assumes that samples are independent, and f smooth in the Moments. Conditional on the number of samples of each class.
Source: Quenouille (1956), Tukey (1958); Shao & Wu (1989) for groups.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray
from scipy.special import stdtrit

from finegrain.theory.moments import Moments, MomentsAccumulator
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, host


class GroupedMoments:
    """MomentsAccumulator in G groups: the same update, merge, compute and reset, and leave_one_out.

    Args:
        num_classes, dim, covariance: as MomentsAccumulator. Memory is G times its own.
        groups: G >= 1; leave_one_out needs 2.
        seed: of the group in which each class begins. Give accumulators that are to be merged different seeds, so
            that classes of few samples do not all fall in the same group.
    """

    def __init__(
        self, num_classes: int, dim: int, covariance: str = "full", *, groups: int = 20, seed: int = 0
    ) -> None:
        checks.integer("groups", groups, 1)
        checks.integer("seed", seed, 0)
        self.groups, self.seed = groups, seed
        self.parts = [MomentsAccumulator(num_classes, dim, covariance) for _ in range(groups)]
        self.reset()

    def reset(self) -> None:
        """Forget every sample."""
        rng = np.random.default_rng(self.seed)
        self._next = rng.integers(self.groups, size=self.parts[0].num_classes)  # each class's next group
        for part in self.parts:
            part.reset()

    def update(self, features: Any, labels: Any) -> None:
        """Add samples (N, d) with labels (N,), as MomentsAccumulator.update; raises as it does."""
        first = self.parts[0]
        features = checks.features("features", features, first.dim, whole=False)
        labels = checks.labels("labels", labels, features, first.num_classes)
        group = self._dealt(host(labels).astype(np.int64, copy=False))
        xp = array_namespace(features)
        for g, part in enumerate(self.parts):
            mine = xp.asarray(np.flatnonzero(group == g), device=device(features))
            part.update(xp.take(features, mine, axis=0), xp.take(labels, mine))

    def _dealt(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The group of each sample (N,): in turn within its class."""
        counts = np.bincount(labels, minlength=len(self._next))
        order = np.argsort(labels, kind="stable")
        start = np.cumsum(counts) - counts
        group = np.empty_like(labels)
        sorted_labels = labels[order]
        group[order] = np.arange(len(labels)) - start[sorted_labels] + self._next[sorted_labels]
        self._next = (self._next + counts) % self.groups
        return group % self.groups

    def merge(self, other: GroupedMoments) -> None:
        """Add the samples that `other` has seen, group by group; `other` stays as it is.

        Raises:
            ValueError: another number of groups, or as MomentsAccumulator.merge.
        """
        if self.groups != other.groups:
            raise ValueError(f"other must have groups = {self.groups}, got {other.groups}")
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.merge(theirs)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(C,): the samples of each class so far."""
        return np.sum([part.counts for part in self.parts], axis=0)

    def compute(self) -> Moments:
        """Moments of all samples; raises as MomentsAccumulator.compute."""
        return _merged(self.parts).compute()

    def leave_one_out(self) -> Iterator[Moments]:
        """The G Moments of the samples without group 0, 1, ..., G - 1.

        Raises:
            ValueError: fewer than 2 groups, or a class with fewer than two samples outside a group.
        """
        checks.integer("groups", self.groups, 2)
        yield from _without_each(self.parts, [])


def _without_each(parts: Sequence[MomentsAccumulator], rest: list[MomentsAccumulator]) -> Iterator[Moments]:
    """Moments of `rest` and all `parts` but one, in order: by halves, with G log G merges and log G copies held."""
    if len(parts) == 1:
        yield _merged(rest).compute()
        return
    half = len(parts) // 2
    yield from _without_each(parts[:half], [_merged([*rest, *parts[half:]])])
    yield from _without_each(parts[half:], [_merged([*rest, *parts[:half]])])


def _merged(parts: Sequence[MomentsAccumulator]) -> MomentsAccumulator:
    """A new accumulator of all that the parts have seen."""
    total = copy.deepcopy(parts[0])
    for part in parts[1:]:
        total.merge(part)
    return total


def interval(estimate: Any, left_out: Any, level: float = 0.95) -> tuple[Array, Array]:
    """Low and high end of a confidence interval, of the estimate's shape.

    Args:
        estimate: the observable on all samples, any shape.
        left_out: (G, ...), the same without each group.
        level: between 0 and 1.

    An entry that is not finite in all of them has the interval NaN, NaN.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be > 0 and < 1, got {level}")
    values, whole = np.asarray(left_out, dtype=float), np.asarray(estimate, dtype=float)
    G = len(values)
    checks.integer("the number of groups", G, 2)
    known = np.isfinite(values).all(axis=0) & np.isfinite(whole)
    # Divided by their size, or the squares of what scales as h^2 would leave the range of float64.
    size = np.where(known, np.maximum(np.abs(values).max(axis=0), np.abs(whole)), 1.0)
    size = np.where(size > 0, size, 1.0)
    values, whole = np.where(known, values, 0.0) / size, np.where(known, whole, 0.0) / size
    mean = values.mean(axis=0)
    centre = G * whole - (G - 1) * mean
    error = np.sqrt((G - 1) / G * np.sum((values - mean) ** 2, axis=0))
    half = stdtrit(G - 1, (1 + level) / 2) * error
    return np.where(known, (centre - half) * size, np.nan), np.where(known, (centre + half) * size, np.nan)
