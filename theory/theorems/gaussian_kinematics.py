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

The proof rests on the heat equations of the density p of z: d_Q12 p = d_1 d_2 p, d_Q11 p = d_1^2 p/2, d_b1 p = -d_1 p.
A moment is then fixed by its derivative in Q_12 and by its value at Q_12 = 0, where z_1 and z_2 are independent.

Proved: all formulas, for all b and Q; dL/dW at every size. Not proved: that heat equations carry over from p to E g(z),
an integration by parts for g of at most exponential growth, which (f) in general rests on.

Computation is `finegrain.theory.kinematics`, which `predict` calls: stable where the formulas as printed cancel. A
property test holds the two together.

Source: Price (1958), IRE Trans. Inf. Theory 4, 69, (b) and (f); Cho & Saul (2009) and Williams (1997), (g); the closed
forms at non-zero mean and their gradients as stated: this project, T1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory import gaussian, kinematics
from finegrain.theory.theorems import words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem, Unknown, at_a_point
from finegrain.theory.theorems.symbolic import gradient, matrix
from finegrain.theory.theorems.symbolic import symmetric as symmetric_matrix
from finegrain.theory.tools.arrays import Array


def predict(b: ArrayLike, Q: ArrayLike, activation: str, *, slope: float = 0.01) -> tuple[Array, Array]:
    """Mean (..., m) and covariance (..., m, m) of phi(z), z ~ N(b, Q), b (..., m) and Q (..., m, m)."""
    return kinematics.activation_moments(b, Q, activation, slope=slope)


def predict_derivatives(b: ArrayLike, Q: ArrayLike) -> tuple[float, float, float]:
    """(f) for ReLU: dG/db_1, dG/dQ_12 and dG/dQ_11 of G = E relu(z_1) relu(z_2), from b (2,) and Q (2, 2), |r| < 1."""
    (b1, b2), second = np.asarray(b, dtype=np.float64), np.asarray(Q, dtype=np.float64)
    s1, s2 = np.sqrt(np.diag(second))
    r, f = second[0, 1] / (s1 * s2), THEOREM.formulas
    return (
        float(f.by_mean.number(b1, b2, s1, s2, r)),
        float(f.by_covariance.number(b1, b2, s1, s2, r)),
        float(f.by_variance.number(b1, b2, s1, s2, r)),
    )


def predict_arc_cosine(Q: ArrayLike) -> Array:
    """E relu(z) relu(z)^T at zero mean, shape (m, m), from Q (m, m) with a positive diagonal."""
    second = np.asarray(Q, dtype=np.float64)
    sizes = np.outer(*[np.sqrt(np.diag(second))] * 2)
    return sizes * THEOREM.formulas.arc_cosine.number(np.clip(second / sizes, -1, 1))


def predict_arc_sine(Q: ArrayLike) -> Array:
    """E erf(z) erf(z)^T at zero mean, shape (m, m), from Q (m, m)."""
    second = np.asarray(Q, dtype=np.float64)
    variances = np.diag(second)
    return THEOREM.formulas.arc_sine.number(second, variances[:, None], variances)


def pdf(x: sp.Expr) -> sp.Expr:
    """The standard normal density."""
    return sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)


def cdf(x: sp.Expr) -> sp.Expr:
    """Its distribution function."""
    return (1 + sp.erf(x / sp.sqrt(2))) / 2


def _root(r: sp.Expr) -> sp.Expr:
    """q."""
    return sp.sqrt(1 - r**2)


def _density(x: sp.Expr, y: sp.Expr, b: sp.Expr, c: sp.Expr, v: sp.Expr, w: sp.Expr, Q: sp.Expr) -> sp.Expr:
    """Of (z_1, z_2) at (x, y), with means b, c, variances v, w and covariance Q."""
    det = v * w - Q**2
    square = w * (x - b) ** 2 - 2 * Q * (x - b) * (y - c) + v * (y - c) ** 2
    return sp.exp(-square / (2 * det)) / (2 * sp.pi * sp.sqrt(det))


