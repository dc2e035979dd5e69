"""2-means on a Gaussian mixture, in the limit of infinitely many samples: T10 without its equal covariances.

A split {n.x > t}, n a unit vector, cuts component j (weight w, mean mu, covariance S) at a = n.mu - t, in units of
s = sqrt(n^T S n). Above it lie

    mass          M = sum_j w_j Phi(a_j/s_j)
    first moment  F = sum_j w_j [mu_j Phi(a_j/s_j) + S_j n phi(a_j/s_j)/s_j]

so the two centres are F/M and (E x - F)/(1 - M). Lloyd's iteration takes their bisector as the next split; it never
lowers the gain M (1 - M) ||centre - centre'||^2, by which the split reduces the mean squared distance to the nearer
centre. Exact for every mixture: real classes are not Gaussian, but with R Gaussians each they may come close to one.

For two components of equal weight and covariance this is T10's two_means_accuracy (theory/pairs.py).
Source: Lloyd (1957, 1982) for the iteration, Pollard (1981) for its limit; in this form: this project, T10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

STEPS = 3000
STILL = 1e-13  # change of the unit normal at which the iteration has come to rest


@dataclass(frozen=True, eq=False)
class HalfSpace:
    """The half-space {normal.x > threshold}, with a unit normal (d,); gain as in the module's docstring."""

    normal: Array
    threshold: float
    gain: float = 0.0

    def above(self, mixture: Mixture) -> Array:
        """(C,): the probability of the half-space in each fine class."""
        weights, shares = mixture.moments.weights, _above(mixture.moments, self.normal, self.threshold)[0]
        masses = np.bincount(mixture.fine_map, weights, mixture.num_fine)
        return np.bincount(mixture.fine_map, weights * shares, mixture.num_fine) / masses

    def accuracy(self, mixture: Mixture) -> float:
        """Share of a mixture of two fine classes that the better of the two labellings sorts right, in [1/2, 1]."""
        _need_two(mixture)
        first, second = self.above(mixture)
        p = mixture.fine_moments.weights[0]
        share = p * first + (1 - p) * (1 - second)
        return float(max(share, 1 - share))


def two_means(mixture: Mixture) -> HalfSpace:
    """The population's best split in two clusters, whatever its classes.

    Lloyd's iteration starts from splits through the mean along three principal axes, the differences of the fine class
    means and of the component means from it; the end of largest gain counts, as the best of many restarts would.

    Raises:
        ValueError: a mixture that is a single point.
    """
    total = mixture.moments.pool(np.zeros(len(mixture.moments.weights), dtype=np.int64))
    mean, covariance = total.means[0], total.covariances[0]
    if not np.trace(covariance) > 0:
        raise ValueError("mixture must have some variance to be split, got none")
    axes = np.linalg.eigh(covariance)[1][:, :-4:-1].T
    fine = mixture.fine_moments.means
    starts = np.concatenate([axes, fine[1:] - fine[0], fine - mean, mixture.moments.means - mean])
    ends = [
        lloyd(mixture, n / np.linalg.norm(n), float(n @ mean / np.linalg.norm(n))) for n in starts if n.any()
    ]
    return max(ends, key=lambda end: end.gain)


def lloyd(mixture: Mixture, normal: Array, threshold: float, steps: int = STEPS) -> HalfSpace:
    """Where Lloyd's iteration ends from a split, or is after `steps` steps; an empty side ends it with gain 0."""
    moments = mixture.moments
    mean = moments.weights @ moments.means
    gain = 0.0
    for _ in range(steps):
        shares, first = _above(moments, normal, threshold)
        mass = float(moments.weights @ shares)
        if not 0 < mass < 1:
            return HalfSpace(normal, threshold)
        high, low = first / mass, (mean - first) / (1 - mass)
        size = float(np.linalg.norm(high - low))
        if size == 0:
            return HalfSpace(normal, threshold)
        last, normal = normal, (high - low) / size
        moved, threshold = threshold, float(normal @ (high + low) / 2)
        gain = mass * (1 - mass) * size**2
        if np.linalg.norm(normal - last) < STILL and abs(threshold - moved) < STILL * size:
            break
    return HalfSpace(normal, threshold, gain)


def bisector(mixture: Mixture) -> HalfSpace:
    """The split of two fine classes by the nearer of their means; raises ValueError for equal means."""
    _need_two(mixture)
    first, second = mixture.fine_moments.means
    return _half_space(first - second, (first + second) / 2, 0.0)


def discriminant(mixture: Mixture) -> HalfSpace:
    """The split of two fine classes by linear discriminant analysis, with their weights as priors."""
    _need_two(mixture)
    fine = mixture.fine_moments
    first, second = fine.means
    normal = np.linalg.pinv(fine.within, hermitian=True) @ (first - second)
    return _half_space(normal, (first + second) / 2, float(np.log(fine.weights[1] / fine.weights[0])))


def one_coarse_class(mixture: Mixture, coarse: int) -> Mixture:
    """The mixture of the fine classes of one coarse class 0..K-1 alone, renumbered from 0 in their order."""
    checks.integer("coarse", coarse, 0)
    fine = np.flatnonzero(mixture.coarse_map == coarse)
    if not fine.size:
        raise ValueError(f"coarse must be a coarse class 0..{mixture.num_coarse - 1}, got {coarse}")
    kept = np.flatnonzero(np.isin(mixture.fine_map, fine))
    weights, means, covariances = (
        part[kept] for part in (mixture.moments.weights, mixture.moments.means, mixture.moments.covariances)
    )
    moments = Moments(weights / weights.sum(), means, covariances)
    return Mixture(
        moments, np.zeros(fine.size, dtype=np.int64), np.searchsorted(fine, mixture.fine_map[kept])
    )


def _above(moments: Moments, normal: Array, threshold: float) -> tuple[Array, Array]:
    """The share (J,) of each component above a split, and the first moment (d,) of all that is there."""
    images = moments.covariances @ normal
    a, s = moments.means @ normal - threshold, np.sqrt(np.clip(images @ normal, 0.0, None))
    flat = s == 0  # no extent along the normal: all above or all below
    units = np.where(flat, np.where(a > 0, np.inf, -np.inf), a / np.where(flat, 1.0, s))
    shares = ndtr(units)
    density = np.where(flat, 0.0, np.exp(-(units**2) / 2) / np.sqrt(2 * np.pi) / np.where(flat, 1.0, s))
    weights = moments.weights
    return shares, (weights * shares) @ moments.means + (weights * density) @ images


def _half_space(normal: Array, point: Array, tilt: float) -> HalfSpace:
    """normal.(x - point) > tilt, the normal scaled to length 1."""
    size = float(np.linalg.norm(normal))
    if size == 0:
        raise ValueError("mixture must have fine classes of different means, got equal ones")
    return HalfSpace(normal / size, float(normal @ point + tilt) / size)


def _need_two(mixture: Mixture) -> None:
    if mixture.num_fine != 2:
        raise ValueError(
            f"mixture must have 2 fine classes, got {mixture.num_fine}: take one by one_coarse_class()"
        )
