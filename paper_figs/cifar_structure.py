"""The fine structure of a network trained on coarse CIFAR-10, drawn from a recorded run.

Record again: as paper_figs/cifar_course.py says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from safetensors.numpy import load_file

from finegrain.sims.plotting import PAGE, PALETTE, paper_style
from finegrain.theory import observables
from finegrain.theory.moments import Moments

TITLE = "CIFAR-10 at the end of training"
CLAIM = "after training on coarse labels, fine classes are still apart inside their coarse class"
FOLDER = Path(__file__).parent / "gallery" / "recorded"


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Class distances and a map of one coarse class's test images, of the recorded run."""
    record = json.loads((FOLDER / "cifar.json").read_text())
    moments = Moments(**load_file(FOLDER / "cifar_moments.safetensors"))
    coarse_map = np.array(record["coarse_map"])
    order = np.argsort(coarse_map, kind="stable")
    distances = np.asarray(observables.class_distances(moments))[np.ix_(order, order)]
    return {
        "classes": [record["class_names"][c] for c in order],
        "distances": (distances / distances.mean()).tolist(),
        "drawn": record["drawn"],
        "names": record["class_names"],
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """Heat map of distances, coarse classes in a row; t-SNE of one coarse class, coloured by hidden class."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 3.0))
        heat, plane = figure.subplots(1, 2)
        image = heat.imshow(numbers["distances"], cmap="cividis")
        count = len(numbers["classes"])
        heat.set_xticks(range(count), numbers["classes"], rotation=90)
        heat.set_yticks(range(count), numbers["classes"])
        heat.set_title("mean squared distance / its mean, test images")
        figure.colorbar(image, ax=heat)
        points, fine = np.array(numbers["drawn"]["points"]), np.array(numbers["drawn"]["fine"])
        for colour, c in zip(PALETTE, np.unique(fine), strict=False):
            x, y = points[fine == c].T
            plane.plot(x, y, ".", ms=3, color=colour, label=numbers["names"][c])
        plane.set(xticks=[], yticks=[], title="t-SNE of the test images of one coarse class")
        plane.legend(markerscale=2)
    return figure
