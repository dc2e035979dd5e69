"""T19 Active-set Lorentz law: neurons of a ReLU network with the same open gates move as one hyperbolic rotation.

Inputs are points x_1..x_n; phi is linear on either side of zero (ReLU, leaky ReLU); the loss L_0 is any differentiable
function of the outputs at these points; gradient flow of L_0 + (lambda/2)(||W||^2 + ||A||^2). Write s_i for the slope
of phi at w_j . x_i: the gates of neuron j are its s in R^n, and its active set is that of the neurons with the same s.
While no gate changes, with z_j = [w_j, a_j^T], shape (d + K), and g_i = -dL_0/df_i,

    z_j(t) = e^{-lambda t} z_j(0) U_s(t),   U_s' = U_s [[0, R_s], [R_s^T, 0]],   R_s = sum_i s_i x_i g_i^T,

    U_s eta U_s^T = eta = diag(I_d, -I_K):

one Lorentz matrix for each active set, whatever its number of neurons (T14 is the case of one set, all s_i = 1). And

    f_i = e^{-2 lambda t} sum_s s_i [U_s^T P_s U_s]_{outputs, inputs} x_i,   P_s = sum of z_j(0)^T z_j(0) over the set,

so g, hence every U_s, depends on the start through one Gram matrix a set: between gate events a network of any width is
a system of (number of sets) (d + K)^2 numbers, and a set of more than d + K neurons could be replaced by d + K.
For ReLU and orthogonal points U_s acts only on the |B| open coordinates w_j . x_i/||x_i|| and the outputs, dimension
|B| + K; all else is frozen, times e^{-lambda t} (T6).

Where a gate of a neuron changes, it moves on with another set from where it is; sims/gates/integrator.py integrates so.

Source: this project, T19.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

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
    id="T19",
    subject="active-set Lorentz law",
    statement="between gate events z_j(t) = e^{-lambda t} z_j(0) U_s(t): one Lorentz matrix for all neurons of gates s",
    assumptions=(
        "phi linear on either side of zero (ReLU, leaky ReLU)",
        "no input noise",
        "no gate changes on the way",
        "the same lambda on both layers (U eta U^T = eta)",
        "gradient flow, with the same speed in both layers (U eta U^T = eta)",
    ),
    sizes="(m, d, K, n) = (1,2,1,2), (2,2,1,3), (2,1,2,2), any slopes; what is frozen: all gates, n = 1, 2, 3",
    latex=(
        r"[w_j, a_j^\top](t) = e^{-\lambda t}\, [w_j, a_j^\top](0)\, U_s(t)",
        r"\dot U_s = U_s \begin{pmatrix} 0 & R_s \\ R_s^\top & 0 \end{pmatrix}, \quad R_s = \sum_i s_i x_i g_i^\top",
        r"f_i = e^{-2\lambda t} \sum_s s_i \bigl[U_s^\top P_s U_s\bigr]_{a,w} x_i",
    ),
)

SIZES = ((1, 2, 1, 2), (2, 2, 1, 3), (2, 1, 2, 2))

Claim = Callable[[sp.Matrix, sp.Matrix, sp.Matrix], sp.Matrix]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The transformations of all active sets.

    Attributes:
        member: set of each neuron, (m,)
        slopes: s of each set, (sets, n)
        U: (T, sets, d + K, d + K)
        outputs: f at the points, (T, n, K)
    """

    member: NDArray[np.int64]
    slopes: Array
    U: Array
    outputs: Array