class F2(Unknown):
    """P(X < h, Y < k) at correlation r, known by its derivatives (step "orthant")."""

    _imp_ = staticmethod(gaussian.bivariate_normal_cdf)

    def fdiff(self, argindex: int) -> sp.Expr:
        """phi(h) Phi((k - r h)/q), its mirror image, and the density at (h, k)."""
        h, k, r = self.args
        q = _root(r)
        if argindex == 3:
            return sp.exp(-(h**2 - 2 * r * h * k + k**2) / (2 * q**2)) / (2 * sp.pi * q)
        x, y = (h, k) if argindex == 1 else (k, h)
        return pdf(x) * cdf((y - r * x) / q)


def _product(h: sp.Expr, k: sp.Expr, r: sp.Expr) -> sp.Expr:
    """(a): E relu(z_1) relu(z_2) at s_1 = s_2 = 1."""
    q = _root(r)
    ring = q / (2 * sp.pi) * sp.exp(-(h**2 - 2 * r * h * k + k**2) / (2 * q**2))
    sides = k * pdf(h) * cdf((k - r * h) / q) + h * pdf(k) * cdf((h - r * k) / q)
    return (h * k + r) * F2(h, k, r) + sides + ring


def _price(h: sp.Expr, k: sp.Expr, r: sp.Expr) -> sp.Expr:
    """(b): Cov of the ReLUs at s_1 = s_2 = 1."""
    u = sp.Symbol("u")
    exponent = -(h**2 + k**2 - 2 * h * k * sp.sin(u)) / (2 * sp.cos(u) ** 2)
    integral = sp.Integral((r - sp.sin(u)) * sp.exp(exponent), (u, 0, sp.asin(r)))
    return r * cdf(h) * cdf(k) + integral / (2 * sp.pi)


def _erf_product(b: sp.Expr, c: sp.Expr, v: sp.Expr, w: sp.Expr, Q: sp.Expr) -> sp.Expr:
    """E erf(z_1) erf(z_2)."""
    D, E = sp.sqrt(1 + 2 * v), sp.sqrt(1 + 2 * w)
    orthant = F2(sp.sqrt(2) * b / D, sp.sqrt(2) * c / E, 2 * Q / (D * E))
    return 4 * orthant - sp.erf(b / D) - sp.erf(c / E) - 1


def _given_edge(
    b: sp.Expr, c: sp.Expr, s: sp.Expr, t: sp.Expr, r: sp.Expr
) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """z_1 ~ (b, s): its density at 0, and mean and deviation (m, s') of z_2 ~ (c, t) there."""
    return pdf(b / s) / s, c - r * t * b / s, t * _root(r)


def _by_mean(b1: sp.Expr, b2: sp.Expr, s1: sp.Expr, s2: sp.Expr, r: sp.Expr) -> sp.Expr:
    edge, m, rest = _given_edge(b1, b2, s1, s2, r)
    edge2, m2, rest2 = _given_edge(b2, b1, s2, s1, r)
    sides = s2**2 * edge2 * cdf(m2 / rest2) + r * s1 * s2 * edge * cdf(m / rest)
    return b2 * F2(b1 / s1, b2 / s2, r) + sides


def _by_variance(b1: sp.Expr, b2: sp.Expr, s1: sp.Expr, s2: sp.Expr, r: sp.Expr) -> sp.Expr:
    edge, m, rest = _given_edge(b1, b2, s1, s2, r)
    return edge * (m * cdf(m / rest) + rest * pdf(m / rest)) / 2


def _heat(f: Formulas) -> Iterator[sp.Expr]:
    """d_Q12 p = d_1 d_2 p, d_Q11 p = d_1^2 p/2 and d_b1 p = -d_1 p, each divided by p."""
    x, y, b, _, v, _, Q = arguments = sp.symbols("x y b c v w Q")
    log = sp.expand_log(sp.log(f.density(*arguments)), force=True)

    def of(one: sp.Symbol, two: sp.Symbol | None = None) -> sp.Expr:
        first = sp.diff(log, one)
        return first if two is None else first * sp.diff(log, two) + sp.diff(log, one, two)

    for difference in (of(Q) - of(x, y), of(v) - of(x, x) / 2, of(b) + of(x)):
        yield sp.together(difference).as_numer_denom()[0]


