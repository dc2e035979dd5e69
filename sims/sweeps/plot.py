"""A sweep's table as a log-log plot: markers for the rows, fitted slopes, and theory's line where it has one.

Of each point the last recorded time is drawn, all of them where x is time. Only seeds are pooled: whatever else varies
must be x, the hue, or held fixed by `where`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import linregress

from finegrain.sims.grid import nearest
from finegrain.sims.plotting import COLUMN, PALETTE, literal, paper_style
from finegrain.sims.sweeps.points import KEYS, LETTERS, Row
from finegrain.sims.sweeps.sweep import number
from finegrain.theory.theorems import specialisation
from finegrain.theory.tools.arrays import Array
from finegrain.theory.tools.brief import brief

MARKERS = "osD^vP*"
LABELS = {
    "eps": r"initialisation scale $\varepsilon$",
    "weight_decay": r"weight decay $\lambda$",
    "noise": r"noise $\sigma$",
    "width": "width m",
    "subclasses": "subclasses S",
    "separation": "relative separation of subclasses",
}
SETTINGS = tuple(k for k in KEYS if k != "times")


@dataclass(frozen=True, eq=False)
class Fit:
    """One hue's rows and the least-squares line of ln y against ln x.

    Attributes:
        name: such as "subclasses = 2"; empty without a hue
        x, y: (n,) values drawn
        slope, standard_error: of the fit; the error is NaN for fewer than three rows
        predicted: theory's slope, None where theory has none
    """

    name: str
    x: Array
    y: Array
    slope: float
    standard_error: float
    predicted: float | None

    __repr__ = brief

    def report(self) -> str:
        """The slopes in a line."""
        start = f"{self.name}: " if self.name else ""
        error = f" +- {self.standard_error:.1g}" if np.isfinite(self.standard_error) else ""
        predicted = "" if self.predicted is None else f", predicted {self.predicted:.4f}"
        return f"{start}fitted slope {self.slope:.4f}{error} from {self.x.size} rows{predicted}"


def conditions(texts: list[str]) -> dict[str, Any]:
    """COLUMN=VALUE texts as a mapping, with numbers as numbers."""
    pairs = [text.partition("=") for text in texts]
    for column, sign, value in pairs:
        if not (column and sign and value):
            raise ValueError(f"--where must be COLUMN=VALUE, got {column + sign + value!r}")
    return {column: number(value) for column, _, value in pairs}


def fits(
    table: list[Row], x: str, y: str, hue: str | None = None, where: Mapping[str, Any] | None = None
) -> list[Fit]:
    """The rows of each hue with their fitted slope, in increasing order of hue.

    Args:
        table: rows of a sweep (finegrain.sims.sweeps.sweep).
        x, y: columns of numbers > 0.
        hue: the column that colours tell apart.
        where: columns and the value each must have.

    Raises:
        ValueError: an unknown column (the nearest is named), nothing left, values that have no logarithm, fewer than
            two values of x in a hue, or a setting that varies unseen.
    """
    x, y, hue = (None if name is None else _column(table, name) for name in (x, y, hue))  # type: ignore[assignment]
    held = {_column(table, k): v for k, v in (where or {}).items()}
    rows = [row for row in table if all(row[k] == v for k, v in held.items())]
    if not rows:
        raise ValueError(f"no row has {', '.join(f'{k} = {v}' for k, v in held.items())}")
    rows = rows if x == "time" else _last(rows)
    _nothing_varies_unseen(rows, x, hue)
    hues = [None] if hue is None else sorted({row[hue] for row in rows})
    return [_fit([r for r in rows if hue is None or r[hue] == h], x, y, hue, h) for h in hues]


def draw(found: list[Fit], x: str, y: str) -> Figure:
    """Markers a row each; solid lines theory's slope through the rows' geometric mean; dashed the fits."""
    x, y = LETTERS.get(x, x), LETTERS.get(y, y)
    with paper_style():
        figure = Figure(figsize=(COLUMN, 2.3 + 0.15 * len(found)))
        axes = figure.subplots()
        for i, fit in enumerate(found):
            colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
            ends = np.array([fit.x.min(), fit.x.max()])
            axes.plot(fit.x, fit.y, marker, color=colour, mfc="none")
            axes.plot(ends, _line(fit, fit.slope, ends), "--", color=colour, lw=0.7)
            if fit.predicted is not None:
                axes.plot(ends, _line(fit, fit.predicted, ends), color=colour)
            style = "--" if fit.predicted is None else "-"
            axes.plot([], [], marker + style, color=colour, mfc="none", label=literal(_label(fit)))
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel(LABELS.get(x, literal(x.replace("_", " "))))
        axes.set_ylabel(LABELS.get(y, literal(y.replace("_", " "))))
        figure.legend(loc="outside upper left")
    return figure


def theory_slope(x: str, y: str, row: Row) -> float | None:
    """The exponent that theory has for y against x at a row's settings: T7, or 1 for a linear network.

    T7 is of the end of training; whether the row's time is late enough is for the reader to see in its loss.
    """
    setting = {"weight_decay": 0, "noise": 0, "coarse": 2, "loss": "squared", "start": "balanced"}
    if (x, y) != ("eps", "separation") or any(row[k] != v for k, v in setting.items()):
        return None
    if row["activation"] == "relu":
        return specialisation.predict(row["subclasses"])
    return 1.0 if row["activation"] == "identity" else None


def _column(table: list[Row], name: str) -> str:
    known, full = tuple(table[0]), LETTERS.get(name, name)
    if full not in known:
        raise ValueError(
            f"unknown column {name!r}; did you mean {nearest(name, known)!r}? Columns: {', '.join(known)}"
        )
    return full


def _last(rows: list[Row]) -> list[Row]:
    """Each run's row of the greatest time."""
    latest: dict[str, Row] = {}
    for row in rows:
        if row["run"] not in latest or row["time"] > latest[row["run"]]["time"]:
            latest[row["run"]] = row
    return list(latest.values())


