"""T19 Active-set Lorentz law: neurons of a ReLU network with the same open gates move as one hyperbolic rotation.

Inputs are points x_1..x_n; phi is linear on either side of zero (ReLU, leaky ReLU); the loss L_0 is any differentiable
function of the outputs at these points; gradient flow of L_0 + (lambda/2)(||W||^2 + ||A||^2). Write s_i for the slope
of phi at w_j . x_i: the gates of neuron j are its s in R^n, and its active set is that of the neurons with the same s.
While no gate changes, with z_j = [w_j, a_j^T], shape (d + K), and g_i = -dL_0/df_i,

    z_j(t) = e^{-lambda t} z_j(0) U_s(t),   U_s' = U_s [[0, R_s], [R_s^T, 0]],   R_s = sum_i s_i x_i g_i^T,

    U_s eta U_s^T = eta = diag(I_d, -I_K):

one Lorentz matrix for each active set, whatever its number of neurons (T14 is the case of one set, all s_i = 1). And

    f_i = e^{-2 lambda t} sum_s s_i [U_s^T P_s U_s]_{outputs, inputs} x_i,   P_s = sum of z_j(0)^T z_j(0) over the set,

so g, hence every U_s, depends on the start through one Gram matrix a set: between gate events any width is
a system of (number of sets) (d + K)^2 numbers. A set of more than d + K neurons has the outputs of d + K *linear* ones
with the slopes s held fixed, for P_s = Z^T Z has rank d + K at most.
For ReLU and orthogonal points U_s acts only on the |B| open coordinates w_j . x_i/||x_i|| and the outputs, dimension
|B| + K; all else is frozen, times e^{-lambda t} (T6).

Where a gate of a neuron changes, it moves on with another set from where it is; sims/gates/integrator.py integrates so.

Corrected: "a set of more than d + K neurons could be replaced by d + K" is false for neurons that must keep the gates
s: P_s must then be a sum of squares of vectors inside the cone of these gates. With orthonormal points and all gates
open that is a completely positive factorisation, whose least number of terms may be n^2/4 (a triangle-free graph
needs one term an edge; Berman & Shaked-Monderer 2003), above d + K from n = 6, K = 1 on. Nine neurons e_i + e_j', i,
j = 1..3, on six points are not replaced by seven or eight; tests/theory/theorems/test_active_sets.py keeps the case.

Proved at every size, and a second time by entries: the law, U eta U^T = eta, the outputs, what is frozen. That gates
stay as they are is assumed. Only observed: that neurons which must keep their gates may need more than d + K (the
numerical search; at margin 0 the test counts edges).

Source: piecewise linearity is classical; the conserved W W^T - A^T A on a linear piece, Du, Hu & Lee (2018). One
Lorentz matrix for each active set and the reduced system: this project, T19.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from finegrain.theory.theorems import lorentz, rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import UnknownLoss, along, descent, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Slope = Callable[[Array], Array]


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
    Z, n, sets = np.hstack([W, A.T]), W.shape[1] + len(A), len(slopes)
    gram = np.array([Z[member == s].T @ Z[member == s] for s in range(sets)])

    def found(now: float, U: Array) -> Array:
        return outputs(slopes, x, U, gram, weight_decay, now)

    def velocity(now: float, state: Array) -> Array:
        U = state.reshape(sets, n, n)
        return moved(slopes, x, U, -slope(found(now, U))).ravel()

    start = np.tile(np.eye(n), (sets, 1, 1)).ravel()
    run = solve_ivp(velocity, (0, t[-1]), start, "DOP853", t_eval=t, rtol=rtol, atol=rtol)
    if not run.success:
        raise RuntimeError(f"U could not be integrated to t = {t[-1]}: {run.message}")
    U = run.y.T.reshape(-1, sets, n, n)
    return Prediction(member, slopes, U, np.array([found(*pair) for pair in zip(t, U, strict=True)]))


def predict_outputs(
    W0: ArrayLike, A0: ArrayLike, points: ArrayLike, found: Prediction, weight_decay: float, t: ArrayLike
) -> Array:
    """f at the points and times t, (T, n, K), from the Gram matrices of the start and the sets' U at these times."""
    x, Z = np.asarray(points, dtype=np.float64), np.hstack([W0, np.transpose(A0)])
    gram = np.array([Z[found.member == s].T @ Z[found.member == s] for s in range(len(found.slopes))])
    pairs = zip(found.U, np.asarray(t), strict=True)
    return np.array([outputs(found.slopes, x, U, gram, weight_decay, now) for U, now in pairs])


