"""T10 Recoverability: how often three rules tell two Gaussian classes apart, and when 2-means is blind.

Two Gaussian classes of equal covariance Cov in R^d, means mu +- delta/2, prior p of the first. With
Delta^2 = delta^T Cov^{-1} delta and l = ln(p/(1 - p)):

(a) optimum       p Phi(Delta/2 + l/Delta) + (1 - p) Phi(Delta/2 - l/Delta);  Phi(Delta/2) for p = 1/2.
(b) bisector      Phi(||delta||^2 / (2 sqrt(delta^T Cov delta))) for the nearest of the true class means; for
                  p = 1/2 the optimum iff delta is an eigenvector of Cov.
(c) 2-means       for p = 1/2 centres mu +- m have the loss E||x - mu||^2 + ||m||^2 - 2 E|m.(x - mu)|. So the best
                  direction u maximises E|u.x|, centres are at m = u E|u.x|, and a rest point of the iteration has
                      m = (delta/2)(1 - 2 Phi(-a/s)) + 2 phi(a/s) Cov n/s,   n = m/||m||, a = n.delta/2,
                  s^2 = n^T Cov n, and accuracy Phi(a/s). Lloyd's iteration n <- m/||m|| never lowers E|n.x|.
(d) thresholds    if delta is an eigenvector (variance s^2, a = ||delta||/2, E|X| = 2 s phi(a/s) + a (1 - 2 Phi(-a/s)))
                  and tau^2 the largest other variance, 2-means is the bisector iff tau^2 < (pi/2) (E|X|)^2, and is else
                  orthogonal to delta: accuracy 1/2. The bisector is stable under Lloyd's iteration iff
                  tau^2 < s E|X|/(2 phi(a/s)), the larger of the two thresholds.
All is unchanged by a change of scale of x, in floating point too, from 1e-150 to 1e150.

Corrected: below scales of about 1e-82 the bisector's accuracy had been computed as 1, for squares of squares
underflow.

Proved: (a) to (d) where the split goes through the midpoint. Only observed: that the midpoint is best.

(d) is an equivalence in every dimension: for u = cos(th) delta/||delta|| + sin(th) e, e orthogonal, E|u.x| grows with
the variance e^T Cov e, and along c = cos^2(th) its derivative has the sign of a^2 k(h) - (tau^2 - s^2), where
k(h) = int_0^1 exp(h^2 (1 - u^2)/2) du and h^2 = a^2 c/(s^2 c + tau^2 (1 - c)) both grow with c. Thus E|u.x| first
falls, then grows in c: the best direction is at one of the two ends, never in between.

Loose: "population 2-means" had been stated without saying that the split goes through the midpoint mu. Symmetry
about mu does not imply that in general. For a split of x.u at any threshold b the loss falls by
(int_b^inf y f dy)^2 / (F(b) (1 - F(b))); that b = 0 is best for equal Gaussian classes is checked numerically for all
a/s up to 5, not proved, and false for unequal weights (both in tests/theory/theorems/test_recoverability.py).

Source: (a) Fisher (1936), Welch (1939); 2-means' rest points: Lloyd (1957, 1982); (b)-(d) in this form: this project,
T10 (in the setting of Yang, Steinhardt & Hu, ICML 2023). Closed forms on Moments: theory/pairs.py.
Every file named recoverability is this theorem's: its simulation, its test on real features, its figure, their tests.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.special import ndtr

from finegrain.theory import pairs
from finegrain.theory.moments import Moments
from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, require_zero, symmetric
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

THEOREM = Theorem(
    id="T10",
    subject="recoverability",
    statement="two Gaussian classes: optimum Phi(Delta/2); 2-means is the bisector iff tau^2 < (pi/2)(E|X|)^2",
    assumptions=(
        "each class is Gaussian",
        "the two covariances are equal",
        "equal weights (Phi(Delta/2), 2-means and its thresholds; the optimum has a form for any)",
        "delta is an eigenvector of Cov (bisector optimal, thresholds)",
    ),
    sizes="rules at d = 1, 2, 3, rest point at d = 2, 3, equality at d = 2, 3, 4, thresholds for every d",
    latex=(
        r"p\,\Phi(\Delta/2 + \ell/\Delta) + (1-p)\,\Phi(\Delta/2 - \ell/\Delta), \quad \ell = \ln\tfrac{p}{1-p}",
        r"\Phi\Bigl(\|\delta\|^2 / 2\sqrt{\delta^\top \mathrm{Cov}\,\delta}\Bigr)",
        r"n \sim \tfrac{\delta}{2}\,(1 - 2\Phi(-a/s)) + 2\varphi(a/s)\,\mathrm{Cov}\,n/s",
        r"\tau^2 < \tfrac{\pi}{2}(\mathbb{E}|X|)^2, \qquad \tau^2 < s\,\mathbb{E}|X| / 2\varphi(a/s)",
    ),
)

RULE_SIZES = (1, 2, 3)
REST_SIZES = (2, 3)
EQUALITY_SIZES = (2, 3, 4)


def pair(delta: ArrayLike, covariance: ArrayLike, prior: float = 0.5) -> Moments:
    """Moments of the two classes: means +-delta/2 (d,), one covariance (d, d), prior p of the first."""
    delta = checks.real("delta", delta, ("d",))
    cov = checks.real("covariance", covariance, (delta.size, delta.size))
    return Moments([prior, 1 - prior], np.stack([delta, -delta]) / 2, np.stack([cov, cov]))


def predict(delta: ArrayLike, covariance: ArrayLike, prior: float = 0.5) -> dict[str, float]:
    """Accuracies "optimum", "bisector" and, for prior 1/2, "two_means"; arguments as in `pair`."""
    moments = pair(delta, covariance, prior)
    rules = {"optimum": pairs.lda_accuracy, "bisector": pairs.bisector_accuracy}
    if prior == 0.5:
        rules["two_means"] = pairs.two_means_accuracy
    return {name: float(rule(moments)[0, 1]) for name, rule in rules.items()}


def predict_spread(half: ArrayLike, std: ArrayLike) -> Array:
    """E|X| for X ~ N(+-half, std^2) with equal weights: 2 s phi(a/s) + a (1 - 2 Phi(-a/s)); std >= 0, any shape."""
    a, s = np.asarray(half, dtype=np.float64), np.asarray(std, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        smooth = np.sqrt(2 / np.pi) * s * np.exp(-((a / s) ** 2) / 2) + a * (1 - 2 * ndtr(-a / s))
    return np.where(s > 0, smooth, np.abs(a))


def predict_centre(n: ArrayLike, delta: ArrayLike, covariance: ArrayLike) -> Array:
    """m (d,), the mean of x sign(n.x), for a unit vector n (d,): the next centre of Lloyd's iteration."""
    n, delta = np.asarray(n, dtype=np.float64), np.asarray(delta, dtype=np.float64)
    return pairs.lloyd_step(n, delta, np.asarray(covariance))[0]


