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
THEOREM.latex, with q_1 = x_1^T C_W x_1 and q_0 = sum_{i > 1} x_i^T C_W x_i, where x_i = sum_j x_ij e_j and C_W is the
inputs' covariance within coarse classes, and p_1, p_0 likewise with its between-subclass part C_sub.

Random small start of scale eps, one mode: after the transient e^{-2 sigma t} the same, with
b(0) = ||(A^T u + W v)/2||^2 (p below grows, q decays; f = ||p||^2 - ||q||^2 exactly), up to O(eps^2 ln(1/eps)).
Two modes or more: their vectors p_k have overlaps of size 1/sqrt m, an error that shrinks with m and not with eps.

Corrected: "up to O(eta^2)" holds at each fixed t, not uniformly in t where a closed form falls faster than its
correction: the mode's neuron vector turns by O(eta^2 e^{-2 lambda t}), so a remainder (eta^3 e^{-3 lambda t})^2 stays
along the classifier, while its closed form there falls as e^{-2 lambda t} G^{-s_j/s}. Where that is the faster, this
is the 6 lambda of T4(b); tests/theory/theorems/test_time_course.py keeps the case.

Proved, at the sizes listed: the velocity of the aligned state, up to its one term of order eta^2; that b(t) and the
factor of the invisible part solve it; the ratios of orthonormal means; p and q of a random start. Only observed: the
error's order eta^2 over time, the random start's O(eps^2 ln(1/eps)), and that with two modes it falls with m alone.

Source: b(t) without lambda, Saxe, McClelland & Ganguli (2014). Weight decay, the invisible part, NC1(t) and
fine_share(t) in closed form: this project, T5. Features that collapse along training with gradient flow on free
features: Mixon, Parshall & Pi (2022); there the inputs, hence the invisible part, are absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, penalty, require_zero, squared_loss
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

THEOREM = Theorem(
    id="T5",
    subject="closed-form time course",
    statement="b(t) is logistic, the invisible part e^{-lambda t} G^{-s_j/(2 s_k)}; NC1(t), fine_share(t) follow",
    assumptions=(
        "linear network",
        "squared loss",
        "the right singular vectors of M are eigenvectors of Sigma",
        "aligned start: orthonormal r_k, equal amplitudes a_k in both layers",
        "remainder eta small (relative error O(eta^2) at fixed t)",
    ),
    sizes="(modes, dim V, m, K) = (1,1,2,1), (1,2,2,1), (1,2,3,2), (2,1,3,2), (2,2,2,2); "
    "p and q at m = 1, 2, 3; ratios for 4 classes",
    latex=(
        r"G_k(t) = 1 + s_k b_k(0) \frac{e^{2 \kappa_k t} - 1}{\kappa_k}, \quad \kappa_k = \sigma_k - \lambda",
        r"b_k(t) = \frac{b_k(0)\, e^{2 \kappa_k t}}{G_k(t)}",
        r"r_i^\top W_v(t)\, e_j = \eta\, x_{ij}\, e^{-\lambda t}\, G_i(t)^{-s_j/(2 s_i)}"
        r" \quad (G_i = 1 \text{ for } r_i \text{ without a mode})",
        r"w_i(t) = \sqrt{b_i(t)}\, v_i + \eta\, e^{-\lambda t} \sum_j x_{ij}\, G_i(t)^{-s_j/(2 s_i)}\, e_j",
        r"\mathrm{NC1}(t) = \frac{\operatorname{tr} \Sigma_W}{\operatorname{tr} \Sigma_B}"
        r" = \frac{\sum_i w_i^\top C_W w_i}{\sum_i w_i^\top C_B w_i}",
        r"\mathrm{fine\_share}(t) = \frac{\sum_i w_i^\top C_{\mathrm{sub}} w_i}{\sum_i w_i^\top C_W w_i}",
        r"\text{orthonormal means, noise } \tau:\quad \mathrm{NC1}(t) = C \tau^2"
        r" + C \eta^2 e^{-2 \lambda t}\, \frac{q_1 / G(t) + q_0}{b(t)}",
        r"\mathrm{NC1}_{\mathrm{pinv}}(t) = \frac{C}{2} \Bigl(\tau^2"
        r" + \eta^2 e^{-2 \lambda t}\, \frac{q_1}{G(t)\, b(t)}\Bigr)",
        r"\mathrm{fine\_share}(t) = \frac{\eta^2 e^{-2 \lambda t} (p_1 / G(t) + p_0)}"
        r"{\tau^2 b(t) + \eta^2 e^{-2 \lambda t} (q_1 / G(t) + q_0)}",
    ),
)

