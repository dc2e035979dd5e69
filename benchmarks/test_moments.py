"""Moments of 50,000 x 512 float32 features in 10 classes beside a bare X^T X and the peer's two passes."""

import numpy as np
import pytest
import torch

from finegrain.theory.moments import MomentsAccumulator

N, D, C = 50_000, 512, 10


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D), dtype=np.float32), rng.integers(0, C, N)


def two_passes(x, y, dtype, classes=C, dim=D, batch=1000):
    """The scheme of rhubarbwu/neural-collapse, written anew: class means by one-hot products, then, in a second
    pass over the data, the pooled covariance about them; torch, one precision throughout."""
    batches = list(zip(x.split(batch), y.split(batch), strict=True))
    totals, counts = torch.zeros(classes, dim, dtype=dtype), torch.zeros(classes, dtype=torch.int64)
    for features, labels in batches:
        members = labels[:, None] == torch.arange(classes)
        counts += members.sum(0)
        totals += members.T.to(dtype) @ features.to(dtype)
    means = totals / counts[:, None].to(dtype)
    scatter = torch.zeros(dim, dim, dtype=dtype)
    for features, labels in batches:
        centred = features.to(dtype) - means[labels]
        scatter += centred.T @ centred
    return means, scatter / len(x)


@pytest.mark.benchmark(group="moments")
def test_moments_of_ten_classes(contest, features):
    x, y = features
    X, Y = torch.from_numpy(x), torch.from_numpy(y)
    X64 = X.double()

    def moments(products, covariance="full"):
        return lambda: MomentsAccumulator(C, D, covariance, product_dtype=products).update(x, y)

    ratios = contest(
        "moments",
        {
            "bare float32 X^T X (torch)": lambda: X.T @ X,
            "10 covariances, float32 products": moments("float32"),
            "10 covariances, float64 products": moments("float64"),
            "pooled covariance, float32 products": moments("float32", "pooled"),
            "pooled covariance, float64 products": moments("float64", "pooled"),
            "peer's two passes, pooled, float32": lambda: two_passes(X, Y, torch.float32),
            "peer's two passes, pooled, float64": lambda: two_passes(X, Y, torch.float64),
            "bare float64 X^T X (torch)": lambda: X64.T @ X64,
            "bare float32 X^T X (numpy, ssyrk)": lambda: x.T @ x,
        },
        rounds=5,
    )
    # Full against the peer's pooled, and yet ahead at equal precision.
    for products in ("float32", "float64"):
        ours, peers = f"10 covariances, {products} products", f"peer's two passes, pooled, {products}"
        assert ratios[ours] < ratios[peers]
