"""A two-layer network taught coarse labels, and its representation: features to discover hidden classes in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.networks import two_layer
from finegrain.empirical.networks.preprocess import Preprocess
from finegrain.empirical.readers.coarse_maps import coarse_names
from finegrain.empirical.readers.data import Dataset
from finegrain.sims.initial_weights import gaussian
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.tools.arrays import Array

DIM, LEARNING_RATE, WEIGHT_DECAY, SCALE = 64, 0.3, 1e-3, 0.5


@dataclass(frozen=True, eq=False)
class CoarseNetwork:
    """What is left of the training.

    Attributes:
        features: (N, m) h = relu(W x) of the training images
        coarse: (N,) labels it was taught
        coarse_names: K names of theirs
        classifier: A, (K, m)
        test_accuracy: share of test images given their coarse label
    """

    features: Array
    coarse: NDArray[np.int64]
    coarse_names: list[str]
    classifier: Array
    test_accuracy: float


def train_on_coarse_labels(
    data: Dataset, map_: str, *, width: int = 256, steps: int = 1200, seed: int = 0, progress: bool = False
) -> CoarseNetwork:
    """Full-batch descent on the squared loss of centred one-hot coarse labels, from a random start (two_layer).

    Raises:
        ValueError: a map that does not fit the data, or of one coarse class only.
    """
    fine_to_coarse = data.coarse_map(map_)
    if fine_to_coarse.max() == 0:
        raise ValueError(f"map must have at least 2 coarse classes to train on, got {map_!r}")
    targets, preprocess = centred_one_hot(fine_to_coarse), Preprocess.fit(data.train_x, DIM)
    x = preprocess.apply(data.train_x)
    start = gaussian(width, x.shape[1], targets.shape[1], SCALE, np.random.default_rng(seed))
    record = two_layer.train(
        *(x, data.train_y, *start),
        targets=targets,
        learning_rate=LEARNING_RATE,
        steps=steps,
        weight_decay=WEIGHT_DECAY,
        progress=progress,
    )
    W, A = record.W[-1], record.A[-1]
    output = np.maximum(preprocess.apply(data.test_x) @ W.T, 0) @ A.T
    right = output.argmax(axis=1) == fine_to_coarse[data.test_y]
    return CoarseNetwork(
        features=np.maximum(x @ W.T, 0),
        coarse=fine_to_coarse[data.train_y],
        coarse_names=coarse_names(map_, int(fine_to_coarse.max()) + 1, data.superclasses),
        classifier=A,
        test_accuracy=float(right.mean()),
    )
