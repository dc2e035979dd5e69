"""Ratios that the documentation quotes, each side by side in one run:  make bench

Groups: "moments", one pass over 50,000 x 512 float32 features against a bare product X^T X; "step", one exact
population gradient against one full-batch step on the 60,000 samples that it stands for.
"""

import numpy as np
import pytest
import torch

from empirical.two_layer import train
from sims import population_descent
from sims.initial_weights import gaussian
from theory import Mixture, MomentsAccumulator
from theory.targets import centred_one_hot

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    return rng.standard_normal((50_000, 512), dtype=np.float32), rng.integers(0, 10, 50_000)


@pytest.mark.benchmark(group="moments", warmup=True)
@pytest.mark.parametrize("products", ["float64", "float32"])
def test_moments_of_ten_classes(benchmark, features, products):
    x, y = features
    benchmark(lambda: MomentsAccumulator(10, 512, product_dtype=products).update(x, y))


@pytest.mark.benchmark(group="moments", warmup=True)
def test_bare_float32_product(benchmark, features):
    x = torch.from_numpy(features[0])
    benchmark(lambda: x.T @ x)


@pytest.fixture(scope="module")
def problem():
    """60,000 samples of 10 classes in 33 dimensions, a mixture of 4 Gaussians a class, width 32."""
    rng = np.random.default_rng(0)
    fine = np.arange(60_000) % 10
    x = rng.standard_normal((10, 33))[fine] + rng.standard_normal((60_000, 33))
    coarse = np.arange(10) % 5
    mixture = Mixture.fit(x, fine, coarse, 4, directions=np.eye(33)[:, :2])
    return mixture, x, fine, centred_one_hot(coarse), *gaussian(32, 33, 5, 0.5, rng)


STEPS = 20


@pytest.mark.benchmark(group="step", warmup=True)
def test_population_descent(benchmark, problem):
    mixture, _, _, targets, W0, A0 = problem
    benchmark(lambda: population_descent(mixture, W0, A0, targets=targets, learning_rate=0.1, steps=[STEPS]))


@pytest.mark.benchmark(group="step", warmup=True)
def test_full_batch_descent(benchmark, problem):
    _, x, fine, targets, W0, A0 = problem
    benchmark(
        lambda: train(
            x, fine, W0, A0, targets=targets, learning_rate=0.1, steps=STEPS, record_at=[STEPS], device="cpu"
        )
    )
