"""Hidden classes recovered from a representation: look where theory says, cluster, match, probe.

T18: what the coarse labels do not name survives off the classifier's row space, and what they see inside a class
(confidence, the norm of the features) is in the way of clustering. So

    1. off_classifier        project off the classifier's rows, or off the span of the centred coarse class means
    2. unit norm             each sample divided by its norm: a per-sample scale, on which T18 is silent
    3. cluster               within each coarse class, the number of clusters given: no fine label is used
    4. match                 clusters to fine classes, Hungarian assignment within each coarse class: only a score
    5. cluster_and_probe     CLP: a linear probe taught the clusters, judged by fine labels on test samples; also
                             when it chooses within the coarse class that the network names

The guided ways take steps 1 and 2; plain k-means takes neither, to show what they are worth. The layer before, less
collapsed, can be looked at as well: it goes through steps 1 and 2 by itself and is set beside.

Source: this project, T18; CLP after the abstract of Yang, Steinhardt & Hu (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from finegrain.theory.theorems.where_to_look import projector
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Floats, Labels
from finegrain.theory.tools.brief import brief

METHODS = ("k-means", "guided-k-means", "guided-mixture")
STARTS = 10  # of k-means, and of a mixture
SETTLED = 1e-5  # gain of log likelihood, in nats a sample, below which EM stops
ROUNDS = 1000  # of EM, at most
COMPONENTS = 20  # principal components that the mixture sees, with at least
PER_COMPONENT = 10  # samples each
RIDGE = 1e-3  # of the probe: mean cross-entropy + RIDGE/2 ||weights||^2, on standardised features


def class_mean_directions(features: ArrayLike, coarse: ArrayLike) -> Floats:
    """Centred coarse class means (K, D): they span what a classifier, were it known, would look at (NC3)."""
    x, y = checked(features, coarse)
    means = np.stack([x[y == k].mean(axis=0, dtype=np.float64) for k in range(y.max() + 1)])
    return means - means.mean(axis=0)


def off_classifier(features: ArrayLike, classifier: ArrayLike) -> Floats:
    """Features (N, D) projected off the row space of `classifier` (K, D), in their own dtype.

    Raises:
        ValueError: a classifier of another width than the features, or one that leaves nothing: rank D.
    """
    x = checks.features("features", np.asarray(features))
    rows = checks.real("classifier", classifier, ("K", x.shape[1]))
    P = projector(rows)
    if np.trace(P) < 0.5:  # its rank, a whole number
        raise ValueError(
            f"classifier must leave a direction to look in, got rank {x.shape[1]} in {x.shape[1]} dimensions"
        )
    return x @ P.astype(x.dtype)


def unit_norm(features: Floats) -> Floats:
    """Each row over its norm; a row of zeros stays so."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0, norms, 1)


def look_where_theory_says(
    features: ArrayLike, coarse: ArrayLike, classifier: ArrayLike | None = None
) -> Floats:
    """Steps 1 and 2: features (N, D) off the classifier (K, D) or, without one, off the class means; unit norm."""
    directions = class_mean_directions(features, coarse) if classifier is None else classifier
    return unit_norm(off_classifier(features, directions))


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
    earlier = [] if before is None else [checked(_beside(before, x), y)[0]]
    if method != "k-means":
        x = look_where_theory_says(x, y, classifier)
        earlier = [look_where_theory_says(e, y) for e in earlier]
    x = np.hstack([x, *earlier])
    found = np.empty(len(y), dtype=np.int64)
    for k, count in enumerate(counts):
        members = np.flatnonzero(y == k)
        split = mixture_clusters if method == "guided-mixture" else _k_means
        found[members] = counts[:k].sum() + split(x[members], int(count), seed)
    return found


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


@dataclass(frozen=True, eq=False)
class Match:
    """Clusters named by the fine classes they hold.

    Attributes:
        fine_of_cluster: (number of clusters,) the fine class of each, -1 where there were too few fine classes
        share: of all samples, those whose cluster is named as their fine class
        share_by_class: (K,) the same within each coarse class
    """

    __repr__ = brief

    fine_of_cluster: Labels
    share: float
    share_by_class: NDArray[np.float64]


def match(clusters: ArrayLike, coarse: ArrayLike, fine: ArrayLike) -> Match:
    """Name clusters (N,) by fine classes (N,) so that the most samples are right, within each coarse class (N,).

    Raises:
        ValueError: labels of different lengths, or a cluster or fine class that spans two coarse classes.
    """
    samples = np.asarray(coarse)
    labels = {"clusters": clusters, "coarse": coarse, "fine": fine}
    found, y, names = (checks.labels(name, np.asarray(value), samples) for name, value in labels.items())
    _within("clusters", found, y)
    _within("fine", names, y)
    fine_of_cluster = np.full(found.max() + 1, -1)
    for k in np.unique(y):
        rows, columns = np.unique(found[y == k]), np.unique(names[y == k])
        together = [[np.sum((found == a) & (names == b)) for b in columns] for a in rows]
        for a, b in zip(*linear_sum_assignment(together, maximize=True), strict=True):
            fine_of_cluster[rows[a]] = columns[b]
    right = fine_of_cluster[found] == names
    by_class = np.array([right[y == k].mean() for k in np.unique(y)])
    return Match(fine_of_cluster, float(right.mean()), by_class)


