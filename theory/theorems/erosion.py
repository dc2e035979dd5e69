"""T8 Erosion under weight decay: after training, subclasses go on merging at lambda (1 - sqrt(q/S)).

T9's setting: noise-free inputs at orthonormal means, ReLU, squared loss, targets of one norm ||t||; gates as T6 leaves
them, a neuron active on all S subclasses of each coarse class; rho_S = sqrt((S-1)/S), lambda_c = ||t|| sqrt(S)/C.

Equal probabilities. A neuron active on q subclasses grows as d ln u/dt = r sqrt(q)/C - lambda with the residual
r = ||t|| - f (T7). The full ones fix it at the end of training: r = C lambda/sqrt S below lambda_c, r = ||t||
above, where f -> 0. Hence the relative separation of two subclasses decays at

    (sqrt S - sqrt q) r/C = min(lambda, lambda_c) (1 - sqrt(q/S)),

q the size of the largest pattern that separates them (holds exactly one), after a transient at 2 |lambda_c - lambda|.
q = S - 1 for every pair once m >> 2^S: then min(lambda, lambda_c) (1 - rho_S). q = 0 if no neuron separates them: then
it is the full neurons' own unevenness that dies, at lambda or faster. Linear network, K = 2: at min(lambda, 1/sqrt C),
the same with rho = 0.

Any final patterns, any probabilities: with T9's pulls d_c at rest a pattern Q moves at ||d_Q|| - lambda, so two
subclasses that all living patterns hold together, at d_c = d_c', merge at

    lambda - max ||d_Q||   over the patterns Q that separate them (above the critical lambda: theirs less the same),

and all others do not merge.

Unequal probabilities: no full collapse. Full neurons rest at w_c = d_c a/lambda with d_c = pi_c r_c; sep tends to

    |d_1 - d_2| / sqrt(d_1 d_2),   r_c = ||t||/(1 + pi_c P/lambda),   sum_c d_c^2 = lambda^2   (P = sum_j a_j^2),

for lambda < lambda_c = ||t|| sqrt(sum_c pi_c^2); above it d_c is proportional to pi_c. Fewer gates: decay at
lambda - sqrt(sum_{c in Q} d_c^2) > 0.

Proved here from the loss: the rates for all S and q; at the sizes stated the growth of every pattern, the transient,
the limit, the linear case. On paper alone: that the flow comes to rest (T9's convergence); then near rest a dying
neuron's aligned part moves at ||d_Q|| - lambda and the rest of it faster, so separation's rate is that of its slowest
part. For q = 0 an upper bound alone: D = sum over living neurons of (w_jc - w_jc')^2 has dD/dt <= -2 lambda D, as what
the outputs do is to pull them level. Observed only: that random vector outputs (K > 2) come to the same.

Corrected: (1) the rate had been given as lambda (1 - rho_S) with one neuron on all S; each pair also needs neurons on
S - 1 that separate it. S = 3, lambda = .1443, full and single-subclass neurons alone: .0610, not .0265. (2) Above
lambda_c the rate had been given as (sqrt S - sqrt(S-1))/C, without ||t||; for centred one-hot targets
||t|| = sqrt(1 - 1/K), and the rate is ||t|| (sqrt S - sqrt(S-1))/C, continuous at lambda_c.

Sources: this project, T8 (in the setting of Yang, Steinhardt & Hu, ICML 2023). Training of the same networks without
weight decay: Boursier, Pillaud-Vivien & Flammarion (2022); neural collapse under their flow: Min, Zhu & Vidal (2025).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import combinations

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from finegrain.theory.pattern_rest import checked_patterns
from finegrain.theory.pattern_rest import rest as rest_of
from finegrain.theory.theorems import end_state, specialisation
from finegrain.theory.theorems.end_state import critical
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import descent, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

# Two pulls closer than this, relatively, are one; the rest state is exact to rounding.
SAME = 1e-9


def predict_rate(
    weight_decay: float,
    subclasses: int,
    classes: int,
    *,
    target_norm: float = 1.0,
    patterns: Iterable[Collection[int]] | None = None,
) -> float:
    """Late decay rate of the relative separation, for S >= 2, C, lambda >= 0 and ||t||.

    patterns: those that neurons have, sets of numbers 0..S-1 (every set by default); then the rate of the slowest pair,
    which rules the mean.
    """
    checks.at_least("weight_decay", weight_decay, 0)
    checks.at_least("subclasses", subclasses, 2)
    if patterns is not None:
        rates = predict_pair_rates(
            weight_decay, patterns, np.full(subclasses, 1 / classes), target_norm=target_norm
        )
        return float(rates[~np.eye(subclasses, dtype=bool)].min())
    lead = min(weight_decay, critical(subclasses, classes, target_norm))
    return float(THEOREM.formulas.rate.number(lead, subclasses - 1, subclasses))


def predict_pair_rates(
    weight_decay: float,
    patterns: Iterable[Collection[int]],
    weights: ArrayLike,
    *,
    target_norm: float = 1.0,
) -> Array:
    """Late decay rate of each pair's separation (S, S), for any final patterns and probabilities pi_c (S,).

    0 where the pair keeps a separation and on the diagonal, negative where it grows (one subclass dies before the
    other); for a pair that no pattern separates the least rate.
    """
    pi = checks.real("weights", weights, ("S",))
    every = checked_patterns(patterns, pi.size)
    if len(frozenset().union(*every)) < pi.size:
        raise ValueError(
            f"patterns must hold every subclass 0..{pi.size - 1}, got {[sorted(Q) for Q in every]}"
        )
    d = rest_of(weight_decay, every, pi, target_norm=target_norm).pulls
    speed = {Q: float(np.linalg.norm(d[sorted(Q)])) for Q in every}
    # Of the patterns that hold c the fastest: it lives, or above the critical value dies last.
    lead = [max((speed[Q] for Q in every if c in Q), default=0.0) for c in range(pi.size)]
    rates = np.zeros((pi.size, pi.size))
    for c, k in combinations(range(pi.size), 2):
        apart = max((speed[Q] for Q in every if (c in Q) != (k in Q)), default=0.0)
        slack = float(THEOREM.formulas.merging.number((lead[c] + lead[k]) / 2, apart))
        merge = abs(d[c] - d[k]) <= SAME * d[c] and abs(slack) > SAME * lead[c]
        rates[c, k] = rates[k, c] = slack if merge else min(slack, 0.0)
    return rates


def predict_linear_rate(weight_decay: float, classes: int) -> float:
    """The same for a linear network, K = 2 and targets +-1: min(lambda, 1/sqrt C)."""
    checks.at_least("weight_decay", weight_decay, 0)
    return float(THEOREM.formulas.linear_rate.number(weight_decay, classes))


def predict_transient(
    weight_decay: float, subclasses: int, classes: int, *, target_norm: float = 1.0
) -> float:
    """Rate at which the residual settles: 2 |lambda_c - lambda|."""
    critical(subclasses, classes, target_norm)
    return float(THEOREM.formulas.transient.number(weight_decay, subclasses, classes, target_norm))


def predict_limit(weight_decay: float, weights: ArrayLike, *, target_norm: float = 1.0) -> Array:
    """Relative separations (S, S) as t -> infinity, from the probabilities pi_c (S,) of a coarse class; lambda > 0."""
    d = rest_forces(weight_decay, weights, target_norm=target_norm)
    separations: Array = THEOREM.formulas.limit.number(d[:, None], d)
    return separations


def rest_forces(weight_decay: float, weights: ArrayLike, *, target_norm: float = 1.0) -> Array:
    """d_c = pi_c r_c (S,) at the end of training; above lambda_c, where all weights vanish, pi_c ||t||."""
    pi = checks.real("weights", weights, ("S",))
    if pi.min() <= 0:
        raise ValueError(f"weights must be > 0, got {pi.min()}")
    if not (np.isfinite(weight_decay) and weight_decay > 0):
        raise ValueError(f"weight_decay must be a finite number > 0, got {weight_decay}")
    free = pi * target_norm
    if weight_decay >= np.linalg.norm(free):
        return free

    def forces(power: float) -> Array:
        found: Array = THEOREM.formulas.pull.number(pi, target_norm, power, weight_decay)
        return found

    def excess(power: float) -> float:
        return float(np.sum(forces(power) ** 2)) - weight_decay**2

    # Each d_c <= ||t|| lambda/P, so the excess is negative from P = ||t|| sqrt(S) on.
    top = 2 * target_norm * np.sqrt(pi.size)
    return forces(float(brentq(excess, 0, top, xtol=1e-14 * top, rtol=1e-15)))


def _merging(f: Formulas, q: int) -> sp.Expr:
    """A small neuron on q subclasses beside others that give g_c: with d_c = pi_c (n - g_c) and D = ||d|| its aligned
    part a + d . w/D moves at D - lambda, to first order in its size."""
    a, lam, norm, size = sp.symbols("a lambda n size")
    w, d, pi, g = (sp.symbols(f"{name}1:{q + 1}", positive=True) for name in ("w", "d", "pi", "g"))
    loss = sum(pi[c] * (g[c] + a * w[c] - norm) ** 2 for c in range(q)) / 2 + penalty(lam, sp.Matrix([a, *w]))
    pulls = {g[c]: norm - d[c] / pi[c] for c in range(q)}
    small = {x: size * x for x in (a, *w)}
    speed = {
        x: sp.expand(v.xreplace(pulls).xreplace(small)).coeff(size, 1)
        for x, v in descent(loss, sp.Matrix([a, *w])).items()
    }
    D = sp.sqrt(sum(x**2 for x in d))
    aligned = a + sum(d[c] * w[c] for c in range(q)) / D
    moved = speed[a] + sum(d[c] * speed[w[c]] for c in range(q)) / D
    return moved + f.merging(lam, D) * aligned


def _rates(f: Formulas) -> Iterator[sp.Expr]:
    """The residual at which full neurons rest, below lambda_c and above, gives the rates; growth as in T7."""
    S, q, C, lam, norm, r = sp.symbols("S q C lambda n r", positive=True)
    growth = specialisation.THEOREM.formulas.growth
    apart = growth(S, r, C, lam) - growth(q, r, C, lam)
    (at_rest,) = sp.solve(growth(S, r, C, lam), r)
    yield apart.subs(r, at_rest) - f.rate(lam, q, S)
    # Above lambda_c all weights vanish, and r = ||t||; at lambda_c both hold.
    yield apart.subs(r, norm) - f.rate(f.critical(S, C, norm), q, S)
    yield at_rest.subs(lam, f.critical(S, C, norm)) - norm


def _one_class(
    S: int, norm: sp.Symbol, lam: sp.Expr, C: sp.Symbol
) -> tuple[sp.Expr, dict[tuple[tuple[int, ...], int], sp.Symbol], dict[tuple[int, ...], sp.Symbol]]:
    """Loss of one coarse class along its target, one neuron for each subset Q of the S fine classes; its weights."""
    subsets = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
    w = {(Q, c): sp.Symbol(f"w_{'_'.join(map(str, Q))}_{c}") for Q in subsets for c in Q}
    a = {Q: sp.Symbol(f"a_{'_'.join(map(str, Q))}") for Q in subsets}
    outputs = [sum(a[Q] * w[Q, c] for Q in subsets if c in Q) for c in range(S)]
    loss = sum((out - norm) ** 2 for out in outputs) / (2 * C)
    loss += sum(penalty(lam, sp.Matrix([a[Q], *(w[Q, c] for c in Q)])) for Q in subsets)
    return loss, w, a


def _rates_of_patterns(f: Formulas, S: int) -> Iterator[sp.Expr]:
    """u -> 0 for all but the full neuron, which rests, or dies too: growth of each pattern against that of the full."""
    norm, lam, u, C = sp.symbols("n lambda u C", positive=True)
    loss, w, a = _one_class(S, norm, lam, C)
    full, small = tuple(range(S)), sp.Symbol("v")
    energy = (norm - lam * C / sp.sqrt(S)) / sp.sqrt(S)
    for rest, decay in ((energy, lam), (sp.S.Zero, f.critical(S, C, norm))):
        growth = {}
        for Q in a:
            state = dict.fromkeys((*a.values(), *w.values()), sp.S.Zero)
            state |= {a[Q]: sp.sqrt(len(Q)) * small} | {w[Q, c]: small for c in Q}
            state |= {a[full]: sp.sqrt(S) * u} | {w[full, c]: u for c in full}
            speeds = [(-sp.diff(loss, x).xreplace(state), state[x]) for x in (a[Q], *(w[Q, c] for c in Q))]
            found = [sp.expand(speed / size).subs(small, 0).subs(u**2, rest) for speed, size in speeds]
            growth[Q] = found[0]
            yield from (each - found[0] for each in found[1:])
        for Q in a:
            yield growth[full] - growth[Q] - f.rate(decay, len(Q), S)


def _transient(f: Formulas, S: int) -> Iterator[sp.Expr]:
    """The full neuron alone: d(delta u)/dt = u (d growth/du) delta u around rest; above lambda_c u^2 dies at twice u's
    rate."""
    norm, u, C, kappa, lam = sp.symbols("n u C kappa lambda", positive=True)
    loss, w, a = _one_class(S, norm, lam, C)
    full = tuple(range(S))
    state = dict.fromkeys((*a.values(), *w.values()), sp.S.Zero)
    state |= {a[full]: sp.sqrt(S) * u} | {w[full, c]: u for c in full}
    growth = sp.expand(-sp.diff(loss, w[full, 0]).xreplace(state) / u)
    top = f.critical(S, C, norm)
    (rest,) = sp.solve(growth, u**2)
    settling = -sp.expand(sp.diff(growth, u) * u).subs(u**2, rest)
    for below in (True, False):
        decay = top - kappa if below else top + kappa
        rate = settling if below else -2 * growth.subs(u, 0)
        yield rate.subs(lam, decay) - f.transient(decay, S, C, norm)


def _unequal_rest(f: Formulas, S: int) -> Iterator[sp.Expr]:
    """Unequal pi_c: at w_c = d_c a/lambda the full neuron rests, if f_c = P d_c/lambda and sum d_c^2 = lambda^2."""
    norm, lam, a = sp.symbols("n lambda a")
    pi, w = sp.symbols(f"pi1:{S + 1}"), matrix("w", 1, S)
    loss = sum(pi[c] * (a * w[c] - norm) ** 2 for c in range(S)) / 2 + penalty(lam, w, sp.Matrix([a]))
    d = [f.pull(pi[c], norm, a**2, lam) for c in range(S)]
    rest = {w[c]: d[c] * a / lam for c in range(S)}
    speed = descent(loss, w, sp.Matrix([a]))
    yield from (sp.together(speed[w[c]].xreplace(rest)) for c in range(S))
    yield sp.together(speed[a].xreplace(rest) - a / lam * (sum(x**2 for x in d) - lam**2))


def _limit(f: Formulas) -> sp.Expr:
    """Two full neurons at rest: sep^2 of their h_c = d_c a/lambda."""
    lam, d, k, a, b = sp.symbols("lambda d_1 d_2 a b", positive=True)
    h, other = (sp.Matrix([pull * a / lam, pull * b / lam]) for pull in (d, k))
    norms = [sp.sqrt(sp.factor(x.dot(x))) for x in (h, other)]
    square = (h - other).dot(h - other) / (norms[0] * norms[1])
    return square - f.limit(d, k) ** 2


def _linear(f: Formulas, C: int) -> Iterator[sp.Expr]:
    """Linear, K = 2: W = r v^T, A = b r^T with v_c = t_c/sqrt C grows until s b^2 = sigma - lambda, s = 1/C,
    sigma = 1/sqrt C; any w orthogonal to v off r decays at lambda."""
    lam, b, x, kappa = sp.symbols("lambda b x kappa", positive=True)
    t = [-1] * (C // 2) + [1] * (C // 2)
    W, A = matrix("w", 2, C), matrix("a", 1, 2)
    loss = sum(((A * W[:, c])[0] - t[c]) ** 2 for c in range(C)) / (2 * C) + penalty(lam, W, A)
    # A difference of two subclasses, in the neuron with a = 0.
    off = {0: x, 1: -x}
    state = {A[0, 0]: b, A[0, 1]: sp.S.Zero}
    state |= {W[0, c]: b * t[c] / sp.sqrt(C) for c in range(C)} | {
        W[1, c]: off.get(c, sp.S.Zero) for c in range(C)
    }
    speed = {entry: v.xreplace(state) for entry, v in descent(loss, W, A).items()}
    visible = [sp.expand(speed[W[0, c]] / state[W[0, c]]) for c in range(C)]
    invisible = [sp.expand(speed[W[1, c]] / off[c]) for c in off]
    yield from (speed[W[1, c]] for c in range(2, C))
    sigma = 1 / sp.sqrt(sp.Integer(C))
    for energy, decay in ((C * (sigma - lam), sigma - kappa), (sp.S.Zero, sigma + kappa)):
        for first, second in ((v, i) for v in visible for i in invisible):
            rate = first.subs(b**2, energy) - second
            yield rate.subs(lam, decay) - f.linear_rate(decay, C)


lam, q, S, C, n, pi, P, D, d, k = sp.symbols("lambda q S C n pi_c P D d_1 d_2", positive=True)
# What is false, differing already at the smallest sizes.
RATE = {"rate": lambda lam, q, S: lam * (1 - sp.sympify(q) / S)}
CRITICAL = {"critical": lambda q, C, n: n * q / C}

THEOREM = Theorem(
    id="T8",
    subject="erosion under weight decay",
    assumptions=(
        "ReLU",
        "orthonormal means, no input noise, gates as T6 leaves them",
        "squared loss (T15 has others)",
        "a neuron active on all S subclasses",
        "for each pair, neurons on S - 1 that separate it (q = S - 1)",
        "equal probabilities within a coarse class (the rate; the limit holds without)",
        "times after the transient, 2 |lambda_c - lambda|",
    ),
    formulas=Formulas(
        rate=Formula(
            lambda lam, q, S: lam * (1 - sp.sqrt(sp.sympify(q) / S)),
            (lam, q, S),
            "-d ln sep/dt",
            r"-\frac{d \ln \mathrm{sep}}{dt}",
        ),
        critical=end_state.THEOREM.formulas.critical,
        merging=Formula(lambda lam, D: lam - D, (lam, D)),
        transient=Formula(lambda lam, S, C, n: 2 * sp.Abs(n * sp.sqrt(S) / C - lam), (lam, S, C, n)),
        pull=Formula(lambda pi, n, P, lam: pi * n / (1 + pi * P / lam), (pi, n, P, lam), "d_c", "d_c"),
        limit=Formula(lambda d, k: sp.Abs(d - k) / sp.sqrt(d * k), (d, k), "sep", r"\mathrm{sep}_\infty"),
        linear_rate=Formula(
            lambda lam, C: sp.Min(lam, 1 / sp.sqrt(sp.sympify(C))),
            (lam, C),
            "-d ln sep/dt",
            r"-\frac{d \ln \mathrm{sep}}{dt}",
        ),
    ),
    claims=(
        Claim(
            "relative separation of two subclasses decays as {rate}, q the size of the largest pattern that separates "
            "them (S - 1 for m >> 2^S); above {critical} at q = S, n = ||t||, with lambda_c for lambda",
            ("rates", "rates of patterns"),
            "that the flow comes to rest is shown on paper",
        ),
        Claim(
            "for any final patterns and probabilities two subclasses that all living patterns hold together, at one "
            "pull, merge at {merging}, D the largest ||d_Q|| of the patterns that separate them",
            ("merging",),
            "patterns larger than those listed; that the flow comes to rest is shown on paper; without a pattern that "
            "separates them a bound on paper",
        ),
        Claim("the residual settles at {transient}", ("transient",), "S beyond those listed"),
        Claim(
            "unequal probabilities: the limit is {limit}, with {pull}, P = sum of a_j^2, sum of d_c^2 = lambda^2",
            ("unequal rest", "limit"),
            "S beyond those listed; that the flow comes to rest is shown on paper",
        ),
        Claim("linear network, K = 2, targets +-1: {linear_rate}", ("linear",), "C beyond those listed"),
        Claim("outputs in random directions (K > 2) come to the same rate"),
    ),
    steps=(
        Step(
            "rates",
            "from T7's growth: full neurons at rest, or dead, fix the residual, and that every other growth",
            _rates,
            RATE | CRITICAL,
            "S and q",
        ),
        Step(
            "rates of patterns",
            "a second time, from the loss of all 2^S - 1 patterns",
            _rates_of_patterns,
            RATE | CRITICAL,
            "S",
            (2, 3),
        ),
        Step(
            "merging",
            "from the loss of a small neuron on q subclasses at pulls d_c: how its aligned part moves",
            _merging,
            {"merging": lambda lam, D: lam - D**2},
            "q",
            (1, 2, 3),
        ),
        Step(
            "transient",
            "from the loss of a full neuron alone, linearised around rest; above lambda_c its output's decay",
            _transient,
            {"transient": lambda lam, S, C, n: sp.Abs(n * sp.sqrt(S) / C - lam), **CRITICAL},
            "S",
            (2, 3),
        ),
        Step(
            "unequal rest",
            "from the loss of a full neuron: it stands still along the pulls",
            _unequal_rest,
            {"pull": lambda pi, n, P, lam: pi * n / (1 + P / lam)},
            "S",
            (2, 3),
        ),
        Step(
            "limit",
            "from the full neurons at rest: the separation of what they give",
            _limit,
            {"limit": lambda d, k: sp.Abs(d - k) / d},
            "S",
        ),
        Step(
            "linear",
            "from the loss: what is off the labels decays at lambda, the visible mode rests or dies",
            _linear,
            {"linear_rate": lambda lam, C: sp.Min(lam, 1 / sp.sympify(C))},
            "C",
            (4, 6),
        ),
    ),
)

prove = THEOREM.prove