def _orthant(f: Formulas) -> Iterator[sp.Expr]:
    """P(X < h, Y < k): its derivative by h and k is the density, by r too (d_r p = d_1 d_2 p)."""
    h, k, r = sp.symbols("h k r")
    below = F2(h, k, r)
    density = f.density(h, k, 0, 0, 1, 1, r)
    yield from _by_exponential(sp.diff(below, h, k) - density)
    yield from _by_exponential(sp.diff(below, r) - density)
    # Nothing lies below k = -oo.
    yield sp.limit(sp.diff(below, h).subs(r, 0), k, -sp.oo)


def _rectified(f: Formulas) -> Iterator[sp.Expr]:
    """F(c) = E relu(z - c)^p has the derivative of order p + 1 (-1)^(p + 1) p! density(c), and F(oo) = 0."""
    b, c, s = sp.symbols("b c s", positive=True)
    density = pdf((c - b) / s) / s
    yield sp.diff(f.relu_mean(b - c, s), c, 2) - density
    yield sp.diff(f.relu_square(b - c, s), c, 3) + 2 * density
    for moment in (f.relu_mean, f.relu_square):
        yield sp.limit(moment(-c, sp.S.One), c, sp.oo)


def _relu_product(f: Formulas) -> Iterator[sp.Expr]:
    """dE/dr = P(z_1 > 0, z_2 > 0) = F2, and the product of the means at r = 0."""
    h, k, r = sp.symbols("h k r")
    yield from _by_exponential(sp.diff(f.relu_product(h, k, r), r) - F2(h, k, r))
    start = _independent(f.relu_product(h, k, r).subs(r, 0))
    yield start - f.relu_mean(h, sp.S.One) * f.relu_mean(k, sp.S.One)


def _independent(expression: sp.Expr) -> sp.Expr:
    """F2 at r = 0."""
    return expression.replace(F2, lambda x, y, _: cdf(x) * cdf(y))


def _relu_covariance(f: Formulas) -> Iterator[sp.Expr]:
    """Cov is 0 at r = 0, its derivative by r is F2, so its second the density; as the integral's are."""
    h, k, r = sp.symbols("h k r")
    cov = f.relu_covariance(h, k, r)
    yield from _by_exponential(sp.diff(cov, r, 2).doit() - sp.diff(F2(h, k, r), r))
    yield sp.diff(cov, r).subs(r, 0).doit() - _independent(F2(h, k, 0))
    yield cov.subs(r, 0).doit()


def _leaky(f: Formulas) -> sp.Expr:
    """phi = a z + (1 - a) relu, and E[z_1 | z_2] = b_1 + Q_12 (z_2 - b_2)/s_2^2: Cov(z_1, relu(z_2)) is
    Q_12/s_2^2 (E relu(z_2)^2 - b_2 E relu(z_2))."""
    a, Q, C = sp.symbols("a Q_12 Cov_relu")
    b, s = sp.symbols("b1:3"), sp.symbols("s1:3")
    mixed = [Q / t**2 * (f.relu_square(c, t) - c * f.relu_mean(c, t)) for c, t in zip(b, s, strict=True)]
    total = a**2 * Q + a * (1 - a) * (mixed[0] + mixed[1]) + (1 - a) ** 2 * C
    return total - f.leaky_covariance(a, Q, b[0] / s[0], b[1] / s[1], C)


def _square(f: Formulas) -> Iterator[sp.Expr]:
    """Derivatives of the moment generating function."""
    b, Q, t = matrix("b", 2, 1), symmetric_matrix("Q", 2), matrix("t", 2, 1)
    generating = sp.exp((b.T * t)[0] + (t.T * Q * t)[0] / 2)
    zero = {t[0]: 0, t[1]: 0}
    means = [f.square_mean(b[i], Q[i, i]) for i in (0, 1)]
    for i in (0, 1):
        yield sp.diff(generating, t[i], 2).subs(zero) - means[i]
    both = sp.diff(generating, t[0], 2, t[1], 2).subs(zero)
    yield both - means[0] * means[1] - f.square_covariance(b[0], b[1], Q[0, 1])


