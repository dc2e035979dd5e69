"""Where T13's prediction breaks, and why: the error of fine_share over settings, one varied at a time.

    python benchmarks/where_prediction_breaks.py --out paper_figs/recorded/where_prediction_breaks.json

10,000 images, 8 principal components, width 8, 400 steps, R = 4 unless varied. Two reasons are tested apart:

    images    the number of images n, and R: an error of non-Gaussian classes falls with R, whatever n
    control   samples drawn from one Gaussian a class with the images' moments: with R = 1 only finite n is left
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from empirical.coarse_maps import coarse_map
from empirical.data import Dataset, load
from empirical.image_cache import default_folder
from empirical.prediction_config import Config
from empirical.prediction_sweep import reduced, sweep
from sims.run_folder import environment
from theory import Mixture
from theory.files import to_json, write_atomic

BASE = Config(dim=8, width=8, steps=400)
IMAGES, TESTS = 10_000, 5_000
VARIED: dict[str, tuple[Any, ...]] = {
    "components": (1, 2, 4, 8, 16),
    "width": (4, 32),
    "scale": (0.1, 1.5),
    "weight_decay": (1e-4, 1e-2),
}
COUNTS = (500, 2_000, 10_000)


def first(data: Dataset, train: int, test: int = TESTS) -> Dataset:
    """The first images of each split."""
    x, y = data.train_x[:train], data.train_y[:train]
    return replace(data, train_x=x, train_y=y, test_x=data.test_x[:test], test_y=data.test_y[:test])


def gaussian_twin(data: Dataset, train: int, test: int = TESTS) -> Dataset:
    """Samples of one Gaussian a class with the moments of the data's images."""
    mixture = Mixture.fit(data.train_x, data.train_y, coarse_map(BASE.map, data.num_fine))
    parts = [mixture.sample(n, np.random.default_rng([n, k])) for k, n in enumerate((train, test))]
    return Dataset("gaussian twin", *parts[0], *parts[1], data.class_names)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = reduced(load(options.data, cache=default_folder()), BASE.dim)
    groups: list[tuple[str, Dataset, list[Config]]] = [
        ("images", first(data, IMAGES), [replace(BASE, **{k: v}) for k, all_ in VARIED.items() for v in all_])
    ]
    for n in COUNTS:
        groups.append((f"control, n = {n}", gaussian_twin(data, n), [replace(BASE, components=1)]))
        if n < IMAGES:
            groups.append((f"images, n = {n}", first(data, n), [replace(BASE, components=R) for R in (1, 4)]))
    record: dict[str, Any] = {"data": options.data, "groups": {}}
    with TemporaryDirectory() as scratch:
        for i, (name, part, configs) in enumerate(groups):
            print(name, flush=True)
            record["groups"][name] = sweep(part, configs, Path(scratch) / f"{i}.json", progress=True)
            write_atomic(options.out, to_json(record | {"environment": environment()}))
    print(
        json.dumps(
            {name: [p["fine_share"]["end"] for p in points] for name, points in record["groups"].items()}
        )
    )


if __name__ == "__main__":
    main()
