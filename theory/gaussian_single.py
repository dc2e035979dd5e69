"""Pairs of half-lines X < h under the Gaussian in single precision: polynomials for `gaussian.py`'s integrals.

With r the correlation, q = sqrt((1 - r)(1 + r)), u_1 = (h_2 - r h_1)/q and u_2 = (h_1 - r h_2)/q,

    delta = P(X < h_1, Y < h_2) - (Phi(h_1) + Phi(h_2))/2, minus half the chance that just one holds
    shift_1 = phi(h_1) (Phi(u_1) - 1/2), and shift_2 likewise
    ring = q E,    E = e^{-R^2/2}/(2 pi),    R^2 = h_1^2 + u_1^2 = h_2^2 + u_2^2.

All h are <= 0, which a change of sign arranges. The line from the origin through the vertex of the quadrant, R away,
then cuts it in two wedges. One whose side makes the angle theta <= pi/2 with that line holds (Divgi 1979, Ann. Statist.
7, 903)

    E int_0^theta w(R cos a) da,    w(t) = 1 - t M(t),    M(t) = Phi(-t)/phi(t),

where R cos theta = |u| and R sin theta = |h|. A polynomial for Mills' ratio M makes one of w. As
int cos^k = (cos^{k-1} sin + (k - 1) int cos^{k-2})/k, the integral is then

    turn(R^2) theta - wedge(|u|),

turn a polynomial, wedge one whose coefficients depend on |h| alone: eight numbers for each neuron. Where u > 0 the
wedge is what the half-plane X < h leaves of its mirror image, and the two angles add up to arccos(-r) in all cases.
So a pair takes one exponential, and no case r -> +-1.

Errors, absolute: that of M, times e^{-t^2/2} max(1, t)/(2 pi), is at most eps = 2.7e-6. In `shift` it enters as it is,
and in each wedge as eps int e^{-R^2 sin^2 a/2} da, so that delta is off by eps min(pi, 4/R) at most. Hence 6 eps in
h_2 delta + shift_2 + r shift_1 and eps in (h_2 - r h_1) shift_1, of which gradients are made: 2e-5; a covariance has
h_1 h_2 delta, 4 R eps, which ends where the weight does: 6e-5. Rounding adds a few 2^-24: the terms of w alternate,
and made all positive they would add up to the mirror image of the wedge, a probability. A shift itself jumps with u
where r -> +-1; the two combinations are smooth in h_1 and h_2, and what rounding does to u cancels in them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from finegrain.theory.gaussian import CUT
from finegrain.theory.tools.arrays import Floats

# Least weighted errors (Remez): of M, weight e^{-t^2/2} max(1, t)/(2 pi), t in [0, 4.5]; beyond, both sides decay.
MILLS = (
    1.25329727,
    -0.99913799,
    0.619444538,
    -0.310239802,
    0.119403199,
    -0.0317130939,
    0.00497190788,
    -0.000338184556,
)
# Of arccos(1 - g)/sqrt(2 g), weight sqrt(2 g)/(2 pi), g in [0, 1]: error 7.7e-7.
ARCCOS = (1.00003564, 0.082679655, 0.0220499379, -0.000931653958, 0.00688377434)
_TINY = 1e-30  # in place of 1 - |r| = 0
_SIGN, _ONE = np.float32(-0.0).view(np.int32), np.float32(1).view(np.int32)


def _integrated(mills: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Coefficients of turn, by powers of -R^2/2, and of wedge (i, l), for t^i y^(2 l + 1) with y = R sin theta.

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


_BY_TURN, _WEDGE = (part / (2 * np.pi) for part in _integrated(MILLS))
# Arrays of no dimension: NumPy takes twice as long to begin with a number of Python's.
_TURN, _MILLS, _ARC = (
    [np.array(a, dtype=np.float32) for a in part]
    for part in (_BY_TURN, np.array(MILLS) / (2 * np.pi), np.array(ARCCOS) * np.sqrt(2))
)


class HalfLine(NamedTuple):
    """X < h for h <= 0, float32 arrays of one shape but for `wedge`, which has a leading axis of coefficients."""

    h: Floats  # in [-CUT, 0]
    half_cdf: Floats  # Phi(h)/2
    half_pdf: Floats  # phi(h)/2
    wedge: Floats  # (terms, ...)


class Pairs(NamedTuple):
    """Of each pair of half-lines, float32 (...); defined in the module's docstring."""

    r: Floats
    delta: Floats
    shift: tuple[Floats, Floats]
    ring: Floats


