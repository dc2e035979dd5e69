"""What a prediction costs beside the training that it stands for: processor time of one step of each, interleaved.

    OMP_NUM_THREADS=1 python benchmarks/prediction_cost.py --widths 32 256 --dims 32 128 --trained 0 100
    OMP_NUM_THREADS=1 python benchmarks/prediction_cost.py --widths 256 --dims 32 --compare 100

60,000 random samples of 10 classes; a step of full-batch descent in float32 against an exact population gradient in
single and in double precision, one thread each; the least of the repeats, which other load disturbs least. The weights
are those after so many steps of training: trained neurons are more correlated. `--compare STEPS` runs descent in both
precisions instead, and prints how far the observables of the single one are from the double one's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent
from finegrain.sims.population.loss import PRECISIONS, population_loss
from finegrain.sims.samples.loss import SampleLoss, Samples
from finegrain.sims.setting import Setting
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot

SAMPLES, CLASSES = 60_000, 10
COARSE = np.arange(CLASSES) % 5
TARGETS = centred_one_hot(COARSE)
DECAY, RATE = 1e-3, 0.1
FLOAT32: dict[str, Any] = {"dtype": torch.float32, "device": torch.device("cpu")}
DESCENT = SampleLoss(Setting(weight_decay=DECAY))


class Problem:
    """The samples, their mixture and initial weights."""

    def __init__(self, width: int, dim: int, components: int) -> None:
        rng = np.random.default_rng(0)
        fine = np.arange(SAMPLES) % CLASSES
        x = rng.standard_normal((CLASSES, dim + 1))[fine] + rng.standard_normal((SAMPLES, dim + 1))
        parts = Moments.from_samples(x, fine + CLASSES * rng.integers(0, components, SAMPLES))
        self.mixture = Mixture(parts, COARSE, np.arange(CLASSES * components) % CLASSES)
        self.samples = Samples.checked("", x, fine, TARGETS, 1, dim + 1, FLOAT32)
        self.W, self.A = gaussian(width, dim + 1, TARGETS.shape[1], 0.5, rng)

    def trained(self, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """W (1, m, d) and A (1, K, m) after so many steps of full-batch descent."""
        W, A = (torch.tensor(w[None], **FLOAT32) for w in (self.W, self.A))
        for _ in range(steps):
            _, dW, dA = DESCENT(W, A, self.samples)
            W, A = W - RATE * dW, A - RATE * dA
        return W, A

    def seconds(self, steps: int, repeats: int) -> dict[str, float]:
        """Processor time of a step, by "training" and by the precision of the prediction."""
        W, A = self.trained(steps)
        w, a = W[0].double().numpy(), A[0].double().numpy()
        work: dict[str, Callable[[], Any]] = {"training": partial(DESCENT, W, A, self.samples)}
        for precision in PRECISIONS:
            gradient = population_loss(self.mixture, targets=TARGETS, weight_decay=DECAY, precision=precision)
            work[precision] = partial(gradient, w, a)
        # Each twice in a row: the memory that another gives back to the system costs time to have again.
        found = [[min(_seconds(call), _seconds(call)) for call in work.values()] for _ in range(repeats + 1)]
        return dict(zip(work, np.min(found, axis=0).tolist(), strict=True))

    def distances(self, steps: int) -> dict[str, float]:
        """Of fine_share and NC1: the largest relative difference between the two precisions along a descent."""
        single, double = (
            population_descent(
                self.mixture,
                self.W,
                self.A,
                targets=TARGETS,
                weight_decay=DECAY,
                learning_rate=RATE,
                steps=np.unique(np.geomspace(1, steps, 5).round().astype(int)),
                precision=precision,
            )
            for precision in ("single", "double")
        )
        values = {
            name: [np.array([measure(h, COARSE) for h in run.moments]) for run in (single, double)]
            for name, measure in (("fine_share", observables.fine_share), ("NC1", _nc1))
        }
        return {name: float(np.abs(one / two - 1).max()) for name, (one, two) in values.items()}


def _nc1(h: Moments, coarse: NDArray[np.int64]) -> float:
    return observables.table(h, coarse)["nc1_trace_ratio_coarse"]


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
    parser.add_argument("--trained", type=int, nargs="+", default=[0])
    parser.add_argument("--compare", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = ["width", "d", "R"]
    for shape in product(options.widths, options.dims, options.components):
        problem = Problem(*shape)
        if options.compare:
            row(dict(zip(head, shape, strict=True)) | problem.distances(options.compare))
            continue
        for steps in options.trained:
            seconds = problem.seconds(steps, options.repeats)
            ratios = {f"{p} / training": seconds[p] / seconds["training"] for p in PRECISIONS}
            row(dict(zip([*head, "trained"], [*shape, steps], strict=True)) | seconds | ratios)


def row(values: dict[str, float]) -> None:
    print(" | ".join(f"{name} {value:.3g}" for name, value in values.items()), flush=True)


if __name__ == "__main__":
    main()
