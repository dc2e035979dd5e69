"""Pairs of half-lines X < h under the Gaussian in single precision: polynomials for `theory.gaussian`'s integrals.

With r the correlation, q = sqrt((1 - r)(1 + r)), u_1 = (h_2 - r h_1)/q and u_2 = (h_1 - r h_2)/q,

    delta = P(X < h_1, Y < h_2) - Phi(h_1) Phi(h_2)
    shift_1 = phi(h_1) (Phi(u_1) - Phi(h_2)), and shift_2 likewise
    excess = q E - phi(h_1) phi(h_2),    E = e^{-R^2/2}/(2 pi),    R^2 = h_1^2 + u_1^2 = h_2^2 + u_2^2.

All h are <= 0; a variable with h > 0 is mirrored, (z, h, r) -> (-z, -h, -r), which changes signs alone. The line from
the origin through the vertex of the quadrant, R away, then cuts it in two wedges. One whose side makes the angle
theta <= pi/2 with that line holds (Divgi 1979, Ann. Statist. 7, 903)

    E int_0^theta w(R cos a) da,    w(t) = 1 - t M(t),    M(t) = Phi(-t)/phi(t),

where R cos theta = |u| and R sin theta = |h|. A polynomial for Mills' ratio M makes one of w. As
int cos^k = (cos^{k-1} sin + (k - 1) int cos^{k-2})/k, the integral is then

    ring(R^2) theta - wedge(|u|),

ring a polynomial, wedge one whose coefficients depend on |h| alone: ten numbers for each neuron. Where u > 0 the
wedge is what the half-plane X < h leaves of its mirror image, and the two angles add up to arccos(-r) in all cases.
So a pair takes one exponential, and no case r -> +-1.

Errors, absolute: that of M, times e^{-t^2/2} max(1, t)/(2 pi), is at most 1.9e-7. In `shift` it enters as it is, and in
each wedge through E |w's| <= e^{-R^2 sin^2 a/2} 1.9e-7 over an angle of pi/2 at most: 6e-7 in `delta`. Rounding adds a
few 2^-24: the terms of w alternate, and made all positive they would add up to the mirror image of the wedge, a
probability. A shift itself jumps with u where r -> +-1; in h_2 delta + shift_2 + r shift_1 and (h_2 - r h_1) shift_1,
which are smooth in h_1 and h_2, that rounding cancels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from theory.gaussian import CUT

Array = NDArray[Any]

# Least weighted errors (Remez): of M, weight e^{-t^2/2} max(1, t)/(2 pi), t in [0, 5.1]; beyond, both sides decay.
MILLS = (
    1.25331298,
    -0.99991876,
    0.625716162,
    -0.329111135,
    0.146975135,
    -0.053596182,
    0.014803601,
    -0.00280531971,
    0.000317037161,
    -1.58621882e-05,
)
# Of arccos(1 - g)/sqrt(2 g), weight sqrt(2 g)/(2 pi), g in [0, 1]: error 1.4e-8.
ARCCOS = (
    1.0000009,
    0.0833019196,
    0.0190655064,
    0.00420379797,
    0.00489555494,
    -0.00259431695,
    0.00184731255,
)
_TINY = 1e-20  # in place of q = 0


def _integrated(mills: tuple[float, ...]) -> tuple[Array, Array]:
    """Coefficients of ring, by powers of -R^2/2, and of wedge (i, l), for t^i y^(2 l + 1) with y = R sin theta.

    int_0^theta (R cos a)^k da = rho_k R^k theta + y p_k(t, y^2), p_k = (t^{k-1} + (k - 1)(t^2 + y^2) p_{k-2})/k.
    """
    w = np.array([1, *(-a for a in mills)])
    rho, p = [1.0, 0.0], np.zeros((len(w), len(mills), len(mills) // 2))
    p[1, 0, 0] = 1
    for k in range(2, len(w)):
        rho.append((k - 1) / k * rho[k - 2])
        p[k, 2:] += (k - 1) / k * p[k - 2, :-2]
        p[k, :, 1:] += (k - 1) / k * p[k - 2, :, :-1]
        p[k, k - 1, 0] += 1 / k
    even = np.arange(0, len(w), 2)
    return w[even] * np.array(rho)[even] * (-2.0) ** (even // 2), -np.tensordot(w, p, axes=1)


_BY_RING, _WEDGE = (part / (2 * np.pi) for part in _integrated(MILLS))
# Python's numbers leave float32 arrays in float32.
_RING: list[float] = _BY_RING.tolist()
_MILLS = [a / (2 * np.pi) for a in MILLS]
_ARC = [a * float(np.sqrt(2)) for a in ARCCOS]


class HalfLine(NamedTuple):
    """X < h for h <= 0, float32 arrays of one shape but for `wedge`, which has a leading axis of coefficients."""

    h: Array  # in [-CUT, 0]
    rest: Array  # 1/2 - Phi(h)
    pdf: Array  # phi(h)
    wedge: Array  # (terms, ...)


class Pairs(NamedTuple):
    """Of each pair of half-lines, float32 (...); defined in the module's docstring."""

    r: Array
    delta: Array
    shift: tuple[Array, Array]
    excess: Array


