"""Recovery of CIFAR-10's hidden classes by three networks, drawn from recorded runs.

Record again:  finegrain train configs/NAME.toml --data images:PATH
               finegrain recover configs/NAME.toml --data images:PATH --glance --images 50000 \\
                   --json paper_figs/gallery/recorded/RECORD
               NAME and RECORD: cifar_seeds and cifar_seeds.json, gpu_speed and cifar_gpu_speed.json, gpu_resnet18 and
               cifar_gpu_resnet18.json; cifar_fine.json has the run of configs/cifar.toml on fine labels. Of the two GPU
               recipes not every run was made: docs/results/cifar.md names those that were
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, PALETTE, paper_style

TITLE = "CIFAR-10 by three networks"
CLAIM = (
    "a mixture fitted where theory says to look gives, in three networks, within a point what a probe taught the ten "
    "classes gives; plain k-means falls short, in some by far"
)
RECORDED = Path(__file__).parent / "gallery" / "recorded"
NETWORKS = {  # label: records
    "speed, width 32\n24 epochs": ("cifar_seeds.json", "cifar_fine.json"),
    "speed, width 128\n40 epochs": ("cifar_gpu_speed.json",),
    "ResNet-18\n40 epochs": ("cifar_gpu_resnet18.json",),
}
VIEWS = {
    "as is": "representation of the image",
    "mirrored and shifted": "mean over mirror images and shifts",
}
STAGES = "last two"
WAYS = {"k-means": "plain k-means", "guided-k-means": "guided k-means", "guided-mixture": "guided mixture"}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Of each network and view: CLP and oracle, a number a run, and the accuracies of those trained on fine labels."""
    numbers: dict[str, Any] = {}
    for network, files in NETWORKS.items():
        runs = [run for file in files for run in json.loads((RECORDED / file).read_text())["runs"]]
        numbers[network] = {view: _scores(runs, view) for view in VIEWS}
    return numbers


def _scores(runs: list[dict[str, Any]], view: str) -> dict[str, list[float]]:
    rows = [
        row
        for run in runs
        for row in run.get("by_view", [])
        if (row["view"], row["stages"]) == (view, STAGES)
    ]
    scores = {method: [row["clp"] for row in rows if row["method"] == method] for method in WAYS}
    scores["oracle"] = [row["oracle"] for row in rows if row["method"] == "k-means"]
    scores["fine"] = [run["accuracy"][view] for run in runs if run["recipe"]["labels"] == "fine"]
    return scores


def draw(numbers: dict[str, Any]) -> Figure:
    """A panel a view: a dot for each run, a bar for what the same network reaches that was told the ten classes."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.6))
        axes = figure.subplots(1, len(VIEWS), sharey=True)
        for axis, (view, title) in zip(axes, VIEWS.items(), strict=True):
            _panel(axis, {network: scores[view] for network, scores in numbers.items()})
            axis.set_title(title)
        axes[0].set_ylabel("fine test accuracy")
        axes[1].legend(loc="lower right")
    return figure


def _panel(axis: Axes, numbers: dict[str, Any]) -> None:
    for place, scores in enumerate(numbers.values()):
        first = place == 0
        axis.hlines(
            np.mean(scores["fine"]),
            place - 0.35,
            place + 0.35,
            "k",
            label="trained on the ten classes" if first else "",
        )
        shown = WAYS | {"oracle": "probe taught the ten classes"}
        for i, (name, label) in enumerate(shown.items()):
            x = np.full(len(scores[name]), place + 0.15 * (i - 1.5))
            colour = PALETTE[i] if name in WAYS else "0.5"
            axis.plot(x, scores[name], "o", color=colour, mfc="none", label=label if first else "")
    axis.set_xticks(range(len(numbers)), list(numbers))
