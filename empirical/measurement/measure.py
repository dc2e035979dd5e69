"""Every observable of your own features, with confidence intervals: one pass over files, arrays or batches.

    measure("features.npz")                                          arrays "features" and "labels"
    measure(["a.npy", "b.npy"], ["a-labels.npy", "b-labels.npy"])     shards
    measure(features, labels, coarse_map="mod")                       arrays
    measure(layer_batches(model, loader, "layer4"), num_classes=10)   a layer of a network (empirical/readers/hooks.py)

The samples become Moments in groups (theory/jackknife.py) and are forgotten; all else is a function of those. Under
torchrun each process takes its share of the shards, and the groups merge exactly (empirical/distributed.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical import distributed
from finegrain.empirical.measurement.repeats import Repeats
from finegrain.empirical.readers.array_files import read_json
from finegrain.empirical.readers.classifier import Classifier, as_classifier
from finegrain.empirical.readers.coarse_maps import coarse_map as named_map
from finegrain.empirical.readers.labelled_stream import class_name, in_order, labelled_stream
from finegrain.sims.run_folder import environment
from finegrain.theory import observables
from finegrain.theory.jackknife import GroupedMoments, interval
from finegrain.theory.moments import Moments, PooledCovariance
from finegrain.theory.tools import checks, memory
from finegrain.theory.tools.arrays import Array, host
from finegrain.theory.tools.brief import brief
from finegrain.theory.tools.console import tracked

CoarseMap = str | Path | Mapping[Any, Any] | Sequence[int] | NDArray[np.integer] | None

GROUPS = 20  # of the jackknife: t_19 is 7 % wider than a normal interval
FEWEST_GROUPS = 5
GROUP_BYTES = 2**30  # of all groups' sums: fewer groups where a class's covariance is large
# Asked of the pairs inside each coarse class alone; their means come from those matrices.
PAIR_RULES = ("mahalanobis", "lda_accuracy", "bisector_accuracy", "two_means_accuracy")


@dataclass(frozen=True, eq=False)
class Values:
    """Observables of some Moments by name: numbers, and matrices (C, C) over pairs of classes."""

    scalars: dict[str, float]
    matrices: dict[str, Array]


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
        labels: file or files beside those of the features, or the name of an array or column of these (default:
            "labels" or "label"), or an array (N,). Integers >= 0 or strings; classes are ordered by number, or else by
            name. 3, 3.0 and "3" are the same class, and so are "cat" and " cat".
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
    repeats = Repeats()
    for x, y in tracked(stream.batches, "reading features", total=stream.total, show=progress):
        if grouped is None:
            grouped = _groups_for(len(coarse), x.shape[1], covariance, groups)
            if weights is not None:
                checks.shape("classifier", weights.weights, ("K", x.shape[1]))
        grouped.update(x, y)
        repeats.update(x)
    grouped = distributed.all_reduce(grouped)
    if grouped is None:
        raise ValueError("features must hold at least one sample, got none")
    # GroupedMoments sums in float64 whatever it is given.
    precision = {"features": ", ".join(sorted(distributed.union(stream.types))), "sums": "float64"}
    result = _summary(grouped, stream.class_names, coarse, coarse_names, weights, level, precision, progress)
    return replace(result, notes=[*stream.notes, *result.notes, *repeats.notes()])


def _length(coarse_map: CoarseMap) -> int | None:
    """The number of classes that a coarse map by itself tells."""
    if isinstance(coarse_map, str) and not coarse_map.endswith(".json"):
        return coarse_map.count(",") + 1 if "," in coarse_map else None
    if isinstance(coarse_map, (str, Path)):
        coarse_map = cast(Mapping[Any, Any], read_json(Path(coarse_map)))
    return None if coarse_map is None else len(coarse_map)


def _groups_for(num_classes: int, dim: int, covariance: str, groups: int | None) -> GroupedMoments:
    """As many groups as asked for, or as fit in memory; 1 where fewer than 5 would.

    Raises:
        MemoryError: sums that need more than is allowed; the message says which covariances need less.
    """
    sums = {"full": num_classes * dim**2, "pooled": dim**2, "diagonal": num_classes * dim}[covariance]
    each = 8 * (sums + 2 * num_classes * dim)
    if groups is None:
        groups = min(GROUPS, GROUP_BYTES // each)
        groups = groups if groups >= FEWEST_GROUPS else 1
    # The groups, then what all of them give together, its copy and the temporaries of a decomposition.
    memory.require(
        f"features of {dim} columns: {covariance} covariances of {num_classes} classes",
        (groups + 3) * each,
        "" if covariance == "diagonal" else "take covariance='diagonal', or project to fewer dimensions",
    )
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
    scalars, matrices = (
        _estimates(getattr(whole, part), [getattr(values, part) for values in left_out], level)
        for part in ("scalars", "matrices")
    )
    outside = [name for name, e in scalars.items() if bool((e.value < e.low) | (e.value > e.high))]
    if outside:
        notes.append(
            f"the interval of {', '.join(outside)} is corrected for a bias and does not hold the value of these samples"
        )
    return Measurement(
        class_names=class_names,
        coarse_names=coarse_names,
        coarse_map=coarse,
        counts=counts,
        moments=moments,
        scalars=scalars,
        matrices=matrices,
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
    """The values of a Measurement's scalars and matrices; what these Moments do not define is left out."""
    scalars = observables.table(moments, coarse, without=PAIR_RULES)
    matrices = {"class_distances": observables.class_distances(moments)}
    with suppress(ValueError):
        matrices["separation"] = observables.separation(moments)
    for name in PAIR_RULES:
        with suppress(ValueError):
            matrices[name] = observables.OBSERVABLES[name].function(moments, coarse, mean=False)
            scalars |= _means_over_pairs(name, matrices[name], coarse)
    if classifier is not None:
        labelled = moments.pool(coarse) if classifier.coarse else moments
        with suppress(ValueError):
            scalars["nc3"] = observables.nc3(labelled, classifier.weights)
        with suppress(ValueError):
            scalars["nc4"] = observables.nc4(labelled, classifier.weights, classifier.biases)
    return Values(scalars, matrices)


