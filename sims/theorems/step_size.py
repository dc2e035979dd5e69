"""T21 observed: the separation that full-batch descent leaves, step by step, for small and large steps.

Plain descent on the bare loss throughout, from a neuron for each set of subclasses or from a balanced random start.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from finegrain.sims import plain
from finegrain.sims.initial_weights import balanced, served
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.theorems import step_size as law
from finegrain.theory.tools.arrays import Array

# The largest relative error that a row lets pass, whatever it measures of itself.
MOST = 0.05
# What is left of a residual when a run is stopped.
LEFT = 1e-11


def problem(subclasses: int, weight_decay: float = 0.0) -> plain.Problem:
    """S orthonormal subclasses for each of the targets +1 and -1."""
    targets = np.repeat([[1.0], [-1.0]], subclasses, axis=0)
    return plain.Problem(np.eye(2 * subclasses), targets, weight_decay=weight_decay)


def every_set(subclasses: int, scale: float, seed: int) -> tuple[Array, Array]:
    """One neuron for each set of subclasses, at random amplitudes of this scale, one for each size."""
    sizes = range(1, subclasses + 1)
    sets = [Q for q in sizes for Q in combinations(range(subclasses), q)]
    amplitudes = np.random.default_rng([seed, 21]).uniform(0.5, 2, subclasses)
    return served(sets, [scale * amplitudes[len(Q) - 1] for Q in sets], subclasses)


def growth(subclasses: int, learning_rate: float) -> float:
    """Of the full neurons in a step, while outputs are small."""
    return float(1 + learning_rate / (2 * np.sqrt(subclasses)))


def steps_needed(subclasses: int, learning_rate: float, eps: float) -> int:
    """Until outputs are of order 1, and then until LEFT of the residuals is: they fall by kernel values over C."""
    kernel = learning_rate * np.array([1.0, 2.0]) / (2 * np.sqrt(subclasses))
    slowest = -np.log(np.abs(1 - kernel).max())
    return int(np.log(10 / eps) / np.log(growth(subclasses, learning_rate)) - np.log(LEFT) / slowest)


def separation(start: tuple[Array, Array], subclasses: int, learning_rate: float, eps: float) -> float:
    """Mean relative separation of pairs within a coarse class at the end of descent, lambda = 0."""
    task = problem(subclasses)
    n = steps_needed(subclasses, learning_rate, eps)
    W, A = plain.descend(task, start, [n], learning_rate=learning_rate)
    found = plain.separations(task, [W[0], A[0]])
    pairs = np.triu_indices(subclasses, 1)
    return float(np.mean([found[:subclasses, :subclasses][pairs], found[subclasses:, subclasses:][pairs]]))


def exponent(
    subclasses: int, learning_rate: float, seed: int, *, eps: float = 1e-10, width: int = 0
) -> tuple[float, float]:
    """The exponent between eps and a smaller scale a whole number of steps away, and sep at eps.

    width: of a balanced random start; 0: a neuron for each set.
    """
    periods = round(np.log(1e4) / np.log(growth(subclasses, learning_rate)))
    ratio = growth(subclasses, learning_rate) ** -periods
    ends = []
    for scale in (eps, eps * ratio):
        start = (
            balanced(width, 2 * subclasses, scale, np.random.default_rng([seed, 21]))
            if width
            else every_set(subclasses, scale, seed)
        )
        ends.append(separation(start, subclasses, learning_rate, scale))
    return float(np.log(ends[1] / ends[0]) / np.log(ratio)), ends[0]


def course(
    subclasses: int, seed: int, learning_rate: float, weight_decay: float, steps: int
) -> tuple[Array, float]:
    """Amplitudes (S,) of a start from every set, and sep after so many steps."""
    task, (W0, A0) = problem(subclasses, weight_decay), every_set(subclasses, 0.1, seed)
    W, A = plain.descend(task, [W0, A0], [steps], learning_rate=learning_rate)
    sizes = np.count_nonzero(W0[: len(W0) // 2], axis=1)
    firsts = [int(np.argmax(sizes == q)) for q in range(1, subclasses + 1)]
    return W0[firsts].max(axis=1), float(plain.separations(task, [W[0], A[0]])[0, 1])


def rate(learning_rate: float, weight_decay: float, seed: int) -> tuple[float, float]:
    """Late -d ln sep per unit of time at S = 2, and the share of others beside the full neurons, sep^2."""
    task, start = problem(2, weight_decay), every_set(2, 0.3, seed)
    stops = [round(x / (weight_decay * learning_rate)) for x in (16, 20)]
    W, A = plain.descend(task, start, stops, learning_rate=learning_rate)
    first, last = (plain.separations(task, [w, a])[0, 1] for w, a in zip(W, A, strict=True))
    return float(np.log(first / last) / (learning_rate * (stops[1] - stops[0]))), float(first**2)


# S, step and the larger eps: S = 3 takes smaller ones to the same share of other neurons.
CASES = ((2, 0.5, 1e-10), (2, 1.0, 1e-10), (2, 2.0, 1e-10), (3, 1.0, 1e-20), (3, 2.5, 1e-20))


def verify(seed: int) -> list[Comparison]:
    """Exponents for several steps, from all sets and from a random start; an amplitude; a late rate."""
    rows = []
    for S, step, eps in CASES:
        predicted = law.predict(S, 2 * S, step)
        found, top = exponent(S, step, seed, eps=eps)
        bound = min(S**2 * top**2 / np.log(1e4) / predicted, MOST)
        name = f"exponent of sep by plain descent, S = {S}, step {step:g}"
        rows.append(
            Comparison("T21", name, predicted, found, float(bound), "next order, S^2 sep^2 at the larger eps")
        )
    found, top = exponent(2, 1.0, seed, eps=2e-6, width=60)
    predicted = law.predict(2, 4, 1.0)
    name = "exponent of sep by plain descent from a random start, S = 2, step 1"
    bound = min(2**2 * top**2 / np.log(1e4) / predicted, MOST)
    rows.append(
        Comparison("T21", name, predicted, found, float(bound), "next order, S^2 sep^2 at the larger eps")
    )
    amplitudes, found = course(3, seed, 1.0, 0.05, 60)
    predicted = law.predict_separation(amplitudes, 6, 1.0, 60, weight_decay=0.05)
    name = "sep after 60 steps of plain descent, every set of S = 3, step 1, lambda = .05"
    reason = "rounding: two machine epsilons a step"
    rows.append(Comparison("T21", name, predicted, found, 120 * np.finfo(float).eps, reason))
    found, share = rate(1.5, 0.1, seed)
    name = "late rate of sep by plain descent, S = 2, step 1.5, lambda = .1"
    reason = "sep^2, the share of others beside the full neurons"
    rows.append(Comparison("T21", name, law.predict_rate(0.1, 2, 1.5), found, min(share, MOST), reason))
    return rows
