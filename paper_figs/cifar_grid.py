"""Where hidden classes survive training: learning rate against weight decay, drawn from recorded runs.

Record again:  finegrain train configs/cifar_grid.toml --data images:PATH
               finegrain recover configs/cifar_grid.toml --data images:PATH --glance \\
                   --json paper_figs/gallery/recorded/cifar_grid.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, paper_style

TITLE = "CIFAR-10 over learning rate and weight decay"
CLAIM = "how much of the hidden classes survives, over learning rate and weight decay"
RECORD = Path(__file__).parent / "gallery" / "recorded" / "cifar_grid.json"
VIEW = "mirrored and shifted"
FOUND = {  # titles, and which row of a run's recovery each shows
    "plain k-means, last stage: matched": {"method": "k-means", "stages": "last", "view": VIEW},
    "guided mixture, last two stages: matched": {
        "method": "guided-mixture",
        "stages": "last two",
        "view": VIEW,
    },
}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """One matrix (learning rate, weight decay) a panel, of the recorded runs; None where a run diverged."""
    runs = json.loads(RECORD.read_text())["runs"]
    rates, decays = (
        sorted({run["recipe"][name] for run in runs}) for name in ("learning_rate", "weight_decay")
    )
    titles = ["coarse test accuracy", "fine share of within-class variance", *FOUND]
    panels: dict[str, list[list[float | None]]] = {
        title: [[None] * len(decays) for _ in rates] for title in titles
    }
    for run in runs:
        i, j = rates.index(run["recipe"]["learning_rate"]), decays.index(run["recipe"]["weight_decay"])
        for title, value in zip(titles, _scores(run), strict=True):
            panels[title][i][j] = value
    return {"learning_rate": rates, "weight_decay": decays, "panels": panels}


def _scores(run: dict[str, Any]) -> list[float]:
    """A run's numbers, in the order of the panels."""
    found = [
        next(row["share"] for row in run["by_view"] if wanted.items() <= row.items())
        for wanted in FOUND.values()
    ]
    return [run["accuracy"][VIEW], run["last"]["test.fine_share"], *found]


def draw(numbers: dict[str, Any]) -> Figure:
    """A heat map a panel, each number written in its cell."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 5.0))
        for axis, (title, values) in zip(figure.subplots(2, 2).flat, numbers["panels"].items(), strict=True):
            _heat(axis, numbers, np.array(values, dtype=float))
            axis.set_title(title)
    return figure


def _heat(axis: Axes, numbers: dict[str, Any], values: np.ndarray) -> None:
    image = axis.imshow(values, cmap="cividis", aspect="auto")
    middle = np.nanmean(image.get_clim())
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        axis.text(j, i, f"{value:.3f}", ha="center", va="center", color="w" if value < middle else "k")
    axis.set_xticks(range(values.shape[1]), [f"{v:g}" for v in numbers["weight_decay"]])
    axis.set_yticks(range(values.shape[0]), [f"{v:g}" for v in numbers["learning_rate"]])
    axis.set(xlabel="weight decay", ylabel="learning rate")
