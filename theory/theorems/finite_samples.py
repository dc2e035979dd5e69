r"""T12 Finite samples: what a linear network keeps of its n training inputs, exactly, and what weight decay adds.

Inputs X (d, n), targets Y (K, n), H = W X, F = A W, Gram matrix G = X^T X, gradient flow, one lambda for both layers.

(a) Start from A(0) = 0, W(0)^T W(0) = eps^2 I (m >= d). Call remainder the part of H outside the row space of A,
    H_r = (I - P_A) H. At every t > 0, for any data and any differentiable loss,

        H_r^T H_r = eps^2 e^{-2 lambda t} X^T (I - P_F) X,

    with P_F the projector onto the row space of F(t): G deflated by at most K directions, and shrunk.
(b) Let G commute with the projector onto the row space of Y (the label projector), and let the loss be one whose
    residuals dL/df (K, n) have their rows in that space whenever f has: the squared loss, logistic for targets +-1,
    softmax for one-hot ones. Then F's rows lie in range(X Y^T); while rank F = rank X Y^T (softmax: one less, its
    residuals sum to 0) they span it, and the remainder's Gram is known before training.
(c) Squared loss, scalar targets y, 0 < lambda < ||X y||/n: the remainder dies, and at the end the fit is a ridge
    regression whose penalty is its own,

        yhat = (G/n) (G/n + kappa)^{-1} y,   kappa = lambda/|b|,   |b| = ||A||^2 = ||F||,

    so that kappa ||theta_kappa|| = lambda with theta_kappa = X (G/n + kappa)^{-1} y / n: the left side rises from 0 to
    ||X y||/n, hence one root, from G and y alone. h = yhat r / sqrt|b| for a unit vector r; within-class standard
    deviation std(yhat | class)/sqrt|b|: the visible scatter, which dominates at the end of training.

Proof of (a): d(W W^T - A^T A)/dt = -2 lambda (W W^T - A^T A) (T2), and the columns of W and A^T stay in range W(0), in
which W W^T = A^T A + c^2 I, c = eps e^{-lambda t}: W is invertible there. W_r = (I - P_A) W has
W_r W_r^T = c^2 (I - P_A), so W_r^T W_r is c^2 times a projector of rank d - rank F; and W_r F^T = 0, so that it is
I - P_F. What holds for a general start is T14.

Corrected: (b) had been stated for eps -> 0, any start and the squared loss, and for generic G as an approximation. What
it needs is the start of (a), at any eps; a Gaussian start of finite width is off by an amount that does not fall with
eps. For generic G the deflated directions turn as training goes on, away from X Y^T (20 % off in the trial, 63 % in
paper_figs/finite_samples.py); with P_F(t) in their place (a) is exact. tests/theory/theorems/test_finite_samples.py
keeps the counterexamples.

Source: this project, T12. (c) is group-lasso stationarity, here read as a self-consistent ridge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

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
    id="T12",
    subject="finite samples",
    statement="the remainder's Gram is eps^2 e^{-2 lambda t} times G deflated by F's rows; the fit, a self-made ridge",
    assumptions=(
        "linear network",
        "start A = 0, W^T W = eps^2 I, so m >= d (the remainder)",
        "the same lambda on both layers",
        "G commutes with the label projector (deflation known in advance)",
        "residuals stay in the row space of Y, as with the squared loss (the same)",
        "squared loss, scalar targets (the ridge)",
        "0 < lambda < ||X y||/n (the ridge)",
    ),
    sizes="(a) (K, d) = (1,2), (1,3), (2,3); (b) (rank, rest, m, K) = (1,1,2,1), (1,2,3,1), (2,1,3,2); (c) d = 1, 2, 3",
    latex=(
        r"H_r^\top H_r = \varepsilon^2 e^{-2 \lambda t}\, X^\top (I - P_F) X",
        r"\hat y = \tfrac{G}{n} \bigl(\tfrac{G}{n} + \kappa\bigr)^{-1} y, \quad \kappa = \lambda/|b|",
        r"\kappa^2\, \tfrac{1}{n}\, y^\top \bigl(\tfrac{G}{n} + \kappa\bigr)^{-1} \tfrac{G}{n}"
        r" \bigl(\tfrac{G}{n} + \kappa\bigr)^{-1} y = \lambda^2",
        r"\operatorname{std}(h \mid \text{class}) = \operatorname{std}(\hat y \mid \text{class}) / \sqrt{|b|}",
    ),
)

REMAINDER_SIZES = ((1, 2), (1, 3), (2, 3))
COMMUTING_SIZES = ((1, 1, 2, 1), (1, 2, 3, 1), (2, 1, 3, 2))


def predict_remainder(X: Array, F: Array, eps: float, weight_decay: float, t: float) -> Array:
    """H_r^T H_r (n, n) at time t, from X (d, n) and F(t) = A W (K, d), not 0."""
    rows = _row_basis(F)
    deflated = X - rows.T @ (rows @ X)
    return eps**2 * np.exp(-2 * weight_decay * t) * deflated.T @ deflated


def predict_commuting_remainder(X: Array, Y: Array, eps: float, weight_decay: float, t: float) -> Array:
    """H_r^T H_r (n, n) at time t, from X (d, n) and Y (K, n) alone; needs G to commute with the label projector."""
    return predict_remainder(X, Y @ X.T, eps, weight_decay, t)


def _row_basis(matrix: Array) -> Array:
    """Orthonormal rows that span the row space."""
    _, values, rows = np.linalg.svd(matrix, full_matrices=False)
    return rows[values > 1e-10 * values.max()]


def predict_penalty(gram: ArrayLike, y: ArrayLike, weight_decay: float) -> float:
    """kappa of the self-made ridge, from G (n, n), y (n,) and 0 < lambda < ||X y||/n.

    Raises:
        ValueError: lambda outside that range; at and above its end the network dies.
    """
    values, power = _spectrum(gram, y)
    critical = float(np.sqrt(values @ power))
    if not 0 < weight_decay < critical:
        raise ValueError(f"weight_decay must lie in (0, ||X y||/n = {critical}), got {weight_decay}")

    def excess(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        return float(
            np.log(np.sum(power * values * (kappa / (values + kappa)) ** 2)) / 2 - np.log(weight_decay)
        )

    # kappa ||theta_kappa|| lies between critical kappa/(s_max + kappa) and kappa ||theta_0||, s_max = ||G/n||.
    high = np.log(2 * values.max() * weight_decay / (critical - weight_decay))
    low = np.log(weight_decay / np.sqrt(np.sum(power[values > 0] / values[values > 0]))) - 1
    return float(np.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-15)))


def predict_fit(gram: ArrayLike, y: ArrayLike, weight_decay: float) -> tuple[Array, float]:
    """yhat (n,) and |b| at the end of training, from G (n, n), y (n,) and lambda."""
    G, target = np.asarray(gram, dtype=np.float64), np.asarray(y, dtype=np.float64)
    kappa = predict_penalty(G, target, weight_decay)
    n = target.size
    fit = (G / n) @ np.linalg.solve(G / n + kappa * np.eye(n), target)
    return fit, weight_decay / kappa


def predict_scatter(gram: ArrayLike, y: ArrayLike, labels: ArrayLike, weight_decay: float) -> float:
    """Within-class standard deviation of h at the end, std(yhat | class)/sqrt|b|, pooled over `labels` (n,)."""
    fit, b = predict_fit(gram, y, weight_decay)
    classes = np.asarray(labels)
    residual = fit.copy()
    for k in np.unique(classes):
        residual[classes == k] -= fit[classes == k].mean()
    return float(np.sqrt(np.mean(residual**2) / b))


def predict_rate(X: ArrayLike, y: ArrayLike, weight_decay: float) -> float:
    """Slowest rate at which F = theta^T approaches the end of (c), from X (d, n), y (n,) and lambda.

    Near the end F moves by dF/dt = -b (I + e e^T) grad, e = theta/||theta||, for the convex loss of F alone, whose
    Hessian is X X^T/n + kappa (I - e e^T); imbalance of the layers and other neurons die at lambda or faster.
    """
    inputs = checks.real("X", X, ("d", "n"))
    target = checks.real("y", y, (inputs.shape[1],))
    kappa = predict_penalty(inputs.T @ inputs, target, weight_decay)
    second, identity = inputs @ inputs.T / target.size, np.eye(len(inputs))
    theta = np.linalg.solve(second + kappa * identity, inputs @ target)
    along = np.outer(theta, theta) / (theta @ theta)
    root = identity + (np.sqrt(2) - 1) * along
    hessian = second + kappa * (identity - along)
    return float(min(weight_decay, weight_decay / kappa * np.linalg.eigvalsh(root @ hessian @ root)[0]))


def _spectrum(gram: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Eigenvalues s_i of G/n (n,) and (q_i . y)^2 / n (n,): ||theta_kappa||^2 = sum power s/(s + kappa)^2."""
    target = checks.real("y", y, ("n",))
    G = checks.real("gram", gram, (target.size, target.size))
    values, vectors = np.linalg.eigh(G / target.size)
    values = np.where(values > 1e-14 * np.abs(values).max(), values, 0.0)
    return values, (vectors.T @ target) ** 2 / target.size


