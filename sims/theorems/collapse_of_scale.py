"""T4 observed: the invisible part of the representation shrinks by orders of magnitude and stays as informative.

Where the invisible part lies off the classifier's row space it shrinks by weight decay alone, and the bound on its
energy is reached: plain training shows that. From a random start, the exact flow shows the rest.

Orthonormal means with input noise, two coarse classes, linear network: Sigma_v = (1/C + noise^2) I on the
differences of subclass means. Moments of h_v are those of W P_v x, with P_v the projector onto V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory import kinematics, observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import signs
from finegrain.theory.theorems import collapse_of_scale as law
from finegrain.theory.tools.arrays import Array

RTOL = 1e-9


@dataclass(frozen=True, eq=False)
class Course:
    """The invisible part along training.

    Attributes:
        times: (T,)
        trace_ratio: (T,) tr Cov_v within coarse classes / tr Sigma_B of the whole representation
        mahalanobis: (T, P) distances in h_v between the P pairs of fine classes within a coarse class
        predicted_mahalanobis: (P,) the inputs' distances in V
        condition: (T,) of the covariance of h_v
        rate: predicted late decay rate of trace_ratio
        pairs: the P pairs of fine classes
    """

    times: Array
    trace_ratio: Array
    mahalanobis: Array
    predicted_mahalanobis: Array
    condition: Array
    rate: float
    pairs: list[tuple[int, int]]


def course(
    *,
    subclasses: int = 2,
    noise: float = 0.3,
    width: int = 8,
    weight_decay: float = 0.05,
    times: Array,
    scale: float = 0.5,
    seed: int = 0,
    rtol: float = RTOL,
) -> Course:
    """Gradient flow from a random start, and the invisible part at each time."""
    mixture = Mixture.orthonormal(2, subclasses, noise=noise)
    targets = signs(mixture.coarse_map)
    W0, A0 = gaussian(width, mixture.dim, 1, scale, np.random.default_rng(seed))
    flow = population_flow(
        mixture,
        W0,
        A0,
        targets=targets,
        activation="identity",
        weight_decay=weight_decay,
        times=times,
        rtol=rtol,
    )
    basis = unseen(mixture)
    hidden = [kinematics.propagate(mixture.moments, W @ basis @ basis.T, "identity") for W in flow.W]
    pairs = _pairs(mixture.coarse_map)
    inputs = kinematics.propagate(mixture.moments, basis.T, "identity")
    predicted = [
        law.predict_mahalanobis(inputs.means[c] - inputs.means[k], inputs.covariances[c]) for c, k in pairs
    ]
    return Course(
        flow.times,
        np.array([_trace_ratio(h_v, h, mixture) for h_v, h in zip(hidden, flow.moments, strict=True)]),
        np.array([[observables.mahalanobis(h)[c, k] for c, k in pairs] for h in hidden]),
        np.array(predicted),
        np.array([np.linalg.cond(W @ basis) ** 2 for W in flow.W]),
        _rate(mixture, targets, weight_decay, width),
        pairs,
    )


def unseen(mixture: Mixture) -> Array:
    """Basis (d, C - 1) of what targets +-1 do not see: Sigma is a multiple of I, so all off their one direction."""
    basis: Array = null_space(mixture.cross_moment(signs(mixture.coarse_map)))
    return basis


def _rate(mixture: Mixture, targets: Array, weight_decay: float, width: int) -> float:
    """Targets +-1 and orthonormal means: one mode, which separates; Sigma = s I."""
    s = mixture.second_moment()[0, 0]
    sigma = np.linalg.norm(mixture.cross_moment(targets), 2)
    return law.predict_ratio_rate(
        weight_decay, [sigma], separating=[True], visible=[s], invisible=[s], width=width
    )


def _pairs(coarse_map: NDArray[np.int64]) -> list[tuple[int, int]]:
    C = len(coarse_map)
    return [(c, k) for c in range(C) for k in range(c) if coarse_map[c] == coarse_map[k]]


def _trace_ratio(invisible: Moments, whole: Moments, mixture: Mixture) -> float:
    """tr of the within-coarse-class covariance of h_v over tr of the between-class covariance of h."""
    within = invisible.pool(mixture.coarse_map)
    between = whole.pool(mixture.coarse_map)
    traces = np.trace(within.covariances, axis1=1, axis2=2)
    centred = between.means - between.weights @ between.means
    return float(within.weights @ traces / (between.weights @ np.sum(centred**2, axis=1)))


def off_the_classifier(mixture: Mixture, width: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """W (m, d) and A (1, m) with A W_v = 0, and a basis (d, n) of V: the bound on the energy is then the energy.

    One neuron direction carries the classifier, at half its rest point or less; the others, W_v of size 1/2.
    """
    basis = unseen(mixture)
    neurons = np.linalg.qr(rng.standard_normal((width, width)))[0]
    seen = signs(mixture.coarse_map)[:, 0] / np.sqrt(mixture.dim)
    hidden = 0.5 * neurons[:, 1:] @ rng.standard_normal((width - 1, basis.shape[1])) @ basis.T
    size = rng.uniform(0.2, 0.6)
    return size * np.outer(neurons[:, 0], seen) + hidden, size * neurons[:, :1].T, basis


def energies(
    mixture: Mixture, W0: Array, A0: Array, basis: Array, weight_decay: float, t: float, rtol: float
) -> tuple[float, float]:
    """E||h_v||^2 at the start, and at t after plain training on points with the mixture's moments."""
    moments = mixture.moments
    inputs, weights, labels = plain.matching_points(moments.means, moments.covariances, moments.weights)
    problem = plain.Problem(
        inputs, signs(mixture.coarse_map)[labels], weights, activation="identity", weight_decay=weight_decay
    )
    W = plain.flow(problem, [W0, A0], [t], rtol=rtol)[0][-1]
    hidden = inputs @ basis
    start, end = (float(weights @ np.sum((hidden @ (x @ basis).T) ** 2, axis=1)) for x in (W0, W))
    return start, end


