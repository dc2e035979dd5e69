"""T1 Kinematics: exact moments of phi(z) for Gaussian z, and the gradient of every loss of them.

z ~ N(b, Q), s_i = sqrt(Q_ii), h_i = b_i/s_i, r = Q_12/(s_1 s_2), q = sqrt((1 - r)(1 + r)), phi and Phi the standard
normal density and distribution function, F2 = P(X < h_1, Y < h_2) at correlation r.

(a) E relu(z) = b Phi(h) + s phi(h),   E relu(z)^2 = (b^2 + s^2) Phi(h) + b s phi(h),
    E relu(z_1) relu(z_2) = s_1 s_2 {(h_1 h_2 + r) F2 + h_2 phi(h_1) Phi((h_2 - r h_1)/q)
        + h_1 phi(h_2) Phi((h_1 - r h_2)/q) + q/(2 pi) exp(-(h_1^2 - 2 r h_1 h_2 + h_2^2)/(2 q^2))}.
(b) Price's form, in which nothing cancels:
    Cov = s_1 s_2 {r Phi(h_1) Phi(h_2)
          + (1/2 pi) int_0^{asin r} (r - sin u) exp(-(h_1^2 + h_2^2 - 2 h_1 h_2 sin u)/(2 cos^2 u)) du}.
(c) Leaky slope a: Cov = a^2 Q_12 + a (1 - a) Q_12 (Phi(h_1) + Phi(h_2)) + (1 - a)^2 Cov_relu.
(d) Square: Cov = 4 b_1 b_2 Q_12 + 2 Q_12^2.
(e) erf, D = sqrt(1 + 2 s^2): E erf(z) = erf(b/D), and E erf(z_1) erf(z_2) is
    4 F2(sqrt2 b_1/D_1, sqrt2 b_2/D_2; 2 Q_12/(D_1 D_2)) - erf(b_1/D_1) - erf(b_2/D_2) - 1.
(f) Derivatives of G = E phi(z_1) phi(z_2), phi of at most exponential growth (weak derivatives at a kink):
    dG/db_1 = E phi'(z_1) phi(z_2), dG/dQ_12 = E phi'(z_1) phi'(z_2), dG/dQ_11 = E phi''(z_1) phi(z_2)/2. For ReLU
    dG/dQ_12 = F2, dG/db_1 = b_2 F2 + Q_22 D_21 + Q_12 D_12, dG/dQ_11 = phi(h_1)/s_1 (m Phi(m/s') + s' phi(m/s'))/2,
    D_12 = phi(h_1)/s_1 Phi(m/s'), m = b_2 - Q_12 b_1/Q_11, s'^2 = Q_22 - Q_12^2/Q_11, and D_21 the same with 1 and 2
    exchanged; and the gradient of any L(b, Q) with b = W mu, Q = W Sigma W^T is dL/dW = b_bar mu^T + 2 Q_bar W Sigma.
(g) Zero means: s_1 s_2 (q + r (pi - acos r))/(2 pi) for ReLU, the arc-cosine kernel, and (2/pi) asin(2 Q_12/(D_1 D_2))
    for erf.

The proof rests on the heat equations of the density p of z, checked here: d_Q12 p = d_1 d_2 p, d_Q11 p = d_1^2 p/2, and
d_b1 p = -d_1 p. A moment is then fixed by its derivative in Q_12 and by its value at Q_12 = 0, where z_1 and z_2 are
independent.

Computation is `finegrain.theory.kinematics`, which `predict` calls.

Source: Price (1958), IRE Trans. Inf. Theory 4, 69, (b) and (f); Cho & Saul (2009) and Williams (1997), (g); the closed
forms at non-zero mean and their gradients as stated: this project, T1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.special import ndtr

from finegrain.theory import gaussian, kinematics
from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, require_zero, symmetric
from finegrain.theory.tools.arrays import Array

THEOREM = Theorem(
    id="T1",
    subject="kinematics",
    statement="mean and covariance of phi(z), z Gaussian, for ReLU, leaky ReLU, square, erf, and their derivatives",
    assumptions=(
        "z is Gaussian within a class",
        "phi is ReLU, leaky ReLU, square, erf or the identity (its own formula each)",
        "the loss sees h through its mean and covariance (gradient)",
    ),
    sizes="pairs of neurons, hence any number m, for all b, Q; the gradient at (m, d) = (1,2), (2,2), (2,3)",
    latex=(
        r"\mathbb{E}\,\mathrm{relu}(z) = b\,\Phi(h) + s\,\varphi(h)",
        r"\mathrm{Cov} = s_1 s_2 \Bigl\{ r\,\Phi(h_1)\Phi(h_2) + \frac{1}{2\pi} \int_0^{\arcsin r} (r - \sin u)\,"
        r"e^{-(h_1^2 + h_2^2 - 2 h_1 h_2 \sin u)/(2\cos^2 u)}\,du \Bigr\}",
        r"\mathbb{E}\,\mathrm{erf}(z) = \mathrm{erf}(b/\sqrt{1 + 2 s^2})",
        r"\frac{\partial}{\partial Q_{12}} \mathbb{E}\,\phi(z_1)\phi(z_2) = \mathbb{E}\,\phi'(z_1)\phi'(z_2)",
    ),
)

GRADIENT_SIZES = ((1, 2), (2, 2), (2, 3))


def predict(b: ArrayLike, Q: ArrayLike, activation: str, *, slope: float = 0.01) -> tuple[Array, Array]:
    """Mean (..., m) and covariance (..., m, m) of phi(z), z ~ N(b, Q), b (..., m) and Q (..., m, m)."""
    return kinematics.activation_moments(b, Q, activation, slope=slope)


def predict_derivatives(b: ArrayLike, Q: ArrayLike) -> tuple[float, float, float]:
    """(f) for ReLU: dG/db_1, dG/dQ_12 and dG/dQ_11 of G = E relu(z_1) relu(z_2), from b (2,) and Q (2, 2), |r| < 1."""
    b, Q = np.asarray(b, dtype=np.float64), np.asarray(Q, dtype=np.float64)
    s = np.sqrt(np.diag(Q))
    orthant = float(gaussian.bivariate_normal_cdf(b[0] / s[0], b[1] / s[1], Q[0, 1] / (s[0] * s[1])))
    other = b[::-1] - Q[0, 1] * b / np.diag(Q)  # m: mean of z_k at z_j = 0
    spread = np.sqrt(np.diag(Q)[::-1] - Q[0, 1] ** 2 / np.diag(Q))  # s'
    edge = np.exp(-((b / s) ** 2) / 2) / (np.sqrt(2 * np.pi) * s)  # density of z_j at 0
    D = edge * ndtr(other / spread)
    hinge = other * ndtr(other / spread) + spread * np.exp(-((other / spread) ** 2) / 2) / np.sqrt(2 * np.pi)
    by_b = b[1] * orthant + Q[1, 1] * D[1] + Q[0, 1] * D[0]
    return float(by_b), orthant, float(edge[0] * hinge[0] / 2)


def predict_arc_cosine(Q: ArrayLike) -> Array:
    """E relu(z) relu(z)^T at zero mean, shape (m, m), from Q (m, m) with a positive diagonal."""
    second = np.asarray(Q, dtype=np.float64)
    s = np.sqrt(np.diag(second))
    r = np.clip(second / np.outer(s, s), -1, 1)
    return np.outer(s, s) * (np.sqrt((1 - r) * (1 + r)) + r * (np.pi - np.arccos(r))) / (2 * np.pi)


def predict_arc_sine(Q: ArrayLike) -> Array:
    """E erf(z) erf(z)^T at zero mean, shape (m, m), from Q (m, m)."""
    second = np.asarray(Q, dtype=np.float64)
    D = np.sqrt(1 + 2 * np.diag(second))
    return 2 / np.pi * np.arcsin(2 * second / np.outer(D, D))


h, k = sp.symbols("h k")
r = sp.Symbol("r")
q = sp.sqrt(1 - r**2)


class F2(sp.Function):
    """P(X < h, Y < k) at correlation r, known by its derivatives, proved from the density's heat equations."""

    def fdiff(self, argindex: int) -> sp.Expr:
        """phi(h) Phi((k - r h)/q), its mirror image, and the density at (h, k)."""
        h, k, r = self.args
        q = sp.sqrt(1 - r**2)
        values = {
            1: _pdf(h) * _cdf((k - r * h) / q),
            2: _pdf(k) * _cdf((h - r * k) / q),
            3: _density(h, k, r),
        }
        return values[argindex]


