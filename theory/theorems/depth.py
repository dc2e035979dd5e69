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

Proved at every size: the flow of an aligned state (a), the balance, the law, the contraction and the determinant of (c)
for exponentials; all but the balance a second time by entries. Proved at L = 2, 3, 4: the linearised flow (b). Open:
losses that are superpositions of exponentials, and that unaligned layers reach (b)'s rates, which is observed.

Source: collapse through the layers of deep linear networks and deep free features, Tirer & Bruna (2022), Sukenik,
Mondelli & Lampert (2023); deep linear courses, Saxe, McClelland & Ganguli (2014). What each layer keeps of
subclasses: this project, T17. (c) uses Stein's lemma (Stein 1981, Ann. Statist. 9, 1135).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.lorentz import decay_rate
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import (
    along,
    descent,
    gradient,
    matrix,
    penalty,
    squared_loss,
    symmetric,
)
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def predict(initial: ArrayLike, weight_decay: float, t: float) -> Array:
    """Separation in layers 1..L-1 at time t, shape (L-1,), from those at time 0."""
    start = checks.real("initial", initial, ("L-1",))
    checks.at_least("weight_decay", weight_decay, 0)
    f, layers = THEOREM.formulas, np.arange(1, start.size + 1)
    return start * f.separation.number(layers, weight_decay, t)


def predict_rate(layer: int, weight_decay: float) -> float:
    """Decay rate of the separation in `layer`, counted from 1: l lambda."""
    checks.at_least("layer", layer, 1)
    checks.at_least("weight_decay", weight_decay, 0)
    return float(-np.log(THEOREM.formulas.separation.number(layer, weight_decay, 1.0)))


def predict_velocity(W_v: Array, A: Array, hessian: Array, second_v: Array, weight_decay: float) -> Array:
    """dW_v/dt, shape (m, n), from W_v (m, n), A (K, m), Hbar (K, K) and Sigma_v (n, n)."""
    return THEOREM.formulas.velocity.number(W_v, A, hessian, second_v, weight_decay)


def predict_log_det(trace_integral: float, eigenvalue: float) -> float:
    """ln det T_s, from int tr(A^T Hbar A) dt and s."""
    return float(THEOREM.formulas.log_det.number(trace_integral, eigenvalue))


def _balance(f: Formulas) -> words.Words:
    """F = B W' W C: B and C are whatever stands after and before, any number of layers and the data."""
    lam = sp.Symbol("lambda")
    W, following = words.letter("W", "l", "k"), words.letter("W'", "m", "l")
    after, before = words.letter("B", "K", "m"), words.letter("C", "k", "n")
    loss = words.any_loss(after @ following @ W @ before, words.letter("R", "K", "n"))
    velocity = words.flow(loss + words.penalty(lam, W, following), W, following)
    imbalance = f.imbalance(W, following)
    return words.rate(imbalance, velocity) - 2 * decay_rate(f.remainder, lam) * imbalance


def _aligned(f: Formulas) -> Iterator[words.Words]:
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
    yield rewriting.under(E2.T @ velocity @ G1, aligned)
    yield rewriting.under(G2.T @ velocity @ E1, aligned)
    yield rewriting.under(E2.T @ velocity @ E1 - decay_rate(f.remainder, lam) * R, aligned)


def _separation_rate(f: Formulas, layer: sp.Expr, lam: sp.Symbol) -> sp.Expr:
    t = sp.Symbol("t")
    return sp.simplify(sp.diff(sp.log(f.separation(layer, lam, t)), t))


def _separation(f: Formulas) -> Iterator[words.Words | sp.Expr]:
    """By induction: none in layer 0; in layer l, R_l falls as (a) says and what reaches it at layer l - 1's rate."""
    lam, layer = sp.Symbol("lambda", real=True), sp.Symbol("l", real=True)
    R, apart = words.letter("R", "v2", "v1"), words.letter("apart", "v1", "1")
    moving = {
        R: decay_rate(f.remainder, lam) * R,
        apart: _separation_rate(f, layer - 1, lam) * apart,
    }
    yield f.separation(0, lam, sp.Symbol("t", real=True)) - 1
    yield f.separation(layer, lam, 0) - 1
    yield words.rate(R @ apart, moving) - _separation_rate(f, layer, lam) * R @ apart


