"""Where one coarse class of a ReLU network comes to rest, for any set of patterns of open gates.

Orthonormal noise-free inputs, subclasses c of probability pi_c, target +n for all; a neuron of pattern Q is active on
the subclasses in Q. A pattern's neurons give the outputs theta_Qc >= 0 (c in Q), at a cost of at least
lambda ||theta_Q||, for (a^2 + ||w||^2)/2 >= |a| ||w||. So the loss of the class is at least

    sum_c pi_c (f_c - n)^2/2 + lambda sum_Q ||theta_Q||,   f_c = sum over patterns Q that contain c of theta_Qc,

a group lasso (Yuan & Lin 2006), convex. With the pulls d_c = pi_c (n - f_c), theta is its minimum if and only if

    ||d_Q|| <= lambda for every pattern,   theta_Q = u_Q d_Q/lambda,   u_Q = 0 where ||d_Q|| < lambda.

So d_c = pi_c n/(1 + pi_c U_c/lambda) with U_c the sum of u_Q over the patterns that contain c, and x = u/lambda
minimises the dual, smooth and convex on x >= 0,

    sum_c pi_c n^2/(2 (1 + pi_c X_c)) + lambda^2/2 sum_Q x_Q,   X_c = sum of x_Q over the patterns that contain c.

f and d are unique. u is not always: {1,2},{2,3},{3,4},{4,1} can share their load in many ways. A pattern inside another
has ||d_Q|| < lambda, for d > 0, so only maximal patterns carry anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Pattern = frozenset[int]

# Complementarity at which the interior point stops; pulls are then exact to rounding.
GAP = 1e-24


@dataclass(frozen=True, eq=False)
class Rest:
    """The end of training in one coarse class.

    Attributes:
        patterns: the maximal ones, in the order of `loads`
        outputs: f_c (S,)
        pulls: d_c = pi_c (n - f_c) (S,)
        loads: u_Q = ||theta_Q|| of each maximal pattern; one solution of several where they overlap in a cycle
    """

    patterns: tuple[Pattern, ...]
    outputs: Array
    pulls: Array
    loads: Array


def checked_patterns(patterns: Iterable[Collection[int]], subclasses: int) -> tuple[Pattern, ...]:
    """Patterns as sets of subclass numbers 0..S-1, each once, in the order given."""
    found = tuple(dict.fromkeys(frozenset(int(c) for c in Q) for Q in patterns))
    if not found:
        raise ValueError("patterns must hold at least one set of subclasses, got none")
    for Q in found:
        if not Q or min(Q) < 0 or max(Q) >= subclasses:
            raise ValueError(f"patterns must be sets of numbers 0..{subclasses - 1}, got {sorted(Q)}")
    return found


def maximal(patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
    """Patterns inside no other."""
    every = tuple(patterns)
    return tuple(Q for Q in every if not any(Q < P for P in every))


def rest(
    weight_decay: float,
    patterns: Iterable[Collection[int]],
    weights: ArrayLike,
    *,
    target_norm: float = 1.0,
) -> Rest:
    """The rest state for these patterns, from lambda >= 0, pi_c (S,) and n = ||t||."""
    checks.at_least("weight_decay", weight_decay, 0)
    checks.positive("target_norm", target_norm)
    pi = checks.real("weights", weights, ("S",))
    if pi.min() <= 0:
        raise ValueError(f"weights must be > 0, got {pi.min()}")
    top = maximal(checked_patterns(patterns, pi.size))
    member = np.array([[c in Q for c in range(pi.size)] for Q in top], dtype=np.float64)
    covered = member.any(axis=0)
    if weight_decay == 0:
        outputs = np.where(covered, target_norm, 0.0)
        return Rest(top, outputs, pi * (target_norm - outputs), np.full(len(top), np.nan))
    # In units where lambda = n = 1.
    stiffness = pi * target_norm / weight_decay
    loads = _interior_point(stiffness, member)
    total = stiffness * (loads @ member)
    outputs = target_norm * total / (1 + total)
    return Rest(top, outputs, pi * target_norm / (1 + total), target_norm * loads)


def _interior_point(stiffness: Array, member: Array) -> Array:
    """u >= 0 that minimises sum_c p_c/(1 + p_c U_c) + sum_Q u_Q, U = u member: Newton on u s = tau, tau -> 0.

    The slacks s_Q = 1 - ||d_Q||^2 stay > 0 as u does; see Wright, Primal-dual interior-point methods, 1997.
    """
    u, s = np.ones(len(member)), np.ones(len(member))
    for _ in range(500):
        pulls = stiffness / (1 + stiffness * (u @ member))
        missing = s - (1 - member @ pulls**2)
        if u @ s < GAP and np.abs(missing).max() < 1e-14:
            break
        tau = 0.1 * (u @ s) / u.size
        curvature = 2 * (member * pulls**3) @ member.T
        # ds = curvature du - missing and u ds + s du = tau - u s; least squares, as loads need not be unique.
        system = u[:, None] * curvature + np.diag(s)
        du = np.linalg.lstsq(system, tau - u * (s - missing), rcond=None)[0]
        ds = curvature @ du - missing
        step = min(1.0, *(0.99 / max(np.max(-d / x), 0.99) for d, x in ((du, u), (ds, s))))
        u, s = u + step * du, s + step * ds
    return np.where(s > u, 0.0, u)
