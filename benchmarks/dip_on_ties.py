"""Is theory's dip right where values repeat?   python -m benchmarks.dip_on_ties [--cases 10000] [--seed 0]

Each case has 2 to 7 values, on a grid or not, of 1 to 9 samples each. Held against linear programmes that know nothing
of hulls: one per mode, over the heights of F at the values, with two heights at the mode, for an atom.
"""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

from finegrain.theory.dip import dip


def least_error(sample: ArrayLike) -> float:
    """min over modes of min over unimodal F of sup |F_n - F|, of two values or more."""
    values, counts = np.unique(np.asarray(sample, dtype=float), return_counts=True)
    above = np.cumsum(counts) / counts.sum()
    below = above - counts / counts.sum()
    return min(_at_mode(j, np.diff(values), below, above) for j in range(len(values)))


def _at_mode(
    j: int, gaps: NDArray[np.float64], below: NDArray[np.float64], above: NDArray[np.float64]
) -> float:
    """The error at mode j: unknowns F before it and up to it, F at it and after it, and the error."""
    k = len(below)
    F, error = np.eye(k + 1, k + 2), np.eye(k + 2)[-1]
    # Before the mode F is continuous, so that both ends of F_n's jump bound it; at the mode one end bounds each side.
    left, right = F[: j + 1], F[j + 1 :]
    rows, bounds = [left - error, right - error], [below[: j + 1], np.append(above[j], below[j + 1 :])]
    rows, bounds = (
        [*rows, -left - error, -right - error],
        [*bounds, -np.append(above[:j], below[j]), -above[j:]],
    )
    rows.append(F[:-1] - F[1:])
    bounds.append(np.zeros(k))
    rising = np.diff(left, axis=0) / gaps[:j, None], -np.diff(right, axis=0) / gaps[j:, None]
    for slopes in rising:
        bends = slopes[:-1] - slopes[1:]
        rows.append(bends)
        bounds.append(np.zeros(len(bends)))
    found = linprog(
        error, np.concatenate(rows), np.concatenate(bounds), bounds=[(0, 1)] * (k + 1) + [(0, None)]
    )
    return float(found.fun)


def drawn(rng: np.random.Generator) -> NDArray[np.float64]:
    """2 to 7 values with 1 to 9 samples each."""
    k = int(rng.integers(2, 8))
    values = np.arange(float(k)) if rng.random() < 0.5 else np.cumsum(rng.exponential(size=k))
    return np.repeat(values, rng.integers(1, 10, k))


def main(
    cases: Annotated[int, typer.Option(help="Samples drawn.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
) -> None:
    """The largest difference between the dip and the linear programmes."""
    rng, started = np.random.default_rng(seed), time.perf_counter()
    samples = [drawn(rng) for _ in range(cases)]
    differences = np.array([abs(dip(x) - least_error(x)) for x in samples])
    print(f"{cases} samples, seed {seed}: largest difference {differences.max():.1e}, ", end="")
    print(f"{(differences > 1e-9).sum()} above 1e-9; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    typer.run(main)
