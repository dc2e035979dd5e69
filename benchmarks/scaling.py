"""Does the population gradient cost m^2 C R, and do Moments cost N d^2? Time against size over two decades.

    python benchmarks/scaling.py [--out docs/figures]

Prints the exponents of each size, fitted to the logarithms, and draws scaling.png. The least of five processor times is
taken, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from sims import population_loss
from sims.initial_weights import gaussian
from sims.plotting import PAGE, PALETTE, paper_style, save
from theory import Mixture, Moments, MomentsAccumulator
from theory.targets import one_hot

SIZES = {
    "population gradient": [(m, J) for m in (32, 64, 128) for J in (16, 64, 256)],
    "Moments": [(N, d) for N in (5_000, 20_000, 80_000) for d in (64, 128, 256, 512)],
}
LETTERS = {"population gradient": ("m", "C R"), "Moments": ("N", "d")}


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


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(6):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="figures")
    options = parser.parse_args()
    makers = {"population gradient": gradient, "Moments": moments}
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.5))
        for axes, (name, maker) in zip(figure.subplots(1, 2), makers.items(), strict=True):
            sizes = np.array(SIZES[name])
            times = np.array([seconds(maker(*size)) for size in SIZES[name]])
            design = np.column_stack([np.log(sizes), np.ones(len(sizes))])
            exponents = np.linalg.lstsq(design, np.log(times), rcond=None)[0][:2]
            first, second = LETTERS[name]
            law = (sizes[:, 0] ** 2 * sizes[:, 1]) if name != "Moments" else sizes[:, 0] * sizes[:, 1] ** 2
            slope = np.polyfit(np.log(law), np.log(times), 1)[0]
            label = "$m^2 C R$" if name != "Moments" else "$N d^2$"
            print(
                f"{name}: {first}^{exponents[0]:.2f} ({second})^{exponents[1]:.2f}; against the law {slope:.2f}"
            )
            for i, value in enumerate(np.unique(sizes[:, 1])):
                chosen = sizes[:, 1] == value
                axes.loglog(
                    law[chosen], times[chosen], "o", color=PALETTE[i], mfc="none", label=f"{second} = {value}"
                )
            ends = np.array([law.min(), law.max()], dtype=float)
            anchor = np.exp(np.mean(np.log(times[law > np.median(law)] / law[law > np.median(law)])))
            axes.loglog(ends, anchor * ends, "k-", lw=0.8, label=f"cost = {label}")
            axes.set(xlabel=label, ylabel="processor time [s]", title=f"{name}, fitted exponent {slope:.2f}")
            axes.legend()
    print("written:", *save(figure, options.out, "scaling"))


if __name__ == "__main__":
    main()