def outputs(slopes: Array, points: Array, U: Array, gram: Array, weight_decay: float, t: float) -> Array:
    """f at the points (n, K): the formula `part` summed over sets, for slopes (sets, n), U and P (sets, d + K, d + K).

    Here and in `moved` all sets at once, where the formulas take one at a time; a test holds the two together.
    """
    d, decay = points.shape[1], THEOREM.formulas.decay.number(weight_decay, t)
    products = U.swapaxes(1, 2) @ gram @ U
    return decay**2 * np.einsum("si,skd,id->ik", slopes, products[:, d:, :d], points)


def moved(slopes: Array, points: Array, U: Array, g: Array) -> Array:
    """dU/dt of all sets, (sets, d + K, d + K), from g = -dL_0/df (n, K)."""
    d = points.shape[1]
    R = np.einsum("si,id,ik->sdk", slopes, points, g)
    return np.concatenate([U[..., d:] @ R.swapaxes(1, 2), U[..., :d] @ R], axis=2)


def predict_weights(
    W0: ArrayLike, A0: ArrayLike, member: NDArray[np.int64], U: Array, weight_decay: float, t: float
) -> tuple[Array, Array]:
    """W (m, d) and A (K, m) at time t from the start, each neuron's set (m,) and U(t) (sets, d + K, d + K)."""
    W = checks.real("W0", W0, ("m", "d"))
    A = checks.real("A0", A0, ("K", len(W)))
    decay = THEOREM.formulas.decay.number(weight_decay, t)
    Z = decay * np.einsum("mi,mij->mj", np.hstack([W, A.T]), U[member])
    return Z[:, : W.shape[1]], Z[:, W.shape[1] :].T


def _set_of_neurons() -> tuple[words.Words, ...]:
    """W, A, x, D = diag(s), the slope of the loss by the outputs (n, K), and the outputs: those of one set among
    others, f = others + D x W^T A^T at the points, the others' part being free of W and A."""
    W, A, x = words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("x", "n", "d")
    D, slope = words.symmetric("D", "n"), words.letter("S", "n", "K")
    return W, A, x, D, slope, words.letter("others", "n", "K") + D @ x @ W.T @ A.T


def _law(f: Formulas) -> words.Words:
    """Z = decay Z_0 U has d/dt Z = Z (generator + decay's rate): it must be the flow of the loss."""
    lam = sp.Symbol("lambda")
    W, A, x, D, slope, outputs = _set_of_neurons()
    E, G, blocks = rewriting.split("d+K", "d", "K")
    velocity = words.flow(words.any_loss(outputs, slope) + words.penalty(lam, W, A), W, A)
    Z = W @ E.T + A.T @ G.T
    move = f.generator(f.force(D, x, -slope), E, G) + lorentz.decay_rate(f.decay, lam) * words.identity("d+K")
    left = velocity[W] @ E.T + velocity[A].T @ G.T - Z @ move
    return rewriting.under(left, rewriting.rules(*blocks))


def _law_by_entries(f: Formulas, m: int, d: int, K: int, n: int) -> list[sp.Matrix]:
    """Neuron j with any slopes s_j, held fixed: its generator is a function of s_j alone."""
    lam = sp.Symbol("lambda")
    W, A, x, s = matrix("W", m, d), matrix("A", K, m), matrix("x", n, d), matrix("s", m, n)
    outputs = list((s.multiply_elementwise(W * x.T)).T * A.T)
    velocity = descent(UnknownLoss(*outputs) + penalty(lam, W, A), W, A)
    g = sp.Matrix(n, K, [-UnknownLoss(*outputs).fdiff(i + 1) for i in range(n * K)])
    Z, rate, where = sp.Matrix.hstack(W, A.T), lorentz.decay_rate(f.decay, lam), lorentz.explicit_places(d, K)
    moves = [f.generator(f.force(sp.diag(*s[j, :]), x, g), *where) + rate * sp.eye(d + K) for j in range(m)]
    return [along(velocity, Z[j, :]) - Z[j, :] * moves[j] for j in range(m)]


