"""T1 Kinematics: exact Moments of h = phi(W x) where x is Gaussian in each class, and their derivatives.

Given a component, z = W x ~ N(b, Q) with b = W mu, Q = W Sigma W^T, so the mean and covariance of phi(z) are
functions of (b, Q), and so is the gradient of every loss L that sees phi(z) through them:

    dL/dW = sum_c b_bar_c mu_c^T + 2 Q_bar_c W Sigma_c,     b_bar = dL/db,  Q_bar = dL/dQ (symmetric).

No covariance subtracts a product of means. Each is right to rounding, relative to s_1 s_2, for a class
collapsed to a point, for means far from the kink, and for duplicated neurons (`finegrain.theory.gaussian` has h, r,
Delta and, as kink_covariance, kink):

    identity    Q_12
    relu        s_1 s_2 {r Phi(h_1) Phi(h_2) + kink}
    leaky_relu  s_1 s_2 {r g_1 g_2 + (1 - a)^2 kink},   g = E phi'(z) = a + (1 - a) Phi(h)
    erf         4 Delta(H_1, H_2; 2 Q_12/(D_1 D_2)),    H = sqrt2 b/D,  D^2 = 1 + 2 s^2
    square      4 b_1 b_2 Q_12 + 2 Q_12^2

Sources: Price (1958), IRE Trans. Inf. Theory 4, 69, for derivatives with respect to Q; Cho & Saul (2009) and
Williams (1997) at zero mean. The centred forms and the derivatives with respect to b: this project, T1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf

from finegrain.theory import gaussian
from finegrain.theory.moments import Moments
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, Index

Pullback = Callable[[Array, Array], tuple[Array, Array]]

PSD_TOLERANCE = 1e-10  # a covariance handed in may carry the rounding of its own making
ACTIVATIONS = ("erf", "identity", "leaky_relu", "relu", "square")


def propagate(moments: Moments, W: ArrayLike, activation: str = "relu", *, slope: float = 0.01) -> Moments:
    """Moments of phi(W x): the weights, exact means (C, m) and full covariances (C, m, m).

    Args:
        moments: of x, Gaussian in each class; full or diagonal covariances, zeros allowed.
        W: (m, d).
        activation: one of ACTIVATIONS.
        slope: of leaky_relu below zero, any real number.

    Raises:
        ValueError: an unknown activation, pooled covariances, or a W that has no rows or not d columns.
    """
    checks.instance("moments", moments, Moments)
    means = np.asarray(moments.means)
    W = checks.real("W", W, ("m", means.shape[1]))
    checks.integer("the width m of W", len(W), 1)
    if moments.kind == "pooled":
        raise ValueError("moments.covariances must be full or diagonal, got pooled")
    covariances = np.asarray(moments.covariances)
    scaled = W * covariances[:, None, :] if covariances.ndim == 2 else W @ covariances
    mean, covariance = _in_parts(*_checked(means @ W.T, scaled @ W.T), activation, slope)
    return Moments(np.asarray(moments.weights), mean, covariance)


def activation_moments(
    b: ArrayLike, Q: ArrayLike, activation: str = "relu", *, slope: float = 0.01
) -> tuple[Array, Array]:
    """Mean (..., m) and covariance (..., m, m) of phi(z); arguments as in `moments_and_pullback`.

    Raises:
        ValueError: as there, and a Q that is not symmetric positive semi-definite, beyond 1e-10 of its largest
            variance.
    """
    b, Q = _checked(b, Q)
    checks.covariances("Q", Q.reshape(-1, *Q.shape[-2:]), PSD_TOLERANCE)
    return _in_parts(b, Q, activation, slope)


def _in_parts(b: Array, Q: Array, activation: str, slope: float) -> tuple[Array, Array]:
    m = b.shape[-1]
    mean, covariance = np.empty(b.shape), np.empty(Q.shape)
    rows = (b.reshape(-1, m), Q.reshape(-1, m, m), mean.reshape(-1, m), covariance.reshape(-1, m, m))
    step = max(1, 2**18 // m**2)  # components at a time: bounds the memory
    for start in range(0, len(rows[0]), step):
        b_part, Q_part, mean_part, covariance_part = (a[start : start + step] for a in rows)
        mean_part[:], covariance_part[:], _ = _of(activation, slope)(b_part, Q_part)
    return mean, covariance


def moments_and_pullback(
    b: ArrayLike, Q: ArrayLike, activation: str = "relu", *, slope: float = 0.01
) -> tuple[Array, Array, Pullback]:
    """Mean and covariance of phi(z), z ~ N(b, Q), and the map from their cotangents to those of b and Q.

    Args:
        b: (..., m).
        Q: (..., m, m), symmetric positive semi-definite; the upper triangle is read. A diagonal entry 0 (or
            below it, by rounding) is a deterministic z_j, with phi'(0) = 0 for relu.
        activation, slope: as in `propagate`.

    Returns:
        mean (..., m), covariance (..., m, m), and pullback(mean_bar (..., m), covariance_bar (..., m, m)) ->
        b_bar (..., m), Q_bar (..., m, m) symmetric: dL = <b_bar, db> + <Q_bar, dQ> for symmetric dQ.
        Only the symmetric part of covariance_bar counts. For relu, with S = covariance_bar + its transpose,

            |Q_bar_jj| s_j <= |mean_bar_j|/5 + sum_k |S_jk| s_k/4 + |S_jj| s_j/2,

        so Q_bar is finite down to the smallest s_j > 0 in float64 (2e-162), and Q_bar W Sigma is bounded as
        s_j -> 0, for row j of W Sigma is at most s_j sqrt(largest eigenvalue of Sigma) long. For erf,
        rounding in Q_bar grows as s^2.

    Raises:
        ValueError: an unknown activation, shapes that do not fit, NaN or infinite entries.
    """
    b, Q = _checked(b, Q)
    m = b.shape[-1]
    mean, covariance, pull = _of(activation, slope)(b.reshape(-1, m), Q.reshape(-1, m, m))

    def pullback(mean_bar: Array, covariance_bar: Array) -> tuple[Array, Array]:
        b_bar, Q_bar = pull(np.reshape(mean_bar, (-1, m)), np.reshape(covariance_bar, (-1, m, m)))
        return b_bar.reshape(b.shape), Q_bar.reshape(Q.shape)

    return mean.reshape(b.shape), covariance.reshape(Q.shape), pullback


def _checked(b: ArrayLike, Q: ArrayLike) -> tuple[Array, Array]:
    b, Q = np.asarray(b, dtype=np.float64), np.asarray(Q, dtype=np.float64)
    if b.ndim == 0:
        raise ValueError("b must have shape (..., m), got ()")
    checks.shape("Q", Q, (*b.shape, b.shape[-1]))
    checks.finite("b", b)
    checks.finite("Q", Q)
    return b, Q


def _of(activation: str, slope: float) -> Callable[[Array, Array], tuple[Array, Array, Pullback]]:
    """The function (b (n, m), Q (n, m, m)) -> mean, covariance, pullback of an activation."""
    checks.one_of("activation", activation, ACTIVATIONS)
    if not np.isfinite(slope):
        raise ValueError(f"slope must be a finite number, got {slope}")
    kinked = {"relu": 0.0, "leaky_relu": slope}
    if activation in kinked:
        return lambda b, Q: _leaky_relu(b, Q, kinked[activation])
    return {"identity": _identity, "erf": _erf, "square": _square}[activation]


def _identity(b: Array, Q: Array) -> tuple[Array, Array, Pullback]:
    return (
        b.copy(),
        _symmetric(Q),
        lambda mean_bar, cov_bar: (mean_bar.copy(), 0.5 * _twice_symmetric(cov_bar)),
    )


def _square(b: Array, Q: Array) -> tuple[Array, Array, Pullback]:
    Q = _symmetric(Q)
    slopes = 4 * b[:, :, None] * b[:, None, :] + 4 * Q  # dCov_jk/dQ_jk

    def pullback(mean_bar: Array, cov_bar: Array) -> tuple[Array, Array]:
        bar = _twice_symmetric(cov_bar)
        b_bar = 2 * b * mean_bar + 4 * np.einsum("njk,njk,nk->nj", bar, Q, b)
        Q_bar = 0.5 * bar * slopes
        np.einsum("njj->nj", Q_bar)[:] += mean_bar
        return b_bar, Q_bar

    return b * b + np.einsum("njj->nj", Q), Q * (slopes - 2 * Q), pullback


def _leaky_relu(b: Array, Q: Array, slope: float) -> tuple[Array, Array, Pullback]:
    """a z + (1 - a) relu(z) with a = slope; a = 0 is relu. Pairs first, components last: (P, n)."""
    pairs, bend = _pairs(b.shape[1]), 1 - slope
    b = np.ascontiguousarray(b.T)
    s = np.sqrt(np.maximum(np.einsum("njj->jn", Q), 0))
    inverse = np.divide(1, s, out=np.zeros_like(s), where=s > 0)
    line = gaussian.half_line(gaussian.standardise(b, s))
    gain = slope + bend * line.cdf
    mean = slope * b + bend * np.maximum(b * line.cdf + s * line.pdf, 0)

    r = pairs.entries(Q)
    r *= inverse[pairs.j]
    r *= inverse[pairs.k]
    np.clip(r, -1, 1, out=r)
    sides = gaussian.HalfLine(*(pairs.sides(a) for a in line))
    parts = gaussian.orthant(sides, r)
    slopes = gain[pairs.j] * gain[pairs.k]
    covariance = gaussian.kink_covariance(sides, r, parts)
    covariance *= bend**2
    covariance += r * slopes
    covariance *= s[pairs.j]
    covariance *= s[pairs.k]

    def pullback(mean_bar: Array, cov_bar: Array) -> tuple[Array, Array]:
        bar = pairs.entries(_twice_symmetric(cov_bar))
        to_b, to_s = _kink_derivatives(sides, r, parts, slope)
        scale = bar * pairs.sides(s)[::-1]
        b_bar = mean_bar.T * gain + pairs.row_sums(scale * to_b)
        # 2 s_j dL/dQ_jj at fixed off-diagonal Q
        s_bar = bend * mean_bar.T * line.pdf + pairs.row_sums(scale * to_s)
        Q_bar = pairs.matrix(0.5 * bar * (slopes + bend**2 * parts.delta))
        np.einsum("njj->jn", Q_bar)[:] += 0.5 * inverse * s_bar
        return np.ascontiguousarray(b_bar.T), Q_bar

    return np.ascontiguousarray(mean.T), pairs.matrix(covariance), pullback


def _kink_derivatives(
    sides: gaussian.HalfLine, r: Array, parts: gaussian.Orthant, slope: float
) -> tuple[Array, Array]:
    """dCov_jk/db_j / s_k and 2 s_j dCov_jk/dQ_jj / s_k at fixed Q_jk, (2, P, n): for both members of a pair.

    For relu h_k Delta + phi(h_k) (Phi(u_k) - Phi(h_j)) + r phi(h_j) Phi(u_j) = Cov(1_j, relu_k)/s_k, and
    h_k phi(h_j) (Phi(u_j) - Phi(h_k)) + ring - phi(h_j) phi(h_k) - r h_j phi(h_j) Phi(u_j).
    """
    bend = 1 - slope
    h_other = sides.h[::-1]
    shift = bend**2 * sides.pdf * (parts.conditional - sides.cdf[::-1])
    pull = r * sides.pdf * (bend**2 * parts.conditional + bend * slope)
    to_b = h_other * (bend**2 * parts.delta)
    to_b += shift[::-1]
    to_b += pull
    to_s = shift
    to_s *= h_other
    to_s += bend**2 * (parts.ring - sides.pdf[0] * sides.pdf[1])
    pull *= sides.h
    to_s -= pull
    return to_b, to_s


def _erf(b: Array, Q: Array) -> tuple[Array, Array, Pullback]:
    pairs = _pairs(b.shape[1])
    D2 = 1 + 2 * np.maximum(np.einsum("njj->jn", Q), 0)
    D = np.sqrt(D2)
    line = gaussian.half_line(np.sqrt(2) * b.T / D)
    sides = gaussian.HalfLine(*(pairs.sides(a) for a in line))
    pair_D = D[pairs.j] * D[pairs.k]
    r = np.clip(2 * pairs.entries(Q) / pair_D, -1, 1)
    delta = np.empty_like(r)
    weak = np.abs(r) <= gaussian.WEAK
    delta[weak] = gaussian.weak_delta(sides.h[0][weak], sides.h[1][weak], r[weak])
    strong = gaussian.HalfLine(*(a[:, ~weak] for a in sides))
    delta[~weak] = gaussian.orthant(strong, r[~weak]).delta

    def pullback(mean_bar: Array, cov_bar: Array) -> tuple[Array, Array]:
        bar = 4 * pairs.entries(_twice_symmetric(cov_bar))
        parts = gaussian.orthant(sides, r)
        density = parts.ring / np.maximum((1 - r) * (1 + r), np.finfo(float).tiny)  # dDelta/dr
        r_bar = bar * density
        H_bar = 2 * mean_bar.T * line.pdf
        H_bar += pairs.row_sums(bar * sides.pdf * (parts.conditional - sides.cdf[::-1]))
        Q_bar = pairs.matrix(r_bar / pair_D)
        r_sums = pairs.row_sums(np.broadcast_to(r * r_bar, sides.h.shape))
        np.einsum("njj->jn", Q_bar)[:] -= (line.h * H_bar + r_sums) / D2
        return (np.sqrt(2) * H_bar / D).T, Q_bar

    return erf(b / D.T), pairs.matrix(4 * delta), pullback


@dataclass(frozen=True)
class _Pairs:
    """The P = m (m + 1)/2 pairs j <= k of m neurons; components last, so that a gather copies whole rows."""

    j: Index  # (P,)
    k: Index  # (P,)
    mirror: Index  # (m, m): the pair of each entry
    slot: Index  # (m, m): the same in stacked (2 P,), the second half where row > column

    def sides(self, neurons: Array) -> Array:
        """(m, n) -> (2, P, n): the values at j and at k."""
        return neurons[np.stack([self.j, self.k])]

    def entries(self, matrices: Array) -> Array:
        """(n, m, m) -> (P, n): the upper triangle."""
        n, m, _ = matrices.shape
        return np.ascontiguousarray(matrices.reshape(n, m * m).T)[self.j * m + self.k]

    def matrix(self, values: Array) -> Array:
        """(P, n) -> (n, m, m): a symmetric matrix from its upper triangle."""
        return np.ascontiguousarray(values[self.mirror].transpose(2, 0, 1))

    def row_sums(self, values: Array) -> Array:
        """(2, P, n), the values for j and for k -> (m, n): each neuron's total over its partners."""
        return values.reshape(-1, values.shape[-1])[self.slot].sum(axis=1)


@lru_cache(maxsize=16)
def _pairs(m: int) -> _Pairs:
    j, k = np.triu_indices(m)
    slot = np.empty((m, m), dtype=np.intp)
    slot[k, j] = np.arange(j.size) + j.size
    slot[j, k] = np.arange(j.size)
    return _Pairs(j, k, slot % j.size, slot)


def _twice_symmetric(matrices: Array) -> Array:
    return matrices + np.swapaxes(matrices, 1, 2)


def _symmetric(matrices: Array) -> Array:
    """Both triangles from the upper one, as the pairs read them."""
    upper = np.triu(matrices)
    return upper + np.swapaxes(np.triu(matrices, 1), 1, 2)
