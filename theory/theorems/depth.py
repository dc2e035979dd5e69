"""T17 Depth and convex losses: layer l forgets subclasses at l lambda, and T3 survives any convex loss.

(a) L-layer linear network F = W_L ... W_1, squared loss, weight decay lambda on every layer. V_0 = V is label-invisible
    (T3) and R^{m_l} = V_l^c + V_l orthogonally, with V_L = 0. If every layer maps V_{l-1} into V_l and its complement
    into V_l's ("aligned": W_l = a visible block + R_l : V_{l-1} -> V_l), the flow keeps this, whatever the visible
    blocks do and however large R_l is,

        R_l(t) = e^{-lambda t} R_l(0),

    so two subclasses that differ by delta in V are, in layer l < L, apart by

        ||h_l - h_l'|| = ||R_l ... R_1 delta|| = e^{-l lambda t} times its initial value: eta^l e^{-l lambda t}.

(b) Not aligned, K = 1: let the visible mode have converged, W_l = b u_l u_{l-1}^T, to b > 0, with remainders of
    size eta (R_l off the mode; p_l into it and q_l out of it). To first order in eta

        R_l' = -lambda R_l,   (q_l + p_{l+1})' = 0,   (q_l - p_{l+1})' = -2 lambda (q_l - p_{l+1}),
        p_1' = -(s b^{2L-2} + lambda) p_1 on an eigenvector of Sigma in V with eigenvalue s:

    q + p turns the mode's direction u_l and separates nothing, p_1 dies out before the rest, and (a) is
    approached, with rates l lambda up to a relative O(eta) that itself decays.
(c) Two layers and a loss l(f, t), twice continuously differentiable in f, derivatives of at most exponential growth;
    x_v ~ N(0, Sigma_v) independent of the rest of x and of t, W_v the restriction of W to it. Then

        dW_v/dt = -A^T Hbar A W_v Sigma_v - lambda W_v,   Hbar = E[Hessian of l by f]    (K, K),

    which is T3 with A^T Hbar A for A^T A: W v(t) = e^{-lambda t} T_s(t) W v(0), T_s' = -s A^T Hbar A T_s, and
    ln det T_s = -s int tr(A^T Hbar A) dt. Convex l makes Hbar >= 0, hence ||T_s|| <= 1.

Any differentiable loss: neighbouring layers keep T2's balance, W_l W_l^T - W_{l+1}^T W_{l+1} = e^{-2 lambda t} times
its initial value.

Corrected: "separation ~ eta^l" had been stated for any remainders of size eta. In amplitude it needs (a), or
p_{l+1} = q_l and p_1 = 0 (a mode that was only turned, balanced to first order): else the separation in layer 3 is
of order eta^2, for p_1 follows -(p_2 . R_1 v)/b and leaves a part of order lambda eta^2/s along the mode, of the same
rate 3 lambda.
Independence and normality, not Sigma_v = s I, are what (c) needs; convexity is needed for the contraction alone.

Source: this project, T17. (c) uses Stein's lemma (Stein 1981, Ann. Statist. 9, 1135).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.symbolic import (
    Theorem,
    gradient,
    matrix,
    penalty,
    require_zero,
    squared_loss,
    symmetric,
)
from finegrain.theory.tools import checks

Array = NDArray[np.float64]

THEOREM = Theorem(
    id="T17",
    subject="depth and convex losses",
    statement="subclasses in layer l of a linear network part as e^{-l lambda t}; T3 with A^T Hbar A for a convex loss",
    assumptions=(
        "linear network",
        "every layer maps V_{l-1} into V_l and its complement into V_l's complement (exact law in depth)",
        "the same lambda on every layer",
        "x_v is Gaussian (convex losses)",
        "x_v is independent of the labels and of the rest of x (convex losses)",
        "the loss is convex (contraction)",
    ),
    sizes="(L, visible, invisible) = (2,1,2), (3,1,1), (3,2,1), (4,1,1); L = 2, 3, 4 in (b); "
    "(m, n, K) = (1,2,1), (2,1,2), (2,2,2), (3,2,2) in (c), its contraction at m = 2, 3",
    latex=(
        r"R_l(t) = e^{-\lambda t} R_l(0), \quad \|h_l - h_l'\| \propto e^{-l \lambda t}",
        r"\dot W_v = -A^\top \bar H A W_v \Sigma_v - \lambda W_v, \quad \bar H = \mathbb{E}\,\nabla_f^2 \ell(f, t)",
        r"\det T_s = \exp\Bigl(-s \int_0^t \mathrm{tr}(A^\top \bar H A)\Bigr), \quad \|T_s\| \le 1",
    ),
)

DEPTH_SIZES = ((2, 1, 2), (3, 1, 1), (3, 2, 1), (4, 1, 1))
CONVEX_SIZES = ((1, 2, 1), (2, 1, 2), (2, 2, 2), (3, 2, 2))

Rate = Callable[[Any, sp.Expr], sp.Expr]
Velocity = Callable[..., sp.Matrix]


def predict(initial: ArrayLike, weight_decay: float, t: float) -> Array:
    """Separation in layers 1..L-1 at time t, shape (L-1,), from those at time 0."""
    start = checks.real("initial", initial, ("L-1",))
    checks.at_least("weight_decay", weight_decay, 0)
    return start * np.exp(-np.arange(1, start.size + 1) * weight_decay * t)


def predict_rate(layer: int, weight_decay: float) -> float:
    """Decay rate of the separation in `layer`, counted from 1: l lambda."""
    checks.at_least("layer", layer, 1)
    checks.at_least("weight_decay", weight_decay, 0)
    return layer * weight_decay


def predict_velocity(W_v: Array, A: Array, hessian: Array, second_v: Array, weight_decay: float) -> Array:
    """dW_v/dt, shape (m, n), from W_v (m, n), A (K, m), Hbar (K, K) and Sigma_v (n, n)."""
    return -A.T @ hessian @ A @ W_v @ second_v - weight_decay * W_v


def predict_log_det(trace_integral: float, eigenvalue: float) -> float:
    """ln det T_s, from int tr(A^T Hbar A) dt and s."""
    return -eigenvalue * trace_integral


def residuals(
    rate: Rate | None = None,
    velocity: Callable[..., Any] | None = None,
    balance: Callable[[sp.Expr], sp.Expr] | None = None,
) -> dict[str, words.Words]:
    """(a), (c) and the balance of neighbouring layers at every depth and size (words.py): what is left of each.

    rate, velocity: as in `prove`. balance: the claimed lambda -> decay rate of W_l W_l^T - W_{l+1}^T W_{l+1}; 2 lambda
    by default.
    """
    rate = rate or (lambda layer, lam: layer * lam)
    return {
        "balance of two layers": _balance_residual(balance or (lambda lam: 2 * lam)),
        **_aligned_residuals(rate),
        **_separation_residuals(rate),
        **_convex_residuals(velocity or predict_velocity),
    }


def _balance_residual(balance: Callable[[sp.Expr], sp.Expr]) -> words.Words:
    """F = B W' W C: B and C are whatever stands after and before, any number of layers and the data."""
    lam = sp.Symbol("lambda")
    W, following = words.letter("W", "l", "k"), words.letter("W'", "m", "l")
    after, before = words.letter("B", "K", "m"), words.letter("C", "k", "n")
    loss = words.any_loss(after @ following @ W @ before, words.letter("R", "K", "n"))
    velocity = words.flow(loss + words.penalty(lam, W, following), W, following)
    imbalance = W @ W.T - following.T @ following
    return words.rate(imbalance, velocity) + balance(lam) * imbalance


