"""T4 Collapse of scale, not of information: the invisible part shrinks, and still tells the subclasses apart.

Setting of T3: linear network, squared loss, weight decay lambda; x_v the input's part in the invisible subspace V,
h_v = W_v x_v its image, Sigma_v = E[x_v x_v^T].

(a) E||h_v||^2 = tr(W_v Sigma_v W_v^T) <= e^{-2 lambda t} times its initial value; so is tr(W_v C W_v^T) for every
    covariance C of x_v (of one class, say) that commutes with Sigma_v. With Sigma_B the between-class covariance of
    the coarse labels, tr Cov_v / tr Sigma_B decays at 2 lambda once Sigma_B has converged to a non-zero limit, that
    is for lambda < sigma_1(M); for lambda > sigma_1(M) both go to zero and the ratio decays at 2 sigma_1(M).
(c) With input noise the total NC1 = tr Sigma_W / tr Sigma_B has a floor: the noise in the visible directions.
(d) W_v(t) injective (m >= dim V): every Mahalanobis distance of h_v is that of x_v, and so is the Bayes accuracy.
    If Sigma_v = s I, then h_v(t) is an invertible image of h_v(0) and these never change, injective or not; else
    W_v may lose injectivity at isolated times.
(e) Delta_h <= Delta_x for every linear map h = W x.

Corrected: (a) had been stated for Cov_v without the condition that it commutes with Sigma_v, and fails without it:
with C = c c^T, d/dt tr(W_v C W_v^T) = -2 (A W_v c)(A W_v Sigma_v c) for lambda = 0, K = 1, which is positive for
Sigma_v = diag(1, 1/10), c = (1, 2), A W_v = (-1, 1); tests/theory/theorems/test_collapse_of_scale.py keeps the case.

(b), a heuristic, no theorem: the pseudo-inverse form tr(Sigma_W pinv(Sigma_B)) / K hardly sees the remainder; its
part decays at about 6 lambda (a trial gave 5.95).

Source: this project, T4 (in the setting of Yang, Steinhardt & Hu, ICML 2023). (e) is the data-processing inequality.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import NDArray

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
    id="T4",
    subject="collapse of scale, not of information",
    statement="E||h_v||^2 falls at 2 lambda or faster while every Mahalanobis distance of h_v is that of the input",
    assumptions=(
        "linear network, squared loss, V invisible (T3)",
        "the covariance of x_v commutes with Sigma_v (decay of its trace)",
        "lambda < sigma_1(M) (the ratio's rate 2 lambda)",
        "W_v injective, so m >= dim V (information kept)",
        "Sigma_v = s I (information constant at all t)",
    ),
    sizes="(dim V, m, K) = (1,2,1), (2,2,1), (2,3,2); left inverse (m, n) = (2,1), (2,2), (3,2), (4,2); "
    "n = 2, 3, 4 in (e)",
    latex=(
        r"\frac{d}{dt}\,\mathbb{E}\|h_v\|^2 = -2\|A W_v \Sigma_v\|_F^2 - 2\lambda\,\mathbb{E}\|h_v\|^2",
        r"\Delta_{h_v}^2 = \delta^\top W_v^\top (W_v C W_v^\top)^+ W_v \delta = \delta^\top C^{-1} \delta",
    ),
)

ENERGY_SIZES = ((1, 2, 1), (2, 2, 1), (2, 3, 2))
INJECTIVE_SIZES = ((2, 1), (2, 2), (3, 2), (4, 2))


def predict_bound(initial: float, weight_decay: float, t: float) -> float:
    """The largest value that E||h_v||^2 can have at time t, from its initial value."""
    return initial * float(np.exp(-2 * weight_decay * t))


def predict_ratio_rate(weight_decay: float, top_singular_value: float) -> float:
    """Late decay rate of tr Cov_v / tr Sigma_B, from lambda and sigma_1(M).

    Holds for lambda below or above sigma_1(M), not at it, where Sigma_B vanishes only as a power of t.
    """
    checks.at_least("weight_decay", weight_decay, 0)
    if weight_decay == top_singular_value:
        raise ValueError(
            f"weight_decay must differ from sigma_1(M) = {top_singular_value}: no exponential rate there"
        )
    return 2 * min(weight_decay, top_singular_value)


def predict_mahalanobis(delta: Array, covariance: Array) -> float:
    """Delta of h_v at every time: that of x_v, from the mean difference (n,) and the covariance (n, n) in V."""
    return float(np.sqrt(delta @ np.linalg.solve(covariance, delta)))


def residuals(
    energy_rate: Callable[..., words.Words] | None = None,
    left: Callable[..., words.Words] | None = None,
    share: sp.Expr | None = None,
) -> dict[str, words.Words]:
    """(a), (d) and (e) at every size (words.py): what is left of each.

    energy_rate: the claimed (W_v, A, Sigma_v, lambda) -> d/dt tr(W_v Sigma_v W_v^T).
    left: the claimed (W_v, (W_v^T W_v)^{-1}) -> left inverse of W_v.
    share: how much of ||b delta^T - delta b^T||^2 a functional b loses. Defaults: the theorem's own.
    """
    energy_rate = energy_rate or energy_rate_in_words
    left = left or (lambda W, gram_inverse: gram_inverse @ W.T)
    return (
        _energy_residuals(energy_rate)
        | _injective_residuals(left)
        | {"(e) squares": _lagrange_residual(share or sp.Rational(1, 2))}
    )


def energy_rate_in_words(
    W_v: words.Words, A: words.Words, second_v: words.Words, lam: sp.Expr
) -> words.Words:
    """-2 lambda E||h_v||^2 and a square with a minus sign."""
    forced = A @ W_v @ second_v
    return -2 * words.tr(forced @ forced.T) - 2 * lam * words.tr(W_v @ second_v @ W_v.T)


def _energy_residuals(energy_rate: Callable[..., words.Words]) -> dict[str, words.Words]:
    """T3's setting, E a basis of V. A covariance that commutes with Sigma_v = r^2 is q^2 with q r = r q, r and q
    the roots: what is beyond -2 lambda is then again a square, that of A W_v r q."""
    lam = sp.Symbol("lambda")
    W, A, E = words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("E", "d", "v")
    second, cross = words.symmetric("Sigma", "d"), words.letter("M", "K", "d")
    r, q = words.symmetric("r", "v"), words.symmetric("q", "v")
    loss = words.squared_loss(A @ W, second, cross) + words.penalty(lam, W, A)
    given = rewriting.rules((E.T @ E, 1), (second @ E, E @ r @ r), (cross @ E, 0), (r @ q, q @ r))
    W_v, root = W @ E, A @ W @ E @ r @ q
    moving: dict[words.Words, words.Words | int] = {**words.flow(loss, W), E: 0, r: 0, q: 0}
    energy = words.rate(words.tr(W_v @ r @ r @ W_v.T), moving)
    commuting = words.tr(W_v @ q @ q @ W_v.T)
    fall = words.rate(commuting, moving) + 2 * words.tr(root @ root.T) + 2 * lam * commuting
    return {
        "(a) energy": rewriting.under(energy - energy_rate(W_v, A, r @ r, lam), given),
        "(a) commuting covariance": rewriting.under(fall, given),
    }


def _injective_residuals(left: Callable[..., words.Words]) -> dict[str, words.Words]:
    """Penrose's conditions for X = L^T C^{-1} L as the pseudo-inverse of W C W^T, and W^T X W = C^{-1}."""
    W, gram_inverse = words.letter("W", "m", "v"), words.symmetric("(W^T W)^-1", "v")
    C, C_inverse = words.symmetric("C", "v"), words.symmetric("C^-1", "v")
    given = rewriting.rules(
        (W.T @ W @ gram_inverse, 1), (gram_inverse @ W.T @ W, 1), (C @ C_inverse, 1), (C_inverse @ C, 1)
    )
    L = left(W, gram_inverse)
    K, X = W @ C @ W.T, L.T @ C_inverse @ L
    conditions = {
        "(d) K X K = K": K @ X @ K - K,
        "(d) X K X = X": X @ K @ X - X,
        "(d) K X symmetric": K @ X - (K @ X).T,
        "(d) X K symmetric": X @ K - (X @ K).T,
        "(d) distance": W.T @ X @ W - C_inverse,
    }
    return {name: rewriting.under(residual, given) for name, residual in conditions.items()}