def _aligned_by_entries(f: Formulas, depth: int, visible: int, invisible: int) -> Iterator[sp.Matrix]:
    """The gradient of the whole loss at an aligned state: block diagonal, and each layer's separation."""
    r, n = visible, invisible
    lam = sp.Symbol("lambda", real=True)
    layers = [matrix(f"W{i}", r + n, r + n) for i in range(1, depth)] + [matrix(f"W{depth}", r, r + n)]
    second = sp.diag(symmetric("P", r), symmetric("Q", n))
    cross = sp.Matrix.hstack(matrix("M", r, r), sp.zeros(r, n))
    loss = squared_loss(_product(layers), second, cross) + penalty(lam, *layers)
    crossing = {W[i, j]: 0 for W in layers for i in range(W.rows) for j in range(r + n) if (i < r) != (j < r)}
    velocities = [-gradient(loss, W).xreplace(crossing) for W in layers]
    rate = decay_rate(f.remainder, lam)
    for W, dW in zip(layers, velocities, strict=True):
        yield from (dW[r:, :r], dW[:r, r:], dW[r:, r:] - rate * W[r:, r:])
    apart, change = matrix("delta", n, 1), sp.zeros(n, 1)
    for layer, (W, dW) in enumerate(zip(layers[:-1], velocities[:-1], strict=True), 1):
        R, dR = W[r:, r:], dW[r:, r:]
        apart, change = R * apart, dR * apart + R * change
        yield change - _separation_rate(f, sp.Integer(layer), lam) * apart


def _product(layers: list[sp.Matrix]) -> sp.Matrix:
    F = layers[0]
    for W in layers[1:]:
        F = W * F
    return F


def _linearised(f: Formulas, depth: int) -> Iterator[sp.Expr]:
    """One visible and one invisible direction a layer, K = 1: the flow's derivative by eta at the converged mode."""
    b, s, s_v, eta = sp.symbols("b s s_v eta")
    lam = sp.Symbol("lambda")
    p, q, R = (sp.symbols(f"{name}1:{depth + 1}") for name in "pqR")
    layers = [matrix(f"W{i}", 2, 2) for i in range(1, depth)] + [matrix(f"W{depth}", 1, 2)]
    # M's singular value at which b is at rest.
    cross = sp.Matrix([[s * b**depth + lam * b ** (2 - depth), 0]])
    loss = squared_loss(_product(layers), sp.diag(s, s_v), cross) + penalty(lam, *layers)
    near: dict[sp.Symbol, sp.Expr] = {}
    for i, W in enumerate(layers):
        values = sp.Matrix([[b, eta * p[i]], [eta * q[i], eta * R[i]]])
        near |= {W[j, k]: values[j, k] for j in range(W.rows) for k in range(2)}
    first = [
        (-gradient(loss, W)).xreplace(near).applyfunc(lambda e: sp.diff(e, eta).subs(eta, 0)) for W in layers
    ]
    rate = decay_rate(f.remainder, lam)
    yield first[0][0, 1] + f.into_mode(s_v, b, depth, lam) * p[0]
    for i in range(depth - 1):
        out, into = first[i][1, 0], first[i + 1][0, 1]
        yield from (first[i][1, 1] - rate * R[i], out + into, out - into - 2 * rate * (q[i] - p[i + 1]))


def _convex(f: Formulas) -> words.Words:
    """The loss exp(c . f), as in `_convex_by_entries`: E l = exp(base + q), q a trace, so grad E l = E l grad q."""
    lam, expected = sp.symbols("lambda E_l")
    W, A = words.letter("W_v", "m", "v"), words.letter("A", "K", "m")
    c, second_v = words.letter("c", "K", "1"), words.symmetric("Sigma_v", "v")
    seen = c.T @ A @ W
    exponent = sp.Rational(1, 2) * words.tr(seen @ second_v @ seen.T)
    force = -expected * words.gradient(exponent, W) - words.gradient(words.penalty(lam, W), W)
    return force - f.velocity(W, A, expected * c @ c.T, second_v, lam)