def _aligned_residuals(rate: Rate) -> dict[str, words.Words]:
    """One layer at an aligned state, F = B W C: E_l spans V_l and G_l its complement, l = 0 before C, 1 before and 2
    after W. B sees nothing of V_2, since V_L = 0; every factor is block diagonal. For the last layer B = I, V_2 = 0."""
    lam = sp.Symbol("lambda")
    (G0, E0, spaces0), (G1, E1, spaces1), (G2, E2, spaces2) = (
        rewriting.split(f"m{i}", f"u{i}", f"v{i}") for i in range(3)
    )
    W, B, C = words.letter("W", "m2", "m1"), words.letter("B", "K", "m2"), words.letter("C", "m1", "m0")
    second, cross = words.symmetric("Sigma", "m0"), words.letter("M", "K", "m0")
    R = words.letter("R", "v2", "v1")
    aligned = rewriting.rules(
        *spaces0,
        *spaces1,
        *spaces2,
        (W, G2 @ words.letter("S", "u2", "u1") @ G1.T + E2 @ R @ E1.T),
        (C, G1 @ words.letter("C_u", "u1", "u0") @ G0.T + E1 @ words.letter("C_v", "v1", "v0") @ E0.T),
        (B, words.letter("B_u", "K", "u2") @ G2.T),
        (second, G0 @ words.symmetric("P", "u0") @ G0.T + E0 @ words.symmetric("Q", "v0") @ E0.T),
        (cross, words.letter("M_u", "K", "u0") @ G0.T),
    )
    loss = words.squared_loss(B @ W @ C, second, cross) + words.penalty(lam, W)
    velocity = -words.gradient(loss, W)
    left = {
        "(a) visible into invisible": E2.T @ velocity @ G1,
        "(a) invisible into visible": G2.T @ velocity @ E1,
        "(a) remainder": E2.T @ velocity @ E1 + rate(1, lam) * R,
    }
    return {name: rewriting.under(residual, aligned) for name, residual in left.items()}


