"""Where T13's prediction breaks, and why: its errors over repeats, each a draw of samples and a start of the network.

Two reasons are told apart by what is trained on:

    images     samples drawn from a data set: their classes are not Gaussian, and they are n
    control    n samples of one Gaussian a class with the data set's moments: n is all that R = 1 can miss

If finite n is a reason, the control's error falls as n^(-1/2); if non-Gaussian classes are another, the images' error
at R = 1 stays where n grows, and falls with R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from finegrain.empirical.prediction.config import Config
from finegrain.empirical.prediction.sweep import sweep
from finegrain.empirical.readers.data import Dataset
from finegrain.theory.mixture import Mixture
from finegrain.theory.tools import checks

INPUTS = ("images", "control")
MEASURED = ("fine_share", "nc1_trace_ratio_coarse", "loss")
TESTS = 1_000  # test samples: `predict` wants some, and nothing here reads what they say


def drawn(data: Dataset, inputs: str, count: int, repeat: int, coarse: str = "mod") -> Dataset:
    """`count` training samples, images of `data` without replacement or their control's, new for each repeat.

    Raises:
        ValueError: unknown inputs, or more images asked for than there are.
    """
    checks.one_of("inputs", inputs, INPUTS)
    checks.integer("count", count, 1)
    rng = np.random.default_rng([repeat, count])
    if inputs == "images":
        if count > len(data.train_y):
            raise ValueError(f"count must be at most the {len(data.train_y)} training images, got {count}")
        chosen = rng.permutation(len(data.train_y))[:count]
        train = data.train_x[chosen], data.train_y[chosen]
    else:
        mixture = Mixture.fit(data.train_x, data.train_y, data.coarse_map(coarse))
        train = mixture.sample(count, rng)
    return Dataset(
        f"{inputs} of {data.name}", *train, data.test_x[:TESTS], data.test_y[:TESTS], data.class_names
    )


def errors(
    data: Dataset, inputs: str, count: int, repeat: int, configs: Sequence[Config]
) -> list[dict[str, dict[str, float]]]:
    """For each config, from the start that `repeat` seeds, the relative error of each of MEASURED.

    "end" is signed, (predicted - observed)/observed at the last step; "worst" the largest size over the recorded times.
    """
    configs = [replace(config, seed=repeat) for config in configs]
    with TemporaryDirectory() as scratch:
        sample = drawn(data, inputs, count, repeat, configs[0].map)
        points = sweep(sample, configs, Path(scratch) / "points.json")
    return [{name: _signed(point[name]) for name in MEASURED} for point in points]


def _signed(entry: dict[str, Any]) -> dict[str, float]:
    return {"end": entry["predicted"] / entry["observed"] - 1, "worst": entry["worst"]}
