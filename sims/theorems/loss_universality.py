"""T15 observed: logistic and cross-entropy networks erode at the rate, and end at the margin, that theory gives.

Noise-free orthonormal means, K coarse classes of S, ReLU, random starts of scale 0.3: the late rate of a separation
needs no small start, and a large one is soon at rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from finegrain.sims import plain
from finegrain.sims.initial_weights import balanced
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems.balancedness import EVALUATIONS_A_STEP
from finegrain.sims.theorems.comparison import Comparison
from finegrain.sims.theorems.end_state import patterns
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, one_hot, signs
from finegrain.theory.theorems import loss_universality as law
from finegrain.theory.tools.arrays import Array


@dataclass(frozen=True, eq=False)
class Course:
    """Separation and margin along one flow.

    Attributes:
        times: (T,)
        separations: (T,) mean over pairs of the same coarse class
        per_class: (T, K) the same mean in each coarse class
        margins: (T, C) outputs of each fine class along v
        steps: of the integrator
        rtol: its relative error a step
    """

    times: Array
    separations: Array
    per_class: Array
    margins: Array
    steps: int
    rtol: float


def start(
    loss: str, mixture: Mixture, width: int, scale: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Targets (C, outputs), W (m, d), A (outputs, m) with |a_j| = ||w_j||, for cross-entropy in random directions."""
    W, A = balanced(width, mixture.dim, scale, rng)
    if loss != "cross-entropy":
        return signs(mixture.coarse_map), W, A
    targets = one_hot(mixture.coarse_map)
    directions = rng.standard_normal((targets.shape[1], width))
    return targets, W, np.abs(A) * directions / np.linalg.norm(directions, axis=0)


def course(
    loss: str,
    mixture: Mixture,
    W0: Array,
    A0: Array,
    *,
    weight_decay: float,
    times: Array,
    activation: str = "relu",
    rtol: float = 1e-7,
) -> Course:
    """Gradient flow of `loss`; separation and margins at `times`."""
    outputs = signs if loss != "cross-entropy" else one_hot
    flow = population_flow(
        mixture,
        W0,
        A0,
        targets=outputs(mixture.coarse_map),
        activation=activation,
        loss=loss,
        weight_decay=weight_decay,
        times=times,
        rtol=rtol,
    )
    v = centred_one_hot(mixture.coarse_map) if loss == "cross-entropy" else signs(mixture.coarse_map)
    v = v / np.linalg.norm(v, axis=1)[:, None]
    margins = [np.sum(v * (h.means @ A.T), axis=1) for h, A in zip(flow.moments, flow.A, strict=True)]
    separations = [observables.separation(h, mixture.coarse_map) for h in flow.moments]
    per_class = [observables.inside(observables.separation, h, mixture.coarse_map) for h in flow.moments]
    steps = flow.info["evaluations"] // EVALUATIONS_A_STEP[flow.info["method"]]
    return Course(flow.times, np.array(separations), np.array(per_class), np.array(margins), steps, rtol)


def flow_of(
    residual: Callable[[Array], Array],
    W0: Array,
    a0: Array,
    signs: Array,
    *,
    weight_decay: float,
    t: float,
    rtol: float,
) -> tuple[Array, Array]:
    """W (m, C) and a (m,) at time t for any loss of a scalar output, given by its residual, margin (C,) -> (C,).

    Inputs e_1..e_C, equally likely, labels `signs` (C,), ReLU.
    """
    m, C = W0.shape

    def velocity(_: float, state: Array) -> Array:
        W, a = state[: m * C].reshape(m, C), state[m * C :]
        h = np.maximum(W, 0)
        pull = signs * residual(signs * (a @ h)) / C
        dW = np.outer(a, pull) * (W > 0) - weight_decay * W
        return np.concatenate([dW.ravel(), h @ pull - weight_decay * a])

    state = np.concatenate([W0.ravel(), a0])
    scale = np.repeat(np.abs(a0), C), np.abs(a0)  # of each neuron, as in population_flow
    end = solve_ivp(velocity, (0, t), state, rtol=rtol, atol=rtol * np.concatenate(scale)).y[:, -1]
    return end[: m * C].reshape(m, C), end[m * C :]


@dataclass(frozen=True)
class Late:
    """The late rate and margin of one flow, each with the error that a finite time leaves."""

    rate: float
    rate_error: float
    margin: float
    margin_error: float


def late(found: Course, loss: str, subclasses: int, classes: int, weight_decay: float, coarse: int) -> Late:
    """Rate between the last two times, and the margin at the last one, with derived relative errors.

    Neurons not active on all S hold at most S^2 sep^2 of ||h_c||^2: each lacks some subclass and enters a difference.
    Those on S-2 or fewer have fallen behind those on S-1 by e^{-2 x (sqrt(S-1) - sqrt(S-2))/sqrt S}, x = lambda t
    (or lambda_c t). The distance of r from rest is measured.
    """
    S, (t1, t2) = subclasses, found.times[-2:]
    critical = law.predict_critical(loss, S, classes, coarse)
    rest = min(law.predict_residual(S, classes, weight_decay), law.residual(loss, 0.0, coarse))
    residuals = np.array([law.residual(loss, F, coarse) for F in found.margins[-2:].ravel()])
    others = S**2 * found.separations[-2] ** 2
    fewer = 0.0
    if S > 2:
        x = min(weight_decay, critical) * t1
        fewer = 4**S * float(np.exp(-2 * x * (np.sqrt(S - 1) - np.sqrt(S - 2)) / np.sqrt(S)))
    fall = float(np.log(found.separations[-2] / found.separations[-1]))
    steps = found.steps * found.rtol
    settling = law.predict_transient(loss, S, classes, weight_decay, coarse)
    margin_error = 2 * weight_decay / settling * others + 4 * np.exp(-settling * t1) + steps
    return Late(
        fall / (t2 - t1),
        float(others + fewer + np.abs(residuals / rest - 1).max() + steps / fall),
        float(found.margins[-1].mean()),
        float(margin_error),
    )