def _separation_residuals(rate: Rate) -> dict[str, words.Words]:
    """By induction: none in layer 0; in layer l, R_l falls at lambda and what reaches it at layer l - 1's rate."""
    lam, layer = sp.symbols("lambda l")
    R, apart = words.letter("R", "v2", "v1"), words.letter("apart", "v1", "1")
    moving = {R: -lam * R, apart: -rate(layer - 1, lam) * apart}
    return {
        "(a) separation at the input": rate(0, lam) * words.identity("1"),
        "(a) separation from layer to layer": words.rate(R @ apart, moving) + rate(layer, lam) * R @ apart,
    }


def _convex_residuals(velocity: Callable[..., Any]) -> dict[str, words.Words]:
    """The loss exp(c . f), as in `_prove_convex`: E l = exp(base + q), with q a trace, so grad E l = E l grad q."""
    lam, s, expected = sp.symbols("lambda s E_l")
    W, A = words.letter("W_v", "m", "v"), words.letter("A", "K", "m")
    c, second_v = words.letter("c", "K", "1"), words.symmetric("Sigma_v", "v")
    seen = c.T @ A @ W
    exponent = sp.Rational(1, 2) * words.tr(seen @ second_v @ seen.T)
    force = -expected * words.gradient(exponent, W) - words.gradient(words.penalty(lam, W), W)
    B, T, inverse = words.letter("B", "q", "K"), words.letter("T", "m", "m"), words.letter("T^-1", "m", "m")
    # The law along an eigenvector, for H = B^T B and without weight decay: T' = -s A^T H A T.
    moved = velocity(T, A, B.T @ B, s * words.identity("m"), 0)
    root = B @ A @ T
    invertible = rewriting.rules((inverse @ T, 1), (T @ inverse, 1))
    log_det = words.tr(inverse @ moved) + s * words.tr(A.T @ B.T @ B @ A)
    return {
        "(c) velocity": force - velocity(W, A, expected * c @ c.T, second_v, lam),
        "(c) contraction": words.rate(T.T @ T, {T: moved}) + 2 * s * root.T @ root,
        "(c) determinant": rewriting.under(log_det, invertible),
    }


def prove(rate: Rate | None = None, velocity: Velocity | None = None) -> None:
    """(a) and (b) from the squared loss of L factors, (c) from the expected loss in closed form.

    rate: the claimed (l, lambda) -> decay rate of the separation in layer l.
    velocity: the claimed (W_v, A, Hbar, Sigma_v, lambda) -> dW_v/dt. Defaults: the theorem's own.
    """
    rate = rate or (lambda layer, lam: layer * lam)
    velocity = velocity or (lambda W_v, A, H, second_v, lam: -A.T * H * A * W_v * second_v - lam * W_v)
    for sizes in CONVEX_SIZES:
        _prove_convex(velocity, *sizes)
    for m in (2, 3):
        _prove_contraction(m)
    for sizes in DEPTH_SIZES:
        _prove_aligned(rate, *sizes)
    for depth in (2, 3, 4):
        _prove_linearised(depth)


def _product(layers: list[sp.Matrix]) -> sp.Matrix:
    F = layers[0]
    for W in layers[1:]:
        F = W * F
    return F


