"""Which theorems speak of a mixture and a setting: the assumptions that the two can show, tried one by one.

What depends on the start, on the width or on the time (a small start, a neuron on all subclasses, times after a
transient) stands in each theorem's assumptions and is not tried here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from finegrain.theory.mixture import Mixture
from finegrain.theory.tools import checks

# Relative: a mean or a covariance that rounding alone keeps from its form.
TOLERANCE = 1e-9


class SettingLike(Protocol):
    """What is asked of a setting (`finegrain.Setting`)."""

    @property
    def activation(self) -> str: ...

    @property
    def loss(self) -> str: ...

    @property
    def weight_decay(self) -> float: ...


# Of a setting.
ASKED = ("activation", "loss", "weight_decay")

Condition = tuple[str, Callable[[Mixture, SettingLike], bool]]


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    size = max(float(np.abs(a).max()), float(np.abs(b).max()))
    return bool(np.abs(a - b).max() <= TOLERANCE * size)


def _gram(mixture: Mixture) -> np.ndarray:
    means = np.asarray(mixture.moments.means)
    return means @ means.T


def _without_noise(mixture: Mixture) -> bool:
    return not np.any(mixture.moments.covariances)


def _equal_covariances(mixture: Mixture) -> bool:
    covariances = np.asarray(mixture.moments.covariances)
    return _near(covariances, np.broadcast_to(covariances[0], covariances.shape))


def _equal_within(mixture: Mixture) -> bool:
    weights, coarse = np.asarray(mixture.moments.weights), mixture.coarse_map[mixture.fine_map]
    return all(np.ptp(weights[coarse == k]) <= TOLERANCE * weights.max() for k in np.unique(coarse))


def _isotropic(mixture: Mixture) -> bool:
    covariances = np.asarray(mixture.moments.covariances)
    d = covariances.shape[-1]
    spread = np.trace(covariances, axis1=1, axis2=2) / d
    return _near(covariances, spread[:, None, None] * np.eye(d))


LINEAR: Condition = ("activation identity", lambda _, s: s.activation == "identity")
HOMOGENEOUS: Condition = ("an activation that is homogeneous, so not erf", lambda _, s: s.activation != "erf")
RELU: Condition = ("activation relu", lambda _, s: s.activation == "relu")
LEAKY: Condition = ("activation leaky_relu", lambda _, s: s.activation == "leaky_relu")
GATED: Condition = ("activation relu or leaky_relu", lambda _, s: s.activation in ("relu", "leaky_relu"))
PIECEWISE: Condition = (
    "activation relu; or, with two coarse classes, leaky_relu or identity",
    lambda m, s: (
        s.activation == "relu"
        or (s.activation in ("leaky_relu", "identity") and int(m.coarse_map.max()) == 1)
    ),
)
SQUARED: Condition = ("squared loss", lambda _, s: s.loss == "squared")
AFFINE: Condition = ("squared or cross-entropy loss", lambda _, s: s.loss != "logistic")
NOT_SQUARED: Condition = ("logistic or cross-entropy loss", lambda _, s: s.loss != "squared")
DECAY: Condition = ("weight_decay > 0", lambda _, s: s.weight_decay > 0)
NO_DECAY: Condition = ("weight_decay = 0", lambda _, s: s.weight_decay == 0)
NOISELESS: Condition = ("no input noise", lambda m, _: _without_noise(m))
ORTHOGONAL: Condition = ("orthogonal means", lambda m, _: _near(_gram(m), np.diag(np.diag(_gram(m)))))
ORTHONORMAL: Condition = ("orthonormal means", lambda m, _: _near(_gram(m), np.eye(len(_gram(m)))))
EQUAL: Condition = ("equal probabilities", lambda m, _: bool(np.ptp(m.moments.weights) <= TOLERANCE))
EQUAL_WITHIN: Condition = ("equal probabilities within each coarse class", lambda m, _: _equal_within(m))
ONE_COVARIANCE: Condition = ("one covariance for all classes", lambda m, _: _equal_covariances(m))
LEAK_OR_NOISE: Condition = (
    "leaky_relu without noise, or relu with isotropic noise",
    lambda m, s: (
        _without_noise(m) if s.activation == "leaky_relu" else _isotropic(m) and not _without_noise(m)
    ),
)

CONDITIONS: dict[str, tuple[Condition, ...]] = {
    "T1": (),
    "T2": (HOMOGENEOUS,),
    "T3": (LINEAR, SQUARED),
    "T4": (LINEAR, SQUARED),
    "T5": (LINEAR, SQUARED),
    "T6": (RELU, ORTHOGONAL, NOISELESS),
    "T7": (RELU, ORTHOGONAL, NOISELESS, EQUAL_WITHIN, NO_DECAY),
    "T8": (RELU, SQUARED, ORTHONORMAL, NOISELESS, DECAY),
    "T9": (PIECEWISE, SQUARED, ORTHONORMAL, NOISELESS, EQUAL, DECAY),
    "T10": (ONE_COVARIANCE,),
    "T11": (SQUARED, DECAY),
    "T12": (LINEAR, NOISELESS),
    "T13": (SQUARED,),
    "T14": (LINEAR,),
    "T15": (RELU, NOT_SQUARED, ORTHOGONAL, NOISELESS, EQUAL_WITHIN),
    "T16": (GATED, LEAK_OR_NOISE, ORTHONORMAL, EQUAL_WITHIN, NO_DECAY),
    "T17": (LINEAR,),
    "T18": (LINEAR, SQUARED, ONE_COVARIANCE),
    "T19": (GATED, NOISELESS),
    "T20": (RELU, SQUARED, DECAY),
    "T21": (RELU, SQUARED, ORTHONORMAL, NOISELESS, EQUAL),
    "T22": (LEAKY, SQUARED, ORTHONORMAL, NOISELESS, EQUAL, DECAY),
    "T23": (RELU, SQUARED, ORTHONORMAL, NOISELESS, EQUAL_WITHIN),
    "T26": (AFFINE,),
}


def obstacles(mixture: Mixture, setting: SettingLike) -> dict[str, list[str]]:
    """For each theorem the assumptions that the mixture or the setting does not meet, in words; none: it applies.

    Raises:
        TypeError: a mixture that is none, or a setting without an activation, a loss and a weight_decay.
    """
    checks.instance("mixture", mixture, Mixture)
    if missing := [name for name in ASKED if not hasattr(setting, name)]:
        raise TypeError(
            f"setting must have {', '.join(ASKED)}, as finegrain.Setting has; "
            f"got {type(setting).__name__} without {', '.join(missing)}"
        )
    return {
        theorem: [words for words, holds in conditions if not holds(mixture, setting)]
        for theorem, conditions in CONDITIONS.items()
    }


def applicable(mixture: Mixture, setting: SettingLike) -> list[str]:
    """The theorems whose assumptions on inputs and training hold, such as ["T1", "T2"]; raises as `obstacles`."""
    return [theorem for theorem, missing in obstacles(mixture, setting).items() if not missing]