def predict_thresholds(half: float, std: float) -> tuple[float, float]:
    """tau^2 up to which 2-means is the bisector, and up to which Lloyd's iteration stays there.

    half: a = ||delta||/2 > 0.  std: s > 0 along delta. Both thresholds are at least s^2 and scale as x^2.
    """
    for name, value in (("half", half), ("std", std)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number > 0, got {value}")
    spread = float(predict_spread(half, std))
    # s/(2 phi) as exp: phi underflows where the classes are 40 standard deviations apart.
    with np.errstate(over="ignore"):
        stable = std * spread * np.sqrt(np.pi / 2) * np.exp((half / std) ** 2 / 2)
    return np.pi / 2 * spread**2, float(stable)


Thresholds = Callable[[sp.Expr, sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr]]


def prove(thresholds: Thresholds | None = None, equal_priors: sp.Expr | None = None) -> None:
    """(a)-(b) from the two densities, (c)-(d) from the loss of 2-means.

    thresholds: the claimed (E|X|, a, s) -> (best, stable), values of tau^2; the theorem's own by default.
    equal_priors: the claimed accuracy at p = 1/2 as a function of the symbol Delta; Phi(Delta/2) by default.
    """
    _prove_optimum(equal_priors)
    _prove_thresholds(
        thresholds or (lambda spread, a, s: (sp.pi / 2 * spread**2, s * spread / (2 * _phi(a / s))))
    )
    _prove_folded()
    for d in RULE_SIZES:
        _prove_rules(d)
    for d in REST_SIZES:
        _prove_rest_point(d)
    for d in EQUALITY_SIZES:
        _prove_equality(d)


def _phi(x: sp.Expr) -> sp.Expr:
    return sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)


