"""T21 Step size: gradient descent keeps more fine structure than gradient flow, the more the larger its steps.

T7's setting: noise-free inputs at orthonormal means, C fine classes of probability 1/C, S of them in a coarse class,
targets +-1, ReLU, squared loss, a small balanced start; a neuron's pattern is the set of subclasses on which it is
active. Full-batch gradient descent of step eta keeps the aligned state w_c = u (c in Q), a = sqrt(q) u of a pattern on
q subclasses exactly, as the flow does, and with residual r multiplies

    u by 1 + eta (r sqrt(q)/C - lambda)   each step.

So with neurons on all S, and q the size of the largest pattern that separates two subclasses (T7), their separation is
multiplied by the ratio of the factors of q and of S. Until the output is of order 1 the residual is 1, so at lambda = 0
from scale eps

    sep ~ eps^(1 - ln(1 + eta sqrt(q)/C)/ln(1 + eta sqrt(S)/C)):

T7's exponent 1 - sqrt(q/S) as eta -> 0, and less for every larger step, as (1 + x) ln(1 + x)/x grows with x.
Descent settles at f = 1 for eta < C/sqrt(S) alone: around it the residual is multiplied by 1 - 2 eta sqrt(S)/C. So the
exponent never falls below 1 - ln(1 + sqrt(q/S))/ln 2: .228 for S = 2, where the flow has .293.

With weight decay the residual rests where the factor of S is 1, and separation falls by 1 - eta lambda (1 - sqrt(q/S))
a step: per unit of time eta this is a little faster than T8's rate, at all steps that settle.

sep eps^-exponent is periodic in ln eps, of period ln(1 + eta sqrt(S)/C), the growth of one step, as the number of
steps is whole; an exponent is exact between scales that are whole periods apart.

Momentum beta is another law: a factor is the larger root g of g^2 - (1 + beta + eta (r sqrt(q)/C - lambda)) g + beta,
and the exponent is lower (.199 for beta = .9, eta = .1, S = 2, where the law above has .290). A test keeps it.

Proved here from the loss, for every S and q: the step, the exponent of the growth at residual 1, its limit and its
order, the largest step, the rate. On paper: that the steps at which the output is not small change separation by a
bounded factor (outputs grow by a factor each step until then, and residuals fall by one after). Observed only: that a
random small start aligns first.

Sources: this project, T21 (in the setting of Yang, Steinhardt & Hu, ICML 2023). That descent settles where the step is
below 2 over the curvature is classical.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.special import comb

from finegrain.theory.theorems import erosion, specialisation
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def predict(subclasses: int, classes: int, learning_rate: float, *, served: int | None = None) -> float:
    """The exponent of sep in eps, for S >= 2, C and 0 < eta < C/sqrt(S).

    served: q, the size of the largest pattern that separates the pair, 0..S-1; S - 1 by default.
    """
    _settles(subclasses, classes, learning_rate)
    q = _served(subclasses, served)
    return float(THEOREM.formulas.exponent.number(q, subclasses, classes, learning_rate))


def predict_amplitude(
    residuals: ArrayLike, size: int, classes: int, learning_rate: float, *, weight_decay: float = 0.0
) -> Array:
    """u over u at the start, (n,), after each of n steps with these residuals (n,), for a pattern on q = `size`."""
    r = checks.real("residuals", residuals, ("n",))
    factors = THEOREM.formulas.growth.number(size, r, classes, weight_decay, learning_rate)
    return np.cumprod(np.broadcast_to(factors, r.shape))


def predict_separation(
    amplitudes: ArrayLike, classes: int, learning_rate: float, steps: int, *, weight_decay: float = 0.0
) -> float:
    """sep after so many steps, exactly, from the amplitudes u_1..u_S (S,) of one neuron for each set of each size.

    The residuals are then equal: 1 less T7's output.
    """
    u, f = checks.real("amplitudes", amplitudes, ("S",)).copy(), THEOREM.formulas
    sizes = np.arange(1, u.size + 1)
    share = comb(u.size - 1, sizes - 1) * np.sqrt(sizes)
    for _ in range(steps):
        u *= f.growth.number(sizes, 1 - share @ u**2, classes, weight_decay, learning_rate)
    return specialisation.predict_separation(u**2, 0.0)


def predict_rate(
    weight_decay: float, subclasses: int, learning_rate: float, *, served: int | None = None
) -> float:
    """-d ln sep per unit of time eta, late in training with 0 <= lambda below T8's critical value."""
    checks.at_least("weight_decay", weight_decay, 0)
    checks.positive("learning_rate", learning_rate)
    q = _served(subclasses, served)
    return float(THEOREM.formulas.rate.number(q, subclasses, weight_decay, learning_rate))


def predict_largest_step(subclasses: int, classes: int) -> float:
    """The step from which on f = 1 is not settled at: C/sqrt(S)."""
    return float(THEOREM.formulas.largest.number(subclasses, classes))


def predict_least(subclasses: int, *, served: int | None = None) -> float:
    """The exponent at the largest step: no step that settles has a smaller one."""
    return float(THEOREM.formulas.least.number(_served(subclasses, served), subclasses))


