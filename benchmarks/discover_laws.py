"""Laws of a class for benchmarks of discover: without structure, with strata, and with rare ones.

Each is a function of a generator that gives samples (n, D) and which stratum each is in, (n,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from finegrain.theory.tools.arrays import Array, Labels

Rng = np.random.Generator
Null = Callable[[Rng, int, int], Array]
Scenario = Callable[[Rng], tuple[Array, Labels]]


def _student(freedom: int) -> Null:
    """Elliptical: one scale a sample, over all coordinates."""
    return lambda r, n, d: r.standard_normal((n, d)) / np.sqrt(r.chisquare(freedom, (n, 1)) / freedom)


def _relu(shift: float, slope: float = 0.0) -> Null:
    """Features phi(W z + b) of a Gaussian z in 8 dimensions: a layer of random neurons."""

    def draw(r: Rng, n: int, d: int) -> Array:
        z = r.standard_normal((n, 8)) @ r.standard_normal((8, d)) / np.sqrt(8) + shift
        return np.where(z > 0, z, slope * z)

    return draw


def _repeated(times: int, jitter: float) -> Null:
    """Each sample so many times, moved by so much."""

    def draw(r: Rng, n: int, d: int) -> Array:
        x = np.repeat(r.standard_normal((-(-n // times), d)), times, axis=0)[:n]
        return x + jitter * r.standard_normal(x.shape)

    return draw


def _ball(r: Rng, n: int, d: int) -> Array:
    x = r.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * r.random((n, 1)) ** (1 / d)


ONE_MODE: dict[str, Null] = {
    "Gaussian": lambda r, n, d: r.standard_normal((n, d)),
    "Gaussian, standard deviations 1/rank": lambda r, n, d: r.standard_normal((n, d)) / np.arange(1, d + 1),
    "Gaussian of rank 3, noise 0.01": lambda r, n, d: (
        r.standard_normal((n, 3)) @ r.standard_normal((3, d)) + 0.01 * r.standard_normal((n, d))
    ),
    "Student t, 3, elliptical": _student(3),
    "Student t, 4, elliptical": _student(4),
    "Student t, 3, by coordinate": lambda r, n, d: r.standard_t(3, (n, d)),
    "exponential": lambda r, n, d: r.exponential(size=(n, d)),
    "lognormal": lambda r, n, d: r.lognormal(size=(n, d)),
    "ball": _ball,
    "cube": lambda r, n, d: r.random((n, d)),
    "cube, one side ten times": lambda r, n, d: r.random((n, d)) * [10, *[1] * (d - 1)],
    "Gaussian rounded to halves": lambda r, n, d: np.round(2 * r.standard_normal((n, d))) / 2,
    "each sample twice": _repeated(2, 0.0),
    "each sample ten times": _repeated(10, 0.0),
    "each sample ten times, moved by 0.001": _repeated(10, 0.001),
    "ReLU features": _relu(0.0),
    "ReLU features, mostly on": _relu(1.0),
    "ReLU features, mostly off": _relu(-1.0),
    "leaky ReLU features": _relu(0.0, 0.1),
}


def strata(n: int, d: int, shares: tuple[float, ...], distance: float, noise: str = "Gaussian") -> Scenario:
    """Strata of these shares (the rest is the bulk), each `distance` deviations off the bulk, in random directions."""

    def draw(r: Rng) -> tuple[Array, Labels]:
        sizes = [round(share * n) for share in shares]
        label = r.permutation(np.repeat(np.arange(len(sizes) + 1), [n - sum(sizes), *sizes]))
        directions = np.linalg.qr(r.standard_normal((d, len(sizes))))[0].T
        means = np.concatenate([np.zeros((1, d)), distance * directions])
        x = ONE_MODE[noise](r, n, d)
        # Units of the noise's own deviation; half the distance between quartiles where that says little.
        return x / (1.0 if noise == "Gaussian" else x.std() if noise != "lognormal" else 1.0) + means[
            label
        ], label

    return draw


def _moons(r: Rng) -> tuple[Array, Labels]:
    label = r.integers(0, 2, 1000)
    angle = np.pi * r.random(1000)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(label, -1, 1)[:, None]
    x += np.outer(label, [1.0, 0.5])
    return np.hstack([x + 0.08 * r.standard_normal((1000, 2)), 0.08 * r.standard_normal((1000, 8))]), label


def _rings(r: Rng) -> tuple[Array, Labels]:
    label = r.integers(0, 2, 1000)
    x = r.standard_normal((1000, 2))
    x *= np.where(label, 4.0, 1.0)[:, None] / np.linalg.norm(x, axis=1, keepdims=True)
    return np.hstack([x + 0.2 * r.standard_normal((1000, 2)), 0.2 * r.standard_normal((1000, 8))]), label


def _two_scales(r: Rng) -> tuple[Array, Labels]:
    label = r.integers(0, 2, 1000)
    return r.standard_normal((1000, 10)) * np.where(label, 5.0, 1.0)[:, None], label


def _beside_a_nuisance(r: Rng) -> tuple[Array, Labels]:
    x, label = strata(1000, 20, (0.5,), 7)(r)
    x[:, 0] *= 10
    return x, label


def _one(name: str) -> Scenario:
    return lambda r: (ONE_MODE[name](r, 1000, 20), np.zeros(1000, dtype=np.int64))


SCENARIOS: dict[str, dict[str, Scenario]] = {
    "one mode": {
        name: _one(name)
        for name in (
            "Gaussian",
            "Gaussian, standard deviations 1/rank",
            "Student t, 3, elliptical",
            "exponential",
            "lognormal",
            "cube",
        )
    },
    "several": {
        "two, equal": strata(1000, 20, (0.5,), 6),
        "three, equal": strata(1000, 20, (1 / 3, 1 / 3), 6),
        "four, equal": strata(1000, 20, (0.25,) * 3, 6),
        "five, equal": strata(1000, 20, (0.2,) * 4, 6),
        "80 to 20": strata(1000, 20, (0.2,), 6),
        "90 to 10": strata(1000, 20, (0.1,), 6),
        "Student t, 3, two": strata(1000, 20, (0.5,), 6, "Student t, 3, elliptical"),
        "lognormal, two": strata(1000, 20, (0.5,), 12, "lognormal"),
        "beside a nuisance of 10 deviations": _beside_a_nuisance,
        "two in 512 dimensions": strata(1000, 512, (0.5,), 8),
        "moons": _moons,
        "concentric rings": _rings,
        "one mean, two scales": _two_scales,
    },
    "rare": {
        "5 % at 6": strata(2000, 64, (0.05,), 6),
        "5 % at 12": strata(1000, 20, (0.05,), 12),
        "2 % at 8": strata(2000, 64, (0.02,), 8),
        "1 % at 10": strata(2000, 64, (0.01,), 10),
        "1 % of 5,000 at 8": strata(5000, 20, (0.01,), 8),
        "two of 3 % at 8": strata(2000, 64, (0.03, 0.03), 8),
    },
}
