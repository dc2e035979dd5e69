"""A training recipe: everything that the weights of a trained network depend on, besides the images.

A TOML file holds one recipe and what to vary about it; each combination is a run in a folder of its own:

    name = "headline"
    vary = { labels = ["coarse", "fine"], seed = [0, 1, 2] }

    [recipe]
    network = "resnet9"
    width = 32

Learning rates are for the mean loss over a batch: multiply them with the batch.
"""

from __future__ import annotations

import difflib
import itertools
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from empirical.augment import FLIPS
from theory import checks

LABELS = ("coarse", "fine")
LOSSES = ("cross-entropy", "squared")
SCHEDULES = ("one-cycle", "cosine")
AMP = ("auto", "bf16", "off")


@dataclass(frozen=True)
class Recipe:
    """Settings of one training; the defaults are those of the short recipe of docs/results/cifar.md.

    Attributes:
        network, width, scale: of empirical.networks; scale multiplies the logits
        map: coarse map by name or list (empirical.coarse_maps)
        labels: "coarse" trains on the map's labels; "fine" is the baseline, trained on the fine ones
        loss: "cross-entropy", or "squared": 1/2 ||f - t||^2 with t the centred one-hot target
        label_smoothing: of the cross-entropy
        epochs, batch: batches are full; an epoch drops what is left over
        learning_rate: at its peak
        schedule: "one-cycle" rises linearly to the peak at the share `peak_at` of all steps and falls linearly to 0;
            "cosine" falls from the start
        momentum, weight_decay: of SGD with Nesterov's step
        shift_rate: the shifts of normalisation layers learn this many times faster, with the same decay per step
        lookahead: average the weights every 5 steps, ever more slowly (Zhang et al. 2019)
        crop, flip: augmentation (empirical.augment); crop is the padding in pixels
        sizes: pairs (epoch, pixels): from that epoch on images are scaled to so many pixels; default: as they are
        amp: "bf16", "off", or "auto": bf16 autocast on CUDA and on processors with bf16 products, else off
        compile: let torch.compile fuse the network
        seed: of the weights, the order, the crops, the mirrors and the measured subset
        measure_every: epochs between measurements of the representation
        measured: images of each split that are measured then
    """

    network: str = "resnet9"
    width: int = 32
    scale: float = 0.125
    map: str = "mod"
    labels: str = "coarse"
    loss: str = "cross-entropy"
    label_smoothing: float = 0.0
    epochs: int = 22
    batch: int = 512
    learning_rate: float = 0.4
    schedule: str = "one-cycle"
    peak_at: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    shift_rate: float = 1.0
    lookahead: bool = False
    crop: int = 4
    flip: str = "alternating"
    sizes: tuple[tuple[int, int], ...] = ()
    amp: str = "auto"
    compile: bool = False
    seed: int = 0
    measure_every: int = 1
    measured: int = 2000

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(tuple(pair) for pair in self.sizes))
        for name in ("width", "epochs", "batch", "measure_every", "measured"):
            checks.integer(name, getattr(self, name), 1)
        for name in ("crop", "seed"):
            checks.integer(name, getattr(self, name), 0)
        for name in ("scale", "learning_rate", "shift_rate"):
            checks.positive(name, getattr(self, name))
        for name in ("weight_decay", "label_smoothing", "momentum", "peak_at"):
            checks.at_least(name, getattr(self, name), 0)
        for name in ("label_smoothing", "momentum", "peak_at"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} must be below 1, got {getattr(self, name)}")
        choices = {"labels": LABELS, "loss": LOSSES, "schedule": SCHEDULES, "flip": FLIPS, "amp": AMP}
        for name, allowed in choices.items():
            checks.one_of(name, getattr(self, name), allowed)
        for epoch, pixels in self.sizes:
            checks.integer("sizes: epoch", epoch, 0)
            checks.integer("sizes: pixels", pixels, 8)

    def rate(self, progress: float) -> float:
        """The learning rate as a share of its peak, at a share `progress` of all steps."""
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        rising = progress / self.peak_at if self.peak_at else 1.0
        return min(rising, (1 - progress) / (1 - self.peak_at))

    def pixels(self, epoch: int, full: int) -> int:
        """Side of the images in this epoch."""
        return next((pixels for start, pixels in reversed(self.sizes) if epoch >= start), full)


def read_recipes(path: Path) -> Iterator[tuple[str, Recipe]]:
    """Name and recipe of every run of a TOML file, the last name of `vary` varying fastest.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TOML, an unknown entry (the nearest is named) or one out of its range.
    """
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    _known(path, content, ("name", "recipe", "vary"))
    recipe, vary = content.get("recipe", {}), content.get("vary", {})
    names = tuple(f.name for f in fields(Recipe))
    _known(path, {**recipe, **vary}, names)
    for values in itertools.product(*vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        parts = [content.get("name", path.stem), *(f"{k}-{_short(v)}" for k, v in chosen.items())]
        yield "_".join(parts), Recipe(**{**recipe, **chosen})


def _known(path: Path, entries: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for name in entries:
        if name not in allowed:
            nearest = difflib.get_close_matches(name, allowed, n=1, cutoff=0)[0]
            raise ValueError(f"{path}: unknown entry {name!r} (nearest: {nearest})")


def _short(value: Any) -> str:
    return str(value).replace(":", "-").replace(",", "")
