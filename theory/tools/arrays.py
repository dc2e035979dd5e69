"""The kinds of NumPy array that signatures name, and arrays of any library brought to where NumPy can work on them.

Shapes stand in docstrings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import is_numpy_array, to_device
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Single or double precision, as the caller has it.
Floats = NDArray[np.floating[Any]]
# A class for each sample.
Labels = NDArray[np.int64]
# Whether, for each sample.
Flags = NDArray[np.bool_]
# Positions along an axis of another array.
Index = NDArray[np.int64]
# Arrays by name, as a run folder stores them.
Arrays = dict[str, NDArray[Any]]


def host(array: Any) -> Array:
    """A float64 NumPy array, for what scipy computes; no copy on the CPU."""
    return np.asarray(array if is_numpy_array(array) else np.from_dlpack(to_device(array, "cpu")))
