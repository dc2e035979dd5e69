"""T18 Where to look: off the row space of the classifier, 2-means meets T10's threshold where on h it does not.

h in R^m is the representation, A (K, m) the output layer, P = I - A^+ A the projector off A's row space; two
subclasses of one coarse class are Gaussian in h, equally likely, with mean difference delta and equal covariance Cov.

(a) Fine structure goes there. Linear network h = W x. For any loss, P dW/dt = -lambda P W. For the squared loss and an
    invisible eigenvector v of Sigma with eigenvalue s (T3), whose image W v is what fine structure along v is worth in
    h, at every time
        A dW/dt v = -(lambda + s A A^T) A W v,
    so with A held fixed P W falls as e^{-lambda t} and A W v as e^{-lambda t} e^{-s A A^T t}: what is inside the row
    space dies faster.
(b) Nothing is lost. If A delta = 0 then P delta = delta and delta^T P Cov P delta = delta^T Cov delta, so that the
    accuracy of the nearest class mean is the same on P h as on h. The Mahalanobis distance, and with it the optimal
    accuracy, can only fall. With R orthonormal rows of A's row space, G a basis of the rest, c = G^T Cov R^T,
    Cov_P = G^T Cov G and y = G^T delta its square on h exceeds that on P h by
        u^T Z u,   u = c^T Cov_P^{-1} y,   Z^{-1} = R Cov R^T - c^T Cov_P^{-1} c > 0;
    it is the same if P Cov = Cov P (c = 0).
(c) 2-means. If A delta = 0 and delta is an eigenvector of Cov with variance s^2, a = ||delta||/2: P Cov P has the same
    eigenvector, and its largest other variance is at most that of Cov. With T = (pi/2)(E|X|)^2 from T10, 2-means is the
    bisector, accuracy Phi(a/s), on P h iff the largest other variance off the row space is below T, and on h iff that
    of all of Cov is: a nuisance of variance tau^2 > T inside the row space (confidence, feature norm along the class
    mean) blinds 2-means on h and is not there on P h.
    (a) and (c) together: along a flow with weight decay delta and its noise shrink as e^{-lambda t} while visible
    noise stays, so that 2-means on h passes its threshold at some time; what lies off the row space shrinks as one.

Loose: a draft of (a) took A to be at rest at the end of training, so that A W v would fall at lambda + s sigma_i(A)^2
there too. With lambda > 0 it does not: A still turns as it follows W (T2: their imbalance lives as e^{-2 lambda t}),
and the leak ||A W v||/||W v|| falls at about 2 lambda, to 0 (measured, not proved; a test keeps both rates).

Not covered: a scale of each sample's own, h = rho (mean + noise) with rho random. Such h is not Gaussian given the
subclass; P h carries rho as much as h, so projecting does not remove it, and dividing by ||P h|| does. On a real
network this second nuisance is large (trial: 65 % recovered after projecting, 90 % with unit norm added); what theory
proves is the first step only. tests/theory/theorems/test_where_to_look.py keeps a case of it.

Proved at every size, and a second time by entries: (a), (b), and the variances of (c), which T10 turns into accuracies.
Part proved: 2-means in (c), whose threshold is where the spreads along and across delta are alike; that no direction in
between is better is T10's, and that the split goes through the midpoint is only observed there. Only observed: that a
flow passes the threshold, the leak's rate where A is trained too, and real networks.

Source: that clustering collapsed features finds fine classes, Yang, Steinhardt & Hu (2023). Projecting off the
classifier's rows, and why: this project, T18.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.linalg import expm, null_space

from finegrain.theory.moments import Moments
from finegrain.theory.theorems import recoverability, rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import (
    UnknownLoss,
    descent,
    matrix,
    penalty,
    squared_loss,
    symmetric,
)
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def rows(classifier: ArrayLike) -> Array:
    """An orthonormal basis (r, m) of the row space of the classifier A (K, m); rows of any rank, zeros allowed."""
    A = checks.real("classifier", classifier, ("K", "m"))
    _, values, right = np.linalg.svd(A, full_matrices=False)
    return right[values > max(A.shape) * np.finfo(float).eps * max(values[0], np.finfo(float).tiny)]


def projector(classifier: ArrayLike) -> Array:
    """P = I - A^+ A, (m, m), off the row space of the classifier A (K, m)."""
    R = rows(classifier)
    # A^+ A = R^+ R, and R^+ = R^T.
    return THEOREM.formulas.projector.number(R, R.T, np.eye(R.shape[1]))


def project(moments: Moments, classifier: ArrayLike) -> Moments:
    """Moments of P h from those of h, full covariances: (C,), (C, m), (C, m, m)."""
    P = projector(classifier)
    covariances = [_projected(P, covariance) for covariance in np.asarray(moments.covariances)]
    return Moments(moments.weights, np.asarray(moments.means) @ P, np.stack(covariances))


def _projected(P: Array, covariance: Array) -> Array:
    found = THEOREM.formulas.projected.number(P, covariance)
    return (found + found.T) / 2


def predict(delta: ArrayLike, covariance: ArrayLike, classifier: ArrayLike) -> dict[str, tuple[float, float]]:
    """T10's accuracies "optimum", "bisector", "two_means", each on h and on P h; delta (m,), covariance (m, m)."""
    P = projector(classifier)
    delta, cov = np.asarray(delta, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    whole = recoverability.predict(delta, cov)
    off = recoverability.predict(P @ delta, _projected(P, cov))
    return {rule: (whole[rule], off[rule]) for rule in whole}


def predict_gap(delta: ArrayLike, covariance: ArrayLike, classifier: ArrayLike) -> float:
    """Delta^2 on h minus Delta^2 on P h, for a delta (m,) that A does not see and an invertible Cov (m, m)."""
    R, cov = rows(classifier), np.asarray(covariance, dtype=np.float64)
    G = null_space(R)
    c, inverse = G.T @ cov @ R.T, np.linalg.inv(G.T @ cov @ G)
    Z = np.linalg.inv(R @ cov @ R.T - c.T @ inverse @ c)
    u = c.T @ inverse @ G.T @ np.asarray(delta)[:, None]
    return float(THEOREM.formulas.gap.number(u, Z)[0, 0])


def predict_images(
    image: ArrayLike, classifier: ArrayLike, eigenvalue: float, weight_decay: float, t: float
) -> tuple[Array, Array]:
    """A W v (K,) and P W v (m,) at time t, A held fixed, from W v (m,) at time 0 and v's eigenvalue s."""
    A, f = checks.real("classifier", classifier, ("K", "m")), THEOREM.formulas
    w = checks.real("image", image, (A.shape[1],))
    inside = f.inside.number(A, eigenvalue, weight_decay, np.eye(len(A)))
    return expm(-t * inside) @ A @ w, f.decay.number(weight_decay, t) * projector(A) @ w


def _pdf(x: sp.Expr) -> sp.Expr:
    return sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)


