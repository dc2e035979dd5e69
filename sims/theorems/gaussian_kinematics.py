"""T1 observed: moments of phi(z) by sampling and by quadrature, neither of which knows a closed form.

Quadrature: panels of 24 Gauss-Legendre points, three standard deviations wide and cut at every kink, first in z_1,
then in z_2 given z_1; the tails left out beyond nine standard deviations hold 1e-18.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from finegrain.sims.population import pointwise
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory import kinematics
from finegrain.theory.theorems import gaussian_kinematics as law
from finegrain.theory.tools.arrays import Array

Function = Callable[[Array], Array]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
SAMPLES = 200_000
SLOPE = 0.3


def function(activation: str) -> Function:
    """phi, elementwise; the slope of leaky ReLU is SLOPE."""
    phi = pointwise.activation(activation, SLOPE)
    return lambda z: phi(z)[0]


def random_gaussian(rng: np.random.Generator, m: int) -> tuple[Array, Array]:
    """b (m,) and Q (m, m): standard deviations of about 0.1 to 3, |r| < 1, means within 1.5 deviations of the kink.

    Farther from it a ReLU is active too rarely for a standard error to be read off the samples.
    """
    root = rng.standard_normal((m, m + 1)) / np.sqrt(m + 1)
    scale = np.exp(rng.uniform(np.log(0.1), np.log(3), m))
    Q = scale[:, None] * (root @ root.T) * scale
    return rng.uniform(-1.5, 1.5, m) * np.sqrt(np.diag(Q)), (Q + Q.T) / 2


def _panels(mean: float, std: float, cuts: list[float]) -> tuple[Array, Array]:
    """Nodes, and weights that hold the density of N(mean, std^2)."""
    low, high = mean - 9 * std, mean + 9 * std
    edges = np.unique(np.clip([*np.linspace(low, high, 7), *cuts], low, high))
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    z = (middle[:, None] + half[:, None] * NODES).ravel()
    density = np.exp(-(((z - mean) / std) ** 2) / 2) / (np.sqrt(2 * np.pi) * std)
    return z, (half[:, None] * WEIGHTS).ravel() * density


def quadrature(b: Array, Q: Array, phi: Function) -> tuple[Array, float]:
    """Means (2,) and the covariance of phi(z_1), phi(z_2) for a pair, |r| < 1."""
    tilt = Q[0, 1] / Q[0, 0]
    rest = float(np.sqrt(Q[1, 1] - tilt * Q[0, 1]))
    # E[phi(z_2) | z_1] turns where the mean of z_2 given z_1 passes the kink, over a range of rest/|tilt|.
    turn = [b[0] + (u * rest - b[1]) / tilt for u in range(-9, 10, 3)] if abs(tilt) > 1e-8 else []
    z, weights = _panels(b[0], float(np.sqrt(Q[0, 0])), [0.0, *turn])
    inner = [_panels(b[1] + tilt * (x - b[0]), rest, [0.0]) for x in z]
    second = np.array([w @ phi(y) for y, w in inner])
    first = phi(z)
    means = np.array([weights @ first, weights @ second])
    return means, float(weights @ ((first - means[0]) * (second - means[1])))


def sampled(b: Array, Q: Array, phi: Function, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Mean (m,) and covariance (m, m) of phi over SAMPLES draws, and the standard error of each entry."""
    h = phi(rng.multivariate_normal(b, Q, SAMPLES, method="eigh"))
    mean = h.mean(axis=0)
    centred = h - mean
    covariance = centred.T @ centred / SAMPLES
    fourth = (centred**2).T @ centred**2 / SAMPLES
    spread = np.sqrt(np.maximum(fourth - covariance**2, 0) / SAMPLES)
    return mean, covariance, np.sqrt(np.diag(covariance) / SAMPLES), spread


def verify(seed: int) -> list[Comparison]:
    """Covariance of a random pair by quadrature, and the largest of four neurons' by sampling, for each activation."""
    rows = []
    for index, activation in enumerate(kinematics.ACTIVATIONS):
        rng = np.random.default_rng([seed, 1, index])
        phi = function(activation)
        b, Q = random_gaussian(rng, 2)
        _, covariance = law.predict(b, Q, activation, slope=SLOPE)
        scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
        rows.append(
            Comparison(
                "T1",
                f"covariance of a pair by quadrature, {activation}",
                float(covariance[0, 1]),
                quadrature(b, Q, phi)[1],
                1e-12 * max(scale, Q[0, 0], Q[1, 1]) / abs(covariance[0, 1]),
                "rounding of sums of a few thousand terms",
            )
        )
        b, Q = random_gaussian(rng, 4)
        _, covariance = law.predict(b, Q, activation, slope=SLOPE)
        _, found, _, error = sampled(b, Q, phi, rng)
        i, j = np.unravel_index(np.abs(covariance - np.diag(np.diag(covariance))).argmax(), covariance.shape)
        rows.append(
            Comparison(
                "T1",
                f"largest covariance of four neurons by sampling, {activation}",
                float(covariance[i, j]),
                float(found[i, j]),
                float(5 * error[i, j] / abs(covariance[i, j])),
                f"five standard errors of {SAMPLES} samples",
            )
        )
    return rows
