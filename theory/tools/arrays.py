"""Arrays of any library on any device, brought to where NumPy and SciPy can work on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import is_numpy_array, to_device
from numpy.typing import NDArray


def host(array: Any) -> NDArray[np.float64]:
    """A float64 NumPy array, for what scipy computes; no copy on the CPU."""
    return np.asarray(array if is_numpy_array(array) else np.from_dlpack(to_device(array, "cpu")))