Claim = Callable[[sp.Matrix, sp.Matrix], sp.Matrix]


def residuals(
    invariant: Callable[..., words.Words] | None = None,
    decay: Callable[[sp.Expr], sp.Expr] | None = None,
    kappa: Callable[[sp.Expr, sp.Expr], sp.Expr] | None = None,
) -> dict[str, words.Words]:
    """(a), (b) and the rest point of (c) at every size (words.py): what is left of each.

    invariant: the claimed (W, A) -> what decays at 2 lambda and is c^2 I for the start of (a).
    decay: the claimed lambda -> rate of A W_v and of W_u^T W_v, beside their coupling.
    kappa: the claimed (lambda, |A|^2) -> penalty of the ridge. Defaults: the theorem's own.
    """
    invariant = invariant or (lambda W, A: W @ W.T - A.T @ A)
    decay = decay or (lambda lam: 2 * lam)
    kappa = kappa or (lambda lam, norm2: lam / norm2)
    return {
        **_remainder_residuals(invariant),
        "(b) range(X Y^T) is invariant": _range_residual(),
        **_commuting_residuals("squared", decay),
        **_commuting_residuals("any", decay),
        **_ridge_residuals(kappa),
    }


def _remainder_residuals(invariant: Callable[..., words.Words]) -> dict[str, words.Words]:
    """I - A^+ A takes W W^T = A^T A + c^2 I to c^2 (I - A^+ A) and to nothing that F sees."""
    lam, c = sp.symbols("lambda c")
    W, A, F_slope = words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("R", "K", "d")
    inverse, penrose = rewriting.pseudo_inverse("A^+", A)
    velocity = words.flow(words.any_loss(A @ W, F_slope) + words.penalty(lam, W, A), W, A)
    second = c**2 * words.identity("m") - invariant(words.zero("m", "d"), A)
    outside = words.identity("m") - inverse @ A
    left = {
        "(a) invariant": words.rate(invariant(W, A), velocity) + 2 * lam * invariant(W, A),
        "(a) remainder": outside @ second @ outside.T - c**2 * outside,
        "(a) remainder and F": outside @ second @ A.T,
    }
    return {name: rewriting.under(residual, rewriting.rules(*penrose)) for name, residual in left.items()}