def _means_over_pairs(name: str, matrix: Array, coarse: NDArray[np.int64]) -> dict[str, float]:
    """The mean over all pairs that share a coarse class, and over those of each class k, as name[k]."""
    first, second = np.triu_indices(len(coarse), 1)
    pairs = {k: (coarse[first] == k) & (coarse[second] == k) for k in range(coarse.max() + 1)}
    means = {f"{name}[{k}]": matrix[first[p], second[p]].mean() for k, p in pairs.items() if p.any()}
    together = np.any(list(pairs.values()), axis=0)
    return ({name: matrix[first[together], second[together]].mean()} | means) if means else {}


def _estimates(
    whole: Mapping[str, Any], left_out: list[Mapping[str, Any]], level: float
) -> dict[str, Estimate]:
    """Each observable with its interval, from its values without one group after the other, inside its range."""
    estimates = {}
    for name, value in whole.items():
        number = np.asarray(value, dtype=float)
        values = np.array([np.broadcast_to(v.get(name, np.nan), number.shape) for v in left_out])
        low = high = np.full(number.shape, np.nan)
        if len(values) >= 2:
            ends = interval(number, values, level)
            low, high = (np.clip(end, 0.0, observables.observable(name).largest) for end in ends)
        estimates[name] = Estimate(number, low, high)
    return estimates


def _coarse_classes(spec: CoarseMap, class_names: list[str]) -> tuple[NDArray[np.int64], list[str]]:
    """The coarse class of each class, (C,), and the K coarse names in order."""
    if spec is None:
        return np.zeros(len(class_names), dtype=np.int64), ["all"]
    if isinstance(spec, Path) or (isinstance(spec, str) and spec.endswith(".json")):
        spec = cast(Mapping[Any, Any], read_json(Path(spec)))
    if not isinstance(spec, Mapping):
        coarse = named_map(spec, len(class_names))
        return coarse, [str(k) for k in range(coarse.max() + 1)]
    spec = {class_name("coarse_map", name): coarse for name, coarse in spec.items()}
    missing = [name for name in class_names if name not in spec]
    if missing:
        raise ValueError(f"coarse_map must name the coarse class of every class, got none for {missing[:8]}")
    chosen = [str(spec[name]) for name in class_names]
    names = in_order(set(chosen))
    return np.array([names.index(name) for name in chosen]), names
