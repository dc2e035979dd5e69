"""T10 on the features of a real network: what R Gaussians a class predict, against what three rules sort right.

The samples of each class are dealt to two halves. One half gives the mixture, hence the predictions, and the class
means and covariances of the nearest-centre rule and of linear discriminant analysis; the other half is what they are
counted on, and what k-means clusters. So nothing is predicted on the samples that it was fitted to.

Source: this project, T10 (theory/mixture_two_means.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import Mixture, checks
from theory.mixture_two_means import Split, bisector, discriminant, two_means

Array = NDArray[np.float64]

RULES: dict[str, Callable[[Mixture], Split]] = {
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
    seed: int = 0,
) -> Iterator[Row]:
    """Rows for every coarse class of two fine classes, every rule and every number of Gaussians.

    Args:
        features: (N, d). fine: (N,). coarse_map: (C,).
        components: R, each >= 1 and at most a quarter of the samples of a class.
        axes: look for the Gaussians in so many principal axes of the coarse class and along the difference of its class
            means; None, in all dimensions. Their moments are those of all dimensions in either case.
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
        if len(pair) == 2:
            mine = np.isin(labels, pair)
            yield from _pair_rows(
                k, x[mine], (labels[mine] == pair[1]).astype(int), components, axes, seed, rng
            )


def _pair_rows(
    coarse: int,
    x: Array,
    label: NDArray[np.int64],
    components: Sequence[int],
    axes: int | None,
    seed: int,
    rng: np.random.Generator,
) -> Iterator[Row]:
    half = _halves(label, rng)
    counted = ~half
    one_each = Mixture.fit(x[half], label[half], [0, 0])
    directions = None if axes is None else _directions(x[half], one_each, axes)
    observed = {
        "LDA": _counted(discriminant(one_each), x[counted], label[counted]),
        "nearest centre": _counted(bisector(one_each), x[counted], label[counted]),
        "2-means": _k_means(x[counted], label[counted], seed),
    }
    for R in components:
        mixture = Mixture.fit(x[half], label[half], [0, 0], R, directions=directions, seed=seed)
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


def _counted(split: Split, x: Array, label: NDArray[np.int64]) -> float:
    share = np.mean((x @ split.normal > split.threshold) == (label == 0))
    return float(max(share, 1 - share))


def _k_means(x: Array, label: NDArray[np.int64], seed: int) -> float:
    """scikit-learn's k-means, the best of ten starts; the better of the two labellings."""
    from sklearn.cluster import KMeans

    found = KMeans(2, n_init=10, random_state=seed).fit_predict(x)
    share = np.mean(found == label)
    return float(max(share, 1 - share))