def _cdf(x: sp.Expr) -> sp.Expr:
    return (1 + sp.erf(x / sp.sqrt(2))) / 2


def _decay_rate(f: Formulas, lam: sp.Symbol) -> sp.Expr:
    """d ln decay/dt."""
    t = sp.Symbol("t")
    return sp.diff(f.decay(lam, t), t) / f.decay(lam, t)


def _classifier(f: Formulas) -> tuple[words.Words, words.Words, list[rewriting.Equality]]:
    """A, P and Penrose's conditions for A^+."""
    A = words.letter("A", "K", "m")
    inverse, penrose = rewriting.pseudo_inverse("A^+", A)
    return A, f.projector(A, inverse, words.identity("m")), penrose


def _off(f: Formulas) -> Iterator[words.Words | sp.Expr]:
    lam, W, (A, P, penrose) = sp.Symbol("lambda"), words.letter("W", "m", "d"), _classifier(f)
    loss = words.any_loss(A @ W, words.letter("S", "K", "d")) + words.penalty(lam, W)
    left = P @ words.flow(loss, W)[W] - _decay_rate(f, lam) * P @ W
    yield rewriting.under(left, rewriting.rules(*penrose))
    yield f.decay(lam, 0) - 1


def _off_by_entries(f: Formulas, m: int, d: int, K: int) -> sp.Matrix:
    lam, W, (A, P) = sp.Symbol("lambda"), matrix("W", m, d), _seen(f, m, K)
    velocity = descent(UnknownLoss(*(A * W)) + penalty(lam, W), W)
    return P * W.applyfunc(velocity.__getitem__) - _decay_rate(f, lam) * P * W


