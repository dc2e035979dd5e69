"""Peak memory of Moments of a language model's size: 30,000 classes in 768 dimensions, a million samples streamed.

    python benchmarks/streamed_memory.py [--classes 30000 --dim 768 --samples 1000000 --products float64]

Prints the peak resident memory of a process that does nothing else, interpreter and libraries included, with what the
sums themselves take, and the time. Float32 batches of a synthetic stream; pooled covariance.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

BATCH = 4096


def stream(classes: int, dim: int, samples: int, products: str) -> None:
    """Accumulate, compute, and print peak MiB, MiB before the first sample, and seconds."""
    import numpy as np

    from finegrain.theory.moments import MomentsAccumulator

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux

    rng = np.random.default_rng(0)
    before, start = peak(), time.process_time()
    accumulator = MomentsAccumulator(classes, dim, "pooled", product_dtype=products)
    for first in range(0, samples, BATCH):
        labels = np.arange(first, min(first + BATCH, samples)) % classes
        accumulator.update(rng.standard_normal((len(labels), dim), dtype=np.float32), labels)
    moments = accumulator.compute()
    seconds = time.process_time() - start
    trace = float(moments.weights @ moments.covariances.traces)
    # Divisor n_c: a class has expected trace (1 - 1/n_c) d, and weight n_c/N.
    expected = dim * (1 - classes / samples)
    assert abs(trace / expected - 1) < 10 / (samples * dim) ** 0.5, (trace, expected)
    print(peak(), before, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--products", default="float64", choices=("float64", "float32"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = (options.classes, options.dim, options.samples)
    if options.inside:
        stream(*sizes, options.products)
        return
    arguments = [
        f"--{name}={value}" for name, value in zip(("classes", "dim", "samples"), sizes, strict=True)
    ]
    command = [sys.executable, __file__, "--inside", f"--products={options.products}", *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak, before, seconds = map(float, text.split())
    sums = 8 * (2 * sizes[0] * sizes[1] + sizes[1] ** 2 + 3 * sizes[0]) / 2**20
    print(
        "| C | d | N | peak MiB | of it before | running sums | processor s |", "| --- " * 7 + "|", sep="\n"
    )
    C, d, N = sizes
    print(f"| {C:,} | {d} | {N:,} | {peak:.0f} | {before:.0f} | {sums:.0f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