def _served(subclasses: int, served: int | None) -> int:
    checks.at_least("subclasses", subclasses, 2)
    q = subclasses - 1 if served is None else served
    if not 0 <= q < subclasses:
        raise ValueError(f"served must lie in 0..{subclasses - 1}, got {served}")
    return q


def _settles(subclasses: int, classes: int, learning_rate: float) -> None:
    largest = predict_largest_step(subclasses, classes)
    if not 0 < learning_rate < largest:
        raise ValueError(
            f"learning_rate must lie in (0, C/sqrt(S)) = (0, {largest:g}), where descent settles; got {learning_rate}"
        )


def _step(f: Formulas) -> Iterator[sp.Expr]:
    """One neuron on q subclasses among others that give g_c: its weights after a step, from the loss."""
    q, c, k = sp.symbols("q c k", integer=True, positive=True)
    a, u, r, lam, eta = sp.symbols("a u r lambda eta", real=True)
    C = sp.Symbol("C", positive=True)
    w, g = sp.IndexedBase("w"), sp.IndexedBase("g")
    loss = sp.Sum((g[c] + a * w[c] - 1) ** 2 / (2 * C) + lam * w[c] ** 2 / 2, (c, 1, q)) + lam * a**2 / 2

    def aligned(weight: sp.Expr, i: sp.Expr) -> sp.Expr:
        """At residual r on every subclass, w_c = u, a = sqrt(q) u."""
        # xreplace, as subs leaves the index of a sum alone.
        return weight.xreplace({g[i]: 1 - r - a * w[i]}).xreplace({w[i]: u, a: sp.sqrt(q) * u}).doit()

    # Subclass 1 stands for any: their names mean nothing.
    output, weight = a - eta * sp.diff(loss, a), w[1] - eta * sp.diff(loss, w[k]).doit().subs(k, 1)
    yield aligned(output, c) - f.growth(q, r, C, lam, eta) * sp.sqrt(q) * u
    yield aligned(weight, sp.Integer(1)) - f.growth(q, r, C, lam, eta) * u


def _exponent(f: Formulas) -> sp.Expr:
    """n steps at r = 1 take the full neurons from eps to 1; sep is the ratio of two amplitudes."""
    S, q, C, eta, k, n = sp.symbols("S q C eta k n", positive=True)  # k = -ln eps
    fast, slow = (sp.log(f.growth(size, 1, C, 0, eta)) for size in (S, q))
    (steps,) = sp.solve(n * fast - k, n)
    return steps * (slow - fast) / -k - f.exponent(q, S, C, eta)


def _limit(f: Formulas) -> sp.Expr:
    """Steps to 0: the flow's."""
    S, q, C, eta = sp.symbols("S q C eta", positive=True)
    return sp.limit(f.exponent(q, S, C, eta), eta, 0) - f.flow(q, S)


def _monotone(f: Formulas) -> Iterator[sp.Expr]:
    """With x = eta sqrt(q)/C below y = eta sqrt(S)/C the slope by eta is that of g(y) > g(x), g(z) = (1 + z) ln(1 +
    z)/z; g grows, for its slope is (z - ln(1 + z))/z^2, which is 0 at 0 and has the slope z/(1 + z) > 0."""
    S, q, C, eta, z = sp.symbols("S q C eta z", positive=True)
    x, y = eta * sp.sqrt(q) / C, eta * sp.sqrt(S) / C

    def g(at: sp.Expr) -> sp.Expr:
        return (1 + at) * sp.log(1 + at) / at

    fall = x * y / ((1 + x) * (1 + y)) * (g(y) - g(x)) / sp.log(1 + y) ** 2 / eta
    yield sp.diff(f.exponent(q, S, C, eta), eta) + fall
    rest = z - sp.log(1 + z)
    yield sp.diff(g(z), z) - rest / z**2
    yield rest.subs(z, 0)
    yield sp.Gt(sp.factor(sp.diff(rest, z)), 0)


def _largest(f: Formulas) -> Iterator[sp.Expr]:
    """The full neuron alone: u after a step as a function of u, differentiated at rest, sqrt(S) u^2 = 1."""
    S, C, eta, u = sp.symbols("S C eta u", positive=True)
    after = u * f.growth(S, 1 - sp.sqrt(S) * u**2, C, 0, eta)
    multiplier = sp.diff(after, u).subs(u, S ** sp.Rational(-1, 4))
    yield multiplier.subs(eta, f.largest(S, C)) + 1
    # It falls as steps grow: below the largest it lies in (-1, 1).
    yield sp.Lt(sp.simplify(sp.diff(multiplier, eta)), 0)
    yield multiplier.subs(eta, 0) - 1


def _least(f: Formulas) -> sp.Expr:
    """The exponent at the largest step."""
    S, q, C = sp.symbols("S q C", positive=True)
    return f.exponent(q, S, C, f.largest(S, C)) - f.least(q, S)