def predict(
    W0: ArrayLike,
    A0: ArrayLike,
    points: ArrayLike,
    slope: Slope,
    weight_decay: float,
    times: ArrayLike,
    *,
    closed: float = 0.0,
    rtol: float = 1e-12,
) -> Prediction:
    """U_s and the outputs at `times`, from the Gram matrices of the start alone, if no gate changes before.

    Args:
        W0, A0: (m, d) and (K, m).
        points: the inputs, (n, d).
        slope: outputs (n, K) -> dL_0/df (n, K), the points' weights included, weight decay not.
        weight_decay: lambda >= 0.
        times: (T,), increasing, > 0.
        closed: slope of phi below zero, 0 for ReLU.
        rtol: of the integrator.
    """
    W = checks.real("W0", W0, ("m", "d"))
    A = checks.real("A0", A0, ("K", len(W)))
    x = checks.real("points", points, ("n", W.shape[1]))
    checks.at_least("weight_decay", weight_decay, 0)
    t = checks.real("times", times, ("T",))
    slopes, member = np.unique(np.where(W @ x.T > 0, 1.0, closed), axis=0, return_inverse=True)
    member = member.reshape(-1)
    Z, d, n, sets = np.hstack([W, A.T]), W.shape[1], W.shape[1] + len(A), len(slopes)
    gram = np.array([Z[member == s].T @ Z[member == s] for s in range(sets)])

    def outputs(now: float, U: Array) -> Array:
        products = U.swapaxes(1, 2) @ gram @ U
        decay = np.exp(-2 * weight_decay * now)
        return decay * np.einsum("si,skd,id->ik", slopes, products[:, d:, :d], x)

    def velocity(now: float, state: Array) -> Array:
        U = state.reshape(sets, n, n)
        R = -np.einsum("si,id,ik->sdk", slopes, x, slope(outputs(now, U)))
        return np.concatenate([U[..., d:] @ R.swapaxes(1, 2), U[..., :d] @ R], axis=2).ravel()

    start = np.tile(np.eye(n), (sets, 1, 1)).ravel()
    run = solve_ivp(velocity, (0, t[-1]), start, "DOP853", t_eval=t, rtol=rtol, atol=rtol)
    if not run.success:
        raise RuntimeError(f"U could not be integrated to t = {t[-1]}: {run.message}")
    U = run.y.T.reshape(-1, sets, n, n)
    return Prediction(member, slopes, U, np.array([outputs(*pair) for pair in zip(t, U, strict=True)]))


def predict_weights(
    W0: ArrayLike, A0: ArrayLike, member: NDArray[np.int64], U: Array, weight_decay: float, t: float
) -> tuple[Array, Array]:
    """W (m, d) and A (K, m) at time t from the start, each neuron's set (m,) and U(t) (sets, d + K, d + K)."""
    W = checks.real("W0", W0, ("m", "d"))
    A = checks.real("A0", A0, ("K", len(W)))
    Z = np.exp(-weight_decay * t) * np.einsum("mi,mij->mj", np.hstack([W, A.T]), U[member])
    return Z[:, : W.shape[1]], Z[:, W.shape[1] :].T


def residuals(claim: Callable[..., Any] | None = None) -> dict[str, words.Words]:
    """The law of one set among others, its invariant, T2 within the set, and what is frozen, at every size
    (words.py): what is left of each. D = diag(s).

    claim: (D (n, n), x (n, d), g (n, K)) -> R_s (d, K); the theorem's own by default.
    """
    claim = claim or (lambda D, x, g: x.T @ D @ g)
    x, D, slope = words.letter("x", "n", "d"), words.symmetric("D", "n"), words.letter("S", "n", "K")
    R = claim(D, x, -slope)
    return _moving_residuals(R, x, D, slope) | {"frozen coordinate": _frozen_residual(R, x, D)}


def _moving_residuals(
    R: words.Words, x: words.Words, D: words.Words, slope: words.Words
) -> dict[str, words.Words]:
    """Neurons W, A of one set: f = others + D x W^T A^T at the points, the other sets' part being free of W and A."""
    lam = sp.Symbol("lambda")
    W, A, others = words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("others", "n", "K")
    U, Z = words.letter("U", "d+K", "d+K"), words.letter("Z", "m", "d+K")
    E, G, blocks = rewriting.split("d+K", "d", "K")
    move, form, stacked = E @ R @ G.T + G @ R.T @ E.T, E @ E.T - G @ G.T, W @ E.T + A.T @ G.T
    loss = words.any_loss(others + D @ x @ W.T @ A.T, slope) + words.penalty(lam, W, A)
    velocity = words.flow(loss, W, A)
    left = {
        "law": velocity[W] @ E.T + velocity[A].T @ G.T - (stacked @ move - lam * stacked),
        "invariant": words.rate(U @ form @ U.T, {U: U @ move, E: 0, G: 0}),
        "balance": words.rate(Z @ form @ Z.T, {Z: Z @ move - lam * Z, E: 0, G: 0}) + 2 * lam * Z @ form @ Z.T,
    }
    return {name: rewriting.under(residual, rewriting.rules(*blocks)) for name, residual in left.items()}


