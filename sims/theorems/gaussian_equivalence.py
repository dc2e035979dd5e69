"""T13 observed: descent on samples beside descent on Gaussians fitted to them, from the same initial weights.

A sample is a Mixture whose components are points, so that training on data and on its Gaussian equivalent are one
function, `population_descent`, and no step size enters the comparison.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.theorems import gaussian_equivalence as law
from finegrain.theory.tools.arrays import Array, Index

COARSE_MAP = np.array([0, 0, 1, 1])
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


def sampled(seed: int, n: int, repeats: int) -> dict[str, tuple[Array, Array]]:
    """(predicted, observed), each (repeats,): R = 2 fitted to n samples of a two-component mixture, and the samples."""
    rng = np.random.default_rng([seed, 13, 1])
    mixture = two_component_mixture(rng)
    runs = []
    for _ in range(repeats):
        x, fine = mixture.sample(n, rng)
        fit = Mixture.fit(x, fine, COARSE_MAP, 2, seed=seed)
        runs.append((trained(fit, seed), trained(points(x, fine, COARSE_MAP), seed)))
    return {
        name: (np.array([p[name] for p, _ in runs]), np.array([o[name] for _, o in runs]))
        for name in ("fine_share", "loss")
    }


def verify(seed: int) -> list[Comparison]:
    """R = 1 for a linear network on skewed data; R = 2 for ReLU on samples of a two-component mixture."""
    x, fine = skewed(np.random.default_rng([seed, 13, 2]), 500)
    data = points(x, fine, COARSE_MAP)
    predicted = trained(law.predict_from(data), seed, activation="identity")
    observed = trained(data, seed, activation="identity")
    rows = [
        Comparison(
            "T13", f"{k}, linear network, R = 1, skewed data", predicted[k], observed[k], 1e-11, "rounding"
        )
        for k in predicted
    ]
    repeats = 8
    large, small = (sampled(seed, n, repeats) for n in (800, 400))
    for name, (fitted, found) in large.items():
        # The difference of paired runs has mean of order 1/n, of which half the samples show twice as much.
        differences, coarser = found - fitted, np.subtract(*small[name])
        error = student.ppf(1 - CHANCE / 2, repeats - 1) * differences.std(ddof=1) / np.sqrt(repeats)
        error += 2 * abs(coarser.mean())
        rows.append(
            Comparison(
                "T13",
                f"{name}, ReLU, R = 2, mean of {repeats} samples of a two-component mixture",
                float(fitted.mean()),
                float(found.mean()),
                float(error / fitted.mean()),
                "Student's t on the spread over samples, and the 1/n term seen at half the samples",
            )
        )
    return rows
