r"""T12 Finite samples: what a linear network keeps of its n training inputs, exactly, and what weight decay adds.

Inputs X (d, n), targets Y (K, n), H = W X, F = A W, Gram matrix G = X^T X, gradient flow, one lambda for both layers.

(a) Start from A(0) = 0, W(0)^T W(0) = eps^2 I (m >= d). Call remainder the part of H outside the row space of A,
    H_r = (I - P_A) H. At every t > 0, for any data and any differentiable loss,

        H_r^T H_r = eps^2 e^{-2 lambda t} X^T (I - P_F) X,

    with P_F the projector onto the row space of F(t): G deflated by at most K directions, and shrunk.
(b) Let G commute with the projector onto the row space of Y (the label projector), and let the loss be one whose
    residuals dL/df (K, n) have their rows in that space whenever f has: the squared loss, logistic for targets +-1,
    cross-entropy for one-hot ones. Then F's rows lie in range(X Y^T); while rank F = rank X Y^T (cross-entropy: one
    less, its residuals sum to 0) they span it, and the remainder's Gram is known before training.
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

Corrected: (b) had been stated for eps -> 0, any start and the squared loss, and for generic G as an approximation.
What it needs is the start of (a), at any eps; a Gaussian start of finite width is off by an amount that does not fall
with eps. For generic G the deflated directions turn as training goes on, away from X Y^T (20 % off in the trial, 63 %
in paper_figs/finite_samples.py); with P_F(t) in their place (a) is exact.
tests/theory/theorems/test_finite_samples.py keeps the counterexamples.

Proved at every size: (a), for any differentiable loss; that the flow keeps (b)'s subspaces, hence that F's rows lie in
range(X Y^T); that the state of (c) is at rest, and is ridge, with one root kappa. All but the root a second time,
entry by entry, at the sizes listed. Only observed: that F's rows span that range; that the flow of (c) ends there and
that the remainder dies (the rate of `predict_rate` is that of the linearised flow).

Source: linear networks as a factored nuclear norm, Srebro, Rennie & Jaakkola (2004); (c) is group-lasso stationarity,
here read as a self-consistent ridge. (a), (b): this project, T12. NC1 that depends on the samples is also in Tirer,
Huang & Niles-Weed (2023) (features near a given input) and Wu & Mondelli (2025) (mean field), by other means.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import (
    UnknownLoss,
    along,
    descent,
    matrix,
    penalty,
    squared_loss,
    symmetric,
)
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def predict_remainder(X: Array, F: Array, eps: float, weight_decay: float, t: float) -> Array:
    """H_r^T H_r (n, n) at time t, from X (d, n) and F(t) = A W (K, d), not 0."""
    rows = _row_basis(F)
    deflated = X - rows.T @ (rows @ X)
    return THEOREM.formulas.remainder.number(deflated, eps, weight_decay, t)


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
    f, inverse = THEOREM.formulas, np.linalg.inv(G / n + kappa * np.eye(n))
    return f.fit.number(G / n, inverse, target[:, None])[:, 0], float(f.size.number(weight_decay, kappa))


def predict_scatter(gram: ArrayLike, y: ArrayLike, labels: ArrayLike, weight_decay: float) -> float:
    """Within-class standard deviation of h at the end, std(yhat | class)/sqrt|b|, pooled over `labels` (n,)."""
    fit, b = predict_fit(gram, y, weight_decay)
    classes = np.asarray(labels)
    residual = fit.copy()
    for k in np.unique(classes):
        residual[classes == k] -= fit[classes == k].mean()
    return float(THEOREM.formulas.scatter.number(np.sqrt(np.mean(residual**2)), b))


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


def _letters() -> tuple[words.Words, words.Words]:
    return words.letter("W", "m", "d"), words.letter("A", "K", "m")


def _decay_rate(f: Formulas, lam: sp.Expr) -> sp.Expr:
    """d ln decay/dt."""
    t = sp.Symbol("t")
    return sp.diff(f.decay(lam, t), t) / f.decay(lam, t)


def _invariant(f: Formulas) -> Iterator[words.Words | sp.Expr]:
    """Any loss of F; and at the start W W^T = eps^2 I where the columns of W lie, A = 0."""
    lam, eps = sp.symbols("lambda epsilon")
    W, A = _letters()
    loss = words.any_loss(A @ W, words.letter("R", "K", "d")) + words.penalty(lam, W, A)
    imbalance = f.imbalance(W, A)
    yield words.rate(imbalance, words.flow(loss, W, A)) - _decay_rate(f, lam) * imbalance
    isometric = rewriting.rules((W @ W.T, eps**2))
    yield rewriting.under(f.imbalance(W, words.zero("K", "m")), isometric) - eps**2 * words.identity("m")
    yield f.decay(lam, 0) - 1


def _invariant_entries(f: Formulas, K: int, d: int) -> sp.Matrix:
    """An unknown function of all entries of F; in range W(0) the width is d."""
    lam = sp.Symbol("lambda")
    W, A = matrix("W", d, d), matrix("A", K, d)
    velocity = descent(UnknownLoss(*(A * W)) + penalty(lam, W, A), W, A)
    imbalance = f.imbalance(W, A)
    return along(velocity, imbalance) - _decay_rate(f, lam) * imbalance


def _remainder(f: Formulas) -> Iterator[words.Words]:
    """In range W(0), where the imbalance is c^2 I, which gives W W^T, and W is invertible: W_r = (I - A^+ A) W.

    W_r F^T = 0, so W_r = W_r Q with Q = I - P_F; and F Q = 0 leaves c^2 Q of Q W_r^T W_r Q.
    """
    lam, t, eps = sp.symbols("lambda t epsilon")
    W, A, inverse = words.letter("W", "d", "d"), words.letter("A", "K", "d"), words.letter("W^-1", "d", "d")
    X, Q = words.letter("X", "d", "n"), words.symmetric("Q", "d")
    pseudo, penrose = rewriting.pseudo_inverse("A^+", A)
    given = rewriting.rules(*penrose, (A @ W @ Q, 0), (pseudo.T @ W @ Q, 0), (Q @ Q, Q), (inverse @ W, 1))
    second = eps**2 * f.decay(lam, t) * words.identity("d") + W @ W.T - f.imbalance(W, A)
    outside = words.identity("d") - pseudo @ A
    yield rewriting.under(outside @ second @ A.T, given)
    # W^T W = W^{-1} (W W^T) W.
    gram = inverse @ second @ W - W.T @ pseudo @ A @ W
    yield rewriting.under(X.T @ Q @ gram @ Q @ X - f.remainder(Q @ X, eps, lam, t), given)


def _remainder_entries(f: Formulas, K: int, d: int) -> Iterator[sp.Matrix]:
    """W W^T from the imbalance; W_r W_r^T is c^2 times a projector, W_r F^T = 0. A rotation makes A triangular."""
    c, W = sp.Symbol("c"), matrix("W", d, d)
    A = sp.Matrix(K, d, lambda i, j: sp.Symbol(f"A_{i}{j}") if j <= i else 0)
    second = c**2 * sp.eye(d) + W * W.T - f.imbalance(W, A)
    outside = sp.eye(d) - A.T * (A * A.T).inv() * A
    yield (outside * second * outside.T - c**2 * outside).applyfunc(sp.cancel)
    yield (outside * second * A.T).applyfunc(sp.cancel)


def _rows(f: Formulas) -> Iterator[words.Words]:
    """E an orthonormal basis of Y's rows. G commutes with E E^T, so G E = G E E^T E = E (E^T G E) = E B: then
    X X^T (X E) = (X E) B, and range(X Y^T) is invariant. There the flow keeps A W_v and W_u^T W_v at 0."""
    X, E, B = words.letter("X", "d", "n"), words.letter("E", "n", "q"), words.symmetric("B", "q")
    commuting = rewriting.rules((E.T @ E, 1), (X.T @ X @ E, E @ B))
    yield rewriting.under(X @ X.T @ X @ E - X @ E @ B, commuting)
    yield from _kept(f, "squared")
    yield from _kept(f, "any")


def _kept(f: Formulas, loss: str) -> Iterator[words.Words]:
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
    given = rewriting.rules(*blocks, (second, E @ P @ E.T + G @ Q @ G.T), (cross, M_u @ E.T), (S, R @ E.T))
    for part, back in (
        (output, slope @ overlap + slope_v @ v.T @ v + A @ A.T @ slope_v),
        (overlap, slope.T @ output + u.T @ A.T @ slope_v),
    ):
        yield rewriting.under(words.rate(part, velocity) - _decay_rate(f, lam) * part + back, given)


def _rows_entries(f: Formulas, seen: int, unseen: int, m: int, K: int) -> Iterator[sp.Matrix]:
    """In a basis that lists range(X Y^T) first; the squared loss, and any with dL/dF = [R, 0]."""
    lam = sp.Symbol("lambda")
    W, A = matrix("W", m, seen + unseen), matrix("A", K, m)
    S_u, S_v = symmetric("P", seen), symmetric("Q", unseen)
    M, R = matrix("M", K, seen), matrix("R", K, seen)
    u, v = W[:, :seen], W[:, seen:]
    output, overlap = A * v, u.T * v
    squared = squared_loss(A * W, sp.diag(S_u, S_v), sp.Matrix.hstack(M, sp.zeros(K, unseen)))
    linear = sum(r * y for r, y in zip(R, A * u, strict=True))
    for data, slope, slope_v in (
        (squared, A * u * S_u - M, output * S_v),
        (linear, R, sp.zeros(K, unseen)),
    ):
        velocity, rate = descent(data + penalty(lam, W, A), W, A), _decay_rate(f, lam)
        yield (
            along(velocity, output) - rate * output + slope * overlap + slope_v * v.T * v + A * A.T * slope_v
        )
        yield along(velocity, overlap) - rate * overlap + slope.T * output + u.T * A.T * slope_v


def _ridge(f: Formulas) -> Iterator[words.Words]:
    """P is (X^T X/n + kappa)^{-1} and theta = X P y/n; W = r theta^T/alpha, A = alpha r^T with a unit vector r: W is
    at rest, and A up to its difference in norm from W. Then the fit, its norm and the scatter of h."""
    lam, alpha, n, kappa = sp.symbols("lambda alpha n kappa", positive=True)
    (kappa,) = sp.solve(f.size(lam, kappa) - alpha**2, kappa)
    W, A = words.letter("W", "m", "d"), words.letter("A", "1", "m")
    X, P, y = words.letter("X", "d", "n"), words.symmetric("P", "n"), words.letter("y", "n", "1")
    r, S = words.letter("r", "m", "1"), 1 / n * X.T @ X
    theta = 1 / n * X @ P @ y
    loss = words.squared_loss(A @ W, 1 / n * X @ X.T, 1 / n * y.T @ X.T) + words.penalty(lam, W, A)
    inverse = (X.T @ X @ P, n * words.identity("n") - n * kappa * P)
    here = rewriting.rules((r.T @ r, 1), (W, 1 / alpha * r @ theta.T), (A, alpha * r.T), inverse)
    unbalance = alpha**2 * words.identity("1") - 1 / alpha**2 * theta.T @ theta
    fit = f.fit(S, P, y)
    for residual in (
        words.gradient(loss, W),
        words.gradient(loss, A) - lam / alpha * unbalance @ r.T,
        (A @ W @ X).T - fit,
        theta.T @ theta - f.norm2(S, P, y, n),
        (W @ X).T @ W @ X - f.scatter(1, alpha**2) ** 2 * fit @ fit.T,
    ):
        yield rewriting.under(residual, here)


def _ridge_entries(f: Formulas, d: int) -> Iterator[sp.Matrix]:
    """In the eigenbasis of Sigma: W = r w^T, A = alpha r^T with w_i = alpha M_i/(alpha^2 s_i + lambda) is at rest if
    ||w|| = alpha; F = alpha w is then ridge with its penalty, and ||F|| = alpha^2 = b."""
    lam, alpha, kappa = sp.symbols("lambda alpha kappa")
    (kappa,) = sp.solve(f.size(lam, kappa) - alpha**2, kappa)
    s, w = sp.symbols(f"s1:{d + 1}"), sp.Matrix([sp.symbols(f"w1:{d + 1}")])
    # Any unit vector: the flow is invariant under rotations of h.
    r = sp.Matrix([3, 4]) / 5
    M = sp.Matrix([[w[i] * (alpha**2 * s[i] + lam) / alpha for i in range(d)]])
    W, A = matrix("W", 2, d), matrix("A", 1, 2)
    velocity = descent(squared_loss(A * W, sp.diag(*s), M) + penalty(lam, W, A), W, A)
    here = dict(zip([*W, *A], [*(r * w), *(alpha * r.T)], strict=True))
    at_W, at_A = (x.applyfunc(lambda entry: velocity[entry].xreplace(here)) for x in (W, A))
    yield at_W
    yield at_A + lam / alpha * (alpha**2 - w.dot(w)) * r.T
    yield alpha * w - sp.Matrix([[M[i] / (s[i] + kappa) for i in range(d)]])


def _root(f: Formulas) -> Iterator[sp.Expr | sp.logic.boolalg.Boolean]:
    """(kappa ||theta||)^2, eigenvector by eigenvector of G/n, rises from 0 to s (q . y)^2/n, that of (||X y||/n)^2."""
    s, y, kappa = sp.symbols("s y kappa", positive=True)
    S, P, target = (sp.Matrix([x]) for x in (s, 1 / (s + kappa), y))
    part = kappa**2 * f.norm2(S, P, target, 1)[0]
    yield sp.Gt(sp.together(sp.diff(part, kappa)), 0)
    yield part.subs(kappa, 0)
    yield sp.limit(part, kappa, sp.oo) - s * y**2


# What is false: a sum for the difference, half the rates, another penalty, a fit without its gram.
SUM = {"imbalance": lambda W, A: W @ W.T + A.T @ A}
HALF = {"decay": lambda lam, t: sp.exp(-lam * t)}
TWICE_W = {"imbalance": lambda W, A: 2 * W @ W.T - A.T @ A}
OTHER_SIZE = {"size": lambda lam, kappa: 2 * lam / kappa}
SHAPES = ((1, 2), (1, 3), (2, 3))

m, d, n, K = sp.symbols("m d n K", integer=True, positive=True)
W, A = sp.MatrixSymbol("W", m, d), sp.MatrixSymbol("A", K, m)
S, P, y = sp.MatrixSymbol("S", n, n), sp.MatrixSymbol("P", n, n), sp.MatrixSymbol("y", n, 1)
lam, t, eps, kappa, spread, b = sp.symbols("lambda t epsilon kappa s b")

THEOREM = Theorem(
    id="T12",
    subject="finite samples",
    assumptions=(
        "linear network",
        "start A = 0, W^T W = eps^2 I, so m >= d (the remainder)",
        "the same lambda on both layers",
        "G commutes with the label projector (deflation known in advance)",
        "residuals stay in the row space of Y, as with the squared loss (the same)",
        "squared loss, scalar targets (the ridge)",
        "0 < lambda < ||X y||/n (the ridge)",
    ),
    formulas=Formulas(
        imbalance=Formula(lambda W, A: W @ W.T - A.T @ A, (W, A)),
        decay=Formula(lambda lam, t: sp.exp(-2 * lam * t), (lam, t)),
        remainder=Formula(
            lambda Z, eps, lam, t: eps**2 * sp.exp(-2 * lam * t) * Z.T @ Z,
            (sp.MatrixSymbol("Z", d, n), eps, lam, t),
            "H_r^T H_r",
            r"H_r^\top H_r",
        ),
        fit=Formula(lambda S, P, y: S @ P @ y, (S, P, y), "yhat", r"\hat y"),
        norm2=Formula(
            lambda S, P, y, n: 1 / sp.sympify(n) * y.T @ P @ S @ P @ y,
            (S, P, y, sp.Symbol("n")),
            "||theta||^2",
            r"\|\theta\|^2",
        ),
        size=Formula(lambda lam, kappa: lam / kappa, (lam, kappa), "b", "b"),
        scatter=Formula(
            lambda spread, b: spread / sp.sqrt(b),
            (spread, b),
            "std(h | class)",
            r"\mathrm{std}(h \mid \text{class})",
        ),
    ),
    claims=(
        Claim(
            "(a) any loss, in range W(0): {imbalance} is eps^2 I times {decay}",
            ("invariant", "invariant by entries"),
        ),
        Claim("(a) with Z = (I - P_F) X: {remainder}", ("invariant", "remainder", "remainder by entries")),
        Claim(
            "(b) where G commutes with the label projector and residuals stay in Y's row space, the rows of F stay in "
            "range(X Y^T)",
            ("rows", "rows by entries"),
        ),
        Claim("(b) and span it, as long as rank F = rank X Y^T: then (I - P_F) X is known before training"),
        Claim(
            "(c) with S = G/n, P = (S + kappa)^-1: a rest point has {fit}, and {size} is its ||theta||, {norm2}",
            ("ridge", "ridge by entries"),
        ),
        Claim(
            "(c) kappa ||theta|| rises with kappa from 0 to ||X y||/n, by {norm2}: one root below critical",
            ("root", "ridge"),
        ),
        Claim("(c) h is on one ray there, and {scatter} with s that of yhat", ("ridge",)),
        Claim("(c) the flow ends there, at the rate of the linearised flow, and the remainder dies"),
    ),
    steps=(
        Step(
            "invariant",
            "from a loss of which only the gradient by F has a name: the imbalance, and its start",
            _invariant,
            SUM | HALF,
        ),
        Step(
            "invariant by entries",
            "a second time, from an unknown function of all entries of F",
            _invariant_entries,
            SUM | HALF,
            "(K, d)",
            SHAPES,
        ),
        Step(
            "remainder",
            "from the imbalance c^2 I and Penrose's conditions for A, W invertible in range W(0)",
            _remainder,
            TWICE_W | HALF | {"remainder": lambda Z, eps, lam, t: eps * sp.exp(-2 * lam * t) * Z.T @ Z},
        ),
        Step(
            "remainder by entries",
            "a second time, entry by entry: W_r W_r^T is c^2 times a projector, and W_r F^T = 0",
            _remainder_entries,
            TWICE_W,
            "(K, d)",
            SHAPES,
        ),
        Step(
            "rows",
            "from G E = E B, and the flow of both kinds of loss: what would leave range(X Y^T) decays from 0",
            _rows,
            HALF,
        ),
        Step(
            "rows by entries",
            "the flow a second time, entry by entry",
            _rows_entries,
            HALF,
            "(rank, rest, m, K)",
            ((1, 1, 2, 1), (1, 2, 3, 1), (2, 1, 3, 2)),
        ),
        Step(
            "ridge",
            "from the squared loss as a trace: both layers at rest, the fit, its norm, the Gram matrix of h",
            _ridge,
            OTHER_SIZE
            | {
                "fit": lambda S, P, y: P @ y,
                "norm2": lambda S, P, y, n: y.T @ P @ S @ P @ y,
                "scatter": lambda spread, b: spread / b,
            },
            "(m, d, n)",
        ),
        Step(
            "ridge by entries",
            "a second time, entry by entry, in the eigenbasis of X X^T/n",
            _ridge_entries,
            OTHER_SIZE,
            "d",
            (1, 2, 3),
        ),
        Step(
            "root",
            "kappa ||theta|| along each eigenvector of G/n: its derivative, its ends",
            _root,
            {"norm2": lambda S, P, y, n: y.T @ P @ P @ y},
            "n",
        ),
    ),
)

prove = THEOREM.prove
