"""T2 observed: the imbalance of the two layers along gradient flow, for every activation and loss that has one.

The rows of `verify` follow plain gradient flow on points; `deviation` measures any exact population flow, on random
mixtures with singular, anisotropic noise (squared loss) or without noise (logistic and cross-entropy).

How far may an exact law seem to be missed? The imbalance B of the exact flow through any state decays at 2 lambda, so
an error delta made in a step changes B by 2 ||state|| ||delta|| at most and is then forgotten, never amplified: errors
only add up. Each step's is held below 2 rtol times the largest weight, root mean square, so

    |B error| <= 4 rtol (steps) sqrt(number of weights) max ||state||^2        (`error_bound`).
"""

from __future__ import annotations

import numpy as np

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import Trajectory
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot, one_hot, signs
from finegrain.theory.theorems import balancedness as law
from finegrain.theory.tools.arrays import Array

EPS = float(np.finfo(float).eps)
END, SLOPE = 2.0, 0.1
EVALUATIONS_A_STEP = {"DOP853": 12, "RK45": 6, "gates": 1}
# Activation, loss, weight decay.
SETTINGS = (
    ("identity", "squared", 0.05),
    ("relu", "squared", 0.0),
    ("leaky_relu", "logistic", 0.1),
    ("square", "squared", 0.2),
    ("identity", "cross-entropy", 0.02),
    ("relu", "cross-entropy", 0.3),
)


def random_mixture(
    rng: np.random.Generator, *, coarse: int, subclasses: int, dim: int, noisy: bool = True
) -> Mixture:
    """Random weights and means; each class's covariance of a random rank from d/2 to d.

    The range keeps ReLU away from what adaptive steps resolve slowly: with ranks down to 1 some flows did not end in
    minutes. So no class is flatter than d/2, and without noise the means are orthogonal (dim >= coarse * subclasses).
    """
    fine = coarse * subclasses
    roots = rng.standard_normal((fine, dim, dim)) / np.sqrt(2 * dim)
    roots *= (np.arange(dim) < rng.integers((dim + 1) // 2, dim + 1, size=(fine, 1)))[:, None, :] * noisy
    covariances = roots @ roots.swapaxes(1, 2)
    means = rng.standard_normal((fine, dim)) / np.sqrt(dim)
    if not noisy:
        means = rng.uniform(0.5, 2, (fine, 1)) * np.linalg.qr(rng.standard_normal((dim, fine)))[0].T
    moments = Moments(
        rng.dirichlet(np.full(fine, 5.0)), means, (covariances + covariances.swapaxes(1, 2)) / 2
    )
    return Mixture(moments, np.repeat(np.arange(coarse), subclasses))


def targets_for(mixture: Mixture, loss: str) -> Array:
    """Targets (C, K) that the loss is made for."""
    return {"squared": centred_one_hot, "logistic": signs, "cross-entropy": one_hot}[loss](mixture.coarse_map)


def imbalance(W: Array, A: Array, activation: str) -> Array:
    """W W^T - A^T A (m, m) for identity; ||w_j||^2 - p ||a_j||^2 (m,) for the other activations."""
    if activation == "identity":
        return W @ W.T - A.T @ A
    return np.sum(W**2, axis=1) - law.DEGREES.get(activation, 1) * np.sum(A**2, axis=0)


def deviation(trajectory: Trajectory, W0: Array, A0: Array) -> float:
    """Largest |observed - predicted| over entries and times; p = 1 is assumed where no law holds (erf)."""
    activation, decay = trajectory.info["activation"], trajectory.info["weight_decay"]
    start = imbalance(W0, A0, activation)
    found = [imbalance(W, A, activation) for W, A in zip(trajectory.W, trajectory.A, strict=True)]
    times = zip(trajectory.times, found, strict=True)
    return float(max(np.abs(B - np.exp(-2 * decay * t) * start).max() for t, B in times))


def error_bound(trajectory: Trajectory, W0: Array, A0: Array) -> float:
    """The integrator's error in B, as derived above, with the rounding of B itself."""
    square = max(
        np.sum(W**2) + np.sum(A**2) for W, A in [(W0, A0), *zip(trajectory.W, trajectory.A, strict=True)]
    )
    steps = trajectory.info["evaluations"] / EVALUATIONS_A_STEP[trajectory.info["method"]]
    size = W0.size + A0.size
    return float((4 * trajectory.info["rtol"] * steps * np.sqrt(size) + size * np.finfo(float).eps) * square)


def verify(seed: int) -> list[Comparison]:
    """The largest entry of the imbalance at the end of plain gradient flow, in six settings."""
    return [_row(np.random.default_rng([seed, 2, i]), *setting) for i, setting in enumerate(SETTINGS)]


def _row(rng: np.random.Generator, activation: str, loss: str, decay: float) -> Comparison:
    points, width = 6, int(rng.integers(2, 7))
    # Orthogonal inputs where there are gates: each then closes once, which RK45 can step over.
    gated = activation in ("relu", "leaky_relu")
    inputs = np.diag(rng.uniform(0.5, 2.0, points)) if gated else rng.standard_normal((points, 4))
    targets = targets_of_points(rng, points, loss)
    W0, A0 = gaussian(width, inputs.shape[1], targets.shape[1], 1.0, rng)
    problem = plain.Problem(
        inputs,
        targets,
        rng.dirichlet(np.full(points, 5.0)),
        activation,
        slope=SLOPE,
        loss=loss,
        weight_decay=decay,
    )
    start = imbalance(W0, A0, activation)
    entry = np.unravel_index(np.abs(start).argmax(), start.shape)
    ends = [plain.flow(problem, [W0, A0], [END], rtol=rtol) for rtol in (1e-8, 1e-7)]
    found, coarser = (float(imbalance(W[0], A[0], activation)[entry]) for W, A in ends)
    if activation == "identity":
        predicted = law.predict(W0, A0, decay, END)
    else:
        predicted = law.predict_neurons(W0, A0, law.degree(activation), decay, END)
    size = float(np.sum(W0**2) + np.sum(A0**2))
    return Comparison(
        "T2",
        f"largest imbalance at t = {END}, {activation}, {loss} loss, m = {width}, lambda = {decay}",
        float(predicted[entry]),
        found,
        (3 * abs(coarser - found) + 16 * EPS * size) / abs(found),
        "3 times the change when the integrator's tolerance is 10 times coarser, and rounding of B",
    )


def targets_of_points(rng: np.random.Generator, points: int, loss: str) -> Array:
    """Any numbers (n, 2) for the squared loss, +-1 (n, 1) for the logistic, one-hot (n, 3) for cross-entropy."""
    if loss == "squared":
        return rng.standard_normal((points, 2))
    if loss == "logistic":
        return np.where(np.arange(points) % 2, 1.0, -1.0)[:, None]
    return np.eye(3)[np.arange(points) % 3]
