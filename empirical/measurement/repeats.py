"""Rows that are there more than once: a measurement takes its samples as independent."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST = 2**20  # rows that are compared; 64 MiB of hashes


class Repeats:
    """How many of the first MOST rows equal an earlier one, bit by bit. Rows on an accelerator stay there, unseen."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.rows = self.repeated = 0

    def update(self, features: Any) -> None:
        """Look at the rows of a block (n, d)."""
        away = getattr(getattr(features, "device", "cpu"), "type", "cpu") != "cpu"
        if away or "float8" in str(features.dtype) or "bfloat16" in str(features.dtype):
            return
        block = np.ascontiguousarray(features[: MOST - self.rows])
        for row in block:
            self.seen.add(hash(row.tobytes()))
        self.rows += len(block)
        self.repeated = self.rows - len(self.seen)

    def notes(self) -> list[str]:
        """What to bear in mind, if anything."""
        if not self.repeated:
            return []
        return [
            f"{self.repeated} of {self.rows} samples repeat an earlier one: intervals, which take them as "
            "independent, are too narrow"
        ]