def _erf(f: Formulas) -> Iterator[sp.Expr]:
    """The mean solves the heat equation in (b, s^2) from erf(b); the product solves that in Q_12 from the means'."""
    b, c = sp.symbols("b c", real=True)
    (v, w), Q = sp.symbols("v w", positive=True), sp.Symbol("Q_12")
    mean = f.erf_mean(b, v)
    yield from _by_exponential(sp.diff(mean, v) - sp.diff(mean, b, 2) / 2)
    yield mean.subs(v, 0) - sp.erf(b)
    both = f.erf_product(b, c, v, w, Q)
    yield from _by_exponential(sp.diff(both, Q) - sp.diff(both, b, c))
    yield _independent(both.subs(Q, 0)) - mean * f.erf_mean(c, w)


def _derivatives(f: Formulas) -> Iterator[sp.Expr]:
    """Of G = s_1 s_2 E relu relu by the chain rule; at fixed Q_12 is dr/ds_1 = -r/s_1, and d/dQ_11 = d/ds_1/(2 s_1)."""
    b1, b2, s1, s2, r = arguments = sp.symbols("b_1 b_2 s_1 s_2 r")
    # Means in units of their deviations, once the derivatives are taken: shorter exponents.
    units = {b1: h * s1, b2: k * s2}
    G = s1 * s2 * f.relu_product(b1 / s1, b2 / s2, r)
    by_r = sp.diff(G, r)
    by_s = sp.diff(G, s1) - r / s1 * s1 * s2 * f.by_covariance(*arguments)
    for found, claim in (
        (sp.diff(G, b1), f.by_mean),
        (by_r / (s1 * s2), f.by_covariance),
        (by_s / (2 * s1), f.by_variance),
    ):
        yield from _by_exponential((found - claim(*arguments)).subs(units))


def _by_exponential(expression: sp.Expr) -> list[sp.Expr]:
    """The coefficient of each distinct exponential, all of which must vanish; simplify alone does not merge them."""
    coefficients: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(sp.expand_mul(expression)):
        factors = sp.Mul.make_args(term)
        exponent = sp.cancel(sum(x.args[0] for x in factors if isinstance(x, sp.exp)))
        rest = sp.Mul(*(x for x in factors if not isinstance(x, sp.exp)))
        coefficients[exponent] = coefficients.get(exponent, 0) + rest
    # `left_over` would expand the fractions before it simplifies.
    return [c if abs(at_a_point(c) or 0) > 1e-20 else sp.simplify(c) for c in coefficients.values()]


def _gradient(f: Formulas) -> words.Words:
    """L = <beta, b> + <kappa, Q> is the linear part of any loss of b = W mu and Q = W Sigma W^T."""
    W, mu, S = words.letter("W", "m", "d"), words.letter("mu", "d", "1"), words.symmetric("Sigma", "d")
    beta, kappa = words.letter("beta", "m", "1"), words.symmetric("kappa", "m")
    loss = words.tr(beta.T @ W @ mu) + words.tr(kappa @ W @ S @ W.T)
    return words.gradient(loss, W) - f.gradient(beta, mu, kappa, W, S)


def _gradient_by_entries(f: Formulas, m: int, d: int) -> sp.Matrix:
    W, mu, S = matrix("W", m, d), matrix("mu", d, 1), symmetric_matrix("S", d)
    beta, kappa = matrix("beta", m, 1), symmetric_matrix("kappa", m)
    b, Q = W * mu, W * S * W.T
    loss = sum(beta[j] * b[j] for j in range(m))
    loss += sum(kappa[j, i] * Q[j, i] for j in range(m) for i in range(m))
    return gradient(loss, W) - f.gradient(beta, mu, kappa, W, S)


