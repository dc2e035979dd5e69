"""T8 on real images: does weight decay merge the subclasses of a trained network, and at which rate?

Theory's rates once the loss has settled: lambda for a linear network; lambda (1 - sqrt((S-1)/S)) for ReLU, with inputs
at orthonormal means and no noise. Images are neither, so the separation of two subclasses is measured in two parts,

    total   ||delta|| / sqrt(||hbar_c|| ||hbar_c'||),   delta = hbar_c - hbar_c'
    off     the same for the part of delta off the row space of the classifier A, which no output sees (T18)

Linear network: dW/dt = -A^T (A W Sigma - M) - lambda W, so whatever lies off the row space of a settled A decays at
lambda exactly, for any data; in steps of size s the rate is -ln(1 - s lambda)/s. The other part settles where the
fit puts it: "total" tends to a floor. ReLU: `shrunk` leads from T8's setting to the images, by the noise alone.

Source: this project, T8 (docs/results/prediction.md has what came out).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from finegrain.empirical.networks import two_layer
from finegrain.sims.initial_weights import gaussian
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.theorems import erosion as law
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, Labels


@dataclass(frozen=True, eq=False)
class Erosion:
    """Separation of the subclasses along one training.

    Attributes:
        times: (T,) steps * learning_rate
        loss: (T,)
        total, off: (T,) means over pairs of subclasses (see the module)
        rate: theory's, of "off" for a linear network and of both for ReLU in T8's setting
    """

    times: Array
    loss: Array
    total: Array
    off: Array
    rate: float

    def rates(self, part: str) -> Array:
        """-d ln separation/dt between recorded times, (T - 1,), of "total" or "off"."""
        return -np.diff(np.log(getattr(self, part))) / np.diff(self.times)


def train(
    x: Array,
    fine: Labels,
    coarse_map: Labels,
    *,
    activation: str,
    weight_decay: float,
    width: int = 32,
    scale: float = 0.5,
    learning_rate: float = 0.3,
    lifetimes: float = 12.0,
    records: int = 13,
    seed: int = 0,
) -> Erosion:
    """Full-batch descent for `lifetimes` / weight_decay of time, and the separation along it.

    Args:
        x: inputs (N, d).
        fine: labels (N,).
        coarse_map: (C,), every coarse class of the same number of fine ones, S >= 2.
        activation: "identity" or "relu".
        records: recorded times, evenly spaced, start and end among them.
    """
    checks.one_of("activation", activation, ("identity", "relu"))
    checks.positive("weight_decay", weight_decay)
    checks.integer("records", records, 2)
    sizes = np.bincount(coarse_map)
    if sizes.min() != sizes.max() or sizes[0] < 2:
        raise ValueError(f"coarse_map must have classes of one size >= 2, got sizes {sizes.tolist()}")
    targets = centred_one_hot(coarse_map)
    W0, A0 = gaussian(width, x.shape[1], targets.shape[1], scale, np.random.default_rng(seed))
    steps = round(lifetimes / weight_decay / learning_rate)
    record = two_layer.train(
        x,
        fine,
        W0,
        A0,
        targets=targets,
        activation=activation,
        learning_rate=learning_rate,
        steps=steps,
        weight_decay=weight_decay,
        record_at=np.unique(np.linspace(0, steps, records).astype(int)),
        dtype="float64",
        device="cpu",
    )
    parts = [separations(h, A, coarse_map) for h, A in zip(record.moments, record.A, strict=True)]
    total, off = np.array(parts).T
    rate = predicted_rate(activation, weight_decay, coarse_map, learning_rate)
    return Erosion(record.times, record.loss, total, off, rate)


def predicted_rate(activation: str, weight_decay: float, coarse_map: Labels, learning_rate: float) -> float:
    """T8's rate for descent: lambda, or min(lambda, lambda_c)(1 - rho_S) for ReLU, as steps of this size take it."""
    rate = weight_decay
    if activation == "relu":
        K, C = int(coarse_map.max()) + 1, coarse_map.size
        norm = np.sqrt(1 - 1 / K)  # of a centred one-hot target
        rate = law.predict_rate(weight_decay, C // K, C, target_norm=norm)
    return float(-np.log1p(-learning_rate * rate) / learning_rate)


def separations(hidden: Moments, A: Array, coarse_map: Labels) -> tuple[float, float]:
    """Mean over pairs of subclasses of their relative separation, in full and off the row space of A (K, m)."""
    off = np.eye(A.shape[1]) - np.linalg.pinv(A) @ A
    norms = np.linalg.norm(hidden.means, axis=1)
    found = []
    for c, other in combinations(range(len(norms)), 2):
        if coarse_map[c] == coarse_map[other]:
            delta = (hidden.means[c] - hidden.means[other]) / np.sqrt(norms[c] * norms[other])
            found.append((np.linalg.norm(delta), np.linalg.norm(off @ delta)))
    total, hidden_part = np.mean(found, axis=0)
    return float(total), float(hidden_part)


def shrunk(x: Array, fine: Labels, noise: float) -> Array:
    """Inputs (N, C) in T8's setting but for the images' own noise: e_c + noise * B (x - mu_c), where B mu_c = e_c.

    noise: 0 leaves a point for each class, 1 the images seen through B.

    Raises:
        ValueError: class means that are linearly dependent.
    """
    checks.at_least("noise", noise, 0)
    means = Moments.from_samples(x, fine).means
    if np.linalg.matrix_rank(means) < len(means):
        raise ValueError(
            f"x must have linearly independent class means, got rank {np.linalg.matrix_rank(means)} "
            f"for {len(means)} classes"
        )
    B = np.linalg.pinv(means.T)
    return np.eye(len(means))[fine] + noise * (x - means[fine]) @ B.T
