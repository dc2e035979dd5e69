"""The last layer of a network, for NC3 and NC4: given as arrays or found in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from finegrain.empirical.readers.array_files import read_whole, split_spec
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, host


@dataclass(frozen=True, eq=False)
class Classifier:
    """The last layer: weights (K, d), biases (K,) or None, and whether its rows are coarse classes."""

    weights: Array
    biases: Array | None
    coarse: bool


def as_classifier(given: Any, num_coarse: int, num_classes: int) -> Classifier:
    """Weights (K, d), a pair of them with biases (K,), or a file of those; K is one of the two numbers of classes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file or shapes that do not fit.
    """
    given = read_linear(given) if isinstance(given, (str, Path)) else given
    weights, biases = given if isinstance(given, tuple) else (given, None)
    weights = host(checks.float64("classifier", weights))
    checks.shape("classifier", weights, ("K", "d"))
    if biases is not None:
        biases = host(checks.float64("the classifier's biases", biases))
    if len(weights) not in (num_coarse, num_classes):
        cure = "; one row for two classes, A, is given as [-A, A]" if len(weights) == 1 else ""
        raise ValueError(
            f"classifier must have a row for each of {num_coarse} coarse or {num_classes} classes, "
            f"got {len(weights)}{cure}"
        )
    return Classifier(weights, biases, coarse=len(weights) == num_coarse)


def read_linear(spec: Path | str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Weights (K, d) and, if there are any, biases (K,) of a linear layer; raises as read_whole.

    The arrays "weight" and "bias" of a file, or "fc.weight" and "fc.bias"; or FILE:NAME; or a file of nothing else.
    """
    path, name = split_spec(spec)

    def wanted(names: list[str]) -> list[str]:
        layer = [n for n in names if n.rpartition(".")[2] in ("weight", "bias")]
        return [n for n in names if n == name] if name else layer or names

    arrays = read_whole(path, "classifier", wanted)
    tables, vectors = ([a for a in arrays.values() if a.ndim == axes] for axes in (2, 1))
    if len(tables) != 1 or len(vectors) > 1:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(
            f"classifier must be one array (K, d) and at most one (K,), got {found or 'none'} in {path}"
        )
    return tables[0], vectors[0] if vectors else None
