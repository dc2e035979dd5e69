"""T20 observed: descent on noisy samples from random starts, beside the certified global minimum.

Inputs have a coarse part, b times a direction of the coarse class (corners of a simplex, products -1/(K - 1)), one axis
for each fine class, and noise: products are near b^2 + 1 or b^2 inside a coarse class, and below 0 across.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.targets import centred_one_hot, signs
from finegrain.theory.theorems import sampled_end_state as law
from finegrain.theory.tools.arrays import Array

Labels = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs (n, d), fine and coarse classes (n,), and targets of norm 1 (n, K or 1)."""

    inputs: Array
    fine: Labels
    coarse: Labels
    targets: Array


def draw(
    seed: int,
    *,
    coarse: int = 2,
    subclasses: int = 2,
    each: int = 3,
    noise: float = 0.15,
    coarse_part: float = 1.0,
) -> Samples:
    """Samples of each fine class; dimension K + K S."""
    C = coarse * subclasses
    fine = np.repeat(np.arange(C), each)
    k = fine // subclasses
    corners = np.eye(coarse) - 1 / coarse
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    clean = np.hstack([coarse_part * corners[k], np.eye(C)[fine]])
    inputs = clean + noise * np.random.default_rng([seed, 20]).standard_normal(clean.shape)
    if coarse == 2:
        return Samples(inputs, fine, k, signs(k))
    targets = centred_one_hot(k)
    return Samples(inputs, fine, k, targets / np.linalg.norm(targets, axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Trained:
    """The loss, the outputs along the targets (n,) and the representation (n, m) after descent."""

    loss: float
    fit: Array
    hidden: Array

    def separation(self, samples: Samples, c: int, k: int) -> float:
        """Of the mean representations of two fine classes."""
        one, two = (self.hidden[samples.fine == x].mean(axis=0) for x in (c, k))
        norms = np.linalg.norm(one) * np.linalg.norm(two)
        return float(np.linalg.norm(one - two) / np.sqrt(norms))


def train(
    samples: Samples,
    weight_decay: float,
    seed: int,
    *,
    width: int = 16,
    scale: float = 1.0,
    steps: int = 3000,
    learning_rate: float = 0.3,
) -> Trained:
    """Plain descent from a Gaussian start."""
    problem = plain.Problem(samples.inputs, samples.targets, weight_decay=weight_decay)
    K = samples.targets.shape[1]
    start = gaussian(width, samples.inputs.shape[1], K, scale, np.random.default_rng([seed, 21]))
    end = [x[0] for x in plain.descend(problem, start, [steps], learning_rate=learning_rate)]
    outputs = plain.outputs(problem, end)
    fit = np.sum(outputs * samples.targets, axis=1)
    return Trained(plain.gradients(problem, end)[0], fit, plain.hidden(problem, end))


def certified(seed: int, weight_decay: float, **sizes: Any) -> tuple[Samples, law.End]:
    """The first draw of a seed whose end is certified, and its end."""
    for attempt in range(100):
        samples = draw(seed + 1000 * attempt, **sizes)
        end = law.predict(samples.inputs, samples.coarse, weight_decay)
        if end.certified:
            return samples, end
    raise RuntimeError(f"none of 100 draws of seed {seed} is certified")


# K, S, samples of each fine class, lambda: two classes with targets +-1, three with centred ones.
CASES = ((2, 2, 3, 0.1), (2, 3, 2, 0.05), (3, 2, 3, 0.05))


def verify(seed: int) -> list[Comparison]:
    """The loss and the separation after descent, at a noise at which the certificate holds (a test sees to it)."""
    rows = []
    for K, S, each, weight_decay in CASES:
        # Three classes are a smaller angle apart: a larger coarse part keeps products across below 0.
        part = 1.0 if K == 2 else 1.6
        samples = draw(seed, coarse=K, subclasses=S, each=each, noise=0.05, coarse_part=part)
        end = law.predict(samples.inputs, samples.coarse, weight_decay)
        found = train(samples, weight_decay, seed)
        name = f"K = {K}, S = {S}, {each} samples each, lambda = {weight_decay}, plain descent"
        reason = "rounding: 64 machine epsilons of the outputs"
        bound = 64 * np.finfo(float).eps
        rows.append(Comparison("T20", f"loss at the end, {name}", end.minimum, found.loss, bound, reason))
        separation = float(law.predict_separation(end, samples.fine)[0, 1])
        # A difference of outputs: its rounding is theirs, and never more than a millionth.
        relative = min(bound / separation, 1e-6)
        observed = found.separation(samples, 0, 1)
        rows.append(Comparison("T20", f"sep at the end, {name}", separation, observed, relative, reason))
    return rows
