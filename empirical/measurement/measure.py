"""Every observable of your own features, with confidence intervals: one pass over files, arrays or batches.

    measure("features.npz")                                          arrays "features" and "labels"
    measure(["a.npy", "b.npy"], ["a-labels.npy", "b-labels.npy"])     shards
    measure(features, labels, coarse_map="mod")                       arrays
    measure(layer_batches(model, loader, "layer4"), num_classes=10)   a layer of a network (empirical/readers/hooks.py)

The samples become Moments in groups (theory/jackknife.py) and are forgotten; all else is a function of those. Under
torchrun each process takes its share of the shards, and the groups merge exactly (empirical/distributed.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical import distributed
from finegrain.empirical.readers.array_files import read_json
from finegrain.empirical.readers.classifier import Classifier, as_classifier
from finegrain.empirical.readers.coarse_maps import coarse_map as named_map
from finegrain.empirical.readers.labelled_stream import in_order, labelled_stream
from finegrain.sims.run_folder import environment
from finegrain.theory import observables
from finegrain.theory.jackknife import GroupedMoments, interval
from finegrain.theory.moments import Moments, PooledCovariance
from finegrain.theory.pairs import host
from finegrain.theory.tools import checks
from finegrain.theory.tools.brief import brief
from finegrain.theory.tools.console import tracked

Array = NDArray[np.float64]
Values = dict[str, Any]  # observables by name, each a number or an array
CoarseMap = str | Path | Mapping[Any, Any] | Sequence[int] | NDArray[np.integer] | None

GROUPS = 20  # of the jackknife: t_19 is 7 % wider than a normal interval
FEWEST_GROUPS = 5
GROUP_BYTES = 2**30  # of all groups' sums: fewer groups where a class's covariance is large
PAIR_RULES = (
    observables.mahalanobis,
    observables.lda_accuracy,
    observables.bisector_accuracy,
    observables.two_means_accuracy,
)
SHARES = ("fine_share", "vci", "lda_", "bisector_", "two_means_", "nc4")  # in [0, 1]; all others in [0, inf)
MATRIX = "[c,c']"


@dataclass(frozen=True, eq=False)
class Estimate:
    """An observable on all samples, and the ends of its confidence interval; NaN where there is none."""

    value: Array
    low: Array
    high: Array

    __repr__ = brief


@dataclass(frozen=True, eq=False)
class Measurement:
    """What `measure` found.

    Attributes:
        class_names: of the C classes; coarse_names: of the K coarse ones
        coarse_map: (C,)
        counts: (C,) samples
        moments: of all samples
        scalars: every entry of observables.table, "nc3", "nc4", and of each coarse class k with two classes or more
            "mahalanobis[k]", ...: the mean over its pairs
        matrices: (C, C): "class_distances" and "separation" of all pairs, and "mahalanobis", "lda_accuracy", ... of
            those in one coarse class, NaN elsewhere
        level: of the confidence intervals; groups: of the jackknife, 1 if there are no intervals
        precision: of the "features" as they came, and of the "sums" of their products
        notes: what to bear in mind when reading the numbers
    """

    class_names: list[str]
    coarse_names: list[str]
    coarse_map: NDArray[np.int64]
    counts: NDArray[np.int64]
    moments: Moments
    scalars: dict[str, Estimate]
    matrices: dict[str, Estimate]
    level: float
    groups: int
    precision: dict[str, str]
    notes: list[str]

    __repr__ = brief

    def report(self) -> dict[str, Any]:
        """All of it but the Moments, for JSON."""
        return {
            "classes": [
                {"name": name, "coarse": self.coarse_names[k], "samples": int(n)}
                for name, k, n in zip(self.class_names, self.coarse_map, self.counts, strict=True)
            ],
            "dimension": self.moments.dim,
            "covariance": self.moments.kind,
            "confidence": {"level": self.level, "groups": self.groups, "method": "delete-a-group jackknife"},
            "precision": self.precision,
            "notes": self.notes,
            "scalars": {name: _listed(e) for name, e in self.scalars.items()},
            "matrices": {name: _listed(e) for name, e in self.matrices.items()},
            "environment": environment(),
        }


def _listed(estimate: Estimate) -> dict[str, Any]:
    return {part: getattr(estimate, part).tolist() for part in ("value", "low", "high")}


def measure(
    features: Any,
    labels: Any = None,
    *,
    coarse_map: CoarseMap = None,
    num_classes: int | None = None,
    classifier: Any = None,
    covariance: str = "full",
    groups: int | None = None,
    level: float = 0.95,
    progress: bool = False,
) -> Measurement:
    """Measure labelled features.

    Args:
        features: a file (readers/feature_files.py says which) or a list of files, the shards; an array (N, d),
            NumPy or torch; or an iterator over batches (features, labels) of integer labels.
        labels: file or files beside those of the features (default: in the same), or an array (N,). Integers >= 0 or
            strings; classes are ordered by number, or else by name. 3 and "3" are the same class.
        coarse_map: a name or list (readers/coarse_maps.py), a dictionary class name -> coarse name, or a JSON file of
            one. Default: all classes together in one coarse class.
        num_classes: of an iterator over batches, whose labels are 0..num_classes-1.
        classifier: weights (K, d) of the last layer for NC3 and NC4, one row a coarse class or one a class, in their
            order: an array, a pair (weights, biases), or a file of them.
        covariance: "full", "pooled" or "diagonal".
        groups: of the jackknife, 1 for no intervals. Default: 20, or what fits in 1 GiB.
        level: of the confidence intervals.
        progress: show bars with the time left.

    Raises:
        ValueError: input that is damaged, does not fit together or is not finite; the message names it.
    """
    distributed.join()
    checks.one_of("covariance", covariance, ("full", "pooled", "diagonal"))
    if groups is not None:
        checks.integer("groups", groups, 1)
    if not 0 < level < 1:
        raise ValueError(f"level must be > 0 and < 1, got {level}")
    stream = labelled_stream(features, labels, num_classes or _length(coarse_map))
    coarse, coarse_names = _coarse_classes(coarse_map, stream.class_names)
    weights = None if classifier is None else as_classifier(classifier, len(coarse_names), len(coarse))
    grouped: GroupedMoments | None = None
    kinds: set[str] = set()
    for x, y in tracked(stream.batches, "reading features", total=stream.total, show=progress):
        if grouped is None:
            grouped = _groups_for(len(coarse), x.shape[1], covariance, groups)
            if weights is not None:
                checks.shape("classifier", weights.weights, ("K", x.shape[1]))
        grouped.update(x, y)
        kinds.add(str(x.dtype).removeprefix("torch."))
    grouped = distributed.all_reduce(grouped)
    if grouped is None:
        raise ValueError("features must hold at least one sample, got none")
    # GroupedMoments sums in float64 whatever it is given.
    precision = {"features": ", ".join(sorted(distributed.union(kinds))), "sums": "float64"}
    return _summary(grouped, stream.class_names, coarse, coarse_names, weights, level, precision, progress)


def _length(coarse_map: CoarseMap) -> int | None:
    """The number of classes that a coarse map by itself tells."""
    return None if coarse_map is None or isinstance(coarse_map, (str, Path, Mapping)) else len(coarse_map)


def _groups_for(num_classes: int, dim: int, covariance: str, groups: int | None) -> GroupedMoments:
    """As many groups as asked for, or as fit in memory; 1 where fewer than 5 would."""
    if groups is None:
        sums = {"full": num_classes * dim**2, "pooled": dim**2, "diagonal": num_classes * dim}[covariance]
        groups = min(GROUPS, GROUP_BYTES // (8 * (sums + 2 * num_classes * dim)))
        groups = groups if groups >= FEWEST_GROUPS else 1
    rank, _ = distributed.rank_and_size()
    return GroupedMoments(num_classes, dim, covariance, groups=groups, seed=rank)


def _summary(
    grouped: GroupedMoments,
    class_names: list[str],
    coarse: NDArray[np.int64],
    coarse_names: list[str],
    classifier: Classifier | None,
    level: float,
    precision: dict[str, str],
    progress: bool,
) -> Measurement:
    moments, counts = _in_numpy(grouped.compute()), grouped.counts
    notes = _notes(moments, counts)
    whole = observe(moments, coarse, classifier)
    others = tracked(grouped.leave_one_out(), "confidence intervals", total=grouped.groups, show=progress)
    try:
        left_out = [observe(_in_numpy(rest), coarse, classifier) for rest in others]
    except ValueError as error:
        left_out = []
        notes.append(f"no confidence intervals: {error}")
    estimates = {name: _estimate(name, value, left_out, level) for name, value in whole.items()}
    return Measurement(
        class_names=class_names,
        coarse_names=coarse_names,
        coarse_map=coarse,
        counts=counts,
        moments=moments,
        scalars={name: e for name, e in estimates.items() if e.value.ndim == 0},
        matrices={name.removesuffix(MATRIX): e for name, e in estimates.items() if e.value.ndim == 2},
        level=level,
        groups=grouped.groups if left_out else 1,
        precision=precision,
        notes=notes,
    )


def _notes(moments: Moments, counts: NDArray[np.int64]) -> list[str]:
    notes = []
    constant = _constant_columns(moments)
    if constant:
        notes.append(f"{constant} of {moments.dim} columns are constant, which no observable sees")
    if counts.min() <= moments.dim:
        notes.append(
            f"the smallest class has {counts.min()} samples in {moments.dim} dimensions: what inverts a covariance "
            "(Mahalanobis distance, LDA accuracy, VCI) describes these samples, not the population; project first"
        )
    return notes


def _in_numpy(moments: Moments) -> Moments:
    """The same Moments, from whatever library and device."""
    parts = moments.covariances if moments.kind == "pooled" else (moments.covariances,)
    arrays = [host(part) for part in parts]
    covariances: Any = PooledCovariance(*arrays) if moments.kind == "pooled" else arrays[0]
    return Moments._trusted(host(moments.weights), host(moments.means), covariances)


def _constant_columns(moments: Moments) -> int:
    """Columns that take one value in all samples."""
    variances = moments.within if moments.kind == "diagonal" else np.diag(moments.within)
    return int(np.sum((variances == 0) & (np.ptp(moments.means, axis=0) == 0)))


def observe(moments: Moments, coarse: NDArray[np.int64], classifier: Classifier | None = None) -> Values:
    """The values of a Measurement's scalars and, with MATRIX at the end of their names, matrices.

    What these Moments do not define is left out.
    """
    values: Values = dict(observables.table(moments, coarse))
    values["class_distances" + MATRIX] = observables.class_distances(moments)
    calls: dict[str, Callable[[], Any]] = {"separation" + MATRIX: lambda: observables.separation(moments)}
    for rule in PAIR_RULES:
        calls[rule.__name__ + MATRIX] = partial(_inside, rule, moments, coarse)
    if classifier is not None:
        labelled = moments.pool(coarse) if classifier.coarse else moments
        calls["nc3"] = lambda: observables.nc3(labelled, classifier.weights)
        calls["nc4"] = lambda: observables.nc4(labelled, classifier.weights, classifier.biases)
    for name, call in calls.items():
        with suppress(ValueError):
            values[name] = call()
    for rule in PAIR_RULES:
        if rule.__name__ + MATRIX in values:
            values |= _means_over_pairs(rule.__name__, values[rule.__name__ + MATRIX], coarse)
    return values


def _inside(rule: Callable[[Moments], Any], moments: Moments, coarse: NDArray[np.int64]) -> Array:
    """A rule's matrix (C, C) over the pairs of classes in one coarse class, NaN elsewhere."""
    matrix = np.full((len(coarse), len(coarse)), np.nan)
    for k in np.flatnonzero(np.bincount(coarse) > 1):
        members = np.flatnonzero(coarse == k)
        matrix[np.ix_(members, members)] = rule(_only(moments, members))
    return matrix


