"""T23 observed: networks trained from small starts by plain RK45, and what they tell of noisy inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from finegrain.sims import plain
from finegrain.sims.initial_weights import served
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory import observables
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import relu_information as law
from finegrain.theory.tools.arrays import Array

BATCHES = 20


def every_set(subclasses: int) -> list[tuple[int, ...]]:
    """All patterns."""
    return [Q for q in range(1, subclasses + 1) for Q in combinations(range(subclasses), q)]


@dataclass(frozen=True, eq=False)
class Network:
    """One coarse class's neurons after training, and the separation of its first two subclasses.

    Attributes:
        W: (m, S)
        separation: of noise-free inputs
    """

    W: Array
    separation: float

    def features(self, inputs: Array) -> Array:
        """h (n, m) of inputs (n, S)."""
        return np.maximum(inputs @ self.W.T, 0)


def trained(patterns: Sequence[tuple[int, ...]], subclasses: int, eps: float, seed: int) -> Network:
    """By plain RK45 to the end, from one neuron of each pattern at random amplitudes of scale eps, one for each size.

    So residuals are equal inside the coarse class where all sets of a size are there.
    """
    S = subclasses
    each = np.random.default_rng([seed, 23]).uniform(0.5, 2, S)
    amplitudes = [eps * each[len(Q) - 1] for Q in patterns]
    problem = plain.Problem(np.eye(2 * S), np.repeat([[1.0], [-1.0]], S, axis=0))
    # Growth to order 1, then e^-24 of the residual (T7).
    t = 2 * np.sqrt(S) * (np.log(1 / eps) + 12)
    end = [x[0] for x in plain.flow(problem, served(patterns, amplitudes, S), [t], rtol=1e-8)]
    return Network(end[0][: len(patterns), :S], float(plain.separations(problem, end)[0, 1]))


def noisy_inputs(subclasses: int, noise: float, each: int, seed: int) -> tuple[Array, NDArray[np.intp]]:
    """Noisy inputs (S n, S) around the S means, and their subclasses."""
    labels = np.repeat(np.arange(subclasses), each)
    spread = np.random.default_rng([seed, 24]).standard_normal((labels.size, subclasses))
    return np.eye(subclasses)[labels] + noise * spread, labels


def distance(
    network: Network, subclasses: int, noise: float, seed: int, *, each: int = 5000
) -> tuple[float, float]:
    """Mahalanobis distance of subclasses 0 and 1 in h, its mean over batches of test inputs, and standard error."""
    found = []
    for batch in range(BATCHES):
        x, labels = noisy_inputs(subclasses, noise, each, seed * BATCHES + batch)
        moments = Moments.from_samples(network.features(x), labels)
        found.append(float(observables.mahalanobis(moments)[0, 1]))
    return float(np.mean(found)), float(np.std(found) / np.sqrt(BATCHES))


def accuracy(network: Network, noise: float, seed: int, *, each: int = 50_000) -> float:
    """Share of test inputs of subclasses 0 and 1 on which the larger of their single neurons is right; ties half."""
    x, labels = noisy_inputs(2, noise, each, seed)
    # The neurons of {0} and {1} come first; each in its own unit.
    first, second = (network.features(x) / np.linalg.norm(network.W, axis=1))[:, :2].T
    return float(np.mean(np.where(first == second, 0.5, (first > second) == (labels == 0))))


# S, patterns, eps, test noise: separations from .5 to .03.
CASES = ((2, 1e-2, 0.3), (2, 1e-6, 0.3), (3, 1e-4, 0.3))


def verify(seed: int) -> list[Comparison]:
    """Distances at three scales, and the accuracy of single neurons at two."""
    rows = []
    for S, eps, noise in CASES:
        network = trained(every_set(S), S, eps, seed)
        predicted = float(law.predict(every_set(S), S, noise)[0, 1])
        found, error = distance(network, S, noise, seed)
        name = f"S = {S}, eps = {eps:g}, noise {noise}, sep {network.separation:.4f}, by plain RK45"
        reason = "five standard errors over 20 batches, and their bias, 2 m/n"
        bound = min(5 * error / predicted + 2 * len(network.W) / 5000 / S, 0.1)
        rows.append(Comparison("T23", f"Mahalanobis distance in h, {name}", predicted, found, bound, reason))
        if S == 2:
            share = law.predict_accuracy(noise)
            seen = accuracy(network, noise, seed)
            reason = "five standard errors of 100,000 inputs"
            bound = 5 * np.sqrt((1 - share) / share / 100_000)
            rows.append(
                Comparison("T23", f"accuracy of h_1 > h_2, {name}", share, seen, float(bound), reason)
            )
    return rows
