"""Ours beside peers, on the same features: what each finds of the classes hidden in a run on coarse labels.

    python -m benchmarks.peers_on_run runs/NAME --json FILE      # after finegrain recover has been through the run

Each is told the number of hidden classes but for UMAP with HDBSCAN, which finds its own and runs where umap-learn is
installed. No setting is chosen here: the mixture's are those of the package's own, without its look off the classifier.
Features are the last stage's, of images as they are; all of a run's, or --images of each split drawn at random.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.discover_ways import umap_hdbscan
from finegrain.empirical.hidden_classes.cluster import cluster, mixture_clusters
from finegrain.empirical.hidden_classes.score import linear_probe, match
from finegrain.empirical.readers.array_files import read_whole
from finegrain.theory.tools.arrays import Array, Labels
from finegrain.theory.tools.files import writable_file, write_atomic

# Of one coarse class's features (n, d), the number of its hidden classes, and a seed: clusters (n,).
Peer = Callable[[Array, int, int], Labels]


def k_means(x: Array, count: int, seed: int) -> Labels:
    """scikit-learn's, ten starts."""
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=10, random_state=seed).fit_predict(x)


def whitened_k_means(x: Array, count: int, seed: int) -> Labels:
    """k-means where the class's leading principal components, 99 % of the variance, have unit variance."""
    from sklearn.decomposition import PCA

    return k_means(PCA(0.99, svd_solver="full", whiten=True).fit_transform(x), count, seed)


PEERS: dict[str, Peer] = {
    "k-means": k_means,
    "k-means, whitened": whitened_k_means,
    "Gaussian mixture": mixture_clusters,
}
if find_spec("umap") is not None:
    PEERS["UMAP, HDBSCAN"] = lambda x, count, seed: umap_hdbscan(x, seed)
OURS = ("guided-k-means", "guided-mixture")


def rows(arrays: dict[str, Any], images: int | None, seed: int) -> list[dict[str, Any]]:
    """A row per way: share matched, CLP, and the oracle probe of all.

    Args:
        arrays: of representation.safetensors: "train.as is" (N, d), "fine.train" (N,), the same of test, "classifier"
            (K, d), "coarse_map" (C,).
        images: taken of each split, the first of a random order; all for None.
        seed: of that order and of the clusterings.
    """
    (x, fine), (test_x, test_fine) = (_part(arrays, split, images, seed) for split in ("train", "test"))
    coarse_map = arrays["coarse_map"]
    coarse, counts = coarse_map[fine], np.bincount(coarse_map)
    oracle = float(np.mean(linear_probe(x, fine).predict(test_x) == test_fine))
    found = []
    for name in (*PEERS, *OURS):
        if name in OURS:
            clusters = cluster(x, coarse, counts.tolist(), name, classifier=arrays["classifier"], seed=seed)
        else:
            clusters = within(PEERS[name], x, coarse, counts, seed)
        matched = match(clusters, coarse, fine)
        named = matched.fine_of_cluster[linear_probe(x, clusters).predict(test_x)]
        found.append(
            {"way": name, "clusters": int(clusters.max()) + 1, "matched": matched.share}
            | {"clp": float(np.mean(named == test_fine)), "oracle": oracle}
        )
    return found


def within(peer: Peer, x: Array, coarse: Labels, counts: Labels, seed: int) -> Labels:
    """Clusters (N,) inside each coarse class, numbered through all of them."""
    clusters, first = np.empty(len(x), dtype=np.int64), 0
    for k, count in enumerate(counts.tolist()):
        members = np.flatnonzero(coarse == k)
        own = np.unique(peer(x[members], count, seed), return_inverse=True)[1]
        clusters[members] = first + own
        first += own.max() + 1
    return clusters


def _part(arrays: dict[str, Any], split: str, images: int | None, seed: int) -> tuple[Array, Labels]:
    x, fine = arrays[f"{split}.as is"], arrays[f"fine.{split}"]
    chosen = np.sort(np.random.default_rng([seed, 2]).permutation(len(x))[:images])
    return x[chosen], fine[chosen]


def main(
    run: Annotated[Path, typer.Argument(help="Its folder, with representation.safetensors.")],
    images: Annotated[int | None, typer.Option(help="Of each split; all by default.")] = None,
    seed: int = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="The rows, in one file.")] = None,
) -> None:
    """Ours beside peers, on the features that a run gives its images."""
    if json_file:
        writable_file(json_file)
    found = rows(read_whole(run / "representation.safetensors", "run"), images, seed)
    print("| way | clusters | matched | CLP | oracle |\n| --- | --- | --- | --- | --- |")
    for row in found:
        shares = " | ".join(f"{100 * row[key]:.1f} %" for key in ("matched", "clp", "oracle"))
        print(f"| {row['way']} | {row['clusters']} | {shares} |")
    if json_file:
        write_atomic(json_file, json.dumps({"run": run.name, "seed": seed, "rows": found}, indent=1))


if __name__ == "__main__":
    sys.exit(typer.run(main))
