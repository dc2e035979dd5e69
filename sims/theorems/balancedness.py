"""T2 observed: the imbalance of the two layers along gradient flow, for every activation and loss that has one.

Random mixtures with singular, anisotropic noise (squared loss) or without noise (logistic and cross-entropy).

How far may an exact law seem to be missed? The imbalance B of the exact flow through any state decays at 2 lambda, so
an error delta made in a step changes B by 2 ||state|| ||delta|| at most and is then forgotten, never amplified: errors
only add up. Each step's is held below 2 rtol times the largest weight, root mean square, so

    |B error| <= 4 rtol (steps) sqrt(number of weights) max ||state||^2        (`error_bound`).
"""

from __future__ import annotations

import numpy as np

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot, one_hot, signs
from finegrain.theory.theorems import balancedness as law
from finegrain.theory.tools.arrays import Array

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
        return law.predict(W, A, 0.0, 0.0)
    return law.predict_neurons(W, A, law.DEGREES.get(activation, 1), 0.0, 0.0)


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
    """The largest entry of the imbalance at the end of a random flow, in six settings."""
    rows = []
    for index, (activation, loss, decay) in enumerate(SETTINGS):
        rng = np.random.default_rng([seed, 2, index])
        noisy = loss == "squared"
        coarse, width = 2 if loss == "logistic" else 3, int(rng.integers(2, 9))
        dim = int(rng.integers(3, 9)) if noisy else 2 * coarse
        mixture = random_mixture(rng, coarse=coarse, subclasses=2, dim=dim, noisy=noisy)
        targets = targets_for(mixture, loss)
        W0, A0 = gaussian(width, dim, targets.shape[1], 1.0, rng)
        start = imbalance(W0, A0, activation)
        entry = np.unravel_index(np.abs(start).argmax(), start.shape)
        size = np.sum(W0**2) + np.sum(A0**2)
        ends = []
        for rtol in (1e-10, 1e-9) if noisy else (1e-9, 1e-8):
            flow = population_flow(
                mixture,
                W0,
                A0,
                targets=targets,
                activation=activation,
                loss=loss,
                weight_decay=decay,
                times=[5.0],
                rtol=rtol,
            )
            ends.append(float(imbalance(flow.W[-1], flow.A[-1], activation)[entry]))
        found, coarser = ends
        predicted = float(np.exp(-2 * decay * 5.0) * start[entry])
        rows.append(
            Comparison(
                "T2",
                f"largest imbalance at t = 5, {activation}, {loss} loss, m = {width}, lambda = {decay}",
                predicted,
                found,
                (3 * abs(coarser - found) + 64 * np.finfo(float).eps * size) / abs(predicted),
                "3 times the change when the integrator's tolerance is 10 times coarser, and rounding of B",
            )
        )
    return rows
