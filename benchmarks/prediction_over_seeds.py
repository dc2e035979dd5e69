"""How far T13's prediction is from the trained network, over seeds of the initial weights and numbers of Gaussians.

    python benchmarks/prediction_over_seeds.py --data fashion-mnist --components 1 4 16 --seeds 4 5 6 --json out.json

Prints Markdown tables. A line a prediction: fine_share predicted and observed at the end, and the relative errors of
fine_share, of NC1 (trace ratio, then pseudo-inverse) and of the loss against the training images, at the end and at
the worst recorded time; then those against the test images, beside the network's own gap between training and test
images. A line an R: the root mean square of these errors over seeds, and how many seeds hold what is aimed at; and the
power laws in R. The JSON keeps it all; called again it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from finegrain.empirical.prediction.accuracy import AIMS, accuracy, law_in_components
from finegrain.empirical.prediction.config import Config
from finegrain.empirical.prediction.sweep import sweep
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.image_cache import default_folder

OBSERVED = ("fine_share", "nc1_trace_ratio_coarse", "nc1_coarse", "loss")
TRAINING = ["seed", "R", "fine_share predicted", "observed", "end", "worst", "NC1 end", "worst"]
TRAINING += ["NC1 (pinv) end", "worst", "loss end", "worst"]
TEST = ["seed", "R", "fine_share end", "worst", "gap end", "worst", "NC1 end", "worst", "gap end", "worst"]
TEST += ["loss end", "worst", "gap end", "worst"]
OVER_SEEDS = [
    "observable",
    "R",
    "seeds",
    "end",
    "within",
    "seeds that are",
    "worst",
    "within",
    "seeds that are",
]


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)) + "\n"


def percent(value: float) -> str:
    return f"{100 * value:.2f} %" if np.isfinite(value) else "-"


def against_training(point: dict[str, Any]) -> list[str]:
    share = point["fine_share"]
    errors = [percent(point[name][key]) for name in OBSERVED for key in ("end", "worst")]
    return [*which(point), f"{share['predicted']:.4f}", f"{share['observed']:.4f}", *errors]


def against_test(point: dict[str, Any]) -> list[str]:
    keys = ("test_end", "test_worst", "gap_end", "gap_worst")
    return [
        *which(point),
        *(percent(point[name][key]) for name in OBSERVED if name != "nc1_coarse" for key in keys),
    ]


def which(point: dict[str, Any]) -> list[str]:
    return [str(point["config"]["seed"]), str(point["components"])]


def over_seeds(points: list[dict[str, Any]], name: str) -> list[list[str]]:
    rows = []
    for a in accuracy(points, name):
        row = [name, str(a.components), str(a.starts)]
        for error, held, aim in zip(a[2:4], a[4:6], AIMS.get(name, (np.inf, np.inf)), strict=True):
            row += [percent(error), percent(aim), str(held) if np.isfinite(aim) else "-"]
        rows.append(row)
    return rows


def report(points: list[dict[str, Any]]) -> str:
    """All tables of one search, and the exponents where there are seeds enough for them."""
    parts = [table(TRAINING, map(against_training, points)), table(TEST, map(against_test, points))]
    parts.append(table(OVER_SEEDS, (row for name in OBSERVED for row in over_seeds(points, name))))
    for name in OBSERVED:
        for key in ("end", "worst"):
            try:
                law = law_in_components(points, name, key)
            except ValueError:
                continue  # one R, or two seeds
            low, high = law.interval
            parts.append(f"{name}, {key}: R^{law.exponent:.2f}, 95 % interval {low:.2f} to {high:.2f}")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--components", nargs="+", default=["4"], help="numbers, or auto")
    parser.add_argument("--shape", nargs="+", default=["full"])
    parser.add_argument("--fit-in", nargs="+", default=["class-means"])
    parser.add_argument("--map", default="mod")
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--learning-rate", type=float, default=0.3)
    parser.add_argument("--momentum", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(4)))
    parser.add_argument("--json", type=Path, required=True, help="where the record grows")
    options = parser.parse_args()
    names = ("map", "dim", "steps", "learning_rate", "momentum", "batch_size")
    base = replace(Config(), **{name: getattr(options, name) for name in names})
    configs = [
        replace(base, seed=seed, components=int(R) if R.isdecimal() else R, shape=shape, fit_in=fit_in)
        for seed in options.seeds
        for shape in options.shape
        for fit_in in options.fit_in
        for R in options.components
    ]
    points = sweep(load(options.data, cache=default_folder()), configs, options.json, progress=True)
    for search in itertools.product(options.shape, options.fit_in):
        print(*search)
        print(report([p for p in points if (p["config"]["shape"], p["config"]["fit_in"]) == search]))


if __name__ == "__main__":
    main()
