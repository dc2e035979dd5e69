"""T6 observed: which gates gradient flow closes, and whether any opens again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finegrain.sims import plain
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


PLAIN_RTOL = 1e-8


def plain_gates(
    mixture: Mixture, eps: float, seed: int, *, width: int = 8
) -> tuple[Array, NDArray[np.bool_]]:
    """Start (W, A stacked as one row per neuron) of scale 1 and gates open at the end, by RK45 on the bare loss."""
    W, A = balanced(width, mixture.dim, 1.0, np.random.default_rng(seed))
    problem = plain.Problem(mixture.moments.means, signs(mixture.coarse_map))
    end = plain.flow(problem, [eps * W, eps * A], [training_time(mixture, eps)], rtol=1e-6)
    return np.column_stack([W, A[0]]), end[0][0] @ mixture.moments.means.T > 0


def plain_frozen(seed: int, weight_decay: float, t: float, rtol: float = PLAIN_RTOL) -> tuple[Array, Array]:
    """w_jc at times 0 and t by RK45 on the bare loss, behind gates closed at the start; K = S = 2."""
    W, A = balanced(8, 4, 0.3, np.random.default_rng(seed))
    problem = plain.Problem(np.eye(4), np.array([[-1.0], [-1], [1], [1]]), weight_decay=weight_decay)
    end = plain.flow(problem, [W, A], [t], rtol=rtol)[0][0]
    return W[W <= 0], end[W <= 0]


def plain_closing(start: float, output: float, eps: float = 1e-4) -> float:
    """When RK45 on the bare loss closes the one open gate of a neuron, at w = eps * start on a wrong class of two,
    a = -eps * output.

    Near 0 its w is a straight line to third order in time: extended from the last two records with an open gate.
    """
    times = np.arange(0, 3.5, 0.1)
    problem = plain.Problem(np.eye(2), np.array([[-1.0], [1.0]]))
    layers = [np.array([[0.0, eps * start]]), np.array([[-eps * output]])]
    w = plain.flow(problem, layers, times, rtol=PLAIN_RTOL)[0][:, 0, 1]
    last = int(np.flatnonzero(w > 0)[-1])
    return float(times[last] + 0.1 * w[last] / (w[last - 1] - w[last]))


def verify(seed: int) -> list[Comparison]:
    """By plain RK45: frozen coordinates, the time at which a gate closes, and the share of gates left open."""
    start, observed = plain_frozen(seed, 0.1, 10.0)
    predicted = float(np.linalg.norm(law.predict_frozen(start, 0.1, 10.0)))
    name = "norm of all w_jc behind closed gates at t = 10, lambda = 0.1, by plain RK45"
    reason = "3 times the change when RK45's tolerance is 10 times coarser, and rounding"
    found, coarser = (
        float(np.linalg.norm(end)) for end in (observed, plain_frozen(seed, 0.1, 10.0, 10 * PLAIN_RTOL)[1])
    )
    bound = 3 * abs(coarser - found) / found + 1e-12
    rows = [Comparison("T6", name, predicted, found, bound, reason)]
    rng = np.random.default_rng([seed, 6])
    w, a = rng.uniform(0.3, 0.6), rng.uniform(0.7, 1.0)
    name = f"time at which a wrong gate closes, w = {w:.3f}, a = {a:.3f} times 1e-4, by plain RK45"
    reason = "third order of the records' distance, .1"
    predicted = law.predict_closing(w, a, 1.0, 0.5)
    rows.append(Comparison("T6", name, predicted, plain_closing(w, a), 5e-4, reason))
    return [*rows, _share_row(seed, 1e-6)]


def _share_row(seed: int, eps: float) -> Comparison:
    """Of the neurons whose wrong gates theory's bound closes at this eps: nearly all."""
    mixture = Mixture.orthonormal(2, 2)
    both, opened = plain_gates(mixture, eps, seed)
    W, a, t = both[:, :-1], both[:, -1], signs(mixture.coarse_map)[:, 0]
    sure = law.guaranteed(W, a, t, weights=np.full(4, 0.25), norms=np.ones(4), eps=eps)
    predicted, observed = law.predict_share(W[sure], a[sure], t), float(np.mean(opened[sure]))
    name = f"share of gates open at the end, S = 2, {sure.sum()} neurons, eps = {eps:g}, by plain RK45"
    reason = "a count, so exact where it is right: less than half a gate, however many times the error"
    return Comparison("T6", name, predicted, observed, 0.4 / (predicted * opened[sure].size), reason)
