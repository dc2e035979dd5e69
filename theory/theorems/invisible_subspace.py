"""T3 Invisible-subspace law: what the labels do not see, training only shrinks.

Linear network f = A W x, squared loss, weight decay lambda, gradient flow. Let Sigma = E[x x^T], M = E[t x^T], and V
the largest Sigma-invariant subspace inside ker M (`invisible_subspace`). In a basis of V, with W_v the restriction of
W to V and Sigma_v that of Sigma,

    dW_v/dt = -A^T A W_v Sigma_v - lambda W_v:   no forcing from the labels.

Along an eigenvector v of Sigma_v with eigenvalue s,

    W v(t) = e^{-lambda t} T_s(t) W v(0),   dT_s/dt = -s A^T A T_s,   T_s(0) = I,
    ||T_s|| <= 1,   det T_s = exp(-s int ||A||_F^2 dt) > 0.

T_s depends on s: one T serves all of V only if Sigma_v = s I.

Source: this project, T3 (in the setting of Yang, Steinhardt & Hu, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import null_space

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
Residuals = dict[str, words.Words]

THEOREM = Theorem(
    id="T3",
    subject="invisible-subspace law",
    statement="on the label-invisible V: dW_v/dt = -A^T A W_v Sigma_v - lambda W_v, so W_v only shrinks",
    assumptions=(
        "linear network (phi = identity)",
        "squared loss",
        "V is Sigma-invariant",
        "the labels do not see V: M v = 0 for v in V",
    ),
    sizes="(dim V, visible, m, K) = (1,1,2,1), (2,1,2,1), (1,2,2,2), (2,2,3,2); m = 2, 3 for det T",
    latex=(
        r"\dot W_v = -A^\top A W_v \Sigma_v - \lambda W_v",
        r"W v(t) = e^{-\lambda t} T_s(t) W v(0), \quad \dot T_s = -s A^\top A T_s",
        r"\det T_s = \exp\Bigl(-s \int_0^t \|A\|_F^2\Bigr) > 0, \quad \|T_s\| \le 1",
    ),
)

SIZES = ((1, 1, 2, 1), (2, 1, 2, 1), (1, 2, 2, 2), (2, 2, 3, 2))


def invisible_subspace(second_moment: ArrayLike, cross_moment: ArrayLike) -> Array:
    """Orthonormal basis, shape (d, dim V), of V = the intersection over k of ker(M Sigma^k).

    Args:
        second_moment: Sigma = E[x x^T], (d, d).
        cross_moment: M = E[t x^T], (K, d).
    """
    cross = checks.real("cross_moment", cross_moment, ("K", "d"))
    dim = cross.shape[1]
    second = checks.real("second_moment", second_moment, (dim, dim))
    # Orthonormalise the Krylov rows M, M Sigma, ... as they grow: raw powers would be parallel to rounding.
    seen = np.zeros((0, dim))
    rows = cross
    while True:
        rows = rows - (rows @ seen.T) @ seen
        _, values, right = np.linalg.svd(rows, full_matrices=False)
        scale = float(np.linalg.norm(second if seen.size else cross, 2))
        new = right[values > 1e-10 * scale]
        if not len(new):
            return null_space(seen) if len(seen) else np.eye(dim)
        seen = np.linalg.qr(np.concatenate([seen, new]).T)[0].T
        rows = new @ second


def predict_velocity(W_v: Array, A: Array, second_v: Array, weight_decay: float) -> Array:
    """dW_v/dt, shape (m, n), from W_v (m, n), A (K, m) and Sigma_v (n, n)."""
    return -A.T @ (A @ W_v) @ second_v - weight_decay * W_v


def predict_log_det(squared_norm_integral: float, eigenvalue: float) -> float:
    """ln det T_s, from int ||A||_F^2 dt and s."""
    return -eigenvalue * squared_norm_integral


def predict_transport(T: Any, A: Any, eigenvalue: Any) -> Any:
    """dT_s/dt, shape (m, m), from T_s (m, m), A (K, m) and s."""
    return -eigenvalue * (A.T @ A @ T)


def residuals(
    law: Callable[..., Any] | None = None, transport: Callable[..., Any] | None = None
) -> Residuals:
    """The law and the three claims on T_s at every size (words.py): what is left of each.

    law: as in `prove`. transport: the claimed (T, A, s) -> dT/dt. Defaults: the theorem's own.
    """
    law, transport = law or predict_velocity, transport or predict_transport
    return {"velocity": _velocity_residual(law)} | _transport_residuals(law, transport)


def _velocity_residual(law: Callable[..., Any]) -> words.Words:
    """E is an orthonormal basis of V: Sigma E = E Sigma_v as V is invariant, M E = 0 as the labels do not see it."""
    lam = sp.Symbol("lambda")
    W, A = words.letter("W", "m", "d"), words.letter("A", "K", "m")
    second, cross = words.symmetric("Sigma", "d"), words.letter("M", "K", "d")
    E, second_v = words.letter("E", "d", "v"), words.symmetric("Sigma_v", "v")
    loss = words.squared_loss(A @ W, second, cross) + words.penalty(lam, W, A)
    invisible = rewriting.rules((E.T @ E, 1), (second @ E, E @ second_v), (cross @ E, 0))
    return rewriting.under(-words.gradient(loss, W) @ E - law(W @ E, A, second_v, lam), invisible)


def _transport_residuals(law: Callable[..., Any], transport: Callable[..., Any]) -> Residuals:
    """e^{-lambda t} T w solves the law along an eigenvector (divided by its scalar); T^T T falls; so does ln det T,
    whose rate is tr(T^{-1} T') (Jacobi)."""
    lam, s = sp.symbols("lambda s")
    A, T, w = words.letter("A", "K", "m"), words.letter("T", "m", "m"), words.letter("w", "m", "1")
    inverse = words.letter("T^-1", "m", "m")
    moved = transport(T, A, s)
    invertible = rewriting.rules((inverse @ T, 1), (T @ inverse, 1))
    log_det = words.tr(inverse @ moved) + s * words.tr(A @ A.T)
    return {
        "transport": moved @ w - lam * T @ w - law(T @ w, A, s * words.identity("1"), lam),
        "contraction": words.rate(T.T @ T, {T: moved}) + 2 * s * (A @ T).T @ (A @ T),
        "determinant": rewriting.under(log_det, invertible),
    }


def prove(law: Callable[..., sp.Matrix] | None = None) -> None:
    """Derive the law from the loss, then the three claims on T_s from it.

    law: the claimed velocity (W_v, A, Sigma_v, lambda) -> dW_v/dt; the theorem's own by default.
    """
    law = law or (lambda W_v, A, second_v, lam: -A.T * A * W_v * second_v - lam * W_v)
    for invisible, visible, m, K in SIZES:
        _prove_velocity(law, invisible, visible, m, K)
    for m in (2, 3):
        _prove_transport(law, m)


def _prove_velocity(law: Callable[..., sp.Matrix], invisible: int, visible: int, m: int, K: int) -> None:
    """In a basis that lists V first: Sigma is block diagonal (V is invariant) and M vanishes on V."""
    lam = sp.Symbol("lambda")
    W, A = matrix("W", m, invisible + visible), matrix("A", K, m)
    second_v, second_u = symmetric("P", invisible), symmetric("Q", visible)
    cross = sp.Matrix.hstack(sp.zeros(K, invisible), matrix("M", K, visible))
    loss = squared_loss(A * W, sp.diag(second_v, second_u), cross) + penalty(lam, W, A)
    velocity = -gradient(loss, W)[:, :invisible]
    require_zero(
        f"T3 velocity at {invisible, visible, m, K}", velocity - law(W[:, :invisible], A, second_v, lam)
    )


def _prove_transport(law: Callable[..., sp.Matrix], m: int) -> None:
    """Along an eigenvector: e^{-lambda t} T w solves the law; T^T T decreases; ln det T falls at s ||A||^2."""
    lam, s, t = sp.symbols("lambda s t")
    A, T, w = matrix("A", 1, m), matrix("T", m, m), matrix("w", m, 1)
    dT = -s * A.T * A * T
    state = sp.exp(-lam * t) * T * w
    derivative = sp.diff(state, t) + sp.exp(-lam * t) * dT * w
    require_zero(f"T3 transport at m = {m}", derivative - law(state, A, sp.Matrix([[s]]), lam))
    contraction = dT.T * T + T.T * dT
    require_zero(f"T3 contraction at m = {m}", contraction + 2 * s * (A * T).T * (A * T))
    det = T.det(method="berkowitz")
    growth = sum(sp.diff(det, T[i, j]) * dT[i, j] for i in range(m) for j in range(m))
    require_zero(f"T3 determinant at m = {m}", growth + s * sum(a**2 for a in A) * det)
