"""T14 observed: the weights of gradient flow beside Z(0) U(t), with U integrated on its own.

`verify` trains plainly, by RK45 on the bare loss with autograd gradients; `course` is exact, for mixtures with noise
too. The integrations share nothing but the loss: one follows m (d + K) weights, the other (d + K)^2 entries of U, from
the start's Gram matrix alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population import pointwise
from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.theorems import active_sets
from finegrain.sims.theorems.balancedness import random_mixture, targets_for
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import lorentz as law
from finegrain.theory.tools.arrays import Array

END = 6.0
SETTINGS = (("squared", 0.03), ("logistic", 0.01), ("cross-entropy", 0.1))
STEPS = "3 times the change when RK45's tolerance is 10 times coarser, and rounding"


@dataclass(frozen=True, eq=False)
class Course:
    """Predicted and observed weights at the recorded times.

    Attributes:
        flow: the observed trajectory
        U: (T, d + K, d + K), predicted
        weight_decay: lambda
        W0, A0: the start
    """

    flow: Trajectory
    U: Array
    weight_decay: float
    W0: Array
    A0: Array

    @property
    def deviation(self) -> float:
        """Largest |Z(t) - e^{-lambda t} Z(0) U(t)| over entries and times, relative to the largest |Z|."""
        pairs = zip(self.flow.times, self.flow.W, self.flow.A, self.U, strict=True)
        worst, size = 0.0, max(np.abs(self.W0).max(), np.abs(self.A0).max())
        for t, W, A, U in pairs:
            predicted = law.predict_weights(self.W0, self.A0, U, self.weight_decay, float(t))
            size = max(size, np.abs(W).max(), np.abs(A).max())
            worst = max(worst, np.abs(W - predicted[0]).max(), np.abs(A - predicted[1]).max())
        return float(worst / size)

    @property
    def form_error(self) -> float:
        """Largest |U eta U^T - eta| over entries and times, of the predicted U."""
        form = law.eta(self.W0.shape[1], self.A0.shape[0])
        return float(np.abs(self.U @ form @ self.U.swapaxes(1, 2) - form).max())


def output_slope(mixture: Mixture, targets: Array, loss: str) -> law.Slope:
    """F (K, d) -> dL_0/dF (K, d): exact for the squared loss; for the others on noise-free inputs."""
    if loss == "squared":
        second, cross = mixture.second_moment(), mixture.cross_moment(targets)
        return lambda F: F @ second - cross
    pi, mu, rows = mixture.moments.weights, mixture.moments.means, targets[mixture.fine_map]
    value = pointwise.loss(loss)
    return lambda F: (pi[:, None] * value(mu @ F.T, rows)[1]).T @ mu


def course(
    mixture: Mixture,
    W0: Array,
    A0: Array,
    *,
    targets: Array,
    loss: str,
    weight_decay: float,
    times: Array,
    rtol: float,
) -> Course:
    """Both integrations at `times`, with tolerance `rtol`."""
    flow = population_flow(
        mixture,
        W0,
        A0,
        targets=targets,
        activation="identity",
        loss=loss,
        weight_decay=weight_decay,
        times=times,
        rtol=rtol,
    )
    slope = output_slope(mixture, targets, loss)
    return Course(flow, law.predict(W0, A0, slope, weight_decay, times, rtol=rtol), weight_decay, W0, A0)


def random_problem(
    rng: np.random.Generator, *, loss: str, dim: int, width: int, subclasses: int, scale: float
) -> tuple[Mixture, Array, Array, Array]:
    """A mixture, targets and weights; noise-free with means in any position where the loss is not squared."""
    coarse = 2 if loss == "logistic" else 3
    mixture = random_mixture(rng, coarse=coarse, subclasses=subclasses, dim=dim)
    if loss != "squared":
        mixture = Mixture.from_means(
            mixture.moments.means, mixture.coarse_map, weights=mixture.moments.weights
        )
    targets = targets_for(mixture, loss)
    return mixture, targets, *gaussian(width, dim, targets.shape[1], scale, rng)


def observed_transport(
    W0: Array, A0: Array, W: Array, A: Array, weight_decay: float, t: float
) -> tuple[Array, float]:
    """The U (d + K, d + K) that fits e^{lambda t} Z(t) = Z(0) U best, and what it leaves (relative).

    Determined if Z(0) has rank d + K, hence m >= d + K.
    """
    Z0, Z = np.hstack([W0, A0.T]), np.exp(weight_decay * t) * np.hstack([W, A.T])
    U = np.linalg.lstsq(Z0, Z, rcond=None)[0]
    return U, float(np.linalg.norm(Z0 @ U - Z) / np.linalg.norm(Z))


def verify(seed: int) -> list[Comparison]:
    """||A||^2 at t = 6 and U along random vectors, read off the weights of plain training, for three losses."""
    rows = []
    for index, (loss, decay) in enumerate(SETTINGS):
        rng = np.random.default_rng([seed, 14, index])
        mixture, targets, W0, A0 = active_sets.random_problem(
            rng, loss=loss, dim=int(rng.integers(2, 6)), width=16, subclasses=2, scale=0.7
        )
        problem = active_sets.bare(mixture, targets, activation="identity", loss=loss, weight_decay=decay)
        observed, coarser = (_read_off(problem, W0, A0, rtol) for rtol in (1e-9, 1e-8))
        U = law.predict(W0, A0, output_slope(mixture, targets, loss), decay, [END])[0]
        norm = np.sum(law.predict_weights(W0, A0, U, decay, END)[1] ** 2)
        # Chosen by neither side: the largest entry of one would let it into the other.
        left, right = rng.standard_normal((2, len(U)))
        setting = f"t = {END:g}, {loss} loss, d = {mixture.dim}, K = {len(A0)}, lambda = {decay}"
        for name, predicted, found, rough in (
            ("||A||^2", norm, observed[0], coarser[0]),
            (
                "U along random vectors",
                left @ U @ right,
                *(left @ V @ right for V in (observed[1], coarser[1])),
            ),
        ):
            bound = 3 * abs(rough - found) / abs(predicted) + 1e-12
            rows.append(
                Comparison("T14", f"{name} at {setting}", float(predicted), float(found), float(bound), STEPS)
            )
    return rows


def _read_off(problem: plain.Problem, W0: Array, A0: Array, rtol: float) -> tuple[float, Array]:
    """||A||^2 and U at the end of plain training."""
    W, A = (layer[0] for layer in plain.flow(problem, [W0, A0], [END], rtol=rtol))
    return float(np.sum(A**2)), observed_transport(W0, A0, W, A, problem.weight_decay, END)[0]
