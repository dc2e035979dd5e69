"""Hidden classes along training on coarse CIFAR-10, drawn from a recorded run.

Record again:  make cifar, then
               cp runs/cifar_labels-coarse/recovery.json paper_figs/gallery/recorded/cifar.json
               cp runs/cifar_labels-coarse/moments.safetensors paper_figs/gallery/recorded/cifar_moments.safetensors
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, PALETTE, paper_style

TITLE = "CIFAR-10 along training"
CLAIM = "trained on coarse labels alone, a network sorts CIFAR-10's hidden classes along the way"
RECORD = Path(__file__).parent / "gallery" / "recorded" / "cifar.json"
WAYS = {"k-means": "plain k-means", "guided-k-means": "guided k-means", "guided-mixture": "guided mixture"}
OBSERVED = {
    "fine_share": "share of within-class variance\nthat is fine structure",
    "nc1_trace_ratio_coarse": "NC1, coarse",
}
PREDICTIONS = {"two_means": "k-means", "two_means_off_classifier": "guided-k-means"}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """The recorded run's course, whatever the seed asked for; its own seed is in its recipe."""
    return course(RECORD)


def course(file: Path) -> dict[str, Any]:
    """Observables and recovery along a run, from its recovery.json."""
    record = json.loads(file.read_text())
    metrics = record["metrics"]
    numbers: dict[str, Any] = {"epoch": [line["epoch"] for line in metrics]}
    for split in ("train", "test"):
        for name in OBSERVED:
            numbers[f"{split} {name}"] = [line.get(f"{split}.{name}") for line in metrics]
    for method in WAYS:
        rows = [row for row in record["by_epoch"] if row["method"] == method]
        numbers[method] = {key: [row[key] for row in rows] for key in ("share", "share_by_class", "clp")}
    plain = [row for row in record["by_epoch"] if row["method"] == "k-means"]
    numbers["oracle"] = [row["oracle"] for row in plain]
    numbers["predicted"] = {name: [row["predicted"][name] for row in plain] for name in plain[0]["predicted"]}
    return numbers


def draw(numbers: dict[str, Any]) -> Figure:
    """Fine structure and collapse, recovery, and recovery in each coarse class against what T10 predicts."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 4.2))
        axes = figure.subplots(2, 2)
        for axis, (name, label) in zip(axes[0], OBSERVED.items(), strict=True):
            for split, marker, colour in (("train", "o", PALETTE[0]), ("test", "s", PALETTE[1])):
                values = np.array(numbers[f"{split} {name}"], dtype=float)
                axis.plot(numbers["epoch"], values, marker, color=colour, mfc="none", label=f"{split} images")
            axis.set(xlabel="epoch", ylabel=label)
        axes[0, 1].set_yscale("log")
        axes[0, 0].legend()
        _recovery(axes[1, 0], numbers)
        _prediction(axes[1, 1], numbers)
    return figure


def _recovery(axis: Axes, numbers: dict[str, Any]) -> None:
    for i, (method, label) in enumerate(WAYS.items()):
        axis.plot(numbers["epoch"], numbers[method]["clp"], "o-", color=PALETTE[i], label=label)
    axis.plot(numbers["epoch"], numbers["oracle"], "k:", label="probe taught the fine labels")
    axis.set(xlabel="epoch", ylabel="fine test accuracy (CLP)")
    axis.legend()


def _prediction(axis: Axes, numbers: dict[str, Any]) -> None:
    for i, (rule, method) in enumerate(PREDICTIONS.items()):
        predicted, observed = numbers["predicted"][rule], numbers[method]["share_by_class"]
        axis.plot(
            np.ravel(predicted), np.ravel(observed), "o", color=PALETTE[i], mfc="none", label=WAYS[method]
        )
    axis.plot([0.5, 1], [0.5, 1], "k-", lw=0.6)
    axis.set(xlabel="share predicted by T10 (a dot: class, epoch)", ylabel="share matched")
    axis.legend()
