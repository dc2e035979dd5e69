"""Training targets: the row t_c that a network is asked to output on fine class c.

It is the same for all fine classes of one coarse class.
Three kinds: scalar signs for K = 2, one-hot, and centred one-hot, whose rows form a simplex ETF.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def one_hot(coarse_map: ArrayLike) -> Array:
    """Targets (C, K): 1 at the coarse class of each fine class, 0 elsewhere.

    Raises:
        ValueError: `coarse_map` (C,) is not a map onto 0..K-1.
    """
    coarse = checks.coarse_map(coarse_map)
    return np.eye(int(coarse.max()) + 1)[coarse]


def centred_one_hot(coarse_map: ArrayLike) -> Array:
    """Targets (C, K): one-hot minus 1/K, so that every row sums to 0 and has squared norm 1 - 1/K.

    The K distinct rows are a simplex ETF: their cosines are -1/(K-1).

    Raises:
        ValueError: `coarse_map` (C,) is not a map onto 0..K-1.
    """
    targets = one_hot(coarse_map)
    return targets - 1 / targets.shape[1]


def signs(coarse_map: ArrayLike) -> Array:
    """Targets (C, 1) for two coarse classes: -1 on coarse class 0, +1 on coarse class 1.

    Raises:
        ValueError: `coarse_map` (C,) is not a map onto {0, 1}.
    """
    coarse = checks.coarse_map(coarse_map)
    if coarse.max() != 1:
        raise ValueError(f"coarse_map must have exactly 2 coarse classes for signs, got {coarse.max() + 1}")
    return np.where(coarse[:, None] == 1, 1.0, -1.0)
