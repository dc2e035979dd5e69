"""Labelled images, or features in their place, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.readers.coarse_maps import coarse_map
from finegrain.empirical.readers.image_names import Names
from finegrain.theory.tools import checks
from finegrain.theory.tools.brief import brief


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, or features, and fine labels, split into train and test.

    Attributes:
        name: as given to `load` (data.py)
        train_x, test_x: uint8 images (N, H, W) or (N, H, W, 3), or features (N, d)
        train_y, test_y: int64 fine labels (N,), 0..C-1
        class_names: C names
        names: what the images are called, and the classes' superclasses, where `load` read files of images
        root: the folder that a relative path in `name` starts from, where `load` read one
    """

    name: str
    train_x: NDArray[Any]
    train_y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]
    class_names: tuple[str, ...]
    root: str | None = None
    names: Names | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        for split, x, y in (("train", self.train_x, self.train_y), ("test", self.test_x, self.test_y)):
            checks.shape(f"{split}_y", y, (len(x),))
            checks.shape(f"{split}_x", x, ("N", *self.train_x.shape[1:]))
            if y.min() < 0 or y.max() >= self.num_fine:
                raise ValueError(
                    f"{split}_y must lie in 0..{self.num_fine - 1}, got values from {y.min()} to {y.max()}"
                )

    @property
    def num_fine(self) -> int:
        """C, the number of fine classes."""
        return len(self.class_names)

    @property
    def superclasses(self) -> tuple[str, ...] | None:
        """The superclass of each class (C,), where the data tell them."""
        return self.names.superclasses if self.names else None

    def coarse_map(self, spec: str | Sequence[int]) -> NDArray[np.int64]:
        """The coarse class of each fine class (C,), by name or list (finegrain.empirical.readers.coarse_maps)."""
        return coarse_map(spec, self.num_fine, self.class_names, self.superclasses)