def _pdf(x: sp.Expr) -> sp.Expr:
    return sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)


def _cdf(x: sp.Expr) -> sp.Expr:
    return (1 + sp.erf(x / sp.sqrt(2))) / 2


def _density(x: sp.Expr, y: sp.Expr, r: sp.Expr) -> sp.Expr:
    return sp.exp(-(x**2 - 2 * r * x * y + y**2) / (2 * (1 - r**2))) / (2 * sp.pi * sp.sqrt(1 - r**2))


def _product(h: sp.Expr, k: sp.Expr, r: sp.Expr) -> sp.Expr:
    """(a): E relu(z_1) relu(z_2) at s_1 = s_2 = 1, in terms of F2."""
    q = sp.sqrt(1 - r**2)
    ring = q / (2 * sp.pi) * sp.exp(-(h**2 - 2 * r * h * k + k**2) / (2 * q**2))
    sides = k * _pdf(h) * _cdf((k - r * h) / q) + h * _pdf(k) * _cdf((h - r * k) / q)
    return (h * k + r) * F2(h, k, r) + sides + ring


def prove(
    product: Callable[..., sp.Expr] | None = None, gain: Callable[[sp.Expr], sp.Expr] | None = None
) -> None:
    """(a) to (g), from the Gaussian density and, for the gradient, from a loss of (b, Q).

    product: the claimed (h, k, r) -> E relu relu at s = 1, in F2. gain: the claimed s^2 -> D^2 of erf.
    Defaults: the theorem's own.
    """
    product, gain = product or _product, gain or (lambda variance: 1 + 2 * variance)
    _prove_heat_equations()
    _prove_rectified_mean()
    _prove_rectified_product(product)
    _prove_price(product)
    _prove_leaky()
    _prove_square()
    _prove_erf(gain)
    _prove_derivatives()
    for sizes in GRADIENT_SIZES:
        _prove_gradient(*sizes)
    _prove_kernels()


