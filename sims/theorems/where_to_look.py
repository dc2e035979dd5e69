"""T18 observed: 2-means on samples of h and of P h, P the projector off the row space of A.

Once for Gaussian subclasses drawn directly, with a nuisance inside the row space; once along the flow of a linear
network with weight decay, whose visible noise stays while everything else shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems.comparison import Comparison
from finegrain.sims.theorems.recoverability import Pair, rest, tied, two_means, two_means_error
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import signs
from finegrain.theory.theorems import recoverability
from finegrain.theory.theorems import where_to_look as law
from finegrain.theory.tools.arrays import Array

Found = tuple[float, float, float]  # predicted, observed, bound


def hidden_pair(
    rng: np.random.Generator, width: int, outputs: int, *, nuisance: float, other: float = 0.6
) -> tuple[Pair, Array]:
    """Subclasses in R^m and a classifier A (K, m) with A delta = 0, delta an eigenvector of Cov.

    nuisance, other: the variance along A's rows, and the largest off them, in units of T10's threshold T.
    """
    axes = np.linalg.qr(rng.standard_normal((width, width)))[0]
    half, std = rng.uniform(0.5, 2), rng.uniform(0.5, 1)
    threshold, _ = recoverability.predict_thresholds(half, std)
    variances = threshold * other * rng.uniform(0.2, 1, width)
    variances[0], variances[-outputs:] = std**2, threshold * nuisance * 0.5 ** np.arange(outputs)
    covariance = (axes * variances) @ axes.T
    classifier = rng.standard_normal((outputs, outputs)) @ axes[:, -outputs:].T
    return Pair(2 * half * axes[:, 0], (covariance + covariance.T) / 2), classifier


def on_and_off(
    pair: Pair, classifier: Array, n: int, rng: np.random.Generator, z: float
) -> tuple[Found, Found] | None:
    """2-means on n samples of h, and on the same samples of P h; None if samples cannot name the best split."""
    x, label = pair.sample(n, rng)
    P = law.projector(classifier)
    projected = P @ pair.covariance @ P
    cases = ((pair, x), (Pair(P @ pair.delta, (projected + projected.T) / 2), x @ P))
    found = []
    for case, h in cases:
        splits = two_means(h, label, seed=int(rng.integers(2**32)))
        if tied(splits, case, n, z):
            return None
        predicted = recoverability.predict(case.delta, case.covariance)["two_means"]
        found.append((predicted, splits[0].accuracy, two_means_error(case, rest(case, splits[0]), n, z)))
    return found[0], found[1]


@dataclass(frozen=True, eq=False)
class Course:
    """A linear network along training.

    Attributes:
        times: (T,)
        A: (T, 1, m)
        moments: T Moments of h, fine classes 0 and 1 in one coarse class
        inside, outside: (T,) norms of A W v and P W v for v the difference of two subclass means
    """

    times: Array
    A: Array
    moments: list[Moments]
    inside: Array
    outside: Array

    def pair(self, index: int) -> tuple[Pair, Array]:
        """The two subclasses of coarse class 0 at one time, and A."""
        h = self.moments[index]
        return Pair(h.means[0] - h.means[1], h.covariances[0]), self.A[index]


def course(
    times: Array, *, seed: int, noise: float = 0.4, weight_decay: float = 0.05, rtol: float = 1e-11
) -> Course:
    """Gradient flow on orthonormal means with input noise, S = 2, K = 2, width 8, from a start of scale 1/2."""
    mixture = Mixture.orthonormal(2, 2, noise=noise)
    W0, A0 = gaussian(8, 4, 1, 0.5, np.random.default_rng([seed, 18]))
    flow = population_flow(
        mixture,
        W0,
        A0,
        targets=signs(mixture.coarse_map),
        activation="identity",
        weight_decay=weight_decay,
        times=times,
        rtol=rtol,
    )
    v = np.array([1.0, -1.0, 0.0, 0.0]) / np.sqrt(2)
    inside = [np.linalg.norm(A @ W @ v) for W, A in zip(flow.W, flow.A, strict=True)]
    outside = [np.linalg.norm(law.projector(A) @ W @ v) for W, A in zip(flow.W, flow.A, strict=True)]
    return Course(flow.times, flow.A, flow.moments, np.array(inside), np.array(outside))


def fixed_classifier(
    seed: int, weight_decay: float = 0.05, t: float = 6.0, rtol: float = 1e-10, *, coarser: float = 10.0
) -> list[Found]:
    """ln of the fall of ||A W v|| and ||P W v|| over time t in the flow of W alone, K = 1."""
    mixture = Mixture.orthonormal(2, 2, noise=0.4)
    W0, A = gaussian(8, 4, 1, 1.0, np.random.default_rng([seed, 18, 2]))
    loss = population_loss(
        mixture, targets=signs(mixture.coarse_map), activation="identity", weight_decay=weight_decay
    )

    def velocity(_: float, state: Array) -> Array:
        return -loss(state.reshape(W0.shape), A)[1].ravel()

    end, rough = (
        solve_ivp(velocity, (0, t), W0.ravel(), method="DOP853", rtol=tolerance, atol=tolerance)
        .y[:, -1]
        .reshape(W0.shape)
        for tolerance in (rtol, coarser * rtol)
    )
    v = np.array([1.0, -1.0, 0.0, 0.0]) / np.sqrt(2)
    rates = (law.predict_decay(A, float(v @ mixture.second_moment() @ v), weight_decay)[0], weight_decay)
    found = []
    for image, rate in zip((A, law.projector(A)), rates, strict=True):
        before, after, roughly = (float(np.linalg.norm(image @ W @ v)) for W in (W0, end, rough))
        error = 3 * abs(np.log(roughly / after)) + 16 * np.finfo(float).eps * (1 + abs(rate * t))
        found.append((float(-rate * t), float(np.log(after / before)), error))
    return found


def leak_rate(seed: int, weight_decay: float = 0.05) -> float:
    """Late decay rate of the leak ||A W v||/||P W v|| where A is trained too."""
    found = course(np.array([30.0, 50.0]), seed=seed, weight_decay=weight_decay)
    leak = found.inside / found.outside
    return float(np.log(leak[0] / leak[1]) / 20)


STEPS = "3 times the change when the integrator's tolerance is 10 times coarser, and rounding"


def verify(seed: int) -> list[Comparison]:
    """Decay for fixed A; 2-means on h and P h, on direct draws with nuisance 4 T and at the end of a flow."""
    rows = [
        Comparison("T18", f"ln ||{name} W v||, fall by t = 6 for fixed A", p, o, e / abs(p), STEPS)
        for name, (p, o, e) in zip(("A", "P"), fixed_classifier(seed), strict=True)
    ]
    rng, reason = (
        np.random.default_rng([seed, 18, 1]),
        "5 standard errors of counting and of the sample's centres",
    )
    for m, K in ((3, 1), (8, 2), (24, 3)):
        found = None
        while found is None:
            found = on_and_off(*hidden_pair(rng, m, K, nuisance=4), 20_000, rng, 5)
        rows += _pair_rows(found, f"m = {m}, K = {K}, nuisance 4 T", reason)
    end = on_and_off(*course(np.array([60.0]), seed=seed).pair(0), 20_000, rng, 5)
    return rows if end is None else rows + _pair_rows(end, "linear network at t = 60", reason)


def _pair_rows(found: tuple[Found, Found], name: str, reason: str) -> list[Comparison]:
    return [
        Comparison("T18", f"2-means on {where}, {name}", p, o, e / p, reason)
        for where, (p, o, e) in zip(("h", "P h"), found, strict=True)
    ]
