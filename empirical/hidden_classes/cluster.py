"""The rule by which hidden classes are sought: k-means or a Gaussian mixture inside each coarse class.

The number of clusters is given and no fine label is used. The guided ways cluster what `look.look_where_theory_says`
leaves; plain k-means takes the features as they are, to show what that is worth. The layer before, less collapsed, can
be looked at as well: it is projected and normalised by itself and set beside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finegrain.empirical.hidden_classes.look import beside, checked, look_where_theory_says
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Floats, Labels

METHODS = ("k-means", "guided-k-means", "guided-mixture")
STARTS = 10  # of k-means, and of a mixture
SETTLED = 1e-5  # gain of log likelihood, in nats a sample, below which EM stops
ROUNDS = 1000  # of EM, at most
COMPONENTS = 20  # principal components that the mixture sees, with at least
PER_COMPONENT = 10  # samples each


def cluster(
    features: ArrayLike,
    coarse: ArrayLike,
    subclasses: int | Sequence[int],
    method: str = "guided-mixture",
    *,
    classifier: ArrayLike | None = None,
    before: ArrayLike | None = None,
    seed: int = 0,
) -> Labels:
    """The cluster (N,) of each sample, found within its coarse class.

    Coarse class 0 has the clusters 0..S_0 - 1, class 1 the next S_1, and so on, sum_k S_k in all.

    Args:
        features: (N, D).
        coarse: (N,), 0..K-1, each taken.
        subclasses: clusters to find in each coarse class, one number or K of them.
        method: "k-means" on the features as they are; "guided-k-means" and "guided-mixture" after
            `look_where_theory_says`, the last with full covariances on 20 principal components.
        classifier: weights (K, D) of the layer that reads the features; the guided ways alone use it.
        before: (N, D') what an earlier layer makes of the same samples, to be looked at as well.
        seed: of the starts.

    Raises:
        ValueError: shapes that do not fit, an unknown method, or a coarse class of fewer samples than clusters.
    """
    x, y = checked(features, coarse)
    counts = _per_class("subclasses", subclasses, y)
    checks.one_of("method", method, METHODS)
    earlier = [] if before is None else [checked(beside(before, x), y)[0]]
    if method != "k-means":
        x = look_where_theory_says(x, y, classifier)
        earlier = [look_where_theory_says(e, y) for e in earlier]
    x = np.hstack([x, *earlier])
    clusters = np.empty(len(y), dtype=np.int64)
    for k, count in enumerate(counts):
        members = np.flatnonzero(y == k)
        rule = mixture_clusters if method == "guided-mixture" else _k_means
        clusters[members] = counts[:k].sum() + rule(x[members], int(count), seed)
    return clusters


def _k_means(x: Floats, count: int, seed: int) -> Labels:
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=STARTS, random_state=seed).fit_predict(x).astype(np.int64)


def mixture_clusters(x: Floats, count: int, seed: int) -> Labels:
    """Clusters (n,) of features (n, D) by a Gaussian mixture with full covariances on leading principal components.

    Starts are samples drawn at random. From the partitions of k-means, scikit-learn's default, EM may end in a lower
    maximum of the likelihood, the same from every start. With few samples a cluster the highest is not always the
    better split (docs/results/cifar.md).
    """
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        count, n_init=STARTS, init_params="random_from_data", tol=SETTLED, max_iter=ROUNDS, random_state=seed
    )
    return mixture.fit_predict(mixture_components(x)).astype(np.int64)


def mixture_components(x: Floats) -> NDArray[np.float64]:
    """As many principal components of features (n, D) as n samples can give covariances of, COMPONENTS at most."""
    return principal_components(x, max(1, min(COMPONENTS, len(x) // PER_COMPONENT)))


def principal_components(x: Floats, most: int) -> NDArray[np.float64]:
    """The leading `most` principal components (N, <= most), in units of the first one's standard deviation.

    That unit makes the mixture's floor on variances, 1e-6, a relative one: collapsed features are tiny.
    """
    from sklearn.decomposition import PCA

    scores = PCA(min(most, *x.shape), random_state=0).fit_transform(x.astype(np.float64))
    return scores / (scores[:, 0].std() or 1.0)


def _per_class(name: str, value: int | Sequence[int], coarse: Labels) -> Labels:
    """One count for each coarse class (K,), none above the samples it has."""
    samples = np.bincount(coarse)
    counts = np.full(samples.size, value) if np.ndim(value) == 0 else np.asarray(value)
    checks.shape(name, counts, (samples.size,))
    for k, count in enumerate(counts.tolist()):
        checks.integer(f"{name} of coarse class {k}", count, 1)
        if count > samples[k]:
            raise ValueError(
                f"{name} must be at most the samples of a class, got {count} for {samples[k]} in class {k}"
            )
    return counts.astype(np.int64)
