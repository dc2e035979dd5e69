"""Where T13's prediction breaks, drawn from a recorded run.

Record again:  python benchmarks/where_prediction_breaks.py --out paper_figs/recorded/where_prediction_breaks.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sims.plotting import PAGE, PALETTE, paper_style

CLAIM = (
    "with four Gaussians a class or more, fine_share is predicted within 4 % over widths, scales and decays"
)
RECORD = Path(__file__).parent / "recorded" / "where_prediction_breaks.json"
PANELS = {
    "components": "Gaussians a class, R",
    "width": "width",
    "scale": "initial scale",
    "weight_decay": "λ",
}


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """The recorded run, whatever the seed asked for."""
    return json.loads(RECORD.read_text())


def draw(numbers: dict[str, Any]) -> Figure:
    """Error of fine_share, at the end and the worst along training, against each setting; the rest as in the base."""
    points = numbers["groups"]["images"]
    base = next(p for p in points if p["config"]["components"] == 4)["config"]
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.2))
        for axes, (name, label) in zip(
            figure.subplots(1, len(PANELS), sharey=True), PANELS.items(), strict=True
        ):
            chosen = [p for p in points if all(p["config"][k] == v for k, v in base.items() if k != name)]
            chosen.sort(key=lambda p: p["config"][name])
            values = [p["config"][name] for p in chosen]
            for color, (key, said) in zip(PALETTE, (("end", "at the end"), ("worst", "worst")), strict=False):
                axes.plot(values, [100 * p["fine_share"][key] for p in chosen], "o", color=color, label=said)
            axes.set(xscale="log", xlabel=label)
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.minorticks_off()
        figure.axes[0].set_ylim(0)
        figure.axes[0].set_ylabel("error of fine_share, %")
        figure.axes[0].legend(fontsize=6)
    return figure
