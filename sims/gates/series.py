"""Between gate events a noise-free ReLU network's flow is a power series, the same for all neurons of an active set.

Inputs are points mu_c, orthogonal, nu_c = ||mu_c||. A neuron is y_j = (w_j . mu_1/nu_1, ..., w_j . mu_C/nu_C, a_j),
C + K numbers (what w_j has off the means only decays). By T19 all neurons with the same gates s move as

    y_j(t) = e^{-lambda t} y_j(0) U_s(t),   U_s' = U_s [[0, R], [R^T, 0]],   R_c = s_c pi_c nu_c g_c,

g_c = t_c - f_c for the squared loss, s_c = 1 at an open gate and the activation's slope below zero at a closed one; and

    f_c(t) = e^{-2 lambda t} nu_c sum_s s_c [U_s^T P_s U_s]_{c, outputs},   P_s = sum of y_j(0)^T y_j(0) over the set.

Every product is one of power series, so the coefficients follow from each other (`series`): no stage, no system to
solve, and the step comes with its own interpolant. The width enters through P_s alone.

Layout: time in units of the step, theta in [0, 1]; coefficients of theta^k along the first axis; the networks of a
batch along the last, where NumPy is fast, each with its own step.

Source: this project, T19. Steps and order of a Taylor integrator: Jorba & Zou (2005), Experimental Mathematics 14.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finegrain.theory.tools.arrays import Array

Gates = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OrthogonalPoints:
    """Orthogonal input points, their targets, and the network's settings.

    Attributes:
        weights, norms: pi_c and nu_c, (C,)
        targets: (C, K)
        weight_decay: lambda >= 0
        slope: of the activation at closed gates; 0 for ReLU
        order: of the series
    """

    weights: Array
    norms: Array
    targets: Array
    weight_decay: float
    slope: float
    order: int

    @property
    def rates(self) -> Array:
        """pi_c nu_c, (C, 1, 1)."""
        return (self.weights * self.norms)[:, None, None]

    def slopes(self, gates: Gates) -> Array:
        """s_c at gates of any shape."""
        return np.where(gates, 1.0, self.slope)


def series(
    inputs: OrthogonalPoints, gates: Gates, gram: Array, decay: Array, step: Array, forcing: Array
) -> tuple[Array, Array]:
    """U_s (order + 1, C + K, C + K, sets, B) and the residual g (order, C, K, B) over one step, as coefficients.

    Args:
        gates: (C, sets).
        gram: P_s, (C + K, C + K, sets, B), without weight decay.
        decay: e^{-2 lambda t} at the start of the step, (B,).
        step: its length, (B,).
        forcing: (degree + 1, C, K, B), added to f: what neurons add whose gates change within the step.
    """
    p, (C, K) = inputs.order, inputs.targets.shape
    n, _, sets, B = gram.shape
    U, U_gram = np.zeros((p + 1, n, n, sets, B)), np.empty((p, n, K, sets, B))
    g, R, products = np.empty((p, C, K, B)), np.empty((p, C, K, sets, B)), np.empty((p, C, K, B))
    U[0, np.arange(n), np.arange(n)] = 1
    slopes = inputs.slopes(gates)[:, None, :, None]
    shrink = decay * _exponential(-2 * inputs.weight_decay * step, p)
    for k in range(p):
        np.einsum("ijsb,jksb->iksb", gram, U[k, :, C:], out=U_gram[k])
        outputs = np.einsum("micsb,miksb->cksb", U[: k + 1, :, :C], U_gram[k::-1])
        products[k] = np.sum(slopes * outputs, axis=2)
        g[k] = -inputs.norms[:, None, None] * np.einsum("mb,mckb->ckb", shrink[: k + 1], products[k::-1])
        if k == 0:
            g[k] += inputs.targets[:, :, None]
        if k < len(forcing):
            g[k] -= forcing[k]
        R[k] = slopes * (inputs.rates * step * g[k])[:, :, None]
        np.einsum("miksb,mcksb->icsb", U[: k + 1, :, C:], R[k::-1], out=U[k + 1, :, :C])
        np.einsum("micsb,mcksb->iksb", U[: k + 1, :, :C], R[k::-1], out=U[k + 1, :, C:])
        U[k + 1] /= k + 1
    return U, g


def path(start: Array, R: Array) -> Array:
    """Coefficients (order + 1, C + K, N) of N single neurons from `start` (C + K, N) under R (order, C, K, N)."""
    p, C = R.shape[:2]
    y = np.empty((p + 1, *start.shape))
    y[0] = start
    for k in range(p):
        np.einsum("mkn,mckn->cn", y[: k + 1, C:], R[k::-1], out=y[k + 1, :C])
        np.einsum("mcn,mckn->kn", y[: k + 1, :C], R[k::-1], out=y[k + 1, C:])
        y[k + 1] /= k + 1
    return y


def at(coefficients: Array, theta: Array) -> Array:
    """The polynomials' values at theta, which broadcasts against each coefficient (Horner)."""
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = value * theta + coefficient
    return value


def longest_step(U: Array, occupied: Gates, rtol: float) -> Array:
    """Largest theta (B,) at which the last two terms of every occupied set's U are below rtol, root mean square.

    U is I at theta = 0, so rtol is relative to each neuron's own size.
    """
    p, n = len(U) - 1, U.shape[1]
    squares = np.sum(U[p - 1 :] ** 2, axis=(1, 2)) / n  # (2, sets, B)
    size = np.sqrt(np.max(squares * occupied, axis=1))
    with np.errstate(divide="ignore"):
        return np.minimum((rtol / size[0]) ** (1 / (p - 1)), (rtol / size[1]) ** (1 / p))


def rescale(coefficients: Array, factor: Array) -> Array:
    """The same polynomials with theta in units of `factor` (B,) steps."""
    powers = factor ** np.arange(len(coefficients))[:, None]
    return coefficients * powers.reshape(len(coefficients), *[1] * (coefficients.ndim - 2), -1)


def _exponential(x: Array, terms: int) -> Array:
    """x^k/k! for k < terms, shape (terms, B)."""
    factors = np.stack([np.ones_like(x)] + [x / k for k in range(1, terms)])
    return np.multiply.accumulate(factors, axis=0)
