"""A training recipe: everything that the weights of a trained network depend on, besides the images.

A TOML file holds one recipe and what to vary about it; each combination is a run in a folder of its own:

    name = "headline"

    [recipe]
    network = "resnet9"
    width = 32

    [grid]
    labels = ["coarse", "fine"]
    seed = [0, 1, 2]

What to vary is written as for a sweep (finegrain.sims.grid): lists in [grid] are crossed, each [[points]] is a run.
Learning rates are for the mean loss over a batch: multiply them with the batch.

The recipes of configs/ come with the package, each under the name of its file.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from finegrain.empirical.networks.augment import FLIPS
from finegrain.sims import grid
from finegrain.theory.tools import checks

# Runs of one file.
MOST = 10_000
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
            object.__setattr__(self, name, grid.typed(name, type(default), getattr(self, name)))
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
        if self.sizes and self.network == "mlp":
            raise ValueError(
                f"sizes must be empty for an mlp, which has weights for each pixel, got {self.sizes}"
            )
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


NAMES = tuple(f.name for f in fields(Recipe))
DEFAULTS = {f.name: f.default for f in fields(Recipe) if f.name not in ("map", "sizes")}


def one_recipe(given: Recipe | Mapping[str, Any] | Path | str) -> tuple[str, Recipe]:
    """A recipe and its run's name; without a file the network's and the first digits of a digest of all settings.

    Raises:
        FileNotFoundError, ValueError: as read_recipes; a file of several runs, or a mapping with an unknown entry.
    """
    if isinstance(given, Path | str):
        runs = read_recipes(Path(given))
        if len(runs) > 1:
            names = ", ".join(name for name, _ in runs[:4]) + (", ..." if len(runs) > 4 else "")
            raise ValueError(
                f"recipe must be a file of one run, got {len(runs)} in {given}: {names}; "
                "take one as dict(finegrain.empirical.networks.recipe.read_recipes(path))[NAME]"
            )
        return runs[0]
    if not isinstance(given, Recipe):
        given = Recipe(**grid.named("recipe", given, NAMES))
    settings = hashlib.sha256(repr(given).encode()).hexdigest()
    return f"{given.network}-{settings[:8]}", given


def read_recipes(path: Path) -> list[tuple[str, Recipe]]:
    """Name and recipe of every run of a TOML file, in its order (finegrain.sims.grid).

    Args:
        path: the file, or the name of a recipe that comes with the package, such as "cifar".

    Raises:
        FileNotFoundError: neither such a file nor such a recipe; the message lists the recipes.
        ValueError: not TOML, neither [recipe] nor [grid] in it, an unknown entry (the nearest is named), one of another
            type or out of its range, or runs whose names are no folder's or not apart.
    """
    source, content = str(path), grid.read_toml(_file(path))
    entries = grid.named(source, content, ("name", "recipe", *grid.TABLES))
    # An empty file is a mistake, not the default recipe.
    if not entries.keys() - {"name"}:
        raise ValueError(
            f"{source} must have a table [recipe], empty for all defaults, or [grid]; got neither"
        )
    shared = entries.get("recipe", {})
    if not isinstance(shared, dict):
        raise ValueError(f"{source}: recipe must be a table, got {shared!r}")
    shared = grid.named(f"{source}, [recipe]", shared, NAMES)
    varied = grid.combinations(source, content, NAMES, most=MOST)
    names = [_name(entries.get("name", path.stem), own) for own in varied]
    _require_folders(source, names)
    recipes = [_recipe(f"{source}, point {i}", {**shared, **own}) for i, own in enumerate(varied, 1)]
    return list(zip(names, recipes, strict=True))


def _recipe(where: str, settings: dict[str, Any]) -> Recipe:
    try:
        return Recipe(**settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _name(first: Any, own: dict[str, Any]) -> str:
    """A run's name: the file's, and what the run has of its own."""
    parts = (f"{key}-{value}".replace(":", "-").replace(",", "") for key, value in own.items())
    return "_".join([str(first), *parts])


def _file(path: Path) -> Traversable:
    """The file, or the recipe in the package that bears its name."""
    if path.exists():
        return path
    shipped = {Path(entry.name).stem: entry for entry in resources.files("finegrain.configs").iterdir()}
    if str(path) in shipped:
        return shipped[str(path)]
    raise FileNotFoundError(
        f"no file {path}, and no recipe of that name in the package: {', '.join(sorted(shipped))}"
    )


def _require_folders(source: str, names: list[str]) -> None:
    """A run's name becomes its folder: one of its own, and below the output folder."""
    for name in names:
        if name in (".", "..") or not re.fullmatch(r"[\w .+=\[\]()-]{1,200}", name):
            raise ValueError(
                f"{source}: each run must have a name of letters, digits and _ - . + =, got {name!r}"
            )
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{source}: runs must have names of their own, got {twice!r} twice")


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
