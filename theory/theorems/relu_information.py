"""T23 ReLU: collapse of scale, not of information. Subclasses merge as eps -> 0, and what tells them apart stays.

T7's setting: training on noise-free inputs at orthonormal means, ReLU, a small start; neurons aligned, w = u_Q sum of
mu_c over the pattern Q. On any input x, noisy test inputs too,

    h_Q(x) = u_Q relu(sum_(c in Q) x_c),   so h = D Phi(x),   D diagonal and positive,

the features Phi fixed by the set of patterns alone. So every quantity that a scale of each neuron does not change, the
Mahalanobis distance of two subclasses and the accuracy of the best linear classifier among them, is that of Phi: the
same at every scale eps, at every time, for every weight decay, while the relative separation falls to 0 (T7, T8). For
subclasses 1 and 2 with single neurons and test noise sigma^2 I the classifier h_1 > h_2 is right on a share

    P(x_1 > 0, x_1 > x_2) + P(x_1, x_2 <= 0)/2 = F2(1/sigma, 1/(sigma sqrt 2), 1/sqrt 2) + Phi(-1/sigma)/4,

x_1 ~ N(1, sigma^2), x_2 ~ N(0, sigma^2), F2(h, k, r) = P(X < h, Y < k) at correlation r (T1); the best rule on the
inputs has Phi(1/(sigma sqrt 2)), a little more: .99079 against .99072 at sigma = .3.

Corrected: it had been stated as a limit of the best linear accuracy from random starts. That accuracy is not
continuous: two neurons of one pattern that are not quite parallel give (h_1 - h_2)/delta, a feature that Phi has not,
for every delta > 0. With the pattern {1, 2} alone aligned neurons tell subclasses 1 and 2 apart on half of the inputs,
and two that are a hundred-thousandth apart on .98 of them (a test keeps it). So for random starts it is what a
classifier of bounded norm has in the limit, and the best one has at least that. Nor does it survive noise added to h:
collapse of scale is what such noise sees.

T4 has the same for linear networks. Proved here: that aligned neurons stay so, the invariance for every D, and the
accuracy. Computed: distances of Phi from its exact moments (T1), as T10 reads them.

Sources: this project, T23 (in the setting of Yang, Steinhardt & Hu, ICML 2023, whose title asks it).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import sympy as sp

from finegrain.theory import kinematics, observables
from finegrain.theory.gaussian import bivariate_normal_cdf
from finegrain.theory.moments import Moments
from finegrain.theory.pattern_rest import checked_patterns
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import descent, matrix, penalty, symmetric
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def predict(patterns: Iterable[Collection[int]], subclasses: int, noise: float) -> Array:
    """Mahalanobis distances (S, S) of the subclasses in h, for test inputs N(e_c, noise^2 I), from the patterns alone.

    Patterns are sets of numbers 0..S-1; neurons of other coarse classes add nothing.
    """
    checks.at_least("subclasses", subclasses, 2)
    checks.positive("noise", noise)
    every = checked_patterns(patterns, subclasses)
    member = np.array([[float(c in Q) for c in range(subclasses)] for Q in every])
    covariances = np.tile(noise**2 * np.eye(subclasses), (subclasses, 1, 1))
    inputs = Moments(np.full(subclasses, 1 / subclasses), np.eye(subclasses), covariances)
    h = kinematics.propagate(inputs, member, "relu")
    distances: Array = observables.mahalanobis(h)
    return distances


def predict_accuracy(noise: float) -> float:
    """Share of two subclasses' test inputs on which the larger of their single neurons is right."""
    checks.positive("noise", noise)
    f = THEOREM.formulas
    wedge = bivariate_normal_cdf(1 / noise, f.reach.number(noise), np.sqrt(0.5))
    return float(f.accuracy.number(noise, wedge))


def predict_best(noise: float) -> float:
    """The same for the best rule on the inputs."""
    checks.positive("noise", noise)
    return float(THEOREM.formulas.best.number(noise))


def _stays(f: Formulas, q: int) -> Iterator[sp.Expr]:
    """From the loss of a neuron on q subclasses at one residual: all open coordinates move alike, whatever u and a."""
    a, u, r, lam = sp.symbols("a u r lambda", positive=True)
    w, others = sp.symbols(f"w1:{q + 1}"), sp.symbols(f"g1:{q + 1}")
    pi = sp.Symbol("pi", positive=True)
    loss = sum(pi * (g + a * x - 1) ** 2 for g, x in zip(others, w, strict=True)) / 2
    velocity = descent(loss + penalty(lam, sp.Matrix([a, *w])), sp.Matrix(w))
    residual = {g: 1 - r - a * x for g, x in zip(others, w, strict=True)}
    speeds = [velocity[x].xreplace(residual).xreplace(dict.fromkeys(w, u)) for x in w]
    yield from (sp.expand(speed - speeds[0]) for speed in speeds[1:])
    # So on any input the neuron stays u times one feature: relu(u z) = u relu(z), on both sides of 0.
    z = sp.Symbol("z", positive=True)
    yield from (f.feature(u, x) - u * f.feature(1, x) for x in (z, -z))
    yield f.feature(u, z) - u * z


