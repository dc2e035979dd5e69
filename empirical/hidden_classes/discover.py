"""Hidden stratification: what a network trained on coarse labels knows of subclasses that nobody named.

Only coarse labels and features come in. For each class: is there hidden structure, how many subclasses, which samples,
how sure? T18 says where to look, off the classifier's row space or, without a classifier, off the span of the coarse
class means; `splits` says what is there, against a test of "no structure".

Source: this project, T18.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finegrain.empirical.hidden_classes.look import centred_class_means, checked, off_classifier
from finegrain.empirical.hidden_classes.splits import Split, find_subclasses
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Labels
from finegrain.theory.tools.brief import brief
from finegrain.theory.tools.console import tracked
from finegrain.theory.tools.files import to_json, writable_folder, write_atomic


@dataclass(frozen=True, eq=False)
class Discovery:
    """Subclasses of K coarse classes.

    Attributes:
        coarse: (N,) as given
        subclass: (N,) 0..S_k - 1 within each coarse class k, the largest first
        confidence: (N,) probability of its subclass, held out (finegrain.empirical.hidden_classes.splits)
        tests: K lists of tests, the class's own first
        alpha: the level for a class
    """

    coarse: Labels
    subclass: Labels
    confidence: NDArray[np.float64]
    tests: tuple[tuple[Split, ...], ...]
    alpha: float

    __repr__ = brief

    @property
    def counts(self) -> Labels:
        """(K,) subclasses of each coarse class, 1 where no structure was found."""
        return np.array([self.subclass[self.coarse == k].max() + 1 for k in range(len(self.tests))])

    @property
    def p_values(self) -> NDArray[np.float64]:
        """(K,) of "no structure" in each coarse class."""
        return np.array([tests[0].p_value for tests in self.tests])

    @property
    def clusters(self) -> Labels:
        """(N,) one number for all: class 0's subclasses first, then class 1's, as `cluster.cluster` counts them."""
        counts = self.counts
        return (np.cumsum(counts) - counts)[self.coarse] + self.subclass

    def report(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """The summary for JSON: one entry a coarse class, by name if there are names."""
        classes = []
        for k, tests in enumerate(self.tests):
            members = self.coarse == k
            own = self.subclass[members]
            entry: dict[str, Any] = {
                "class": names[k] if names else k,
                "samples": len(own),
                "subclasses": int(own.max()) + 1,
                "p_value": tests[0].p_value,
                "sizes": np.bincount(own).tolist(),
                "confidence": [
                    float(self.confidence[members][own == s].mean()) for s in range(own.max() + 1)
                ],
                "tests": [asdict(test) | {"found": test.found} for test in tests],
            }
            classes.append(entry)
        return {"alpha": self.alpha, "classes": classes}


def discover(
    features: ArrayLike,
    coarse: ArrayLike,
    classifier: ArrayLike | None = None,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    progress: bool = False,
) -> Discovery:
    """Find the subclasses of every coarse class.

    Args:
        features: (N, D), of a layer of the network; best the one that the classifier reads.
        coarse: labels (N,), 0..K-1, each taken.
        classifier: weights (K', D) of the layer that reads the features; without it the coarse class means stand in,
            which takes two classes.
        alpha: for each class without structure, the chance of finding some, in (0, 1).
        seed: of random thirds and of starts.
        progress: show a bar with the time left.

    Raises:
        ValueError: shapes that do not fit, features that are not finite, a coarse class without samples, or an option
            out of its range.
    """
    x, y = checked(features, coarse)
    checks.integer("seed", seed, 0)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    if classifier is None and y.max() == 0:
        raise ValueError("coarse must have at least 2 classes where no classifier is given, got 1")
    x = off_classifier(x, centred_class_means(x, y) if classifier is None else classifier)
    subclass, confidence, tests = np.empty(len(y), dtype=np.int64), np.empty(len(y)), []
    for k in tracked(range(y.max() + 1), "classes", total=int(y.max()) + 1, show=progress):
        members = np.flatnonzero(y == k)
        hidden = find_subclasses(x[members], alpha=alpha, seed=seed)
        subclass[members], confidence[members] = hidden.subclass, hidden.confidence
        tests.append(hidden.tests)
    return Discovery(y, subclass, confidence, tuple(tests), alpha)


def write(
    found: Discovery, folder: Path | str, names: Sequence[str] | None = None, **details: Any
) -> list[Path]:
    """Write subclasses.csv, subclasses.npz and discovery.json, each whole or not at all; returns their paths.

    names: of the K coarse classes, used in the CSV and the JSON; the .npz holds their numbers.
    details: whatever else the JSON should say.
    """
    target = writable_folder(folder)
    contents: dict[str, bytes | str] = {
        "subclasses.csv": _csv(found, names),
        "subclasses.npz": _npz(found),
        "discovery.json": to_json(found.report(names) | details),
    }
    for name, content in contents.items():
        write_atomic(target / name, content)
    return [target / name for name in contents]


def _csv(found: Discovery, names: Sequence[str] | None) -> str:
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(["sample", "coarse_class", "subclass", "confidence"])
    for i, (k, s, sure) in enumerate(zip(found.coarse, found.subclass, found.confidence, strict=True)):
        lines.writerow([i, names[k] if names else k, s, f"{sure:.6f}"])
    return table.getvalue()


def _npz(found: Discovery) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        sample=np.arange(len(found.coarse)),
        coarse_class=found.coarse,
        subclass=found.subclass,
        confidence=found.confidence,
    )
    return buffer.getvalue()