def _Phi(x: sp.Expr) -> sp.Expr:
    return (1 + sp.erf(x / sp.sqrt(2))) / 2


def _folded(a: sp.Expr, s: sp.Expr) -> sp.Expr:
    """E|X| for X ~ N(+-a, s^2)."""
    return 2 * s * _phi(a / s) + a * (1 - 2 * _Phi(-a / s))


def _prove_rules(d: int) -> None:
    """Both rules are linear in x, with the mean and variance that (a) and (b) put into Phi."""
    x, delta, precision = matrix("x", d, 1), matrix("delta", d, 1), symmetric("P", d)
    covariance = precision.inv(method="ADJ")

    def quadratic(v: sp.Matrix, form: sp.Matrix) -> sp.Expr:
        return sum(v[i] * form[i, j] * v[j] for i in range(d) for j in range(d))

    ratio = (quadratic(x + delta / 2, precision) - quadratic(x - delta / 2, precision)) / 2
    w = precision * delta
    require_zero(f"T10(a) log-likelihood ratio at d = {d}", ratio - (w.T * x)[0])
    square = (delta.T * precision * delta)[0]
    require_zero(
        f"T10(a) mean of the ratio at d = {d}", ratio.subs(dict(zip(x, delta / 2, strict=True))) - square / 2
    )
    require_zero(f"T10(a) variance of the ratio at d = {d}", (w.T * covariance * w)[0] - square)
    closer = quadratic(x + delta / 2, sp.eye(d)) - quadratic(x - delta / 2, sp.eye(d))
    require_zero(f"T10(b) nearest centre at d = {d}", closer - 2 * (delta.T * x)[0])


def _prove_optimum(equal_priors: sp.Expr | None) -> None:
    """A score N(+-Delta^2/2, Delta^2) cut at -l, the log posterior ratio's zero, and that no other cut is better."""
    cut, y = sp.symbols("cut y")
    delta, p, odds = sp.symbols("Delta p odds", positive=True)
    normal = sp.exp(-((y - delta**2 / 2) ** 2) / (2 * delta**2)) / (delta * sp.sqrt(2 * sp.pi))
    hit = sp.integrate(normal, (y, -cut, sp.oo))
    require_zero("T10(a) one class", hit - _Phi(delta / 2 + cut / delta))
    accuracy = p * _Phi(delta / 2 + cut / delta) + (1 - p) * _Phi(delta / 2 - cut / delta)
    slope = sp.diff(accuracy, cut).subs(cut, sp.log(odds)).subs(p, odds / (1 + odds))
    require_zero("T10(a) the best cut", slope)
    claim = _Phi(delta / 2) if equal_priors is None else equal_priors
    require_zero("T10(a) equal priors", accuracy.subs(cut, 0) - claim)


def _prove_equality(d: int) -> None:
    """(delta^T Cov^-1 delta)(delta^T Cov delta) - ||delta||^4 in Cov's eigenbasis: a sum of squares that vanishes
    iff all variances along which delta has a component are equal."""
    delta, v = matrix("delta", d, 1), sp.symbols(f"v:{d}")
    gap = sum(delta[i] ** 2 / v[i] for i in range(d)) * sum(delta[i] ** 2 * v[i] for i in range(d))
    gap -= sum(x**2 for x in delta) ** 2
    squares = sum(
        (delta[i] * delta[j] * (v[i] - v[j])) ** 2 / (v[i] * v[j]) for i, j in combinations(range(d), 2)
    )
    require_zero(f"T10(b) equality at d = {d}", gap - squares)