def _seen(f: Formulas, m: int, K: int) -> tuple[sp.Matrix, sp.Matrix]:
    """A = [L 0] and P, in an orthonormal basis of R^m that begins with A's rows: nothing is lost, for all here is
    unchanged by a rotation of h."""
    A = sp.Matrix.hstack(matrix("L", K, K), sp.zeros(K, m - K))
    inverse = A.T * (A * A.T).inv(method="ADJ")
    return A, f.projector(A, inverse, sp.eye(m)).applyfunc(sp.cancel)


def _inside(f: Formulas) -> words.Words:
    """v is invisible: Sigma v = s v and M v = 0."""
    lam, s = sp.symbols("lambda s")
    A, W, v = words.letter("A", "K", "m"), words.letter("W", "m", "d"), words.letter("v", "d", "1")
    second, cross = words.symmetric("Sigma", "d"), words.letter("M", "K", "d")
    loss = words.squared_loss(A @ W, second, cross) + words.penalty(lam, W)
    left = A @ words.flow(loss, W)[W] @ v + f.inside(A, s, lam, words.identity("K")) @ A @ W @ v
    return rewriting.under(left, rewriting.rules((second @ v, s * v), (cross @ v, 0)))


def _inside_by_entries(f: Formulas, invisible: int, visible: int, m: int, K: int) -> Iterator[sp.Matrix]:
    """In a basis that lists V first (T3), with Sigma diagonal on V, A any matrix."""
    lam, s = sp.Symbol("lambda"), sp.symbols(f"s:{invisible}")
    W, A = matrix("W", m, invisible + visible), matrix("A", K, m)
    cross = sp.Matrix.hstack(sp.zeros(K, invisible), matrix("M", K, visible))
    loss = squared_loss(A * W, sp.diag(*s, symmetric("Q", visible)), cross) + penalty(lam, W)
    velocity = descent(loss, W)
    for i in range(invisible):
        image = W[:, i]
        yield A * image.applyfunc(velocity.__getitem__) + f.inside(A, s[i], lam, sp.eye(K)) * A * image


def _projection(f: Formulas) -> Iterator[words.Words]:
    """delta is any vector with A delta = 0, and so (A^+)^T delta = (A^+)^T A^+ A delta = 0."""
    A, P, penrose = _classifier(f)
    cov, delta = words.symmetric("Cov", "m"), words.letter("delta", "m", "1")
    unseen = [(A @ delta, 0), (words.letter("A^+", "m", "K").T @ delta, 0)]
    kept = f.variance(P @ delta, f.projected(P, cov)) - f.variance(delta, cov)
    for left in (A @ P, P @ P - P, P - P.T, P @ delta - delta, kept):
        yield rewriting.under(left, rewriting.rules(*penrose, *unseen))


def _projection_by_entries(f: Formulas, m: int, K: int) -> Iterator[sp.Matrix]:
    """Every delta with A delta = 0 lists zeros first."""
    (A, P), cov = _seen(f, m, K), symmetric("C", m)
    delta = sp.Matrix.vstack(sp.zeros(K, 1), matrix("y", m - K, 1))
    kept = f.variance(P * delta, f.projected(P, cov)) - f.variance(delta, cov)
    yield from (A * P, P * P - P, P - P.T, P * delta - delta, kept)


def _variances(f: Formulas) -> Iterator[words.Words]:
    """Cov delta = v delta; a nuisance of variance tau^2 along a row A^T e; and any x orthogonal to delta."""
    v, tau2 = sp.symbols("v tau2")
    A, P, penrose = _classifier(f)
    cov, e = words.symmetric("Cov", "m"), words.letter("e", "K", "1")
    delta, x = words.letter("delta", "m", "1"), words.letter("x", "m", "1")
    unseen = [(A @ delta, 0), (words.letter("A^+", "m", "K").T @ delta, 0)]
    given = rewriting.rules(*penrose, *unseen, (cov @ delta, v * delta), (delta.T @ x, 0))
    row, y, inside = A.T @ e, P @ x, x - P @ x
    noisy = f.projected(P, tau2 * row @ row.T + cov)
    for left in (
        f.projected(P, cov) @ delta - v * delta,
        noisy - f.projected(P, cov),
        # The variance along x is that of Cov along y, which is orthogonal to delta and no longer than x.
        f.variance(x, f.projected(P, cov)) - f.variance(y, cov),
        delta.T @ y,
        x.T @ x - y.T @ y - inside.T @ inside,
    ):
        yield rewriting.under(left, given)


