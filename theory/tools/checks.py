"""Checks of arguments: each error names the argument, what is allowed, and what was received.

They work on NumPy arrays and, through the array API, on torch tensors, on any device.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj
from numpy.typing import ArrayLike, NDArray


def shape(name: str, array: Any, expected: tuple[int | str, ...]) -> None:
    """Require `array.shape` to fit `expected`, whose strings are free sizes: ("N", 3) fits (7, 3)."""
    actual = tuple(array.shape)
    fits = len(actual) == len(expected) and all(
        isinstance(e, str) or e == a for a, e in zip(actual, expected, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join(str(e) for e in expected) + ("," if len(expected) == 1 else "") + ")"
        raise ValueError(f"{name} must have shape {wanted}, got {actual}")


def finite(name: str, array: Any) -> None:
    """Require every entry to be a finite number; the error says how many are not and where the first is."""
    xp = array_namespace(array)
    good = xp.isfinite(array)
    if not bool(xp.all(good)):
        first = int(xp.argmin(xp.astype(xp.reshape(good, (-1,)), xp.int8)))
        index = tuple(int(i) for i in np.unravel_index(first, tuple(array.shape)))
        bad = int(xp.sum(xp.astype(~good, xp.int64)))
        raise ValueError(f"{name} must be finite, got {bad} NaN or infinite entries, the first at {index}")


def real(name: str, array: ArrayLike, expected: tuple[int | str, ...]) -> NDArray[np.float64]:
    """A finite float64 NumPy array of the expected shape."""
    result = _numeric(name, array)
    shape(name, result, expected)
    finite(name, result)
    return result


def _numeric(name: str, value: Any) -> NDArray[np.float64]:
    """A float64 NumPy array of any shape; complex numbers, text, dates, None and ragged lists are refused by name."""
    try:
        plain = np.asarray(value)
        if plain.dtype.kind in "fiubO":
            return np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of real numbers, got {_described(value)}") from error
    raise ValueError(f"{name} must be an array of real numbers, got {_described(value)}")


def _described(value: Any) -> str:
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def at_least(name: str, value: float, low: float) -> None:
    """Require a finite number value >= low."""
    if not (np.isfinite(value) and value >= low):
        raise ValueError(f"{name} must be a finite number >= {low}, got {value}")


def positive(name: str, value: float) -> None:
    """Require a finite number value > 0."""
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number > 0, got {value}")


def integer(name: str, value: Any, low: int) -> None:
    """Require a whole number value >= low, of an integer type."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value}")


def instance(name: str, value: Any, expected: type) -> None:
    """Require an object of the class asked for: Moments and Mixture are easily swapped."""
    if not isinstance(value, expected):
        raise TypeError(f"{name} must be a {expected.__name__}, got {type(value).__name__}")


def one_of(name: str, value: str, allowed: Collection[str]) -> None:
    """Require `value` to be one of the allowed words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(sorted(allowed))}; got {value!r}")


def coarse_map(value: ArrayLike, fine: int | None = None) -> NDArray[np.int64]:
    """A coarse map as an int64 array (C,) whose values are 0..K-1, each taken at least once.

    Raises:
        ValueError: not one-dimensional, not integers, of another length than `fine`, negative, or a
            coarse class between 0 and the largest that no fine class is sent to.
    """
    return class_map("coarse_map", value, fine, "fine class", "coarse class")


def class_map(name: str, value: ArrayLike, size: int | None, source: str, target: str) -> NDArray[np.int64]:
    """A map of `size` sources onto targets 0..K-1, each reached, as an int64 array."""
    array = np.asarray(value)
    if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} must be a non-empty one-dimensional array of integers, "
            f"got shape {array.shape} and dtype {array.dtype}"
        )
    if size is not None and array.size != size:
        raise ValueError(f"{name} must have one entry for each {source}, {size} in all, got {array.size}")
    if array.min() < 0:
        raise ValueError(f"{name} must have entries >= 0, got {array.min()}")
    if array.max() >= array.size:
        raise ValueError(
            f"{name} must have entries below their number, {array.size}, to leave no gap; got {array.max()}"
        )
    missing = np.setdiff1d(np.arange(array.max() + 1), array)
    if missing.size:
        raise ValueError(
            f"{name} must reach every {target} 0..{array.max()}, but none is sent to {missing.tolist()}"
        )
    return array.astype(np.int64)


PROBABILITY_TOLERANCE = 1e-6  # numbers given in float32 sum to 1 within 6e-8 each


def float64(name: str, value: Any, like: Any = None) -> Any:
    """A finite float64 array of any shape, in the library and on the device of `like`, or its own."""
    value = value if is_array_api_obj(value) and not _of_objects(value) else _numeric(name, value)
    value = value.detach() if hasattr(value, "detach") else value  # torch: no gradients
    like = value if like is None else like
    xp = array_namespace(like)
    if array_namespace(value).isdtype(value.dtype, "complex floating"):
        raise ValueError(f"{name} must be real numbers, got dtype {value.dtype}")
    array = xp.asarray(value, dtype=xp.float64, device=device(like))
    finite(name, array)
    return array


def not_negative(name: str, array: Any) -> None:
    """Require every entry to be >= 0; the error gives the least one."""
    xp = array_namespace(array)
    least = float(xp.min(array))
    if least < 0:
        index = tuple(int(i) for i in np.unravel_index(int(xp.argmin(array)), tuple(array.shape)))
        raise ValueError(f"{name} must be >= 0, got {least} at {index}")


def probabilities(name: str, weights: Any, size: int) -> Any:
    """Weights (size,), >= 0 and of sum 1 within 1e-6, scaled to sum to 1."""
    shape(name, weights, (size,))
    not_negative(name, weights)
    total = float(array_namespace(weights).sum(weights))
    if abs(total - 1) > PROBABILITY_TOLERANCE:
        raise ValueError(f"{name} must sum to 1 within {PROBABILITY_TOLERANCE}, got {total}")
    # Left alone where the sum is 1 up to rounding: what is read back from disk keeps its bits.
    return weights if abs(total - 1) <= 4e-16 * size else weights / total


def covariances(name: str, matrices: Any, bound: float) -> None:
    """Require matrices (n, d, d) to be symmetric and PSD, up to `bound` times each one's largest variance."""
    xp = array_namespace(matrices)
    largest = xp.max(xp.abs(xp.linalg.diagonal(matrices)), axis=-1)
    scaled = matrices / xp.where(largest > 0, largest, 1.0)[:, None, None]
    skew = xp.max(xp.abs(scaled - xp.matrix_transpose(scaled)), axis=(-2, -1))
    if float(xp.max(skew)) > bound:
        c = int(xp.argmax(skew))
        raise ValueError(
            f"{name} must be symmetric, got entries that differ by {float(skew[c])} "
            f"times the largest variance in [{c}]"
        )
    ridge = bound * xp.eye(matrices.shape[-1], dtype=matrices.dtype, device=device(matrices))
    try:  # Cholesky is ten times cheaper than eigenvalues; torch's own error is a RuntimeError
        xp.linalg.cholesky(scaled + ridge)
    except (np.linalg.LinAlgError, RuntimeError):
        least = xp.min(xp.linalg.eigvalsh(scaled), axis=-1)
        c = int(xp.argmin(least))
        raise ValueError(
            f"{name} must be positive semi-definite, got least eigenvalue "
            f"{float(least[c])} times the largest variance in [{c}]"
        ) from None