def _convex_by_entries(f: Formulas, m: int, n: int, K: int) -> sp.Matrix:
    """For l = exp(c.f) the expectation over x_v is explicit, and the law linear in l. base: what the rest of x
    contributes to c.f. The Hessian is c c^T l."""
    lam = sp.Symbol("lambda")
    W_v, A, c, second_v = matrix("W", m, n), matrix("A", K, m), matrix("c", K, 1), symmetric("S", n)
    seen = (A * W_v).T * c
    expected = sp.exp(sp.Symbol("base") + (seen.T * second_v * seen)[0] / 2)
    loss = expected + penalty(lam, W_v, A)
    return along(descent(loss, W_v), W_v) - f.velocity(W_v, A, c * c.T * expected, second_v, lam)


def _contraction(f: Formulas) -> words.Words:
    """Along an eigenvector, lambda = 0: T' = -s A^T H A T. T^T T falls by a square for H = B^T B, convex loss."""
    s = sp.Symbol("s")
    A, B, T = words.letter("A", "K", "m"), words.letter("B", "q", "K"), words.letter("T", "m", "m")
    moved, root = f.velocity(T, A, B.T @ B, s * words.identity("m"), 0), B @ A @ T
    return words.rate(T.T @ T, {T: moved}) + 2 * s * root.T @ root


def _determinant(f: Formulas) -> words.Words:
    """Jacobi: d ln det T/dt = tr(T^{-1} T'), against the formula at int tr(A^T Hbar A) growing by tr(A^T Hbar A)."""
    s, integral = sp.symbols("s integral")
    A, H = words.letter("A", "K", "m"), words.symmetric("H", "K")
    T, inverse = words.letter("T", "m", "m"), words.letter("T^-1", "m", "m")
    moved = f.velocity(T, A, H, s * words.identity("m"), 0)
    invertible = rewriting.rules((inverse @ T, 1), (T @ inverse, 1))
    claimed = sp.diff(f.log_det(integral, s), integral) * words.tr(A.T @ H @ A)
    return rewriting.under(words.tr(inverse @ moved) - claimed, invertible)


def _determinant_by_entries(f: Formulas, m: int) -> sp.Expr:
    s, integral = sp.symbols("s integral")
    A, H, T = matrix("A", 2, m), symmetric("H", 2), matrix("T", m, m)
    moved = f.velocity(T, A, H, s * sp.eye(m), 0)
    det = T.det(method="berkowitz")
    grown = along(dict(zip(T, moved, strict=True)), det)
    return grown - sp.diff(f.log_det(integral, s), integral) * (A.T * H * A).trace() * det


def _log_det_start(f: Formulas) -> sp.Expr:
    return f.log_det(0, sp.Symbol("s"))


# What is false: another rate, another force, a sum for a difference.
REMAINDER = {"remainder": lambda lam, t: sp.exp(-2 * lam * t)}
SEPARATION = {"separation": lambda layer, lam, t: sp.exp(-2 * layer * lam * t)}
VELOCITY = {"velocity": lambda W, A, H, S, lam: -A.T @ A @ W @ S - lam * W}
ROTATED = {"velocity": lambda W, A, H, S, lam: A.T @ H @ A @ W @ S - lam * W}
LOG_DET = {"log_det": lambda integral, s: -2 * s * integral}

m, n, K, a, b, c = sp.symbols("m n K m_l m_l-1 m_l+1", integer=True, positive=True)
W, A, H = sp.MatrixSymbol("W_v", m, n), sp.MatrixSymbol("A", K, m), sp.MatrixSymbol("Hbar", K, K)
Sigma = sp.MatrixSymbol("Sigma_v", n, n)
layer, lam, t, s, mode, depth, integral = sp.symbols("l lambda t s b L I")

