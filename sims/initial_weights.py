"""Starting points of gradient flow."""

from __future__ import annotations

import numpy as np

from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def balanced(width: int, dim: int, scale: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """W (m, d) with entries scale * N(0, 1) and A (1, m) with |a_j| = ||w_j|| and random signs (T2, T6).

    Flow keeps ||w_j|| = |a_j|, hence every sign of a_j. The same rng state at another scale gives the same
    direction: A and W scale together.
    """
    _check(width, dim, scale)
    W = rng.standard_normal((width, dim))
    signs = rng.choice([-1.0, 1.0], size=width)
    return scale * W, scale * (signs * np.linalg.norm(W, axis=1))[None, :]


def gaussian(
    width: int, dim: int, outputs: int, scale: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """W (m, d) and A (K, m) with entries scale * N(0, 1) / sqrt(fan-in): fan-in d for W, m for A."""
    _check(width, dim, scale)
    checks.integer("outputs", outputs, 1)
    W = scale * rng.standard_normal((width, dim)) / np.sqrt(dim)
    return W, scale * rng.standard_normal((outputs, width)) / np.sqrt(width)


def _check(width: int, dim: int, scale: float) -> None:
    checks.integer("width", width, 1)
    checks.integer("dim", dim, 1)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(
            f"scale must be a finite number > 0 (zero is a fixed point of the flow), got {scale}"
        )
