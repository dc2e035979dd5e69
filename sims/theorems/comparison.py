"""A predicted number beside the observed one, with the error that the comparison may have and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """One row of predicted against observed.

    Attributes:
        theorem: "T7"
        quantity: what is compared, with its setting
        predicted, observed: the two numbers
        bound: the largest relative error allowed
        reason: where the bound comes from
    """

    theorem: str
    quantity: str
    predicted: float
    observed: float
    bound: float
    reason: str

    @property
    def error(self) -> float:
        """|observed - predicted| / |predicted|; absolute where the prediction is 0."""
        return abs(self.observed - self.predicted) / (abs(self.predicted) or 1.0)

    @property
    def holds(self) -> bool:
        """True if the error is within the bound; a NaN never is."""
        return bool(np.isfinite(self.error) and self.error <= self.bound)

    @property
    def slack(self) -> float:
        """bound / error; infinite where the error is 0."""
        return self.bound / self.error if self.error else float("inf")

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"error": self.error, "holds": self.holds}
