"""One point of a sweep, and the points that a TOML file (or the same as a mapping) asks for.

    times = [100.0, 400.0]      top level: what all points share
    start = "balanced"
    [grid]                      lists that are crossed; or [[points]] (finegrain.sims.grid)
    eps = [1e-2, 1e-3]
    S = [2, 3]

The keys are the fields of `Point`; the letters of docs/theory.md (K, S, d, m, sigma, lambda) are accepted too.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.sims import initial_weights
from finegrain.sims.grid import TABLES, combinations, named, plain, read_toml, typed
from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.setting import Setting, SettingKeywords
from finegrain.theory import observables, targets
from finegrain.theory.mixture import Mixture
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Row = dict[str, Any]

LETTERS = {
    "K": "coarse",
    "S": "subclasses",
    "d": "dim",
    "m": "width",
    "sigma": "noise",
    "lambda": "weight_decay",
}
# Of one config, which is held in memory.
MAX_POINTS = 1_000_000
STARTS = ("balanced", "gaussian")
LEAST = {"coarse": 2, "subclasses": 1, "noise": 0, "width": 1, "seed": 0}


@dataclass(frozen=True)
class Point:
    """The settings of one population flow on Mixture.orthonormal.

    Attributes:
        times: recorded times, >= 0 and increasing
        coarse, subclasses: K >= 2 coarse classes of S >= 1 subclasses
        noise: sigma >= 0 of the inputs, the same in every direction
        dim: d >= K S; by default K S
        width: m >= 1
        eps: scale of the start, > 0
        weight_decay: lambda >= 0, of `Setting`
        activation, loss: as in `Setting`
        start: balanced (needs K = 2 and one output) or gaussian, of finegrain.sims.initial_weights
        rtol: error of a step, in [1e-13, 1e-2]
        seed: of the start, >= 0

    The targets are -1 and +1 on one output for K = 2, one-hot on K outputs for K > 2 and for cross-entropy, and
    2 one-hot - 1 for the logistic loss with K > 2.

    Raises:
        ValueError: a setting of another type or out of its range, by name.
    """

    times: tuple[float, ...]
    coarse: int = 2
    subclasses: int = 2
    noise: float = 0.0
    dim: int | None = None
    width: int = 40
    eps: float = 0.01
    weight_decay: float = 0.0
    activation: str = "relu"
    loss: str = "squared"
    start: str = "balanced"
    rtol: float = 1e-8
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            object.__setattr__(self, name, typed(name, kind, getattr(self, name)))
        object.__setattr__(self, "times", _checked_times(self.times))
        for name, low in LEAST.items():
            checks.at_least(name, getattr(self, name), low)
        least = self.coarse * self.subclasses
        object.__setattr__(self, "dim", least if self.dim is None else typed("dim", int, self.dim))
        checks.at_least("dim", self.dim, least)  # type: ignore[arg-type]
        self._check_network()

    def _check_network(self) -> None:
        if not (np.isfinite(self.eps) and self.eps > 0):
            raise ValueError(
                f"eps must be a finite number > 0 (zero is a fixed point of the flow), got {self.eps}"
            )
        if not 1e-13 <= self.rtol <= 1e-2:
            raise ValueError(f"rtol must lie in [1e-13, 1e-2], got {self.rtol}")
        Setting(**self.network)
        checks.one_of("start", self.start, STARTS)
        if self.loss != "squared" and self.noise > 0:
            raise ValueError(f"loss must be squared for inputs with noise, got {self.loss!r}")
        if self.start == "balanced" and not self.one_output:
            raise ValueError(
                "start must be gaussian for more than one output (coarse > 2 or cross-entropy), got 'balanced'"
            )

    @property
    def one_output(self) -> bool:
        """Whether the targets are the signs -1 and +1."""
        return self.coarse == 2 and self.loss != "cross-entropy"

    @property
    def network(self) -> SettingKeywords:
        """Activation, loss and weight decay, as keywords."""
        return {"activation": self.activation, "loss": self.loss, "weight_decay": self.weight_decay}

    @property
    def settings(self) -> Row:
        """All settings but the times: the columns of a sweep's table that were asked for."""
        return {k: v for k, v in asdict(self).items() if k != "times"}

    @property
    def name(self) -> str:
        """Its run folder's name: a hash of all settings."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def flow(self, folder: Path | str | None = None) -> Trajectory:
        """The population flow, in a run folder if one is given."""
        mixture = self._mixture()
        W0, A0 = self._initial_weights()
        return population_flow(
            mixture,
            W0,
            A0,
            targets=self._targets(mixture.coarse_map),
            times=self.times,
            rtol=self.rtol,
            folder=folder,
            **self.network,
        )

    def rows(self, folder: Path | str | None = None) -> list[Row]:
        """One row a recorded time: run, settings, time, population_loss, and observables.table of h."""
        flow, coarse_map = self.flow(folder), self._mixture().coarse_map
        fixed = {"run": self.name} | self.settings
        return [
            fixed | {"time": float(t), "population_loss": float(loss)} | observables.table(h, coarse_map)
            for t, loss, h in zip(flow.times, flow.loss, flow.moments, strict=True)
        ]

    def _mixture(self) -> Mixture:
        return Mixture.orthonormal(self.coarse, self.subclasses, dim=self.dim, noise=self.noise)

    def _targets(self, coarse_map: NDArray[np.int64]) -> Array:
        if self.one_output:
            return targets.signs(coarse_map)
        one_hot = targets.one_hot(coarse_map)
        return 2 * one_hot - 1 if self.loss == "logistic" else one_hot

    def _initial_weights(self) -> tuple[Array, Array]:
        rng, dim = np.random.default_rng(self.seed), int(self.dim or 0)
        if self.start == "balanced":
            return initial_weights.balanced(self.width, dim, self.eps, rng)
        outputs = 1 if self.one_output else self.coarse
        return initial_weights.gaussian(self.width, dim, outputs, self.eps, rng)


KINDS = {f.name: type(f.default) for f in fields(Point) if f.name not in ("times", "dim")}
KEYS = tuple(f.name for f in fields(Point))


def read_points(config: Mapping[str, Any] | Path | str) -> list[Point]:
    """The points of a TOML file, or of a mapping of the same form, in order; the last key of a grid varies fastest.

    Raises:
        ValueError: not TOML, an unknown key (the nearest known one is named), a setting that `Point` refuses, or
            the same point twice; the message says which point.
        OSError: the file cannot be read.
    """
    source = "config" if isinstance(config, Mapping) else str(config)
    table = config if isinstance(config, Mapping) else read_toml(Path(config))
    settings = named(source, table, (*KEYS, *TABLES), LETTERS)
    shared = {name: value for name, value in settings.items() if name not in TABLES}
    varied = combinations(source, table, KEYS, most=MAX_POINTS, letters=LETTERS)
    # A point's own settings go before those that all share.
    points = [_point(f"{source}, point {i}", {**shared, **own}) for i, own in enumerate(varied, 1)]
    repeated = [p for p, count in Counter(points).items() if count > 1]
    if repeated:
        numbers = [i for i, p in enumerate(points, 1) if p == repeated[0]]
        raise ValueError(f"{source} must have each point once, got points {numbers} equal")
    return points


def _point(where: str, settings: Mapping[str, Any]) -> Point:
    if "times" not in settings:
        raise ValueError(f"{where}: times must be given, a list of the times to record")
    try:
        return Point(**settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _checked_times(value: Any) -> tuple[float, ...]:
    times = plain(value)
    if not isinstance(times, list):
        raise ValueError(f"times must be a list of numbers, got {times!r}")
    values = [typed("each of times", float, t) for t in times]
    increasing = all(a < b for a, b in pairwise(values))
    if not values or not np.isfinite(values).all() or values[0] < 0 or not increasing:
        raise ValueError(f"times must be non-empty, finite, >= 0 and increasing, got {values}")
    return tuple(values)
