r"""T5 Closed-form time course: an aligned linear network, solved from start to end.

Linear network f = A W x, squared loss, weight decay lambda. Let M = E[t x^T] = sum_k sigma_k u_k v_k^T with Sigma v_k
= s_k v_k for Sigma = E[x x^T]; the rest of R^d is then the label-invisible subspace V (T3), with eigenvectors Sigma
e_j = s_j e_j. Start with

    A(0) = sum_k a_k u_k r_k^T,   W(0) = sum_k a_k r_k v_k^T + eta sum_ij x_ij r_i e_j^T,   r_1..r_m orthonormal.

With kappa_k = sigma_k - lambda, b_k(0) = a_k^2, and G_k(t) = 1 + s_k b_k(0) (e^{2 kappa_k t} - 1)/kappa_k
(1 + 2 s_k b_k(0) t where kappa_k = 0; G_i = 1 for r_i without a mode), up to a relative O(eta^2) at each t

    b_k(t) = b_k(0) e^{2 kappa_k t} / G_k(t),
    w_i(t) = sqrt(b_i(t)) v_i + eta e^{-lambda t} sum_j x_ij G_i(t)^{-s_j/(2 s_i)} e_j,

with w_i = r_i^T W. The velocity of this state is exact but for -eta^2 A X Sigma_v X^T in dA/dt, the source of
O(eta^2). Every trace is closed form with it, tr(W C W^T) = sum_i w_i^T C w_i: NC1 as tr Sigma_W / tr Sigma_B, and
fine_share as tr Sigma_sub / tr Sigma_W. For orthonormal means with noise tau and targets +-1 they are printed in
the ledger, with q_1 = x_1^T C_W x_1 and q_0 = sum_{i > 1} x_i^T C_W x_i, where x_i = sum_j x_ij e_j and C_W is the
inputs' covariance within coarse classes, and p_1, p_0 likewise with its between-subclass part C_sub.

Random small start of scale eps, one mode: after the transient e^{-2 sigma t} the same, with
b(0) = ||(A^T u + W v)/2||^2 (p below grows, q decays; f = ||p||^2 - ||q||^2 exactly), up to O(eps^2 ln(1/eps)).
Two modes or more: their vectors p_k have overlaps of size 1/sqrt m, an error that shrinks with m and not with eps.

Corrected: "up to O(eta^2)" holds at each fixed t, not uniformly in t where a closed form falls faster than its
correction: the mode's neuron vector turns by O(eta^2 e^{-2 lambda t}), so a remainder (eta^3 e^{-3 lambda t})^2 stays
along the classifier, while its closed form there falls as e^{-2 lambda t} G^{-s_j/s}. Where that is the faster, this
is the 6 lambda of T4(b); tests/theory/theorems/test_time_course.py keeps the case.

Proved at every size: the velocity of the aligned state, up to its one term of order eta^2; p, q and f of a random
start; the ratios of orthonormal means from their covariances, which are proved for 4 classes. Proved outright: that
b(t) and the factor of the invisible part solve their equations. Only observed: the error's order eta^2 over time, the
random start's O(eps^2 ln(1/eps)), and that with two modes it falls with m alone.

Source: b(t) without lambda, Saxe, McClelland & Ganguli (2014). Weight decay, the invisible part, NC1(t) and
fine_share(t) in closed form: this project, T5. Features that collapse along training with gradient flow on free
features: Mixon, Parshall & Pi (2022); there the inputs, hence the invisible part, are absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import along, descent, matrix, penalty, squared_loss
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


@dataclass(frozen=True, eq=False)
class Start:
    """An aligned start, k modes of an (m, d, K) network, and what the flow needs to know of the data.

    Attributes:
        left: (K, k) u_k
        neurons: (m, m) orthonormal columns r_1..r_m, of which the first k carry the modes
        right: (d, k) v_k
        amplitudes: (k,) b_k(0) = a_k^2 >= 0
        singular: (k,) sigma_k
        visible: (k,) s_k > 0
        basis: (d, n) eigenvectors e_j of Sigma on V
        invisible: (n,) their eigenvalues s_j >= 0
        remainder: (m, n) eta x_ij
    """

    left: Array
    neurons: Array
    right: Array
    amplitudes: Array
    singular: Array
    visible: Array
    basis: Array
    invisible: Array
    remainder: Array


def predict_log_growth(b0: ArrayLike, kappa: ArrayLike, s: ArrayLike, t: float) -> Array:
    """ln G(t), in the broadcast shape of b(0), kappa and s; for t >= 0, without overflow."""
    log_scale, scaled = _growth(b0, kappa, s, t)
    return log_scale + np.log(scaled)


def predict_amplitude(b0: ArrayLike, sigma: ArrayLike, s: ArrayLike, weight_decay: float, t: float) -> Array:
    """b(t), in the broadcast shape of b(0), sigma and s; for t >= 0."""
    kappa = np.asarray(sigma, dtype=np.float64) - weight_decay
    _, scaled = _growth(b0, kappa, s, t)
    return np.asarray(b0) * np.exp(np.minimum(2 * kappa * t, 0)) / scaled


def _growth(b0: ArrayLike, kappa: ArrayLike, s: ArrayLike, t: float) -> tuple[Array, Array]:
    """(x, y) with G = e^x y and x = max(2 kappa t, 0), so that nothing overflows."""
    checks.at_least("t", t, 0)
    start, rate, curvature = (np.asarray(x, dtype=np.float64) for x in (b0, kappa, s))
    x = 2 * np.abs(rate) * t
    # (e^{2 kappa t} - 1)/kappa is e^{2 kappa t} times its mirror image for kappa > 0, and 2 t at kappa = 0.
    shrunk = 2 * t * np.where(x > 0, -np.expm1(-x) / np.where(x > 0, x, 1.0), 1.0)
    log_scale = np.where(rate > 0, x, 0.0)
    return log_scale, np.exp(-log_scale) + curvature * start * shrunk


def predict_remainder(start: Start, weight_decay: float, t: float) -> Array:
    """eta e^{-lambda t} x_ij G_i(t)^{-s_j/(2 s_i)}, shape (m, n)."""
    k = start.amplitudes.size
    kappa = start.singular - weight_decay
    log_growth = predict_log_growth(start.amplitudes, kappa, start.visible, t)
    damping = np.zeros((start.neurons.shape[0], start.invisible.size))
    damping[:k] = np.outer(log_growth / (2 * start.visible), start.invisible)
    return start.remainder * np.exp(-weight_decay * t - damping)


def predict_weights(start: Start, weight_decay: float, t: float) -> tuple[Array, Array]:
    """W(t) (m, d) and A(t) (K, m); at t = 0 the start itself."""
    b = predict_amplitude(start.amplitudes, start.singular, start.visible, weight_decay, t)
    modes = start.neurons[:, : b.size] * np.sqrt(b)
    hidden = start.neurons @ predict_remainder(start, weight_decay, t) @ start.basis.T
    return modes @ start.right.T + hidden, start.left @ modes.T


def predict_ratio(start: Start, numerator: Array, denominator: Array, weight_decay: float, t: float) -> float:
    """sum_i w_i^T C w_i / sum_i w_i^T C' w_i from covariances C, C' (d, d) of the inputs.

    NC1(t), the trace ratio, with C = C_W and C' = C_B, within and between coarse classes; fine_share(t) with C the
    between-subclass part of C_W and C' = C_W.
    """
    W, _ = predict_weights(start, weight_decay, t)
    return float(np.vdot(W @ numerator, W) / np.vdot(W @ denominator, W))


def predict_start_amplitude(W0: Array, A0: Array, left: Array, right: Array) -> float:
    """b(0) = ||(A^T u + W v)/2||^2 of a random small start W0 (m, d), A0 (K, m), for the one mode u (K,), v (d,)."""
    a, w = (A0.T @ left)[:, None], (W0 @ right)[:, None]
    return float(THEOREM.formulas.start.number(a, w).item())


def _velocity(f: Formulas) -> Iterator[words.Words]:
    """U, R, V, E hold u_k, r_k, v_k, e_j as columns; a, S, Z, Q are diagonal: a_k, sigma_k, s_k, s_j."""
    lam, eta = sp.symbols("lambda eta")
    W, A = words.letter("W", "m", "d"), words.letter("A", "K", "m")
    second, cross = words.symmetric("Sigma", "d"), words.letter("M", "K", "d")
    U, R = words.letter("U", "K", "k"), words.letter("R", "m", "k")
    V, E, X = words.letter("V", "d", "k"), words.letter("E", "d", "v"), words.letter("X", "m", "v")
    a, S, Z = (words.symmetric(name, "k") for name in ("a", "S", "Z"))
    Q = words.symmetric("Q", "v")
    loss = words.squared_loss(A @ W, second, cross) + words.penalty(lam, W, A)
    aligned = rewriting.rules(
        *((x.T @ x, 1) for x in (U, R, V, E)),
        (V.T @ E, 0),
        (second @ V, V @ Z),
        (second @ E, E @ Q),
        (cross, U @ S @ V.T),
        # Diagonal matrices commute.
        *((S @ a, a @ S), (Z @ a, a @ Z), (Z @ S, S @ Z)),
        *((W, R @ a @ V.T + eta * X @ E.T), (A, U @ a @ R.T)),
    )
    velocity = words.flow(loss, W, A)
    mode = f.mode(a, S, Z, lam)
    source = eta**2 * f.source(U @ a @ R.T, X, Q)
    for residual in (
        velocity[W] @ V - R @ mode,
        velocity[W] @ E - eta * f.remainder(X, R @ a @ a @ R.T, Q, lam),
        velocity[A] - U @ mode @ R.T - source,
    ):
        yield rewriting.under(residual, aligned)


def _velocity_entries(f: Formulas, modes: int, invisible: int, m: int, K: int) -> Iterator[sp.Matrix]:
    """In the bases u, r, (v, e), where all of them are unit vectors: the flow is orthogonally invariant."""
    lam, eta = sp.symbols("lambda eta")
    a, S, Z = (sp.diag(*sp.symbols(f"{name}1:{modes + 1}")) for name in ("a", "sigma", "s"))
    Q, X = sp.diag(*sp.symbols(f"z1:{invisible + 1}")), matrix("x", m, invisible)
    W, A = matrix("W", m, modes + invisible), matrix("A", K, m)
    R, U = sp.eye(m)[:, :modes], sp.eye(K)[:, :modes]
    cross = sp.Matrix.hstack(U * S, sp.zeros(K, invisible))
    loss = squared_loss(A * W, sp.diag(Z, Q), cross) + penalty(lam, W, A)
    here = dict(zip([*W, *A], [*sp.Matrix.hstack(R * a, eta * X), *(U * a * R.T)], strict=True))
    velocity = descent(loss, W, A)
    dW, dA = (x.applyfunc(lambda entry: velocity[entry].xreplace(here)) for x in (W, A))
    mode = f.mode(a, S, Z, lam)
    yield dW[:, :modes] - R * mode
    yield dW[:, modes:] - eta * f.remainder(X, R * a**2 * R.T, Q, lam)
    yield dA - U * mode * R.T - eta**2 * f.source(U * a * R.T, X, Q)


def _course(f: Formulas) -> Iterator[sp.Expr]:
    """One mode with b = a^2, one eigenvector; at kappa = 0 the limit; both start right."""
    b0, s, t, kappa, lam, s_j = sp.symbols("b s t kappa lambda s_j")
    a = sp.Symbol("a", positive=True)
    G = f.growth(b0, kappa, s, t)
    b = f.amplitude(b0, kappa, t, G)
    mode = f.mode(*(sp.Matrix([x]) for x in (a, kappa + lam, s)), lam)[0]
    yield sp.diff(b, t) - b * sp.expand(2 * mode / a).subs(a, sp.sqrt(b))
    yield b.subs(t, 0) - b0
    # The logarithm, for the derivative of the power itself does not simplify.
    log_factor = sp.expand_log(sp.log(f.factor(G, s, s_j, lam, t)), force=True)
    yield sp.diff(log_factor, t) - f.remainder(*(sp.Matrix([x]) for x in (1, b, s_j)), lam)[0]
    yield f.factor(G, s, s_j, lam, t).subs(t, 0) - 1
    yield sp.limit(b, kappa, 0) - f.critical(b0, s, t)
    # A neuron without a mode: its eigendirection sees no b.
    free = sp.log(f.factor(sp.S.One, s, s_j, lam, t))
    yield sp.diff(free, t) - f.remainder(*(sp.Matrix([x]) for x in (1, 0, s_j)), lam)[0]


def _ratios(f: Formulas) -> Iterator[words.Words]:
    """Traces of W C W^T, W = sqrt(b) r v^T + c_1 r x^T + c_0 Y with r^T Y = 0, x and Y of V: C_W v = T v, and
    C_B = v v^T/C. Along r, Sigma_W alone."""
    b, G, eta, s, lam, t, T, C = sp.symbols("b G eta s lambda t T C", positive=True)
    r, v, x = words.letter("r", "m", "1"), words.letter("v", "d", "1"), words.letter("x", "d", "1")
    Y, within = words.letter("Y", "m", "d"), words.symmetric("C_W", "d")
    sub = words.symmetric("C_sub", "d")
    given = rewriting.rules(
        *((r.T @ r, 1), (v.T @ v, 1), (r.T @ Y, 0), (v.T @ x, 0), (Y @ v, 0)),
        *((within @ v, T * v), (sub @ v, words.zero("d", "1"))),
    )
    c1, c0 = (eta * f.factor(g, s, s, lam, t) for g in (G, sp.S.One))
    W = sp.sqrt(b) * r @ v.T + c1 * r @ x.T + c0 * Y
    (q1, q0), (p1, p0) = ((words.tr(x.T @ c @ x), words.tr(Y @ c @ Y.T)) for c in (within, sub))
    one = words.tr(words.identity("1"))
    found = words.tr(W @ within @ W.T), words.tr(W @ sub @ W.T), words.tr(W @ v @ v.T @ W.T)
    claimed = f.within(T * one, b, c0, G, q1, q0), f.subclass(c0, G, p1, p0), C * f.between(b * one, C)
    for trace, expected in zip(found, claimed, strict=True):
        yield rewriting.under(trace - expected, given)
    along_r = words.tr(r.T @ W @ within @ W.T @ r) - f.along(T * one, b, c0, G, q1)
    yield rewriting.under(along_r, given)


def _covariances(f: Formulas, subclasses: int) -> Iterator[sp.Matrix]:
    """Orthonormal means e_c of two coarse classes: v is an eigenvector of C_W, C_B is v v^T/C, C_sub v = 0."""
    C, T = 2 * subclasses, sp.Symbol("T")
    own = [range(subclasses), range(subclasses, C)]
    means = [sum((sp.eye(C)[:, c] for c in mine), sp.zeros(C, 1)) / subclasses for mine in own]
    offsets = [sp.eye(C)[:, c] - means[c // subclasses] for c in range(C)]
    sub = sum((x * x.T for x in offsets), sp.zeros(C, C)) / C
    centre = (means[0] + means[1]) / 2
    between = sum(((x - centre) * (x - centre).T for x in means), sp.zeros(C, C)) / 2
    v = sp.Matrix([-1] * subclasses + [1] * subclasses) / sp.sqrt(C)
    within = sub + T * sp.eye(C)
    yield within * v - T * v
    yield sub * v
    yield between - f.between(1, C) * v * v.T


def _random_start(f: Formulas) -> Iterator[words.Words]:
    """One mode, no remainder, any A^T u and W v. What is a number, A W, equals its transpose."""
    lam, sigma, s = sp.symbols("lambda sigma s")
    A, W, unit = words.letter("A", "1", "m"), words.letter("W", "m", "1"), words.identity("1")
    loss = words.squared_loss(A @ W, s * unit, sigma * unit) + words.penalty(lam, W, A)
    velocity, number = words.flow(loss, W, A), rewriting.rules((A @ W, W.T @ A.T))
    p, q = sp.Rational(1, 2) * (A.T + W), sp.Rational(1, 2) * (A.T - W)
    output, start = A @ W, f.start(A.T, W)
    residuals = (
        f.output(p, q) - output,
        words.rate(p, velocity) - f.growing(p, output, sigma, lam, s),
        words.rate(q, velocity) - f.decaying(q, output, sigma, lam, s),
        # On an aligned start it is ||A||^2.
        f.start(W, W) - W.T @ W,
    )
    for residual in residuals:
        yield rewriting.under(residual, number)
    # b's own equation with the output for b; in a trace, numbers commute.
    equation = words.rate(start, velocity) - 2 * (sigma - lam) * start + 2 * s * p.T @ p @ output
    yield words.tr(rewriting.under(equation, number))


def _random_start_entries(f: Formulas, m: int) -> Iterator[Any]:
    lam, sigma, s = sp.symbols("lambda sigma s")
    A, W = matrix("A", 1, m), matrix("W", m, 1)
    loss = squared_loss(A * W, sp.Matrix([s]), sp.Matrix([sigma])) + penalty(lam, W, A)
    velocity = descent(loss, A, W)
    p, q = (A.T + W) / 2, (A.T - W) / 2
    yield f.output(p, q) - A * W
    yield along(velocity, p) - f.growing(p, A * W, sigma, lam, s)
    yield along(velocity, q) - f.decaying(q, A * W, sigma, lam, s)
    yield f.start(A.T, W) - p.T * p


# What is false: no weight decay, no curvature, one exponent for every eigenvalue, p and q exchanged.
NO_DECAY = {"mode": lambda a, S, Z, lam: a @ S - a @ a @ a @ Z}
NOT_DAMPED = {"remainder": lambda X, B, Q, lam: -lam * X}
NO_SOURCE = {"source": lambda A, X, Q: 0 * A}
UNWEIGHTED = {"source": lambda A, X, Q: -A @ X @ X.T}
UNCURVED = {"growth": lambda b0, kappa, s, t: 1 + b0 * (sp.exp(2 * kappa * t) - 1) / kappa}
GROWS = {"amplitude": lambda b0, kappa, t, G: b0 * sp.exp(kappa * t) / G}
ONE_EXPONENT = {"factor": lambda G, s, s_j, lam, t: sp.exp(-lam * t) * G ** -sp.Rational(1, 2)}
UNDAMPED = {"factor": lambda G, s, s_j, lam, t: sp.exp(-lam * t) / G}
EXCHANGED: dict[str, Callable[..., Any]] = {
    "growing": lambda p, y, sigma, lam, s: -(sigma + lam) * p + s * p @ y,
    "decaying": lambda q, y, sigma, lam, s: (sigma - lam) * q - s * q @ y,
    "output": lambda p, q: q.T @ q - p.T @ p,
    "start": lambda a, w: a.T @ a,
}
OVER, SIZES = "(modes, dim V, m, K)", ((1, 1, 2, 1), (1, 2, 2, 1), (1, 2, 3, 2), (2, 1, 3, 2), (2, 2, 2, 2))

k, n, m, K = sp.symbols("k n m K", integer=True, positive=True)
modes = tuple(sp.MatrixSymbol(name, k, k) for name in ("a", "S", "Z"))
A, X, B, Q = (sp.MatrixSymbol(*x) for x in (("A", K, m), ("X", m, n), ("B", m, m), ("Q", n, n)))
p, q, y = sp.MatrixSymbol("p", m, 1), sp.MatrixSymbol("q", m, 1), sp.MatrixSymbol("f", 1, 1)
u, w = sp.MatrixSymbol("a_u", m, 1), sp.MatrixSymbol("w_v", m, 1)
b0, kappa, s, s_j, sigma, lam, t, G, b, C = sp.symbols("b_0 kappa s s_j sigma lambda t G b C")
T, mu, p1, p0, q1, q0 = sp.symbols("T mu p_1 p_0 q_1 q_0")

THEOREM = Theorem(
    id="T5",
    subject="closed-form time course",
    assumptions=(
        "linear network",
        "squared loss",
        "the right singular vectors of M are eigenvectors of Sigma",
        "aligned start: orthonormal r_k, equal amplitudes a_k in both layers",
        "remainder eta small (relative error O(eta^2) at fixed t)",
    ),
    formulas=Formulas(
        mode=Formula(lambda a, S, Z, lam: a @ S - lam * a - a @ a @ a @ Z, (*modes, lam), "da/dt", r"\dot a"),
        remainder=Formula(lambda X, B, Q, lam: -B @ X @ Q - lam * X, (X, B, Q, lam), "dX/dt", r"\dot X"),
        source=Formula(lambda A, X, Q: -A @ X @ Q @ X.T, (A, X, Q)),
        growth=Formula(
            lambda b0, kappa, s, t: 1 + s * b0 * (sp.exp(2 * kappa * t) - 1) / kappa,
            (b0, kappa, s, t),
            "G(t)",
            "G(t)",
        ),
        amplitude=Formula(
            lambda b0, kappa, t, G: b0 * sp.exp(2 * kappa * t) / G, (b0, kappa, t, G), "b(t)", "b(t)"
        ),
        critical=Formula(lambda b0, s, t: b0 / (1 + 2 * s * b0 * t), (b0, s, t), "b(t)", "b(t)"),
        factor=Formula(
            lambda G, s, s_j, lam, t: sp.exp(-lam * t) * G ** (-s_j / (2 * s)), (G, s, s_j, lam, t)
        ),
        within=Formula(
            lambda T, b, mu, G, q1, q0: b * T + mu**2 * (1 / G * q1 + q0),
            (T, b, mu, G, q1, q0),
            "tr Sigma_W",
            r"\operatorname{tr} \Sigma_W",
        ),
        between=Formula(lambda b, C: 1 / C * b, (b, C), "tr Sigma_B", r"\operatorname{tr} \Sigma_B"),
        subclass=Formula(
            lambda mu, G, p1, p0: mu**2 * (1 / G * p1 + p0),
            (mu, G, p1, p0),
            "tr Sigma_sub",
            r"\operatorname{tr} \Sigma_\mathrm{sub}",
        ),
        along=Formula(
            lambda T, b, mu, G, q1: b * T + mu**2 / G * q1,
            (T, b, mu, G, q1),
            "r_1^T Sigma_W r_1",
            r"r_1^\top \Sigma_W r_1",
        ),
        start=Formula(lambda a, w: sp.Rational(1, 4) * (a + w).T @ (a + w), (u, w), "b(0)", "b(0)"),
        growing=Formula(
            lambda p, y, sigma, lam, s: (sigma - lam) * p - s * p @ y,
            (p, y, sigma, lam, s),
            "dp/dt",
            r"\dot p",
        ),
        decaying=Formula(
            lambda q, y, sigma, lam, s: -(sigma + lam) * q + s * q @ y,
            (q, y, sigma, lam, s),
            "dq/dt",
            r"\dot q",
        ),
        output=Formula(lambda p, q: p.T @ p - q.T @ q, (p, q), "f", "f"),
    ),
    claims=(
        Claim(
            "the aligned state's velocity, with a, S, Z, Q diagonal (a_k, sigma_k, s_k, s_j), B = A^T A and the "
            "remainder eta X: {mode}, {remainder}, and beyond it in dA/dt only eta^2 times {source}",
            ("velocity", "velocity by entries"),
        ),
        Claim(
            "b = a_k^2, kappa = sigma_k - lambda: {growth}, {amplitude}; kappa = 0: {critical}", ("course",)
        ),
        Claim(
            "each x_ij is its start times {factor}, s = s_i, and G = 1 for r_i without a mode", ("course",)
        ),
        Claim("the error of all this is eta^2 relative to it, at each fixed t"),
        Claim(
            "orthonormal means, two coarse classes, noise variance T, mu = eta e^(-lambda t): {within}, {between}, "
            "{subclass}; NC1 is the first over the second, fine_share the third over the first",
            ("ratios", "covariances"),
            "the covariances for C > 6",
        ),
        Claim(
            "NC1 in pseudo-inverse form is half of {along} over tr Sigma_B, which has rank 1",
            ("ratios", "covariances"),
            "the covariances for C > 6",
        ),
        Claim(
            "random start, one mode, p and q half the sum and difference of a_u = A^T u and w_v = W v: {output}, "
            "{growing}, {decaying}; so {start} obeys b's equation with f for b",
            ("random start", "random start by entries"),
        ),
        Claim("hence from a random start of scale eps b(t) up to O(eps^2 ln(1/eps)), after q is gone"),
        Claim("two modes or more, random start: an error that falls with m and not with eps"),
    ),
    steps=(
        Step(
            "velocity",
            "from the squared loss as a trace, with M = U S V^T, Sigma V = V Z, Sigma E = E Q at the aligned state",
            _velocity,
            NO_DECAY | NOT_DAMPED | UNWEIGHTED,
        ),
        Step(
            "velocity by entries",
            "a second time, from the loss entry by entry",
            _velocity_entries,
            NO_DECAY | NOT_DAMPED | NO_SOURCE,
            OVER,
            SIZES,
        ),
        Step(
            "course",
            "the closed forms solve the velocities with one mode and one eigenvector, and start right",
            _course,
            NO_DECAY
            | NOT_DAMPED
            | UNCURVED
            | GROWS
            | ONE_EXPONENT
            | {"critical": lambda b0, s, t: b0 / (1 + s * b0 * t)},
        ),
        Step(
            "ratios",
            "traces of W C W^T, from C_W v = T v and C_B = v v^T/C",
            _ratios,
            UNDAMPED
            | {
                "within": lambda T, b, mu, G, q1, q0: b * T + mu**2 * (q1 + q0),
                "between": lambda b, C: b,
                "subclass": lambda mu, G, p1, p0: mu**2 * (p1 + p0),
                "along": lambda T, b, mu, G, q1: b * T + mu**2 * q1,
            },
            "(m, d)",
        ),
        Step(
            "covariances",
            "from the means e_c: the covariances that the ratios rest on",
            _covariances,
            {"between": lambda b, C: 2 / sp.sympify(C) * b},
            "S",
            (1, 2, 3),
        ),
        Step(
            "random start",
            "from the squared loss of one mode as a trace: p, q, their output and the start's amplitude",
            _random_start,
            EXCHANGED,
        ),
        Step(
            "random start by entries",
            "a second time, entry by entry",
            _random_start_entries,
            EXCHANGED,
            "m",
            (1, 2, 3),
        ),
    ),
)

prove = THEOREM.prove
