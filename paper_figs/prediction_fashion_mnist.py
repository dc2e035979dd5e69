"""T13 on Fashion-MNIST, drawn from a recorded run: the data set is not embedded, its numbers are.

Record again:  finegrain predict --data fashion-mnist --components 4 --out runs/fashion-mnist
               cp runs/fashion-mnist/prediction.json paper_figs/gallery/recorded/prediction_fashion_mnist.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from finegrain.empirical.prediction.figure import draw as draw_rows

TITLE = "Fashion-MNIST: predicted against observed"
CLAIM = "on Fashion-MNIST, theory with four Gaussians a class predicts fine_share and NC1 of the network within 3 %"
RECORD = Path(__file__).parent / "gallery" / "recorded" / "prediction_fashion_mnist.json"


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """The recorded run, whatever the seed asked for; its own seed is in its config."""
    return json.loads(RECORD.read_text())


def draw(numbers: dict[str, Any]) -> Figure:
    """Three observables along training, and the error of their prediction."""
    R, width = (numbers["config"][name] for name in ("components", "width"))
    title = f"Fashion-MNIST, {R} Gaussians a fine class, width {width}: no fitted parameter"
    return draw_rows(numbers["rows"], title)
