"""How well two classes can be told apart, from their Moments: distances, and the accuracy of three rules
(T10).

    f(moments)               matrix (C, C) over all pairs of classes, symmetric
    f(moments, coarse_map)   mean over the pairs of fine classes that share a coarse class: a number
    f(moments, coarse_map, mean=False)   the matrix of those pairs, NaN elsewhere, at the cost of those pairs alone
    inside(f, moments, coarse_map)   the same mean for each coarse class, (K,)

Accuracies are exact only where the representation is Gaussian in each class (each docstring says what else):
for h = relu(z), z ~ N(+-1/2, 1), Moments give LDA 0.661, while the best rule reaches 0.6915.

All but class_distances are unchanged by a change of scale of h, from 1e-150 to 1e150: `rescaled` brings the Moments to
size 1 first, by a power of two, so that no square leaves the range of float64 and no digit changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike
from scipy.special import ndtr

from finegrain.theory import gaussian
from finegrain.theory.moments import Moments, PooledCovariance
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, Index, host

Kernel = Callable[[Moments, Index, Index], Array]  # values (P,) of the pairs (first, second)

PAIR_ENTRIES = 2**23  # entries of a temporary: 64 MiB


def class_distances(moments: Moments, coarse_map: ArrayLike | None = None, *, mean: bool = True) -> Any:
    """D_cc' = mean squared distance between independent samples of classes c and c', in [0, inf).

        ||mu_c - mu_c'||^2 + tr Cov_c + tr Cov_c',   so that D_cc = 2 tr Cov_c

    Unchanged by rotation and shift, scales as h^2, follows a relabelling. Any covariance kind.
    Source: after the class-distance matrices of Yang, Steinhardt & Hu (2023).

    Raises:
        ValueError: a map that does not fit, or that puts no two fine classes together.
    """

    def kernel(moments: Moments, first: Index, second: Index) -> Array:
        xp, traces = array_namespace(moments.means), host(moments.traces)
        with np.errstate(over="ignore"):
            squares = host(xp.sum(_deltas(moments, first, second) ** 2, axis=-1))
            distances = squares + traces[first] + traces[second]
        if not np.isfinite(distances).all():
            raise ValueError(
                "moments must have distances whose squares float64 holds: divide h by a constant"
            )
        return distances

    return _over_pairs(kernel, moments, coarse_map, moments.dim, 2 * host(moments.traces), mean)


def separation(moments: Moments, coarse_map: ArrayLike | None = None, *, mean: bool = True) -> Any:
    """Relative separation ||mu_c - mu_c'|| / sqrt(||mu_c|| ||mu_c'||) of class means, in [0, inf).

    Unchanged by rotation and scale, follows a relabelling; a shift changes it. Any covariance kind.
    Source: this project, T7.

    Raises:
        ValueError: a class mean of norm 0 (named), or a map as class_distances.
    """
    norms = host(_norms(moments.means))
    if (norms == 0).any():
        c = int(np.argmin(norms))
        raise ValueError(f"moments must have class means of norm > 0 for a separation, got 0 in class {c}")

    def kernel(moments: Moments, first: Index, second: Index) -> Array:
        distance = host(_norms(_deltas(moments, first, second)))
        return distance / np.sqrt(norms[first]) / np.sqrt(norms[second])

    return _over_pairs(kernel, moments, coarse_map, moments.dim, np.zeros(moments.num_classes), mean)


def mahalanobis(moments: Moments, coarse_map: ArrayLike | None = None, *, mean: bool = True) -> Any:
    """Mahalanobis distance Delta = sqrt(delta^T pinv(Cov) delta) of two class means, in [0, inf].

    Cov = (pi_c Cov_c + pi_c' Cov_c') / (pi_c + pi_c'), the pair's pooled covariance; for pooled Moments it
    is Sigma_W. Directions with variance below d eps of the largest count as free of noise and are left out;
    a difference of means along them that exceeds this rounding's standard deviation makes the distance
    infinite. Unchanged by every invertible affine map, follows a relabelling. Full or pooled covariances.
    Source: Mahalanobis (1936); this project, T4 and T10.

    Raises:
        ValueError: diagonal covariances, a pair of classes of weight 0, or a map as class_distances.
    """
    need_matrix("mahalanobis", moments)
    moments, _ = rescaled(moments)
    return _over_pairs(
        _mahalanobis, moments, coarse_map, _entries(moments), np.zeros(moments.num_classes), mean
    )


def lda_accuracy(moments: Moments, coarse_map: ArrayLike | None = None, *, mean: bool = True) -> Any:
    """Accuracy of linear discriminant analysis between two classes, in [1/2, 1].

        p Phi(Delta/2 + l/Delta) + (1 - p) Phi(Delta/2 - l/Delta)

    with l = ln(p/(1 - p)), p = pi_c/(pi_c + pi_c') and mahalanobis's Delta: the best any rule can do if
    both classes are Gaussian with equal covariance, and exact only then. On the diagonal 1/2. Invariances,
    kinds and errors as mahalanobis. Source: Fisher (1936), Welch (1939); this project, T10.
    """
    need_matrix("lda_accuracy", moments)
    moments, _ = rescaled(moments)

    def kernel(moments: Moments, first: Index, second: Index) -> Array:
        delta, p = _mahalanobis(moments, first, second), _priors(moments, first, second)
        with np.errstate(divide="ignore", invalid="ignore"):  # p = 0 or 1, Delta = 0
            tilt = (np.log(p) - np.log1p(-p)) / delta
            accuracy = p * ndtr(delta / 2 + tilt) + (1 - p) * ndtr(delta / 2 - tilt)
        constant = np.maximum(p, 1 - p)  # the rule that does not look
        return np.where((delta == 0) | (constant == 1), constant, accuracy)

    return _over_pairs(
        kernel, moments, coarse_map, _entries(moments), np.full(moments.num_classes, 0.5), mean
    )


def bisector_accuracy(moments: Moments, coarse_map: ArrayLike | None = None, *, mean: bool = True) -> Any:
    """Accuracy of the nearest class centre between two classes, in [0, 1].

        p Phi(a/s_c) + (1 - p) Phi(a/s_c'),   a = ||delta||/2,   s_c^2 = n^T Cov_c n,   n = delta/||delta||

    Exact if h is Gaussian in each class, whatever the covariances (pooled Moments: if they are equal); 1/2
    for equal means and on the diagonal. Unchanged by rotation, scale and shift, follows a relabelling; not
    by general linear maps. Full or pooled covariances. Source: this project, T10.

    Raises:
        ValueError: as mahalanobis.
    """
    need_matrix("bisector_accuracy", moments)
    moments, _ = rescaled(moments)

    def kernel(moments: Moments, first: Index, second: Index) -> Array:
        delta, p = _deltas(moments, first, second), _priors(moments, first, second)
        # Along the unit vector, not along delta: two of many classes may be far closer than the others.
        size = _norms(delta)
        n, half = delta / _positive(size)[:, None], host(size) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            hits = [ndtr(half / np.sqrt(_bilinear(moments, c, n, n))) for c in (first, second)]
        return np.where(half > 0, p * hits[0] + (1 - p) * hits[1], 0.5)

    return _over_pairs(
        kernel, moments, coarse_map, _entries(moments), np.full(moments.num_classes, 0.5), mean
    )


def two_means_accuracy(moments: Moments, coarse_map: ArrayLike | None = None, *, mean: bool = True) -> Any:
    """Accuracy of population 2-means on an equal mixture of two classes, in [1/2, 1].

        Phi(a/s),   a = n.delta/2,   s^2 = n^T Cov n

    The split with normal n has centres +-m about the midpoint, m = (delta/2)(1 - 2 Phi(-a/s)) + 2 phi(a/s)
    Cov n/s. Lloyd's iteration n <- m/||m|| starts from delta, the three leading eigenvectors of Cov and
    their bisectors with delta; the end of largest ||m||, the one of least inertia, counts. Exact for
    Gaussians of equal covariance and weight; mahalanobis's pooled covariance stands in. Unchanged by
    rotation, scale and shift, follows a relabelling. 1/2 on the diagonal. Full or pooled covariances.
    Source: this project, T10.

    Raises:
        ValueError: as mahalanobis.
    """
    need_matrix("two_means_accuracy", moments)
    moments, _ = rescaled(moments)

    def kernel(moments: Moments, first: Index, second: Index) -> Array:
        deltas = host(_deltas(moments, first, second))
        covariances = host(_pair_covariances(moments, first, second))
        # Of pooled Moments one decomposition serves all pairs.
        leading = np.linalg.eigh(covariances)[1][..., :-4:-1].swapaxes(-1, -2)
        covariances, leading = (
            np.broadcast_to(a, (len(deltas), *a.shape[-2:])) for a in (covariances, leading)
        )
        return np.asarray([_two_means(*pair) for pair in zip(deltas, covariances, leading, strict=True)])

    return _over_pairs(
        kernel, moments, coarse_map, _entries(moments), np.full(moments.num_classes, 0.5), mean
    )


def nc4(moments: Moments, classifier: Any, bias: Any = None) -> float:
    """NC4 in Gaussian form: how often network and nearest class centre agree, in [0, 1], mean over pairs.

    For classes c, c' the network compares a_c.h + b_c with a_c'.h + b_c', the other rule ||h - mu_c|| with
    ||h - mu_c'||. For Gaussian h both are signs of correlated normals, hence a bivariate normal probability
    in each class, weighted by pi_c : pi_c'. Exact only for Gaussian h, and a statement on pairs where the
    paper's is on all classes at once. Unchanged by a rotation of h and A, by scale of h (if b = 0) or of
    (A, b), and by relabelling all. Full or pooled covariances. Source: after Papyan, Han & Donoho (2020),
    figure 7.

    Args:
        classifier: A, (C, m), one row a class.
        bias: b, (C,), 0 by default.

    Raises:
        ValueError: shapes that do not fit, or as mahalanobis.
    """
    need_matrix("nc4", moments)
    xp, (C, m) = array_namespace(moments.means), moments.means.shape
    A = checks.float64("classifier", classifier, moments.means)
    checks.shape("classifier", A, (C, m))
    b = xp.zeros_like(A[:, 0]) if bias is None else checks.float64("bias", bias, moments.means)
    checks.shape("bias", b, (C,))
    # The scores keep their scale, so that the bias keeps its meaning: h shrinks, A grows.
    moments, factor = rescaled(moments)
    largest = max(float(xp.max(xp.abs(A))) / factor, float(xp.max(xp.abs(b))))
    if largest > 0:
        A, b = A / factor / largest, b / largest

    def kernel(moments: Moments, first: Index, second: Index) -> Array:
        i, j = _index(moments, first), _index(moments, second)
        w, offset = xp.take(A, i, axis=0) - xp.take(A, j, axis=0), xp.take(b, i) - xp.take(b, j)
        delta, p = _deltas(moments, first, second), _priors(moments, first, second)
        half = host(xp.sum(delta**2, axis=-1)) / 2
        agree = []
        for classes, index, sign in ((first, i, 1), (second, j, -1)):
            score = host(xp.sum(w * xp.take(moments.means, index, axis=0), axis=-1) + offset)
            forms = [_bilinear(moments, classes, u, v) for u, v in ((w, w), (delta, delta), (w, delta))]
            agree.append(_same_sign(score, sign * half, *forms))
        return p * agree[0] + (1 - p) * agree[1]

    first, second = np.triu_indices(C, 1)
    if C < 2:
        raise ValueError("moments must have at least 2 classes for nc4, got 1")
    return float(np.mean(_chunked(kernel, moments, first, second, _entries(moments))))


def inside(f: Callable[..., Any], moments: Moments, coarse_map: ArrayLike) -> Array:
    """A function of this module for each coarse class, (K,): its mean over the pairs of fine classes in
    there.

        inside(mahalanobis, moments, coarse_map)

    NaN for a coarse class of one fine class.
    """
    coarse = checks.coarse_map(coarse_map, moments.num_classes)
    values = np.full(int(coarse.max()) + 1, np.nan)
    for k in np.flatnonzero(np.bincount(coarse) > 1):
        # Every other fine class by itself: the pairs of class k are all that is left.
        alone = np.cumsum(coarse != k)
        values[k] = f(moments, np.where(coarse == k, 0, alone))
    return values


def relative_to(covariance: Any, vectors: Any) -> tuple[Any, Any, Any]:
    """Split vectors (..., n, d) by the eigenvectors of a covariance (..., d, d), for a generalised inverse.

    Returns coordinates in units of the standard deviation (..., n, d), 0 along directions free of noise;
    plain coordinates along those, 0 elsewhere; and the variance d eps lambda_max (...) up to which a
    direction is free.
    """
    xp = array_namespace(vectors)
    values, axes = xp.linalg.eigh(covariance)
    floor = covariance.shape[-1] * xp.finfo(xp.float64).eps * xp.clip(values[..., -1], 0, None)
    noisy = (values > floor[..., None])[..., None, :]
    scale = xp.where(noisy, xp.sqrt(xp.where(noisy, values[..., None, :], 1.0)), 1.0)
    coordinates = vectors @ axes
    zero = xp.zeros_like(coordinates)
    return xp.where(noisy, coordinates / scale, zero), xp.where(noisy, zero, coordinates), floor


def need_matrix(name: str, moments: Moments) -> None:
    """Require covariances that hold more than the diagonal."""
    if moments.kind == "diagonal":
        raise ValueError(f"{name} needs full or pooled covariances, got diagonal ones")


def rescaled(moments: Moments) -> tuple[Moments, float]:
    """Moments whose differences of means and standard deviations are at most about 1, and the factor, a power of 2.

    Those whose squares and fourth powers are far inside the range of float64 are left alone: no copy.
    """
    xp = array_namespace(moments.means)
    spread = moments.covariances.matrix if moments.kind == "pooled" else moments.covariances
    variance = spread if moments.kind == "diagonal" else xp.linalg.diagonal(spread)
    offsets = moments.means - moments.means[0, :]
    size = max(float(xp.max(xp.abs(offsets))), float(xp.sqrt(xp.clip(xp.max(variance), 0.0, None))))
    if size == 0 or 1e-50 < size < 1e50:
        return moments, 1.0
    factor = float(np.ldexp(1.0, int(np.clip(-np.frexp(size)[1], -1022, 1022))))
    # Twice by the factor: its square may itself leave the range.
    if moments.kind == "pooled":
        scaled: Any = PooledCovariance(*(part * factor * factor for part in moments.covariances))
    else:
        scaled = moments.covariances * factor * factor
    return Moments._trusted(moments.weights, moments.means * factor, scaled), factor


def _mahalanobis(moments: Moments, first: Index, second: Index) -> Array:
    xp, deltas = array_namespace(moments.means), _deltas(moments, first, second)
    covariances = _pair_covariances(moments, first, second)
    vectors = deltas[:, None, :] if moments.kind == "full" else deltas
    noisy, free, floor = relative_to(covariances, vectors)
    squares, outside = (xp.reshape(xp.sum(part**2, axis=-1), (-1,)) for part in (noisy, free))
    return np.where(host(outside) > host(floor), np.inf, np.sqrt(host(squares)))


def _two_means(delta: Array, covariance: Array, leading: Array, steps: int = 2000) -> float:
    """Accuracy of the least-inertia fixed point that Lloyd's iteration reaches for one pair."""
    length = np.linalg.norm(delta)
    if length == 0:
        return 0.5
    starts = np.stack([delta / length, *leading, *(leading + delta / length), *(leading - delta / length)])
    starts = starts[starts.any(axis=1)]
    gains, accuracies = _lloyd(starts / np.linalg.norm(starts, axis=1)[:, None], delta, covariance, steps)
    return float(accuracies[np.argmax(gains)])


def _lloyd(n: Array, delta: Array, covariance: Array, steps: int) -> tuple[Array, Array]:
    """||m|| (S,) and accuracy (S,) where the iterations from the unit normals n (S, d) end."""
    gains, accuracies, running = np.empty(len(n)), np.empty(len(n)), np.arange(len(n))
    for _ in range(steps):
        m, a, s = lloyd_step(n, delta, covariance)
        size = np.linalg.norm(m, axis=1)
        noisy = s > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = ndtr(np.abs(a) / s)
            following = m / size[:, None]
        gains[running] = np.where(noisy, size, np.abs(a))
        accuracies[running] = np.where(noisy, inside, np.where(a == 0, 0.5, 1.0))
        moving = noisy & ~(np.linalg.norm(following - n, axis=1) < 1e-13)
        if not moving.any():
            break
        n, running = following[moving], running[moving]
    return gains, accuracies


def lloyd_step(n: Array, delta: Array, covariance: Array) -> tuple[Array, Array, Array]:
    """One step of population 2-means on two equal Gaussian classes: the next centres m (S, d); a, s (S,) of the splits.

    Each split has a unit normal n (S, d), goes through the midpoint and ends in centres +-m about it:

        m = (delta/2) (1 - 2 Phi(-a/s)) + 2 phi(a/s) Cov n/s,   a = n.delta/2,   s^2 = n^T Cov n

    Without extent along n, s = 0, a class lies on one side: m = (delta/2) sign(a).
    """
    image = n @ covariance
    a, s = n @ delta / 2, np.sqrt(np.clip(np.sum(n * image, axis=-1), 0.0, None))
    noisy = s > 0
    scale = np.where(noisy, s, 1.0)
    along = np.where(noisy, 0.5 - ndtr(-a / scale), np.sign(a) / 2)
    across = np.where(noisy, np.sqrt(2 / np.pi) * np.exp(-((a / scale) ** 2) / 2) / scale, 0.0)
    return along[:, None] * delta + across[:, None] * image, a, s


def _same_sign(x: Array, y: Array, xx: Array, yy: Array, xy: Array) -> Array:
    """P(u v > 0) for jointly normal u, v with means x, y, variances xx, yy and covariance xy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        h, k = x / np.sqrt(xx), y / np.sqrt(yy)
        r = np.where(xx * yy > 0, xy / np.sqrt(xx) / np.sqrt(yy), 0.0)
    h, k = (np.where(np.isnan(z), -np.inf, z) for z in (h, k))  # a tie, 0/0, goes to the second class
    r = np.clip(r, -1, 1)
    return gaussian.bivariate_normal_cdf(h, k, r) + gaussian.bivariate_normal_cdf(-h, -k, r)


def _deltas(moments: Moments, first: Index, second: Index) -> Any:
    xp, means = array_namespace(moments.means), moments.means
    return xp.take(means, _index(moments, first), axis=0) - xp.take(means, _index(moments, second), axis=0)


def _norms(vectors: Any) -> Any:
    """Norms (P,) of vectors (P, d), without squaring what is small."""
    xp = array_namespace(vectors)
    largest = _positive(xp.max(xp.abs(vectors), axis=-1))
    return largest * xp.linalg.vector_norm(vectors / largest[:, None], axis=-1)


def _positive(sizes: Any) -> Any:
    """The sizes, 1 in place of 0: what they divide is then 0 too."""
    return array_namespace(sizes).where(sizes > 0, sizes, 1.0)


def _priors(moments: Moments, first: Index, second: Index) -> Array:
    """p = pi_c / (pi_c + pi_c') of each pair."""
    pi = host(moments.weights)
    total = pi[first] + pi[second]
    if (total == 0).any():
        at = int(np.argmin(total))
        raise ValueError(
            f"weights must not both be 0 in a pair, got 0 in classes {first[at]} and {second[at]}"
        )
    return pi[first] / total


def _pair_covariances(moments: Moments, first: Index, second: Index) -> Any:
    """(P, d, d), or for pooled Moments the one (d, d) that serves all pairs."""
    if moments.kind == "pooled":
        return moments.covariances.matrix
    xp = array_namespace(moments.means)
    p = xp.asarray(_priors(moments, first, second), device=device(moments.means))[:, None, None]
    one, two = (xp.take(moments.covariances, _index(moments, c), axis=0) for c in (first, second))
    return p * one + (1 - p) * two


def _bilinear(moments: Moments, classes: Index, u: Any, v: Any) -> Array:
    """u^T Cov_c v for each of P classes and vectors (P, d); a variance that rounding makes negative is 0."""
    xp = array_namespace(u)
    if moments.kind == "pooled":
        product = u @ moments.covariances.matrix
    else:
        product = (u[:, None, :] @ xp.take(moments.covariances, _index(moments, classes), axis=0))[:, 0, :]
    values = host(xp.sum(product * v, axis=-1))
    return np.clip(values, 0.0, None) if u is v else values


def _index(moments: Moments, classes: Index) -> Any:
    return array_namespace(moments.means).asarray(classes, device=device(moments.means))


def _entries(moments: Moments) -> int:
    """Size of the temporaries that one pair needs."""
    return moments.dim**2 if moments.kind == "full" else moments.dim


def _chunked(kernel: Kernel, moments: Moments, first: Index, second: Index, entries: int) -> Array:
    size = max(PAIR_ENTRIES // entries, 1)
    parts = [slice(i, i + size) for i in range(0, len(first), size)]
    return np.concatenate([np.zeros(0), *(kernel(moments, first[part], second[part]) for part in parts)])


def _over_pairs(
    kernel: Kernel,
    moments: Moments,
    coarse_map: ArrayLike | None,
    entries: int,
    diagonal: Array,
    mean: bool,
) -> Any:
    """The kernel as a symmetric matrix (C, C) with that diagonal; or over same-coarse pairs, their mean or matrix."""
    C = moments.num_classes
    first, second = np.triu_indices(C, 1)
    matrix = np.diag(diagonal)
    if coarse_map is not None:
        coarse = checks.coarse_map(coarse_map, C)
        together = coarse[first] == coarse[second]
        if not together.any():
            raise ValueError("coarse_map must send two fine classes to one coarse class, got one to each")
        first, second = first[together], second[together]
        alone = np.bincount(coarse)[coarse] == 1
        matrix = np.where(coarse[:, None] == coarse, matrix, np.nan)
        matrix[alone, alone] = np.nan
    values = _chunked(kernel, moments, first, second, entries)
    if coarse_map is not None and mean:
        return float(np.mean(values))
    matrix[first, second] = matrix[second, first] = values
    return array_namespace(moments.means).asarray(matrix, device=device(moments.means))
