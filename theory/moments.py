"""Moments of a labelled representation: what theory, simulation and a real network have in common.

A representation is summed up by the weight, mean and covariance of each class. Every observable is a function
of Moments, so prediction and observation are the same code on two inputs. The labels may be fine or coarse:
`moments.pool(coarse_map)` goes from one to the other by the law of total variance.

Covariances come in three sizes:

    "full"      (C, d, d)                        every class its own matrix
    "diagonal"  (C, d)                           the variance of each coordinate alone
    "pooled"    PooledCovariance((d, d), (C,))   the mean within-class covariance, and each class's trace

Arrays are float64, NumPy or torch, on any device: the code follows its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array
from numpy.typing import ArrayLike

from finegrain.theory.scatter import Block, RunningMeans, absorbed_blocks, add_gram, mirror, segment_sums
from finegrain.theory.tools import checks
from finegrain.theory.tools.brief import brief

KINDS = ("full", "diagonal", "pooled")
SIZES_OF_FLOAT32 = (
    1e-12,
    1e15,
)  # of the largest feature: squares of a millionth of it are in float32's range
ROUNDING = 1e-10  # of the largest variance: W Sigma W^T computed in float64 is safely inside


class PooledCovariance(NamedTuple):
    """The mean within-class covariance and what is left of each class's own."""

    matrix: Any  # (d, d): sum_c pi_c Cov_c
    traces: Any  # (C,): tr Cov_c


