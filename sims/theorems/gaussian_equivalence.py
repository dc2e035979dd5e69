"""T13 observed: plain descent on samples, beside what Gaussians fitted to them predict from the same initial weights.

A sample is a Mixture whose components are points, so that training on data and on its Gaussian equivalent are one
function, `population_descent` (`course`), and no step size enters. The rows of `verify` train on the samples by plain
descent instead.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory import kinematics, observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.theorems import gaussian_equivalence as law
from finegrain.theory.tools.arrays import Array, Index

COARSE_MAP = np.array([0, 0, 1, 1])
EPS = float(np.finfo(float).eps)
STEPS, RATE, DECAY = 40, 0.05, 1e-3
CHANCE = 1e-4  # of a row failing by chance


def points(x: Array, fine: Index, coarse_map: Index) -> Mixture:
    """Samples (N, d) with fine classes (N,) as a mixture of N points: its population loss is the training loss."""
    n, d = x.shape
    return Mixture(Moments(np.full(n, 1 / n), x, np.zeros((n, d, d))), coarse_map, fine)


def skewed(rng: np.random.Generator, n: int, dim: int = 4) -> tuple[Array, Index]:
    """n samples of 4 fine classes: random means, exponential noise along random axes of each class."""
    fine = np.arange(n) % 4
    means, axes = rng.standard_normal((4, dim)), np.linalg.qr(rng.standard_normal((4, dim, dim)))[0]
    noise = rng.exponential(size=(n, dim)) - 1
    return means[fine] + np.einsum("nab,nb->na", axes[fine], noise), fine


def two_component_mixture(rng: np.random.Generator, dim: int = 4) -> Mixture:
    """4 fine classes of two well separated Gaussians each, anisotropic, of unequal weights."""
    means = np.repeat(rng.standard_normal((4, dim)), 2, axis=0)
    apart = rng.standard_normal((4, dim))
    apart *= 1.5 / np.linalg.norm(apart, axis=1)[:, None]
    means[::2] += apart
    means[1::2] -= apart
    roots = 0.25 * rng.standard_normal((8, dim, dim))
    weights = rng.uniform(0.5, 1.5, 8)
    return Mixture(
        Moments(weights / weights.sum(), means, roots @ np.swapaxes(roots, 1, 2)),
        COARSE_MAP,
        np.arange(8) // 2,
    )


def course(
    mixture: Mixture,
    seed: int,
    steps: list[int],
    *,
    activation: str = "relu",
    width: int = 8,
    rate: float = 0.05,
) -> dict[str, Array]:
    """fine_share of h and the loss (T,) after `steps` of descent, lambda = 1e-3, from weights that `seed` draws."""
    W0, A0 = gaussian(width, mixture.dim, 2, 1.0, np.random.default_rng([seed, 13, 0]))
    path = population_descent(
        mixture,
        W0,
        A0,
        targets=centred_one_hot(mixture.coarse_map),
        activation=activation,
        weight_decay=1e-3,
        learning_rate=rate,
        steps=steps,
    )
    shares = [observables.fine_share(m, mixture.coarse_map) for m in path.moments]
    return {"fine_share": np.array(shares), "loss": path.loss}


def trained(mixture: Mixture, seed: int, activation: str = "relu") -> dict[str, float]:
    """The end of `course`, after 150 steps."""
    return {k: float(v[0]) for k, v in course(mixture, seed, [150], activation=activation).items()}


def fitted_error(x: Array, fine: Index, components: int, seed: int, name: str = "fine_share") -> float:
    """Relative error of an observable predicted from `components` Gaussians fitted to each fine class."""
    fit = Mixture.fit(x, fine, COARSE_MAP, components, seed=seed)
    return trained(fit, seed)[name] / trained(points(x, fine, COARSE_MAP), seed)[name] - 1


def problem_of(x: Array, fine: Index, activation: str) -> plain.Problem:
    """Training on the samples themselves."""
    targets = centred_one_hot(COARSE_MAP)[fine]
    return plain.Problem(x, targets, activation=activation, weight_decay=DECAY)


def start(seed: int, width: int = 8, dim: int = 4) -> tuple[Array, Array]:
    """W (m, d), A (2, m)."""
    return gaussian(width, dim, 2, 1.0, np.random.default_rng([seed, 13, 0]))


def plain_hidden(x: Array, fine: Index, activation: str, seed: int) -> Array:
    """h (n, m) of the samples, after STEPS steps of plain descent on them."""
    problem = problem_of(x, fine, activation)
    ends = plain.descend(problem, start(seed, dim=x.shape[1]), [STEPS], learning_rate=RATE)
    return plain.hidden(problem, [layer[0] for layer in ends])


def linear_descent(second: Array, cross: Array, seed: int) -> Array:
    """W after STEPS steps of descent of a linear network that sees Sigma (d, d) and M (K, d) alone."""
    W, A = start(seed, dim=len(second))
    for _ in range(STEPS):
        residual = A @ W @ second - cross
        W, A = W - RATE * (A.T @ residual + DECAY * W), A - RATE * (residual @ W.T + DECAY * A)
    return W


def linear_rows(seed: int) -> list[Comparison]:
    """R = 1: what of skewed samples enters Sigma and M predicts the moments of h."""
    x, fine = skewed(np.random.default_rng([seed, 13, 2]), 500)
    classes = Moments.from_samples(x, fine)
    statistics = law.predict_statistics(
        classes.weights, classes.means, classes.covariances, centred_one_hot(COARSE_MAP)
    )
    W = linear_descent(*statistics, seed)
    mapped = [law.predict_moments(W, *pair) for pair in zip(classes.means, classes.covariances, strict=True)]
    predicted = Moments(classes.weights, *(np.stack(part) for part in zip(*mapped, strict=True)))
    found = Moments.from_samples(plain_hidden(x, fine, "identity", seed), fine)
    rows = []
    for name, measure in (
        ("largest variance within a coarse class", within_coarse),
        ("mean squared norm of h", squared_norm),
    ):
        quantity = f"{name}, linear network, R = 1, skewed data"
        pair = measure(predicted), measure(found)
        rows.append(
            Comparison(
                "T13",
                quantity,
                *pair,
                16 * EPS,
                "rounding: 16 machine epsilons, of which errors are one or none",
            )
        )
    return rows


def within_coarse(h: Moments) -> float:
    """tr of the larger coarse covariance: scatter of samples and of subclasses."""
    return float(np.trace(np.asarray(h.pool(COARSE_MAP).covariances), axis1=1, axis2=2).max())


def squared_norm(h: Moments) -> float:
    """E||h||^2."""
    second = np.trace(np.asarray(h.covariances), axis1=1, axis2=2) + np.sum(h.means**2, axis=1)
    return float(h.weights @ second)


def distance_predicted(x: Array, fine: Index, seed: int) -> float:
    """||hbar_0 - hbar_1|| of the first two fine classes, from two Gaussians fitted to each class."""
    fit = Mixture.fit(x, fine, COARSE_MAP, 2, seed=seed)
    W = population_descent(
        fit,
        *start(seed),
        targets=centred_one_hot(COARSE_MAP),
        weight_decay=DECAY,
        learning_rate=RATE,
        steps=[STEPS],
    ).W[0]
    hidden, means = kinematics.propagate(fit.moments, W, "relu"), []
    for c in (0, 1):
        i, j = np.flatnonzero(fit.fine_map == c)
        share = hidden.weights[i] / (hidden.weights[i] + hidden.weights[j])
        means.append(law.predict_mixed(share, hidden.means[i], hidden.means[j]))
    return float(np.linalg.norm(means[0] - means[1]))


def distance_observed(x: Array, fine: Index, seed: int) -> float:
    """The same of the network trained on the samples themselves."""
    h = plain_hidden(x, fine, "relu", seed)
    return float(np.linalg.norm(h[fine == 0].mean(axis=0) - h[fine == 1].mean(axis=0)))


def sampled(seed: int, n: int, repeats: int) -> tuple[Array, Array]:
    """(predicted, observed), each (repeats,): R = 2 fitted to n samples of a two-component mixture, and the samples."""
    rng = np.random.default_rng([seed, 13, 1])
    mixture = two_component_mixture(rng)
    draws = [mixture.sample(n, rng) for _ in range(repeats)]
    predicted = np.array([distance_predicted(*draw, seed) for draw in draws])
    return predicted, np.array([distance_observed(*draw, seed) for draw in draws])


def verify(seed: int) -> list[Comparison]:
    """R = 1 for a linear network on skewed data; R = 2 for ReLU on samples of a two-component mixture."""
    repeats = 8
    fitted, found = sampled(seed, 800, repeats)
    error = student.ppf(1 - CHANCE / 2, repeats - 1) * (found - fitted).std(ddof=1) / np.sqrt(repeats)
    return [
        *linear_rows(seed),
        Comparison(
            "T13",
            f"distance of two subclasses, ReLU, R = 2, mean of {repeats} samples of a two-component mixture",
            float(fitted.mean()),
            float(found.mean()),
            float(error / fitted.mean()),
            "Student's t on the spread over samples, n^(-1/2); the mean of paired runs is of order 1/n",
        ),
    ]
