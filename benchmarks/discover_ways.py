"""Ways to count and find the groups in one class, each a function of features (n, D) and a seed that gives (n,).

The other four are what practitioners write from scikit-learn and, where it is installed, umap-learn: no part of this
package, and no dependency of it. GEORGE: Sohoni et al. (2020), its recipe of UMAP, overclustering and silhouette.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from finegrain.empirical.hidden_classes.tree import find_subclasses
from finegrain.theory.tools.arrays import Array, Labels

MOST = 10


def ours(x: Array, seed: int) -> Labels:
    """The class's subclasses at level 5 %."""
    return find_subclasses(x, seed=seed).subclass


def k_means_by_silhouette(x: Array, seed: int) -> Labels:
    """k-means of 2 to MOST parts with the best silhouette; one part, of which no silhouette speaks, below 0.1."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    found, best = np.zeros(len(x), dtype=np.int64), 0.1
    for parts in range(2, MOST + 1):
        label = KMeans(parts, n_init=3, random_state=seed).fit_predict(x)
        score = silhouette_score(x, label, sample_size=1000, random_state=seed)
        if score > best:
            found, best = label, score
    return found


def mixture_by_bic(x: Array, seed: int) -> Labels:
    """A Gaussian mixture of up to MOST tied components on 16 principal components, the number by BIC."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    z = PCA(min(16, x.shape[1]), random_state=seed).fit_transform(x)
    fits = [
        GaussianMixture(parts, covariance_type="tied", n_init=2, random_state=seed).fit(z)
        for parts in range(1, MOST + 1)
    ]
    best = min(fits, key=lambda fit: fit.bic(z))
    return np.unique(best.predict(z), return_inverse=True)[1]


def _umap(x: Array, seed: int) -> Array:
    from umap import UMAP

    return UMAP(n_components=2, n_neighbors=15, min_dist=0.0, random_state=seed).fit_transform(x)


def umap_hdbscan(x: Array, seed: int) -> Labels:
    """UMAP to two dimensions and HDBSCAN there; samples without a cluster go to the nearest one's centre."""
    from sklearn.cluster import HDBSCAN

    z = _umap(x, seed)
    label = HDBSCAN(min_cluster_size=max(5, len(x) // 100), copy=True).fit_predict(z)
    if label.max() < 1:
        return np.zeros(len(x), dtype=np.int64)
    centres = np.stack([z[label == s].mean(axis=0) for s in range(label.max() + 1)])
    return np.where(label >= 0, label, ((z[:, None] - centres) ** 2).sum(-1).argmin(1))


def george(x: Array, seed: int) -> Labels:
    """UMAP, then k-means with the best silhouette, and each part again where that gains: never one part."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    z = _umap(x, seed)
    tries = [KMeans(parts, n_init=3, random_state=seed).fit_predict(z) for parts in range(2, MOST + 1)]
    return max(tries, key=lambda label: silhouette_score(z, label, sample_size=1000, random_state=seed))


WAYS: dict[str, Callable[[Array, int], Labels]] = {
    "ours": ours,
    "k-means, silhouette": k_means_by_silhouette,
    "Gaussian mixture, BIC": mixture_by_bic,
}
if find_spec("umap") is not None:
    WAYS |= {"UMAP, HDBSCAN": umap_hdbscan, "UMAP, silhouette (GEORGE)": george}