def _prove_heat_equations() -> None:
    """Of the density; integrating by parts, they carry over to E g(z) for every g of at most exponential growth."""
    z, b, Q = matrix("z", 2, 1), matrix("b", 2, 1), symmetric("Q", 2)
    det = Q[0, 0] * Q[1, 1] - Q[0, 1] ** 2
    adjugate = sp.Matrix([[Q[1, 1], -Q[0, 1]], [-Q[0, 1], Q[0, 0]]])
    exponent = -((z - b).T * adjugate * (z - b))[0] / (2 * det)

    def of(variable: sp.Symbol, twice: sp.Symbol | None = None) -> sp.Expr:
        """The derivative of p = exp(exponent)/(2 pi sqrt(det)) over p, by one variable or two."""
        log = exponent - sp.log(det) / 2
        first = sp.diff(log, variable)
        return first if twice is None else first * sp.diff(log, twice) + sp.diff(log, variable, twice)

    for claim, difference in {
        "T1 dp/dQ_12": of(Q[0, 1]) - of(z[0], z[1]),
        "T1 dp/dQ_11": of(Q[0, 0]) - of(z[0], z[0]) / 2,
        "T1 dp/db_1": of(b[0]) + of(z[0]),
    }.items():
        require_zero(claim, sp.cancel(sp.together(difference)))
    # F2's derivatives: by r from dp/dQ_12, by h the density integrated over y < k, by completing the square.
    y = sp.Symbol("y")
    slice_ = _pdf(h) * sp.diff(_cdf((y - r * h) / q), y)
    require_zero("T1 dF2/dh", sp.simplify(_density(h, y, r) / slice_) - 1)


def _prove_rectified_mean() -> None:
    """By dE/db = P(z > 0) for the mean, dE/db = 2 E relu(z) for the square; both vanish at b = -oo."""
    b, s = sp.Symbol("b"), sp.Symbol("s")
    mean = b * _cdf(b / s) + s * _pdf(b / s)
    square = (b**2 + s**2) * _cdf(b / s) + b * s * _pdf(b / s)
    require_zero("T1(a) mean", sp.diff(mean, b) - _cdf(b / s))
    require_zero("T1(a) square", sp.diff(square, b) - 2 * mean)
    for name, moment in {"mean": mean, "square": square}.items():
        require_zero(f"T1(a) {name} far below the kink", sp.limit(moment.subs(s, 1), b, -sp.oo))


