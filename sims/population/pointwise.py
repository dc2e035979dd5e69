"""Activations and losses at points, each with its derivative: what a network meets where inputs have no noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit, log_softmax, softmax

from finegrain.theory.tools import checks

Array = NDArray[np.float64]
Pair = Callable[[Array], tuple[Array, Array]]
Loss = Callable[[Array, Array], tuple[Array, Array]]

LOSSES = ("logistic", "softmax", "squared")


def activation(name: str, slope: float = 0.01) -> Pair:
    """z -> (phi(z), phi'(z)), elementwise; relu'(0) = 0, and leaky_relu'(0) = slope, its slope below zero."""
    functions: dict[str, Pair] = {
        "identity": lambda z: (z, np.ones_like(z)),
        "relu": lambda z: (np.maximum(z, 0), (z > 0).astype(float)),
        "leaky_relu": lambda z: (np.where(z > 0, z, slope * z), np.where(z > 0, 1.0, slope)),
        "erf": lambda z: (erf(z), 2 / np.sqrt(np.pi) * np.exp(-(z**2))),
        "square": lambda z: (z**2, 2 * z),
    }
    checks.one_of("activation", name, functions)
    return functions[name]


def loss(name: str) -> Loss:
    """(f, t) of shape (J, K) -> loss of each row (J,) and its derivative by f (J, K).

    squared: 1/2 ||f - t||^2.  logistic: sum_k ln(1 + exp(-t_k f_k)), for t = +-1.
    softmax: cross-entropy -sum_k t_k ln softmax(f)_k, for rows t of probabilities.
    """
    checks.one_of("loss", name, LOSSES)
    return {"squared": _squared, "logistic": _logistic, "softmax": _softmax}[name]


def check_targets(name: str, targets: Array) -> None:
    """Require targets that the loss is made for."""
    if name == "logistic" and not np.isin(targets, (-1, 1)).all():
        raise ValueError(f"targets must be -1 or 1 for the logistic loss, got {np.unique(targets).tolist()}")
    rows = np.sum(targets, axis=1)
    if name == "softmax" and not (targets.min() >= 0 and np.allclose(rows, 1)):
        raise ValueError(
            f"targets must be rows of probabilities for the softmax loss, got row sums {rows.tolist()}"
        )


def _squared(f: Array, t: Array) -> tuple[Array, Array]:
    residual = f - t
    return np.sum(residual**2, axis=1) / 2, residual


def _logistic(f: Array, t: Array) -> tuple[Array, Array]:
    margin = t * f
    return np.sum(np.logaddexp(0, -margin), axis=1), -t * expit(-margin)


def _softmax(f: Array, t: Array) -> tuple[Array, Array]:
    return -np.sum(t * log_softmax(f, axis=1), axis=1), softmax(f, axis=1) - t
