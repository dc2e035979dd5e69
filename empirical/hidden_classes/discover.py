"""Hidden stratification: what a network trained on coarse labels knows of subclasses that nobody named.

Only coarse labels and features come in. For each class: is there hidden structure, how many subclasses, which samples,
how sure? T18 says where to look, off the classifier's row space or, without a classifier, off the span of the coarse
class means; `tree` says what is there, against a test of "no structure".

Source: this project, T18, T25.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finegrain.empirical.hidden_classes.look import centred_class_means, checked, off_classifier
from finegrain.empirical.hidden_classes.power import smallest_distance
from finegrain.empirical.hidden_classes.tree import MOST, Discriminant, Split, Subclasses, find_subclasses
from finegrain.empirical.readers.labelled_stream import labelled_stream
from finegrain.sims.workers import parallel, results
from finegrain.theory.theorems.where_to_look import projector
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, Floats, Labels, host
from finegrain.theory.tools.brief import brief
from finegrain.theory.tools.console import tracked


@dataclass(frozen=True, eq=False)
class Discovery:
    """Subclasses of K coarse classes.

    Attributes:
        class_names: of the K coarse classes
        coarse: (N,) 0..K-1
        subclass: (N,) 0..S_k - 1 within each coarse class k, the largest first
        confidence: (N,) probability of its subclass, held out (finegrain.empirical.hidden_classes.tree)
        tests: K lists of tests, the class's own first
        held_out: (K,) parts by cuts that were all tested on samples without a say in any of them: with a probability
            of at least 1 - level a class has so many
        distinct: (K,) samples, near-equal ones counted once
        rules: K of them, which assign samples
        projection: (D, D), off what the classifier sees
        level: for a class
    """

    class_names: list[str]
    coarse: Labels
    subclass: Labels
    confidence: NDArray[np.float64]
    tests: tuple[tuple[Split, ...], ...]
    held_out: Labels
    distinct: Labels
    rules: tuple[Discriminant, ...]
    projection: Array
    level: float

    __repr__ = brief

    @property
    def counts(self) -> Labels:
        """(K,) subclasses of each coarse class, 1 where no structure was found."""
        return np.array([self.subclass[self.coarse == k].max() + 1 for k in range(len(self.tests))])

    @property
    def p_values(self) -> NDArray[np.float64]:
        """(K,) of "no structure" in each coarse class: exact."""
        return np.array([tests[0].p_value for tests in self.tests])

    @property
    def clusters(self) -> Labels:
        """(N,) one number for all: class 0's subclasses first, then class 1's, as `cluster.cluster` counts them."""
        counts = self.counts
        return (np.cumsum(counts) - counts)[self.coarse] + self.subclass

    def predict(self, features: ArrayLike, coarse: ArrayLike) -> tuple[Labels, NDArray[np.float64]]:
        """Subclass and its probability, (N',) each, of new samples (N', D) in coarse classes (N',) of 0..K-1."""
        # Not projected: the axes of the rules lie off the classifier.
        x = checks.features("features", np.asarray(features), len(self.projection))
        y = checks.labels("coarse", np.asarray(coarse), x, len(self.rules))
        subclass, sure = np.zeros(len(y), dtype=np.int64), np.ones(len(y))
        for k, rule in enumerate(self.rules):
            members = np.flatnonzero(y == k)
            if len(members):
                given = rule.probabilities(x[members])
                subclass[members], sure[members] = given.argmax(axis=1), given.max(axis=1)
        return subclass, sure

    def errors(self, predicted: ArrayLike) -> list[dict[str, Any]]:
        """Does one stratum fail? The share of wrong answers in each, predicted (N,) being coarse classes 0..K-1.

        A row per subclass, the worst first: class, subclass, samples, error, and the 95 % interval of Wilson (1927).
        """
        from scipy.stats import binomtest

        y = checks.labels("predicted", np.asarray(predicted), self.coarse, len(self.tests))
        rows = []
        for k, count in enumerate(self.counts):
            for s in range(count):
                wrong = (y != k)[(self.coarse == k) & (self.subclass == s)]
                interval = binomtest(int(wrong.sum()), len(wrong)).proportion_ci(method="wilson")
                told = {"class": self.class_names[k], "subclass": s, "samples": len(wrong)}
                rows.append(told | {"error": float(wrong.mean()), "low": interval.low, "high": interval.high})
        return sorted(rows, key=lambda row: -row["error"])

    def smallest_subclass(self, share: float = 0.05, power: float = 0.9) -> list[str]:
        """For each class a sentence: how far off a stratum of this share would have been found, with such power."""
        told = []
        for k, (name, n) in enumerate(zip(self.class_names, self.distinct, strict=True)):
            d = round(float(np.trace(self.projection)))
            far = smallest_distance(int(n), d, share, power=power, level=self.tests[k][0].level)
            seen = f"if {far} standard deviations away" if np.isfinite(far) else "at no distance"
            told.append(
                f"in class {name}, of {n} samples in {d} dimensions, a stratum of {share:.0%} would be found "
                f"with probability {power} {seen}"
            )
        return told

    def report(self) -> dict[str, Any]:
        """The summary for JSON: one entry a coarse class."""
        return {"level": self.level, "classes": [self._entry(k) for k in range(len(self.tests))]}

    def _entry(self, k: int) -> dict[str, Any]:
        members = self.coarse == k
        own, sure = self.subclass[members], self.confidence[members]
        count = int(own.max()) + 1
        return {
            "class": self.class_names[k],
            "samples": len(own),
            "distinct": int(self.distinct[k]),
            "subclasses": count,
            "p_value": self.tests[k][0].p_value,
            "held_out": int(self.held_out[k]),
            "sizes": np.bincount(own).tolist(),
            "confidence": [float(sure[own == s].mean()) for s in range(count)],
            "tests": [test.record() for test in self.tests[k]],
        }


def discover(
    features: Any,
    coarse: Any = None,
    classifier: Any = None,
    *,
    level: float = 0.05,
    most: int = MOST,
    seed: int = 0,
    jobs: int = 1,
    progress: bool = False,
) -> Discovery:
    """Find the subclasses of every coarse class.

    Args:
        features: (N, D), of a layer of the network, best the one that the classifier reads: arrays, tensors, or files
            as `measure` takes them.
        coarse: labels (N,), integers >= 0 or text, or files of them; None where the features' file holds them.
        classifier: weights (K', D) of the layer that reads the features; without it the coarse class means stand in,
            which takes two classes.
        level: for each class without structure, the chance of finding some, in (0, 1).
        most: subclasses of a class, at most.
        seed: of random halves and of starts.
        jobs: processes over classes; -1 for one a core.
        progress: show a bar with the time left.

    Raises:
        ValueError: shapes that do not fit, features that are not finite, or an option out of its range.
    """
    from joblib import delayed

    checks.integer("seed", seed, 0)
    checks.integer("most", most, 1)
    if jobs != -1:
        checks.integer("jobs", jobs, 1)
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    x, y, names = _read(features, coarse)
    if classifier is None and y.max() == 0:
        raise ValueError("coarse must have at least 2 classes where no classifier is given, got 1")
    rows = centred_class_means(x, y) if classifier is None else host(checks.float64("classifier", classifier))
    x = off_classifier(x, rows)
    members = [np.flatnonzero(y == k) for k in range(len(names))]
    tasks = (delayed(_one_class)(x[own], level, most, seed) for own in members)
    found = tracked(results(parallel(jobs), tasks), "classes", total=len(names), show=progress)
    return _gathered(list(found), y, members, names, projector(rows), level)


def _one_class(x: Floats, level: float, most: int, seed: int) -> Subclasses:
    """With one thread: small matrices in a loop are slower on several."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return find_subclasses(x, level=level, most=most, seed=seed)


def _gathered(
    found: list[Subclasses], y: Labels, members: list[Labels], names: list[str], off: Array, level: float
) -> Discovery:
    subclass, confidence = np.empty(len(y), dtype=np.int64), np.empty(len(y))
    for own, hidden in zip(members, found, strict=True):
        subclass[own], confidence[own] = hidden.subclass, hidden.confidence
    tests = tuple(hidden.tests for hidden in found)
    held_out, distinct = (np.array([getattr(h, part) for h in found]) for part in ("held_out", "distinct"))
    rules = tuple(hidden.rule for hidden in found)
    return Discovery(names, y, subclass, confidence, tests, held_out, distinct, rules, off, level)


def _read(features: Any, coarse: Any) -> tuple[Floats, Labels, list[str]]:
    """Features (N, D), labels (N,) and the names of the classes, of whatever `measure` takes."""
    stream = labelled_stream(features, coarse)
    batches = [(_plain(x), host(y)) for x, y in stream.batches]
    x, y = checked(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
    return x, y, stream.class_names


def _plain(block: Any) -> Floats:
    """A NumPy block in its own precision; half precision, which NumPy lacks, in float64."""
    return block if isinstance(block, np.ndarray) else host(checks.float64("features", block))
