"""The error that no prediction can beat: how far two networks lie apart that see disjoint halves of the images.

    python benchmarks/prediction_floor.py --data fashion-mnist --seeds 4

Same initial weights, same settings as `finegrain predict`. A difference between halves has twice the standard
deviation of what the images that happen to be in the whole set cause, so half of it is printed too.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch

from finegrain.empirical.networks import two_layer
from finegrain.empirical.networks.preprocess import Preprocess
from finegrain.empirical.prediction.config import Config
from finegrain.empirical.readers.coarse_maps import coarse_map
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.image_cache import default_folder
from finegrain.sims.initial_weights import gaussian
from finegrain.theory import observables
from finegrain.theory.targets import centred_one_hot


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load(options.data, cache=default_folder())
    for seed in options.seeds:
        config = replace(Config(), seed=seed)
        coarse = coarse_map(config.map, data.num_fine, data.class_names)
        x, targets = Preprocess.fit(data.train_x, config.dim).apply(data.train_x), centred_one_hot(coarse)
        W0, A0 = gaussian(
            config.width, x.shape[1], targets.shape[1], config.scale, np.random.default_rng(seed)
        )
        halves = np.random.default_rng([seed, 2]).permutation(len(x)).reshape(2, -1)
        ends = [
            two_layer.train(x[half], data.train_y[half], W0, A0, targets=targets, device="cpu").moments[-1]
            for half in halves
        ]
        for name in ("fine_share", "nc1_trace_ratio_coarse", "nc1_coarse"):
            first, second = (observables.table(h, coarse)[name] for h in ends)
            apart = 100 * abs(first - second) / ((first + second) / 2)
            print(
                f"seed {seed} {name}: {first:.4f} {second:.4f}, {apart:.2f} % apart, half {apart / 2:.2f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