def _prove_folded() -> None:
    """E|X|, from the density of one class; the other gives the same."""
    a, s, z = sp.symbols("a s z")
    positive = sp.integrate((a + s * z) * _phi(z), (z, -a / s, sp.oo))
    negative = sp.integrate((a + s * z) * _phi(z), (z, -sp.oo, -a / s))
    require_zero("T10(c) E|X|", (positive - negative).rewrite(sp.erf) - _folded(a, s))


def _prove_rest_point(d: int) -> None:
    """The loss E min(|x - m|^2, |x + m|^2) = E|x|^2 + |m|^2 - 2 E|m.x|, its gradient, and its best length."""
    x, m, delta, cov = matrix("x", d, 1), matrix("m", d, 1), matrix("delta", d, 1), symmetric("C", d)
    near, far = (sum((x[i] + sign * m[i]) ** 2 for i in range(d)) for sign in (-1, 1))
    least = (near + far - sp.Abs(near - far)) / 2
    inner = sum(m[i] * x[i] for i in range(d))
    expected = sum(e**2 for e in x) + sum(e**2 for e in m) - 2 * sp.Abs(inner)
    require_zero(
        f"T10(c) loss of 2-means at d = {d}", least.subs(near - far, sp.expand(near - far)) - expected
    )

    mean = sum(m[i] * delta[i] for i in range(d)) / 2
    std = sp.sqrt(sum(m[i] * cov[i, j] * m[j] for i in range(d) for j in range(d)))
    descent = -gradient(sum(e**2 for e in m) - 2 * _folded(mean, std), m) / 2
    claim = delta / 2 * (1 - 2 * _Phi(-mean / std)) + 2 * _phi(mean / std) * cov * m / std
    a, s = sp.symbols("a s")  # plain names: SymPy simplifies nested roots slowly
    require_zero(f"T10(c) rest point at d = {d}", (descent - (claim - m)).subs({std: s, mean: a}))


def _prove_thresholds(thresholds: Thresholds) -> None:
    """E|u.x| along c = cos^2 in the plane of delta and the leading other eigenvector."""
    a, s, tau, c, h, u = sp.symbols("a s tau c h u", positive=True)
    best, stable = thresholds(_folded(a, s), a, s)
    sigma2 = s**2 * c + tau**2 * (1 - c)
    along = _folded(a * sp.sqrt(c), sp.sqrt(sigma2))
    across = sp.limit(along, c, 0)
    require_zero("T10(d) spread across delta", across - tau * sp.sqrt(2 / sp.pi))
    require_zero("T10(d) best threshold", across.subs(tau, sp.sqrt(best)) ** 2 - along.subs(c, 1) ** 2)

    k = (2 * _Phi(h) - 1) / (2 * h * _phi(h))
    height = a * sp.sqrt(c) / sp.sqrt(sigma2)
    slope = _phi(height) / sp.sqrt(sigma2) * (a**2 * k.subs(h, height) - (tau**2 - s**2))
    require_zero("T10(d) slope of the spread", sp.diff(along, c) - slope)
    # v = h u below: h k exp(-h^2/2) = int_0^h exp(-v^2/2) dv, so that k = int_0^1 exp(h^2 (1 - u^2)/2) du grows.
    integral = sp.integrate(sp.exp(-(h**2) * u**2 / 2), (u, 0, 1)) * sp.exp(h**2 / 2)
    require_zero("T10(d) k as an integral", k - integral)
    require_zero("T10(d) h grows with c", sp.diff(height**2, c) - (a * tau / sigma2) ** 2)
    at_rest = (a**2 * k.subs(h, a / s) - (tau**2 - s**2)).subs(tau, sp.sqrt(stable))
    require_zero("T10(d) stability threshold", at_rest)