def _range_residual() -> words.Words:
    """E an orthonormal basis of Y's rows. G commutes with E E^T, so G E = G E E^T E = E (E^T G E) = E B: then
    X X^T (X E) = (X E) B."""
    X, E, B = words.letter("X", "d", "n"), words.letter("E", "n", "q"), words.symmetric("B", "q")
    commuting = rewriting.rules((E.T @ E, 1), (X.T @ X @ E, E @ B))
    return rewriting.under(X @ X.T @ X @ E - X @ E @ B, commuting)


def _commuting_residuals(loss: str, decay: Callable[[sp.Expr], sp.Expr]) -> dict[str, words.Words]:
    """W = u E^T + v G^T, E a basis of range(X Y^T): A v and u^T v fall at 2 lambda and are otherwise moved by
    themselves alone, so that they stay 0. What moves them is `slope` on E and `slope_v` on G."""
    lam = sp.Symbol("lambda")
    E, G, blocks = rewriting.split("d", "u", "v")
    u, v, A = words.letter("W_u", "m", "u"), words.letter("W_v", "m", "v"), words.letter("A", "K", "m")
    P, Q = words.symmetric("P", "u"), words.symmetric("Q", "v")
    M_u, R = words.letter("M_u", "K", "u"), words.letter("R", "K", "u")
    second, cross, S = words.symmetric("Sigma", "d"), words.letter("M", "K", "d"), words.letter("S", "K", "d")
    W = u @ E.T + v @ G.T
    data = words.squared_loss(A @ W, second, cross) if loss == "squared" else words.any_loss(A @ W, S)
    slope, slope_v = (A @ u @ P - M_u, A @ v @ Q) if loss == "squared" else (R, words.zero("K", "v"))
    velocity = words.flow(data + words.penalty(lam, u, v, A), u, v, A)
    output, overlap = A @ v, u.T @ v
    moved = {
        "A W_v": (output, slope @ overlap + slope_v @ v.T @ v + A @ A.T @ slope_v),
        "overlap": (overlap, slope.T @ output + u.T @ A.T @ slope_v),
    }
    given = rewriting.rules(*blocks, (second, E @ P @ E.T + G @ Q @ G.T), (cross, M_u @ E.T), (S, R @ E.T))
    return {
        f"(b) {name}, {loss} loss": rewriting.under(
            words.rate(part, velocity) + decay(lam) * part + back, given
        )
        for name, (part, back) in moved.items()
    }


