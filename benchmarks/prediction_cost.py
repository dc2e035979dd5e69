"""What a prediction costs beside the training that it stands for: processor time of one step of each, interleaved.

    OMP_NUM_THREADS=1 python benchmarks/prediction_cost.py --widths 32 256 --dims 32 128 --components 4

60,000 random samples of 10 classes; a step of full-batch descent in float32 against an exact population gradient in
float64, one thread each; the least of the repeats, which other load disturbs least.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from sims.initial_weights import gaussian
from sims.population import population_loss
from sims.sample_loss import SampleLoss, Samples
from theory import Mixture, Moments
from theory.targets import centred_one_hot

SAMPLES, CLASSES = 60_000, 10
COARSE = np.arange(CLASSES) % 5


def cost(width: int, dim: int, components: int, repeats: int) -> tuple[float, float]:
    """Seconds of processor time of one step: of the prediction, and of the training."""
    rng = np.random.default_rng(0)
    fine = np.arange(SAMPLES) % CLASSES
    x = rng.standard_normal((CLASSES, dim + 1))[fine] + rng.standard_normal((SAMPLES, dim + 1))
    parts = Moments.from_samples(x, fine + CLASSES * rng.integers(0, components, SAMPLES))
    mixture = Mixture(parts, COARSE, np.arange(CLASSES * components) % CLASSES)
    targets = centred_one_hot(COARSE)
    W, A = gaussian(width, dim + 1, targets.shape[1], 0.5, rng)
    gradient = population_loss(mixture, targets=targets, weight_decay=1e-3)

    where = {"dtype": torch.float32, "device": torch.device("cpu")}
    samples = Samples.checked("", x, fine, targets, 1, dim + 1, where)
    weights = (torch.tensor(w[None], **where) for w in (W, A))
    descent = partial(SampleLoss("relu", 0.01, "squared", 1e-3), *weights, samples)
    found = [(_seconds(partial(gradient, W, A)), _seconds(descent)) for _ in range(repeats + 1)][1:]
    theory, training = np.min(found, axis=0)
    return float(theory), float(training)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--dims", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--components", type=int, nargs="+", default=[4])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| width | d | R | prediction, s a step | training, s a step | ratio |",
        "| --- |" + " --- |" * 5,
        sep="\n",
    )
    for width in options.widths:
        for dim in options.dims:
            for components in options.components:
                theory, descent = cost(width, dim, components, options.repeats)
                cells = (
                    f"{width} | {dim} | {components} | {theory:.4f} | {descent:.4f} | {theory / descent:.2f}"
                )
                print(f"| {cells} |", flush=True)


if __name__ == "__main__":
    main()
