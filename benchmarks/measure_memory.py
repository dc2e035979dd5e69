"""Peak memory of `measure` on a file larger than it may hold.

    python benchmarks/measure_memory.py --rows 10000000 --dim 64

Needs rows x dim x 4 bytes of disk for a while, in the folder for temporary files.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from finegrain.empirical.measurement.measure import measure
from finegrain.theory.tools.console import run

BLOCK = 250_000


def write(folder: Path, rows: int, dim: int) -> None:
    """x.npy, float32 (rows, dim), and y.npy: ten Gaussian classes."""
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, dim))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int64, (rows,))
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        y[start : start + n] = rng.integers(10, size=n)
        x[start : start + n] = rng.standard_normal((n, dim), dtype=np.float32)
        x[np.arange(start, start + n), y[start : start + n]] += 2


def main(
    rows: Annotated[int, typer.Option(min=100)] = 10_000_000, dim: Annotated[int, typer.Option(min=10)] = 64
) -> None:
    """Write in another process, so that this one's peak is the reader's; measure; print peak and seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(folder, rows, dim))
        writer.start()
        writer.join()
        start = time.perf_counter()
        found = measure(folder / "x.npy", folder / "y.npy", coarse_map="mod", progress=True)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{found.counts.sum()} rows of {dim}: peak {peak:.0f} MiB, {seconds:.0f} s, {found.groups} groups")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
