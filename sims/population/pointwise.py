"""Activations and losses at points, each with its derivative: what a network meets where inputs have no noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erf, expit, log_softmax, softmax

from finegrain.sims.setting import LOSSES
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Activation = Callable[[Array], tuple[Array, Array]]
Loss = Callable[[Array, Array], tuple[Array, Array]]


def activation(name: str, slope: float = 0.01) -> Activation:
    """z -> (phi(z), phi'(z)), elementwise; relu'(0) = 0, and leaky_relu'(0) = slope, its slope below zero."""
    functions: dict[str, Activation] = {
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
    cross-entropy: -sum_k t_k ln softmax(f)_k, for rows t of probabilities.
    """
    checks.one_of("loss", name, LOSSES)
    return {"squared": _squared, "logistic": _logistic, "cross-entropy": _cross_entropy}[name]


def _squared(f: Array, t: Array) -> tuple[Array, Array]:
    residual = f - t
    return np.sum(residual**2, axis=1) / 2, residual


def _logistic(f: Array, t: Array) -> tuple[Array, Array]:
    margin = t * f
    return np.sum(np.logaddexp(0, -margin), axis=1), -t * expit(-margin)


def _cross_entropy(f: Array, t: Array) -> tuple[Array, Array]:
    return -np.sum(t * log_softmax(f, axis=1), axis=1), softmax(f, axis=1) - t
