"""T3 Invisible-subspace law: where the labels see nothing they exert no force, and every eigendirection shrinks.

Linear network f = A W x, squared loss, weight decay lambda, gradient flow. Let Sigma = E[x x^T], M = E[t x^T], and V
the largest Sigma-invariant subspace inside ker M (`invisible_subspace`). In a basis of V, with W_v the restriction of
W to V and Sigma_v that of Sigma,

    dW_v/dt = -A^T A W_v Sigma_v - lambda W_v:   no forcing from the labels.

Along an eigenvector v of Sigma_v with eigenvalue s,

    W v(t) = e^{-lambda t} T_s(t) W v(0),   dT_s/dt = -s A^T A T_s,   T_s(0) = I,
    ||T_s|| <= 1,   det T_s = exp(-s int ||A||_F^2 dt) > 0.

T_s depends on s: one T serves all of V only if Sigma_v = s I. What shrinks, for every lambda >= 0:

    each eigendirection      d||W v||^2/dt = -2 s ||A W v||^2 - 2 lambda ||W v||^2,
    the Frobenius norm       d||W_v||_F^2/dt = -2 ||A W_v Sigma_v^{1/2}||_F^2 - 2 lambda ||W_v||_F^2,

so both are at most e^{-lambda t} times their start, and ||W_v(t)||_op <= e^{-lambda t} ||W_v(0)||_F.

Corrected: "W_v only shrinks" had been stated for all of W_v. It is false for a direction that mixes eigenvalues: with
Sigma_v = diag(1, 1/100), W_v(0) = [[1, -1], [.1, .1]], A(0) = (3, 0), lambda = 0, ||W_v (1, 1)|| grows 4 times, for the
part that had cancelled decays at two rates. So is it for ||W_v||_op: [[1, -1], [1, 1]] grows 1.12 times.
tests/theory/theorems/test_invisible_subspace.py keeps both.

Proved at every size: the velocity, both rates and what they bound, the transport T_s with its norm and determinant.
The velocity, the rates and the determinant a second time, entry by entry, at the sizes listed. Nothing is only
observed.

Source: with Sigma = I or a Sigma that shares M's singular vectors, no part outside M's singular vectors is learnt:
Saxe, McClelland & Ganguli (2014). This project, T3 (in the setting of Yang, Steinhardt & Hu, ICML 2023): the largest
invariant V for any Sigma, weight decay, the transport T_s and its determinant.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.linalg import null_space

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import (
    along,
    descent,
    matrix,
    penalty,
    squared_loss,
    symmetric,
)
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


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
    return THEOREM.formulas.velocity.number(W_v, A, second_v, weight_decay)


def predict_largest_norm(initial: float, weight_decay: float, t: float) -> float:
    """The largest value of ||W_v||_F, or of ||W v|| along an eigenvector of Sigma_v, at time t from that at 0."""
    return initial * float(THEOREM.formulas.decay.number(weight_decay, t))


def predict_log_det(squared_norm_integral: float, eigenvalue: float) -> float:
    """ln det T_s, from int ||A||_F^2 dt and s."""
    return float(THEOREM.formulas.log_det.number(squared_norm_integral, eigenvalue))


def predict_transport(T: Array, A: Array, eigenvalue: float) -> Array:
    """dT_s/dt, shape (m, m), from T_s (m, m), A (K, m) and s."""
    return THEOREM.formulas.transport.number(T, A, eigenvalue)


def _velocity(f: Formulas) -> words.Words:
    """E is an orthonormal basis of V: Sigma E = E Sigma_v as V is invariant, M E = 0 as the labels do not see it."""
    lam = sp.Symbol("lambda")
    W, A = words.letter("W", "m", "d"), words.letter("A", "K", "m")
    second, cross = words.symmetric("Sigma", "d"), words.letter("M", "K", "d")
    E, second_v = words.letter("E", "d", "v"), words.symmetric("Sigma_v", "v")
    loss = words.squared_loss(A @ W, second, cross) + words.penalty(lam, W, A)
    invisible = rewriting.rules((E.T @ E, 1), (second @ E, E @ second_v), (cross @ E, 0))
    return rewriting.under(words.flow(loss, W)[W] @ E - f.velocity(W @ E, A, second_v, lam), invisible)


def _velocity_entries(f: Formulas, invisible: int, visible: int, m: int, K: int) -> sp.Matrix:
    """In a basis that lists V first: Sigma is block diagonal (V is invariant) and M vanishes on V."""
    lam = sp.Symbol("lambda")
    W, A = matrix("W", m, invisible + visible), matrix("A", K, m)
    W_v, second_v = W[:, :invisible], symmetric("P", invisible)
    cross = sp.Matrix.hstack(sp.zeros(K, invisible), matrix("M", K, visible))
    second = sp.diag(second_v, symmetric("Q", visible))
    velocity = descent(squared_loss(A * W, second, cross) + penalty(lam, W, A), W)
    return W_v.applyfunc(velocity.__getitem__) - f.velocity(W_v, A, second_v, lam)


def _letters() -> tuple[words.Words, words.Words, words.Words]:
    return words.letter("A", "K", "m"), words.letter("T", "m", "m"), words.letter("w", "m", "1")


def _decay_rate(f: Formulas, lam: sp.Expr) -> sp.Expr:
    """d ln decay/dt."""
    t = sp.Symbol("t")
    return sp.diff(f.decay(lam, t), t) / f.decay(lam, t)


def _transport(f: Formulas) -> Iterator[words.Words | sp.Expr]:
    """decay T w obeys the law where Sigma_v = s, divided by decay; at time 0 decay is 1, and T = I by definition."""
    lam, s = sp.symbols("lambda s")
    A, T, w = _letters()
    moved = f.transport(T, A, s) + _decay_rate(f, lam) * T
    yield moved @ w - f.velocity(T @ w, A, s * words.identity("1"), lam)
    yield f.decay(lam, 0) - 1


def _contraction(f: Formulas) -> words.Words:
    """d(T^T T)/dt is minus a Gram matrix, and T^T T starts at I."""
    s = sp.Symbol("s")
    A, T, _ = _letters()
    return words.rate(T.T @ T, {T: f.transport(T, A, s)}) + 2 * s * (A @ T).T @ (A @ T)


def _determinant(f: Formulas) -> Iterator[words.Words | sp.Expr]:
    """Jacobi: d ln det T/dt = tr(T^{-1} T'). The integral grows by ||A||_F^2, and is 0 at time 0, where T = I."""
    s, integral = sp.symbols("s I")
    A, T, _ = _letters()
    inverse = words.letter("T^-1", "m", "m")
    invertible = rewriting.rules((inverse @ T, 1), (T @ inverse, 1))
    grown = sp.diff(f.log_det(integral, s), integral) * words.tr(A @ A.T)
    yield rewriting.under(words.tr(inverse @ f.transport(T, A, s)) - grown, invertible)
    yield f.log_det(0, s)


def _determinant_entries(f: Formulas, m: int) -> sp.Expr:
    """d det T/dt, expanded in entries, is d ln det T/dt times det T: defined where det T = 0 too."""
    s, integral = sp.symbols("s I")
    A, T = matrix("A", 1, m), matrix("T", m, m)
    speed = dict(zip(T, f.transport(T, A, s), strict=True))
    det = T.det(method="berkowitz")
    return along(speed, det) - sp.diff(f.log_det(integral, s), integral) * A.dot(A) * det


def _norm_rates(f: Formulas) -> Iterator[words.Words]:
    """By the law, with a root r of Sigma_v: pull = ||A W_v r||_F^2; along an eigenvector pull = s ||A w||^2."""
    lam, s = sp.symbols("lambda s")
    W, A, w = words.letter("W_v", "m", "v"), words.letter("A", "K", "m"), words.letter("w", "m", "1")
    r = words.symmetric("r", "v")
    for x, second, pull in (
        (W, r @ r, words.tr((A @ W @ r) @ (A @ W @ r).T)),
        (w, s * words.identity("1"), s * words.tr((A @ w) @ (A @ w).T)),
    ):
        norm2 = words.tr(x @ x.T)
        yield words.rate(norm2, {x: f.velocity(x, A, second, lam)}) - f.norm_rate(norm2, pull, lam)


def _norm_rate_entries(f: Formulas, n: int, m: int, K: int) -> sp.Expr:
    """The Frobenius norm, for any Sigma_v = B B^T."""
    lam = sp.Symbol("lambda")
    W, A, root = matrix("W", m, n), matrix("A", K, m), matrix("B", n, n)
    speed = dict(zip(W, f.velocity(W, A, root * root.T, lam), strict=True))
    norm2, pull = (sum(e**2 for e in x) for x in (W, A * W * root))
    return along(speed, norm2) - f.norm_rate(norm2, pull, lam)


def _largest_norm(f: Formulas) -> Iterator[sp.Expr | sp.logic.boolalg.Boolean]:
    """The squared norm over decay^2 does not grow, whatever the pull >= 0; nor does it shrink where that is 0."""
    norm2, pull = sp.Symbol("N", positive=True), sp.Symbol("P", nonnegative=True)
    lam = sp.Symbol("lambda", real=True)
    growth = f.norm_rate(norm2, pull, lam) - 2 * _decay_rate(f, lam) * norm2
    yield sp.Le(growth, 0)
    yield growth.subs(pull, 0)
    yield f.decay(lam, 0) - 1


OVER, SIZES = "(dim V, visible, m, K)", ((1, 1, 2, 1), (2, 1, 2, 1), (1, 2, 2, 2), (2, 2, 3, 2))
NORM_SIZES = ((2, 2, 1), (2, 2, 2), (3, 2, 1))
# What is false: no covariance, twice the weight decay, T moved from the right, half the rates.
NO_COVARIANCE = {"velocity": lambda W, A, S, lam: -A.T @ A @ W - lam * W}
TWICE_LAMBDA = {"velocity": lambda W, A, S, lam: -A.T @ A @ W @ S - 2 * lam * W}
RIGHT = {"transport": lambda T, A, s: -s * T @ A.T @ A}
GROWING = {"transport": lambda T, A, s: s * A.T @ A @ T}
HALF_DECAY = {"decay": lambda lam, t: sp.exp(-lam * t / 2)}
NO_LAMBDA = {"norm_rate": lambda N, P, lam: -2 * P}
NO_EIGENVALUE = {"log_det": lambda integral, s: -integral}

n, m, K = sp.symbols("n m K", integer=True, positive=True)
W_v, A, second_v = sp.MatrixSymbol("W_v", m, n), sp.MatrixSymbol("A", K, m), sp.MatrixSymbol("Sigma_v", n, n)
T, (lam, s, t, integral, N, P) = sp.MatrixSymbol("T_s", m, m), sp.symbols("lambda s t I N P")

THEOREM = Theorem(
    id="T3",
    subject="invisible-subspace law",
    assumptions=(
        "linear network (phi = identity)",
        "squared loss",
        "V is Sigma-invariant",
        "the labels do not see V: M v = 0 for v in V",
    ),
    formulas=Formulas(
        velocity=Formula(
            lambda W, A, S, lam: -A.T @ A @ W @ S - lam * W,
            (W_v, A, second_v, lam),
            "dW_v/dt",
            r"\dot W_v",
        ),
        decay=Formula(lambda lam, t: sp.exp(-lam * t), (lam, t)),
        transport=Formula(lambda T, A, s: -s * A.T @ A @ T, (T, A, s), "dT_s/dt", r"\dot T_s"),
        log_det=Formula(lambda integral, s: -s * integral, (integral, s), "ln det T_s", r"\ln \det T_s"),
        norm_rate=Formula(lambda N, P, lam: -2 * P - 2 * lam * N, (N, P, lam), "dN/dt", r"\frac{dN}{dt}"),
    ),
    claims=(
        Claim("on the label-invisible V: {velocity}", ("velocity", "velocity by entries")),
        Claim(
            "along an eigenvector v of Sigma_v with eigenvalue s: W v is {decay} T_s W v(0), T_s = I at time 0 "
            "and {transport}",
            ("transport",),
        ),
        Claim("||T_s|| <= 1", ("contraction",)),
        Claim("{log_det} with I the integral of ||A||_F^2", ("determinant", "determinant by entries")),
        Claim(
            "{norm_rate}: N = ||W_v||_F^2, P = ||A W_v Sigma_v^(1/2)||_F^2; and N = ||W v||^2, P = s ||A W v||^2",
            ("norms", "norms by entries"),
        ),
        Claim("||W_v||_F and every ||W v|| are at most {decay} times their start", ("norms", "largest norm")),
    ),
    steps=(
        Step(
            "velocity",
            "from the squared loss as a trace, with Sigma E = E Sigma_v and M E = 0 for a basis E of V",
            _velocity,
            NO_COVARIANCE,
        ),
        Step(
            "velocity by entries",
            "a second time, from the loss entry by entry, in a basis that lists V first",
            _velocity_entries,
            TWICE_LAMBDA,
            OVER,
            SIZES,
        ),
        Step(
            "transport",
            "T_s as defined by its velocity, times the decay, obeys the law where Sigma_v is the number s",
            _transport,
            RIGHT | TWICE_LAMBDA | HALF_DECAY,
        ),
        Step("contraction", "T_s^T T_s falls by twice a Gram matrix", _contraction, RIGHT | GROWING),
        Step(
            "determinant",
            "the rate of ln det is tr(T^-1 dT/dt) (Jacobi)",
            _determinant,
            GROWING | NO_EIGENVALUE,
        ),
        Step(
            "determinant by entries",
            "a second time, from the determinant expanded, also where it is 0",
            _determinant_entries,
            GROWING | NO_EIGENVALUE,
            "m",
            (1, 2, 3),
        ),
        Step(
            "norms",
            "from the law, with a root of Sigma_v: the rates of both squared norms",
            _norm_rates,
            NO_COVARIANCE | NO_LAMBDA,
        ),
        Step(
            "norms by entries",
            "a second time, entry by entry, for any Sigma_v = B B^T",
            _norm_rate_entries,
            TWICE_LAMBDA | NO_LAMBDA,
            "(dim V, m, K)",
            NORM_SIZES,
        ),
        Step(
            "largest norm",
            "from the rate of a squared norm: over decay^2 it never grows, and stays where P = 0",
            _largest_norm,
            HALF_DECAY | NO_LAMBDA,
        ),
    ),
)

prove = THEOREM.prove
