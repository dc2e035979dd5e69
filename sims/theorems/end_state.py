"""T9 observed: where gradient flow with weight decay ends, and how the last gap closes.

Starts are random, or `patterns`: one neuron for each set of open gates, which is what T6 and
alignment leave of any small start. Ends for other sets of patterns come from plain RK45 on the bare loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from finegrain.sims import plain
from finegrain.sims.initial_weights import balanced, served
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, signs
from finegrain.theory.theorems import end_state as law
from finegrain.theory.tools.arrays import Array

RTOL = 1e-7
SHARES = (0.1, 0.5, 0.7, 1.2, 2.0)  # of lambda_c, on both sides


@dataclass(frozen=True, eq=False)
class Course:
    """A network along training.

    Attributes:
        times: (T,)
        output: (T,) mean over fine classes of f_c . t_c/||t_c||^2
        separation: (T,) mean relative separation of fine classes within a coarse class
        loss: (T,) weight decay included
        W, A: (T, m, d) and (T, K, m)
        weight_decay: lambda
    """

    times: Array
    output: Array
    separation: Array
    loss: Array
    W: Array
    A: Array
    weight_decay: float


def course(
    mixture: Mixture,
    targets: Array,
    W: Array,
    A: Array,
    weight_decay: float,
    times: Array,
    *,
    activation: str = "relu",
    slope: float = 0.0,
    rtol: float = RTOL,
) -> Course:
    """Gradient flow on the squared loss from (W, A), recorded at `times`.

    It also stops each time that weight decay alone would have shrunk the weights by e^-3: the integrator's absolute
    tolerance follows their size from stop to stop.
    """
    stops = np.arange(3.0, weight_decay * times[-1], 3.0) / weight_decay if weight_decay else times
    every = np.union1d(times, stops)
    flow = population_flow(
        mixture,
        W,
        A,
        targets=targets,
        activation=activation,
        slope=slope,
        weight_decay=weight_decay,
        times=every,
        rtol=rtol,
    )
    kept = np.searchsorted(every, times)
    hidden = [flow.moments[i] for i in kept]
    along = targets / np.sum(targets**2, axis=1, keepdims=True)
    output = [
        float(mixture.moments.weights @ np.sum(h.means @ a.T * along, axis=1))
        for h, a in zip(hidden, flow.A[kept], strict=True)
    ]
    separation = [observables.separation(h, mixture.coarse_map) for h in hidden]
    return Course(
        flow.times[kept],
        np.array(output),
        np.array(separation),
        flow.loss[kept],
        flow.W[kept],
        flow.A[kept],
        weight_decay,
    )


def patterns(coarse: int, targets: Array, amplitudes: Array) -> tuple[Array, Array]:
    """W (m, K S) and A (k, m): for each coarse class and each subset Q of its S fine classes one neuron, w = u 1_Q and
    a = sqrt(q) u t/||t||, with u = amplitudes[q - 1]; an amplitude 0 leaves the size out. Targets (K S, k)."""
    S = len(amplitudes)
    sizes = [q for q in range(1, S + 1) if amplitudes[q - 1] > 0]
    subsets = [(k, Q) for k in range(coarse) for q in sizes for Q in combinations(range(S), q)]
    W, A = np.zeros((len(subsets), coarse * S)), np.zeros((targets.shape[1], len(subsets)))
    for j, (k, Q) in enumerate(subsets):
        u, t = amplitudes[len(Q) - 1], targets[k * S]
        W[j, [k * S + c for c in Q]] = u
        A[:, j] = np.sqrt(len(Q)) * u * t / np.linalg.norm(t)
    return W, A


def largest_decay(subclasses: int, classes: int, norm: float = 1.0, slope: float = 0.0) -> float:
    """The weight decay at which neurons on all subclasses die. The law says it too; a setting owes it nothing."""
    return float(norm * np.sqrt(subclasses * (1 + slope**2)) / classes)


def settling_time(
    weight_decay: float, subclasses: int, classes: int, norm: float, amplitude: float, digits: float
) -> float:
    """When the transient, and the next patterns relative to the leading ones, have fallen to e^-digits of their start.

    The transient starts from the ratio of the final energy to the initial one, amplitude^2.
    """
    S, top = subclasses, largest_decay(subclasses, classes, norm)
    growth = 2 * max(0.0, np.log(1 / amplitude))
    transient = (digits + growth) / (2 * abs(top - weight_decay))
    if S == 1:
        return float(transient)
    lead = min(weight_decay, top)
    sizes = np.sqrt([S - 2, S - 1, S]) / np.sqrt(S)
    slowest = min(np.diff(sizes)) if S > 2 else 1 - sizes[1]
    return float(transient + digits / (2 * lead * slowest))


def arrival(
    coarse: int, subclasses: int, share: float, seed: int, *, digits: float = 8.0
) -> tuple[float, float, Course]:
    """Predicted output at the recorded time (gap included), lambda, and the course from random patterns."""
    mixture = Mixture.orthonormal(coarse, subclasses)
    targets = signs(mixture.coarse_map) if coarse == 2 else centred_one_hot(mixture.coarse_map)
    C, norm = mixture.num_fine, float(np.linalg.norm(targets[0]))
    weight_decay = share * largest_decay(subclasses, C, norm)
    amplitudes = np.random.default_rng(seed).uniform(0.2, 0.4, subclasses)
    end = settling_time(weight_decay, subclasses, C, norm, float(amplitudes.min()), digits)
    W, A = patterns(coarse, targets, amplitudes)
    found = course(mixture, targets, W, A, weight_decay, np.array([end]))
    predicted = law.predict(weight_decay, subclasses, C, target_norm=norm)
    if predicted > 0 and subclasses > 1:
        predicted -= law.predict_gap(
            float(found.separation[-1]), weight_decay, subclasses, C, target_norm=norm
        )
    return predicted, weight_decay, found


def from_random_start(
    share: float, seed: int, *, slope: float = 0.0, width: int = 80, digits: float = 9.0
) -> tuple[float, Course]:
    """lambda and the course to half time and to the end, K = S = 2, from a balanced random start; leaky ReLU if
    slope > 0, linear if 1. An eighth of the ReLU neurons is full for either class: of 80 none is in 5e-5 of draws."""
    mixture = Mixture.orthonormal(2, 2)
    targets = signs(mixture.coarse_map)
    weight_decay = share * largest_decay(2, 4, slope=slope)
    W, A = balanced(width, 4, 0.3 / np.sqrt(width), np.random.default_rng(seed))
    end = settling_time(weight_decay, 2, 4, 1.0, 0.05, digits)
    activation = "leaky_relu" if slope else "relu"
    times = np.array([end / 2, end])
    return weight_decay, course(
        mixture, targets, W, A, weight_decay, times, activation=activation, slope=slope, rtol=1e-7
    )


# Sets of final patterns, with S: disjoint, overlapping, and overlapping at unequal sizes. All come to rest by t = 200;
# a cycle such as {1,2,3},{3,4},{4,1} settles at .006 and would need ten times that.
COVERS = (
    (3, ((0, 1), (2,))),
    (3, ((0, 1), (1, 2))),
    (4, ((0, 1, 2), (2, 3))),
)
PLAIN_RTOL = 1e-8


def plain_end(
    patterns: tuple[tuple[int, ...], ...],
    subclasses: int,
    weight_decay: float,
    seed: int,
    *,
    t: float = 400.0,
) -> Array:
    """f_c (S,) of the first coarse class at time t, by RK45 on the bare loss from uneven neurons of these patterns."""
    C = 2 * subclasses
    amplitudes = np.random.default_rng(seed).uniform(0.2, 0.4, len(patterns))
    start = served(patterns, amplitudes, subclasses, uneven=0.3, seed=seed)
    targets = np.repeat([[1.0], [-1.0]], subclasses, axis=0)
    problem = plain.Problem(np.eye(C), targets, weight_decay=weight_decay)
    end = plain.flow(problem, start, [t / 2, t], rtol=PLAIN_RTOL)
    return plain.outputs(problem, [layer[-1] for layer in end])[:subclasses, 0]


def plain_gap(subclasses: int, weight_decay: float, times: Array) -> tuple[Array, Array]:
    """The gap f_inf - f and the separation at `times`, (T,) each, by RK45 from full neurons and all on S - 1.

    f_inf is what the same flow reaches much later.
    """
    S = subclasses
    targets = np.repeat([[1.0], [-1.0]], S, axis=0)
    problem = plain.Problem(np.eye(2 * S), targets, weight_decay=weight_decay)
    stops = np.append(times, 4 * times[-1])
    W, A = plain.flow(problem, uniform_start(S), stops, rtol=1e-10)
    f = np.array([plain.outputs(problem, layers)[0, 0] for layers in zip(W, A, strict=True)])
    sep = np.array([plain.separations(problem, layers)[0, 1] for layers in zip(W, A, strict=True)])
    return f[-1] - f[:-1], sep[:-1]


def uniform_start(subclasses: int) -> tuple[Array, Array]:
    """Full neurons, and all on S - 1 with equal energies."""
    S = subclasses
    return served([tuple(range(S)), *combinations(range(S), S - 1)], [0.3] + [0.1] * S, S)


def verify(seed: int) -> list[Comparison]:
    """Ends for sets of final patterns, the gap and a random start by plain RK45; ends for K = 3 and S = 4."""
    rows = []
    for subclasses, patterns in COVERS:
        observed = plain_end(patterns, subclasses, 0.05, seed)
        predicted = law.predict(0.05, subclasses, 2 * subclasses, patterns=patterns)
        name = f"by plain RK45, patterns {' '.join(map(str, patterns))}, lambda = .05"
        reason = "RK45's rtol a step, some ten steps within the rest state's memory"
        for c in range(subclasses):
            quantity = f"f of subclass {c} at the end, {name}"
            bound, why = 10 * PLAIN_RTOL, reason
            if (c,) in patterns:
                # A fixed point of the flow is one of RK45; by now e^-46 of the start is left, its errors too.
                bound, why = (
                    64 * np.finfo(float).eps,
                    "rounding: a neuron alone is at rest, 64 machine epsilons",
                )
            rows.append(Comparison("T9", quantity, float(predicted[c]), float(observed[c]), bound, why))
    return [*rows, _gap_row(3), *_arrival_rows(seed), *_random_rows(seed)]


def _arrival_rows(seed: int) -> list[Comparison]:
    rows = []
    for coarse, subclasses, share in ((2, 4, 0.1), (3, 2, 0.1)):
        predicted, _, found = arrival(coarse, subclasses, share, seed)
        name = f"f . t/||t||^2 at the end, K = {coarse}, S = {subclasses}, lambda = {share:g} lambda_c"
        reason = "the integrator's rtol a step, most of which a rest state forgets"
        rows.append(Comparison("T9", name, predicted, float(found.output[-1]), RTOL, reason))
    return rows


def _gap_row(subclasses: int) -> Comparison:
    """At .3 lambda_c and sep near .05: the next order of the gap is S sep^2 of it."""
    S, C = subclasses, 2 * subclasses
    weight_decay = 0.3 * largest_decay(S, C)
    times = np.array([3 / (weight_decay * (1 - np.sqrt((S - 1) / S)))])
    mixture = Mixture.orthonormal(2, S)
    W, A = uniform_start(S)
    # The prediction's separation comes from the exact flow. It has targets -1 first: A changes sign.
    sep = course(mixture, signs(mixture.coarse_map), W, -A, weight_decay, times).separation[0]
    predicted = law.predict_gap(float(sep), weight_decay, S, C)
    observed = float(plain_gap(S, weight_decay, times)[0][0])
    bound = 2 * S * float(sep) ** 2 + 1e-9 / observed
    reason = "next order, S sep^2; RK45 relative to the gap"
    return Comparison("T9", f"gap left, by plain RK45, S = {S}", predicted, observed, bound, reason)


def _random_rows(seed: int) -> list[Comparison]:
    """The loss of a ReLU network, and the output of a leaky one."""
    weight_decay, found = from_random_start(0.5, seed)
    lowest = law.predict_loss(weight_decay, 2, 4)
    # Neurons on one subclass die: each adds lambda - ||d_Q|| times its energy, half of ||w||^2 + a^2.
    single = (found.W[-1] > 0).reshape(-1, 2, 2).sum(axis=2).max(axis=1) == 1
    left = float(np.sum(found.A[-1][:, single] ** 2)) * weight_decay * (1 - np.sqrt(0.5))
    name = "loss at the end from a random start, S = 2, lambda = .5 lambda_c"
    reason = "energy left in dying neurons, from the weights, twice"
    bound = 2 * left / float(found.loss[-1]) + 1e-12
    rows = [Comparison("T9", name, lowest, float(found.loss[-1]), bound, reason)]
    weight_decay, found = from_random_start(0.5, seed, slope=0.3, digits=6.0)
    name = "f at the end from a random start, S = 2, slope .3, lambda = .5 lambda_c"
    predicted = law.predict(weight_decay, 2, 4, slope=0.3)
    reason = "the integrator's rtol a step; a rest state forgets all but the last few"
    rows.append(Comparison("T9", name, predicted, float(found.output[-1]), RTOL, reason))
    return rows
