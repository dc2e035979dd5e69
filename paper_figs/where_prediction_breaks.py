"""Where T13's prediction breaks, and why, drawn from a recorded run.

Record again:  python benchmarks/where_prediction_breaks.py --out RECORD

The error of fine_share at the end, median and quartiles over repeats. Upper row: against one setting at a time. Lower
row: against n, for images and for their Gaussian control, and against R.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finegrain.empirical.prediction.error_law import power_law
from finegrain.sims.plotting import PAGE, PALETTE, paper_style
from finegrain.theory.tools.arrays import Array

TITLE = "Where the prediction breaks"
CLAIM = "T13's error falls with n where classes are Gaussian; where they are not it stays, and falls with R"
RECORD = Path(__file__).parent / "gallery" / "recorded" / "where_prediction_breaks.json"
SETTINGS = {"width": "width", "steps": "steps of training", "scale": "initial scale", "weight_decay": "λ"}
MEASURED = ("fine_share", "nc1_trace_ratio_coarse")


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """The recorded run, whatever the seed asked for: errors at the end over repeats, and the two power laws."""
    record = json.loads(RECORD.read_text())
    return {name: _errors(record, name) for name in MEASURED}


def _errors(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Signed errors at the end, a list over repeats: by setting and value, by inputs, n and R; and fitted exponents."""
    settings: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    grid: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    base = record["base"]
    for row in record["rows"]:
        error = row[name]["end"]
        if row["varied"] != "components":
            settings[row["varied"]][f"{row['value']:g}"].append(error)
            continue
        grid[f"{row['inputs']}, R = {row['value']}"][f"{row['n']:g}"].append(error)
        if row["inputs"] == "images" and row["value"] == base["components"] and row["n"] == 10_000:
            for setting in SETTINGS:
                settings[setting][f"{base[setting]:g}"].append(error)
    laws = {f"{what} in n": _law(by_n) for what, by_n in grid.items()}
    most = max(map(float, grid["images, R = 1"]))
    laws["images in R"] = _law(
        {R.split()[-1]: by_n[f"{most:g}"] for R, by_n in grid.items() if R.startswith("images")}
    )
    return {"settings": settings, "grid": grid, "exponents": laws}


def _law(errors: dict[str, list[float]]) -> dict[str, Any]:
    common = min(
        map(len, errors.values())
    )  # in a run cut short some have fewer repeats; the first are the same
    law = power_law([float(x) for x in errors], [repeats[:common] for repeats in errors.values()])
    return {"exponent": law.exponent, "interval": list(law.interval)}


def draw(numbers: dict[str, Any]) -> Figure:
    share = numbers["fine_share"]
    with paper_style():
        figure = Figure(figsize=(PAGE, 3.9))
        upper, lower = figure.subfigures(2, 1, squeeze=False)[:, 0]
        panels = upper.subplots(1, len(SETTINGS), sharey=True)
        for axes, (name, label) in zip(panels, SETTINGS.items(), strict=True):
            _setting(axes, share["settings"][name], label)
        panels[0].set_ylim(0)
        panels[0].set_ylabel("error of fine_share, %")
        against_n, against_R = lower.subplots(1, 2, sharey=True)
        _against_n(against_n, share["grid"])
        _against_R(against_R, share["grid"])
        against_n.set_ylabel("error of fine_share, %")
    return figure


def _points(
    axes: Axes, errors: dict[str, list[float]], color: str, label: str | None = None
) -> tuple[Array, Array]:
    """Median of |error| in percent over repeats, bars from quartile to quartile; returns x and the medians."""
    x = np.array(sorted(map(float, errors)))
    sizes = [100 * np.abs(errors[f"{value:g}"]) for value in x]
    low, middle, high = np.transpose([np.quantile(size, (0.25, 0.5, 0.75)) for size in sizes])
    axes.errorbar(x, middle, (middle - low, high - middle), fmt="o", capsize=2, color=color, label=label)
    axes.set(xscale="log")
    return x, middle


def _setting(axes: Axes, errors: dict[str, list[float]], label: str) -> None:
    x, _ = _points(axes, errors, PALETTE[0])
    axes.set_xlabel(label)
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()


def _against_n(axes: Axes, grid: dict[str, dict[str, list[float]]]) -> None:
    """The control with its -1/2 law, and the images at R = 1, which leave it."""
    for color, what in zip(PALETTE, ("control, R = 1", "images, R = 1"), strict=False):
        n, middle = _points(axes, grid[what], color, what)
        if what.startswith("control"):
            level = np.exp(np.mean(np.log(middle)) + 0.5 * np.mean(np.log(n)))
            axes.plot(n, level / np.sqrt(n), color=color, label=r"$n^{-1/2}$")
    axes.set(yscale="log", xlabel="samples n")
    axes.legend(fontsize=6)


def _against_R(axes: Axes, grid: dict[str, dict[str, list[float]]]) -> None:
    """Images, one colour a number of them."""
    by_n: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for what, errors in grid.items():
        if what.startswith("images"):
            for n, values in errors.items():
                by_n[n][what.split()[-1]] = values
    for color, (n, by_R) in zip(PALETTE[1:], by_n.items(), strict=False):
        R, middle = _points(axes, by_R, color, f"{int(float(n)):,} images")
        axes.plot(R, middle, color=color, lw=0.5)
        axes.set_xticks(R, [f"{number:g}" for number in R])
    axes.set_xlabel("Gaussians a class, R")
    axes.minorticks_off()
    axes.legend(fontsize=6)
