"""T14 Lorentz law: a linear network's weights move as one hyperbolic rotation, the same for every neuron.

Linear network f = A W x of width m, gradient flow of L_0(A W) + (lambda/2)(||W||^2 + ||A||^2), L_0 any differentiable
function of the product F = A W: any loss, any data. Put Z = [W, A^T], shape (m, d + K), a row for each neuron, and
R = -(dL_0/dF)^T, shape (d, K). Then

    Z(t) = e^{-lambda t} Z(0) U(t),   U' = U [[0, R], [R^T, 0]],   U(0) = I,

    U eta U^T = eta = diag(I_d, -I_K),   det U = 1.

U acts from the right: neurons never mix, and every linear relation between the rows of Z (a duplicate, a dead
neuron, the rank) is kept for good. Z eta Z^T = W W^T - A^T A gives T2; on the label-invisible V, where
R^T v = -F Sigma v, the first d columns give T3.

F = e^{-2 lambda t} times the lower left block of U^T P U, P = Z(0)^T Z(0): U, F and the loss depend on the start
through P alone, whatever the width, and `predict` integrates (d + K)^2 numbers in place of m (d + K).

Source: this project, T14.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.symbolic import AnyLoss, Theorem, gradient, matrix, penalty, require_zero
from finegrain.theory.tools import checks

Array = NDArray[np.float64]
Slope = Callable[[Array], Array]

THEOREM = Theorem(
    id="T14",
    subject="Lorentz law",
    statement="[W, A^T](t) = e^{-lambda t} [W_0, A_0^T] U(t) with U eta U^T = eta = diag(I_d, -I_K): neurons never mix",
    assumptions=(
        "linear network (phi = identity)",
        "the same lambda on both layers (U eta U^T = eta)",
        "gradient flow, with the same speed in both layers (U eta U^T = eta)",
    ),
    sizes="(m, d, K) = (1,2,1), (2,2,1), (3,2,2), (2,3,2) for the law; (d, K) = (1,1), (2,1), (2,2), (3,2) for U",
    latex=(
        r"[W, A^\top](t) = e^{-\lambda t}\, [W_0, A_0^\top]\, U(t)",
        r"\dot U = U \begin{pmatrix} 0 & R \\ R^\top & 0 \end{pmatrix}, \quad R = -(\partial L_0/\partial F)^\top",
        r"U \eta U^\top = \eta = \mathrm{diag}(I_d, -I_K)",
    ),
)

SIZES = ((1, 2, 1), (2, 2, 1), (3, 2, 2), (2, 3, 2))
GROUP_SIZES = ((1, 1), (2, 1), (2, 2), (3, 2))


def eta(dim: int, outputs: int) -> Array:
    """diag(I_d, -I_K), shape (d + K, d + K)."""
    return np.diag(np.concatenate([np.ones(dim), -np.ones(outputs)]))


def generator(slope: ArrayLike) -> Array:
    """[[0, R], [R^T, 0]] with R = -slope^T, shape (d + K, d + K), from slope = dL_0/dF (K, d)."""
    G = checks.real("slope", slope, ("K", "d"))
    K, d = G.shape
    return np.block([[np.zeros((d, d)), -G.T], [-G, np.zeros((K, K))]])


def predict(
    W0: ArrayLike, A0: ArrayLike, slope: Slope, weight_decay: float, times: ArrayLike, *, rtol: float = 1e-12
) -> Array:
    """U at each of `times`, shape (T, d + K, d + K), from the start's Gram matrix P alone.

    Args:
        W0, A0: (m, d) and (K, m).
        slope: F (K, d) -> dL_0/dF (K, d), without weight decay.
        weight_decay: lambda >= 0.
        times: (T,), increasing, > 0.
        rtol: of the integrator, 1e-13 at least.
    """
    W, A = _checked(W0, A0)
    checks.at_least("weight_decay", weight_decay, 0)
    t = checks.real("times", times, ("T",))
    d, n = W.shape[1], W.shape[1] + A.shape[0]
    Z = np.hstack([W, A.T])
    gram = Z.T @ Z

    def velocity(now: float, state: Array) -> Array:
        U = state.reshape(n, n)
        F = np.exp(-2 * weight_decay * now) * U[:, d:].T @ (gram @ U[:, :d])
        return (U @ generator(slope(F))).ravel()

    run = solve_ivp(velocity, (0, t[-1]), np.eye(n).ravel(), "DOP853", t_eval=t, rtol=rtol, atol=rtol)
    if not run.success:
        raise RuntimeError(f"U(t) could not be integrated to t = {t[-1]}: {run.message}")
    return run.y.T.reshape(-1, n, n)


def predict_weights(
    W0: ArrayLike, A0: ArrayLike, U: Array, weight_decay: float, t: float
) -> tuple[Array, Array]:
    """W (m, d) and A (K, m) at time t from the start and U(t) (d + K, d + K)."""
    W, A = _checked(W0, A0)
    Z = np.exp(-weight_decay * t) * np.hstack([W, A.T]) @ U
    return Z[:, : W.shape[1]], Z[:, W.shape[1] :].T


def _checked(W0: ArrayLike, A0: ArrayLike) -> tuple[Array, Array]:
    W = checks.real("W0", W0, ("m", "d"))
    return W, checks.real("A0", A0, ("K", W.shape[0]))


def residuals(claim: Callable[..., words.Words] | None = None) -> dict[str, words.Words]:
    """The law, U's invariant and determinant, and T2 from them, at every size (words.py): what is left of each.

    claim: (R (d, K), E (d + K, d), G (d + K, K)) -> the generator, E and G placing blocks; the theorem's by default.
    """
    claim = claim or (lambda R, E, G: E @ R @ G.T + G @ R.T @ E.T)
    lam = sp.Symbol("lambda")
    W, A = words.letter("W", "m", "d"), words.letter("A", "K", "m")
    slope, U, Z = words.letter("S", "K", "d"), words.letter("U", "d+K", "d+K"), words.letter("Z", "m", "d+K")
    E, G, blocks = rewriting.split("d+K", "d", "K")
    move, form = claim(-slope.T, E, G), E @ E.T - G @ G.T
    velocity = words.flow(words.any_loss(A @ W, slope) + words.penalty(lam, W, A), W, A)
    stacked = W @ E.T + A.T @ G.T
    left = {
        "law": velocity[W] @ E.T + velocity[A].T @ G.T - (stacked @ move - lam * stacked),
        "invariant": words.rate(U @ form @ U.T, {U: U @ move, E: 0, G: 0}),
        "determinant": words.tr(move),
        "balance": words.rate(Z @ form @ Z.T, {Z: Z @ move - lam * Z, E: 0, G: 0}) + 2 * lam * Z @ form @ Z.T,
    }
    return {name: rewriting.under(residual, rewriting.rules(*blocks)) for name, residual in left.items()}


def prove(claim: Callable[[sp.Matrix], sp.Matrix] | None = None) -> None:
    """The law from an unknown loss of the product; then U's invariant, its determinant, and T2.

    claim: R (d, K) -> the generator of U (d + K, d + K); the theorem's own by default.
    """
    claim = claim or (
        lambda R: sp.BlockMatrix([[sp.zeros(R.rows), R], [R.T, sp.zeros(R.cols)]]).as_explicit()
    )
    for sizes in SIZES:
        _prove_law(claim, *sizes)
    for d, K in GROUP_SIZES:
        _prove_invariant(claim, d, K)


def _prove_law(claim: Callable[[sp.Matrix], sp.Matrix], m: int, d: int, K: int) -> None:
    """d/dt (e^{-lambda t} Z_0 U) = Z (generator - lambda), which must be the flow of the loss; and T2 from it."""
    lam = sp.Symbol("lambda")
    W, A = matrix("W", m, d), matrix("A", K, m)
    outputs = list(A * W)
    loss = AnyLoss(*outputs) + penalty(lam, W, A)
    slopes = [AnyLoss(*outputs).fdiff(i + 1) for i in range(K * d)]
    R = -sp.Matrix(K, d, slopes).T
    Z = sp.Matrix.hstack(W, A.T)
    velocity = sp.Matrix.hstack(-gradient(loss, W), -gradient(loss, A).T)
    require_zero(f"T14 law at {m, d, K}", velocity - (Z * claim(R) - lam * Z))
    form = sp.diag(sp.eye(d), -sp.eye(K))
    change = velocity * form * Z.T + Z * form * velocity.T
    require_zero(f"T14 gives T2 at {m, d, K}", change + 2 * lam * (W * W.T - A.T * A))


def _prove_invariant(claim: Callable[[sp.Matrix], sp.Matrix], d: int, K: int) -> None:
    """d/dt (U eta U^T) = U (generator eta + eta generator^T) U^T = 0; d/dt ln det U = tr generator = 0."""
    R, U = matrix("R", d, K), matrix("U", d + K, d + K)
    form = sp.diag(sp.eye(d), -sp.eye(K))
    dU = U * claim(R)
    require_zero(f"T14 invariant at {d, K}", dU * form * U.T + U * form * dU.T)
    require_zero(f"T14 determinant at {d, K}", claim(R).trace())
