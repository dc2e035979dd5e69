"""Rows that are nearly another row, and values that lie on a grid: what would pass for modes and is none.

A sample that comes ten times is one sample seen ten times. Tests that take rows for independent would find a mode in
each such heap, so that near-equal rows count once. A heap of a twentieth of the class is no repeated sample: the
class sits on that point, and its rows count as they are.

Rounded values leave gaps between the steps of their grid; each value is spread over its own step. A column of two or
three values is left as it is: there the steps are what is there.

Source: this project.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from finegrain.theory.tools.arrays import Array, Labels

POINT, FEWEST_OF_A_POINT = 0.05, 12  # share and number of samples that lie on a point of the class itself
NEAR = 0.05  # of the typical distance between two rows
LOOKED_AT = 8  # leading columns, after rotation, in which near rows are sought first
PAIRS = 2000  # rows that say how far apart two rows are
STEPS_OF_A_GRID = 4  # different values of a column, at least, for it to be a grid
TIES = 4  # and so many rows to a value, on average


def counted_once(x: Array) -> tuple[Labels, Labels]:
    """Rows (r,) of x (n, D) that stand for all, and for each row which of them stands for it, (n,) in 0..r-1."""
    group = near_equal(x)
    sizes = np.bincount(group)[group]
    point = sizes >= max(FEWEST_OF_A_POINT, POINT * len(x))
    group = np.where(point, group.max() + 1 + np.arange(len(x)), group)
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    return first.astype(np.int64), number.reshape(-1).astype(np.int64)


def near_equal(x: Array) -> Labels:
    """For each row of x (n, D) a number 0..G-1 of its group: rows that lie together, each near another of it.

    Near is NEAR of the median distance between rows, less where rows lie dense: n rows that fill k dimensions are
    n^(-1/k) of it from the next. k is the covariance's effective dimension, (tr S)^2 / tr S^2.
    """
    distinct, group = np.unique(x, axis=0, return_inverse=True)
    group = group.reshape(-1)
    if len(distinct) < 3:
        return group.astype(np.int64)
    centred = distinct - distinct.mean(axis=0)
    variance, vectors = _principal(centred)
    dimension = variance.sum() ** 2 / (variance**2).sum()
    scores = centred @ vectors
    half = len(scores[:PAIRS]) // 2
    # Rows in a fixed random order: np.unique has sorted them.
    some = centred[np.random.default_rng(0).permutation(len(centred))[: 2 * half]]
    typical = np.median(np.linalg.norm(some[:half] - some[half:], axis=1))
    near = NEAR * typical * len(distinct) ** (-1 / dimension)
    pairs = cKDTree(scores).query_pairs(near, output_type="ndarray")
    pairs = pairs[np.linalg.norm(centred[pairs[:, 0]] - centred[pairs[:, 1]], axis=1) <= near]
    joined = coo_matrix((np.ones(len(pairs)), pairs.T), shape=2 * (len(distinct),))
    return connected_components(joined, directed=False)[1][group].astype(np.int64)


def spread_over_steps(x: Array, rng: np.random.Generator) -> Array:
    """x (n, D), each value of a column that lies on a grid moved at random by up to half the gap to its neighbours."""
    result = x
    for j in range(x.shape[1]):
        values, at, many = np.unique(x[:, j], return_inverse=True, return_counts=True)
        if len(values) < STEPS_OF_A_GRID or len(x) < TIES * len(values) or many.max() > len(x) / 2:
            continue
        gaps = np.diff(values) / 2
        low, high = np.concatenate([gaps[:1], gaps]), np.concatenate([gaps, gaps[-1:]])
        if result is x:
            result = x.copy()
        result[:, j] += rng.uniform(-low[at], high[at])
    return result


def _principal(centred: Array) -> tuple[Array, Array]:
    """Variances of all axes, and the leading axes (D, <= LOOKED_AT), of centred rows (n, D)."""
    if centred.shape[1] <= len(centred):
        variance, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        return variance, vectors[:, ::-1][:, :LOOKED_AT]
    variance, vectors = np.linalg.eigh(centred @ centred.T / len(centred))
    lead = centred.T @ vectors[:, ::-1][:, :LOOKED_AT]
    return variance, lead / np.linalg.norm(lead, axis=0)
