"""What a clustering is worth: its clusters matched to the fine classes, and a probe taught by them.

    match                clusters to fine classes, Hungarian assignment within each coarse class: only a score
    cluster_and_probe    CLP: a linear probe taught the clusters, judged by fine labels on test samples; also when it
                         chooses within the coarse class that the network names

Source: CLP after the abstract of Yang, Steinhardt & Hu (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from finegrain.empirical.hidden_classes.cluster import METHODS, cluster
from finegrain.empirical.hidden_classes.look import beside
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Floats, Labels
from finegrain.theory.tools.brief import brief

RIDGE = 1e-3  # of the probe: mean cross-entropy + RIDGE/2 ||weights||^2, on standardised features


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
    cluster_of, y, names = (checks.labels(name, np.asarray(value), samples) for name, value in labels.items())
    _within("clusters", cluster_of, y)
    _within("fine", names, y)
    fine_of_cluster = np.full(cluster_of.max() + 1, -1)
    for k in np.unique(y):
        rows, columns = np.unique(cluster_of[y == k]), np.unique(names[y == k])
        together = [[np.sum((cluster_of == a) & (names == b)) for b in columns] for a in rows]
        for a, b in zip(*linear_sum_assignment(together, maximize=True), strict=True):
            fine_of_cluster[rows[a]] = columns[b]
    right = fine_of_cluster[cluster_of] == names
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
class Score:
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
) -> list[Score]:
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
        seen = np.hstack([seen, beside(before[0], seen)])
        test_seen = np.hstack([test_seen, beside(before[1], test_seen, "test samples")])
    told = None if named is None else checks.labels("named", named, test_seen, int(np.max(coarse)) + 1)
    probed = (seen, np.asarray(coarse)), (test_seen, test_fine, told)
    oracle, oracle_in_class = _probed(*probed, fine, np.arange(np.max(fine) + 1))
    first = None if before is None else before[0]
    scores = []
    for method in methods:
        clusters = cluster(
            features, coarse, subclasses, method, classifier=classifier, before=first, seed=seed
        )
        matched = match(clusters, coarse, fine)
        clp, clp_in_class = _probed(*probed, clusters, matched.fine_of_cluster)
        scores.append(Score(method, clusters, matched, clp, oracle, clp_in_class, oracle_in_class))
    return scores


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


def _within(name: str, labels: Labels, coarse: Labels) -> None:
    """Require every value of `labels` to lie in one coarse class."""
    for value in np.unique(labels):
        if np.unique(coarse[labels == value]).size > 1:
            raise ValueError(f"{name} must each lie in one coarse class, but {value} is in several")
