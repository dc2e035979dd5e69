"""Does the population gradient cost m^2 C R, and do Moments cost N d^2? Time against size over two decades.

    python benchmarks/scaling.py [--out docs/figures]

Prints the exponents fitted to the logarithms, over all sizes and between the two largest, and draws scaling.png. The
least of three processor times is taken, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.plotting import PAGE, PALETTE, paper_style, save
from finegrain.sims.population.loss import population_loss
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments, MomentsAccumulator
from finegrain.theory.targets import one_hot
from finegrain.theory.tools.arrays import Array


def gradient(m: int, components: int) -> Callable[[], object]:
    """Width m, Gaussians with full covariances in 32 dimensions, 4 classes."""
    rng, d = np.random.default_rng(0), 32
    roots = rng.standard_normal((components, d, d)) / np.sqrt(d)
    weights, means = np.full(components, 1 / components), rng.standard_normal((components, d))
    moments = Moments(weights, means, roots @ roots.transpose(0, 2, 1))
    mixture = Mixture(moments, np.arange(4), np.arange(components) % 4)
    field, start = population_loss(mixture, targets=one_hot(np.arange(4))), gaussian(m, d, 4, 0.5, rng)
    return lambda: field(*start)


def moments(N: int, d: int) -> Callable[[], object]:
    """Float32 samples of 10 classes, full covariances, float64 products."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, d), dtype=np.float32), np.arange(N) % 10
    return lambda: MomentsAccumulator(10, d).update(x, y)


class Law(NamedTuple):
    """What a cost should be: the product of two sizes, one of them squared."""

    maker: Callable[[int, int], Callable[[], object]]
    letters: tuple[str, str]
    squared: int  # which of the two
    label: str
    sizes: list[tuple[int, int]]


LAWS = {
    "population gradient": Law(
        gradient, ("m", "C R"), 0, "$m^2 C R$", [(m, J) for J in (16, 64, 256) for m in (32, 64, 128)]
    ),
    "Moments": Law(
        moments,
        ("N", "d"),
        1,
        "$N d^2$",
        [(N, d) for N in (2_000, 8_000, 32_000) for d in (128, 256, 512, 1024)],
    ),
}


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(4):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times[1:])


def exponents(name: str, sizes: Array, times: Array) -> str:
    """The exponent of each size, and of the one that the law squares between its two largest values."""
    design = np.column_stack([np.log(sizes), np.ones(len(sizes))])
    first, second = np.linalg.lstsq(design, np.log(times), rcond=None)[0][:2]
    squared = LAWS[name].squared
    top = sizes[:, 1 - squared] == sizes[:, 1 - squared].max()
    (low, high), (before, after) = sizes[top, squared][-2:], times[top][-2:]
    local = np.log(after / before) / np.log(high / low)
    letters = LAWS[name].letters
    return (
        f"{name}: {letters[0]}^{first:.2f} ({letters[1]})^{second:.2f}; "
        f"{letters[squared]}^{local:.2f} from {low} to {high}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="figures")
    options = parser.parse_args()
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.5))
        for axes, (name, law) in zip(figure.subplots(1, 2), LAWS.items(), strict=True):
            sizes = np.array(law.sizes)
            times = np.array([seconds(law.maker(*size)) for size in law.sizes])
            print(exponents(name, sizes, times), flush=True)
            cost = np.prod(sizes, axis=1) * sizes[:, law.squared].astype(float)
            for i, value in enumerate(np.unique(sizes[:, 1])):
                chosen, label = sizes[:, 1] == value, f"{law.letters[1]} = {value}"
                axes.loglog(cost[chosen], times[chosen], "o", color=PALETTE[i], mfc="none", label=label)
            ends = np.array([cost.min(), cost.max()])
            axes.loglog(ends, times[cost.argmax()] * ends / ends[1], "k-", lw=0.8, label="slope 1")
            slope = np.polyfit(np.log(cost), np.log(times), 1)[0]
            axes.set(xlabel=law.label, ylabel="processor time [s]", title=f"{name}: fitted slope {slope:.2f}")
            axes.legend()
    print("written:", *save(figure, options.out, "scaling"))


if __name__ == "__main__":
    main()
