"""How far T13's prediction is from the trained network, over seeds of the initial weights and numbers of Gaussians.

    python benchmarks/prediction_over_seeds.py --data fashion-mnist --components 1 4 16 --seeds 4 5 6 --json out.json

Prints a Markdown table: fine_share predicted and observed at the end, its relative error at the end and at the worst
recorded time, the same for NC1 (trace ratio, then pseudo-inverse), the error against the test images at the end, the
network's own gap between training and test images, and seconds of theory and training. The JSON keeps it all;
called again it goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from empirical.data import load
from empirical.image_cache import default_folder
from empirical.prediction_config import Config
from empirical.prediction_sweep import sweep

HEADER = (
    "| seed | R | fine_share predicted | observed | end | worst | NC1 end | worst "
    "| NC1 (pinv) end | worst | test end | train-test gap | theory s | training s |"
)


def row(point: dict[str, Any]) -> str:
    """One line of the table."""
    share = point["fine_share"]
    cells = [str(point["config"]["seed"]), str(point["components"])]
    cells += [f"{share[part]:.4f}" for part in ("predicted", "observed")]
    for name in ("fine_share", "nc1_trace_ratio_coarse", "nc1_coarse"):
        cells += [f"{100 * point[name][key]:.2f} %" for key in ("end", "worst")]
    cells += [f"{100 * share[key]:.2f} %" for key in ("test_end", "gap_end")]
    cells += [f"{point['seconds'].get(part, float('nan')):.1f}" for part in ("theory", "training")]
    return "| " + " | ".join(cells) + " |"


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
    print(HEADER, "|" + " --- |" * (HEADER.count("|") - 1), *map(row, points), sep="\n")


if __name__ == "__main__":
    main()