def _lagrange_residual(share: sp.Expr) -> words.Words:
    """||b||^2 ||delta||^2 - (b . delta)^2 = ||b delta^T - delta b^T||^2 / 2, a sum of squares (Lagrange)."""
    b, delta = words.letter("b", "d", "1"), words.letter("delta", "d", "1")
    outer = b @ delta.T
    gap = words.tr(outer @ outer.T) - words.tr(outer @ outer)
    return gap - share * words.tr((outer - outer.T) @ (outer - outer.T).T)


def prove(energy_rate: Callable[..., sp.Expr] | None = None) -> None:
    """(a) from the loss, its two regimes, (d) by Penrose's conditions and (e) as a sum of squares.

    energy_rate: the claimed (W_v, A, Sigma_v, lambda) -> d/dt E||h_v||^2; the theorem's own by default.
    """
    energy_rate = energy_rate or _energy_rate
    for n, m, K in ENERGY_SIZES:
        _prove_energy(energy_rate, n, m, K)
    _prove_regimes()
    for m, n in INJECTIVE_SIZES:
        _prove_injective(m, n)
    _prove_data_processing()


def _energy_rate(W_v: sp.Matrix, A: sp.Matrix, second_v: sp.Matrix, lam: sp.Expr) -> sp.Expr:
    forced = A * W_v * second_v
    return -2 * sum(e**2 for e in forced) - 2 * lam * (W_v * second_v * W_v.T).trace()


