"""The kinds of NumPy array that signatures name; their shapes stand in docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Single or double precision, as the caller has it.
Floats = NDArray[np.floating[Any]]
# A class for each sample.
Labels = NDArray[np.int64]
# Positions along an axis of another array.
Index = NDArray[np.int64]
# Arrays by name, as a run folder stores them.
Arrays = dict[str, NDArray[Any]]
