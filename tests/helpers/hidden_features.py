"""Features in T18's setting: two coarse classes with two subclasses each."""

import numpy as np

FINE_TO_COARSE = np.array([0, 0, 1, 1])


def hidden(seed, n=400, nuisance=6.0, dim=8):
    """Features of two coarse classes with two subclasses each, in T18's setting, and the classifier's rows.

    Coordinate 0 tells the coarse classes apart and carries a nuisance inside each; coordinate 1 tells the subclasses
    apart, 2 is a large common mean.
    """
    rng = np.random.default_rng(seed)
    fine = rng.permutation(n) % 4
    x = 0.3 * rng.standard_normal((n, dim))
    x[:, 0] += 20 * (fine // 2) + nuisance * rng.standard_normal(n)
    x[:, 1] += 2 * (fine % 2) - 1
    x[:, 2] += 5
    return x, FINE_TO_COARSE[fine], fine, np.eye(dim)[:1]