def _prove_energy(energy_rate: Callable[..., sp.Expr], n: int, m: int, K: int) -> None:
    """The flow of the loss, then the chain rule; and for C, Sigma_v diagonal in one basis, a sum of squares."""
    lam = sp.Symbol("lambda")
    W, A, second = matrix("W", m, n), matrix("A", K, m), symmetric("S", n)
    loss = squared_loss(A * W, second, sp.zeros(K, n)) + penalty(lam, W, A)
    velocity = -gradient(loss, W)
    rate = 2 * (velocity * second * W.T).trace()
    require_zero(f"T4(a) energy at {n, m, K}", rate - energy_rate(W, A, second, lam))

    s, c = sp.symbols(f"s:{n}"), sp.symbols(f"c:{n}")
    eigenbasis = {second[i, j]: s[i] if i == j else 0 for i in range(n) for j in range(n)}
    rate_C = 2 * (velocity.subs(eigenbasis) * sp.diag(*c) * W.T).trace()
    squares = sum(s[i] * c[i] * e**2 for i in range(n) for e in A * W[:, i])
    trace_C = (W * sp.diag(*c) * W.T).trace()
    require_zero(f"T4(a) commuting covariance at {n, m, K}", rate_C + 2 * squares + 2 * lam * trace_C)


def _prove_regimes() -> None:
    """One visible mode (w, a): a non-zero rest point below sigma, decay at lambda - sigma around zero above it."""
    lam, sigma, s = sp.symbols("lambda sigma s")
    w, a = sp.symbols("w a")
    F, second, cross = sp.Matrix([[a * w]]), sp.Matrix([[s]]), sp.Matrix([[sigma]])
    loss = squared_loss(F, second, cross) + penalty(lam, sp.Matrix([w]), sp.Matrix([a]))
    state = sp.Matrix([w, a])
    velocity = -gradient(loss, state)
    rest = sp.sqrt((sigma - lam) / s)
    require_zero("T4(a) rest point below sigma_1", velocity.subs({w: rest, a: rest}))
    linear = velocity.jacobian(state).subs({w: 0, a: 0})
    slowest = sp.Matrix([1, 1])
    require_zero("T4(a) decay above sigma_1", linear * slowest - (sigma - lam) * slowest)


def _prove_injective(m: int, n: int) -> None:
    """The left inverse L = (W^T W)^{-1} W^T exists, L W = I, and W L is symmetric. Hence, for invertible C,
    X = L^T C^{-1} L satisfies Penrose's four conditions for K = W C W^T: K X = W C (L W)^T C^{-1} L = W L = X K,
    symmetric, with W L K = K and X W L = X; so X = K^+, and W^T X W = C^{-1}."""
    W = matrix("W", m, n)
    left = (W.T * W).inv() * W.T
    require_zero(f"T4(d) L W = I at {m, n}", (left * W - sp.eye(n)).applyfunc(sp.cancel))
    projector = W * left
    require_zero(f"T4(d) W L symmetric at {m, n}", (projector - projector.T).applyfunc(sp.cancel))


def _prove_data_processing() -> None:
    """Delta_x^2 is the largest (b . delta)^2 / ||b||^2 over functionals b of whitened inputs (Lagrange's identity);
    Delta_h^2 is the largest over those that factor through W, a subset."""
    for n in (2, 3, 4):
        b, delta = matrix("b", n, 1), matrix("d", n, 1)
        pairs = [(i, j) for i in range(n) for j in range(i)]
        squares = sum((b[i] * delta[j] - b[j] * delta[i]) ** 2 for i, j in pairs)
        require_zero(f"T4(e) at n = {n}", b.dot(b) * delta.dot(delta) - b.dot(delta) ** 2 - squares)