@dataclass(frozen=True, eq=False)
class Moments:
    """Weight, mean and covariance of each of C classes in R^d (population moments: divisor n_c).

    Args:
        weights: (C,) class probabilities, >= 0, of sum 1 (within 1e-6; then scaled to sum to 1).
        means: (C, d). Their library and device decide for all three; everything is kept as float64.
        covariances: (C, d, d), (C, d) or PooledCovariance, as the module's docstring says. Symmetric and
            positive semi-definite up to 1e-10 of the class's largest variance (float32 input: d times its
            rounding unit). Pooled: tr(matrix) = sum_c pi_c traces_c within the same bound.

    Raises:
        ValueError: an entry that is not finite, shapes that do not fit, or a bound above that is broken.
    """

    weights: Any
    means: Any
    covariances: Any

    __repr__ = brief

    def __post_init__(self) -> None:
        means = checks.float64("means", self.means)
        checks.shape("means", means, ("C", "d"))
        if 0 in means.shape:
            raise ValueError(f"means must have C >= 1 and d >= 1, got shape {tuple(means.shape)}")
        weights = checks.probabilities(
            "weights", checks.float64("weights", self.weights, means), means.shape[0]
        )
        covariances = _checked_covariances(self.covariances, weights, means)
        for name, value in (("weights", weights), ("means", means), ("covariances", covariances)):
            object.__setattr__(self, name, value)

    @classmethod
    def _trusted(cls, weights: Any, means: Any, covariances: Any) -> Moments:
        """Moments that are right by construction (sums of Gram matrices): a Cholesky check would cost
        as much again as the products."""
        moments = object.__new__(cls)
        for name, value in (("weights", weights), ("means", means), ("covariances", covariances)):
            object.__setattr__(moments, name, value)
        return moments

    @classmethod
    def from_samples(
        cls, features: Any, labels: Any, num_classes: int | None = None, covariance: str = "full"
    ) -> Moments:
        """Moments of samples (N, d) with integer labels (N,) in 0..C-1; C is `num_classes`, or the largest
        label plus 1. Accuracy and errors are those of MomentsAccumulator.

        Raises:
            ValueError: as MomentsAccumulator's update and compute.
        """
        features = checks.features("features", features)
        labels = checks.labels("labels", labels, features)
        if num_classes is None:
            num_classes = int(array_namespace(labels).max(labels)) + 1 if labels.shape[0] else 1
            if num_classes > labels.shape[0]:  # and before memory is asked for that many
                raise ValueError(
                    f"labels must be 0..C-1 with samples in every class, got {num_classes - 1} "
                    f"among {labels.shape[0]} samples"
                )
        accumulator = MomentsAccumulator(num_classes, features.shape[1], covariance)
        accumulator.update(features, labels)
        return accumulator.compute()

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return self.means.shape[0]

    @property
    def dim(self) -> int:
        """d, the dimension of the representation."""
        return self.means.shape[1]

    @property
    def kind(self) -> str:
        """ "full", "diagonal" or "pooled"."""
        if isinstance(self.covariances, PooledCovariance):
            return "pooled"
        return "full" if self.covariances.ndim == 3 else "diagonal"

    @property
    def traces(self) -> Any:
        """(C,): the total variance tr Cov_c of each class."""
        if self.kind == "pooled":
            return self.covariances.traces
        xp = array_namespace(self.means)
        if self.kind == "diagonal":
            return xp.sum(self.covariances, axis=-1)
        return xp.sum(xp.linalg.diagonal(self.covariances), axis=-1)

    @property
    def within(self) -> Any:
        """Sigma_W = sum_c pi_c Cov_c, the mean within-class covariance: (d, d), or its diagonal (d,)."""
        if self.kind == "pooled":
            return self.covariances.matrix
        return array_namespace(self.means).tensordot(self.weights, self.covariances, axes=1)

    def pool(self, coarse_map: ArrayLike) -> Moments:
        """Moments of the coarse classes, of the same kind, by the law of total variance:

            mean_k = sum_c q_c mean_c,   Cov_k = sum_c q_c [Cov_c + (mean_c - mean_k)(mean_c - mean_k)^T]

        over the fine classes c of coarse class k, with q_c = pi_c / pi_k. Exact for all three kinds.

        Args:
            coarse_map: integers (C,), fine class -> coarse class 0..K-1, each taken at least once.

        Raises:
            ValueError: a map that does not fit, or a coarse class of weight 0.
        """
        xp = array_namespace(self.means)
        weights, means, parts = [], [], []
        for k, fine in enumerate(_groups(coarse_map, self.means)):
            pi, mu = xp.take(self.weights, fine), xp.take(self.means, fine, axis=0)
            total = xp.sum(pi)
            if float(total) == 0:
                raise ValueError(f"weights must have a sum > 0 in each coarse class, got 0 in class {k}")
            # From differences: exact where the means coincide, however large they are.
            mean = mu[0, :] + (pi / total) @ (mu - mu[0, :])
            weights.append(total)
            means.append(mean)
            parts.append(self._total_covariance(fine, pi / total, mu - mean))
        covariances: Any = xp.stack(parts)
        if self.kind == "pooled":
            covariances = PooledCovariance(self._pooled_matrix(coarse_map, xp.stack(means)), covariances)
        return Moments._trusted(xp.stack(weights), xp.stack(means), covariances)

    def _total_covariance(self, fine: Any, shares: Any, delta: Any) -> Any:
        """Of one coarse class, from its members, their shares q and mean differences: (d, d), (d,) or ()."""
        xp = array_namespace(delta)
        if self.kind == "pooled":
            return shares @ (xp.take(self.traces, fine) + xp.sum(delta**2, axis=-1))
        within = xp.tensordot(shares, xp.take(self.covariances, fine, axis=0), axes=1)
        if self.kind == "diagonal":
            return within + shares @ delta**2
        rows = xp.sqrt(shares)[:, None] * delta
        return within + rows.T @ rows

    def _pooled_matrix(self, coarse_map: ArrayLike, coarse_means: Any) -> Any:
        """The mean fine covariance plus the between-subclass covariance, both (d, d)."""
        xp = array_namespace(coarse_means)
        coarse = xp.asarray(checks.coarse_map(coarse_map), device=device(coarse_means))
        rows = xp.sqrt(self.weights)[:, None] * (self.means - xp.take(coarse_means, coarse, axis=0))
        return self.covariances.matrix + rows.T @ rows


