"""Samples of four classes, and networks to train on them, small enough for a test."""

import numpy as np

from finegrain.sims.initial_weights import gaussian
from finegrain.theory.targets import centred_one_hot, one_hot

EPS = np.finfo(float).eps
N, D, K, COARSE = 24, 5, 2, [0, 1, 0, 1]
TARGETS = {
    "squared": centred_one_hot(COARSE),
    "cross-entropy": one_hot(COARSE),
    "logistic": 2 * one_hot(COARSE) - 1,
}
WIDTHS = (3, 6, 1)
LOSSES = tuple(TARGETS)


def samples(seed, count=N):
    rng = np.random.default_rng(seed)
    fine = np.arange(count) % 4
    return rng.standard_normal((4, D))[fine] + 0.5 * rng.standard_normal((count, D)), fine


def starts(seed=0, widths=WIDTHS):
    rng = np.random.default_rng([seed, 1])
    return zip(*(gaussian(m, D, K, 0.7, rng) for m in widths), strict=True)
