"""The record behind paper_figs/erosion_on_images.py: T8 on scikit-learn's digits.

    python benchmarks/erosion_on_images.py --out paper_figs/gallery/recorded/erosion_on_images.json

First the images themselves (16 principal components and a constant), linear and ReLU, at two weight decays; then
ReLU on points at orthonormal means, and with growing shares of the images' noise around them. Half a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finegrain.empirical.networks.preprocess import Preprocess
from finegrain.empirical.readers.coarse_maps import coarse_map
from finegrain.empirical.readers.data import load
from finegrain.empirical.theorems.erosion import Erosion, shrunk, train
from finegrain.sims.run_folder import environment
from finegrain.theory.tools.files import to_json, write_atomic

DECAYS = (0.01, 0.03)
NOISES = (0.0, 0.05, 0.2, 1.0)


def entry(found: Erosion, **settings: Any) -> dict[str, Any]:
    arrays = {name: getattr(found, name).tolist() for name in ("times", "loss", "total", "off")}
    return settings | arrays | {"rate": found.rate}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--map", default="mod")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load("digits")
    x, fine = Preprocess.fit(data.train_x, 16).apply(data.train_x), data.train_y
    coarse = coarse_map(options.map, data.num_fine)
    images = [
        entry(
            train(x, fine, coarse, activation=activation, weight_decay=decay, seed=options.seed),
            activation=activation,
            weight_decay=decay,
        )
        for activation in ("identity", "relu")
        for decay in DECAYS
    ]
    points = [
        entry(
            train(
                shrunk(x, fine, noise),
                fine,
                coarse,
                activation="relu",
                weight_decay=0.03,
                width=64,
                scale=0.3,
                seed=options.seed,
            ),
            noise=noise,
            weight_decay=0.03,
        )
        for noise in NOISES
    ]
    record = {"map": options.map, "seed": options.seed, "images": images, "points": points}
    write_atomic(options.out, to_json(record | {"environment": environment()}))
    for run in (*images, *points):
        rates = -np.diff(np.log(run["off"])) / np.diff(run["times"]) / run["weight_decay"]
        print({k: run[k] for k in ("activation", "noise", "weight_decay") if k in run}, end=" ")
        print(
            "rate / lambda:",
            *rates.round(3),
            "theory:",
            run["rate"] / run["weight_decay"],
            "end:",
            run["off"][-1],
        )


if __name__ == "__main__":
    main()
