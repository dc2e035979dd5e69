"""T18 observed: plain training with the classifier held fixed, and 2-means on samples of h and of P h.

2-means once for Gaussian subclasses drawn directly, with a nuisance inside the row space; once along the exact flow of
a linear network with weight decay, whose visible noise stays while everything else shrinks. What lies off the rows is
found here by least squares, not by the theorem's projector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import foldnorm

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems.comparison import Comparison
from finegrain.sims.theorems.recoverability import Pair, rest, tied, two_means, two_means_error
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import one_hot, signs
from finegrain.theory.theorems import where_to_look as law
from finegrain.theory.tools.arrays import Array

V = np.array([1.0, -1.0, 0.0, 0.0]) / np.sqrt(2)
Found = tuple[float, float, float]  # predicted, observed, bound


def hidden_pair(
    rng: np.random.Generator, width: int, outputs: int, *, nuisance: float, other: float = 0.6
) -> tuple[Pair, Array]:
    """Subclasses in R^m and a classifier A (K, m) with A delta = 0, delta an eigenvector of Cov.

    nuisance, other: the variance along A's rows, and the largest off them, in units of T10's threshold T.
    """
    axes = np.linalg.qr(rng.standard_normal((width, width)))[0]
    half, std = rng.uniform(0.5, 2), rng.uniform(0.5, 1)
    # T = (pi/2) (E|X|)^2 of one class along delta, by SciPy: what is simulated does not ask the theorem.
    threshold = np.pi / 2 * foldnorm.mean(half / std, scale=std) ** 2
    variances = threshold * other * rng.uniform(0.2, 1, width)
    variances[0], variances[-outputs:] = std**2, threshold * nuisance * 0.5 ** np.arange(outputs)
    covariance = (axes * variances) @ axes.T
    classifier = rng.standard_normal((outputs, outputs)) @ axes[:, -outputs:].T
    return Pair(2 * half * axes[:, 0], (covariance + covariance.T) / 2), classifier


def off_rows(h: Array, classifier: Array) -> Array:
    """What the rows of A (K, m) leave of each row of h (n, m), by least squares."""
    return h - np.linalg.lstsq(classifier.T, h.T, rcond=None)[0].T @ classifier


def on_and_off(
    pair: Pair, classifier: Array, n: int, rng: np.random.Generator, z: float
) -> tuple[Found, Found] | None:
    """2-means on n samples of h, and on the same samples of P h; None if samples cannot name the best split."""
    x, label = pair.sample(n, rng)
    projected = off_rows(off_rows(pair.covariance, classifier).T, classifier)
    off = Pair(off_rows(pair.delta[None], classifier)[0], (projected + projected.T) / 2)
    predicted = law.predict(pair.delta, pair.covariance, classifier)["two_means"]
    found = []
    for accuracy, case, h in zip(predicted, (pair, off), (x, off_rows(x, classifier)), strict=True):
        splits = two_means(h, label, seed=int(rng.integers(2**32)))
        if tied(splits, case, n, z):
            return None
        found.append((accuracy, splits[0].accuracy, two_means_error(case, rest(case, splits[0]), n, z)))
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
    norms = np.array([sizes(W @ V, A) for W, A in zip(flow.W, flow.A, strict=True)])
    return Course(flow.times, flow.A, flow.moments, norms[:, 0], norms[:, 1])


def sizes(image: Array, classifier: Array) -> tuple[float, float]:
    """||A w|| and ||P w|| of w (m,)."""
    off = off_rows(image[None], classifier)
    return float(np.linalg.norm(classifier @ image)), float(np.linalg.norm(off))


def fixed_classifier(seed: int, weight_decay: float = 0.05, t: float = 6.0) -> list[Found]:
    """||A W v|| and ||P W v|| at time t of plain training of W alone, K = 2, on points with the mixture's moments."""
    mixture = Mixture.orthonormal(2, 2, noise=0.4)
    W0, A = gaussian(8, 4, 2, 1.0, np.random.default_rng([seed, 18, 2]))
    moments = mixture.moments
    points, weights, labels = plain.matching_points(moments.means, moments.covariances, moments.weights)
    targets = one_hot(mixture.coarse_map)[labels]
    problem = plain.Problem(points, targets, weights, activation="identity", weight_decay=weight_decay)
    end, rough = (
        sizes(plain.flow(problem, [W0, A], [t], rtol=rtol, fixed=[1])[0][0] @ V, A) for rtol in (1e-9, 1e-8)
    )
    eigenvalue = float(V @ mixture.second_moment() @ V)
    predicted = (np.linalg.norm(w) for w in law.predict_images(W0 @ V, A, eigenvalue, weight_decay, t))
    return [(float(p), o, 3 * abs(o - r) + 1e-12 * o) for p, o, r in zip(predicted, end, rough, strict=True)]


def leak_rate(seed: int, weight_decay: float = 0.05) -> float:
    """Late decay rate of the leak ||A W v||/||P W v|| where A is trained too."""
    found = course(np.array([30.0, 50.0]), seed=seed, weight_decay=weight_decay)
    leak = found.inside / found.outside
    return float(np.log(leak[0] / leak[1]) / 20)


STEPS = "3 times the change when RK45's tolerance is 10 times coarser, and rounding"
SAMPLED = "5 standard errors of counting and of the sample's centres"


def verify(seed: int) -> list[Comparison]:
    """Plain training of W alone; 2-means on h and P h, on direct draws with nuisance 4 T and at the end of a flow."""
    rows = [
        Comparison("T18", f"||{name} W v|| at t = 6, A fixed", p, o, float(e / p), STEPS)
        for name, (p, o, e) in zip(("A", "P"), fixed_classifier(seed), strict=True)
    ]
    rng = np.random.default_rng([seed, 18, 1])
    for m, K in ((3, 1), (24, 3)):
        found = None
        while found is None:
            found = on_and_off(*hidden_pair(rng, m, K, nuisance=4), 20_000, rng, 5)
        rows += _pair_rows(found, f"m = {m}, K = {K}, nuisance 4 T")
    end = on_and_off(*course(np.array([60.0]), seed=seed).pair(0), 20_000, rng, 5)
    return rows if end is None else rows + _pair_rows(end, "linear network at t = 60")


def _pair_rows(found: tuple[Found, Found], name: str) -> list[Comparison]:
    return [
        Comparison("T18", f"2-means on {where}, {name}", float(p), float(o), float(e / p), SAMPLED)
        for where, (p, o, e) in zip(("h", "P h"), found, strict=True)
    ]
