"""Starting points of gradient flow."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finegrain.theory.tools import checks

Array = NDArray[np.float64]


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


def served(
    patterns: Sequence[Collection[int]],
    amplitudes: ArrayLike,
    subclasses: int,
    *,
    uneven: float = 0.0,
    seed: int = 0,
) -> tuple[Array, Array]:
    """W (2 n, 2 S) and A (1, 2 n) for targets +1 and -1: per coarse class one neuron for each of the n patterns.

    A pattern is a set of subclasses 0..S-1; w = u there, 0 elsewhere, and |a| = ||w||. uneven: each weight is changed
    by a random share up to this one, the same in both coarse classes.
    """
    shape: Array = np.array([[float(c in Q) for c in range(subclasses)] for Q in patterns])
    spread = np.random.default_rng(seed).uniform(-uneven, uneven, shape.shape)
    W: Array = shape * np.asarray(amplitudes, dtype=np.float64)[:, None] * (1 + spread)
    a: Array = np.linalg.norm(W, axis=1)
    both = np.kron(np.eye(2), W).astype(np.float64)
    return both, np.concatenate([a, -a])[None, :]


def _check(width: int, dim: int, scale: float) -> None:
    checks.integer("width", width, 1)
    checks.integer("dim", dim, 1)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(
            f"scale must be a finite number > 0 (zero is a fixed point of the flow), got {scale}"
        )
