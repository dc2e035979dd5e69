"""T16 observed: separation after training of networks with a leak or with input noise eps^kappa.

Two kinds of start, each the same up to scale at every eps: `aligned` has one neuron for every subset of subclasses,
equal under permutation of the subclasses, so that residuals are equal and the gate equations of a leak exact; `random`.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from finegrain.sims import plain
from finegrain.sims.initial_weights import balanced
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems.balancedness import EVALUATIONS_A_STEP
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import signs
from finegrain.theory.theorems import crossover as law
from finegrain.theory.tools.arrays import Array

GATES = {"leak": law.leaky, "noise": law.noisy}


def aligned(subclasses: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """W (m, C) and A (1, m), m = 2 (2^S - 1): on a subset of size q active at x_q, else at -y_q, both in [1/2, 2].

    |a_j| = ||w_j||; coordinates of the other coarse class are 0.
    """
    S = subclasses
    x, y = rng.uniform(0.5, 2, (2, S))
    subsets = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
    block = np.array([[x[len(Q) - 1] if c in Q else -y[len(Q) - 1] for c in range(S)] for Q in subsets])
    W = np.kron(np.eye(2), block)
    labels = np.repeat([-1.0, 1.0], len(subsets))
    return W, (labels * np.linalg.norm(W, axis=1))[None]


def random(subclasses: int, width: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """A balanced start of scale 1, W (m, C), A (1, m), drawn again until each class has the neurons that T7 needs."""
    S = subclasses
    while True:
        W, A = balanced(width, 2 * S, 1.0, rng)
        served = [np.sum(W[:, k * S : (k + 1) * S] > 0, axis=1)[A[0] * (2 * k - 1) > 0] for k in (0, 1)]
        if all(np.isin([S - 1, S], q).all() for q in served):
            return W, A


def labels_of(W: Array) -> Array:
    """+-1 for each fine class: the first half of them is coarse class 0."""
    return np.repeat([-1.0, 1.0], W.shape[1] // 2)


def final_separation(
    W: Array, A: Array, kind: str, size: float, *, weight_decay: float = 0.0, rtol: float = 1e-8
) -> float:
    """Mean relative separation of same-coarse pairs by gradient flow, once the residual has died out.

    kind: "leak" of slope `size`, or "noise" of standard deviation `size`.
    """
    S = W.shape[1] // 2
    mixture = Mixture.orthonormal(2, S, noise=size if kind == "noise" else 0.0)
    # Growth from the start's scale to order 1, then e^-24 of the residual, as in T7.
    scale = np.sqrt(np.sum(W**2) / len(W))
    end = 2 * np.sqrt(S) * (max(np.log(1 / scale), 0) + 12)
    flow = population_flow(
        mixture,
        W,
        A,
        targets=signs(mixture.coarse_map),
        activation="leaky_relu" if kind == "leak" else "relu",
        slope=size if kind == "leak" else 0.01,
        weight_decay=weight_decay,
        times=[end],
        rtol=rtol,
    )
    return observables.separation(flow.moments[0], mixture.coarse_map)


def slopes(
    W: Array, A: Array, kind: str, kappa: float, eps: Array, rtol: float = 1e-8
) -> tuple[float, float]:
    """Slopes of ln sep against ln eps: predicted by the gate equations, observed in gradient flow."""
    predicted = law.predict_slope(W, A[0], labels_of(W), GATES[kind], kappa, eps)
    ends = [final_separation(e * W, e * A, kind, e**kappa, rtol=rtol) for e in eps]
    return predicted, float(np.polyfit(np.log(eps), np.log(ends), 1)[0])


def psi_course(
    W0: Array,
    A0: Array,
    slope: float,
    weight_decay: float,
    t: float,
    *,
    loss: str = "squared",
    rtol: float = 1e-9,
) -> tuple[Array, Array, float]:
    """D(0) and e^{lambda t} D(t), (m, S-1), and the integrator's error on the latter.

    D = psi(w_.c) - psi(w_.c') between the first subclass and each other one of coarse class 0.
    """
    S, spans = W0.shape[1] // 2, 10
    mixture = Mixture.orthonormal(2, S)
    flow = population_flow(
        mixture,
        W0,
        A0,
        targets=signs(mixture.coarse_map),
        activation="leaky_relu",
        slope=slope,
        loss=loss,
        weight_decay=weight_decay,
        times=np.linspace(t / spans, t, spans),
        rtol=rtol,
    )
    start, end = (law.psi(W[:, :S], slope) for W in (W0, flow.W[-1]))
    growth = np.exp(weight_decay * t)
    # A step's error is rtol of a weight, or of its neuron at the last recorded time, in root mean square over all
    # weights: sqrt(n) of that at most in one of them. psi has slope 1/alpha.
    size = max(
        float(np.abs(W).max()) * np.exp(weight_decay * s) for s, W in zip(flow.times, flow.W, strict=True)
    )
    steps = flow.info["evaluations"] / EVALUATIONS_A_STEP[flow.info["method"]]
    error = steps * np.sqrt(W0.size + A0.size) * rtol * size * np.exp(weight_decay * t / spans) / slope
    return start[:, :1] - start[:, 1:], growth * (end[:, :1] - end[:, 1:]), error


def plain_psi(W: Array, A: Array, slope: float, weight_decay: float, t: float, rtol: float) -> Array:
    """D(t) (m, S-1) by plain gradient flow on the means themselves; D as in `psi_course`."""
    C = W.shape[1]
    problem = plain.Problem(
        np.eye(C), labels_of(W)[:, None], activation="leaky_relu", slope=slope, weight_decay=weight_decay
    )
    end = plain.flow(problem, [W, A], np.linspace(t / 5, t, 5), rtol=rtol)[0][-1]
    stretched = np.where(end > 0, end, end / slope)[:, : C // 2]
    return stretched[:, :1] - stretched[:, 1:]


def psi_row(
    W: Array, A: Array, slope: float = 0.2, weight_decay: float = 0.05, t: float = 40.0
) -> Comparison:
    """Residuals are equal, so that D's velocity is in proportion to D for ever."""
    psi = law.psi(W[:, : W.shape[1] // 2], slope)
    start = psi[:, 0] - psi[:, 1]
    velocity = law.predict_psi_velocity(start, A, np.zeros(1), W.shape[1], weight_decay)
    predicted = float(np.linalg.norm(start) * np.exp(t * (velocity @ start) / (start @ start)))
    fine, coarse = (
        float(np.linalg.norm(plain_psi(W, A, slope, weight_decay, t, rtol)[:, 0])) for rtol in (1e-7, 1e-6)
    )
    return Comparison(
        "T16",
        f"||psi difference|| at t = {t:g}, slope {slope}, lambda = {weight_decay}, S = 3",
        predicted,
        fine,
        3 * abs(coarse - fine) / fine,
        "3 times the change when the integrator's tolerance is 10 times coarser",
    )


def verify(seed: int) -> list[Comparison]:
    """The psi law by plain flow, and slopes against the gate equations, on fresh starts."""
    rng = np.random.default_rng([seed, 16])
    W, A = aligned(3, rng)
    rows = [psi_row(0.01 * W, 0.01 * A)]
    eps = np.array([1e-6, 1e-7])
    for kappa in (0.2, 0.6):
        rows.append(_slope_row(*random(2, 16, rng), "leak", kappa, eps, "random"))
    return [*rows, _slope_row(*aligned(2, rng), "noise", 0.5, eps, "aligned")]


def _slope_row(W: Array, A: Array, kind: str, kappa: float, eps: Array, name: str) -> Comparison:
    rtol = 1e-6
    predicted, observed = slopes(W, A, kind, kappa, eps, rtol=rtol)
    # An error of sep at either end; the integrator's is some hundred steps of rtol.
    error = next_order(W, A, kind, kappa, float(eps[0])) + 300 * rtol
    return Comparison(
        "T16",
        f"slope of ln sep, {kind} eps^{kappa}, S = 2, eps = {eps[0]:g}, {eps[-1]:g}, {name} start",
        predicted,
        observed,
        error / float(np.log(eps[0] / eps[-1])) / predicted,
        "next order of the gate equations, 2 (alpha^2 + sep^2) or C sigma^2, at the largest eps; it enters "
        "both ends of the slope, where most of it cancels, hence a bound some 300 times the error",
    )


def next_order(W: Array, A: Array, kind: str, kappa: float, eps: float) -> float:
    """Relative error of the gate equations' sep at eps: C sigma^2, or 2 (alpha^2 + sep^2) at a random start."""
    size = eps**kappa
    if kind == "noise":
        return W.shape[1] * size**2
    sep = final_separation(eps * W, eps * A, kind, size, rtol=1e-6)
    return 2 * (size**2 + sep**2)
