"""Within each class, do clusters follow a third level below the classes, such as the terms that images were found by?

    ari       adjusted Rand index of as many clusters as there are terms, against the terms, on training images; 0 is
              chance in the mean, and `chance` what the largest of 20 draws of chance has: its 95 % quantile
    probe     share of test images whose term a linear probe names, taught the terms on training images
    largest   the same of always naming the term that most training images have

Search terms are no verified labels: an image has the one it was found by, though others may fit as well, and a term may
say nothing of the image. So 1 is out of reach, and how far is not known; what is above `chance` and `largest` is there.

Source of the index: Hubert & Arabie, Comparing partitions, Journal of Classification 2, 1985.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from finegrain.empirical.hidden_classes.cluster import METHODS, cluster
from finegrain.empirical.hidden_classes.score import linear_probe
from finegrain.empirical.networks.representation import Features
from finegrain.empirical.readers.subtypes import Subtypes
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Floats, Labels
from finegrain.theory.tools.console import tracked

Row = dict[str, Any]

LEAST = 250  # training images that a term must have: with fewer its covariance is not known
DRAWS = 200  # of chance


def by_class(
    terms: Subtypes,
    train: Features,
    test: Features,
    class_names: Sequence[str],
    *,
    least: int = LEAST,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
    progress: bool = False,
) -> list[Row]:
    """A row for each class that has two terms with `least` training images or more; other terms' images are left out.

    Args:
        terms: of the images (N,) and (M,).
        train, test: what is clustered and probed, (N, d) and (M, d).
        class_names: C names.
        least: training images that a term must have.
        methods: of clustering (cluster.py); the guided ones project off the means of the classes.
        seed: of clusterings and of chance.

    Raises:
        ValueError: features of other images, or no class with two such terms.
    """
    checks.shape("train", train, (len(terms.train), "d"))
    checks.shape("test", test, (len(terms.test), train.shape[1]))
    checks.integer("least", least, 1)
    many = np.bincount(terms.train, minlength=len(terms.names)) >= least
    per_class = np.bincount(terms.fine[many], minlength=len(class_names))
    kept = many & (per_class[terms.fine] >= 2)
    if not kept.any():
        raise ValueError(
            f"least must leave a class with two terms of so many training images, got {least}, which leaves none"
        )
    chosen, judged = np.flatnonzero(kept[terms.train]), np.flatnonzero(kept[terms.test])
    x, term, test_x, test_term = train[chosen], terms.train[chosen], test[judged], terms.test[judged]
    classes, fine = np.unique(terms.fine[term], return_inverse=True)
    counts = per_class[classes].tolist()
    clusters = {m: cluster(x, fine, counts, m, seed=seed) for m in methods}
    rows = []
    for k, label in enumerate(tracked(classes, "the third level", show=progress)):
        inside, outside = fine == k, terms.fine[test_term] == label
        own = {m: c[inside] for m, c in clusters.items()}
        pairs = (x[inside], term[inside]), (test_x[outside], test_term[outside])
        rows.append(
            {"class": class_names[label], "terms": [terms.names[t] for t in np.unique(term[inside])]}
            | _agreement(own, term[inside], seed)
            | _named(*pairs)
        )
    return rows


def _agreement(clusters: dict[str, Labels], term: Labels, seed: int) -> Row:
    """The adjusted Rand index of each clustering (n,) with the terms (n,), and of terms dealt out at random."""
    rng = np.random.default_rng([seed, 4])
    shuffled = [rng.permutation(term) for _ in range(DRAWS)]
    found = {m: adjusted_rand_index(term, c) for m, c in clusters.items()}
    chance = {
        m: float(np.quantile([adjusted_rand_index(t, c) for t in shuffled], 0.95))
        for m, c in clusters.items()
    }
    return {"images": len(term), "ari": found, "chance": chance}


def adjusted_rand_index(one: Labels, other: Labels) -> float:
    """Of two partitions (n,) of n >= 2 samples: pairs that are together in both, 1 for equal ones, 0 in the mean by
    chance; Hubert & Arabie's equation 5. Two partitions of one part each, or of n, are equal.
    """
    a, b = (np.unique(labels, return_inverse=True)[1] for labels in (one, other))
    table = np.bincount(a * (b.max() + 1) + b)
    both, in_a, in_b = (float(np.sum(n * (n - 1) / 2)) for n in (table, np.bincount(a), np.bincount(b)))
    expected = in_a * in_b / (len(a) * (len(a) - 1) / 2)
    most = (in_a + in_b) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def _named(train: tuple[Floats, Labels], test: tuple[Floats, Labels]) -> Row:
    """Shares of test images whose term is named: by a probe, and by always naming training's most frequent one."""
    (x, term), (test_x, test_term) = train, test
    if not len(test_term):
        return {"test images": 0, "probe": None, "largest": None}
    right = linear_probe(x, term).predict(test_x) == test_term
    largest = test_term == np.bincount(term).argmax()
    return {
        "test images": len(test_term),
        "probe": float(right.mean()),
        "largest": float(largest.mean()),
    }


def summary(rows: Sequence[Row]) -> Row:
    """Over all classes: the mean index of each method, and shares of all test images; None where there are none."""
    weights = [row["test images"] for row in rows]
    return {
        "classes": len(rows),
        "terms": sum(len(row["terms"]) for row in rows),
        "images": sum(row["images"] for row in rows),
        "test images": sum(weights),
        "ari": {m: float(np.mean([row["ari"][m] for row in rows])) for m in rows[0]["ari"]},
    } | {name: _share([row[name] for row in rows], weights) for name in ("probe", "largest")}


def _share(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    total = sum(weights)
    # A class without test images has no share, and no weight.
    return sum((v or 0.0) * n for v, n in zip(values, weights, strict=True)) / total if total else None
