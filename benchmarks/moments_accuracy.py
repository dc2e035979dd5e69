"""How exact Moments are on collapsed features, beside other schemes: relative errors against 80-bit arithmetic.

    python benchmarks/moments_accuracy.py

20,000 float32 samples of 10 classes in 64 dimensions. Covariances: relative Frobenius error, worst class (the peer's:
pooled). Mahalanobis: relative error of the distance between the first two classes under the pooled covariance.
"""

from __future__ import annotations

import numpy as np
import torch
from test_moments import two_passes  # the peer's scheme, beside this file

from finegrain.theory.moments import MomentsAccumulator

N, D, C = 20_000, 64, 10


def data(offset: float, spread: float, condition: float, rng: np.random.Generator):
    """Class means N(0, 1) about a common offset; within-class eigenvalues from spread^2 down by the condition."""
    y = np.arange(N) % C
    axes = np.linalg.qr(rng.standard_normal((D, D)))[0]
    scales = spread * np.geomspace(1, condition**-0.5, D)
    x = offset + rng.standard_normal((C, D))[y] + (rng.standard_normal((N, D)) * scales) @ axes
    return x.astype(np.float32), y


def reference(x, y):
    wide = x.astype(np.longdouble)
    means = np.stack([wide[y == c].mean(axis=0) for c in range(C)])
    return means, np.stack(
        [np.einsum("ni,nj->ij", z, z) / len(z) for z in (wide[y == c] - means[c] for c in range(C))]
    )


def ours(x, y, products):
    accumulator = MomentsAccumulator(C, D, product_dtype=products)
    accumulator.update(x, y)
    found = accumulator.compute()
    return found.means, found.covariances


def uncentred(x, y):
    """Float32 products of raw features, added in float64: E h h^T - mean mean^T."""
    means = np.stack([x[y == c].mean(axis=0, dtype=np.float64) for c in range(C)])
    raw = [(x[y == c].T @ x[y == c]).astype(np.float64) / np.sum(y == c) for c in range(C)]
    return means, np.stack(raw) - means[:, :, None] * means[:, None, :]


def peer(x, y):
    means, pooled = two_passes(torch.from_numpy(x), torch.from_numpy(y), torch.float32, C, D)
    return means.double().numpy(), pooled.double().numpy()[None]


def mahalanobis(means, covariances):
    delta = np.asarray(means[0] - means[1], dtype=float)
    return float(np.sqrt(delta @ np.linalg.solve(np.asarray(covariances.mean(axis=0), dtype=float), delta)))


def errors(found, exact):
    """Of the covariance, worst class, and of the Mahalanobis distance."""
    wanted = exact[1] if len(found[1]) == C else exact[1].mean(axis=0, keepdims=True)
    gaps = np.linalg.norm((found[1] - wanted).astype(float), axis=(1, 2)) / np.linalg.norm(
        wanted.astype(float), axis=(1, 2)
    )
    return float(gaps.max()), mahalanobis(*found) / mahalanobis(*exact) - 1


def main() -> None:
    schemes = {
        "Moments, float64 products (default)": lambda x, y: ours(x, y, "float64"),
        "Moments, float32 products": lambda x, y: ours(x, y, "float32"),
        "peer's two passes, float32": peer,
        "uncentred float32 products, float64 sums": uncentred,
    }
    settings = {
        "mean/std 1": (0.0, 1.0, 1.0),
        "mean/std 100": (100.0, 1.0, 1.0),
        "collapsed (within/total 1e-6)": (0.0, 1e-3, 1.0),
        "collapsed, condition 1e6": (0.0, 1e-3, 1e6),
    }
    rng = np.random.default_rng(0)
    sets = [(x, y, reference(x, y)) for x, y in (data(*s, rng) for s in settings.values())]
    print("| scheme |", " | ".join(settings), "| Mahalanobis, last |")
    print("|" + " --- |" * (len(settings) + 2))
    for name, scheme in schemes.items():
        found = []
        with np.errstate(invalid="ignore"):
            found = [errors(scheme(x, y), exact) for x, y, exact in sets]
        print(f"| {name} |", " | ".join(f"{e:.0e}" for e, _ in found), f"| {found[-1][1]:+.0e} |")


if __name__ == "__main__":
    main()