def _prove_rectified_product(product: Callable[..., sp.Expr]) -> None:
    """dE/dr = P(z_1 > 0, z_2 > 0) = F2, and the product of the means at r = 0."""
    require_zero("T1(a) slope", sp.simplify(sp.diff(product(h, k, r), r) - F2(h, k, r)))
    means = (h * _cdf(h) + _pdf(h)) * (k * _cdf(k) + _pdf(k))
    start = product(h, k, r).subs(r, 0).subs(F2(h, k, 0), _cdf(h) * _cdf(k))
    require_zero("T1(a) independent", start - means)


def _prove_price(product: Callable[..., sp.Expr]) -> None:
    """At r = sin u the integral is int_0^r (r - x) density(x) dx: its second derivative by r is the density, as that
    of Cov is; both sides vanish at r = 0, with slope Phi(h) Phi(k)."""
    u = sp.Symbol("u")
    integrand = sp.exp(-(h**2 + k**2 - 2 * h * k * sp.sin(u)) / (2 * sp.cos(u) ** 2)) / (2 * sp.pi)
    x = sp.Symbol("x")
    by_x = (integrand / sp.cos(u)).subs(sp.cos(u), sp.sqrt(1 - x**2)).subs(sp.sin(u), x)  # dx = cos u du
    require_zero("T1(b) substitution", sp.simplify(by_x / _density(h, k, x)) - 1)
    curvature = sp.diff(F2(h, k, r), r)  # of Cov, by (a)
    require_zero("T1(b) curvature", curvature - by_x.subs(x, r))
    slope = sp.diff(product(h, k, r), r).subs(r, 0).subs(F2(h, k, 0), _cdf(h) * _cdf(k))
    require_zero("T1(b) slope at r = 0", slope - _cdf(h) * _cdf(k))


def _prove_leaky() -> None:
    """Bilinear in phi = a z + (1 - a) relu, with Cov(z_1, relu(z_2)) = Q_12 Phi(h_2): heat equation with g' = 1."""
    a, Q, P1, P2, C = sp.symbols("a Q_12 Phi_1 Phi_2 Cov_relu")
    table = {(0, 0): Q, (0, 1): Q * P2, (1, 0): Q * P1, (1, 1): C}  # 0: z, 1: relu
    share = (a, 1 - a)
    total = sum(share[i] * share[j] * table[i, j] for i in (0, 1) for j in (0, 1))
    require_zero("T1(c)", total - (a**2 * Q + a * (1 - a) * Q * (P1 + P2) + (1 - a) ** 2 * C))


def _prove_square() -> None:
    """Fourth derivative of the moment generating function."""
    b, Q, t = matrix("b", 2, 1), symmetric("Q", 2), matrix("t", 2, 1)
    generating = sp.exp((b.T * t)[0] + (t.T * Q * t)[0] / 2)
    zero = {t[0]: 0, t[1]: 0}
    both = sp.diff(generating, t[0], 2, t[1], 2).subs(zero)
    means = [b[i] ** 2 + Q[i, i] for i in (0, 1)]
    for i in (0, 1):
        require_zero("T1(d) mean", sp.diff(generating, t[i], 2).subs(zero) - means[i])
    require_zero("T1(d)", both - means[0] * means[1] - (4 * b[0] * b[1] * Q[0, 1] + 2 * Q[0, 1] ** 2))


def _prove_erf(gain: Callable[[sp.Expr], sp.Expr]) -> None:
    """The mean solves the heat equation in (b, s^2) from erf(b); the product solves that in Q_12 from the means'."""
    b, c = sp.symbols("b c", real=True)
    (v, w), Q = sp.symbols("v w", positive=True), sp.Symbol("Q_12")
    mean = sp.erf(b / sp.sqrt(gain(v)))
    require_zero("T1(e) heat", sp.simplify(sp.diff(mean, v) - sp.diff(mean, b, 2) / 2))
    require_zero("T1(e) start", mean.subs(v, 0) - sp.erf(b))
    D1, D2 = sp.sqrt(gain(v)), sp.sqrt(gain(w))
    orthant = F2(sp.sqrt(2) * b / D1, sp.sqrt(2) * c / D2, 2 * Q / (D1 * D2))
    both = 4 * orthant - sp.erf(b / D1) - sp.erf(c / D2) - 1
    require_zero("T1(e) product", sp.simplify(sp.diff(both, Q) / sp.diff(both, b, c)) - 1)
    independent = both.subs(Q, 0).replace(F2, lambda x, y, _: _cdf(x) * _cdf(y))
    require_zero("T1(e) independent", independent - sp.erf(b / D1) * sp.erf(c / D2))