CASES = (("logistic", 2, 2), ("cross-entropy", 3, 2))
PLAIN_RTOL = 1e-8


def plain_late(loss: str, coarse: int, subclasses: int, weight_decay: float, seed: int) -> Late:
    """Rate and margin by RK45 on the bare loss, from a neuron for each set of each coarse class.

    The error is sep^2, the share of neurons not active on all S, of order e^(-2 rate t).
    """
    S, K = subclasses, coarse
    labels = np.repeat(np.arange(K), S)
    targets = one_hot(labels) if loss == "cross-entropy" else signs(labels)
    v = centred_one_hot(labels) if loss == "cross-entropy" else targets
    problem = plain.Problem(np.eye(K * S), targets, loss=loss, weight_decay=weight_decay)
    amplitudes = np.random.default_rng([seed, 15]).uniform(0.2, 0.4, S)
    times = np.arange(1, 9) * 2.5 / weight_decay
    W, A = plain.flow(problem, patterns(K, v, amplitudes), times, rtol=PLAIN_RTOL)
    layers = list(zip(W, A, strict=True))
    first, last = (plain.separations(problem, layers[i])[0, 1] for i in (-2, -1))
    margin = float(plain.outputs(problem, layers[-1])[0] @ v[0] / np.linalg.norm(v[0]))
    share = float(np.exp(-2 * weight_decay * (1 - np.sqrt((S - 1) / S)) * times[-2]))
    rate = float(np.log(first / last) / (times[-1] - times[-2]))
    return Late(rate, share + 100 * PLAIN_RTOL, margin, share / 4 + 100 * PLAIN_RTOL)


def verify(seed: int) -> list[Comparison]:
    """Rate and margin at rest by plain RK45 for a random lambda below critical; the exponents at lambda = 0."""
    rows = []
    for loss, K, S in CASES:
        lowest = {"logistic": 0.5, "cross-entropy": np.sqrt((K - 1) / K)}[loss] * np.sqrt(S) / (K * S)
        weight_decay = np.random.default_rng([seed, K]).uniform(0.4, 0.6) * lowest
        found = plain_late(loss, K, S, weight_decay, seed)
        name = f"{loss}, by plain RK45, K = {K}, S = {S}, lambda = {weight_decay:.4f}"
        reason = "the share of neurons not active on all S, e^(-2 rate t) of the start's; RK45"
        rate = law.predict_rate(loss, S, K * S, weight_decay, K)
        margin = law.predict_end(loss, S, K * S, weight_decay, K)
        rows += [
            Comparison("T15", f"rate of sep, {name}", rate, found.rate, found.rate_error, reason),
            Comparison("T15", f"margin at rest, {name}", margin, found.margin, found.margin_error, reason),
        ]
    return rows + _exponent_rows(seed)


def _exponent_rows(seed: int) -> list[Comparison]:
    """Exponents of eps and of the margin, logistic loss, lambda = 0, S = 2, one random start at every eps."""
    exponents, top = exponents_without_decay(2, seed)
    reason = "S^2 sep^2, the share of neurons not active on all S, at the largest eps"
    rows = []
    for name, predicted, observed in zip(("eps", "F"), law.predict_exponents(2), exponents, strict=True):
        quantity = f"exponent of sep against {name}, logistic, lambda = 0, S = 2"
        rows.append(Comparison("T15", quantity, predicted, float(observed), 4 * top**2, reason))
    return rows


def exponents_without_decay(
    subclasses: int, seed: int, eps: tuple[float, ...] = (1e-7, 1e-9)
) -> tuple[Array, float]:
    """Least-squares exponents of eps and of the margin F over a plane of (eps, F), and the largest sep."""
    mixture = Mixture.orthonormal(2, subclasses)
    points = []
    for e in eps:
        _, W0, A0 = start("logistic", mixture, 12 * 2**subclasses, e, np.random.default_rng([seed, 15]))
        # The margin is of order 1 when G = eps^(-1/sqrt S), with residual 1/2 until then; later it grows as ln t.
        rise = 2 * mixture.num_fine / np.sqrt(subclasses) * np.log(1 / e)
        found = course(
            "logistic", mixture, W0, A0, weight_decay=0.0, times=rise + np.array([30.0, 200, 3000])
        )
        points += [
            (np.log(e), np.log(F), np.log(s))
            # One coarse class: the other has a margin of its own.
            for F, s in zip(found.margins[:, -subclasses:].mean(axis=1), found.per_class[:, -1], strict=True)
        ]
    log_eps, log_F, log_sep = np.array(points).T
    plane = np.column_stack([log_eps, log_F, np.ones_like(log_eps)])
    return np.linalg.lstsq(plane, log_sep, rcond=None)[0][:2], float(np.exp(log_sep.max()))