def half_line(h: Array) -> HalfLine:
    """What pairs need of h <= 0 (float64)."""
    h = np.maximum(h, -CUT)
    powers = -np.cumprod([h, *(_WEDGE.shape[1] - 1) * [h * h]], axis=0)  # |h|, |h|^3, ...
    wedge = np.tensordot(_WEDGE, powers, axes=1)
    parts = h, 0.5 - ndtr(h), np.exp(-0.5 * h * h) / np.sqrt(2 * np.pi), wedge
    return HalfLine(*(part.astype(np.float32) for part in parts))


def orthant(one: HalfLine, two: HalfLine, r: Array) -> Pairs:
    """The parts for correlations r (...), float64, in [-1, 1] but for rounding, and sides that broadcast to it.

    1 - |r| is formed before r is rounded, so that nearly equal neurons keep their distance.
    """
    gap, r = np.abs(r), r.astype(np.float32)
    gap = np.abs(np.subtract(1, gap, out=gap).astype(np.float32))  # below 0 by rounding alone
    sign = np.copysign(np.float32(1), r)
    arc = np.sqrt(gap)
    q = np.sqrt(2 - gap)
    q *= arc
    leads = _leads(one.h, two.h, sign, gap)
    offsets = _offsets(leads, q)

    energy = offsets[0] * offsets[0]
    energy += one.h * one.h
    energy *= -0.5
    density = np.exp(energy)
    ring = _polynomial(_RING, energy)
    ring *= density
    excess = q
    excess *= density
    excess *= 1 / (2 * np.pi)
    excess -= one.pdf * two.pdf

    arc *= _polynomial(_ARC, gap)  # arccos|r|
    arc -= np.pi / 2
    arc *= sign
    arc += np.pi / 2
    arc *= ring
    delta = one.rest * two.rest
    np.subtract(0.25, delta, out=delta)
    delta -= arc
    ring *= np.pi / 2
    ring -= 0.25
    shift = []
    for side, other, offset, lead in zip((one, two), (two, one), offsets, leads, strict=True):
        sense = np.sign(lead)
        wedge = _polynomial(side.wedge, offset)
        wedge *= density
        wedge -= ring
        wedge -= 0.5 * side.rest
        wedge *= sense
        delta += wedge
        mills = _polynomial(_MILLS, offset)
        mills *= density
        np.subtract(0.5 * side.pdf, mills, out=mills)
        mills *= sense
        mills += np.multiply(side.pdf, other.rest, out=wedge)
        shift.append(mills)
    return Pairs(r, delta, (shift[0], shift[1]), excess)


def _offsets(leads: tuple[Array, Array], q: Array) -> list[Array]:
    """|u| = |leads|/q, at most CUT."""
    inverse = q + _TINY
    np.divide(1, inverse, out=inverse)
    cut = np.full_like(q, CUT)  # two arrays have a faster minimum than an array and a number
    offsets = [np.abs(lead) for lead in leads]
    for offset in offsets:
        offset *= inverse
        np.minimum(offset, cut, out=offset)
    return offsets


def _leads(h_1: Array, h_2: Array, sign: Array, gap: Array) -> tuple[Array, Array]:
    """q u_1 = h_2 - r h_1 and q u_2 = h_1 - r h_2, with r = sign (1 - gap): nothing is rounded where they cancel."""
    lean = sign * gap
    apart = h_2 - sign * h_1
    first = lean * h_1
    first += apart
    lean *= h_2
    apart *= sign
    lean -= apart
    return first, lean


def _polynomial(coefficients: Any, x: Array) -> Array:
    """sum_k coefficients[k] x^k, coefficients numbers or arrays that broadcast to x."""
    total = coefficients[-1] * x
    total += coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        total *= x
        total += coefficient
    return total