def _variances_by_entries(f: Formulas, m: int, K: int) -> Iterator[sp.Matrix]:
    """delta is the last axis, an eigenvector of Cov; the nuisance lies along A's first row."""
    variance = sp.Symbol("tau2")
    (A, P), cov = _seen(f, m, K), sp.diag(symmetric("C", m - 1), sp.Symbol("v"))
    delta, row = sp.eye(m)[:, -1], A[0, :].T
    x = sp.Matrix.vstack(matrix("x", m - 1, 1), sp.zeros(1))
    yield f.projected(P, cov) * delta - cov * delta
    yield f.projected(P, variance * row * row.T + cov) - f.projected(P, cov)
    yield f.variance(x, f.projected(P, cov)) - f.variance(P * x, cov)


def _distance(f: Formulas) -> Iterator[words.Words]:
    """In bases E of the row space and G of the rest Cov has the blocks Z^{-1} + c^T Cov_P^{-1} c, c and Cov_P.

    A = L E^T with L invertible. The inverse of Cov is checked by multiplication, and what it adds to
    y^T Cov_P^{-1} y is the gap. Z^{-1} is Cov along `tilted`, so positive.
    """
    E, G, blocks = rewriting.split("m", "K", "n")
    L, L_inverse = words.letter("L", "K", "K"), words.letter("L^-1", "K", "K")
    Z, schur = words.symmetric("Z", "K"), words.symmetric("Z^-1", "K")
    inner, inverse = words.symmetric("Cov_P", "n"), words.symmetric("Cov_P^-1", "n")
    c, y = words.letter("c", "n", "K"), words.letter("y", "n", "1")
    inverses = ((L, L_inverse), (Z, schur), (inner, inverse))
    given = rewriting.rules(*blocks, *((u @ v, 1) for pair in inverses for u, v in (pair, pair[::-1])))
    cov = E @ (schur + c.T @ inverse @ c) @ E.T + E @ c.T @ G.T + G @ c @ E.T + G @ inner @ G.T
    tilted = E - G @ inverse @ c
    cov_inverse, off_inverse = tilted @ Z @ tilted.T + G @ inverse @ G.T, G @ inverse @ G.T
    # Rules first: else every product of sums is written out.
    P = rewriting.under(f.projector(L @ E.T, E @ L_inverse, words.identity("m")), given)
    off, delta = rewriting.under(f.projected(P, cov), given), G @ y
    for left in (
        cov @ cov_inverse - words.identity("m"),
        # Penrose's conditions for the covariance of P h.
        off @ off_inverse @ off - off,
        off_inverse @ off @ off_inverse - off_inverse,
        off @ off_inverse - off_inverse @ off,
        f.distance(delta, cov_inverse) - f.distance(delta, off_inverse) - f.gap(c.T @ inverse @ y, Z),
        f.variance(tilted, cov) - schur,
        # c = 0 iff P and Cov commute.
        E.T @ (cov @ P - P @ cov) - c.T @ G.T,
    ):
        yield rewriting.under(left, given)


def _distance_by_entries(f: Formulas, n: int) -> sp.Expr:
    """One nuisance coordinate of variance t, n others."""
    t, inner = sp.Symbol("t"), symmetric("S", n)
    y, c, inverse = matrix("y", n, 1), matrix("c", n, 1), inner.inv(method="ADJ")
    whole = sp.Matrix.vstack(sp.Matrix.hstack(sp.Matrix([[t]]), c.T), sp.Matrix.hstack(c, inner))
    delta = sp.Matrix.vstack(sp.zeros(1), y)
    Z = (sp.Matrix([[t]]) - c.T * inverse * c).inv()
    claimed = f.distance(y, inverse) + f.gap(c.T * inverse * y, Z)
    return sp.numer(sp.together((f.distance(delta, whole.inv(method="ADJ")) - claimed)[0]))


