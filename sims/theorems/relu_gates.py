"""T6 observed: which gates gradient flow closes, and whether any opens again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finegrain.sims.initial_weights import balanced
from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import signs
from finegrain.theory.theorems import relu_gates as law
from finegrain.theory.tools.arrays import Array


@dataclass(frozen=True, eq=False)
class Outcome:
    """Gates before and after training from a balanced random start, scalar targets.

    Attributes:
        reopened: number of gates (j, c) closed at one recorded time and open at a later one
        sign_flips: number of neurons whose a_j changed sign
        follows_rule: (m,) neurons whose final open gates are the predicted ones
        guaranteed: (m,) neurons whose wrong gates theory's bound closes at this eps
        wrong_left: (m,) neurons with a gate open at the end on a class of the other sign
        overshoot: largest t_c f_c over recorded times
    """

    reopened: int
    sign_flips: int
    follows_rule: NDArray[np.bool_]
    guaranteed: NDArray[np.bool_]
    wrong_left: NDArray[np.bool_]
    overshoot: float


def train(
    mixture: Mixture,
    eps: float,
    seed: int,
    *,
    width: int = 12,
    weight_decay: float = 0.0,
    loss: str = "squared",
    records: int = 8,
    rtol: float = 1e-7,
) -> Outcome:
    """Flow from a balanced start of scale eps until the slower coarse class is learnt, and what its gates did."""
    targets = signs(mixture.coarse_map)
    W, A = balanced(width, mixture.dim, 1.0, np.random.default_rng(seed))
    flow = population_flow(
        mixture,
        eps * W,
        eps * A,
        targets=targets,
        weight_decay=weight_decay,
        loss=loss,
        times=np.linspace(0, training_time(mixture, eps, loss), records + 1),
        rtol=rtol,
    )
    return outcome(mixture, W, A, eps, flow, loss)


def outcome(mixture: Mixture, W: Array, A: Array, eps: float, flow: Trajectory, loss: str) -> Outcome:
    """What the gates did along `flow`, recorded from time 0, whose start was eps * (W, A)."""
    t, means = signs(mixture.coarse_map)[:, 0], mixture.moments.means
    start = W @ means.T
    opened = flow.W @ means.T > 0
    f = (flow.A @ np.maximum(flow.W @ means.T, 0))[:, 0]
    ever_closed = np.logical_or.accumulate(~opened, axis=0)[:-1]
    return Outcome(
        int(np.sum(np.any(opened[1:] & ever_closed, axis=0))),
        int(np.sum(np.sign(flow.A[-1, 0]) != np.sign(A[0]))),
        np.all(opened[-1] == law.predict_open(start, A[0], t), axis=1),
        law.guaranteed(
            start,
            A[0],
            t,
            weights=mixture.moments.weights,
            norms=np.linalg.norm(means, axis=1),
            eps=eps,
            loss=loss,
        ),
        np.any(opened[-1] & (np.sign(A[0])[:, None] != t), axis=1),
        float(np.max(t * f)),
    )


def training_time(mixture: Mixture, eps: float, loss: str = "squared") -> float:
    """Growth from eps to order 1 at the slower coarse class's rate P = sqrt(sum pi_c^2 nu_c^2), and 8/P more.

    Twice that for the logistic loss, whose residual starts at 1/2.
    """
    strength = mixture.moments.weights * np.linalg.norm(mixture.moments.means, axis=1)
    slowest = min(np.linalg.norm(strength[mixture.coarse_map == k]) for k in range(mixture.num_coarse))
    return float((max(np.log(1 / eps), 0) + 8) / slowest) * (2 if loss == "logistic" else 1)


def frozen(
    mixture: Mixture, seed: int, *, weight_decay: float, end: float, rtol: float
) -> tuple[Array, Array]:
    """Predicted and observed w_jc at time `end` behind gates closed at the start."""
    W, A = balanced(8, mixture.dim, 0.3, np.random.default_rng(seed))
    flow = population_flow(
        mixture, W, A, targets=signs(mixture.coarse_map), weight_decay=weight_decay, times=[end], rtol=rtol
    )
    means = mixture.moments.means
    predicted = law.predict_frozen(W @ means.T, weight_decay, end)
    closed = ~np.isnan(predicted)
    return predicted[closed], (flow.W[0] @ means.T)[closed]


def verify(seed: int) -> list[Comparison]:
    """Frozen coordinates, gates that reopen, signs that flip, and neurons that keep the rule of (c)."""
    rows = []
    mixture = Mixture.orthonormal(2, 2)
    predicted, observed = frozen(mixture, seed, weight_decay=0.1, end=10.0, rtol=1e-9)
    rows.append(
        Comparison(
            "T6",
            "norm of all w_jc behind closed gates at t = 10, lambda = 0.1",
            float(np.linalg.norm(predicted)),
            float(np.linalg.norm(observed)),
            300 * 1e-9,
            "integrator: rtol a step, relative to the neuron, for some hundred steps",
        )
    )
    for subclasses, eps in ((1, 1e-8), (2, 1e-6), (3, 1e-6)):
        mixture = Mixture.orthonormal(2, subclasses)
        found = train(mixture, eps, seed, width=24)
        setting = f"S = {subclasses}, eps = {eps:g}"
        sure = int(np.sum(found.guaranteed))
        kept = int(np.sum(found.follows_rule & found.guaranteed))
        exact = "a count: no error allowed"
        rows.append(Comparison("T6", f"gates that reopen, {setting}", 0, found.reopened, 0, exact))
        rows.append(Comparison("T6", f"outputs that change sign, {setting}", 0, found.sign_flips, 0, exact))
        rows.append(Comparison("T6", f"neurons with the predicted gates, {setting}", sure, kept, 0, exact))
    return rows
