"""The population loss of a two-layer network on a Gaussian mixture, and its exact gradient (docs/theory.md, T1).

    h = phi(W x),   f = A h,   L = 1/2 E||f(x) - t||^2 + lambda/2 (||W||^2 + ||A||^2)

Given component j, h has mean hbar_j and covariance S_j, so that with r_j = A hbar_j - t_j

    L = sum_j pi_j { 1/2 ||r_j||^2 + 1/2 tr(A S_j A^T) } + lambda/2 (...).

Centred moments are used throughout: E h h^T would cancel once a class has collapsed to a point.
Three fields share the interface (W, A) -> (L, dL/dW, dL/dA): one for linear networks, where the mixture enters
through E x x^T and E t x^T alone, one for noise-free inputs, and one for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike

from finegrain.sims.population import pointwise
from finegrain.sims.setting import Setting, SettingKeywords
from finegrain.theory import kinematics, rectified_single
from finegrain.theory.mixture import Mixture
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Field = Callable[[Array, Array], tuple[float, Array, Array]]

PRECISIONS = ("double", "single")
# Pairs of neurons, over components, at a time in single precision: bounds the memory.
SIZE = 2**22


def population_loss(
    mixture: Mixture, *, targets: ArrayLike, precision: str = "double", **setting: Unpack[SettingKeywords]
) -> Field:
    """The function (W, A) -> (L, dL/dW, dL/dA), exact, for weights W (m, d) and A (K, m).

    Args:
        mixture: distribution of the inputs, dimension d.
        targets: (C, K), the training target of each fine class.
        precision: "double"; or "single" to compute in float32 what pairs of relu or leaky_relu neurons contribute,
            where inputs have noise: several times as fast, right to 1e-5 (`rectified_single.output_noise`).
        setting: the keywords of `Setting`: activation="relu", slope=0.01, loss="squared", weight_decay=0.0. Another
            loss needs inputs without noise.
    """
    return population_field(mixture, targets, Setting(**setting), precision)


def population_field(
    mixture: Mixture, targets: ArrayLike, setting: Setting, precision: str = "double"
) -> Field:
    """`population_loss` of a Setting."""
    checks.instance("mixture", mixture, Mixture)
    checks.one_of("precision", precision, PRECISIONS)
    t = checks.real("targets", targets, (mixture.num_fine, "K"))
    setting.check_targets(t)
    noisy = bool(mixture.moments.covariances.any())
    if setting.loss != "squared" and noisy:
        raise ValueError(
            f"loss must be squared for inputs with noise, where no closed form is known; got {setting.loss!r}"
        )
    if setting.activation == "identity" and setting.loss == "squared":
        field = _linear(mixture, t)
    elif not noisy:
        field = _noise_free(mixture, t, setting)
    elif precision == "single" and setting.rectified:
        field = _gaussian_single(mixture, t, setting.closed)
    else:
        field = _gaussian(mixture, t, setting)
    return _decayed(field, setting.weight_decay)


def _decayed(field: Field, weight_decay: float) -> Field:
    """The field with lambda/2 (||W||^2 + ||A||^2) added to its loss."""

    def decayed(W: Array, A: Array) -> tuple[float, Array, Array]:
        loss, dW, dA = field(W, A)
        penalty = 0.5 * weight_decay * (np.vdot(W, W) + np.vdot(A, A))
        return loss + float(penalty), dW + weight_decay * W, dA + weight_decay * A

    return decayed


def _linear(mixture: Mixture, targets: Array) -> Field:
    """phi = identity: L = 1/2 (tr(F Sigma F^T) - 2 tr(F M^T) + E||t||^2) with F = A W."""
    second, cross = mixture.second_moment(), mixture.cross_moment(targets)
    power = float(mixture.moments.weights @ np.sum(targets[mixture.fine_map] ** 2, axis=1))

    def field(W: Array, A: Array) -> tuple[float, Array, Array]:
        F = A @ W
        slope = F @ second - cross
        loss = 0.5 * (np.vdot(F, slope - cross) + power)
        return float(loss), A.T @ slope, slope @ W.T

    return field


def _noise_free(mixture: Mixture, targets: Array, setting: Setting) -> Field:
    """Inputs that are points: the loss is a weighted sum over the J means."""
    phi, loss = pointwise.activation(setting.activation, setting.slope), pointwise.loss(setting.loss)
    pi, mu, t = mixture.moments.weights, mixture.moments.means, targets[mixture.fine_map]

    def field(W: Array, A: Array) -> tuple[float, Array, Array]:
        h, slopes = phi(mu @ W.T)  # (J, m)
        values, residual = loss(h @ A.T, t)
        weighted = pi[:, None] * residual
        back = (weighted @ A) * slopes
        return float(pi @ values), back.T @ mu, weighted.T @ h

    return field


def _gaussian(mixture: Mixture, targets: Array, setting: Setting) -> Field:
    """Any covariances: exact Gaussian moments of each component and their vector-Jacobian product."""
    pi, mu, cov = mixture.moments.weights, mixture.moments.means, mixture.moments.covariances
    t = targets[mixture.fine_map]

    def field(W: Array, A: Array) -> tuple[float, Array, Array]:
        W_cov = W @ cov  # (J, m, d)
        mean, spread, pullback = kinematics.moments_and_pullback(
            mu @ W.T, W_cov @ W.T, setting.activation, slope=setting.slope
        )
        r = mean @ A.T - t
        weighted = pi[:, None] * r
        A_spread = A @ np.tensordot(pi, spread, axes=1)  # (K, m)
        gram = 0.5 * A.T @ A
        b_bar, Q_bar = pullback(weighted @ A, pi[:, None, None] * gram)
        dW = b_bar.T @ mu + 2 * np.tensordot(Q_bar, W_cov, axes=([0, 2], [0, 1]))
        loss = 0.5 * (np.vdot(weighted, r) + np.vdot(A_spread, A))
        return float(loss), dW, weighted.T @ mean + A_spread

    return field


def _gaussian_single(mixture: Mixture, targets: Array, slope: float) -> Field:
    """As `_gaussian`, for leaky ReLU of that slope, with pairs of neurons in single precision."""
    pi, mu, cov = mixture.moments.weights, mixture.moments.means, mixture.moments.covariances
    t = targets[mixture.fine_map]

    def part(W: Array, A: Array, some: slice) -> tuple[float, Array, Array]:
        """What some of the components contribute."""
        weights, means, W_cov = pi[some, None], mu[some], W @ cov[some]
        mean, spread, pull = rectified_single.output_noise(means @ W.T, W, W_cov, A, slope)
        r = mean @ A.T - t[some]
        b_bar, dW = pull(r @ A, pi[some])
        spread = np.tensordot(pi[some], spread, axes=1).T  # (K, m): A Cov
        loss = 0.5 * (np.vdot(weights * r, r) + np.vdot(spread, A))
        return float(loss), dW + (weights * b_bar).T @ means, (weights * r).T @ mean + spread

    def field(W: Array, A: Array) -> tuple[float, Array, Array]:
        step = max(1, SIZE // len(W) ** 2)
        loss, dW, dA = 0.0, np.zeros(W.shape), np.zeros(A.shape)
        for start in range(0, len(pi), step):
            more = part(W, A, slice(start, start + step))
            loss, dW, dA = loss + more[0], dW + more[1], dA + more[2]
        return loss, dW, dA

    return field
