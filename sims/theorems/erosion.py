"""T8 observed: how fast gradient flow with weight decay merges the subclasses, after its transient.

What a finite time leaves in a measured rate is computed from the weights themselves (`remainder`): the bound of each
comparison is that number, not a guess.
"""

from __future__ import annotations

import numpy as np

from finegrain.sims import plain
from finegrain.sims.initial_weights import balanced, served
from finegrain.sims.theorems.comparison import Comparison
from finegrain.sims.theorems.end_state import Course, course, largest_decay, patterns, settling_time
from finegrain.theory import pattern_rest
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, signs
from finegrain.theory.theorems import erosion as law
from finegrain.theory.tools.arrays import Array

RTOL = 1e-7
STEPS_ERROR = (
    100 * RTOL
)  # RTOL a step over the hundred steps of the window, relative to a change of ln sep of order 1


def mean_rate(found: Course) -> float:
    """-d ln sep/dt between the last two recorded times."""
    change = np.log(found.separation[-2] / found.separation[-1])
    return float(change / (found.times[-1] - found.times[-2]))


def window(weight_decay: float, subclasses: int, classes: int, norm: float = 1.0) -> float:
    """Time in which ln sep should change by 1: how long to watch."""
    lead = min(weight_decay, largest_decay(subclasses, classes, norm))
    return float(1 / (lead * (1 - np.sqrt((subclasses - 1) / subclasses))))


def remainder(found: Course, subclasses: int, rate: float) -> float:
    """Largest relative error that the finite times leave in `mean_rate`, from the weights at the last two of them.

    Between them ln sep changes by -mu dt - (1 - rho) ln(E_2/E_1)/2 below lambda_c, E the energy of the full
    neurons, for int r dt follows from E (T7); neurons on fewer than S - 1 subclasses add at most half their share
    of ||h_c - h_c'||^2, and those not full half their share of ||h_c||^2, both falling.
    Above lambda_c the same with the ratio of E to
    e^{-2 (lambda - lambda_c) dt} in place of E.
    """
    S = subclasses
    first, last = found.W[-2], found.W[-1]
    open_gates = (first > 0).reshape(len(first), -1, S)
    counts = open_gates.sum(axis=2).max(axis=1)
    full, part = counts == S, counts == S - 1
    energy = [float(np.sum(np.maximum(w[full], 0) ** 2)) for w in (first, last)]
    span = float(found.times[-1] - found.times[-2])
    rho = np.sqrt((S - 1) / S)
    lead = rate / (1 - rho)  # min(lambda, lambda_c)
    drift = abs(np.log(energy[1] / energy[0]) + 2 * (found.weight_decay - lead) * span) * (1 - rho) / 2
    rest = float(np.sum(np.maximum(first[~full], 0) ** 2)) / energy[0]
    small = float(np.sum(np.maximum(first[~full & ~part], 0) ** 2))
    shape = float(np.sum(np.maximum(first[part], 0) ** 2))
    return (drift + rest / 2 + S * small / shape / 2) / (rate * span)


def eroded(
    coarse: int, subclasses: int, share: float, seed: int, *, digits: float = 9.0
) -> tuple[float, Course]:
    """Predicted rate and the course from patterns of random amplitude; two recorded times past the transient."""
    mixture = Mixture.orthonormal(coarse, subclasses)
    targets = signs(mixture.coarse_map) if coarse == 2 else centred_one_hot(mixture.coarse_map)
    C, norm = mixture.num_fine, float(np.linalg.norm(targets[0]))
    weight_decay = share * largest_decay(subclasses, C, norm)
    amplitudes = np.random.default_rng(seed).uniform(0.2, 0.4, subclasses)
    rate = law.predict_rate(weight_decay, subclasses, C, target_norm=norm)
    start = settling_time(weight_decay, subclasses, C, norm, float(amplitudes.min()), digits)
    W, A = patterns(coarse, targets, amplitudes)
    times = np.array([start, start + window(weight_decay, subclasses, C, norm)])
    return rate, course(mixture, targets, W, A, weight_decay, times, rtol=RTOL)


def from_random_start(
    share: float, seed: int, *, width: int = 80, activation: str = "relu"
) -> tuple[float, Course]:
    """Predicted rate and the course from a balanced random start, K = S = 2; also for activation identity."""
    mixture = Mixture.orthonormal(2, 2)
    weight_decay = share * largest_decay(2, 4)
    rate = law.predict_rate(weight_decay, 2, 4)
    start, span = settling_time(weight_decay, 2, 4, 1.0, 0.05, 9.0), window(weight_decay, 2, 4)
    if activation == "identity":
        rate = law.predict_linear_rate(weight_decay, 4)
        start, span = 9 / (2 * abs(0.5 - weight_decay)) + 9, 1 / min(weight_decay, 0.5)
    W, A = balanced(width, 4, 0.3 / np.sqrt(width), np.random.default_rng(seed))
    times = np.array([start, start + span])
    targets = signs(mixture.coarse_map)
    return rate, course(mixture, targets, W, A, weight_decay, times, activation=activation, rtol=RTOL)


