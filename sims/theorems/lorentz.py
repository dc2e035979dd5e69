"""T14 observed: the weights of gradient flow beside Z(0) U(t), with U integrated on its own.

The two integrations share nothing but the loss: one follows m (d + K) weights, the other (d + K)^2 entries of U,
from the start's Gram matrix alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population import pointwise
from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.theorems.balancedness import random_mixture, targets_for
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import lorentz as law
from finegrain.theory.tools.arrays import Array


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


def observed_transport(flow: Trajectory, W0: Array, A0: Array, weight_decay: float) -> tuple[Array, float]:
    """The U (d + K, d + K) that fits e^{lambda t} Z(t) = Z(0) U best at the last time, and what it leaves (relative).

    Determined if Z(0) has rank d + K, hence m >= d + K.
    """
    Z0, Z = (
        np.hstack([W0, A0.T]),
        np.exp(weight_decay * flow.times[-1]) * np.hstack([flow.W[-1], flow.A[-1].T]),
    )
    U = np.linalg.lstsq(Z0, Z, rcond=None)[0]
    return U, float(np.linalg.norm(Z0 @ U - Z) / np.linalg.norm(Z))


def verify(seed: int) -> list[Comparison]:
    """||A||^2 at the end against its prediction, and U's invariant, for three losses."""
    rows = []
    for index, (loss, weight_decay) in enumerate(
        [("squared", 0.03), ("logistic", 0.01), ("cross-entropy", 0.1)]
    ):
        rng = np.random.default_rng([seed, 14, index])
        mixture, targets, W0, A0 = random_problem(
            rng,
            loss=loss,
            dim=int(rng.integers(2, 9)),
            width=int(rng.integers(1, 17)),
            subclasses=2,
            scale=0.7,
        )
        end = 6.0
        fine, coarser = (
            course(
                mixture,
                W0,
                A0,
                targets=targets,
                loss=loss,
                weight_decay=weight_decay,
                times=np.array([end / 2, end]),
                rtol=rtol,
            )
            for rtol in (1e-12, 1e-10)
        )
        observed = float(np.sum(fine.flow.A[-1] ** 2))
        predicted = float(np.sum(law.predict_weights(W0, A0, fine.U[-1], weight_decay, end)[1] ** 2))
        change = abs(np.sum(coarser.flow.A[-1] ** 2) - observed) + abs(
            np.sum(law.predict_weights(W0, A0, coarser.U[-1], weight_decay, end)[1] ** 2) - predicted
        )
        rows.append(
            Comparison(
                "T14",
                f"||A||^2 at t = {end:g}, {loss} loss, m = {len(W0)}, d = {mixture.dim}, lambda = {weight_decay}",
                predicted,
                observed,
                float(change / predicted) + 1e-12,
                "change when both integrators' tolerance is 100 times coarser, and rounding",
            )
        )
        rows.append(
            Comparison(
                "T14",
                f"largest deviation of [W, A^T] from e^(-lambda t) [W_0, A_0^T] U, {loss} loss",
                0.0,
                fine.deviation,
                coarser.deviation + 1e-12,
                "the deviation when both tolerances are 100 times coarser, and rounding",
            )
        )
    return rows
