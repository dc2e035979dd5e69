"""R Gaussians for the samples of each fine class, and R by held-out likelihood.

Expectation-maximisation by scikit-learn, started from k-means, gives every sample's responsibilities. Weights, means
and covariances are then the responsibility-weighted moments of the samples, in full: pooled to the fine classes
they equal the samples' own to rounding, whatever the shape that the search gave its Gaussians.

    full        the likelihood of Gaussians with full covariances: finds the components of a true mixture, and weighs
                every direction alike, however little it varies
    spherical   the likelihood of Gaussians with covariance s^2 I, a soft k-means: it weighs directions by distance,
                as isotropic random weights do, and splits a class where h = phi(W x) sees it bend

Source of EM: Dempster, Laird & Rubin (1977); of the second shape's use: this project, T13 (docs/results/prediction.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finegrain.theory.moments import Moments
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, Labels
from finegrain.theory.tools.console import tracked

SHAPES = ("full", "spherical")
CANDIDATES = (1, 2, 4, 8, 16)
# Of the mean variance: it follows the scale of the data, where a fixed one would swamp small inputs.
RIDGE = 1e-6


def fit_components(
    samples: Array,
    labels: Labels,
    num_fine: int,
    components: int,
    *,
    seen: Array | None = None,
    shape: str = "full",
    seed: int = 0,
    progress: bool = False,
) -> Moments:
    """Moments of the C R components, R consecutive ones a fine class, of samples (N, d) with labels (N,).

    Args:
        seen: (N, q), what the search looks at in place of the samples.
        shape: "full" or "spherical" (see the module).
        seed: of k-means.

    Raises:
        ValueError: an unknown shape, or a class with fewer than 2 R samples.
    """
    checks.one_of("shape", shape, SHAPES)
    whole = Moments.from_samples(samples, labels, num_classes=num_fine)
    if components == 1:
        return whole
    counts = np.bincount(labels)
    if counts.min() < 2 * components:
        raise ValueError(
            f"components must be at most half the samples of each fine class: {components} components "
            f"for the {counts.min()} samples of class {counts.argmin()}"
        )
    seen = samples if seen is None else seen
    weights, means, covariances = [], [], []
    for c in tracked(range(num_fine), "fitting Gaussians", show=progress):
        mine = labels == c
        r = _responsibilities(seen[mine], components, shape, seed)
        weights.append(whole.weights[c] * r.mean(axis=0))
        centres, spreads = _weighted_moments(samples[mine], r)
        means.append(centres)
        covariances.append(spreads)
    return Moments(*(np.concatenate(parts) for parts in (weights, means, covariances)))


def choose_components(
    x: ArrayLike,
    fine: ArrayLike,
    *,
    shape: str = "full",
    candidates: Sequence[int] = CANDIDATES,
    seed: int = 0,
) -> int:
    """The R whose mixture, fitted to three quarters of the samples, is likeliest on the fourth quarter.

    One R for all classes: it maximises the sum of log p(x | class) over the samples held out. Directions in which no
    sample varies are left out. Candidates for which a class is too small (as in `fit_components`) are passed over.

    Args:
        x: (N, d).
        fine: (N,), labels 0..C-1, each at least eight times.
        candidates: values of R, each >= 1.

    Raises:
        ValueError: a class with fewer than 8 samples, or no candidate that the samples allow.
    """
    samples = checks.real("x", x, ("N", "d"))
    labels = np.asarray(checks.labels("fine", fine, samples))
    counts = np.bincount(labels)
    if counts.min() < 8:
        raise ValueError(
            "fine must hold every class at least 8 times for a held-out likelihood, "
            f"got class {counts.argmin()} {counts.min()} times"
        )
    held = _held_out(labels, seed)
    allowed = [R for R in candidates if np.bincount(labels[~held]).min() >= 2 * R]
    if not allowed:
        raise ValueError(f"candidates must hold a number the smallest class allows, got {list(candidates)}")
    samples = _varying(samples)
    scores = []
    for R in allowed:
        fitted = fit_components(samples[~held], labels[~held], counts.size, R, shape=shape, seed=seed)
        scores.append(log_likelihood(fitted, samples[held], labels[held], R))
    return allowed[int(np.argmax(scores))]


def _held_out(labels: Labels, seed: int) -> NDArray[np.bool_]:
    """A random quarter of each class, (N,)."""
    rng, held = np.random.default_rng(seed), np.zeros(labels.size, dtype=bool)
    for c in range(int(labels.max()) + 1):
        mine = np.flatnonzero(labels == c)
        held[rng.permutation(mine)[: mine.size // 4]] = True
    return held


def _varying(samples: Array) -> Array:
    """Coordinates (N, r) along the principal directions in which the samples vary at all."""
    centred = samples - samples.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    return centred @ vectors[:, values > len(values) * np.finfo(float).eps * values.max()]


def log_likelihood(fitted: Moments, samples: Array, labels: Labels, components: int) -> float:
    """Sum over samples (N, d) of log p(x | class); components of one class are consecutive.

    A ridge of 1e-6 of the samples' mean variance keeps the density of a component of few samples finite.
    """
    # Imported here, as in _log_density: SHAPES is read by programs that only show help.
    from scipy.special import logsumexp

    ridge, total = RIDGE * samples.var(axis=0).mean(), 0.0
    for c in range(int(labels.max()) + 1):
        mine, own = samples[labels == c], slice(c * components, (c + 1) * components)
        shares = fitted.weights[own] / fitted.weights[own].sum()
        parts = zip(shares, fitted.means[own], fitted.covariances[own], strict=True)
        densities = [np.log(p) + _log_density(mine, m, S, ridge) for p, m, S in parts]
        total += float(np.sum(logsumexp(densities, axis=0)))
    return total


def _log_density(samples: Array, mean: Array, covariance: Array, ridge: float) -> Array:
    """log N(x; mean, covariance + ridge I), (N,)."""
    from scipy.linalg import cholesky, solve_triangular

    root = cholesky(covariance + ridge * np.eye(len(mean)), lower=True)
    distances = np.sum(solve_triangular(root, (samples - mean).T, lower=True) ** 2, axis=0)
    return -0.5 * (distances + len(mean) * np.log(2 * np.pi)) - np.sum(np.log(np.diag(root)))


def _responsibilities(samples: Array, components: int, shape: str, seed: int) -> Array:
    """Posterior probabilities (N, R) of R Gaussians fitted to one class's samples (N, q)."""
    from sklearn.mixture import GaussianMixture  # imported here: `import theory` stays light

    ridge = RIDGE * samples.var(axis=0).mean() + np.finfo(float).tiny
    model = GaussianMixture(
        components, covariance_type=shape, reg_covar=ridge, random_state=seed % 2**32, max_iter=500
    )
    return model.fit(samples).predict_proba(samples)


def _weighted_moments(samples: Array, responsibilities: Array) -> tuple[Array, Array]:
    """Means (R, d) and covariances (R, d, d) of samples (N, d) under each column of weights (N, R)."""
    shares = responsibilities / responsibilities.sum(axis=0)
    means = shares.T @ samples
    centred = [(samples - m) * np.sqrt(w)[:, None] for m, w in zip(means, shares.T, strict=True)]
    return means, np.stack([y.T @ y for y in centred])