@cache
def _from_densities() -> tuple[sp.Expr, sp.Expr]:
    """The variance tau^2 at which E|x.u| along and across delta are alike, and Phi(a/s) as an integral."""
    a, s, z, tau2 = sp.symbols("a s z tau2", positive=True)
    cut = -a / s
    # Of the class at +a; the other has the same by symmetry. E|X| = 2 E[X; X > 0] - E X.
    above, mean = (sp.integrate((a + s * z) * _pdf(z), (z, low, sp.oo)) for low in (cut, -sp.oo))
    across = 2 * sp.integrate(sp.sqrt(tau2) * z * _pdf(z), (z, 0, sp.oo))
    [alike] = sp.solve(across**2 - (2 * above - mean) ** 2, tau2)
    return alike, sp.integrate(_pdf(z), (z, cut, sp.oo))


def _threshold(f: Formulas) -> Iterator[sp.Expr]:
    """2-means takes the direction of the larger spread E|x.u| (T10)."""
    a, s = sp.symbols("a s", positive=True)
    alike, share = _from_densities()
    yield (f.threshold(a, s) - alike).rewrite(sp.erf)
    yield (f.accuracy(a, s) - share).rewrite(sp.erf)


# What is false: twice the decay, half the leak, no pseudo-inverse, the rows themselves, one side of P, and more.
TWICE_DECAY = {"decay": lambda lam, t: sp.exp(-2 * lam * t)}
HALF_LEAK = {"inside": lambda A, s, lam, unit: lam * unit + s / 2 * A @ A.T}
NO_INVERSE = {"projector": lambda A, inverse, unit: unit - A.T @ A}
REFLECTION = {"projector": lambda A, inverse, unit: unit - 2 * inverse @ A}
ONTO = {"projector": lambda A, inverse, unit: inverse @ A}
REMOVED = {"projected": lambda P, C: C - P @ C @ P}
TWICE_GAP = {"gap": lambda u, Z: 2 * u.T @ Z @ u}
SQUARED = {"variance": lambda delta, C: delta.T @ C @ C @ delta}
SQUARED_DISTANCE = {"distance": lambda delta, inverse: delta.T @ inverse @ inverse @ delta}
FLOW_SIZES = ((1, 1, 2, 1), (2, 1, 2, 1), (1, 2, 3, 2))
SIZES = ((2, 1), (3, 1), (3, 2))

m, K, r = sp.symbols("m K r", integer=True, positive=True)
A, inverse = sp.MatrixSymbol("A", K, m), sp.MatrixSymbol("X", m, K)
I_m, I_K, P = (sp.MatrixSymbol(name, size, size) for name, size in (("I", m), ("I", K), ("P", m)))
Cov, C, Z = (sp.MatrixSymbol(name, size, size) for name, size in (("Cov", m), ("C", m), ("Z", r)))
delta, u = sp.MatrixSymbol("delta", m, 1), sp.MatrixSymbol("u", r, 1)
lam, t, s, a = sp.symbols("lambda t s a")