def _energy_row(seed: int, weight_decay: float, t: float) -> Comparison:
    rng = np.random.default_rng([seed, 4])
    mixture = Mixture.orthonormal(2, 2, noise=0.3)
    W0, A0, basis = off_the_classifier(mixture, 5, rng)
    start, end = energies(mixture, W0, A0, basis, weight_decay, t, 1e-8)
    _, coarser = energies(mixture, W0, A0, basis, weight_decay, t, 1e-7)
    return Comparison(
        "T4",
        f"E||h_v||^2 at t = {t:g} where A W_v = 0, lambda = {weight_decay}",
        law.predict_bound(start, weight_decay, t),
        end,
        abs(coarser - end) / end + 1e-12,
        "change when plain training's tolerance is 10 times coarser, and rounding",
    )


def verify(seed: int) -> list[Comparison]:
    """The energy off the classifier, the distances that stay while the scale falls, and the late rate of the fall."""
    weight_decay, end = 0.05, 120.0
    found = course(weight_decay=weight_decay, times=np.array([0.0, 80.0, 90.0, 100.0, 110.0, end]), seed=seed)
    fall = found.trace_ratio[0] / found.trace_ratio[-1]
    rows = [_energy_row(seed, weight_decay, 20.0)]
    rows += [
        Comparison(
            "T4",
            f"Mahalanobis distance of fine classes {k}, {c} in h_v at t = {end:g}, trace ratio down by {fall:.0e}",
            float(found.predicted_mahalanobis[pair]),
            float(found.mahalanobis[-1, pair]),
            float(8 * np.finfo(float).eps * np.sqrt(found.condition.max())),
            "rounding: 8 machine epsilons times the root of the condition number of the covariance",
        )
        for pair, (c, k) in enumerate(found.pairs[:1])
    ]
    late, before = (-np.log(found.trace_ratio[i] / found.trace_ratio[i - 2]) / 20 for i in (5, 3))
    rows.append(
        Comparison(
            "T4",
            f"late decay rate of the trace ratio, lambda = {weight_decay}",
            found.rate,
            float(late),
            float(abs(late - before) / found.rate + 1e-9),
            "change of the rate over the last 20 units of time: what is left of the transient is less",
        )
    )
    return rows