def _frozen_residual(R: words.Words, x: words.Words, D: words.Words) -> words.Words:
    """e picks a point orthogonal to the others, x x^T e = nu^2 e, whose gate is closed, D e = 0: x^T e stays."""
    nu, e = sp.Symbol("nu"), words.letter("e", "n", "1")
    closed = rewriting.rules((x @ x.T @ e, nu**2 * e), (D @ e, 0))
    return rewriting.under(e.T @ x @ R, closed)


def prove(claim: Claim | None = None) -> None:
    """The law from an unknown loss of the outputs at all points; its invariant; f from Gram matrices; what is frozen.

    claim: (s (n, 1), x (n, d), g (n, K)) -> R_s (d, K); the theorem's own by default.
    """
    claim = claim or (lambda s, x, g: x.T * sp.diag(*s) * g)
    for sizes in SIZES:
        _prove_law(claim, *sizes)
        _prove_outputs(*sizes)
    for n in (1, 2, 3):
        _prove_frozen(claim, n)


def _generator(R: sp.Matrix) -> sp.Matrix:
    d, K = R.shape
    return sp.Matrix(sp.BlockMatrix([[sp.zeros(d), R], [R.T, sp.zeros(K)]]))


def _prove_law(claim: Claim, m: int, d: int, K: int, n: int) -> None:
    """Neuron j with any slopes s_j, held fixed: velocity = z_j (generator of R - lambda), R a function of s_j alone."""
    lam = sp.Symbol("lambda")
    W, A, x, s = matrix("W", m, d), matrix("A", K, m), matrix("x", n, d), matrix("s", m, n)
    outputs = [
        sum(A[k, j] * s[j, i] * W[j, :].dot(x[i, :]) for j in range(m)) for i in range(n) for k in range(K)
    ]
    loss = AnyLoss(*outputs) + penalty(lam, W, A)
    g = sp.Matrix(n, K, [-AnyLoss(*outputs).fdiff(i + 1) for i in range(n * K)])
    velocity = sp.Matrix.hstack(-gradient(loss, W), -gradient(loss, A).T)
    Z, eta = sp.Matrix.hstack(W, A.T), sp.diag(sp.eye(d), -sp.eye(K))
    for j in range(m):
        move = _generator(claim(s[j, :].T, x, g))
        require_zero(f"T19 law at {m, d, K, n}", velocity[j, :] - Z[j, :] * (move - lam * sp.eye(d + K)))
        require_zero(f"T19 invariant at {m, d, K, n}", move * eta + eta * move.T)


def _prove_outputs(m: int, d: int, K: int, n: int) -> None:
    """A set's part of f_i, sum_j a_j s_i w_j . x_i, at Z = Z_0 U, is the block of U^T P U named in the statement."""
    Z, U, x = matrix("Z", m, d + K), matrix("U", d + K, d + K), matrix("x", n, d)
    moved, products = Z * U, U.T * (Z.T * Z) * U
    part = moved[:, d:].T * moved[:, :d] * x.T
    require_zero(f"T19 outputs at {m, d, K, n}", part - products[d:, :d] * x.T)


def _prove_frozen(claim: Claim, n: int) -> None:
    """ReLU, orthogonal points: R_s has no entry at a closed gate's coordinate, whatever g."""
    norms = sp.symbols(f"nu:{n}")
    x, g = sp.diag(*norms), matrix("g", n, 2)
    for gates in product((0, 1), repeat=n):
        R = claim(sp.Matrix(gates), x, g)
        for i in (i for i in range(n) if not gates[i]):
            require_zero(f"T19 frozen coordinate at n = {n}, gates {gates}", R[i, :])