def half_line(h: Floats) -> HalfLine:
    """What pairs need of h <= 0 (float64)."""
    h = np.maximum(h, -CUT)
    powers = [-h]  # |h|, |h|^3, ...
    for _ in range(_WEDGE.shape[1] - 1):
        powers.append(powers[-1] * h * h)
    wedge = np.tensordot(_WEDGE, np.stack(powers), axes=1)
    parts = h, 0.5 * ndtr(h), np.exp(-0.5 * h * h) / np.sqrt(8 * np.pi), wedge
    return HalfLine(*(part.astype(np.float32) for part in parts))


def orthant(one: HalfLine, two: HalfLine, r: Floats) -> Pairs:
    """The parts for correlations r (...), float64, in [-1, 1] but for rounding, and sides that broadcast to it.

    With the two halves of the quadrant put together, and sense_i the sign of u_i,

        delta = sum_i sense_i {Phi(h_i)/2 - turn pi/2 + wedge_i} - turn arccos r.
    """
    gap, r = np.abs(r), r.astype(np.float32)
    # 1 - |r|, formed before r is rounded, keeps nearly equal neurons apart; it is below 0 by rounding alone.
    gap = np.subtract(1, gap, out=gap).astype(np.float32)
    np.abs(gap, out=gap)
    gap += _TINY
    sign, root = _sign(r), np.sqrt(gap)
    q = 2 - gap
    np.sqrt(q, out=q)
    q *= root
    leads = _leads(one.h, two.h, sign, gap)
    offsets = _offsets(leads, q)

    energy = offsets[0] * offsets[0]
    energy += one.h * one.h
    energy *= -0.5
    density = np.exp(energy)
    turn = _polynomial(_TURN, energy)
    turn *= density
    ring = q
    ring *= density
    ring *= 1 / (2 * np.pi)

    arc = _arccos(gap, root, sign)
    arc *= turn
    turn *= np.pi / 2
    delta, shift_1 = _half(one, offsets[0], _sign(leads[0]), density, turn)
    second, shift_2 = _half(two, offsets[1], _sign(leads[1]), density, turn)
    delta += second
    delta -= arc
    return Pairs(r, delta, (shift_1, shift_2), ring)


def _half(
    side: HalfLine, offset: Floats, sense: Floats, density: Floats, turn: Floats
) -> tuple[Floats, Floats]:
    """A side's term in delta, given turn pi/2, and its shift, sense (phi(h)/2 - E M)."""
    wedge = _polynomial(side.wedge, offset)
    wedge *= density
    wedge -= turn
    wedge += side.half_cdf
    wedge *= sense
    shift = _polynomial(_MILLS, offset)
    shift *= density
    np.subtract(side.half_pdf, shift, out=shift)
    shift *= sense
    return wedge, shift


def _arccos(gap: Floats, root: Floats, sign: Floats) -> Floats:
    """arccos(sign (1 - gap)), given the root of gap."""
    arc = _polynomial(_ARC, gap)
    arc *= root  # arccos(1 - gap)
    arc -= np.pi / 2
    arc *= sign
    arc += np.pi / 2
    return arc


def _offsets(leads: tuple[Floats, Floats], q: Floats) -> list[Floats]:
    """|u| = |leads|/q, at most CUT."""
    inverse = 1 / q
    cut = np.full_like(q, CUT)  # two arrays have a faster minimum than an array and a number
    offsets = [np.abs(lead) for lead in leads]
    for offset in offsets:
        offset *= inverse
        np.minimum(offset, cut, out=offset)
    return offsets


def _leads(h_1: Floats, h_2: Floats, sign: Floats, gap: Floats) -> tuple[Floats, Floats]:
    """q u_1 = h_2 - r h_1 and q u_2 = h_1 - r h_2, with r = sign (1 - gap): nothing is rounded where they cancel."""
    lean = sign * gap
    apart = sign * h_1
    np.subtract(h_2, apart, out=apart)
    first = lean * h_1
    first += apart
    lean *= h_2
    apart *= sign
    lean -= apart
    return first, lean


def _sign(x: Floats) -> Floats:
    """copysign(1, x) on the bits of x, which NumPy does four times as fast."""
    bits = x.view(np.int32) & _SIGN
    bits |= _ONE
    return bits.view(np.float32)


def _polynomial(coefficients: Any, x: Floats) -> Floats:
    """sum_k coefficients[k] x^k, coefficients numbers or arrays that broadcast to x."""
    total = coefficients[-1] * x
    total += coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        total *= x
        total += coefficient
    return total
