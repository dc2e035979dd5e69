"""T3 observed: the map T_s that plain training really applies to the label-invisible weights.

The mixture has coordinates that the labels do not see, with Sigma_v = s I on them, seen through a random rotation
so that nothing is axis-aligned. With at least m such coordinates T_s(t) = e^{lambda t} W_v(t) W_v(0)^+ is read off
the weights of plain training, and ln det T_s is set beside -s int ||A||_F^2, by Gauss-Legendre quadrature of the
exact flow's output weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import ortho_group

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.theorems import invisible_subspace as law
from finegrain.theory.tools.arrays import Array

NODES, END = 24, 4.0


@dataclass(frozen=True, eq=False)
class Problem:
    """A mixture with invisible coordinates and a start for its flow.

    Attributes:
        mixture, targets: the inputs and targets (C, K)
        basis: (d, n) orthonormal basis of the invisible coordinates drawn, a subspace of V
        eigenvalues: (n,) of Sigma on that basis
        W0, A0: initial weights
    """

    mixture: Mixture
    targets: Array
    basis: Array
    eigenvalues: Array
    W0: Array
    A0: Array


def draw(
    rng: np.random.Generator, *, coarse: int, visible: int, eigenvalues: Array, width: int, scale: float = 0.5
) -> Problem:
    """Random class means in `visible` dimensions; beside them independent noise of the given variances (n,)."""
    n, dim = len(eigenvalues), visible + len(eigenvalues)
    rotation = np.atleast_2d(ortho_group.rvs(dim, random_state=rng)) if dim > 1 else np.ones((1, 1))
    fine = 2 * coarse
    means = np.hstack([rng.standard_normal((fine, visible)), np.zeros((fine, n))])
    root = rng.standard_normal((visible, visible)) / np.sqrt(visible)
    covariance = np.zeros((dim, dim))
    covariance[:visible, :visible] = root @ root.T
    covariance[visible:, visible:] = np.diag(eigenvalues)
    weights = rng.dirichlet(np.full(fine, 5.0))
    rotated = rotation @ covariance @ rotation.T
    moments = Moments(
        weights, means @ rotation.T, np.broadcast_to((rotated + rotated.T) / 2, (fine, dim, dim)).copy()
    )
    coarse_map = np.repeat(np.arange(coarse), 2)
    targets = centred_one_hot(coarse_map)
    W0, A0 = gaussian(width, dim, coarse, scale, rng)
    return Problem(
        Mixture(moments, coarse_map), targets, rotation[:, visible:], np.asarray(eigenvalues), W0, A0
    )


def flow(problem: Problem, times: Array, weight_decay: float, rtol: float) -> Trajectory:
    """Gradient flow of the linear network."""
    return population_flow(
        problem.mixture,
        problem.W0,
        problem.A0,
        targets=problem.targets,
        activation="identity",
        weight_decay=weight_decay,
        times=times,
        rtol=rtol,
    )


def predicted_log_det(problem: Problem, t: float, weight_decay: float, rtol: float) -> float:
    """ln det T_s(t) for Sigma_v = s I, from the output weights of the exact flow."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    trajectory = flow(problem, (nodes + 1) * t / 2, weight_decay, rtol)
    integral = t / 2 * float(weights @ np.sum(trajectory.A**2, axis=(1, 2)))
    return law.predict_log_det(integral, float(problem.eigenvalues[0]))


def observed_log_det(problem: Problem, t: float, weight_decay: float, rtol: float) -> float:
    """The same from the weights of plain training on points; needs n >= m invisible coordinates."""
    W = plain.flow(points(problem, weight_decay), [problem.W0, problem.A0], [t], rtol=rtol)[0][-1]
    sign, value = np.linalg.slogdet(transported(problem, W, t, weight_decay))
    return float(value) if sign > 0 else float("nan")


def points(problem: Problem, weight_decay: float) -> plain.Problem:
    """Points with the mixture's second moments: nothing else acts on a linear network under the squared loss."""
    moments = problem.mixture.moments
    inputs, weights, labels = plain.matching_points(moments.means, moments.covariances, moments.weights)
    return plain.Problem(
        inputs, problem.targets[labels], weights, activation="identity", weight_decay=weight_decay
    )


def transported(problem: Problem, W: Array, t: float, weight_decay: float) -> Array:
    """T_s(t) = e^{lambda t} W_v(t) W_v(0)^+, shape (m, m)."""
    return np.exp(weight_decay * t) * (W @ problem.basis) @ np.linalg.pinv(problem.W0 @ problem.basis)


def verify(seed: int) -> list[Comparison]:
    """ln det T_s against its closed form on random draws."""
    rows = []
    for index, (width, weight_decay) in enumerate([(2, 0.0), (3, 0.05), (5, 0.3)]):
        rng = np.random.default_rng([seed, 3, index])
        problem = draw(rng, coarse=2, visible=3, eigenvalues=np.full(width + 1, 0.7), width=width)
        predicted = predicted_log_det(problem, END, weight_decay, 1e-10)
        observed, coarser = (observed_log_det(problem, END, weight_decay, rtol) for rtol in (1e-9, 1e-8))
        # Quadrature is exact to the flow's tolerance.
        rows.append(
            Comparison(
                "T3",
                f"ln det T_s, m = {width}, lambda = {weight_decay}",
                predicted,
                observed,
                abs(coarser - observed) / abs(observed) + 1e-9,
                "change when plain training's tolerance is 10 times coarser; 1e-9 for the exact flow's output weights",
            )
        )
    return rows