def _kernels(f: Formulas) -> Iterator[sp.Expr]:
    """F2(0, 0, r) is the integral of its derivative, from 1/4 at r = 0."""
    r, v, w, Q = sp.symbols("r v w Q_12")
    corner = sp.Rational(1, 4) + sp.asin(r) / (2 * sp.pi)
    zero = sp.S.Zero
    yield sp.diff(corner, r) - F2(zero, zero, r).fdiff(3)

    def at_corner(expression: sp.Expr) -> sp.Expr:
        return expression.replace(F2, lambda x, y, rho: corner.subs(r, rho))

    relu = at_corner(f.relu_product(zero, zero, r))
    yield (relu - f.arc_cosine(r)).rewrite(sp.asin)
    yield at_corner(f.erf_product(zero, zero, v, w, Q)) - f.arc_sine(Q, v, w)


b, s, h, k, r, a, v, w, Q12, C = sp.symbols("b s h k r a v w Q_12 Cov_relu")
z1, z2, b1, b2, s1, s2, h1, h2 = sp.symbols("z_1 z_2 b_1 b_2 s_1 s_2 h_1 h_2")
m, d = sp.symbols("m d", integer=True, positive=True)
beta, kappa, mu = sp.MatrixSymbol("beta", m, 1), sp.MatrixSymbol("kappa", m, m), sp.MatrixSymbol("mu", d, 1)
W, Sigma = sp.MatrixSymbol("W", m, d), sp.MatrixSymbol("Sigma", d, d)

MEAN = Formula(
    lambda b, s: b * cdf(b / s) + s * pdf(b / s), (b, s), "E relu(z)", r"\mathbb{E}\,\mathrm{relu}(z)"
)
SQUARE = Formula(
    lambda b, s: (b**2 + s**2) * cdf(b / s) + b * s * pdf(b / s),
    (b, s),
    "E relu(z)^2",
    r"\mathbb{E}\,\mathrm{relu}(z)^2",
)
FALSE_MEAN = {"relu_mean": lambda b, s: b * cdf(b / s) + 2 * s * pdf(b / s)}
FALSE_SQUARE = {"relu_square": lambda b, s: (b**2 + s**2) * cdf(b / s)}
FALSE_PRODUCT = {"relu_product": lambda h, k, r: (h * k + r) * F2(h, k, r)}
FALSE_ERF_PRODUCT = {
    "erf_product": lambda b, c, v, w, Q: (
        4 * F2(b / sp.sqrt(1 + 2 * v), c / sp.sqrt(1 + 2 * w), 2 * Q)
        - sp.erf(b / sp.sqrt(1 + 2 * v))
        - sp.erf(c / sp.sqrt(1 + 2 * w))
        - 1
    )
}
FALSE_GRADIENT = {"gradient": lambda beta, mu, kappa, W, S: beta @ mu.T + kappa @ W @ S}

