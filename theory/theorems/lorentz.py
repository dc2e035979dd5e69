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

Source: its invariant W W^T - A^T A, Arora, Cohen & Hazan (2018) and Du, Hu & Lee (2018); one mode's hyperbolic
motion, Saxe, McClelland & Ganguli (2014). One matrix for all neurons, any loss, weight decay: this project, T14.

Proved at every size: the law, U eta U^T = eta, det U = 1, T2 from it, F from P; all but F a second time by entries.
Not a claim of the ledger, only tested: that the first d columns are T3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from finegrain.theory.theorems import balancedness, rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import UnknownLoss, along, descent, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Slope = Callable[[Array], Array]


def places(dim: int, outputs: int) -> tuple[Array, Array]:
    """E (d + K, d) and G (d + K, K): where the inputs' coordinates of a neuron stand, and where the outputs'."""
    eye = np.eye(dim + outputs)
    return eye[:, :dim], eye[:, dim:]


def eta(dim: int, outputs: int) -> Array:
    """diag(I_d, -I_K), shape (d + K, d + K)."""
    return THEOREM.formulas.form.number(*places(dim, outputs))


def generator(slope: ArrayLike) -> Array:
    """[[0, R], [R^T, 0]] with R = -slope^T, shape (d + K, d + K), from slope = dL_0/dF (K, d)."""
    S = checks.real("slope", slope, ("K", "d"))
    return THEOREM.formulas.generator.number(-S.T, *places(S.shape[1], len(S)))


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
    n, where = W.shape[1] + len(A), places(W.shape[1], len(A))
    Z = np.hstack([W, A.T])
    f, gram = THEOREM.formulas, Z.T @ Z

    def velocity(now: float, state: Array) -> Array:
        U = state.reshape(n, n)
        R = -slope(f.product.number(U, gram, *where, weight_decay, now)).T
        return (U @ f.generator.number(R, *where)).ravel()

    run = solve_ivp(velocity, (0, t[-1]), np.eye(n).ravel(), "DOP853", t_eval=t, rtol=rtol, atol=rtol)
    if not run.success:
        raise RuntimeError(f"U(t) could not be integrated to t = {t[-1]}: {run.message}")
    return run.y.T.reshape(-1, n, n)


def predict_weights(
    W0: ArrayLike, A0: ArrayLike, U: Array, weight_decay: float, t: float
) -> tuple[Array, Array]:
    """W (m, d) and A (K, m) at time t from the start and U(t) (d + K, d + K)."""
    W, A = _checked(W0, A0)
    Z = THEOREM.formulas.decay.number(weight_decay, t) * np.hstack([W, A.T]) @ U
    return Z[:, : W.shape[1]], Z[:, W.shape[1] :].T


def _checked(W0: ArrayLike, A0: ArrayLike) -> tuple[Array, Array]:
    W = checks.real("W0", W0, ("m", "d"))
    return W, checks.real("A0", A0, ("K", W.shape[0]))


def decay_rate(decay: Formula, lam: sp.Symbol) -> sp.Expr:
    """d ln decay/dt."""
    t = sp.Symbol("t")
    return sp.diff(decay(lam, t), t) / decay(lam, t)


def _law(f: Formulas) -> words.Words:
    """Z = decay Z_0 U has d/dt Z = Z (generator + decay's rate): it must be the flow of the loss."""
    lam, W, A = sp.Symbol("lambda"), words.letter("W", "m", "d"), words.letter("A", "K", "m")
    slope = words.letter("S", "K", "d")
    E, G, blocks = rewriting.split("d+K", "d", "K")
    velocity = words.flow(words.any_loss(A @ W, slope) + words.penalty(lam, W, A), W, A)
    Z = W @ E.T + A.T @ G.T
    claimed = Z @ f.generator(-slope.T, E, G) + decay_rate(f.decay, lam) * Z
    return rewriting.under(velocity[W] @ E.T + velocity[A].T @ G.T - claimed, rewriting.rules(*blocks))


