"""How far T13's prediction is from the trained network, over seeds of the initial weights.

    python benchmarks/prediction_over_seeds.py --data fashion-mnist --components 4 --seeds 8

Prints a Markdown table: fine_share predicted and observed at the end, its relative error at the end and at the worst
recorded time, the same for NC1, and seconds of theory and training.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from empirical.data import load
from empirical.predict import Config, Prediction, predict, relative_error

HEADER = (
    "| seed | components | fit in | fine_share predicted | observed | end | worst "
    "| NC1 end | worst | train-test gap | theory s | training s |"
)


def row(config: Config, result: Prediction) -> str:
    """One line of the table."""
    share, nc1 = result.course("fine_share"), result.course("nc1_trace_ratio_coarse")
    errors = [100 * relative_error(c["predicted"], c["observed"]) for c in (share, nc1)]
    gap = 100 * abs(share["test"][-1] / share["observed"][-1] - 1)
    cells = [str(config.seed), str(config.components), config.fit_in]
    cells += [f"{share[part][-1]:.4f}" for part in ("predicted", "observed")]
    cells += [f"{e:.1f} %" for error in errors for e in (error[-1], np.max(error))]
    cells += [f"{gap:.1f} %", *(f"{result.seconds[part]:.1f}" for part in ("theory", "training"))]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--components", type=int, nargs="+", default=[4])
    parser.add_argument("--fit-in", nargs="+", default=["class-means"])
    parser.add_argument("--map", default="mod")
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    data = load(options.data)
    print(HEADER, "|" + " --- |" * (HEADER.count("|") - 1), sep="\n", flush=True)
    for seed in range(options.seeds):
        for components in options.components:
            for fit_in in options.fit_in:
                config = replace(Config(), map=options.map, seed=seed, components=components, fit_in=fit_in)
                print(row(config, predict(data, config, device="cpu")), flush=True)


if __name__ == "__main__":
    main()