def _ridge_residuals(kappa: Callable[[sp.Expr, sp.Expr], sp.Expr]) -> dict[str, words.Words]:
    """W = r w^T, A = alpha r^T with unit r, and F = alpha w^T a ridge, F (Sigma + kappa) = M: W is at rest, and A up
    to its difference in norm from W."""
    lam, alpha = sp.symbols("lambda alpha")
    W, A = words.letter("W", "m", "d"), words.letter("A", "1", "m")
    second, cross = words.symmetric("Sigma", "d"), words.letter("M", "1", "d")
    r, w = words.letter("r", "m", "1"), words.letter("w", "d", "1")
    loss = words.squared_loss(A @ W, second, cross) + words.penalty(lam, W, A)
    F = alpha * w.T
    ridge = F @ second + kappa(lam, alpha**2) * F
    here = rewriting.rules((r.T @ r, 1), (W, r @ w.T), (A, alpha * r.T), (cross, ridge))
    unbalance = alpha**2 * words.identity("1") - w.T @ w
    return {
        "(c) W at rest": rewriting.under(words.gradient(loss, W), here),
        "(c) A at rest": rewriting.under(words.gradient(loss, A) - lam / alpha * unbalance @ r.T, here),
    }


def prove(invariant: Claim | None = None) -> None:
    """(a) from what any loss's flow keeps, (b) from the squared loss's flow, (c) at its rest point.

    invariant: the claimed (W, A) -> matrix that only decays; W W^T - A^T A by default.
    """
    invariant = invariant or (lambda W, A: W * W.T - A.T * A)
    for K, d in REMAINDER_SIZES:
        _prove_invariant(invariant, K, d)
        _prove_remainder(invariant, K, d)
    for size in COMMUTING_SIZES:
        _prove_commuting(*size)
    for d in (1, 2, 3):
        _prove_ridge(d)


def _prove_invariant(invariant: Claim, K: int, d: int) -> None:
    """Any differentiable loss acts through R = dL/dF; in range W(0) the width is d."""
    lam, dt = sp.symbols("lambda dt")
    W, A, R = matrix("W", d, d), matrix("A", K, d), matrix("R", K, d)
    F = A * W
    loss = sum(R[k, a] * F[k, a] for k in range(K) for a in range(d)) + penalty(lam, W, A)
    moved = invariant(W - dt * gradient(loss, W), A - dt * gradient(loss, A))
    derivative = moved.applyfunc(lambda entry: sp.diff(entry, dt).subs(dt, 0))
    require_zero(f"T12(a) invariant at {K, d}", derivative + 2 * lam * invariant(W, A))