def _invariant(f: Formulas) -> words.Words:
    _, _, x, D, slope, _ = _set_of_neurons()
    E, G, blocks = rewriting.split("d+K", "d", "K")
    move, U = f.generator(f.force(D, x, -slope), E, G), words.letter("U", "d+K", "d+K")
    left = words.rate(U @ f.form(E, G) @ U.T, {U: U @ move, E: 0, G: 0})
    return rewriting.under(left, rewriting.rules(*blocks))


def _outputs(f: Formulas) -> words.Words:
    """The set's part D x W^T A^T of the outputs, with W and A the two parts of Z = decay Z_0 U."""
    lam, t = sp.symbols("lambda t")
    _, _, x, D, _, _ = _set_of_neurons()
    E, G, blocks = rewriting.split("d+K", "d", "K")
    start, U = words.letter("Z_0", "m", "d+K"), words.letter("U", "d+K", "d+K")
    Z = f.decay(lam, t) * start @ U
    part = D @ x @ (Z @ E).T @ (Z @ G)
    claimed = f.part(D, x, U, start.T @ start, E, G, lam, t)
    return rewriting.under(part - claimed, rewriting.rules(*blocks))


def _outputs_by_entries(f: Formulas, m: int, d: int, K: int, n: int) -> sp.Matrix:
    """The neurons' own sum, sum_j a_j s_i w_j . x_i."""
    lam, t = sp.symbols("lambda t")
    start, U = matrix("Z", m, d + K), matrix("U", d + K, d + K)
    x, s = matrix("x", n, d), matrix("s", n, 1)
    Z = f.decay(lam, t) * start * U
    outputs = [
        sum(Z[j, d + k] * s[i] * Z[j, :d].dot(x[i, :]) for j in range(m)) for i in range(n) for k in range(K)
    ]
    claimed = f.part(sp.diag(*s), x, U, start.T * start, *lorentz.explicit_places(d, K), lam, t)
    return sp.Matrix(n, K, outputs) - claimed


def _frozen(f: Formulas) -> words.Words:
    """e picks a point orthogonal to the others, x x^T e = nu^2 e, whose gate is closed, D e = 0: x^T e stays."""
    nu, e = sp.Symbol("nu"), words.letter("e", "n", "1")
    _, _, x, D, slope, _ = _set_of_neurons()
    closed = rewriting.rules((x @ x.T @ e, nu**2 * e), (D @ e, 0))
    return rewriting.under(e.T @ x @ f.force(D, x, -slope), closed)


def _frozen_by_entries(f: Formulas, n: int) -> list[sp.Matrix]:
    """Orthogonal points, every pattern of gates: no force at a closed gate's coordinate, whatever g."""
    x, g = sp.diag(*sp.symbols(f"nu:{n}")), matrix("g", n, 2)
    forces = [(gates, f.force(sp.diag(*gates), x, g)) for gates in product((0, 1), repeat=n)]
    return [force[i, :] for gates, force in forces for i in range(n) if not gates[i]]


def _start(f: Formulas) -> sp.Expr:
    return f.decay(sp.Symbol("lambda"), 0) - 1


# What is false: gates forgotten, a rotation, a sum for a difference, twice the decay.
FORGOTTEN = {"force": lambda D, x, g: x.T @ g}
ROTATION = {"generator": lambda R, E, G: E @ R @ G.T - G @ R.T @ E.T}
SUM = {"form": lambda E, G: E @ E.T + G @ G.T}
TWICE = {"decay": lambda lam, t: sp.exp(-2 * lam * t)}
HALF = {"part": lambda D, x, U, P, E, G, lam, t: sp.exp(-lam * t) * D @ x @ E.T @ U.T @ P @ U @ G}
SIZES = ((1, 2, 1, 2), (2, 2, 1, 3), (2, 1, 2, 2))