THEOREM = Theorem(
    id="T18",
    subject="where to look",
    assumptions=(
        "the subclasses are Gaussian in h (2-means)",
        "they have equal covariance and weight (2-means)",
        "A delta = 0: the output does not tell the subclasses apart",
        "delta is an eigenvector of Cov (2-means)",
        "the largest other variance off the row space is below T (2-means on P h)",
        "P Cov = Cov P (Mahalanobis distance kept)",
        "linear network (where fine structure goes)",
        "squared loss, v an eigenvector of Sigma that the labels do not see (A W v)",
        "A held fixed (A W v and P W v at later times)",
    ),
    formulas=Formulas(
        projector=Formula(lambda A, inverse, unit: unit - inverse @ A, (A, inverse, I_m), "P", "P"),
        decay=Formula(lambda lam, t: sp.exp(-lam * t), (lam, t)),
        inside=Formula(lambda A, s, lam, unit: lam * unit + s * A @ A.T, (A, s, lam, I_K), "B", "B"),
        projected=Formula(lambda P, C: P @ C @ P, (P, Cov)),
        variance=Formula(lambda delta, C: delta.T @ C @ delta, (delta, Cov)),
        distance=Formula(lambda delta, C: delta.T @ C @ delta, (delta, C), "Delta^2", r"\Delta^2"),
        gap=Formula(lambda u, Z: u.T @ Z @ u, (u, Z)),
        threshold=Formula(
            lambda a, s: sp.pi / 2 * (2 * s * _pdf(a / s) + a * (1 - 2 * _cdf(-a / s))) ** 2, (a, s), "T", "T"
        ),
        accuracy=Formula(lambda a, s: _cdf(a / s), (a, s)),
    ),
    claims=(
        Claim(
            "(a) {projector}, X = A^+, has P dW/dt = -lambda P W for any loss, so with A held fixed P W falls as "
            "{decay}",
            ("off", "off by entries"),
        ),
        Claim(
            "(a) A dW/dt v = -B A W v with {inside}, so with A held fixed A W v is exp(-t B) times its start",
            ("inside", "inside by entries"),
        ),
        Claim(
            "(b) {projector}, X = A^+, is the orthogonal projector off A's rows; P delta = delta if A delta = 0, and "
            "{variance} is the same for Cov and {projected}: so is the accuracy of the nearest class mean",
            ("projection", "projection by entries"),
        ),
        Claim(
            "(b) {distance}, C the pseudo-inverse of the covariance, on h exceeds that on P h by {gap} >= 0, Z the "
            "inverse of a Schur complement of Cov and u = 0 if P Cov = Cov P",
            ("distance", "distance by entries"),
        ),
        Claim(
            "(c) {projected} keeps the eigenvector delta, has nothing of a nuisance along A's rows, and its largest "
            "other variance is at most that of Cov",
            ("variances", "variances by entries"),
        ),
        Claim(
            "(c) 2-means is the bisector, accuracy {accuracy}, iff the largest variance beside delta's is below "
            "{threshold}, on P h as on h",
            ("threshold",),
            "that no direction between delta and the leading other one is better is T10's; that the split goes "
            "through the midpoint is observed",
        ),
        Claim(
            "along a flow with weight decay 2-means on h passes its threshold at some time, on P h it does not"
        ),
        Claim("where A is trained too, the leak ||A W v||/||W v|| falls at about 2 lambda"),
    ),
    steps=(
        Step(
            "off",
            "from a loss of which only the gradient by A W has a name, and Penrose's conditions for A^+",
            _off,
            TWICE_DECAY | NO_INVERSE,
        ),
        Step(
            "off by entries",
            "a second time, from an unknown function of all outputs, A's rows first",
            _off_by_entries,
            TWICE_DECAY | NO_INVERSE,
            "(m, d, K)",
            ((2, 1, 1), (2, 2, 1), (3, 1, 2)),
        ),
        Step("inside", "from the squared loss, with Sigma v = s v and M v = 0", _inside, HALF_LEAK),
        Step(
            "inside by entries",
            "a second time, from the loss entry by entry, in a basis that lists V first",
            _inside_by_entries,
            HALF_LEAK,
            "(dim V, visible, m, K)",
            FLOW_SIZES,
        ),
        Step(
            "projection",
            "from Penrose's conditions and A delta = 0: A P = 0, P P = P = P^T, delta and its variance are kept",
            _projection,
            REFLECTION | REMOVED | SQUARED,
        ),
        Step(
            "projection by entries",
            "a second time, A's rows first",
            _projection_by_entries,
            REFLECTION | REMOVED | SQUARED,
            "(m, K)",
            SIZES,
        ),
        Step(
            "distance",
            "from the blocks of Cov: its inverse, Penrose's conditions for that of P Cov P, and the gap",
            _distance,
            TWICE_GAP | REMOVED | ONTO | SQUARED_DISTANCE | SQUARED,
        ),
        Step(
            "distance by entries",
            "a second time, one nuisance coordinate beside n others",
            _distance_by_entries,
            TWICE_GAP | SQUARED_DISTANCE,
            "n",
            (1, 2),
        ),
        Step(
            "variances",
            "from Cov delta = v delta: P Cov P along delta, along a row of A, and along any x orthogonal to delta",
            _variances,
            REFLECTION | REMOVED | SQUARED,
        ),
        Step(
            "variances by entries",
            "a second time, A's rows first and delta last",
            _variances_by_entries,
            REFLECTION | REMOVED | SQUARED,
            "(m, K)",
            ((3, 1), (3, 2), (4, 2)),
        ),
        Step(
            "threshold",
            "from the Gaussian densities: the variance at which the spreads along and across delta are alike, and the "
            "share of a class on its side of the bisector",
            _threshold,
            {
                "threshold": lambda a, s: (2 * s * _pdf(a / s) + a * (1 - 2 * _cdf(-a / s))) ** 2,
                "accuracy": lambda a, s: _cdf(a / (2 * s)),
            },
        ),
    ),
)

prove = THEOREM.prove