def _prove_remainder(invariant: Claim, K: int, d: int) -> None:
    """W_r W_r^T = c^2 (I - P_A) and W_r F^T = 0, from W W^T = A^T A + c^2 I; A is lower triangular, by a rotation."""
    c = sp.Symbol("c")
    A = sp.Matrix(K, d, lambda i, j: sp.Symbol(f"A_{i}{j}") if j <= i else 0)
    second = c**2 * sp.eye(d) - invariant(sp.zeros(d), A)
    outside = sp.eye(d) - A.T * (A * A.T).inv() * A
    at = f"T12(a) remainder at {K, d}"
    require_zero(at, (outside * second * outside.T - c**2 * outside).applyfunc(sp.cancel))
    require_zero(f"{at}: F", (outside * second * A.T).applyfunc(sp.cancel))


def _prove_commuting(seen: int, unseen: int, m: int, K: int) -> None:
    """G Y^T = Y^T B makes range(X Y^T) invariant under Sigma = X X^T/n: Sigma X Y^T = X Y^T B/n. In a basis that lists
    it first, A W_v and W_u^T W_v stay 0 if they start at 0: their derivatives are combinations of themselves, for the
    squared loss and for any dL/dF = [R, 0]. So F = [A W_u, 0]."""
    lam = sp.Symbol("lambda")
    W, A = matrix("W", m, seen + unseen), matrix("A", K, m)
    S_u, S_v = symmetric("P", seen), symmetric("Q", unseen)
    M, R = matrix("M", K, seen), matrix("R", K, seen)
    u, v = W[:, :seen], W[:, seen:]
    output, overlap = A * v, u.T * v
    squared = squared_loss(A * W, sp.diag(S_u, S_v), sp.Matrix.hstack(M, sp.zeros(K, unseen)))
    linear = sum(r * f for r, f in zip(R, A * u, strict=True))
    for name, data, slope, slope_v in (
        ("squared", squared, A * u * S_u - M, output * S_v),
        ("any", linear, R, sp.zeros(K, unseen)),
    ):
        loss = data + penalty(lam, W, A)
        dW, dA = -gradient(loss, W), -gradient(loss, A)
        at = f"T12(b), {name} loss, at {seen, unseen, m, K}"
        d_output = dA * v + A * dW[:, seen:]
        back = slope * overlap + slope_v * v.T * v + A * A.T * slope_v
        require_zero(f"{at}: A W_v", d_output + 2 * lam * output + back)
        d_overlap = dW[:, :seen].T * v + u.T * dW[:, seen:]
        back = slope.T * output + u.T * A.T * slope_v
        require_zero(f"{at}: overlap", d_overlap + 2 * lam * overlap + back)


def _prove_ridge(d: int) -> None:
    """In the eigenbasis of Sigma: W = r w^T, A = alpha r^T with w_i = alpha M_i/(alpha^2 s_i + lambda) is at rest if
    ||w|| = alpha; F = alpha w is then ridge with penalty lambda/alpha^2, and ||F|| = alpha^2 = b."""
    lam, alpha = sp.symbols("lambda alpha")
    s = sp.symbols(f"s1:{d + 1}")
    w = sp.symbols(f"w1:{d + 1}")
    angle = sp.Symbol("angle")
    r = sp.Matrix([sp.cos(angle), sp.sin(angle)])
    M = sp.Matrix([[w[i] * (alpha**2 * s[i] + lam) / alpha for i in range(d)]])
    W, A = matrix("W", 2, d), matrix("A", 1, 2)
    loss = squared_loss(A * W, sp.diag(*s), M) + penalty(lam, W, A)
    point_W, point_A = r * sp.Matrix([w]), alpha * r.T
    here = dict(zip([*W, *A], [*point_W, *point_A], strict=True))
    at = f"T12(c) rest at d = {d}"
    require_zero(f"{at}: W", gradient(loss, W).subs(here))
    unbalance = alpha**2 - sum(x**2 for x in w)
    require_zero(f"{at}: A", gradient(loss, A).subs(here) - lam / alpha * unbalance * r.T)
    kappa = lam / alpha**2
    ridge = sp.Matrix([[M[i] / (s[i] + kappa) for i in range(d)]])
    require_zero(f"{at}: ridge", alpha * sp.Matrix([w]) - ridge)