def _invariant(f: Formulas, m: int) -> sp.Expr:
    """delta^T C^-1 delta of D Phi and of Phi, entry by entry."""
    scales = sp.symbols(f"u1:{m + 1}", positive=True)
    D, delta, C = sp.diag(*scales), matrix("d", m, 1), symmetric("C", m)
    scaled = f.distance(D * delta, (D * C * D).inv())
    return sp.cancel((scaled - f.distance(delta, C.inv()))[0])


def _accuracy(f: Formulas) -> Iterator[sp.Expr]:
    """x_1 = 1 + sigma a and x_1 - x_2 = 1 + sigma (a - b), a and b standard: where both are above 0, half of what has
    x_1 and x_2 below 0, and the best rule, x_1 - x_2 above 0."""
    y, sigma = sp.symbols("y sigma", positive=True)
    a, b, free, P = sp.symbols("a b y P", real=True)
    gap = 1 + sigma * a - sigma * b
    variance, covariance = sp.diff(gap, a) ** 2 + sp.diff(gap, b) ** 2, sigma * sp.diff(gap, a)
    yield f.reach(sigma) - gap.subs({a: 0, b: 0}) / sp.sqrt(variance)
    yield f.correlation() - covariance / sp.sqrt(sigma**2 * variance)

    def density(at: sp.Expr, mean: int, variance: sp.Expr) -> sp.Expr:
        return sp.exp(-((at - mean) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)

    below = [sp.integrate(density(-y, mean, sigma**2), (y, 0, sp.oo)) for mean in (1, 0)]
    yield sp.simplify(sp.expand_func((f.accuracy(sigma, P) - P - below[0] * below[1] / 2).rewrite(sp.erf)))
    ahead = sp.integrate(density(free, 1, variance), (free, 0, sp.oo))
    yield sp.simplify((ahead - f.best(sigma)).rewrite(sp.erf))


def _Phi(z: sp.Expr) -> sp.Expr:
    return (1 + sp.erf(z / sp.sqrt(2))) / 2


sigma, u = sp.symbols("sigma u", positive=True)
z, wedge = sp.symbols("z F2", real=True)
delta, inverse = sp.MatrixSymbol("delta", 2, 1), sp.MatrixSymbol("P", 2, 2)

THEOREM = Theorem(
    id="T23",
    subject="information under ReLU",
    assumptions=(
        "ReLU",
        "orthonormal means, no noise in training, one residual inside a coarse class",
        "aligned neurons: those of a pattern are parallel",
        "a neuron for each of the two subclasses alone (the accuracy)",
        "test noise of one variance, independent of the weights (the accuracy)",
        "h to full precision",
    ),
    formulas=Formulas(
        feature=Formula(lambda u, z: sp.Max(0, u * z), (u, z), "h", "h"),
        distance=Formula(
            lambda delta, inverse: delta.T * inverse * delta, (delta, inverse), "Delta^2", r"\Delta^2"
        ),
        reach=Formula(lambda sigma: 1 / (sigma * sp.sqrt(2)), (sigma,), "k", "k"),
        correlation=Formula(lambda: 1 / sp.sqrt(2), (), "r", "r"),
        accuracy=Formula(
            lambda sigma, wedge: wedge + _Phi(-1 / sigma) / 4,
            (sigma, wedge),
            "accuracy",
            r"\mathrm{accuracy}",
        ),
        best=Formula(lambda sigma: _Phi(1 / (sigma * sp.sqrt(2))), (sigma,)),
    ),
    claims=(
        Claim(
            "an aligned neuron stays aligned, and on every input is {feature}, z the sum of x_c over its pattern: "
            "h = D Phi(x), and eps, time and weight decay enter D alone",
            ("stays",),
            "q beyond those listed",
        ),
        Claim(
            "so {distance} of two subclasses, P the inverse covariance, is that of Phi, as is every linear accuracy",
            ("invariant",),
            "more neurons than those listed",
        ),
        Claim(
            "the larger of the two single neurons tells subclasses 1 and 2 on a share {accuracy}, F2 = P(X < 1/sigma, "
            "Y < k) at correlation {correlation}, {reach}; the best rule on the inputs on {best}",
            ("accuracy",),
        ),
        Claim("from random small starts classifiers of bounded norm come to the same"),
    ),
    steps=(
        Step(
            "stays",
            "from the loss of a neuron on q subclasses at one residual: its open coordinates move alike; relu is "
            "linear in a positive scale",
            _stays,
            {"feature": lambda u, z: sp.Max(0, z) + u},
            "q",
            (1, 2, 3),
        ),
        Step(
            "invariant",
            "from the covariance of D Phi: the distance of scaled features less that of the features",
            _invariant,
            {"distance": lambda delta, inverse: delta.T * delta},
            "m",
            (1, 2, 3),
        ),
        Step(
            "accuracy",
            "from the two densities: inputs above 0 in order, half of those with both gates closed, the best rule",
            _accuracy,
            {
                "accuracy": lambda sigma, wedge: wedge + _Phi(-1 / sigma) / 2,
                "best": lambda sigma: _Phi(1 / sigma),
                "reach": lambda sigma: 1 / sigma,
                "correlation": lambda: sp.Rational(1, 2),
            },
            "sigma",
        ),
    ),
)

prove, statement = THEOREM.prove, THEOREM.statement
