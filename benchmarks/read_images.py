"""How long a set of images takes to read, and how much memory: run it twice, the second reads from the cache.

python benchmarks/read_images.py images:PATH --cache FOLDER
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from finegrain.empirical.networks.augment import pixel_stats
from finegrain.empirical.readers.data import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    before = _peak()
    started, used = time.perf_counter(), time.process_time()
    data = load(options.data, cache=options.cache, progress=True)
    print(f"{time.perf_counter() - started:.1f} s, of them {time.process_time() - used:.1f} s of processor")
    print(f"most memory: {_peak():.0f} MiB, before the reading {before:.0f} MiB")
    mean, deviation = pixel_stats(data.train_x).tolist()
    print("training pixels, mean:     ", *(f"{value:.6f}" for value in mean))
    print("training pixels, deviation:", *(f"{value:.6f}" for value in deviation))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
