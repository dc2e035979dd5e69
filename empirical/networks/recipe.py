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
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from finegrain.empirical.networks.augment import FLIPS
from finegrain.theory.tools import checks

MOST = 10_000  # runs of one file
LABELS = ("coarse", "fine")
LOSSES = ("cross-entropy", "squared")
SCHEDULES = ("one-cycle", "cosine")
PRECISIONS = ("auto", "float32", "bf16")


@dataclass(frozen=True)
class Recipe:
    """Settings of one training; configs/ has recipes, and docs/results/cifar.md what they gave.

    Attributes:
        network, width, scale: of finegrain.empirical.networks.architectures; scale multiplies the logits
        map: coarse map by name or list (finegrain.empirical.readers.coarse_maps)
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
        crop, flip: augmentation (finegrain.empirical.networks.augment); crop is the padding in pixels
        sizes: pairs (epoch, pixels): from that epoch on images are scaled to so many pixels; default: as they are
        precision: of the products, "float32", "bf16" (autocast), or "auto": bf16 on CUDA, float32 on every processor
        compile: let torch.compile fuse the network
        seed: of the weights, the order, the crops, the mirrors and the measured subset
        measure_every: epochs between checkpoints, each of which measures the representation
        measured: images of each split that are measured then
    """

    network: str = "resnet9"
    width: int = 32
    scale: float = 0.125
    map: str | tuple[int, ...] = "mod"
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
    precision: str = "auto"
    compile: bool = False
    seed: int = 0
    measure_every: int = 1
    measured: int = 2000

    def __post_init__(self) -> None:
        for name, default in DEFAULTS.items():
            _typed(name, getattr(self, name), type(default))
        object.__setattr__(self, "sizes", _pairs(self.sizes))
        object.__setattr__(self, "map", _map(self.map))
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
        choices = {
            "labels": LABELS,
            "loss": LOSSES,
            "schedule": SCHEDULES,
            "flip": FLIPS,
            "precision": PRECISIONS,
        }
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

    def checkpoints(self) -> list[int]:
        """Epochs after which there is a checkpoint: 0, every `measure_every`, and the last."""
        return [*range(0, self.epochs, self.measure_every), self.epochs]

    def pixels(self, epoch: int, full: int) -> int:
        """Side of the images in this epoch."""
        return next((pixels for start, pixels in reversed(self.sizes) if epoch >= start), full)


DEFAULTS = {f.name: f.default for f in fields(Recipe) if f.name not in ("map", "sizes")}


def read_recipes(path: Path) -> list[tuple[str, Recipe]]:
    """Name and recipe of every run of a TOML file, the last name of `vary` varying fastest.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TOML, neither [recipe] nor vary in it, an unknown entry (the nearest is named), one of another
            type or out of its range, or runs whose names are no folder's or not apart.
    """
    try:
        return _runs(path.stem, tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _runs(stem: str, content: dict[str, Any]) -> list[tuple[str, Recipe]]:
    _known(content, ("name", "recipe", "vary"))
    if not {"recipe", "vary"} & content.keys():  # an empty file is a mistake, not the default recipe
        raise ValueError("a recipe must have a table [recipe], empty for all defaults, or vary; got neither")
    recipe, vary = (_table(content, key) for key in ("recipe", "vary"))
    _known({**recipe, **vary}, tuple(f.name for f in fields(Recipe)))
    for key, values in vary.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"vary: {key} must be a non-empty list, got {values!r}")
    if (count := math.prod(map(len, vary.values()))) > MOST:
        raise ValueError(f"vary must give at most {MOST} runs, got {count}")
    runs = []
    for values in itertools.product(*vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        parts = [content.get("name", stem), *(f"{k}-{_short(v)}" for k, v in chosen.items())]
        runs.append(("_".join(map(str, parts)), Recipe(**{**recipe, **chosen})))
    _require_folders([name for name, _ in runs])
    return runs


def _require_folders(names: list[str]) -> None:
    """A run's name becomes its folder: one of its own, and below the output folder."""
    for name in names:
        if name in (".", "..") or not re.fullmatch(r"[\w .+=\[\]()-]{1,200}", name):
            raise ValueError(f"each run must have a name of letters, digits and _ - . + =, got {name!r}")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"runs must have names of their own, got {twice!r} twice")


def _table(content: dict[str, Any], key: str) -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise ValueError(f"{key} must be a table, got {table!r}")
    return table


def _known(entries: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for name in entries:
        if name not in allowed:
            nearest = difflib.get_close_matches(name, allowed, n=1, cutoff=0)[0]
            raise ValueError(f"unknown entry {name!r} (nearest: {nearest})")


def _typed(name: str, value: Any, kind: type) -> None:
    """Refuse what is not of the default's type; a whole number will do for any number."""
    number = kind in (int, float) and isinstance(value, int) and not isinstance(value, bool)
    if number and abs(value) >= 2**63:
        raise ValueError(f"{name} must be below 2^63, got a number of {value.bit_length()} bits")
    if not (number or isinstance(value, kind)):
        words = {str: "text", bool: "true or false", int: "an integer", float: "a number"}[kind]
        raise ValueError(f"{name} must be {words}, got {value!r}")


def _pairs(sizes: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(sizes, list | tuple) or any(
        not isinstance(p, list | tuple) or len(p) != 2 for p in sizes
    ):
        raise ValueError(f"sizes must be a list of pairs [epoch, pixels], got {sizes!r}")
    return tuple((epoch, pixels) for epoch, pixels in sizes)


def _map(spec: Any) -> str | tuple[int, ...]:
    """A coarse map's name, or its entries."""
    if isinstance(spec, str):
        return spec
    if not isinstance(spec, list | tuple) or not all(type(entry) is int for entry in spec):
        raise ValueError(f"map must be a name or a list of integers, got {spec!r}")
    return tuple(spec)


def _short(value: Any) -> str:
    return str(value).replace(":", "-").replace(",", "")
