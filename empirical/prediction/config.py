"""The settings of a prediction, apart from `predict.py`: the command line shows the defaults without loading torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.theory.mixture_fit import SHAPES
from finegrain.theory.tools import checks


def _setting(default: Any, **option: Any) -> Any:
    """A field with its default and what its command-line option says (commands/options.py)."""
    return field(default=default, metadata=option)


@dataclass(frozen=True)
class Config:
    """Settings of one comparison; the defaults are those of docs/results/prediction.md.

    Attributes:
        map: coarse map by name or list (finegrain.empirical.readers.coarse_maps)
        components: R, Gaussians fitted to each fine class, or "auto" for the R of 1, 2, 4, 8, 16 that is likeliest on
            samples held out of the fit
        shape: of the Gaussians in the search, "full" or "spherical" (finegrain.theory.mixture_fit)
        fit_in: "class-means" looks for them in the span of the fine class means, "all" in all of the inputs
        dim: principal components kept
        width: m
        steps, learning_rate, momentum, weight_decay: of the descent
        batch_size: samples a step; None for all of them. Theory takes every step on the whole population
        scale: initial weights are scale * N(0, 1) / sqrt(fan-in)
        seed: of the initial weights, of the fit and of the batches
        records: how many times to record after step 0, spaced evenly in the logarithm (fewer where steps coincide)
        dynamics: "descent" predicts with descent on the population loss at the same learning rate and momentum,
            "flow" with gradient flow, at times steps * learning_rate/(1 - momentum)
    """

    map: str = _setting(
        "mod", help="mod, halves, random:SEED, semantic, opposed, superclasses, or a list 0,1,0,1."
    )
    components: int | str = _setting(
        4, help="Gaussians fitted to each fine class, or auto: by held-out likelihood."
    )
    shape: str = _setting("full", help="full or spherical: of the Gaussians while they are looked for.")
    fit_in: str = _setting("class-means", help="class-means or all: where to look for them.")
    dim: int = _setting(32, help="Principal components kept, fewer where the images span fewer.", min=1)
    width: int = _setting(32, help="Neurons.", min=1)
    steps: int = _setting(1200, help="Descent steps.", min=1)
    learning_rate: float = _setting(0.3, help="Of the descent, > 0.")
    momentum: float = _setting(0.0, help="Of the descent, in [0, 1).")
    batch_size: int | None = _setting(None, help=r"Samples a step \[default: all of them].", min=1)
    weight_decay: float = _setting(1e-3, help="lambda, on both layers.", min=0)
    scale: float = _setting(0.5, help="Of the initial weights, > 0.")
    seed: int = _setting(0, help="Of the initial weights and of the fit.", min=0)
    records: int = _setting(12, help="Recorded times after step 0.", min=1)
    dynamics: str = _setting("descent", help="descent or flow, on the population loss.")

    def __post_init__(self) -> None:
        for name in ("dim", "width", "steps", "records"):
            checks.integer(name, getattr(self, name), 1)
        if self.components != "auto":
            checks.integer("components, if not auto,", self.components, 1)
        if self.batch_size is not None:
            checks.integer("batch_size", self.batch_size, 1)
        checks.integer("seed", self.seed, 0)
        checks.at_least("weight_decay", self.weight_decay, 0)
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("scale", self.scale)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}")
        checks.one_of("shape", self.shape, SHAPES)
        checks.one_of("fit_in", self.fit_in, ("class-means", "all"))
        checks.one_of("dynamics", self.dynamics, ("descent", "flow"))

    def recorded_steps(self) -> NDArray[np.int64]:
        """Step 0 and steps spaced evenly in their logarithm up to the last."""
        spaced = np.geomspace(1, self.steps, self.records) if self.records > 1 else np.array([self.steps])
        return np.unique(np.concatenate([[0], spaced.round()])).astype(np.int64)