def _only(moments: Moments, classes: NDArray[np.int64]) -> Moments:
    """The Moments of some of the classes; the pooled covariance stays that of all."""
    weights = moments.weights[classes]
    if moments.kind == "pooled":
        covariances: Any = PooledCovariance(moments.covariances.matrix, moments.covariances.traces[classes])
    else:
        covariances = moments.covariances[classes]
    return Moments._trusted(weights / weights.sum(), moments.means[classes], covariances)


def _means_over_pairs(name: str, matrix: Array, coarse: NDArray[np.int64]) -> Values:
    """The mean over all pairs that share a coarse class, and over those of each class k, as name[k]."""
    first, second = np.triu_indices(len(coarse), 1)
    pairs = {k: (coarse[first] == k) & (coarse[second] == k) for k in range(coarse.max() + 1)}
    means: Values = {f"{name}[{k}]": matrix[first[p], second[p]].mean() for k, p in pairs.items() if p.any()}
    together = np.any(list(pairs.values()), axis=0)
    return (means | {name: matrix[first[together], second[together]].mean()}) if means else {}


def _estimate(name: str, value: Any, left_out: list[Values], level: float) -> Estimate:
    """With its interval, inside the observable's range."""
    whole = np.asarray(value, dtype=float)
    values = np.array([np.broadcast_to(v.get(name, np.nan), whole.shape) for v in left_out])
    if len(values) < 2:
        nowhere = np.full(whole.shape, np.nan)
        return Estimate(whole, nowhere, nowhere)
    low, high = interval(whole, values, level)
    largest = 1.0 if name.startswith(SHARES) else np.inf
    return Estimate(whole, np.clip(low, 0.0, largest), np.clip(high, 0.0, largest))


def _coarse_classes(spec: CoarseMap, class_names: list[str]) -> tuple[NDArray[np.int64], list[str]]:
    """The coarse class of each class, (C,), and the K coarse names in order."""
    if spec is None:
        return np.zeros(len(class_names), dtype=np.int64), ["all"]
    if isinstance(spec, Path) or (isinstance(spec, str) and spec.endswith(".json")):
        spec = cast(Mapping[Any, Any], read_json(Path(spec)))
    if not isinstance(spec, Mapping):
        coarse = named_map(spec, len(class_names))
        return coarse, [str(k) for k in range(coarse.max() + 1)]
    spec = {str(name): coarse for name, coarse in spec.items()}  # 3 and "3" are the same class
    missing = [name for name in class_names if name not in spec]
    if missing:
        raise ValueError(f"coarse_map must name the coarse class of every class, got none for {missing[:8]}")
    chosen = [str(spec[name]) for name in class_names]
    names = in_order(set(chosen))
    return np.array([names.index(name) for name in chosen]), names
