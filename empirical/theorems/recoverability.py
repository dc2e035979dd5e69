"""T10 on the features of a real network: what R Gaussians a class predict, against what three rules sort right.

Two comparisons. On the same samples, the mixture's predictions stand against the rules learned from and counted on the
samples that it was fitted to: what differs is the shape of the classes, without sampling error. Held out, the samples
of each class are dealt to two halves: one gives the mixture, the class means and the covariances, the other is what the
rules are counted on and what k-means clusters; both halves' sampling errors come on top.

Source: this project, T10 (theory/two_means.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finegrain.theory.mixture import Mixture
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array
from finegrain.theory.two_means import HalfSpace, bisector, discriminant, two_means

RULES: dict[str, Callable[[Mixture], HalfSpace]] = {
    "LDA": discriminant,
    "nearest centre": bisector,
    "2-means": two_means,
}
AXES = 10  # principal axes of a coarse class in which its Gaussians are sought


@dataclass(frozen=True)
class Row:
    """A rule's accuracy on the two fine classes of a coarse class, predicted by `components` Gaussians each."""

    coarse: int
    rule: str
    components: int
    predicted: float
    observed: float
    samples: int  # that were counted

    @property
    def error(self) -> float:
        """Predicted minus observed."""
        return self.predicted - self.observed


def compare(
    features: ArrayLike,
    fine: ArrayLike,
    coarse_map: ArrayLike,
    components: Sequence[int] = (1, 2, 4, 8),
    *,
    axes: int | None = AXES,
    held_out: bool = False,
    seed: int = 0,
) -> Iterator[Row]:
    """Rows for every coarse class of two fine classes, every rule and every number of Gaussians.

    Args:
        features: (N, d). fine: (N,). coarse_map: (C,).
        components: R, each >= 1 and at most a quarter of the samples of a class (held out).
        axes: look for the Gaussians in so many principal axes of the coarse class and along the difference of its class
            means; None, in all dimensions. Their moments are those of all dimensions in either case.
        held_out: predict on one half of the samples what is counted on the other; else both on all.
        seed: of the halves, of the fits and of k-means.

    Raises:
        ValueError: as Mixture.fit, or no coarse class of two fine classes.
    """
    x = checks.real("features", features, ("N", "d"))
    coarse = checks.coarse_map(coarse_map)
    labels = np.asarray(checks.labels("fine", fine, x, coarse.size))
    pairs = [np.flatnonzero(coarse == k) for k in range(coarse.max() + 1)]
    if all(len(pair) != 2 for pair in pairs):
        raise ValueError("coarse_map must send exactly two fine classes to some coarse class, got none")
    rng = np.random.default_rng(seed)
    for k, pair in enumerate(pairs):
        if len(pair) != 2:
            continue
        mine = np.isin(labels, pair)
        label = (labels[mine] == pair[1]).astype(int)
        everything = np.ones(label.size, dtype=bool)
        half = _halves(label, rng) if held_out else everything
        parts = half, ~half if held_out else everything
        yield from _pair_rows(k, x[mine], label, parts, components, axes, seed)


def _pair_rows(
    coarse: int,
    x: Array,
    label: NDArray[np.int64],
    parts: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    components: Sequence[int],
    axes: int | None,
    seed: int,
) -> Iterator[Row]:
    """Rows of one coarse class: samples (n, d), labels 0 and 1, and masks of those fitted and of those counted."""
    fitted, counted = parts
    one_each = Mixture.fit(x[fitted], label[fitted], [0, 0])
    directions = None if axes is None else _directions(x[fitted], one_each, axes)
    observed = {
        "LDA": _counted(discriminant(one_each), x[counted], label[counted]),
        "nearest centre": _counted(bisector(one_each), x[counted], label[counted]),
        "2-means": _k_means(x[counted], label[counted], seed),
    }
    for R in components:
        mixture = Mixture.fit(x[fitted], label[fitted], [0, 0], R, directions=directions, seed=seed)
        for name, rule in RULES.items():
            predicted = rule(mixture).accuracy(mixture)
            yield Row(coarse, name, R, predicted, observed[name], int(counted.sum()))


def _halves(label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A random half of each class, as a mask (N,)."""
    half = np.zeros(len(label), dtype=bool)
    for c in (0, 1):
        members = rng.permutation(np.flatnonzero(label == c))
        half[members[: len(members) // 2]] = True
    return half


def _directions(x: Array, one_each: Mixture, axes: int) -> Array:
    """Orthonormal (d, q): the leading principal axes of all samples, and the difference of the class means."""
    _, _, right = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    first, second = one_each.moments.means
    return np.linalg.qr(np.column_stack([right[:axes].T, first - second]))[0]


def _counted(split: HalfSpace, x: Array, label: NDArray[np.int64]) -> float:
    share = np.mean((x @ split.normal > split.threshold) == (label == 0))
    return float(max(share, 1 - share))


def _k_means(x: Array, label: NDArray[np.int64], seed: int) -> float:
    """scikit-learn's k-means, the best of ten starts; the better of the two labellings."""
    from sklearn.cluster import KMeans

    found = KMeans(2, n_init=10, random_state=seed).fit_predict(x)
    share = np.mean(found == label)
    return float(max(share, 1 - share))