d, K, n = sp.symbols("d K n", integer=True, positive=True)
D, x, g = sp.MatrixSymbol("D_s", n, n), sp.MatrixSymbol("x", n, d), sp.MatrixSymbol("g", n, K)
U, P = sp.MatrixSymbol("U_s", d + K, d + K), sp.MatrixSymbol("P_s", d + K, d + K)
E, G = sp.MatrixSymbol("E", d + K, d), sp.MatrixSymbol("G", d + K, K)
R = sp.MatrixSymbol("R_s", d, K)
lam, t = sp.symbols("lambda t")

THEOREM = Theorem(
    id="T19",
    subject="active-set Lorentz law",
    assumptions=(
        "phi linear on either side of zero (ReLU, leaky ReLU)",
        "no input noise",
        "no gate changes on the way",
        "the same lambda on both layers (U eta U^T = eta)",
        "gradient flow, with the same speed in both layers (U eta U^T = eta)",
    ),
    formulas=Formulas(
        decay=lorentz.THEOREM.formulas.decay,
        force=Formula(lambda D, x, g: x.T @ D @ g, (D, x, g), "R_s", "R_s"),
        generator=Formula(
            lorentz.THEOREM.formulas.generator.function, (R, E, G), "U_s^-1 dU_s/dt", r"U_s^{-1} \dot U_s"
        ),
        form=lorentz.THEOREM.formulas.form,
        part=Formula(
            lambda D, x, U, P, E, G, lam, t: sp.exp(-2 * lam * t) * D @ x @ E.T @ U.T @ P @ U @ G,
            (D, x, U, P, E, G, lam, t),
        ),
    ),
    claims=(
        Claim(
            "between gate events z_j(t) is {decay} times z_j(0) U_s(t), z_j = [w_j, a_j^T]: one matrix for all neurons "
            "of gates s; {generator}, {force}, D_s = diag(s), g = -dL_0/df",
            ("law", "law by entries", "start"),
        ),
        Claim("U_s eta U_s^T = eta with {form}", ("invariant",)),
        Claim(
            "the outputs (n, K) are the sum over s of {part}, P_s the sum of z_j(0)^T z_j(0): they, and all U_s, "
            "depend on the start through one Gram matrix a set",
            ("outputs", "outputs by entries", "law"),
        ),
        Claim(
            "ReLU, orthogonal points: {force} has no part along a point whose gate is closed, where w_j only decays",
            ("frozen", "frozen by entries", "law"),
        ),
        Claim("neurons that must keep their gates may not be replaced by d + K"),
    ),
    steps=(
        Step(
            "law",
            "from a loss of which only the gradient by the outputs has a name, one set among others: the flow of Z",
            _law,
            FORGOTTEN | ROTATION | TWICE,
        ),
        Step(
            "law by entries",
            "a second time, each neuron with slopes of its own, from an unknown function of all outputs",
            _law_by_entries,
            FORGOTTEN | ROTATION | TWICE,
            "(m, d, K, n)",
            SIZES,
        ),
        Step("start", "at time 0 the factor is 1", _start, {"decay": lambda lam, t: 2 * sp.exp(-lam * t)}),
        Step("invariant", "from U's flow: U eta U^T does not move", _invariant, ROTATION | SUM),
        Step(
            "outputs",
            "from the two parts of Z: a set's part of the outputs through P",
            _outputs,
            HALF | TWICE,
        ),
        Step(
            "outputs by entries",
            "a second time, as the neurons' own sum",
            _outputs_by_entries,
            HALF | TWICE,
            "(m, d, K, n)",
            SIZES,
        ),
        Step("frozen", "from x x^T e = nu^2 e and D e = 0: e^T x R_s = 0", _frozen, FORGOTTEN),
        Step(
            "frozen by entries",
            "a second time, every pattern of gates",
            _frozen_by_entries,
            FORGOTTEN,
            "n",
            (1, 2, 3),
        ),
    ),
)

prove = THEOREM.prove