def features(name: str, value: Any, dim: int | None = None, *, whole: bool = True) -> Any:
    """Finite features (N, d) of a floating dtype, without gradient; d is free, or `dim`.

    Where these are all of the features, `whole`, the largest must be 0 or have a square with all its digits.
    """
    if not is_array_api_obj(value) or _of_objects(value):
        value = _numeric(name, value)
    array = value.detach() if hasattr(value, "detach") else value
    xp = array_namespace(array)
    shape(name, array, ("N", "d" if dim is None else dim))
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {tuple(array.shape)}")
    if not xp.isdtype(array.dtype, "real floating"):
        raise ValueError(f"{name} must have a floating-point dtype, got {array.dtype}")
    # The extremes are finite only if every entry is, and need no mask of the size of the features.
    size = extent(array)
    if not np.isfinite(size):
        finite(name, array)
    if whole:
        large_enough(name, size)
    return array


SMALLEST = (
    1e-140  # of the largest feature: what is a millionth of a millionth of it has a square in float64's range
)


def extent(array: Any) -> float:
    """The largest entry in size, 0 of none; not finite where an entry is not."""
    xp = array_namespace(array)
    if 0 in array.shape:
        return 0.0
    high, low = float(xp.max(array)), float(xp.min(array))
    return high if np.isnan(high) else max(abs(high), abs(low))


def large_enough(name: str, size: float) -> None:
    """Require features whose largest has this size to be 0 or large enough that their squares lose no digit."""
    if 0 < size < SMALLEST:
        raise ValueError(
            f"{name} must be 0 or have entries of size {SMALLEST} or more, whose squares float64 holds, got at most "
            f"{size:.3g}: multiply them by a constant"
        )


def labels(name: str, value: Any, features: Any, num_classes: int | None = None) -> Any:
    """Integer labels (N,), one for each row of `features`, where those live; in 0..C-1 if C is given."""
    xp = array_namespace(features)
    if not is_array_api_obj(value) or _of_objects(value):
        value = _integers(name, value)
    array = xp.asarray(value, device=device(features))
    shape(name, array, (features.shape[0],))
    if not xp.isdtype(array.dtype, "integral"):
        raise ValueError(f"{name} must be integers, got dtype {array.dtype}")
    array = xp.astype(array, xp.int64)
    if num_classes is not None and array.shape[0]:
        outside = (array < 0) | (array >= num_classes)
        if bool(xp.any(outside)):
            first = int(xp.argmax(xp.astype(outside, xp.int8)))
            raise ValueError(
                f"{name} must be in 0..{num_classes - 1}, got {int(array[first])} at position {first}"
            )
    return array


def _integers(name: str, value: Any) -> NDArray[np.int64]:
    """A NumPy array of a list of integers, which may be empty."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.size == 0 and array.ndim == 1:
        return array.astype(np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        cure = "; numpy.unique(..., return_inverse=True) numbers them" if array.dtype.kind in "US" else ""
        raise ValueError(f"{name} must be integers, got {_described(value)}{cure}")
    return array


def _of_objects(array: Any) -> bool:
    """Whether a NumPy array holds objects or text, which no array function takes."""
    return isinstance(array, np.ndarray) and array.dtype.kind in "OUS"
