"""Where T13's prediction breaks, and why: errors over settings, one varied at a time, and over n and R together.

    python benchmarks/where_prediction_breaks.py --out paper_figs/gallery/recorded/where_prediction_breaks.json

8 principal components, width 8, 400 steps, R = 4 and 10,000 images, unless varied; each repeat has other samples and
another start (empirical/prediction/limits.py). The control has width 16: at width 8 some starts lie where courses part,
and there no error is small enough to be proportional to its cause. Called again it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from finegrain.empirical.prediction.config import Config
from finegrain.empirical.prediction.limits import errors
from finegrain.empirical.prediction.sweep import reduced
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.image_cache import default_folder
from finegrain.sims.run_folder import environment
from finegrain.theory.tools.files import to_json, write_atomic

BASE = Config(dim=8, width=8, steps=400, shape="spherical", fit_in="all")
CONTROL = replace(BASE, width=16, components=1)
IMAGES = 10_000
VARIED: dict[str, tuple[Any, ...]] = {
    "width": (4, 16),
    "steps": (100, 1_600),
    "scale": (0.1, 1.5),
    "weight_decay": (1e-4, 1e-2),
}
COUNTS = {"images": (2_500, 10_000, 40_000), "control": (1_000, 4_000, 16_000, 64_000)}
REPEATS = {"images": 5, "control": 8}
COMPONENTS = {"images": (1, 4, 16), "control": (1,)}

Part = tuple[str, int, list[tuple[str, Any]]]  # inputs, count, and the settings varied


def parts() -> list[Part]:
    """What is trained on, with what is varied there; settings that share a training follow each other."""
    grid = [
        (inputs, n, [("components", R) for R in COMPONENTS[inputs]])
        for inputs in COUNTS
        for n in COUNTS[inputs]
    ]
    return [*grid, ("images", IMAGES, [(k, v) for k, values in VARIED.items() for v in values])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = reduced(load(options.data, cache=default_folder()), BASE.dim)
    rows: list[dict[str, Any]] = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    done = {(row["inputs"], row["n"], row["repeat"], row["varied"]) for row in rows}
    command = f"python benchmarks/where_prediction_breaks.py --data {options.data}"
    for repeat in range(max(REPEATS.values())):
        for inputs, n, settings in parts():
            if repeat >= REPEATS[inputs] or all((inputs, n, repeat, name) in done for name, _ in settings):
                continue
            started = time.process_time()
            base = CONTROL if inputs == "control" else BASE
            found = errors(data, inputs, n, repeat, [replace(base, **{k: v}) for k, v in settings])
            where = {"inputs": inputs, "n": n, "repeat": repeat}
            rows += [where | {"varied": k, "value": v} | e for (k, v), e in zip(settings, found, strict=True)]
            record = {"command": command, "data": options.data, "base": asdict(BASE), "rows": rows}
            write_atomic(options.out, to_json(record | {"environment": environment()}))
            print(f"repeat {repeat}, {inputs}, n = {n}: {time.process_time() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