def _law_by_entries(f: Formulas, m: int, d: int, K: int) -> sp.Matrix:
    lam, W, A = sp.Symbol("lambda"), matrix("W", m, d), matrix("A", K, m)
    outputs = list(A * W)
    velocity = descent(UnknownLoss(*outputs) + penalty(lam, W, A), W, A)
    R = -sp.Matrix(K, d, [UnknownLoss(*outputs).fdiff(i + 1) for i in range(K * d)]).T
    Z = sp.Matrix.hstack(W, A.T)
    claimed = Z * f.generator(R, *explicit_places(d, K)) + decay_rate(f.decay, lam) * Z
    return along(velocity, Z) - claimed


def explicit_places(d: int, K: int) -> tuple[sp.Matrix, sp.Matrix]:
    """E and G, entry by entry."""
    return sp.eye(d + K)[:, :d], sp.eye(d + K)[:, d:]


def _moving(f: Formulas) -> tuple[words.Words, words.Words, words.Words, rewriting.Rules]:
    """The generator, E, G and what is known of these two."""
    E, G, blocks = rewriting.split("d+K", "d", "K")
    return f.generator(words.letter("R", "d", "K"), E, G), E, G, rewriting.rules(*blocks)


def _invariant(f: Formulas) -> words.Words:
    move, E, G, blocks = _moving(f)
    U = words.letter("U", "d+K", "d+K")
    return rewriting.under(words.rate(U @ f.form(E, G) @ U.T, {U: U @ move, E: 0, G: 0}), blocks)


def _determinant(f: Formulas) -> words.Words:
    """Jacobi: d ln det U/dt = tr(U^{-1} dU/dt)."""
    move, _, _, blocks = _moving(f)
    return rewriting.under(words.tr(move), blocks)


def _group_by_entries(f: Formulas, d: int, K: int) -> list[sp.Matrix | sp.Expr]:
    """d/dt of U eta U^T, which starts at eta = diag(1, ..., -1, ...), and of det U."""
    U, where = matrix("U", d + K, d + K), explicit_places(d, K)
    moved = U * f.generator(matrix("R", d, K), *where)
    velocity = dict(zip(U, moved, strict=True))
    form = f.form(*where)
    det = along(velocity, U.det(method="berkowitz"))
    return [along(velocity, U * form * U.T), form - sp.diag(*[1] * d, *[-1] * K), det]


def _balance(f: Formulas) -> list[words.Words]:
    lam = sp.Symbol("lambda")
    move, E, G, blocks = _moving(f)
    W, A, Z = words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("Z", "m", "d+K")
    stacked, rate = W @ E.T + A.T @ G.T, decay_rate(f.decay, lam)
    form = f.form(E, G)
    change = words.rate(Z @ form @ Z.T, {Z: Z @ move - lam * Z, E: 0, G: 0})
    left = [change - 2 * rate * Z @ form @ Z.T, stacked @ form @ stacked.T - f.imbalance(W, A)]
    return [rewriting.under(residual, blocks) for residual in left]


def _product(f: Formulas) -> words.Words:
    """A W from the two parts of Z = decay Z_0 U."""
    lam, t = sp.symbols("lambda t")
    E, G, blocks = rewriting.split("d+K", "d", "K")
    start, U = words.letter("Z_0", "m", "d+K"), words.letter("U", "d+K", "d+K")
    Z = f.decay(lam, t) * start @ U
    W, A = Z @ E, (Z @ G).T
    claimed = f.product(U, start.T @ start, E, G, lam, t)
    return rewriting.under(A @ W - claimed, rewriting.rules(*blocks))


def _start(f: Formulas) -> sp.Expr:
    return f.decay(sp.Symbol("lambda"), 0) - 1


# What is false: a rotation, a stretch besides, twice the decay, a sum for a difference.
ROTATION = {"generator": lambda R, E, G: E @ R @ G.T - G @ R.T @ E.T}
STRETCH = {"generator": lambda R, E, G: E @ R @ G.T + G @ R.T @ E.T + E @ E.T}
TWICE = {"decay": lambda lam, t: sp.exp(-2 * lam * t)}
SUM = {"form": lambda E, G: E @ E.T + G @ G.T}

