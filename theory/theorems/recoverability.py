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

Proved: (a) for the cut on the log-likelihood ratio; (b); (c) and (d) where the split goes through the midpoint, (d) for
every dimension. Only observed: that the midpoint is best.

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

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory import pairs
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.gaussian_kinematics import cdf, pdf
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import gradient, matrix, symmetric
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


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
        smooth = THEOREM.formulas.spread.number(a, s)
    return np.where(s > 0, smooth, np.abs(a))


def predict_centre(n: ArrayLike, delta: ArrayLike, covariance: ArrayLike) -> Array:
    """m (d,), the mean of x sign(n.x), for a unit vector n (d,): the next centre of Lloyd's iteration."""
    n, delta = np.asarray(n, dtype=np.float64), np.asarray(delta, dtype=np.float64)
    image = np.asarray(covariance) @ n
    a, s = n @ delta / 2, np.sqrt(n @ image)
    return THEOREM.formulas.centre.number(delta[:, None], image[:, None], a, s)[:, 0]


def predict_thresholds(half: float, std: float) -> tuple[float, float]:
    """tau^2 up to which 2-means is the bisector, and up to which Lloyd's iteration stays there.

    half: a = ||delta||/2 > 0.  std: s > 0 along delta. Both thresholds are at least s^2 and scale as x^2.
    """
    for name, value in (("half", half), ("std", std)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number > 0, got {value}")
    f, spread = THEOREM.formulas, float(predict_spread(half, std))
    # Classes 40 standard deviations apart have a stability threshold beyond all numbers.
    with np.errstate(over="ignore"):
        return float(f.best.number(spread)), float(f.stable.number(spread, half, std))


def _ratio(f: Formulas) -> Iterator[words.Words]:
    """The log-likelihood ratio of x = y +- delta/2 is w^T x with w = Cov^{-1} delta, the nearest centre's score
    2 delta^T x: their means and variances at +delta/2 give both accuracies."""
    half = sp.Rational(1, 2)
    x, delta = words.letter("x", "d", "1"), words.letter("delta", "d", "1")
    P, C = words.symmetric("P", "d"), words.symmetric("Cov", "d")
    rules = rewriting.rules((P @ C, 1))

    def apart(form: words.Words) -> words.Words:
        far, near = x + half * delta, x - half * delta
        return words.tr(far.T @ form @ far) - words.tr(near.T @ form @ near)

    for score, w in ((half * apart(P), P @ delta), (half * apart(words.identity("d")), delta)):
        yield score - words.tr(w.T @ x)
        # Mean under the first class, and variance.
        yield half * words.tr(w.T @ delta) - half * words.tr(f.score(w, delta))
        yield rewriting.under(words.tr(w.T @ C @ w) - words.tr(f.variance(w, C)), rules)
    yield rewriting.under(words.tr(f.variance(P @ delta, C)) - words.tr(f.score(P @ delta, delta)), rules)


def _linear_rule(f: Formulas) -> Iterator[sp.Expr]:
    """A score N(+-mean, std^2) cut at 0 or, for unequal priors, at the zero of the log posterior ratio."""
    cut = sp.Symbol("cut")
    D, odds, mean, std, p = sp.symbols("Delta odds mean std p", positive=True)
    # Of the optimal rule the mean is Delta^2/2 and the variance Delta^2, of the bisector half a norm and its variance.
    hit = cdf((mean + cut) / std)
    # The score's share beyond -cut: its density there by cut, and none beyond infinity.
    yield sp.diff(hit, cut) - pdf((-cut - mean) / std) / std
    yield sp.limit(cdf(cut), cut, -sp.oo)
    there = {mean: D**2 / 2, std: D}
    accuracy = p * hit.subs(there) + (1 - p) * hit.subs(there).subs(cut, -cut)
    yield sp.diff(accuracy, cut).subs(cut, sp.log(odds)).subs(p, odds / (1 + odds))
    ratio = sp.log(p / (1 - p))
    yield accuracy.subs(cut, ratio) - f.optimum(D, p)
    yield f.optimum(D, sp.Rational(1, 2)) - f.equal(D)
    square, spread = sp.symbols("square spread", positive=True)
    yield hit.subs(cut, 0).subs({mean: square / 2, std: sp.sqrt(spread)}) - f.bisector(square, spread)


def _equality(f: Formulas, d: int) -> sp.Expr:
    """(delta^T Cov^-1 delta)(delta^T Cov delta) - ||delta||^4 in Cov's eigenbasis: a sum of squares that vanishes
    iff all variances along which delta has a component are equal."""
    delta, v = matrix("delta", d, 1), sp.symbols(f"v:{d}")
    gap = sum(delta[i] ** 2 / v[i] for i in range(d)) * sum(delta[i] ** 2 * v[i] for i in range(d))
    gap -= sum(x**2 for x in delta) ** 2
    return gap - sum(f.unlike(delta[i], delta[j], v[i], v[j]) for i, j in combinations(range(d), 2))


def _spread(f: Formulas) -> Iterator[sp.Expr]:
    """E|X - c| of one class: its second derivative by c is twice the density, and it is |c| far away."""
    a, c = sp.symbols("a c", real=True)
    s = sp.Symbol("s", positive=True)
    yield sp.diff(f.spread(a - c, s), c, 2) - 2 * pdf((a - c) / s) / s
    yield sp.limit(f.spread(-c, sp.S.One) - c, c, sp.oo)
    # X and -X have one |X|: the other class gives the same.
    yield f.spread(a, s) - f.spread(-a, s)


def _rest_point(f: Formulas, d: int) -> Iterator[Any]:
    """The loss E min(|x - m|^2, |x + m|^2) = E|x|^2 + |m|^2 - 2 E|m.x|, its gradient, and its best length."""
    x, m, delta, cov = matrix("x", d, 1), matrix("m", d, 1), matrix("delta", d, 1), symmetric("C", d)
    near, far = (sum((x[i] + sign * m[i]) ** 2 for i in range(d)) for sign in (-1, 1))
    apart = sp.expand(far - near)
    # Of two numbers the lesser is half their sum less half their distance; here the distance is 4 |m.x|.
    yield apart - 4 * sum(m[i] * x[i] for i in range(d))
    yield sp.expand((near + far) / 2) - sum(e**2 for e in x) - sum(e**2 for e in m)
    mean = sum(m[i] * delta[i] for i in range(d)) / 2
    std = sp.sqrt(sum(m[i] * cov[i, j] * m[j] for i in range(d) for j in range(d)))
    steepest = -gradient(sum(e**2 for e in m) - 2 * f.spread(mean, std), m) / 2
    claim = f.centre(delta, cov * m, mean, std) - m
    # Plain names: SymPy simplifies nested roots slowly.
    a, s = sp.symbols("a s")
    yield (steepest - claim).subs({std: s, mean: a})


def _thresholds(f: Formulas) -> Iterator[Any]:
    """E|u.x| along c = cos^2 in the plane of delta and the leading other eigenvector: first it falls, then it grows."""
    a, s, tau, c, h = sp.symbols("a s tau c h", positive=True)
    variance = s**2 * c + tau**2 * (1 - c)
    along = f.spread(a * sp.sqrt(c), sp.sqrt(variance))
    across = sp.limit(along, c, 0)
    # Equal at the two ends where tau^2 is the threshold.
    whole = f.spread(a, s)
    yield across.subs(tau, sp.sqrt(f.best(whole))) ** 2 - along.subs(c, 1) ** 2
    k = (2 * cdf(h) - 1) / (2 * h * pdf(h))
    height = a * sp.sqrt(c) / sp.sqrt(variance)
    slope = pdf(height) / sp.sqrt(variance) * (a**2 * k.subs(h, height) - (tau**2 - s**2))
    yield sp.diff(along, c) - slope
    # h k exp(-h^2/2) = int_0^h exp(-v^2/2) dv, so that, v = h u, k = int_0^1 exp(h^2 (1 - u^2)/2) du grows.
    integral = sp.expand(h * k * sp.exp(-(h**2) / 2))
    yield sp.diff(integral, h) - sp.exp(-(h**2) / 2)
    yield integral.subs(h, 0)
    yield sp.diff(height**2, c) - (a * tau / variance) ** 2
    yield (a**2 * k.subs(h, a / s) - (tau**2 - s**2)).subs(tau, sp.sqrt(f.stable(whole, a, s)))


D, p, a, s, spread, square, variance = sp.symbols("Delta p a s E|X| ||delta||^2 delta^T*Cov*delta")
di, dj, vi, vj = sp.symbols("delta_i delta_j v_i v_j")
d = sp.Symbol("d", integer=True, positive=True)
delta, image, w, Cov = (
    sp.MatrixSymbol("delta", d, 1),
    sp.MatrixSymbol("Cov_n", d, 1),
    sp.MatrixSymbol("w", d, 1),
    sp.MatrixSymbol("Cov", d, d),
)


def _optimum(D: sp.Expr, p: sp.Expr) -> sp.Expr:
    log_odds = sp.log(p / (1 - p))
    return p * cdf(D / 2 + log_odds / D) + (1 - p) * cdf(D / 2 - log_odds / D)


FALSE_SPREAD = {"spread": lambda a, s: s * pdf(a / s) + a * (1 - 2 * cdf(-a / s))}

THEOREM = Theorem(
    id="T10",
    subject="recoverability",
    assumptions=(
        "each class is Gaussian",
        "the two covariances are equal",
        "equal weights (Phi(Delta/2), 2-means and its thresholds; the optimum has a form for any)",
        "delta is an eigenvector of Cov (bisector optimal, thresholds)",
    ),
    formulas=Formulas(
        score=Formula(lambda w, delta: w.T @ delta, (w, delta)),
        variance=Formula(lambda w, cov: w.T @ cov @ w, (w, Cov)),
        optimum=Formula(_optimum, (D, p)),
        equal=Formula(lambda D: cdf(D / 2), (D,)),
        bisector=Formula(lambda square, variance: cdf(square / (2 * sp.sqrt(variance))), (square, variance)),
        unlike=Formula(lambda x, y, v, w: (x * y * (v - w)) ** 2 / (v * w), (di, dj, vi, vj)),
        spread=Formula(
            lambda a, s: 2 * s * pdf(a / s) + a * (1 - 2 * cdf(-a / s)), (a, s), "E|X|", r"\mathbb{E}|X|"
        ),
        centre=Formula(
            lambda delta, image, a, s: (1 - 2 * cdf(-a / s)) / 2 * delta + 2 * pdf(a / s) / s * image,
            (delta, image, a, s),
        ),
        best=Formula(lambda spread: sp.pi / 2 * spread**2, (spread,)),
        # s/(2 phi) as exp: phi underflows where the classes are 40 standard deviations apart.
        stable=Formula(
            lambda spread, a, s: s * spread * sp.sqrt(sp.pi / 2) * sp.exp((a / s) ** 2 / 2), (spread, a, s)
        ),
    ),
    claims=(
        Claim(
            "a rule that compares w.x with a cut sees a score of mean +-{score}/2 and variance {variance}: "
            "w = Cov^-1 delta is the likelihood ratio, with both equal to Delta^2; w = delta the nearest class mean",
            ("ratio",),
        ),
        Claim(
            "the best cut of the likelihood ratio has accuracy {optimum}, {equal} at p = 1/2",
            ("linear rule",),
        ),
        Claim("the nearest class mean has {bisector}", ("ratio", "linear rule")),
        Claim(
            "Delta^2 delta^T Cov delta - ||delta||^4 is the sum over i < j of {unlike} in Cov's eigenbasis, so at "
            "p = 1/2 the bisector is the optimum iff delta is an eigenvector",
            ("equality",),
        ),
        Claim("X ~ N(+-a, s^2): {spread}", ("spread",)),
        Claim(
            "2-means split at the midpoint: a rest point n = m/||m|| has m = {centre}, Cov_n = Cov n, "
            "a = n.delta/2, s^2 = n^T Cov n",
            ("spread", "rest point"),
        ),
        Claim(
            "delta an eigenvector, tau^2 the largest other variance: the split at the midpoint is the bisector iff "
            "tau^2 < {best}, else orthogonal to delta; Lloyd's iteration stays at the bisector iff tau^2 < {stable}",
            ("spread", "thresholds"),
        ),
        Claim("no split off the midpoint is better"),
    ),
    steps=(
        Step(
            "ratio",
            "from the two densities: the log-likelihood ratio, and the difference of squared distances",
            _ratio,
            {"score": lambda w, delta: 2 * w.T @ delta, "variance": lambda w, cov: w.T @ w},
        ),
        Step(
            "linear rule",
            "from the density of a score: the share beyond a cut, and that no other cut is better",
            _linear_rule,
            {
                "optimum": lambda D, p: p * cdf(D / 2) + (1 - p) * cdf(D / 2),
                "equal": cdf,
                "bisector": lambda square, variance: cdf(square / sp.sqrt(variance)),
            },
            "Delta and p",
        ),
        Step(
            "equality",
            "from both accuracies in Cov's eigenbasis",
            _equality,
            {"unlike": lambda x, y, v, w: (x * y * (v - w)) ** 2},
            "d",
            (2, 3, 4),
        ),
        Step(
            "spread",
            "from the density of one class: E|X - c|, differentiated twice by c",
            _spread,
            FALSE_SPREAD,
            "a and s",
        ),
        Step(
            "rest point",
            "from the loss of 2-means, E min(|x - m|^2, |x + m|^2): its gradient by m",
            _rest_point,
            {
                "centre": lambda delta, image, a, s: (1 - cdf(-a / s)) * delta + 2 * pdf(a / s) / s * image,
            }
            | FALSE_SPREAD,
            "d",
            (2, 3),
        ),
        Step(
            "thresholds",
            "from E|u.x| along the arc from delta to the other eigenvector",
            _thresholds,
            {
                "best": lambda spread: spread**2,
                "stable": lambda spread, a, s: sp.pi / 2 * spread**2,
                "spread": FALSE_SPREAD["spread"],
            },
            "d",
        ),
    ),
)

prove = THEOREM.prove
