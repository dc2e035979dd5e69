"""Special functions of the Gaussian: the bivariate normal orthant, and moments of relu(z) = max(z, 0).

Standardise z ~ N(b, Q) to h_i = b_i/s_i, r = Q_12/(s_1 s_2), q = sqrt((1 - r)(1 + r)). Everything that the
first two moments of relu(z) and their derivatives need is Phi and phi of each h (`HalfLine`) and, of each
pair (`Orthant`),

    Delta = P(X < h_1, Y < h_2) - Phi(h_1) Phi(h_2)
    Phi(u_1), Phi(u_2),   u_1 = (h_2 - r h_1)/q,   u_2 = (h_1 - r h_2)/q
    ring = q exp(-(h_1^2 - 2 r h_1 h_2 + h_2^2)/(2 q^2)) / (2 pi)

computed together by `orthant`; the rest is algebra. At r = 0 they are 0, Phi(h_2), Phi(h_1) and
phi(h_1) phi(h_2), and covariances are written in the differences from those: no product of means is ever
subtracted.

How Delta is found. For |r| <= WEAK it is Price's integral over the correlation, which eight Gauss points give to
1e-16. Else: it only changes sign with (h_1, r) -> (-h_1, -r), so both h are taken negative. The line from the origin
through the vertex of the quadrant cuts it in two, each half being an Owen function T(h, u/h) (Owen 1956, Ann. Math.
Statist. 27, 1075) of the distance h of one side and the vertex's offset u along it. Where |u| > |h| the two swap by
Owen's identity for T(h, a) + T(ah, 1/a), so T is needed only at slopes in [0, 1], where ten Gauss points each give
it to 2e-16, without a case r -> +-1. The first way is twice as fast, and most pairs of untrained neurons are weak.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

CUT = 40.0  # phi and Phi vanish in float64 below -CUT, so |h| is clipped there
_FAR = 9.0  # with |h| beyond, the parts differ from those of r = 0 by exp(-81/2) = 3e-18 at most
_TINY = 1e-200  # in place of h = 0 and q = 0, where directions u/h are undefined but probabilities are not
_BLOCK = 4096  # pairs at a time, so that a step's arrays stay in the cache
_NODES, _WEIGHTS = (half[10:] for half in np.polynomial.legendre.leggauss(20))
WEAK = 0.4  # |r| up to which eight Gauss points do
_WEAK_NODES, _WEAK_WEIGHTS = np.polynomial.legendre.leggauss(8)


class HalfLine(NamedTuple):
    """X < h, arrays of one shape."""

    h: Array  # in [-CUT, CUT]
    cdf: Array  # Phi(h)
    pdf: Array  # phi(h)
    tail: Array  # Phi(-|h|)


class Orthant(NamedTuple):
    """What P(X < h_1, Y < h_2) is made of, for pairs of shape (...); defined in the module's docstring."""

    delta: Array  # (...)
    conditional: Array  # (2, ...): Phi(u_1), Phi(u_2)
    ring: Array  # (...)


def bivariate_normal_cdf(h: ArrayLike, k: ArrayLike, r: ArrayLike) -> Array:
    """P(X < h, Y < k) for standard normal X, Y of correlation r, within 1e-15.

    Args:
        h, k: real or +-inf, shapes that broadcast.
        r: in [-1, 1], both ends included.

    Raises:
        ValueError: a correlation outside [-1, 1], or NaN.
    """
    h, k, r = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (h, k, r)))
    if np.isnan(h).any() or np.isnan(k).any():
        raise ValueError("h and k must be real or +-inf, got NaN")
    r = _correlation(r)
    sides = half_line(np.stack([h, k]))
    return np.clip(sides.cdf[0] * sides.cdf[1] + orthant(sides, r).delta, 0, 1)


def rectified_mean(mean: ArrayLike, std: ArrayLike) -> Array:
    """E relu(z) = b Phi(h) + s phi(h), z ~ N(b, s^2), within 1e-15 s (b < 0) or in relative terms (b > 0).

    Args:
        mean, std: shapes that broadcast; std >= 0, and relu(mean) is returned where it is 0.
    """
    mean, std = np.asarray(mean, dtype=np.float64), _std(std)
    side = half_line(standardise(mean, std))
    return np.maximum(mean * side.cdf + std * side.pdf, 0)


def rectified_variance(mean: ArrayLike, std: ArrayLike) -> Array:
    """Var relu(z), z ~ N(mean, std^2), within 1e-15 std^2. Shapes as in `rectified_mean`."""
    return np.maximum(rectified_covariance(mean, mean, std, std, 1.0), 0)