THEOREM = Theorem(
    id="T17",
    subject="depth and convex losses",
    assumptions=(
        "linear network",
        "every layer maps V_{l-1} into V_l and its complement into V_l's complement (exact law in depth)",
        "the same lambda on every layer",
        "x_v is Gaussian (convex losses)",
        "x_v is independent of the labels and of the rest of x (convex losses)",
        "the loss is convex (contraction)",
    ),
    formulas=Formulas(
        remainder=Formula(lambda lam, t: sp.exp(-lam * t), (lam, t)),
        separation=Formula(lambda layer, lam, t: sp.exp(-layer * lam * t), (layer, lam, t)),
        imbalance=Formula(
            lambda W, following: W @ W.T - following.T @ following,
            (sp.MatrixSymbol("W_l", a, b), sp.MatrixSymbol("W_next", c, a)),
        ),
        into_mode=Formula(
            lambda s, b, depth, lam: s * b ** (2 * depth - 2) + lam, (s, mode, depth, lam), "-d ln p_1/dt"
        ),
        velocity=Formula(
            lambda W, A, H, S, lam: -A.T @ H @ A @ W @ S - lam * W,
            (W, A, H, Sigma, lam),
            "dW_v/dt",
            r"\dot W_v",
        ),
        log_det=Formula(lambda integral, s: -s * integral, (integral, s), "ln det T_s", r"\ln \det T_s"),
    ),
    claims=(
        Claim(
            "aligned layers, squared loss: they stay aligned, R_l(t) is {remainder} times R_l(0), and the separation "
            "of subclasses in layer l is {separation} times its initial value",
            ("aligned", "separation", "aligned by entries"),
        ),
        Claim(
            "any loss, neighbouring layers W_l and W_next: {imbalance} falls as the square of {remainder}",
            ("balance",),
        ),
        Claim(
            "one converged mode b and small remainders, to first order: R_l falls as {remainder}, q_l - p_{{l+1}} as "
            "its square, q_l + p_{{l+1}} stays, {into_mode}",
            ("linearised",),
            "more than one direction a layer; that the flow reaches these rates is observed",
        ),
        Claim(
            "C^2 loss, x_v Gaussian and independent: {velocity}, Hbar = E[Hessian of the loss by f]",
            ("convex", "convex by entries"),
            "losses other than exponentials, by superposition",
        ),
        Claim(
            "hence T_s' = -s A^T Hbar A T_s with {log_det}, I = int tr(A^T Hbar A) dt, and ||T_s|| <= 1 for a "
            "convex loss, from {velocity}",
            ("contraction", "determinant", "determinant by entries", "determinant at 0"),
        ),
    ),
    steps=(
        Step(
            "aligned",
            "from the squared loss of B W C, all three aligned: the blocks of W's velocity",
            _aligned,
            REMAINDER,
        ),
        Step(
            "separation",
            "by induction over layers, from R_l's decay",
            _separation,
            SEPARATION | REMAINDER,
            "layer",
        ),
        Step(
            "aligned by entries",
            "a second time, from the loss of all layers, entry by entry",
            _aligned_by_entries,
            SEPARATION | REMAINDER,
            "(L, visible, invisible)",
            ((2, 1, 2), (3, 1, 1), (4, 1, 1)),
        ),
        Step(
            "balance",
            "from any loss of B W' W C, whatever stands after and before",
            _balance,
            REMAINDER | {"imbalance": lambda W, V: W @ W.T + V.T @ V},
        ),
        Step(
            "linearised",
            "from the squared loss of L layers, one invisible direction each: the flow's derivative by eta",
            _linearised,
            REMAINDER | {"into_mode": lambda s, b, depth, lam: s * b**depth + lam + 1},
            "L",
            (2, 3, 4),
        ),
        Step("convex", "from E exp(c . f), explicit for a Gaussian x_v: W_v's velocity", _convex, VELOCITY),
        Step(
            "convex by entries",
            "a second time, entry by entry",
            _convex_by_entries,
            VELOCITY,
            "(m, n, K)",
            ((1, 2, 1), (2, 1, 2), (2, 2, 2)),
        ),
        Step(
            "contraction", "from T's flow with Hbar = B^T B: T^T T falls by a square", _contraction, ROTATED
        ),
        Step("determinant", "from T's flow: d ln det T/dt (Jacobi)", _determinant, VELOCITY | LOG_DET),
        Step(
            "determinant by entries",
            "a second time, from the determinant itself",
            _determinant_by_entries,
            VELOCITY | LOG_DET,
            "m",
            (1, 2),
        ),
        Step(
            "determinant at 0",
            "T = I at the start",
            _log_det_start,
            {"log_det": lambda integral, s: 1 - s * integral},
        ),
    ),
)

prove = THEOREM.prove
