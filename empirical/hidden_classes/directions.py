"""In which direction a class falls apart most clearly: projection pursuit for valleys, on one half of its samples.

    whiten      the leading principal components to unit variance: strata are few samples, nuisances are long axes
    start       towards far and random samples, along components and the fourth moments' eigenvectors, between the
                parts that spherical k-means makes
    sharpen     each start by fixed-point steps for skewness and for kurtosis
    cut         at the clearest valley, and take the difference of the two sides' means instead; ROUNDS times

In whitened space the difference of means is the linear discriminant. It is drawn towards the samples that made it, the
more so in many dimensions; so each sample is projected on the direction made without it.

Source: Hyvarinen (1999), fixed-point steps; Cardoso (1989), fourth moments; the search for valleys is this project's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finegrain.empirical.hidden_classes.intervals import best_intervals, floors
from finegrain.theory.tools.arrays import Array, Flags

FAR, RANDOM, COMPONENTS = 16, 12, 8  # starts of each kind
PARTS = (2, 3, 4, 6, 8, 16)  # of spherical k-means
STEPS = 5  # for skewness, and for kurtosis
ROUNDS = 3
BEAM = 24  # directions that are cut again
RANK = 1e-10  # of the largest variance: what is below is no axis


@dataclass(frozen=True, eq=False)
class Valley:
    """A direction and what it shows.

    Attributes:
        direction: (D,)
        edges: (4,) of the intervals M, V and R on it
        floor: where to cut, inside V
        evidence: log likelihood ratio of the sample that chose them, in favour of itself
    """

    direction: Array
    edges: Array
    floor: float
    evidence: float

    def beyond(self, x: Array) -> Flags:
        """Which samples (n, D) lie beyond the floor, (n,)."""
        far: Flags = x @ self.direction > self.floor
        return far


def whitening(x: Array, axes: int) -> tuple[Array, Array]:
    """Mean (D,) and map (D, k <= axes) that give the leading components of x (n, D) unit variance."""
    mean = x.mean(axis=0)
    centred = x - mean
    if x.shape[1] <= len(x):
        variance, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    else:
        variance, vectors = np.linalg.eigh(centred @ centred.T / len(x))
        vectors = centred.T @ (vectors / np.sqrt(len(x) * np.maximum(variance, RANK * variance[-1] or 1.0)))
    variance, vectors = variance[::-1][:axes], vectors[:, ::-1][:, :axes]
    kept = variance > RANK * variance[0]
    return mean, vectors[:, kept] / np.sqrt(variance[kept])


def clearest_valley(
    x: Array, axes: int, rng: np.random.Generator, sides: tuple[Flags, ...] = ()
) -> Valley | None:
    """The clearest valley of features (n, D) in the span of so many leading components; None where there is none.

    sides: cuts (n,) to start from beside the search's own.
    """
    mean, scale = whitening(x, axes)
    z = (x - mean) @ scale
    if not z.shape[1]:
        return None
    directions = _sharpened(z, _starts(z, rng)) if z.shape[1] > 1 else np.ones((1, 1))
    projections = z @ directions
    evidence, edges = best_intervals(projections)
    best = np.argsort(-evidence, kind="stable")[:BEAM]
    side = projections[:, best] > floors(projections[:, best], edges[best])
    side = np.column_stack([side, *sides])
    found = None
    for _ in range(ROUNDS if z.shape[1] > 1 else 1):
        if z.shape[1] > 1:
            directions, projections = between_means(z, side)
            evidence, edges = best_intervals(projections)
        cuts = floors(projections, edges)
        side = projections > cuts
        j = evidence.argmax()
        if evidence[j] > (found.evidence if found else 0):
            direction = scale @ directions[:, j]
            shift = mean @ direction
            found = Valley(direction, edges[j] + shift, float(cuts[j] + shift), float(evidence[j]))
    return found


def between_means(z: Array, side: Flags) -> tuple[Array, Array]:
    """Of whitened samples (n, k) and sides (n, B): unit directions (k, B) between their means, and projections (n, B).

    Sample i is projected on the direction made without it: its side's mean m, of n_s samples, is
    m - (z_i - m) / (n_s - 1) then.
    """
    beyond = side.sum(axis=0)
    size = np.where(side, beyond, len(z) - beyond)
    upper, lower = z.T @ side / np.maximum(beyond, 1), z.T @ ~side / np.maximum(len(z) - beyond, 1)
    gap = upper - lower
    length = np.linalg.norm(gap, axis=0)
    length = np.where(length > 0, length, 1.0)
    own = np.where(side, z @ upper, z @ lower)
    pull = np.where(side, 1, -1) * ((z**2).sum(axis=1)[:, None] - own) / np.maximum(size - 1, 1)
    return gap / length, (z @ gap - pull) / length


def _starts(z: Array, rng: np.random.Generator) -> Array:
    """Unit directions (k, B) to start from."""
    n, k = z.shape
    norms = (z**2).sum(axis=1)
    far = np.argsort(-norms, kind="stable")[: max(4 * FAR, n // 10)]
    fourth = np.linalg.eigh((z * norms[:, None]).T @ z)[1]
    starts = [
        z[rng.choice(far, min(FAR, len(far)), replace=False)].T,
        z[rng.choice(n, min(RANDOM, n), replace=False)].T,
        np.eye(k)[:, :COMPONENTS],
        fourth[:, :4],
        fourth[:, -6:],
    ]
    starts += [_between_parts(z, parts, rng) for parts in PARTS if n > 4 * parts]
    return _unit(np.concatenate(starts, axis=1))


def _between_parts(z: Array, parts: int, rng: np.random.Generator) -> Array:
    """Means (k, parts) of the parts of spherical k-means; of two parts, their difference (k, 1)."""
    u = _unit(z.T).T
    centres = u[rng.choice(len(u), parts, replace=False)]
    for _ in range(8):
        member = np.eye(parts)[(u @ centres.T).argmax(axis=1)]
        centres = _unit(u.T @ member).T
    means = z.T @ member / np.maximum(member.sum(axis=0), 1)
    return means[:, 1:] - means[:, :1] if parts == 2 else means


def _sharpened(z: Array, directions: Array) -> Array:
    """The directions, and where fixed-point steps for skewness and for kurtosis lead from them: (k, 3 B)."""
    skewed = peaked = directions
    for _ in range(STEPS):
        skewed = _unit(z.T @ (z @ skewed) ** 2)
        peaked = _unit(z.T @ (z @ peaked) ** 3 / len(z) - 3 * peaked)
    return np.concatenate([directions, skewed, peaked], axis=1)


def _unit(columns: Array) -> Array:
    norms = np.linalg.norm(columns, axis=0)
    return columns / np.where(norms > 0, norms, 1.0)