class MomentsAccumulator:
    """Moments of a stream of labelled features: one pass, any batches in any order, mergeable.

    update, compute, reset and merge are those of torchmetrics (which calls merge `merge_state`): states of any number
    of processes or shards merge, in any order, to the Moments of all samples.

    Every sum is float64, and products are formed only after centring on class means (theory/scatter.py).
    With float64 products the covariances are right to about 1e-14 relative, however large the common mean and
    however collapsed the classes; with "float32" to about 1e-7, which is faster but loses small eigenvalues.

    Memory, in float64: 2 C d for the means, plus C d^2 ("full"), C d ("diagonal") or d^2 + C ("pooled").

    Args:
        num_classes: C >= 1.
        dim: d >= 1.
        covariance: "full", "diagonal" or "pooled".
        product_dtype: "float64" or "float32", the precision in which centred features are multiplied.
    """

    def __init__(
        self, num_classes: int, dim: int, covariance: str = "full", *, product_dtype: str = "float64"
    ) -> None:
        checks.integer("num_classes", num_classes, 1)
        checks.integer("dim", dim, 1)
        checks.one_of("covariance", covariance, KINDS)
        checks.one_of("product_dtype", product_dtype, ("float64", "float32"))
        self.num_classes, self.dim, self.covariance = num_classes, dim, covariance
        self.product_dtype = product_dtype
        self.reset()

    def __repr__(self) -> str:
        return (
            f"MomentsAccumulator(num_classes={self.num_classes}, dim={self.dim}, covariance={self.covariance!r}, "
            f"product_dtype={self.product_dtype!r}) of {self.counts.sum()} samples"
        )

    def reset(self) -> None:
        """Forget every sample."""
        # Made by the first samples, in their library and on their device.
        self._means: RunningMeans | None = None
        self._like: Any = None  # no samples, but their library and device
        self._sums: Any = None  # scatter about the class means: (C, d, d), (C, d) or, pooled, (d, d)
        self._traces: Any = None  # pooled: (C,)
        self._size = 0.0  # of the largest feature

    @property
    def counts(self) -> Any:
        """(C,) integers, NumPy: the samples of each class so far."""
        if self._means is None:
            return np.zeros(self.num_classes, dtype=np.int64)
        return np.asarray(self._means.count.tolist()).astype(np.int64)

    def update(self, features: Any, labels: Any) -> None:
        """Add samples. An update that raises leaves the accumulator as it was.

        Args:
            features: (N, d), NumPy or torch, any float type. N may be 0.
            labels: (N,) integers in 0..C-1.

        Raises:
            ValueError: shapes that do not fit, a feature that is not finite, a label that is no integer or
                outside 0..C-1, or another device than before.
        """
        features = checks.features("features", features, self.dim, whole=False)
        labels = checks.labels("labels", labels, features, self.num_classes)
        if self._means is None:
            self._like = features[:0, :]
        size = max(self._size, checks.extent(features))
        features, labels = _host_view(features), _host_view(labels)
        self._check_place("features", features)
        if features.shape[0] == 0:
            return
        means, xp = self._allocated(features), array_namespace(features)
        # What overflows here is refused by `compute`.
        with np.errstate(over="ignore", invalid="ignore"):
            for block in absorbed_blocks(means, features, labels, getattr(xp, self.product_dtype)):
                self._add(block)
        self._size = size

    def merge(self, other: MomentsAccumulator) -> None:
        """Add the samples that `other` has seen; `other` stays as it is.

        Raises:
            ValueError: another number of classes, dimension, kind, library or device.
        """
        for name in ("num_classes", "dim", "covariance"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"other must have {name} = {mine!r}, got {theirs!r}")
        if other._means is None:
            return
        self._check_place("other", other._sums)
        if self._means is None:
            self._like = other._like
        means = self._allocated(other._sums)
        self._sums += other._sums
        if self.covariance == "pooled":
            self._traces += other._traces
        with np.errstate(over="ignore", invalid="ignore"):
            for block in means.merge(other._means):
                self._add(block)
        self._size = max(self._size, other._size)

    def compute(self) -> Moments:
        """Moments of all samples so far: float64, in the library and on the device of the features.

        Raises:
            ValueError: a class with no sample or one sample (named), or features whose squares are beyond the range of
                float64, or of the products' type, at either end.
        """
        if self._means is None:
            raise ValueError("every class must have at least 2 samples, got none in any class")
        self._means.check_counts()
        checks.large_enough("features", self._size)
        self._require_products()
        xp, count = array_namespace(self._sums), self._means.count
        total, means = xp.sum(count), self._means.origin + self._means.offset
        with np.errstate(over="ignore", invalid="ignore"):
            finite = bool(xp.isfinite(xp.sum(self._sums)) & xp.isfinite(xp.sum(means)))
        if not finite:
            raise ValueError(
                "features must have squares that can be summed in float64: divide them by a constant"
            )
        covariances: Any
        if self.covariance == "pooled":
            covariances = PooledCovariance(self._sums / total, self._traces / count)
            mirror(covariances.matrix)
        elif self.covariance == "diagonal":
            covariances = self._sums / count[:, None]
        else:
            covariances = self._sums / count[:, None, None]
            for c in range(self.num_classes):
                mirror(covariances[c, ...])
        return _placed(Moments._trusted(count / total, means, covariances), self._like)

    def _require_products(self) -> None:
        """Products of float32 hold squares from 1e-38 to 1e38 alone."""
        low, high = SIZES_OF_FLOAT32
        if self.product_dtype == "float32" and self._size and not low <= self._size <= high:
            raise ValueError(
                f"features must have a size of {low} to {high} for products in float32, got at most {self._size:.3g}: "
                "take product_dtype='float64', or multiply them by a constant"
            )

    def _check_place(self, name: str, array: Any) -> None:
        """One library and device from the first samples on."""
        if self._means is None:
            return
        first, now = (f"{array_namespace(a).__name__} on {device(a)}" for a in (self._sums, array))
        if first != now:
            raise ValueError(
                f"{name} must be in the library and on the device of the first samples, {first}; got {now}"
            )

    def _allocated(self, like: Any) -> RunningMeans:
        if self._means is None:
            xp, C, d = array_namespace(like), self.num_classes, self.dim
            shape = {"full": (C, d, d), "diagonal": (C, d), "pooled": (d, d)}[self.covariance]
            self._means = RunningMeans(C, d, like)
            self._sums = xp.zeros(shape, dtype=xp.float64, device=device(like))
            self._traces = xp.zeros_like(self._means.count) if self.covariance == "pooled" else None
        return self._means

    def _add(self, block: Block) -> None:
        xp, rows = array_namespace(block.rows), block.rows
        if self.covariance == "full":
            for c, (start, stop) in zip(block.classes.tolist(), pairwise(block.starts), strict=True):
                add_gram(self._sums[c, ...], rows[start:stop, :])
        elif self.covariance == "diagonal":
            self._sums[block.classes] += segment_sums(rows**2, block.starts, block.member)
        else:
            add_gram(self._sums, rows)
            norms = xp.sum(rows**2, axis=-1, dtype=xp.float64)
            self._traces[block.classes] += segment_sums(norms, block.starts, block.member)