def linear_probe(features: ArrayLike, labels: ArrayLike) -> Any:
    """Multinomial logistic regression on standardised features (N, D) and labels (N,): scikit-learn's pipeline.

    The penalty is fixed, RIDGE: no label, fine or not, chooses it.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = checks.features("features", np.asarray(features)), np.asarray(labels)
    regression = LogisticRegression(C=1 / (RIDGE * len(x)), tol=1e-3, max_iter=1000)
    return make_pipeline(StandardScaler(), regression).fit(x, y)


@dataclass(frozen=True, eq=False)
class Recovery:
    """What one way of clustering recovers.

    Attributes:
        method: one of METHODS
        clusters: (N,) of the training samples
        match: their names, and the share of training samples recovered
        probe: CLP, test accuracy on fine labels of a linear probe taught the clusters
        oracle: the same of a probe taught the fine labels
        probe_in_class, oracle_in_class: the same when a probe chooses within the coarse class that the network
            names, None where that is not given
    """

    __repr__ = brief

    method: str
    clusters: Labels
    match: Match
    probe: float
    oracle: float
    probe_in_class: float | None
    oracle_in_class: float | None


def cluster_and_probe(
    train: tuple[ArrayLike, ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike],
    subclasses: int | Sequence[int],
    *,
    classifier: ArrayLike | None = None,
    before: tuple[ArrayLike, ArrayLike] | None = None,
    named: ArrayLike | None = None,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
) -> list[Recovery]:
    """Cluster, match and probe in each of the ways named.

    Args:
        train: features (N, D), coarse labels (N,), fine labels (N,); the fine ones name clusters and teach the
            oracle, and nothing else.
        test: features (M, D), fine labels (M,).
        before: what an earlier layer makes of both, (N, D') and (M, D'), for clusters and probes to see as well.
        named: (M,) the coarse class that the network gives each test sample.
        subclasses, classifier, seed: as in `cluster`.

    Raises:
        ValueError: as `cluster`, and arrays of `before` with other numbers of samples than the features.
    """
    features, coarse, fine = train
    seen, test_seen, test_fine = np.asarray(features), np.asarray(test[0]), np.asarray(test[1])
    if before is not None:
        seen = np.hstack([seen, _beside(before[0], seen)])
        test_seen = np.hstack([test_seen, _beside(before[1], test_seen, "test samples")])
    told = None if named is None else checks.labels("named", named, test_seen, int(np.max(coarse)) + 1)
    probed = (seen, np.asarray(coarse)), (test_seen, test_fine, told)
    oracle, oracle_in_class = _probed(*probed, fine, np.arange(np.max(fine) + 1))
    first = None if before is None else before[0]
    results = []
    for method in methods:
        found = cluster(features, coarse, subclasses, method, classifier=classifier, before=first, seed=seed)
        matched = match(found, coarse, fine)
        clp, clp_in_class = _probed(*probed, found, matched.fine_of_cluster)
        results.append(Recovery(method, found, matched, clp, oracle, clp_in_class, oracle_in_class))
    return results


def _probed(
    train: tuple[Floats, Labels],
    test: tuple[Floats, Labels, Labels | None],
    labels: ArrayLike,
    fine_of: Labels,
) -> tuple[float, float | None]:
    """Test accuracies of a probe taught `labels`: choosing among all, and within the coarse class told.

    Args:
        train: features (N, D), coarse labels (N,).
        test: features (M, D), fine labels (M,), coarse classes told (M,).
        labels: (N,), each in one coarse class.
        fine_of: the fine class of each label.
    """
    (x, coarse), (test_x, fine, told) = train, test
    probe = linear_probe(x, labels)
    accuracy = float(np.mean(fine_of[probe.predict(test_x)] == fine))
    if told is None:
        return accuracy, None
    scores = probe.decision_function(test_x)
    if scores.ndim == 1:  # of two labels scikit-learn gives the second's alone
        scores = np.column_stack([-scores, scores])
    _, sample = np.unique(labels, return_index=True)
    scores[told[:, None] != coarse[sample]] = -np.inf
    return accuracy, float(np.mean(fine_of[probe.classes_[scores.argmax(axis=1)]] == fine))


def checked(features: ArrayLike, coarse: ArrayLike) -> tuple[Floats, Labels]:
    """Features (N, D), in float32 at least, and coarse labels (N,) that take every value 0..K-1."""
    x = checks.features("features", np.asarray(features))
    x = x.astype(np.promote_types(x.dtype, np.float32), copy=False)
    y = checks.labels("coarse", np.asarray(coarse), x)
    if not len(y) or y.min() < 0:
        raise ValueError(f"coarse must hold labels >= 0, got {y.min() if len(y) else 'none'}")
    empty = np.flatnonzero(np.bincount(y) == 0)
    if empty.size:
        raise ValueError(f"coarse must take every value 0..{y.max()}, but none is {empty[:5].tolist()}")
    return x, y


def _beside(before: ArrayLike, features: Floats, samples: str = "samples") -> Floats:
    """What an earlier layer makes of the same samples: as many rows as `features`."""
    earlier = checks.features("before", np.asarray(before))
    if len(earlier) != len(features):
        raise ValueError(
            f"before must have a row for each of the {len(features)} {samples} in features, got {len(earlier)}"
        )
    return earlier


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


def _within(name: str, labels: Labels, coarse: Labels) -> None:
    """Require every value of `labels` to lie in one coarse class."""
    for value in np.unique(labels):
        if np.unique(coarse[labels == value]).size > 1:
            raise ValueError(f"{name} must each lie in one coarse class, but {value} is in several")
