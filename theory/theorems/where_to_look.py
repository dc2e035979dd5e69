"""T18 Where to look: off the row space of the classifier, 2-means meets T10's threshold where on h it does not.

h in R^m is the representation, A (K, m) the output layer, P = I - A^+ A the projector off A's row space; two
subclasses of one coarse class are Gaussian in h, equally likely, with mean difference delta and equal covariance Cov.

(a) Fine structure goes there. Linear network, squared loss (T3's setting): for an invisible eigenvector v of Sigma with
    eigenvalue s, whose image W v is what fine structure along v is worth in h, at every time
        P dW/dt v = -lambda P W v,     A dW/dt v = -(lambda + s A A^T) A W v,
    so with A held fixed P W v falls as e^{-lambda t} and A W v as e^{-lambda t} e^{-s A A^T t}: what is inside the row
    space dies faster.
(b) Nothing is lost. If A delta = 0 then P delta = delta and delta^T P Cov P delta = delta^T Cov delta, so that the
    accuracy of the nearest class mean is the same on P h as on h. If also P Cov = Cov P, the Mahalanobis distance
    and with it the optimal accuracy is the same; else it can only fall.
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

Proved, at the sizes listed: (a) for fixed A, (b), and the two variances of (c), which T10 turns into accuracies. Only
observed: the leak's rate where A is trained too, and real networks.

Source: that clustering collapsed features finds fine classes, Yang, Steinhardt & Hu (2023). Projecting off the
classifier's rows, and why: this project, T18.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.moments import Moments
from finegrain.theory.theorems import recoverability, rewriting, words
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
from finegrain.theory.tools.arrays import Array

THEOREM = Theorem(
    id="T18",
    subject="where to look",
    statement="off A's row space fine structure is whole and visible nuisance absent: 2-means meets T10's threshold",
    assumptions=(
        "the subclasses are Gaussian with equal covariance and weight (T10)",
        "A delta = 0: the output does not tell the subclasses apart",
        "delta is an eigenvector of Cov (thresholds)",
        "the largest other variance off the row space is below T (2-means on P h)",
        "P Cov = Cov P (Mahalanobis distance kept)",
        "linear network, squared loss, A held fixed, label-invisible v (where fine structure goes)",
    ),
    sizes="(m, K) = (2,1), (3,1), (3,2), (4,2); flow at (dim V, visible, m, K) = (1,1,2,1), (2,1,2,1), (1,2,3,2); "
    "n = 1, 2 beside the nuisance",
    latex=(
        r"P \dot W v = -\lambda P W v, \quad A \dot W v = -(\lambda + s A A^\top) A W v",
        r"A\delta = 0 \Rightarrow \delta^\top P\,\mathrm{Cov}\,P\,\delta = \delta^\top \mathrm{Cov}\,\delta",
        r"\lambda_{\max}(P\,\mathrm{Cov}\,P|_{\delta^\perp}) < \tfrac{\pi}{2}(\mathbb{E}|X|)^2",
    ),
)
statement = THEOREM.statement

SIZES = ((2, 1), (3, 1), (3, 2), (4, 2))
FLOW_SIZES = ((1, 1, 2, 1), (2, 1, 2, 1), (1, 2, 3, 2))


def projector(classifier: ArrayLike) -> Array:
    """P = I - A^+ A, (m, m), off the row space of the classifier A (K, m); rows of any rank, zeros allowed."""
    A = checks.real("classifier", classifier, ("K", "m"))
    _, values, right = np.linalg.svd(A, full_matrices=False)
    rows = right[values > max(A.shape) * np.finfo(float).eps * max(values[0], np.finfo(float).tiny)]
    return np.eye(A.shape[1]) - rows.T @ rows


def project(moments: Moments, classifier: ArrayLike) -> Moments:
    """Moments of P h from those of h, full covariances: (C,), (C, m), (C, m, m)."""
    P = projector(classifier)
    covariances = P @ np.asarray(moments.covariances) @ P
    return Moments(
        moments.weights, np.asarray(moments.means) @ P, (covariances + np.swapaxes(covariances, 1, 2)) / 2
    )


def predict(delta: ArrayLike, covariance: ArrayLike, classifier: ArrayLike) -> dict[str, tuple[float, float]]:
    """T10's accuracies "optimum", "bisector", "two_means", each on h and on P h; delta (m,), covariance (m, m)."""
    P = projector(classifier)
    delta, cov = np.asarray(delta, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    projected = P @ cov @ P
    whole = recoverability.predict(delta, cov)
    off = recoverability.predict(P @ delta, (projected + projected.T) / 2)
    return {rule: (whole[rule], off[rule]) for rule in whole}


def predict_decay(classifier: ArrayLike, eigenvalue: float, weight_decay: float) -> Array:
    """Decay rates (K,) of A W v for fixed A along its left singular vectors, largest value first; P W v's is lambda."""
    A = checks.real("classifier", classifier, ("K", "m"))
    values = np.linalg.svd(A, compute_uv=False)
    padded = np.concatenate([values, np.zeros(A.shape[0] - values.size)])
    return weight_decay + eigenvalue * padded**2


Decay = Callable[[sp.Expr, sp.Expr, sp.Matrix], sp.Matrix]


def residuals(
    inside: Callable[..., words.Words] | None = None,
    off: Callable[..., words.Words] | None = None,
    gap: Callable[..., words.Words] | None = None,
) -> dict[str, words.Words]:
    """(a), (b) and (c) at every size (words.py): what is left of each.

    inside: the claimed (s, lambda, A A^T) -> G (K, K) in d(A W v)/dt = -G A W v.
    off: the claimed (A, A^+) -> projector off the row space of A.
    gap: the claimed (c^T Cov_P^{-1} delta, 1/Schur complement) -> Delta^2 on h minus that on P h.
    Defaults: the theorem's own.
    """
    inside = inside or (lambda s, lam, gram: s * gram + lam * words.identity("K"))
    off = off or (lambda A, inverse: words.identity("m") - inverse @ A)
    gap = gap or (lambda seen, inverse_schur: seen.T @ inverse_schur @ seen)
    A = words.letter("A", "K", "m")
    inverse, penrose = rewriting.pseudo_inverse("A^+", A)
    P = off(A, inverse)
    return {
        **_flow_residuals(inside, A, P, penrose),
        **_projection_residuals(A, inverse, P, penrose),
        **_distance_residuals(gap),
    }


def _flow_residuals(
    inside: Callable[..., words.Words], A: words.Words, P: words.Words, penrose: list[rewriting.Equality]
) -> dict[str, words.Words]:
    """The loss's gradient along an invisible eigenvector v of Sigma, A fixed."""
    lam, s = sp.symbols("lambda s")
    W, v = words.letter("W", "m", "d"), words.letter("v", "d", "1")
    second, cross = words.symmetric("Sigma", "d"), words.letter("M", "K", "d")
    loss = words.squared_loss(A @ W, second, cross) + words.penalty(lam, W)
    velocity = -words.gradient(loss, W) @ v
    invisible = rewriting.rules((second @ v, s * v), (cross @ v, 0), *penrose)
    left = {
        "(a) off the row space": P @ (velocity + lam * W @ v),
        "(a) inside the row space": A @ velocity + inside(s, lam, A @ A.T) @ A @ W @ v,
    }
    return {name: rewriting.under(residual, invisible) for name, residual in left.items()}


def _projection_residuals(
    A: words.Words, inverse: words.Words, P: words.Words, penrose: list[rewriting.Equality]
) -> dict[str, words.Words]:
    """P, a delta that A does not see, an eigenvector (Cov delta = v delta + rest), a nuisance along a row A^T e."""
    v, tau2 = sp.symbols("v tau2")
    cov, delta, e = words.symmetric("Cov", "m"), words.letter("delta", "m", "1"), words.letter("e", "K", "1")
    # The second: (A^+)^T = (A^+)^T A^+ A.
    unseen = rewriting.rules(*penrose, (A @ delta, 0), (inverse.T @ delta, 0))
    row = A.T @ e
    noisy = tau2 * row @ row.T + cov
    left = {
        "(b) A P = 0": A @ P,
        "(b) P P = P": P @ P - P,
        "(b) P is symmetric": P - P.T,
        "(b) delta is kept": P @ delta - delta,
        "(b) variance along delta": delta.T @ P @ cov @ P @ delta - delta.T @ cov @ delta,
        "(c) eigenvector": P @ cov @ P @ delta - v * delta - P @ (cov @ delta - v * delta),
        "(c) nuisance": P @ noisy @ P @ row,
        "(c) variance off the row space": P @ noisy @ P - P @ cov @ P,
    }
    return {name: rewriting.under(residual, unseen) for name, residual in left.items()}


def _distance_residuals(gap: Callable[..., words.Words]) -> dict[str, words.Words]:
    """Cov = t e e^T + e c^T G^T + G c e^T + G Cov_P G^T, e the nuisance coordinate, t = 1/z + c^T Cov_P^{-1} c: its
    inverse, checked from both sides, and what that adds to delta^T Cov_P^{-1} delta. z is 1/Schur complement."""
    e, G, blocks = rewriting.split("m", "1", "n")
    z, schur = words.symmetric("z", "1"), words.symmetric("1/z", "1")
    inner, inverse = words.symmetric("Cov_P", "n"), words.symmetric("Cov_P^-1", "n")
    c, delta = words.letter("c", "n", "1"), words.letter("delta", "n", "1")
    given = rewriting.rules(
        *blocks, (z @ schur, 1), (schur @ z, 1), (inner @ inverse, 1), (inverse @ inner, 1)
    )
    whole = e @ (schur + c.T @ inverse @ c) @ e.T + e @ c.T @ G.T + G @ c @ e.T + G @ inner @ G.T
    tilted = e - G @ inverse @ c
    whole_inverse = tilted @ z @ tilted.T + G @ inverse @ G.T
    lifted = G @ delta
    difference = lifted.T @ whole_inverse @ lifted - delta.T @ inverse @ delta
    left = {
        "(b) inverse covariance": whole @ whole_inverse - words.identity("m"),
        "(b) Mahalanobis distance": difference - gap(c.T @ inverse @ delta, z),
    }
    return {name: rewriting.under(residual, given) for name, residual in left.items()}


def prove(inside: Decay | None = None, nuisance: Callable[[sp.Expr], sp.Expr] | None = None) -> None:
    """(a) from the loss, (b) from A delta = 0, (c) from the two variances beside delta's.

    inside: the claimed (s, lambda, A A^T) -> matrix G (K, K) in d(A W v)/dt = -G A W v; the theorem's own by default.
    nuisance: the claimed variance of P h along the row space, from that of h, tau^2; none by default.
    """
    inside = inside or (lambda s, lam, gram: s * gram + lam * sp.eye(gram.rows))
    for invisible, visible, m, K in FLOW_SIZES:
        _prove_flow(inside, invisible, visible, m, K)
    for m, K in SIZES:
        _prove_projection(m, K)
        _prove_variances(nuisance or (lambda tau2: sp.Integer(0)), m, K)
    _prove_distance()


def _seen(m: int, K: int) -> tuple[sp.Matrix, sp.Matrix]:
    """A = [L 0] and P, in an orthonormal basis of R^m that begins with A's rows: nothing is lost, for all here is
    unchanged by a rotation of h."""
    A = sp.Matrix.hstack(matrix("L", K, K), sp.zeros(K, m - K))
    return A, (sp.eye(m) - A.T * (A * A.T).inv(method="ADJ") * A).applyfunc(sp.cancel)


def _prove_flow(inside: Decay, invisible: int, visible: int, m: int, K: int) -> None:
    """The loss in a basis that lists V first (T3), with Sigma diagonal on V, A fixed."""
    lam = sp.Symbol("lambda")
    s = sp.symbols(f"s:{invisible}")
    W, (A, P) = matrix("W", m, invisible + visible), _seen(m, K)
    cross = sp.Matrix.hstack(sp.zeros(K, invisible), matrix("M", K, visible))
    loss = squared_loss(A * W, sp.diag(*s, symmetric("Q", visible)), cross) + penalty(lam, W, A)
    for i in range(invisible):
        velocity = -gradient(loss, W[:, i])
        require_zero(
            f"T18(a) off the row space at {invisible, visible, m, K}", P * (velocity + lam * W[:, i])
        )
        inner = A * velocity + inside(s[i], lam, A * A.T) * A * W[:, i]
        require_zero(f"T18(a) inside the row space at {invisible, visible, m, K}", inner)


def _prove_projection(m: int, K: int) -> None:
    """P is a projector off A's rows, keeps a delta = P y that A does not see, and the variance along it."""
    (A, P), y, cov = _seen(m, K), matrix("y", m, 1), symmetric("C", m)
    require_zero(f"T18(b) A P = 0 at {m, K}", A * P)
    require_zero(f"T18(b) P P = P at {m, K}", P * P - P)
    delta = P * y  # every delta with A delta = 0 is of this form
    require_zero(f"T18(b) delta is kept at {m, K}", P * delta - delta)
    along = (delta.T * P * cov * P * delta)[0] - (delta.T * cov * delta)[0]
    require_zero(f"T18(b) variance along delta at {m, K}", along)
    v = sp.Symbol("v")  # an eigenvector's residue stays off delta's row: P (Cov delta - v delta)
    residue = P * cov * P * delta - v * delta
    require_zero(f"T18(c) delta stays an eigenvector at {m, K}", residue - P * (cov * delta - v * delta))


def _prove_variances(nuisance: Callable[[sp.Expr], sp.Expr], m: int, K: int) -> None:
    """Cov with a nuisance along a row of A: P Cov P has nothing left along that row, and all of Cov off the rows."""
    variance = sp.Symbol("tau2")
    (A, P), cov = _seen(m, K), symmetric("C", m)
    row = A[0, :].T
    noisy = variance * row * row.T + cov
    require_zero(f"T18(c) nuisance at {m, K}", (row.T * P * noisy * P * row)[0] - nuisance(variance))
    require_zero(f"T18(c) variance off the row space at {m, K}", P * noisy * P - P * cov * P)


def _prove_distance() -> None:
    """Beside a nuisance coordinate of variance t and covariance c with the rest, Delta^2 on h exceeds that on P h by
    a square over a Schur complement: 0 iff c^T Cov_P^-1 delta = 0, as when P Cov = Cov P (c = 0)."""
    t = sp.Symbol("t")
    for n in (1, 2):
        inner, delta, c = symmetric("S", n), matrix("delta", n, 1), matrix("c", n, 1)
        whole = sp.Matrix.vstack(sp.Matrix.hstack(sp.Matrix([[t]]), c.T), sp.Matrix.hstack(c, inner))
        lifted = sp.Matrix.vstack(sp.zeros(1), delta)
        inverse = inner.inv(method="ADJ")
        gap = (lifted.T * whole.inv(method="ADJ") * lifted)[0] - (delta.T * inverse * delta)[0]
        claim = (c.T * inverse * delta)[0] ** 2 / (t - (c.T * inverse * c)[0])
        require_zero(f"T18(b) Mahalanobis distance at n = {n}", sp.numer(sp.together(gap - claim)))