def _prove_aligned(rate: Rate, depth: int, visible: int, invisible: int) -> None:
    """The gradient of the whole loss at an aligned state: block diagonal, with -lambda R_l in the invisible block."""
    r, n = visible, invisible
    lam = sp.Symbol("lambda")
    layers = [matrix(f"W{i}", r + n, r + n) for i in range(1, depth)] + [matrix(f"W{depth}", r, r + n)]
    second = sp.diag(symmetric("P", r), symmetric("Q", n))
    cross = sp.Matrix.hstack(matrix("M", r, r), sp.zeros(r, n))
    loss = squared_loss(_product(layers), second, cross) + penalty(lam, *layers)
    crossing = {W[i, j]: 0 for W in layers for i in range(W.rows) for j in range(r + n) if (i < r) != (j < r)}
    velocities = [-gradient(loss, W).subs(crossing) for W in layers]
    for W, dW in zip(layers, velocities, strict=True):
        require_zero(f"T17 visible into invisible at {depth, r, n}", dW[r:, :r])
        require_zero(f"T17 invisible into visible at {depth, r, n}", dW[:r, r:])
        require_zero(f"T17 remainder at {depth, r, n}", dW[r:, r:] + lam * W[r:, r:])
    delta = matrix("delta", n, 1)
    blocks = [(W[r:, r:], dW[r:, r:]) for W, dW in zip(layers[:-1], velocities[:-1], strict=True)]
    apart, change = delta, sp.zeros(n, 1)
    for layer, (R, dR) in enumerate(blocks, 1):
        apart, change = R * apart, dR * apart + R * change
        require_zero(f"T17 separation in layer {layer} of {depth}", change + rate(layer, lam) * apart)


def _prove_linearised(depth: int) -> None:
    """One visible and one invisible direction a layer, K = 1: the flow's derivative by eta at the converged mode."""
    b, s, s_v, eta = sp.symbols("b s s_v eta")
    lam = sp.Symbol("lambda")
    p, q, R = (sp.symbols(f"{name}1:{depth + 1}") for name in "pqR")
    symbols = [matrix(f"W{i}", 2, 2) for i in range(1, depth)] + [matrix(f"W{depth}", 1, 2)]
    cross = sp.Matrix(
        [[s * b**depth + lam * b ** (2 - depth), 0]]
    )  # M's singular value at which b is at rest
    loss = squared_loss(_product(symbols), sp.diag(s, s_v), cross) + penalty(lam, *symbols)
    near: dict[sp.Symbol, sp.Expr] = {}
    for i, W in enumerate(symbols):
        values = sp.Matrix([[b, eta * p[i]], [eta * q[i], eta * R[i]]])
        near |= {W[j, k]: values[j, k] for j in range(W.rows) for k in range(2)}
    first = [
        (-gradient(loss, W)).subs(near).applyfunc(lambda e: sp.diff(e, eta).subs(eta, 0)) for W in symbols
    ]
    require_zero(f"T17 mode into, L = {depth}", first[0][0, 1] + (s_v * b ** (2 * depth - 2) + lam) * p[0])
    for i in range(depth - 1):
        out, into = first[i][1, 0], first[i + 1][0, 1]
        require_zero(f"T17 linearised remainder {i + 1} of {depth}", first[i][1, 1] + lam * R[i])
        require_zero(f"T17 turn of the mode {i + 1} of {depth}", out + into)
        require_zero(f"T17 imbalance {i + 1} of {depth}", out - into + 2 * lam * (q[i] - p[i + 1]))


def _prove_convex(velocity: Velocity, m: int, n: int, K: int) -> None:
    """For l = exp(c.f) the expectation over x_v is explicit, and the law linear in l: other losses are superpositions
    of exponentials with complex c (Fourier). base: what the rest of x contributes to c.f."""
    lam = sp.Symbol("lambda")
    W_v, A, c, second_v = matrix("W", m, n), matrix("A", K, m), matrix("c", K, 1), symmetric("S", n)
    base = sp.Symbol("base")
    seen = (A * W_v).T * c
    expected = sp.exp(base + (seen.T * second_v * seen)[0] / 2)
    loss = expected + penalty(lam, W_v, A)
    hessian = c * c.T * expected
    difference = -gradient(loss, W_v) - velocity(W_v, A, hessian, second_v, lam)
    require_zero(f"T17 convex at {m, n, K}", difference)


def _prove_contraction(m: int) -> None:
    """T^T T falls by 2 s T^T A^T H A T, a square for H = B^T B; ln det T by s tr(A^T H A)."""
    s = sp.Symbol("s")
    A, B, T = matrix("A", 2, m), matrix("B", 2, 2), matrix("T", m, m)
    G = A.T * B.T * B * A
    dT = -s * G * T
    root = B * A * T
    require_zero(f"T17 contraction at m = {m}", dT.T * T + T.T * dT + 2 * s * root.T * root)
    det = T.det(method="berkowitz")
    growth = sum(sp.diff(det, T[i, j]) * dT[i, j] for i in range(m) for j in range(m))
    require_zero(f"T17 determinant at m = {m}", growth + s * G.trace() * det)