SIZES = ((1, 1, 2, 1), (1, 2, 2, 1), (1, 2, 3, 2), (2, 1, 3, 2), (2, 2, 2, 2))


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
    return float(np.sum((A0.T @ left + W0 @ right) ** 2) / 4)


Claim = Callable[..., tuple[sp.Expr, sp.Expr]]


def prove(course: Claim | None = None) -> None:
    """Velocities of the aligned state from the loss; the closed forms solve them; ratios from the class moments.

    course: the claimed (b0, kappa, s, s_j, lambda, t) -> (b(t), factor of the invisible part); by default the
    theorem's own.
    """
    course = course or _course
    for modes, invisible, m, K in SIZES:
        _prove_velocity(modes, invisible, m, K)
    _prove_course(course)
    _prove_ratios(course)
    _prove_random_start()


def _course(
    b0: sp.Expr, kappa: sp.Expr, s: sp.Expr, s_j: sp.Expr, lam: sp.Expr, t: sp.Expr
) -> tuple[sp.Expr, sp.Expr]:
    growth = 1 + s * b0 * (sp.exp(2 * kappa * t) - 1) / kappa
    return b0 * sp.exp(2 * kappa * t) / growth, sp.exp(-lam * t) * growth ** (-s_j / (2 * s))


def _prove_velocity(modes: int, invisible: int, m: int, K: int) -> None:
    """In the bases u, r, (v, e), where all of them are unit vectors: the flow is orthogonally invariant."""
    lam, eta = sp.symbols("lambda eta")
    a, sigma, s = (sp.symbols(f"{name}1:{modes + 1}") for name in ("a", "sigma", "s"))
    s_v = sp.symbols(f"z1:{invisible + 1}")
    X = matrix("x", m, invisible)
    W, A = matrix("W", m, modes + invisible), matrix("A", K, m)
    cross = sp.Matrix(K, modes + invisible, lambda i, j: sigma[j] if i == j and j < modes else 0)
    loss = squared_loss(A * W, sp.diag(*s, *s_v), cross) + penalty(lam, W, A)
    aligned_A = sp.Matrix(K, m, lambda k, i: a[i] if i == k and i < modes else 0)
    aligned_W = sp.Matrix.hstack(
        sp.Matrix(m, modes, lambda i, k: a[k] if i == k else 0),
        eta * X,
    )
    here = dict(zip([*W, *A], [*aligned_W, *aligned_A], strict=True))
    dW, dA = -gradient(loss, W).subs(here), -gradient(loss, A).subs(here)

    rate = [sigma[k] - lam - s[k] * a[k] ** 2 for k in range(modes)]  # d ln a_k / dt, half of d ln b_k / dt
    at = f"T5 velocity at {modes, invisible, m, K}"
    require_zero(
        f"{at}: W", dW[:, :modes] - sp.Matrix(m, modes, lambda i, k: rate[k] * a[k] if i == k else 0)
    )
    decay = sp.Matrix(m, invisible, lambda i, j: -lam - (s_v[j] * a[i] ** 2 if i < modes else 0))
    require_zero(f"{at}: remainder", dW[:, modes:] - eta * decay.multiply_elementwise(X))
    back = -(eta**2) * aligned_A * X * sp.diag(*s_v) * X.T
    model = sp.Matrix(K, m, lambda k, i: rate[k] * a[k] if i == k and k < modes else 0)
    require_zero(f"{at}: A, up to eta^2", dA - model - back)


