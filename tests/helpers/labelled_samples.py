"""Samples with labels, and the covariances of their Moments as matrices."""

import numpy as np

KINDS = ("full", "diagonal", "pooled")


def matrices(moments):
    """The covariances of Moments as a list of NumPy matrices."""
    if moments.kind == "pooled":
        return [np.asarray(moments.covariances.matrix)]
    if moments.kind == "diagonal":
        return [np.diag(np.asarray(v)) for v in moments.covariances]
    return [np.asarray(c) for c in moments.covariances]


def samples(n=600, dim=5, num_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.repeat(np.arange(num_classes), 2), rng.integers(0, num_classes, n)])
    x = rng.standard_normal((num_classes, dim))[labels] + 0.3 * rng.standard_normal((len(labels), dim))
    return x, labels
