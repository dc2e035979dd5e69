"""Gaussian pre-activations of some neurons, and the activations, to test kinematics on."""

from __future__ import annotations

import numpy as np
import pytest

from finegrain.theory import kinematics

SLOPE = 0.3
activations = pytest.mark.parametrize("activation", kinematics.ACTIVATIONS)


def problem(seed, n=3, m=5, scale=1.0):
    """b (n, m) and Q (n, m, m), of different sizes from neuron to neuron."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, m, m + 1)) * rng.uniform(0.2, 2, size=(m, 1))
    Q = scale**2 * root @ root.swapaxes(1, 2) / m
    return scale * rng.normal(size=(n, m)), 0.5 * (Q + Q.swapaxes(1, 2))  # symmetric to the last bit
