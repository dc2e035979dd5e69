"""T7 through the sweep engine: the separation that is left after training against the scale of the start."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.sweeps import plot as sweep_plot
from finegrain.sims.sweeps.sweep import sweep

TITLE = "A sweep over scales and seeds"
CLAIM = "slopes fitted to a sweep over scales and seeds, by two commands, are those of T7"


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Two seeds at four scales for S = 2 and 3, each point a run of its own."""
    config = {
        "times": [120.0],
        "rtol": 1e-6,
        "width": 80,
        "grid": {
            "S": [2, 3],
            "eps": np.logspace(-5, -8, 4),
            "seed": [seed, seed + 1],
        },
    }
    with TemporaryDirectory() as folder:
        table = sweep(config, folder, jobs=jobs, progress=True)
    fits = sweep_plot.fits(table, "eps", "separation", "S")
    return {
        "table": table,
        "slopes": {fit.name: {"fitted": fit.slope, "predicted": fit.predicted} for fit in fits},
    }


def draw(numbers: dict[str, Any]) -> Figure:
    """Markers a run each, dashed the fit, solid theory's slope."""
    return sweep_plot.draw(sweep_plot.fits(numbers["table"], "eps", "separation", "S"), "eps", "separation")
