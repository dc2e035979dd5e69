"""Observables of a labelled representation: functions of Moments, for prediction and observation alike.

    f(moments)               acts on the labels the Moments carry; coarse labels: f(moments.pool(coarse_map))
    f(moments, coarse_map)   compares fine classes inside coarse classes

Notation, as in docs/theory.md: weights pi_c, means mu_c, covariances Cov_c of the C classes; mu = sum pi_c mu_c;
Sigma_W = sum pi_c Cov_c; Sigma_B = sum pi_c (mu_c - mu)(mu_c - mu)^T. Differences of means are formed
directly, never as differences of squares, so nothing here cancels or turns negative once classes collapse.

Pairs of classes and how well they can be told apart (distances, LDA, nearest centre, 2-means) are in
theory/pairs.py; all of its functions are also names of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike

from finegrain.theory.moments import Moments
from finegrain.theory.pairs import (
    bisector_accuracy,
    class_distances,
    inside,
    lda_accuracy,
    mahalanobis,
    nc4,
    need_matrix,
    relative_to,
    rescaled,
    separation,
    two_means_accuracy,
)
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import host

__all__ = [
    "OBSERVABLES",
    "Observable",
    "bisector_accuracy",
    "cdnv",
    "class_distances",
    "equiangularity",
    "equinorm",
    "etf_error",
    "fine_share",
    "fine_share_per_class",
    "inside",
    "lda_accuracy",
    "mahalanobis",
    "nc1",
    "nc1_trace_ratio",
    "nc3",
    "nc4",
    "observable",
    "separation",
    "table",
    "two_means_accuracy",
    "vci",
]


def fine_share(moments: Moments, coarse_map: ArrayLike) -> float:
    """Share of the coarse within-class variance that is structure between subclasses, in [0, 1].

        tr(between-subclass covariance) / tr(coarse within-class covariance)

    0: the fine classes of each coarse class share a mean; 1: every fine class is a point. Unchanged by
    rotation, scale and shift of h, and by relabelling. Any covariance kind. Source: this project (law of
    total variance).

    Raises:
        ValueError: a map that does not fit, or no variance inside the coarse classes at all.
    """
    between, within = _variances(rescaled(moments)[0], coarse_map)
    total = float(between.sum() + within.sum())
    if total == 0:
        raise ValueError(
            "moments must have variance inside the coarse classes for a fine share, got 0 in all"
        )
    return float(between.sum()) / total


def fine_share_per_class(moments: Moments, coarse_map: ArrayLike) -> Any:
    """fine_share of each coarse class by itself, (K,), in [0, 1].

    Their mean, weighted by the variance of each coarse class, is fine_share. Invariances, kinds and source as
    fine_share.

    Raises:
        ValueError: a map that does not fit, or a coarse class without variance (named).
    """
    between, within = _variances(rescaled(moments)[0], coarse_map)
    empty = np.flatnonzero(between + within == 0)
    if empty.size:
        raise ValueError(f"moments must have variance inside each coarse class, got 0 in {empty.tolist()}")
    return _like(between / (between + within), moments)


def nc1(moments: Moments) -> float:
    """Variability collapse, tr(Sigma_W pinv(Sigma_B)) / K for K classes, in [0, inf).

    The pseudo-inverse keeps the K - 1 largest directions of Sigma_B, fewer only where the class means, to
    rounding, span fewer: no relative tolerance, for collapsed remainders are 1e-8 to 1e-16 of Sigma_B.
    Unchanged by rotation, scale, shift and relabelling; by a general invertible map only if Sigma_B is
    invertible (K - 1 >= d). Full or pooled covariances. Source: Papyan, Han & Donoho (2020), figure 6, with
    class weights.

    Raises:
        ValueError: diagonal covariances, fewer than two classes, or equal class means.
    """
    need_matrix("nc1", moments)
    moments, _ = rescaled(moments)
    scales, axes = _between_axes("nc1", moments)
    xp = array_namespace(axes)
    variances = xp.sum((axes @ moments.within) * axes, axis=-1)  # of Sigma_W along each axis of Sigma_B
    return max(float(xp.sum(variances / scales**2)), 0.0) / moments.num_classes


def nc1_trace_ratio(moments: Moments) -> float:
    """tr Sigma_W / tr Sigma_B, in [0, inf). It sees scale where nc1 sees directions (T4).

    Unchanged by rotation, scale, shift and relabelling. Any covariance kind. Source: used across the
    literature ("NC1 quotient"); this project, T4.

    Raises:
        ValueError: fewer than two classes, or equal class means.
    """
    moments, _ = rescaled(moments)
    xp = array_namespace(moments.means)
    between = float(moments.weights @ xp.sum(_centred("nc1_trace_ratio", moments) ** 2, axis=-1))
    return float(moments.weights @ moments.traces) / between


def cdnv(moments: Moments) -> float:
    """Class-distance normalised variance, averaged over pairs of classes, in [0, inf).

        (tr Cov_c + tr Cov_c') / (2 ||mu_c - mu_c'||^2)

    Unchanged by rotation, scale, shift and relabelling. Any covariance kind.
    Source: Galanti, György & Hutter (2022).

    Raises:
        ValueError: fewer than two classes, or two classes with equal means (named).
    """
    _need_classes("cdnv", moments)
    moments, _ = rescaled(moments)
    xp, C, traces, total = array_namespace(moments.means), moments.num_classes, host(moments.traces), 0.0
    for c in range(C - 1):
        squares = host(xp.sum((moments.means[c + 1 :, :] - moments.means[c, :]) ** 2, axis=-1))
        if (squares == 0).any():
            other = c + 1 + int(np.argmin(squares))
            raise ValueError(
                f"moments must have distinct class means for cdnv, got classes {c} and {other} equal"
            )
        total += float(np.sum((traces[c] + traces[c + 1 :]) / (2 * squares)))
    return total / (C * (C - 1) / 2)


def vci(moments: Moments) -> float:
    """Variability collapse index, 1 - tr(pinv(Sigma_T) Sigma_B) / rank(Sigma_B), in [0, 1].

    Sigma_T = Sigma_W + Sigma_B. 0: collapsed; 1: the class means vanish within the noise. Unchanged by every
    invertible affine map, and by relabelling. rank(Sigma_B) as in nc1. Full or pooled covariances.
    Source: Xu & Liu (2023).

    Evaluated as the mean of 1/(1 + theta_i) over the generalised eigenvalues theta_i of (Sigma_B, Sigma_W),
    infinite where the means differ along directions free of noise: a collapsed index of 1e-12 keeps its
    digits.

    Raises:
        ValueError: diagonal covariances, fewer than two classes, or equal class means.
    """
    need_matrix("vci", moments)
    moments, _ = rescaled(moments)
    scales, axes = _between_axes("vci", moments)
    xp = array_namespace(axes)
    noisy, free, floor = relative_to(moments.within, scales[:, None] * axes)
    # Combinations of the means that leave the noise's range are collapsed for good: theta infinite, term 0.
    left, sizes, _ = xp.linalg.svd(free, full_matrices=True)
    collapsed = int(xp.sum(xp.astype(sizes**2 > floor, xp.int64)))
    rest = left[:, collapsed:].T @ noisy
    if rest.shape[0] == 0:
        return 0.0
    theta = xp.linalg.svdvals(rest) ** 2
    return float(xp.sum(1 / (1 + theta))) / axes.shape[0]


def equinorm(moments: Moments) -> float:
    """NC2: std over mean of the norms ||mu_c - mu||, in [0, inf); 0 for equal norms.

    mu is the global mean, as in the paper: with unequal weights it is not the centroid of the class means.
    Unchanged by rotation, scale, shift and relabelling. Any kind. Unequal class sizes: 0 is no longer what
    full training gives; larger classes may have longer means, and small ones be lost (Fang et al. 2021;
    Hong & Ling 2024; with squared loss T11's ||h_k||^2 = (1 - lambda/pi_k)_+). Source: Papyan, Han & Donoho
    (2020), figure 2.

    Raises:
        ValueError: fewer than two classes, or equal class means.
    """
    moments, _ = rescaled(moments)
    xp = array_namespace(moments.means)
    norms = xp.linalg.vector_norm(_centred("equinorm", moments), axis=-1)
    return float(xp.std(norms) / xp.mean(norms))


def equiangularity(moments: Moments) -> float:
    """NC2: std over pairs of the cosine between mu_c - mu and mu_c' - mu, in [0, 1]; 0 for equal angles.

    Unchanged by rotation, scale, shift and relabelling. Any kind. Source: Papyan, Han & Donoho (2020),
    figure 3.

    Raises:
        ValueError: fewer than two classes, or a class mean that is the global mean.
    """
    moments, _ = rescaled(moments)
    xp = array_namespace(moments.means)
    centred = _centred("equiangularity", moments)
    norms = xp.linalg.vector_norm(centred, axis=-1)
    if float(xp.min(norms)) == 0:
        c = int(xp.argmin(norms))
        raise ValueError(
            f"moments must have class means off the global mean for an angle, got class {c} on it"
        )
    directions = centred / norms[:, None]
    cosines = host(directions @ directions.T)
    return float(np.std(cosines[np.triu_indices(moments.num_classes, 1)]))


def etf_error(moments: Moments) -> float:
    """NC2: distance of the means' Gram matrix from a simplex ETF, || G/||G|| - E/||E|| || in Frobenius norm.

    G = H H^T with rows mu_c - mu, E = I - 1 1^T/C. In [0, sqrt 2]; 0 for a simplex of any size and
    orientation. Unchanged by rotation, scale, shift and relabelling. Any kind. Unequal class sizes: a
    collapsed network need not have 0. The means are taken from the weighted global mean, so that even a
    simplex has a positive value; and the minimum is another geometry: minority classes close up (Fang et
    al. 2021), which depends on loss, weight decay and imbalance (Hong & Ling 2024; Behnia et al. 2023).
    Source: after NC2 of Zhu et al. (2021), on class means.

    Raises:
        ValueError: fewer than two classes, or equal class means.
    """
    moments, _ = rescaled(moments)
    xp, centred = array_namespace(moments.means), _centred("etf_error", moments)
    gram = host(centred @ centred.T / xp.linalg.vector_norm(centred) ** 2)
    simplex = np.eye(moments.num_classes) - 1 / moments.num_classes
    return float(np.linalg.norm(gram / np.linalg.norm(gram) - simplex / np.linalg.norm(simplex)))


def nc3(moments: Moments, classifier: Any) -> float:
    """Self-duality: || A/||A|| - H/||H|| || in Frobenius norm, H the class means minus the global mean; in
    [0, 2].

    0: the classifier's rows are the centred class means up to a positive factor. Unchanged by scale of h
    and of A, shift of h, relabelling of both, and by a rotation of both. Any kind. Unequal class sizes: the
    global mean is weighted, and rows and centred means of a fully trained network need not be parallel with
    one factor for all classes (Fang et al. 2021; Behnia et al. 2023): a positive value is no sign that
    training has not ended. Source: Papyan, Han & Donoho (2020), figure 5, which plots its square.

    Args:
        classifier: A, (K, m), one row a class: for one-row targets -1, +1 give the rows [-A, A].

    Raises:
        ValueError: shapes that do not fit, A = 0, fewer than two classes, or equal class means.
    """
    centred = _centred("nc3", rescaled(moments)[0])
    xp, weights = array_namespace(centred), checks.float64("classifier", classifier, centred)
    checks.shape("classifier", weights, tuple(centred.shape))
    largest = checks.extent(weights)
    if largest == 0:
        raise ValueError("classifier must have a non-zero entry, got zeros")
    weights = weights / largest
    size = float(xp.linalg.vector_norm(weights))
    return float(xp.linalg.vector_norm(weights / size - centred / xp.linalg.vector_norm(centred)))


@dataclass(frozen=True)
class Observable:
    """A function of Moments, and what must be known of it where many are computed side by side.

    Attributes:
        function: of this module
        largest: the end of its range, which begins at 0
        over: the "labels" that the Moments carry, the fine classes inside "coarse" ones, "pairs" of classes (a matrix
            where no coarse map is given), or a "classifier" beside the Moments
    """

    function: Callable[..., Any]
    largest: float
    over: str


OBSERVABLES = {
    "fine_share": Observable(fine_share, 1.0, "coarse"),
    "nc1": Observable(nc1, np.inf, "labels"),
    "nc1_trace_ratio": Observable(nc1_trace_ratio, np.inf, "labels"),
    "cdnv": Observable(cdnv, np.inf, "labels"),
    "vci": Observable(vci, 1.0, "labels"),
    "equinorm": Observable(equinorm, np.inf, "labels"),
    "equiangularity": Observable(equiangularity, 1.0, "labels"),
    "etf_error": Observable(etf_error, np.sqrt(2), "labels"),
    "class_distance": Observable(class_distances, np.inf, "pairs"),
    "separation": Observable(separation, np.inf, "pairs"),
    "mahalanobis": Observable(mahalanobis, np.inf, "pairs"),
    "lda_accuracy": Observable(lda_accuracy, 1.0, "pairs"),
    "bisector_accuracy": Observable(bisector_accuracy, 1.0, "pairs"),
    "two_means_accuracy": Observable(two_means_accuracy, 1.0, "pairs"),
    "nc3": Observable(nc3, 2.0, "classifier"),
    "nc4": Observable(nc4, 1.0, "classifier"),
}


def observable(entry: str) -> Observable:
    """The observable behind an entry of `table`, such as "vci_coarse" or "fine_share[2]", or a function's name."""
    name = entry.partition("[")[0].removesuffix("_coarse").removesuffix("_fine")
    return next(o for key, o in OBSERVABLES.items() if name in (key, o.function.__name__))


def table(
    moments: Moments, coarse_map: ArrayLike, *, without: Collection[str] = ("two_means_accuracy",)
) -> dict[str, float]:
    """Every scalar observable that these Moments define, by name: what predicted-against-observed tables
    hold.

    "fine_share", "fine_share[k]"; for labels in ("coarse", "fine") "nc1_", "nc1_trace_ratio_", "cdnv_",
    "vci_", "equinorm_", "equiangularity_", "etf_error_" + labels; and the means over pairs of fine classes
    of the same coarse class "class_distance", "separation", "mahalanobis", "lda_accuracy",
    "bisector_accuracy". What is undefined (one class, equal means, no variance, a kind that does not serve)
    or infinite is left out.

    Args:
        without: names in OBSERVABLES to leave out; by default the one that takes an iteration per pair.
    """
    given, (moments, _) = moments, rescaled(moments)
    coarse = moments.pool(coarse_map)
    calls: dict[str, Any] = {"fine_share": lambda: fine_share(moments, coarse_map)}
    between, within = _variances(moments, coarse_map)
    for k in np.flatnonzero(between + within > 0).tolist():
        calls[f"fine_share[{k}]"] = lambda k=k: between[k] / (between[k] + within[k])
    for name, entry in OBSERVABLES.items():
        if entry.over == "labels":
            calls[f"{name}_coarse"] = lambda f=entry.function: f(coarse)
            calls[f"{name}_fine"] = lambda f=entry.function: f(moments)
        if entry.over == "pairs" and name not in without:
            # The one that scales as h^2 is that of the Moments as they came.
            of = given if name == "class_distance" else moments
            calls[name] = lambda f=entry.function, of=of: f(of, coarse_map)
    defined: dict[str, float] = {}
    for name, call in calls.items():
        try:
            value = float(call())
        except ValueError:
            continue
        if np.isfinite(value):
            defined[name] = value
    return defined


def _variances(moments: Moments, coarse_map: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Between-subclass and mean fine within-class variance of each coarse class, (K,) each, times its
    weight."""
    coarse = checks.coarse_map(coarse_map, moments.num_classes)
    xp, place = array_namespace(moments.means), device(moments.means)
    centres = xp.take(moments.pool(coarse).means, xp.asarray(coarse, device=place), axis=0)
    pi = host(moments.weights)
    squares = host(xp.sum((moments.means - centres) ** 2, axis=-1))
    return np.bincount(coarse, pi * squares), np.bincount(coarse, pi * host(moments.traces))


def _like(values: np.ndarray, moments: Moments) -> Any:
    return array_namespace(moments.means).asarray(values, device=device(moments.means))


def _need_classes(name: str, moments: Moments) -> None:
    if moments.num_classes < 2:
        raise ValueError(f"moments must have at least 2 classes for {name}, got 1")


def _centred(name: str, moments: Moments) -> Any:
    """mu_c - mu, (C, d), not all 0."""
    _need_classes(name, moments)
    first = moments.means[0, :]
    offsets = moments.means - first  # exact where the means coincide, however large they are
    centred = offsets - moments.weights @ offsets
    if not bool(array_namespace(centred).any(offsets != 0)):
        raise ValueError(f"moments must have class means that differ for {name}, got all equal")
    return centred


def _between_axes(name: str, moments: Moments) -> tuple[Any, Any]:
    """Square roots of Sigma_B's eigenvalues (r,) and their eigenvectors as rows (r, d), r <= K - 1."""
    xp = array_namespace(moments.means)
    rows = xp.sqrt(moments.weights)[:, None] * _centred(name, moments)
    _, scales, axes = xp.linalg.svd(rows, full_matrices=False)
    # Means carry a rounding error of eps times their size: directions below it are not there.
    floor = max(rows.shape) * float(xp.finfo(xp.float64).eps) * float(xp.max(xp.abs(moments.means)))
    rank = int(xp.sum(xp.astype(scales[: moments.num_classes - 1] > floor, xp.int64)))
    if rank == 0:
        raise ValueError(
            f"moments must have class means that differ for {name}, got all equal up to rounding"
        )
    return scales[:rank], axes[:rank, :]