def _rate(f: Formulas) -> Iterator[sp.Expr]:
    """The full neurons rest where their factor is 1; what the factor of q is there; and T8's rate at small steps."""
    S, q, C, lam, eta, r = sp.symbols("S q C lambda eta r", positive=True)
    (at_rest,) = sp.solve(f.growth(S, r, C, lam, eta) - 1, r)
    factor = f.growth(q, at_rest, C, lam, eta)
    yield sp.exp(-eta * f.rate(q, S, lam, eta)) - factor
    yield sp.limit(f.rate(q, S, lam, eta), eta, 0) - erosion.THEOREM.formulas.rate(lam, q, S)


q, r, C, lam, S, eta = sp.symbols("q r C lambda S eta", positive=True)
SLOPE = "ln sep/ln eps", r"\frac{\ln \mathrm{sep}}{\ln \varepsilon}"
# What is false: growth by q for its root; the flow's exponent at every step; the flow's rate.
LINEAR = {"growth": lambda q, r, C, lam, eta: 1 + eta * (r * q / C - lam)}
FLOW = {"exponent": lambda q, S, C, eta: 1 - sp.sqrt(q / S) + 0 * eta}

THEOREM = Theorem(
    id="T21",
    subject="step size",
    assumptions=(
        "ReLU",
        "orthonormal means, no input noise (T6)",
        "full-batch gradient descent, one step size, no momentum",
        "a step below C/sqrt(S), where descent settles",
        "some neuron active on all S subclasses",
        "for each pair, some on S - 1 that separate it (q = S - 1)",
        "equal probabilities, squared loss",
        "a small balanced start; lambda = 0 (the exponent)",
    ),
    formulas=Formulas(
        growth=Formula(
            lambda q, r, C, lam, eta: 1 + eta * (r * sp.sqrt(q) / C - lam),
            (q, r, C, lam, eta),
            "u after a step/u",
            r"\frac{u_{n+1}}{u_n}",
        ),
        exponent=Formula(
            lambda q, S, C, eta: 1 - sp.log(1 + eta * sp.sqrt(q) / C) / sp.log(1 + eta * sp.sqrt(S) / C),
            (q, S, C, eta),
            *SLOPE,
        ),
        flow=specialisation.THEOREM.formulas.exponent,
        largest=Formula(lambda S, C: C / sp.sqrt(S), (S, C), "eta", r"\eta"),
        least=Formula(lambda q, S: 1 - sp.log(1 + sp.sqrt(sp.sympify(q) / S)) / sp.log(2), (q, S)),
        rate=Formula(
            lambda q, S, lam, eta: -sp.log(1 - eta * lam * (1 - sp.sqrt(sp.sympify(q) / S))) / eta,
            (q, S, lam, eta),
            "-d ln sep/dt",
            r"-\frac{d \ln \mathrm{sep}}{dt}",
        ),
    ),
    claims=(
        Claim(
            "one step of descent keeps the aligned state of a neuron on q subclasses: {growth}, so separation is "
            "multiplied by the ratio of the factors of q and S",
            ("step",),
        ),
        Claim(
            "from scale eps separation ends at {exponent}, q as in T7 (S - 1 for m >> 2^S)",
            ("step", "exponent"),
            "that the steps where the output is not small change sep by a bounded factor is shown on paper, that a "
            "random small start aligns is observed",
        ),
        Claim("for small steps this is the flow's {flow}, and it falls as steps grow", ("limit", "monotone")),
        Claim(
            "descent settles at f = 1 below {largest}, so the exponent is at least {least}",
            ("largest", "least"),
        ),
        Claim(
            "with weight decay separation falls late at {rate} per unit of time, eta of them to a step; T8's rate for "
            "small steps",
            ("rate",),
            "that descent comes to rest is observed",
        ),
        Claim("sep eps^-exponent is periodic in ln eps"),
    ),
    steps=(
        Step(
            "step",
            "from the loss of one neuron on q subclasses among others: its weights after a step from the aligned state",
            _step,
            LINEAR,
            "q",
        ),
        Step(
            "exponent",
            "from the factors of q and S at residual 1, for as many steps as the full neurons need",
            _exponent,
            FLOW | LINEAR,
            "q and S",
        ),
        Step("limit", "from the exponent, eta to 0", _limit, {"flow": lambda q, S: 1 - q / S}, "q and S"),
        Step(
            "monotone",
            "from the exponent, differentiated by eta: minus a difference of one growing function at two places",
            _monotone,
            FLOW,
            "q and S",
        ),
        Step(
            "largest",
            "from the step of the full neuron as a map of u, differentiated at rest: its slope goes from 1 to -1",
            _largest,
            {"largest": lambda S, C: C / S, **LINEAR},
            "S",
        ),
        Step(
            "least",
            "from the exponent at the largest step",
            _least,
            {"least": lambda q, S: 1 - sp.sqrt(sp.sympify(q) / S), **FLOW},
            "q and S",
        ),
        Step(
            "rate",
            "from the residual at which the full neurons' factor is 1; the limit is T8's",
            _rate,
            {"rate": lambda q, S, lam, eta: lam * (1 - sp.sqrt(sp.sympify(q) / S)) + 0 * eta, **LINEAR},
            "q and S",
        ),
    ),
)

prove, statement = THEOREM.prove, THEOREM.statement
