"""From images to the inputs of T13's setting: PCA, one common scale, and a constant coordinate.

Fitted on the training images alone: centre, project on the leading principal components, scale so that
E||x||^2 = 5 over the training images, then append a coordinate 1, which gives the first layer its biases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

MEAN_SQUARE = 5.0  # E||x||^2 before the constant coordinate (docs/theory.md, T13)
BLOCK = 4096  # images held in float64 at once


@dataclass(frozen=True, eq=False)
class Preprocess:
    """x -> (projection (x - mean), 1), with x an image of P pixel values, flattened.

    Attributes:
        mean: (P,) mean training image
        projection: (dim, P) leading principal components, orthogonal rows of one common length, largest
            variance first; the entry of each row largest in magnitude is positive, which fixes the signs
    """

    mean: Array
    projection: Array

    @classmethod
    def fit(cls, x: NDArray[Any], dim: int) -> Preprocess:
        """Fit to training images x (N, ...), of any numeric type and image shape.

        Args:
            x: the images, N >= 2.
            dim: components to keep, >= 1; fewer are kept when the images span fewer dimensions.

        Raises:
            ValueError: fewer than two images, all images equal, a non-finite value, or dim < 1.
        """
        checks.at_least("dim", dim, 1)
        if len(x) < 2:
            raise ValueError(f"x must hold at least 2 training images, got {len(x)}")
        mean = np.sum([block.sum(axis=0) for block in _blocks(x)], axis=0) / len(x)
        covariance = np.zeros((mean.size, mean.size))
        for block in _blocks(x):
            block -= mean
            covariance += block.T @ block / len(x)
        variances, components = _leading(covariance, dim)
        scale = np.sqrt(MEAN_SQUARE / variances.sum())
        return cls(mean, scale * components)

    @property
    def dim(self) -> int:
        """Components kept; `apply` returns one coordinate more, the constant."""
        return len(self.projection)

    def apply(self, x: NDArray[Any]) -> Array:
        """Inputs (N, dim + 1) of images x (N, ...), the last coordinate 1.

        Raises:
            ValueError: images of another number of pixels than those fitted, or a non-finite value.
        """
        pixels = int(np.prod(x.shape[1:]))
        if pixels != self.mean.size:
            raise ValueError(f"x must have {self.mean.size} pixels an image, as fitted, got {pixels}")
        result = np.ones((len(x), self.dim + 1))
        for start, block in zip(range(0, len(x), BLOCK), _blocks(x), strict=True):
            result[start : start + BLOCK, :-1] = (block - self.mean) @ self.projection.T
        return result


def _blocks(x: NDArray[Any]) -> Iterator[Array]:
    """Fresh float64 copies (B, P) of consecutive images, flattened."""
    for start in range(0, len(x), BLOCK):
        block = np.array(x[start : start + BLOCK], dtype=np.float64).reshape(
            len(x[start : start + BLOCK]), -1
        )
        checks.finite("x", block)
        yield block


def _leading(covariance: Array, dim: int) -> tuple[Array, Array]:
    """The `dim` largest variances (r,) and their directions (r, P), without those zero to rounding."""
    size = len(covariance)
    values, vectors = eigh(covariance, subset_by_index=[max(size - dim, 0), size - 1])
    values, vectors = values[::-1], vectors[:, ::-1].T
    kept = values > size * np.finfo(float).eps * np.trace(covariance)
    if not kept.any():
        raise ValueError("x must hold images that differ, got training images that are all equal")
    values, vectors = values[kept], vectors[kept]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return values, vectors * np.sign(largest)
