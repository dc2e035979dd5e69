"""One point of a sweep, and the points that a TOML file (or the same as a mapping) asks for.

    times = [100.0, 400.0]      top level: what all points share
    start = "balanced"
    [grid]                      lists that are crossed; or [[points]], one table a point
    eps = [1e-2, 1e-3]
    S = [2, 3]

The keys are the fields of `Point`; the letters of docs/theory.md (K, S, d, m, sigma, lambda) are accepted too.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise, product
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.sims import initial_weights
from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.setting import Setting, SettingKeywords
from finegrain.theory import observables, targets
from finegrain.theory.mixture import Mixture
from finegrain.theory.tools import checks

Array = NDArray[np.float64]
Row = dict[str, Any]

LETTERS = {
    "K": "coarse",
    "S": "subclasses",
    "d": "dim",
    "m": "width",
    "sigma": "noise",
    "lambda": "weight_decay",
}
MAX_POINTS = 1_000_000  # of one config, which is held in memory
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
            object.__setattr__(self, name, _typed(name, kind, getattr(self, name)))
        object.__setattr__(self, "times", _checked_times(self.times))
        for name, low in LEAST.items():
            checks.at_least(name, getattr(self, name), low)
        least = self.coarse * self.subclasses
        object.__setattr__(self, "dim", least if self.dim is None else _typed("dim", int, self.dim))
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
    table = config if isinstance(config, Mapping) else _toml(Path(config))
    shared = {k: v for k, v in table.items() if k not in ("grid", "points")}
    _known(source, shared, (*KEYS, "grid", "points"))
    if "grid" in table and "points" in table:
        raise ValueError(f"{source} must have [grid] or [[points]], got both")
    varied = _crossed(source, table["grid"]) if "grid" in table else table.get("points", [{}])
    if not varied or not all(isinstance(v, Mapping) for v in varied):
        raise ValueError(f"{source} must have at least one table [[points]], got {varied!r}")
    points = [_point(f"{source}, point {i}", _full_names(source, shared), v) for i, v in enumerate(varied, 1)]
    repeated = [p for p, count in Counter(points).items() if count > 1]
    if repeated:
        numbers = [i for i, p in enumerate(points, 1) if p == repeated[0]]
        raise ValueError(f"{source} must have each point once, got points {numbers} equal")
    return points


def nearest_key(key: str, known: tuple[str, ...]) -> str:
    """The known name most like `key`."""
    return difflib.get_close_matches(key, known, n=1, cutoff=0)[0]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} must be a TOML file: {error}") from error


def _known(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known and key not in LETTERS:
            raise ValueError(
                f"{where}: unknown key {key!r}; did you mean {nearest_key(key, known)!r}? "
                f"Known keys: {', '.join(known)}"
            )


def _full_names(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    names = [LETTERS.get(k, k) for k in table]
    twice = [k for k, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{where}: {twice[0]!r} must be given once, got its letter too")
    return dict(zip(names, table.values(), strict=True))


def _crossed(source: str, grid: Any) -> list[dict[str, Any]]:
    """Every combination of the grid's lists."""
    where = f"{source}, [grid]"
    if not isinstance(grid, Mapping):
        raise ValueError(f"{where} must be a table of lists, got {grid!r}")
    _known(where, grid, KEYS)
    lists = {k: _plain(v) for k, v in _full_names(where, grid).items()}
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{where}: {key} must be a non-empty list, got {values!r}")
    if (count := math.prod(map(len, lists.values()))) > MAX_POINTS:
        raise ValueError(f"{where} must cross its lists to at most {MAX_POINTS} points, got {count}")
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def _point(where: str, shared: Mapping[str, Any], varied: Mapping[str, Any]) -> Point:
    """A point's own settings go before those that all share."""
    _known(where, varied, KEYS)
    settings = {**shared, **_full_names(where, varied)}
    if "times" not in settings:
        raise ValueError(f"{where}: times must be given, a list of the times to record")
    try:
        return Point(**settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _plain(value: Any) -> Any:
    """A NumPy array, or a tuple, as a list."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _typed(name: str, kind: type, value: Any) -> Any:
    """The value as int, float or str; a number in quotes or a fraction for a whole number is refused."""
    wanted = {int: Integral, float: Real, str: str}[kind]
    if isinstance(value, bool) or not isinstance(value, wanted):
        words = {int: "a whole number", float: "a number", str: "a word"}[kind]
        raise ValueError(f"{name} must be {words}, got {value!r}")
    if not isinstance(value, str) and abs(value) >= 2**63 and isinstance(value, Integral):
        raise ValueError(f"{name} must be below 2^63, got a number of {int(value).bit_length()} bits")
    return kind(value)


def _checked_times(times: Any) -> tuple[float, ...]:
    times = _plain(times)
    if not isinstance(times, list):
        raise ValueError(f"times must be a list of numbers, got {times!r}")
    values = [_typed("each of times", float, t) for t in times]
    increasing = all(a < b for a, b in pairwise(values))
    if not values or not np.isfinite(values).all() or values[0] < 0 or not increasing:
        raise ValueError(f"times must be non-empty, finite, >= 0 and increasing, got {values}")
    return tuple(values)