m, d, K = sp.symbols("m d K", integer=True, positive=True)
R, U, P = sp.MatrixSymbol("R", d, K), sp.MatrixSymbol("U", d + K, d + K), sp.MatrixSymbol("P", d + K, d + K)
E, G = sp.MatrixSymbol("E", d + K, d), sp.MatrixSymbol("G", d + K, K)
lam, t = sp.symbols("lambda t")

THEOREM = Theorem(
    id="T14",
    subject="Lorentz law",
    assumptions=(
        "linear network (phi = identity)",
        "the same lambda on both layers (U eta U^T = eta)",
        "gradient flow, with the same speed in both layers (U eta U^T = eta)",
    ),
    formulas=Formulas(
        decay=Formula(lambda lam, t: sp.exp(-lam * t), (lam, t)),
        generator=Formula(
            lambda R, E, G: E @ R @ G.T + G @ R.T @ E.T, (R, E, G), "U^-1 dU/dt", r"U^{-1} \dot U"
        ),
        form=Formula(lambda E, G: E @ E.T - G @ G.T, (E, G), "eta", r"\eta"),
        imbalance=balancedness.THEOREM.formulas.imbalance,
        product=Formula(
            lambda U, P, E, G, lam, t: sp.exp(-2 * lam * t) * G.T @ U.T @ P @ U @ E,
            (U, P, E, G, lam, t),
            "A W",
            "A W",
        ),
    ),
    claims=(
        Claim(
            "[W, A^T](t) is {decay} times [W_0, A_0^T] U(t), U(0) = I: one matrix for all neurons, which never mix; "
            "{generator}, R = -(dL_0/d(A W))^T, E = [I_d; 0], G = [0; I_K]",
            ("law", "law by entries", "start"),
        ),
        Claim(
            "U eta U^T = eta with {form}, and det U = 1",
            ("invariant", "determinant", "group by entries"),
        ),
        Claim(
            "hence T2: Z eta Z^T, Z = [W, A^T], is {imbalance} and falls as the square of {decay}",
            ("balance",),
        ),
        Claim(
            "{product}, P = Z(0)^T Z(0): U, A W and the loss depend on the start through P alone",
            ("product", "law"),
        ),
    ),
    steps=(
        Step(
            "law",
            "from a loss of which only the gradient by A W has a name: the flow of Z is Z (generator - lambda)",
            _law,
            ROTATION | TWICE,
        ),
        Step(
            "law by entries",
            "a second time, from an unknown function of all entries of A W",
            _law_by_entries,
            ROTATION | TWICE,
            "(m, d, K)",
            ((1, 2, 1), (2, 2, 1), (3, 2, 2), (2, 3, 2)),
        ),
        Step("start", "at time 0 the factor is 1", _start, {"decay": lambda lam, t: 2 * sp.exp(-lam * t)}),
        Step("invariant", "from U's flow: U eta U^T does not move", _invariant, ROTATION | SUM),
        Step("determinant", "from U's flow: the generator has no trace (Jacobi)", _determinant, STRETCH),
        Step(
            "group by entries",
            "a second time: U eta U^T and det U do not move, eta is diag(I, -I)",
            _group_by_entries,
            ROTATION | SUM,
            "(d, K)",
            ((1, 1), (2, 1), (2, 2)),
        ),
        Step(
            "balance",
            "from Z's flow: Z eta Z^T decays twice as fast as Z, and is T2's difference of the layers",
            _balance,
            ROTATION | TWICE | SUM | {"imbalance": lambda W, A: W @ W.T + A.T @ A},
        ),
        Step(
            "product",
            "from the two parts of Z: the product A W through P",
            _product,
            {
                "product": lambda U, P, E, G, lam, t: sp.exp(-lam * t) * G.T @ U.T @ P @ U @ E,
                "decay": lambda lam, t: sp.exp(-2 * lam * t),
            },
        ),
    ),
)

prove = THEOREM.prove