def unequal_limit(weights: Array, weight_decay: float, seed: int, *, width: int = 40) -> tuple[float, float]:
    """Predicted and observed mean relative separation at the end of training, unequal probabilities (S,) a class.

    From a balanced random start or, at width 0, from patterns of random amplitude.
    """
    S = len(weights)
    mixture = Mixture.orthonormal(2, S, weights=np.tile(weights, 2))
    targets = signs(mixture.coarse_map)
    rng = np.random.default_rng(seed)
    W, A = (
        balanced(width, 2 * S, 0.3 / np.sqrt(width), rng)
        if width
        else patterns(2, targets, rng.uniform(0.1, 0.3, S))
    )
    forces = pattern_rest.rest(weight_decay, [range(S)], weights).pulls
    # The slowest other pattern leaves out the weakest class; its energy falls at twice the difference of growths.
    lead = np.linalg.norm(forces)
    slowest = lead - np.sqrt(lead**2 - forces.min() ** 2)
    end = 9 / slowest + (9 + 2 * np.log(20)) / (2 * abs(np.linalg.norm(weights) - weight_decay))
    found = course(mixture, targets, W, A, weight_decay, np.array([end]), rtol=RTOL)
    limits = law.predict_limit(weight_decay, weights)
    return float(limits[np.triu_indices(S, 1)].mean()), float(found.separation[-1])


# Full neurons with those on one subclass alone, and with one pair alone: q = 1 for all pairs, 2 for two of them.
PARTIAL = (((0, 1, 2), (0,), (1,), (2,)), ((0, 1, 2), (0, 1), (0,), (1,)))
PLAIN_RTOL = 1e-9


def plain_rates(patterns: tuple[tuple[int, ...], ...], weight_decay: float, seed: int) -> tuple[Array, Array]:
    """Rates of all pairs (3, 3) at S = 3 by RK45 on the bare loss, and the relative error that a finite time leaves.

    That is sep^2, the share of all others beside the full neurons, here of order e^(-2 rate t) of the slowest pair.
    """
    amplitudes = np.random.default_rng(seed).uniform(0.2, 0.4, len(patterns))
    targets = np.repeat([[1.0], [-1.0]], 3, axis=0)
    problem = plain.Problem(np.eye(6), targets, weight_decay=weight_decay)
    stops = np.arange(1, 11) / weight_decay * 2.5
    W, A = plain.flow(problem, served(patterns, amplitudes, 3), stops, rtol=PLAIN_RTOL)
    first, last = (plain.separations(problem, [W[i], A[i]])[:3, :3] + np.eye(3) for i in (-2, -1))
    span = stops[-1] - stops[-2]
    q = max(len(Q) for Q in patterns if len(Q) < 3)
    drift = np.exp(-2 * weight_decay * (1 - np.sqrt(q / 3)) * stops[-2])
    rates = np.log(first / last) / span
    return rates, np.where(np.eye(3), 0, drift + 100 * PLAIN_RTOL)


def verify(seed: int) -> list[Comparison]:
    """Rates of pairs by plain RK45; rates for S = 3, 5, K = 3 and a random start; the limit at unequal pi_c."""
    rows = []
    weight_decay = 0.5 * largest_decay(3, 6)
    for partial, (c, k) in zip(PARTIAL, ((0, 1), (0, 2)), strict=True):
        predicted_pairs = law.predict_pair_rates(weight_decay, partial, np.full(3, 1 / 6))
        rates, errors = plain_rates(partial, weight_decay, seed)
        name = f"rate of pair {c}, {k} by plain RK45, patterns {' '.join(map(str, partial))}, lambda = .1443"
        reason = "sep^2, others' share beside the full neurons; RK45"
        pair = float(predicted_pairs[c, k]), float(rates[c, k]), float(errors[c, k])
        rows.append(Comparison("T8", name, *pair, reason))
    why = "finite time, computed from the weights, and the integrator's tolerance, most of which it does not use"
    for coarse, subclasses, share in ((2, 3, 0.5), (2, 5, 2.0), (3, 2, 2.0)):
        rate, found = eroded(coarse, subclasses, share, seed)
        name = f"rate of separation, K = {coarse}, S = {subclasses}, lambda = {share:g} lambda_c"
        rows.append(_rate_row(name, rate, found, subclasses, why))
    rate, found = from_random_start(0.5, seed)
    rows.append(_rate_row("rate from a random start, S = 2, lambda = .5 lambda_c", rate, found, 2, why))
    predicted, observed = unequal_limit(np.array([0.35, 0.15]), 0.1, seed)
    name = "final separation at probabilities .35, .15, lambda = .1"
    # A rest e^-9 of sep enters its square: sqrt(limit^2 + e^-18) against limit.
    bound = float(np.exp(-18) / predicted**2) + 10 * RTOL
    rows.append(Comparison("T8", name, predicted, observed, bound, "e^-9 of the start's separation is left"))
    return rows


def _rate_row(name: str, rate: float, found: Course, subclasses: int, reason: str) -> Comparison:
    # The window is as long as ln sep should take to change by 1.
    bound = remainder(found, subclasses, 1 / float(found.times[-1] - found.times[-2])) + STEPS_ERROR
    return Comparison("T8", name, rate, mean_rate(found), bound, reason)