def _placed(moments: Moments, like: Any) -> Moments:
    """The same Moments in the library and on the device of `like` (no copy on the CPU)."""
    there = partial(array_namespace(like).asarray, device=device(like))
    weights, means = there(moments.weights), there(moments.means)
    if moments.kind != "pooled":
        return Moments._trusted(weights, means, there(moments.covariances))
    return Moments._trusted(weights, means, PooledCovariance(*map(there, moments.covariances)))


def _host_view(array: Any) -> Any:
    """A tensor on the CPU as a NumPy array, for BLAS forms X^T X at half price there; else the array itself.

    No copy, except from bfloat16, which NumPy has not.
    """
    if is_numpy_array(array) or str(device(array)) != "cpu":
        return array
    xp = array_namespace(array)
    if "bfloat16" in str(array.dtype):
        array = xp.astype(array, xp.float32)
    return np.from_dlpack(array)


def _checked_covariances(covariances: Any, weights: Any, means: Any) -> Any:
    C, d = means.shape
    pooled = isinstance(covariances, PooledCovariance)
    dtype = getattr(covariances.matrix if pooled else covariances, "dtype", None)
    bound = d * 1.2e-7 if "float32" in str(dtype) else ROUNDING
    if pooled:
        return _checked_pooled(covariances, weights, means, bound)
    array = checks.float64("covariances", covariances, means)
    if array.ndim == 2:
        checks.shape("covariances", array, (C, d))
        checks.not_negative("covariances", array)
    else:
        checks.shape("covariances", array, (C, d, d))
        checks.covariances("covariances", array, bound)
    return array


def _checked_pooled(
    covariances: PooledCovariance, weights: Any, means: Any, bound: float
) -> PooledCovariance:
    xp, (C, d) = array_namespace(means), means.shape
    matrix = checks.float64("covariances.matrix", covariances.matrix, means)
    traces = checks.float64("covariances.traces", covariances.traces, means)
    checks.shape("covariances.matrix", matrix, (d, d))
    checks.shape("covariances.traces", traces, (C,))
    checks.covariances("covariances.matrix", matrix[None, ...], bound)
    checks.not_negative("covariances.traces", traces)
    total, mean = float(xp.linalg.trace(matrix)), float(weights @ traces)
    if abs(total - mean) > max(d * bound, 2 * checks.PROBABILITY_TOLERANCE) * mean:
        raise ValueError(
            f"covariances.traces must have weighted mean {total}, the trace of the matrix, got {mean}"
        )
    return PooledCovariance(matrix, traces)


def _groups(coarse_map: ArrayLike, like: Any) -> list[Any]:
    """The fine classes of each coarse class, as index arrays where `like` lives."""
    coarse = checks.coarse_map(coarse_map, like.shape[0])
    xp, place = array_namespace(like), device(like)
    return [xp.asarray(np.flatnonzero(coarse == k), device=place) for k in range(int(coarse.max()) + 1)]