THEOREM = Theorem(
    id="T1",
    subject="kinematics",
    assumptions=(
        "z is Gaussian within a class",
        "phi is ReLU, leaky ReLU, square, erf or the identity (its own formula each)",
        "the loss sees h through its mean and covariance (gradient)",
    ),
    formulas=Formulas(
        density=Formula(_density, (z1, z2, b1, b2, v, w, Q12), "p", "p"),
        relu_mean=MEAN,
        relu_square=SQUARE,
        relu_product=Formula(
            _product,
            (h1, h2, r),
            "E relu(z_1) relu(z_2)/(s_1 s_2)",
            r"\frac{\mathbb{E}\,\mathrm{relu}(z_1)\,\mathrm{relu}(z_2)}{s_1 s_2}",
        ),
        relu_covariance=Formula(
            _price, (h1, h2, r), "Cov(relu(z_1), relu(z_2))/(s_1 s_2)", r"\frac{\mathrm{Cov}}{s_1 s_2}"
        ),
        leaky_covariance=Formula(
            lambda a, Q, h, k, C: a**2 * Q + a * (1 - a) * Q * (cdf(h) + cdf(k)) + (1 - a) ** 2 * C,
            (a, Q12, h1, h2, C),
            "Cov",
            r"\mathrm{Cov}",
        ),
        square_mean=Formula(lambda b, v: b**2 + v, (b, v), "E z^2", r"\mathbb{E}\,z^2"),
        square_covariance=Formula(
            lambda b, c, Q: 4 * b * c * Q + 2 * Q**2,
            (b1, b2, Q12),
            "Cov(z_1^2, z_2^2)",
            r"\mathrm{Cov}(z_1^2, z_2^2)",
        ),
        erf_mean=Formula(
            lambda b, v: sp.erf(b / sp.sqrt(1 + 2 * v)), (b, v), "E erf(z)", r"\mathbb{E}\,\mathrm{erf}(z)"
        ),
        erf_product=Formula(
            _erf_product,
            (b1, b2, v, w, Q12),
            "E erf(z_1) erf(z_2)",
            r"\mathbb{E}\,\mathrm{erf}(z_1)\,\mathrm{erf}(z_2)",
        ),
        by_mean=Formula(_by_mean, (b1, b2, s1, s2, r), "dG/db_1", r"\frac{\partial G}{\partial b_1}"),
        by_covariance=Formula(
            lambda b1, b2, s1, s2, r: F2(b1 / s1, b2 / s2, r),
            (b1, b2, s1, s2, r),
            "dG/dQ_12",
            r"\frac{\partial G}{\partial Q_{12}}",
        ),
        by_variance=Formula(
            _by_variance, (b1, b2, s1, s2, r), "dG/dQ_11", r"\frac{\partial G}{\partial Q_{11}}"
        ),
        gradient=Formula(
            lambda beta, mu, kappa, W, S: beta @ mu.T + 2 * kappa @ W @ S,
            (beta, mu, kappa, W, Sigma),
            "dL/dW",
            r"\frac{\partial L}{\partial W}",
        ),
        arc_cosine=Formula(
            lambda r: (sp.sqrt((1 - r) * (1 + r)) + r * (sp.pi - sp.acos(r))) / (2 * sp.pi),
            (r,),
            "E relu(z_1) relu(z_2)/(s_1 s_2)",
            r"\frac{\mathbb{E}\,\mathrm{relu}(z_1)\,\mathrm{relu}(z_2)}{s_1 s_2}",
        ),
        arc_sine=Formula(
            lambda Q, v, w: 2 / sp.pi * sp.asin(2 * Q / (sp.sqrt(1 + 2 * v) * sp.sqrt(1 + 2 * w))),
            (Q12, v, w),
            "E erf(z_1) erf(z_2)",
            r"\mathbb{E}\,\mathrm{erf}(z_1)\,\mathrm{erf}(z_2)",
        ),
    ),
    claims=(
        Claim(
            "the density {density} of z with variances v, w obeys dp/dQ_12 = d^2 p/dz_1 dz_2, "
            "dp/dQ_11 = d^2 p/dz_1^2/2 and dp/db_1 = -dp/dz_1",
            ("heat", "orthant"),
        ),
        Claim(
            "so for G = E phi(z_1) phi(z_2), phi of at most exponential growth: dG/db_1 = E phi'(z_1) phi(z_2), "
            "dG/dQ_12 = E phi'(z_1) phi'(z_2), dG/dQ_11 = E phi''(z_1) phi(z_2)/2",
            ("heat",),
            "the integration by parts (Price 1958)",
        ),
        Claim("ReLU: {relu_mean}, {relu_square}", ("rectified",)),
        Claim(
            "{relu_product}, F2 = P(X < h_1, Y < h_2) at correlation r", ("orthant", "rectified", "product")
        ),
        Claim("without cancellation {relu_covariance}", ("orthant", "covariance")),
        Claim("leaky slope a: {leaky_covariance}", ("leaky",)),
        Claim("square: {square_mean}, {square_covariance}", ("square",)),
        Claim("erf: {erf_mean}, {erf_product}", ("orthant", "erf")),
        Claim("ReLU: {by_mean}, {by_covariance}, {by_variance}", ("product", "derivatives")),
        Claim(
            "any loss of b = W mu and Q = W Sigma W^T whose gradients by them are beta and kappa: {gradient}",
            ("gradient", "gradient by entries"),
        ),
        Claim("zero means: {arc_cosine} for ReLU, {arc_sine} for erf", ("product", "erf", "kernels")),
    ),
    steps=(
        Step(
            "heat",
            "from the density of z: its derivatives by mean and covariance are derivatives by z",
            _heat,
            {
                "density": lambda x, y, b, c, v, w, Q: (
                    sp.exp(
                        -(w * (x - b) ** 2 - 2 * Q * (x - b) * (y - c) + v * (y - c) ** 2) / (v * w - Q**2)
                    )
                    / (2 * sp.pi * sp.sqrt(v * w - Q**2))
                )
            },
            "b and Q",
        ),
        Step(
            "orthant",
            "from the density: F2, known by its derivatives, is its integral below h and k",
            _orthant,
            {"density": lambda x, y, b, c, v, w, Q: 2 * _density(x, y, b, c, v, w, Q)},
            "h, k and r",
        ),
        Step(
            "rectified",
            "from the density: E relu(z - c) and E relu(z - c)^2, differentiated by c until it is left",
            _rectified,
            FALSE_MEAN | FALSE_SQUARE,
            "b and s",
        ),
        Step(
            "product",
            "from dE/dr = P(z_1 > 0, z_2 > 0) and the means at r = 0",
            _relu_product,
            FALSE_PRODUCT | FALSE_MEAN,
            "h, k and r",
        ),
        Step(
            "covariance",
            "from dCov/dr = F2 and Cov = 0 at r = 0: the integral, differentiated twice",
            _relu_covariance,
            {"relu_covariance": lambda h, k, r: 2 * r * cdf(h) * cdf(k) + _price(h, k, r)},
            "h, k and r",
        ),
        Step(
            "leaky",
            "from phi = a z + (1 - a) relu, and z_1 given z_2",
            _leaky,
            {"leaky_covariance": lambda a, Q, h, k, C: a**2 * Q + (1 - a) ** 2 * C} | FALSE_SQUARE,
            "b and Q",
        ),
        Step(
            "square",
            "from the moment generating function, differentiated four times",
            _square,
            {
                "square_mean": lambda b, v: b**2 + 2 * v,
                "square_covariance": lambda b, c, Q: 4 * b * c * Q + Q**2,
            },
            "b and Q",
        ),
        Step(
            "erf",
            "from the heat equations: in (b, s^2) from erf(b), and in Q_12 from the product of the means",
            _erf,
            {"erf_mean": lambda b, v: sp.erf(b / sp.sqrt(1 + v))} | FALSE_ERF_PRODUCT,
            "b and Q",
        ),
        Step(
            "derivatives",
            "from E relu relu by the chain rule through h, k and r",
            _derivatives,
            {
                "by_mean": lambda b1, b2, s1, s2, r: b2 * F2(b1 / s1, b2 / s2, r),
                "by_covariance": lambda b1, b2, s1, s2, r: 2 * F2(b1 / s1, b2 / s2, r),
                "by_variance": lambda b1, b2, s1, s2, r: 2 * _by_variance(b1, b2, s1, s2, r),
            },
            "b and Q",
        ),
        Step(
            "gradient",
            "from the linear part of any loss of (b, Q), as a trace: its gradient by W",
            _gradient,
            FALSE_GRADIENT,
        ),
        Step(
            "gradient by entries",
            "a second time, entry by entry",
            _gradient_by_entries,
            FALSE_GRADIENT,
            "(m, d)",
            ((1, 2), (2, 2), (2, 3)),
        ),
        Step(
            "kernels",
            "from F2(0, 0, r), the integral of the density at the origin: both products at zero means",
            _kernels,
            {
                "arc_cosine": lambda r: (sp.sqrt(1 - r**2) + r * sp.acos(r)) / (2 * sp.pi),
                "arc_sine": lambda Q, v, w: 2 / sp.pi * sp.asin(Q / (sp.sqrt(1 + v) * sp.sqrt(1 + w))),
            },
            "Q",
        ),
    ),
)

prove = THEOREM.prove