def rectified_covariance(
    mean_1: ArrayLike, mean_2: ArrayLike, std_1: ArrayLike, std_2: ArrayLike, r: ArrayLike
) -> Array:
    """Cov(relu(z_1), relu(z_2)), z Gaussian of correlation r, within 1e-15 s_1 s_2 whatever the means.

    Args:
        mean_1, mean_2, std_1, std_2, r: shapes that broadcast; stds >= 0, r in [-1, 1].
    """
    b_1, b_2, r = (np.asarray(a, dtype=np.float64) for a in (mean_1, mean_2, r))
    b_1, b_2, s_1, s_2, r = np.broadcast_arrays(b_1, b_2, _std(std_1), _std(std_2), _correlation(r))
    sides = half_line(np.stack([standardise(b_1, s_1), standardise(b_2, s_2)]))
    unit = r * sides.cdf[0] * sides.cdf[1] + kink_covariance(sides, r, orthant(sides, r))
    return unit * s_1 * s_2


def standardise(mean: Array, std: Array) -> Array:
    """h = mean/std clipped to [-CUT, CUT]; where std = 0, CUT if mean > 0, else -CUT.

    A deterministic z is thus a Gaussian deep in one half-line, and relu'(0) = 0.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        h = np.clip(mean / std, -CUT, CUT)
    return np.where(std > 0, h, np.where(mean > 0, CUT, -CUT))


def half_line(h: Array) -> HalfLine:
    """Phi(h), phi(h) and Phi(-|h|) beside h, clipped to [-CUT, CUT]."""
    h = np.clip(h, -CUT, CUT)
    tail = ndtr(-np.abs(h))
    return HalfLine(h, np.abs((h > 0) - tail), np.exp(-0.5 * h * h) / np.sqrt(2 * np.pi), tail)


def kink_covariance(sides: HalfLine, r: Array, parts: Orthant) -> Array:
    """Cov(relu(z_1), relu(z_2))/(s_1 s_2) - r Phi(h_1) Phi(h_2): what the kink adds to its mean slopes.

    (1/2 pi) int_0^{asin r} (r - sin u) exp(-(h_1^2 + h_2^2 - 2 h_1 h_2 sin u)/(2 cos^2 u)) du (Price 1958).
    Sides of shape (2, ...), the rest (...).
    """
    shifts = parts.conditional - sides.cdf[::-1]
    shifts *= sides.pdf
    shifts *= sides.h[::-1]
    result = sides.h[0] * sides.h[1]
    result += r
    result *= parts.delta
    result += shifts[0]
    result += shifts[1]
    result += parts.ring
    result -= sides.pdf[0] * sides.pdf[1]
    return result


def orthant(sides: HalfLine, r: Array) -> Orthant:
    """The parts of the orthant for sides (2, ...) and correlations r (...) in [-1, 1]."""
    h, tail, flat = sides.h.reshape(2, -1), sides.tail.reshape(2, -1), r.ravel()
    near = np.flatnonzero(np.maximum(np.abs(h[0]), np.abs(h[1])) < _FAR)
    if near.size > 0.9 * flat.size:
        parts = _of_near(h, tail, flat)
    else:  # leave out the pairs that a saturated neuron is in
        cdf, pdf = sides.cdf.reshape(2, -1), sides.pdf.reshape(2, -1)
        parts = Orthant(np.zeros(flat.size), cdf[::-1].copy(), pdf[0] * pdf[1])
        some = _of_near(h[:, near], tail[:, near], flat[near])
        parts.delta[near], parts.conditional[:, near], parts.ring[near] = some
    return Orthant(*(part.reshape(part.shape[:-1] + r.shape) for part in parts))


def _of_near(h: Array, tail: Array, r: Array) -> Orthant:
    """The parts for h and Phi(-|h|), each (2, n), and r (n,)."""
    strong = np.flatnonzero(np.abs(r) > WEAK)
    if strong.size > 0.5 * r.size:  # to pick out the weak ones would cost as much as it saves
        return _by_blocks(h, tail, r, weak=False)
    parts = _by_blocks(h, tail, r, weak=True)
    parts.delta[strong] = _by_blocks(h[:, strong], tail[:, strong], r[strong], weak=False).delta
    return parts


def _by_blocks(h: Array, tail: Array, r: Array, weak: bool) -> Orthant:
    n = r.size
    result = Orthant(np.empty(n), np.empty((2, n)), np.empty(n))
    for start in range(0, n, _BLOCK):
        b = slice(start, start + _BLOCK)
        result.delta[b], result.conditional[:, b], result.ring[b] = _block(h[:, b], tail[:, b], r[b], weak)
    return result


def _block(h: Array, tail: Array, r: Array, weak: bool) -> Orthant:
    """The parts, with a Delta that is right for |r| <= WEAK only, or for every r."""
    distance = np.maximum(np.abs(h), _TINY)
    q, u = _offsets(np.copysign(distance, h), r)
    offset = np.abs(u)
    offset_tail = ndtr(-offset)
    conditional = np.abs(np.subtract(u > 0, offset_tail))

    ring = distance[0] * distance[0]
    ring += offset[0] * offset[0]
    ring *= -0.5
    np.exp(ring, out=ring)
    ring *= q
    ring /= 2 * np.pi
    if weak:
        delta = weak_delta(h[0], h[1], np.clip(r, -WEAK, WEAK))
    else:
        delta = _strong_delta(h, tail, distance, u, offset, offset_tail)
    return Orthant(delta, conditional, ring)


def _strong_delta(
    h: Array, tail: Array, distance: Array, u: Array, offset: Array, offset_tail: Array
) -> Array:
    """Delta for every r, from arrays (2, n); u is overwritten.

    Each half of the quadrant, both h made negative: tail [inward] + sign(inward) sign(swap) (piece - T).
    """
    swap = offset - distance
    piece = 0.5 * np.minimum(tail, offset_tail)
    piece -= tail * offset_tail * (swap >= 0)
    piece -= _owens_t(np.maximum(distance, offset), np.minimum(distance, offset))
    u *= h[::-1]
    swap *= u
    piece *= np.copysign(1.0, np.negative(swap, out=swap))
    piece += tail * np.signbit(u)
    delta = piece[0] + piece[1]
    delta -= tail[0] * tail[1]
    delta *= np.copysign(1.0, h[0])
    delta *= np.copysign(1.0, h[1])
    return delta


def _offsets(h: Array, r: Array) -> tuple[Array, Array]:
    """q, and u (2, n) clipped to [-CUT, CUT]."""
    gap = 1 - np.abs(r)
    q = np.sqrt(gap * (1 + np.abs(r)))
    # h_2 - r h_1 = (h_2 - w) + gap w with w = sign(r) h_1: no rounding where r = +-1 makes it cancel.
    w = h * np.copysign(1.0, r)
    u = h[::-1] - w
    w *= gap
    u += w
    u /= np.maximum(q, _TINY)
    return q, np.clip(u, -CUT, CUT, out=u)


def _owens_t(distance: Array, offset: Array) -> Array:
    """Owen's T(distance, offset/distance), 0 <= offset <= distance > 0.

    T(h, a) = a/(2 pi) int_0^1 exp(-h^2 (1 + a^2 x^2)/2)/(1 + a^2 x^2) dx; it is even in x, so 10
    of 20 Gauss points do.
    """
    slope = offset / distance
    square = slope * slope
    rate = distance * distance
    rate *= -0.5
    total, secant, term = np.zeros_like(rate), np.empty_like(rate), np.empty_like(rate)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        np.multiply(square, node * node, out=secant)
        secant += 1
        np.multiply(rate, secant, out=term)
        np.exp(term, out=term)
        term /= secant
        term *= weight
        total += term
    total *= slope
    total /= 2 * np.pi
    return total


def weak_delta(h: Array, k: Array, r: Array) -> Array:
    """Delta for |r| <= WEAK, within 2e-16 and right in relative terms as r -> 0.

    int_0^r exp(-(h^2 - 2 h k x + k^2)/(2 (1 - x^2)))/(2 pi sqrt(1 - x^2)) dx (Price 1958).
    """
    square, product = r * r, r * h * k
    energy = h * h
    energy += k * k
    energy *= 0.5
    total, gap, term = np.zeros_like(energy), np.empty_like(energy), np.empty_like(energy)
    for node, weight in zip((_WEAK_NODES + 1) / 2, _WEAK_WEIGHTS / (4 * np.pi), strict=True):
        np.multiply(square, -(node**2), out=gap)
        gap += 1
        np.multiply(product, node, out=term)
        term -= energy
        term /= gap
        np.exp(term, out=term)
        np.sqrt(gap, out=gap)
        term /= gap
        term *= weight
        total += term
    total *= r
    return total


def _correlation(r: Array) -> Array:
    good = np.abs(r) <= 1
    if not good.all():
        raise ValueError(f"r must be in [-1, 1], got {r[~good].flat[0]}")
    return r


def _std(std: ArrayLike) -> Array:
    std = np.asarray(std, dtype=np.float64)
    checks.finite("std", std)
    if (std < 0).any():
        raise ValueError(f"std must be >= 0, got {std.min()}")
    return std
