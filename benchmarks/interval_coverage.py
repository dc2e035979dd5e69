"""How often the confidence intervals of `measure` hold the true value, on Gaussian draws.

    python benchmarks/interval_coverage.py --samples 50 --draws 500

Four Gaussian classes in two coarse ones, in 8 dimensions; the true values are those of the population's Moments.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from finegrain.theory import observables
from finegrain.theory.jackknife import GroupedMoments, interval
from finegrain.theory.mixture import Mixture
from finegrain.theory.tools.console import run, tracked


def main(
    samples: Annotated[int, typer.Option(min=3, help="Of each class.")] = 50,
    draws: Annotated[int, typer.Option(min=1)] = 500,
    groups: Annotated[int, typer.Option(min=2)] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Print the share of draws whose 95 % interval holds the true value, with and without the correction for bias."""
    rng = np.random.default_rng(seed)
    means, coarse = rng.standard_normal((4, 8)), np.array([0, 0, 1, 1])
    true = observables.table(Mixture.from_means(means, coarse, noise=1.0).moments, coarse)
    labels = np.repeat(np.arange(4), samples)
    corrected, plain = dict.fromkeys(true, 0), dict.fromkeys(true, 0)
    for _ in tracked(range(draws), "draws"):
        grouped = GroupedMoments(4, 8, groups=groups)
        grouped.update(means[labels] + rng.standard_normal((labels.size, 8)), labels)
        found = observables.table(grouped.compute(), coarse)
        left_out = [observables.table(m, coarse) for m in grouped.leave_one_out()]
        for name, value in true.items():
            low, high = interval(found[name], [t[name] for t in left_out])
            corrected[name] += int(low <= value <= high)
            plain[name] += int(abs(found[name] - value) <= (high - low) / 2)
    for name, value in true.items():
        print(f"{name:24} {value:8.4f}  {corrected[name] / draws:.3f}  {plain[name] / draws:.3f}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