def _prove_course(course: Claim) -> None:
    """b' = 2 b (kappa - s b) and (ln factor)' = -lambda - s_j b, kappa = 0 as the limit, and both start right."""
    b0, s, t = sp.symbols("b s t")
    kappa, lam = sp.symbols("kappa lambda")
    s_j = sp.Symbol("s_j")
    b, factor = course(b0, kappa, s, s_j, lam, t)
    require_zero("T5 amplitude", sp.diff(b, t) - 2 * b * (kappa - s * b))
    require_zero("T5 amplitude at t = 0", b.subs(t, 0) - b0)
    # The logarithm, for the derivative of the power itself does not simplify.
    log_factor = sp.expand_log(sp.log(factor), force=True)
    require_zero("T5 remainder", sp.diff(log_factor, t) + lam + s_j * b)
    require_zero("T5 remainder at t = 0", factor.subs(t, 0) - 1)
    require_zero("T5 at kappa = 0", sp.limit(b, kappa, 0) - b0 / (1 + 2 * s * b0 * t))


def _prove_ratios(course: Claim) -> None:
    """Orthonormal means e_1..e_4, noise tau, two coarse classes: class moments of h = W x, entry by entry."""
    tau, size, B, G, lam, t, b0, kappa, s = sp.symbols("tau size B G lambda t b_0 kappa s")
    x = matrix("x", 2, 3)
    b, factor = course(b0, kappa, s, s, lam, t)
    # Every s_j is s here: the factor along r_1 is e^{-lambda t} / sqrt G.
    # Below B stands for b(t), G for G(t), size for eta e^{-lambda t}.
    require_zero("T5 factor at s_j = s", factor**2 - sp.exp(-2 * lam * t) * b / (b0 * sp.exp(2 * kappa * t)))
    root2 = sp.sqrt(2)
    v = sp.Matrix([[-1, -1, 1, 1]]) / 2
    e = sp.Matrix([[1, 1, 1, 1], [root2, -root2, 0, 0], [0, 0, root2, -root2]]) / 2
    W = sp.Matrix.vstack(sp.sqrt(B) * v + size / sp.sqrt(G) * x[0, :] * e, size * x[1, :] * e)

    means = [W[:, c] for c in range(4)]
    coarse = [(means[0] + means[1]) / 2, (means[2] + means[3]) / 2]
    sub = _mean([(means[c] - coarse[c // 2]) * (means[c] - coarse[c // 2]).T for c in range(4)])
    within = sub + tau**2 * W * W.T
    centre = _mean(coarse)
    between = _mean([(h - centre) * (h - centre).T for h in coarse])

    p = [(x[i, 1] ** 2 + x[i, 2] ** 2) / 4 for i in (0, 1)]
    q = [p[i] + tau**2 * sum(x[i, j] ** 2 for j in range(3)) for i in (0, 1)]
    nc1 = 4 * tau**2 + 4 * size**2 * (q[0] / G + q[1]) / B
    require_zero("T5 NC1", within.trace() - nc1 * between.trace())
    # Sigma_B = B/4 r_1 r_1^T, so its pseudo-inverse reads Sigma_W along r_1.
    require_zero("T5 between-class covariance", between - sp.diag(B / 4, 0))
    require_zero("T5 NC1, pinv", within[0, 0] * 4 / B / 2 - 2 * (tau**2 + size**2 * q[0] / (G * B)))
    share = size**2 * (p[0] / G + p[1])
    total = tau**2 * B + size**2 * (q[0] / G + q[1])
    require_zero("T5 fine_share", sub.trace() * total - share * within.trace())


def _mean(terms: list[sp.Matrix]) -> sp.Matrix:
    return sum(terms[1:], terms[0]) / len(terms)


def _prove_random_start() -> None:
    """One mode, no remainder, any A^T u and W v: p = (A^T u + W v)/2 and q = (A^T u - W v)/2 keep their directions."""
    lam, sigma, s = sp.symbols("lambda sigma s")
    for m in (1, 2, 3):
        A, W = matrix("A", 1, m), matrix("W", m, 1)
        loss = squared_loss(A * W, sp.Matrix([[s]]), sp.Matrix([[sigma]])) + penalty(lam, W, A)
        da, dw = -gradient(loss, A).T, -gradient(loss, W)
        p, q = (A.T + W) / 2, (A.T - W) / 2
        f = p.dot(p) - q.dot(q)
        require_zero(f"T5 p at m = {m}", (da + dw) / 2 - (sigma - lam - s * f) * p)
        require_zero(f"T5 q at m = {m}", (da - dw) / 2 + (sigma + lam - s * f) * q)
