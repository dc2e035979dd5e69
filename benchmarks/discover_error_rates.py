"""How often discover finds structure where there is none, and where there is: python benchmarks/discover_error_rates.py

The whole of `discover` runs, coarse classes and all: ten classes a draw, told apart by ten coordinates, each spread
over 20 others. False alarms: classes of one mode. Power: two Gaussians a class, `distance` standard deviations apart.
A row a setting: classes drawn, those in which a subclass too many was found, those in which the number was right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
from joblib import Parallel, delayed

from finegrain.empirical.hidden_classes.discover import discover
from finegrain.theory.tools.arrays import Array

CLASSES, DIM = 10, 20


def _elliptical(freedom: int) -> Callable[[np.random.Generator, int], Array]:
    """Student t: one scale a sample, over all coordinates."""
    return lambda rng, n: rng.standard_normal((n, DIM)) / np.sqrt(rng.chisquare(freedom, (n, 1)) / freedom)


ONE_MODE: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "Gaussian, isotropic": lambda rng, n: rng.standard_normal((n, DIM)),
    "Gaussian, std 1/rank": lambda rng, n: rng.standard_normal((n, DIM)) / np.arange(1, DIM + 1),
    "exponential coordinates": lambda rng, n: rng.exponential(size=(n, DIM)),
    "lognormal coordinates": lambda rng, n: rng.lognormal(size=(n, DIM)),
    "uniform, one axis": lambda rng, n: rng.random((n, DIM)) * [10, *[1] * (DIM - 1)],
    "Student t, 5": _elliptical(5),
    "Student t, 3": _elliptical(3),
}


def two_modes(rng: np.random.Generator, n: int, distance: float) -> Array:
    """Two Gaussians in equal number, apart along a random direction."""
    axis = rng.standard_normal(DIM)
    side = np.arange(n) % 2 - 0.5
    return rng.standard_normal((n, DIM)) + distance * side[:, None] * axis / np.linalg.norm(axis)


def counts(name: str, n: int, distance: float, seed: int) -> list[int]:
    """Subclasses found in each of ten classes: ten coordinates that tell them apart, and DIM that hold the class."""
    rng = np.random.default_rng([seed, n, int(100 * distance)])
    draw = ONE_MODE.get(name, lambda rng, n: two_modes(rng, n, distance))
    coarse = np.repeat(np.arange(CLASSES), n)
    seen = 20 * np.eye(CLASSES)[coarse] + rng.standard_normal((len(coarse), CLASSES))
    hidden = np.concatenate([draw(rng, n) for _ in range(CLASSES)])
    return discover(np.hstack([seen, hidden]), coarse, seed=seed).counts.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[200], help="of each class")
    parser.add_argument("--draws", type=int, default=1000, help="classes of one mode, each setting")
    parser.add_argument("--power-draws", type=int, default=200, help="classes of two modes, each setting")
    parser.add_argument("--distances", type=float, nargs="*", default=[3.0, 4.0, 5.0])
    parser.add_argument("--families", nargs="*", default=list(ONE_MODE))
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    settings = [(name, n, 0.0, options.draws, 1) for n in options.samples for name in options.families]
    settings += [
        ("two Gaussians", n, d, options.power_draws, 2) for n in options.samples for d in options.distances
    ]
    for name, n, distance, draws, truth in settings:
        runs = Parallel(options.jobs)(
            delayed(counts)(name, n, distance, seed) for seed in range(-(-draws // CLASSES))
        )
        found = np.concatenate(runs)
        row = {"family": name, "distance": distance, "samples": n, "classes": found.size}
        row |= {"too many": int((found > truth).sum()), "right": int((found == truth).sum())}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
