"""What is trained besides the weights: activation, loss and weight decay, checked once and handed on as one thing.

    h = phi(W x),   f = A h,   L = E loss(f, t) + lambda/2 (||W||^2 + ||A||^2)

Public functions take the four as keywords (`SettingKeywords`) and build a `Setting`; inside, the Setting travels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from finegrain.theory import kinematics
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

LOSSES = ("cross-entropy", "logistic", "squared")
RECTIFIED = ("relu", "leaky_relu")


class SettingKeywords(TypedDict, total=False):
    """The fields of `Setting`, as keywords that a function may be given."""

    activation: str
    slope: float
    loss: str
    weight_decay: float


@dataclass(frozen=True)
class Setting:
    """How a two-layer network is trained, whatever its width and data.

    Attributes:
        activation: phi, elementwise: identity, relu (relu'(0) = 0), leaky_relu, erf or square
        slope: of leaky_relu below zero, finite; other activations ignore it
        loss: squared, 1/2 ||f - t||^2; logistic, sum_k ln(1 + exp(-t_k f_k)) for targets -1 and 1;
            cross-entropy, -sum_k t_k ln softmax(f)_k for targets that are probabilities
        weight_decay: lambda >= 0, the same on both layers

    Raises:
        ValueError: a field out of its range, by name.
    """

    activation: str = "relu"
    slope: float = 0.01
    loss: str = "squared"
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        checks.one_of("activation", self.activation, kinematics.ACTIVATIONS)
        checks.one_of("loss", self.loss, LOSSES)
        checks.at_least("weight_decay", self.weight_decay, 0)
        if not np.isfinite(self.slope):
            raise ValueError(f"slope must be a finite number, got {self.slope}")

    @property
    def rectified(self) -> bool:
        """Whether neurons have gates: linear on either side of zero, with a kink there."""
        return self.activation in RECTIFIED

    @property
    def closed(self) -> float:
        """Slope of a rectified activation at closed gates: 0 for relu."""
        return self.slope if self.activation == "leaky_relu" else 0.0

    def check_targets(self, targets: Array) -> None:
        """Require targets (C, K) that the loss is made for."""
        if self.loss == "logistic" and not np.isin(targets, (-1, 1)).all():
            found = np.unique(targets).tolist()
            raise ValueError(f"targets must be -1 or 1 for the logistic loss, got {found}")
        rows = np.sum(targets, axis=1)
        if self.loss == "cross-entropy" and not (targets.min() >= 0 and np.allclose(rows, 1)):
            raise ValueError(
                f"targets must be rows of probabilities for the cross-entropy loss, got row sums {rows.tolist()}"
            )
