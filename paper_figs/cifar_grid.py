"""Where hidden classes survive training: learning rate against weight decay, drawn from recorded runs.

Record again:  python -m empirical train configs/cifar_grid.toml --data images:PATH
               python -m empirical recover configs/cifar_grid.toml --data images:PATH --glance \\
                   --json paper_figs/recorded/cifar_grid.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sims.plotting import PAGE, paper_style

CLAIM = "how much of the hidden classes survives, over learning rate and weight decay"
RECORD = Path(__file__).parent / "recorded" / "cifar_grid.json"
PANELS = {
    "coarse test accuracy": "coarse test accuracy",
    "fine_share": "fine share of within-class\nvariance, test images",
    "k-means": "plain k-means: matched",
    "guided-mixture": "guided mixture: matched",
}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """One matrix (learning rate, weight decay) a panel, of the recorded runs."""
    runs = json.loads(RECORD.read_text())["runs"]
    rates, decays = (
        sorted({run["recipe"][name] for run in runs}) for name in ("learning_rate", "weight_decay")
    )
    panels = {name: np.full((len(rates), len(decays)), np.nan) for name in PANELS}
    for run in runs:
        place = rates.index(run["recipe"]["learning_rate"]), decays.index(run["recipe"]["weight_decay"])
        panels["coarse test accuracy"][place] = run["accuracy"]["as is"]
        panels["fine_share"][place] = run["last"]["test.fine_share"]
        for row in run["how much"]:
            if row["method"] in panels:
                panels[row["method"]][place] = row["share"]
    return {"learning_rate": rates, "weight_decay": decays} | {n: v.tolist() for n, v in panels.items()}


def draw(numbers: dict[str, Any]) -> Figure:
    """A heat map a panel, each number written in its cell."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 5.0))
        for axis, (name, label) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
            _heat(axis, numbers, np.array(numbers[name], dtype=float))
            axis.set_title(label)
    return figure


def _heat(axis: Axes, numbers: dict[str, Any], values: np.ndarray) -> None:
    image = axis.imshow(values, cmap="cividis", aspect="auto")
    middle = np.nanmean(image.get_clim())
    for (i, j), value in np.ndenumerate(values):
        axis.text(j, i, f"{value:.3f}", ha="center", va="center", color="w" if value < middle else "k")
    axis.set_xticks(range(values.shape[1]), [f"{v:g}" for v in numbers["weight_decay"]])
    axis.set_yticks(range(values.shape[0]), [f"{v:g}" for v in numbers["learning_rate"]])
    axis.set(xlabel="weight decay", ylabel="learning rate")
