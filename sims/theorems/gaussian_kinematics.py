"""T1 observed: moments of phi(z) by quadrature, by sampling, and after plain descent; none knows a closed form.

Plain descent sees two classes on a line as points with weights, an even grid over nine deviations, beside a constant
input, so that the network has biases. The prediction takes its weights from the exact population descent.

Quadrature: panels of 24 Gauss-Legendre points, one and a half standard deviations wide and cut at every kink, first in
z_1, then in z_2 given z_1; the tails left out beyond nine standard deviations hold 1e-18.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from finegrain.sims import plain
from finegrain.sims.population import pointwise
from finegrain.sims.population.flow import population_descent
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import gaussian_kinematics as law
from finegrain.theory.tools.arrays import Array

Function = Callable[[Array], Array]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
SAMPLES = 200_000
SLOPE = 0.3
EPS = float(np.finfo(float).eps)
POINTS, STEPS, RATE = 3000, 30, 0.1


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
    edges = np.unique(np.clip([*np.linspace(low, high, 13), *cuts], low, high))
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


def line(means: Array, points: int) -> tuple[Array, Array]:
    """Classes N(mu_c, 1) as weighted points: inputs (x, 1), (C points, 2), and weights, midpoints of an even grid."""
    step = 18 / points
    u = (np.arange(points) + 0.5) * step - 9
    density = np.exp(-(u**2) / 2)
    x = (means[:, None] + u).ravel()
    weights = np.tile(density / density.sum() / len(means), len(means))
    return np.stack([x, np.ones_like(x)], axis=1), weights


def after_plain_descent(activation: str, means: Array, W: Array, A: Array, points: int) -> float:
    """Cov(h_1, h_2) over both classes' points, once plain descent has taken STEPS steps."""
    inputs, weights = line(means, points)
    targets = np.repeat([[-1.0], [1.0]], points, axis=0)
    problem = plain.Problem(inputs, targets, weights, activation)
    ends = plain.descend(problem, [W, A], [STEPS], learning_rate=RATE)
    first = plain.hidden(problem, [layer[0] for layer in ends])[:points]
    share = weights[:points] * len(means)
    centred = first - share @ first
    return float((share * centred[:, 0]) @ centred[:, 1])


def after_exact_descent(activation: str, means: Array, W: Array, A: Array) -> float:
    """The same, predicted at the weights to which the exact population descent comes."""
    covariance = np.diag([1.0, 0.0])
    inputs = Moments(np.full(2, 0.5), np.stack([means, np.ones(2)], axis=1), np.stack([covariance] * 2))
    end = population_descent(
        Mixture(inputs, np.arange(2)),
        W,
        A,
        targets=np.array([[-1.0], [1.0]]),
        activation=activation,
        learning_rate=RATE,
        steps=[STEPS],
    ).W[0]
    _, found = law.predict(end @ inputs.means[0], end @ covariance @ end.T, activation)
    return float(found[0, 1])


def verify(seed: int) -> list[Comparison]:
    """Covariances by quadrature, by sampling for ReLU, and after plain descent."""
    rows = [_by_quadrature(name, seed, i) for i, name in enumerate(("erf", "leaky_relu", "relu", "square"))]
    return [*rows, _by_sampling("relu", seed), *(_by_descent(name, seed) for name in ("relu", "erf"))]


def _by_quadrature(activation: str, seed: int, index: int) -> Comparison:
    b, Q = random_gaussian(np.random.default_rng([seed, 1, index]), 2)
    _, covariance = law.predict(b, Q, activation, slope=SLOPE)
    phi = function(activation)
    # The sums' terms are as large as phi(z) is a deviation out.
    far = float(np.prod(np.abs(phi(np.abs(b) + np.sqrt(np.diag(Q))))))
    return Comparison(
        "T1",
        f"covariance of a pair by quadrature, {activation}",
        float(covariance[0, 1]),
        quadrature(b, Q, phi)[1],
        8 * EPS * far / abs(float(covariance[0, 1])),
        "rounding: 8 machine epsilons of phi(z_1) phi(z_2), one deviation out; roundings of some hundred nodes cancel",
    )


def _by_sampling(activation: str, seed: int) -> Comparison:
    rng = np.random.default_rng([seed, 1, 10])
    b, Q = random_gaussian(rng, 4)
    _, covariance = law.predict(b, Q, activation, slope=SLOPE)
    _, found, _, error = sampled(b, Q, function(activation), rng)
    # The farthest from 0 in the sample: which entry it is must not depend on the prediction.
    i, j = np.unravel_index(np.abs(np.triu(found, 1)).argmax(), found.shape)
    return Comparison(
        "T1",
        f"largest covariance of four neurons by sampling, {activation}",
        float(covariance[i, j]),
        float(found[i, j]),
        float(5 * error[i, j] / abs(covariance[i, j])),
        f"five standard errors of {SAMPLES} samples",
    )


def _by_descent(activation: str, seed: int) -> Comparison:
    rng = np.random.default_rng([seed, 1, 11])
    means = rng.uniform(0.3, 1, 2) * [-1, 1]
    W, A = rng.standard_normal((2, 2)), rng.standard_normal((1, 2))
    predicted = after_exact_descent(activation, means, W, A)
    coarse, found = (after_plain_descent(activation, means, W, A, n) for n in (POINTS // 2, POINTS))
    return Comparison(
        "T1",
        f"Cov(h_1, h_2) after {STEPS} steps of plain descent, {activation}",
        predicted,
        found,
        (3 * abs(coarse - found) + STEPS * EPS) / abs(predicted),
        "3 times the change from half as many points, and rounding of each step",
    )