def _prove_derivatives() -> None:
    """(f) for ReLU, from (a) by the chain rule through h, k, r; dG/dQ_12 = F2 is (a)'s slope."""
    b1, b2, r_ = sp.symbols("b_1 b_2 r")
    s1, s2 = sp.symbols("s_1 s_2")
    q_ = sp.sqrt(1 - r_**2)
    Q12 = r_ * s1 * s2
    G = s1 * s2 * _product(b1 / s1, b2 / s2, r_)
    orthant = F2(b1 / s1, b2 / s2, r_)

    def delta(b: sp.Expr, c: sp.Expr, s: sp.Expr, t: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        m, rest = c - Q12 * b / s**2, t * q_
        return _pdf(b / s) / s, m, rest

    edge, m, rest = delta(b1, b2, s1, s2)
    edge2, m2, rest2 = delta(b2, b1, s2, s1)
    by_b = b2 * orthant + s2**2 * edge2 * _cdf(m2 / rest2) + Q12 * edge * _cdf(m / rest)
    require_zero("T1(f) dG/db_1", _by_exponential(sp.diff(G, b1) - by_b))
    # At fixed Q_12: dr/ds_1 = -r/s_1, and d/dQ_11 = d/ds_1 / (2 s_1).
    by_Q = (sp.diff(G, s1) - r_ / s1 * sp.diff(G, r_)) / (2 * s1)
    hinge = m * _cdf(m / rest) + rest * _pdf(m / rest)
    require_zero("T1(f) dG/dQ_11", _by_exponential(by_Q - edge * hinge / 2))


def _by_exponential(expression: sp.Expr) -> sp.Matrix:
    """The coefficient of each distinct exponential, all of which must vanish; simplify alone does not merge them."""
    coefficients: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(sp.expand_mul(expression)):
        exponentials = [factor for factor in sp.Mul.make_args(term) if isinstance(factor, sp.exp)]
        exponent = sp.cancel(sum(e.args[0] for e in exponentials))
        rest = term / sp.Mul(*exponentials)
        coefficients[exponent] = coefficients.get(exponent, 0) + rest
    return sp.Matrix([sp.simplify(c) for c in coefficients.values()])


def _prove_gradient(m: int, d: int) -> None:
    """dL/dW = b_bar mu^T + 2 Q_bar W Sigma, for L = <b_bar, b> + <Q_bar, Q>, the linear part of any loss."""
    W, mu, second = matrix("W", m, d), matrix("mu", d, 1), symmetric("S", d)
    b_bar, Q_bar = matrix("beta", m, 1), symmetric("kappa", m)
    b, Q = W * mu, W * second * W.T
    loss = sum(b_bar[j] * b[j] for j in range(m)) + sum(
        Q_bar[j, i] * Q[j, i] for j in range(m) for i in range(m)
    )
    require_zero(f"T1(f) gradient at {m, d}", gradient(loss, W) - (b_bar * mu.T + 2 * Q_bar * W * second))


def _prove_kernels() -> None:
    """F2 at the origin is 1/4 + asin(r)/(2 pi): its derivative by r is the density there, its value at 0 is 1/4."""
    corner = sp.Rational(1, 4) + sp.asin(r) / (2 * sp.pi)
    require_zero("T1(g) corner", sp.diff(corner, r) - _density(sp.Integer(0), sp.Integer(0), r))
    relu = _product(sp.Integer(0), sp.Integer(0), r).subs(F2(0, 0, r), corner)
    kernel = (q + r * (sp.pi - sp.acos(r))) / (2 * sp.pi)
    require_zero("T1(g) arc-cosine", (relu - kernel).rewrite(sp.asin))
    require_zero("T1(g) arc-sine", 4 * corner - 1 - 2 / sp.pi * sp.asin(r))