def _nothing_varies_unseen(rows: list[Row], x: str, hue: str | None) -> None:
    """Rows of the same hue and x must differ by their seed alone."""
    seen: dict[tuple[Any, Any], Row] = {}
    for row in rows:
        first = seen.setdefault((row.get(hue), row[x]), row)  # type: ignore[arg-type]
        for name in SETTINGS:
            if name not in ("seed", x) and row[name] != first[name]:
                raise ValueError(
                    f"{name} varies too (such as {first[name]} and {row[name]}): make it the hue, or hold it "
                    f"fixed with --where {name}={first[name]}"
                )


def _fit(rows: list[Row], x: str, y: str, hue: str | None, value: Any) -> Fit:
    name = "" if hue is None else f"{hue} = {value}"
    for column in (x, y):
        for row in rows:
            if not (isinstance(row[column], int | float) and 0 < row[column] < np.inf):
                raise ValueError(
                    f"{column} must be finite numbers > 0 for a log-log plot, got {row[column]!r} "
                    f"in run {row['run']}, time {row['time']}"
                )
    xs, ys = (np.array([row[c] for row in rows], dtype=np.float64) for c in (x, y))
    if np.unique(xs).size < 2:
        raise ValueError(f"{x} must have at least two values for a slope, got {xs[0]} alone {name}".rstrip())
    line = linregress(np.log(xs), np.log(ys))
    error = float(line.stderr) if xs.size > 2 else float("nan")
    return Fit(name, xs, ys, float(line.slope), error, theory_slope(x, y, rows[0]))


def _line(fit: Fit, slope: float, x: Array) -> Array:
    """y = const x^slope through the geometric mean of the rows."""
    return np.exp(np.log(fit.y).mean() + slope * (np.log(x) - np.log(fit.x).mean()))


def _label(fit: Fit) -> str:
    start = f"{fit.name.replace('_', ' ')}: " if fit.name else ""
    predicted = "" if fit.predicted is None else f"predicted {fit.predicted:.4f}, "
    return f"{start}{predicted}fitted {fit.slope:.4f}"
