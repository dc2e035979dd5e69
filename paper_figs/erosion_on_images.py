"""T8 on real images, drawn from a recorded run.

Record again:  python benchmarks/erosion_on_images.py --out paper_figs/gallery/recorded/erosion_on_images.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, PALETTE, paper_style

TITLE = "Erosion on images"
CLAIM = "off the classifier a linear network forgets digits at lambda; a ReLU network keeps them apart"
RECORD = Path(__file__).parent / "gallery" / "recorded" / "erosion_on_images.json"


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """The recorded run, whatever the seed asked for."""
    return json.loads(RECORD.read_text())


def draw(numbers: dict[str, Any]) -> Figure:
    """Separation off the classifier's row space against lambda t: on the digits, and from points to digits."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.6))
        images, points = figure.subplots(1, 2)
        for run in numbers["images"]:
            color = PALETTE[run["activation"] == "relu"]
            marker = "os"[run["weight_decay"] > 0.01]
            name = {"identity": "linear", "relu": "ReLU"}[run["activation"]]
            _draw(images, run, color, marker, f"{name}, λ = {run['weight_decay']:g}")
        for i, run in enumerate(numbers["points"]):
            _draw(points, run, PALETTE[i], "o", f"noise × {run['noise']:g}")
        images.set(title="digits", ylabel="separation of subclasses\noff the classifier")
        points.set(title="ReLU: orthonormal means, a share of the noise")
        for axes in (images, points):
            axes.set(yscale="log", xlabel="λ × steps × learning rate")
            axes.legend(fontsize=6)
    return figure


def _draw(axes: Any, run: dict[str, Any], color: str, marker: str, label: str) -> None:
    """Markers for what was observed, and theory's rate as a line through the middle one."""
    decays = run["weight_decay"] * np.array(run["times"])
    off, slope = np.array(run["off"]), run["rate"] / run["weight_decay"]
    middle = len(off) // 2
    axes.plot(decays, off, marker, color=color, label=label)
    line = off[middle] * np.exp(-slope * (decays - decays[middle]))
    axes.plot(decays[middle - 2 : middle + 3], line[middle - 2 : middle + 3], color=color)
