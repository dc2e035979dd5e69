"""T7 Specialisation exponent: ReLU keeps fine structure as eps^(1 - sqrt(q/S)), a linear network as eps.

Noise-free inputs with orthonormal means, C fine classes of probability 1/C, S of them in a coarse class, target +1 or
-1 for each; ReLU; gates as T6 leaves them: neuron j serves one coarse class and is active on a subset Q of its fine
classes, its pattern. With residual r, equal on the fine classes of the coarse class, and q = |Q|, the aligned state
w_jc = u (c in Q), a_j = sqrt(q) u is kept by the flow, and

    d ln u/dt = r sqrt(q)/C - lambda.

So with G = exp(int r dt / C) an amplitude grows as G^sqrt(q). A pattern separates two subclasses if it holds exactly
one of them. With neurons on all S, and q the size of the largest pattern that separates c and c' (0 without one),

    sep_cc'(t) = sep_cc'(0) exp(-((sqrt S - sqrt q)/C) int r dt)   where G is large: the master law, for every lambda;

at lambda = 0 training ends at f = 1, where ln G = -ln eps/sqrt S + O(1), hence

    sep_cc' ~ eps^(1 - sqrt(q/S)).

q = S - 1 if some neurons serve all subclasses but c, or all but c': so for every pair once m >> 2^S. Without neurons on
all S the same holds inside each maximal pattern P, |P| in place of S, if no two of them overlap; sep between subclasses
of different ones does not vanish (exponent 0). With q = 0 it is the neurons' own unevenness that separates, and it does
not grow: exponent 1.

Exactly, with e_q the energy sum_j u_j^2 of each subset of size q at time 0, for every lambda (it cancels) and every
loss that enters through r alone,

    sep^2 = 2 sum_q binom(S-2, q-1) e_q G^(2 sqrt q) / sum_q binom(S-1, q-1) e_q G^(2 sqrt q).

The correction at finite eps: the numerator's next term is G^(2(sqrt(S-2) - sqrt(S-1))) of its first and the
denominator's G^(2(sqrt(S-1) - sqrt S)), the slower one: eps^(2(1 - rho_S)), 6e-3 for S = 3 at eps = 1e-6. Hence the fit
of an exponent belongs below `largest_eps`.

Unequal probabilities pi_c within the coarse class: growth r sqrt(sum_{c in Q} pi_c^2) while r is equal, that is from
eps to order 1; exponent 1 - sqrt(1 - pi_min^2 / sum pi_c^2).

Proved here from the loss, for every S and q: the growth, the master law, and the exponent, with ln G squeezed between
the two bounds that f = 1 sets; sep's formula at the sizes stated (for every S it is a count of subsets). On paper: that
training ends at f = 1, as with one energy for each size dG/dt = G r(G)/C, r falling in G, goes to the zero of r.
Observed only: that a random small start aligns before its residuals move; patterns whose energies differ within a size,
where the residuals are equal up to what vanishes with eps; blocks of patterns; the linear network's exponent.

Corrected: (1) it had been stated for one neuron on all S; each pair also needs neurons on S - 1 subclasses that
separate it. S = 3 with full and single-subclass neurons alone: exponent 1 - sqrt(1/3) = .4226, not .1835. (2) ln G at
the end had been inserted, not derived. (3) `predict_end` was NaN below eps = 1e-162.

Sources: this project, T7 (in the setting of Yang, Steinhardt & Hu, ICML 2023). The early alignment from a small start,
for ReLU and orthogonal inputs: Boursier, Pillaud-Vivien & Flammarion (2022); under gradient flow to neural collapse:
Min, Zhu & Vidal (2025). The rates at which patterns of different size grow, and what they leave, are added here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import logsumexp

from finegrain.theory.pattern_rest import Pattern, checked_patterns, maximal
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import descent, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def predict(subclasses: int, *, patterns: Iterable[Collection[int]] | None = None) -> float:
    """The exponent of the mean separation: 1 - sqrt((S-1)/S) with neurons for every set of the S >= 2 subclasses.

    patterns: those that neurons have, sets of numbers 0..S-1; then the least exponent of a pair, which rules the mean.
    """
    S = _checked(subclasses)
    if patterns is None:
        return float(THEOREM.formulas.exponent.number(S - 1, S))
    return float(predict_pairs(S, patterns)[~np.eye(S, dtype=bool)].min())


def predict_pairs(subclasses: int, patterns: Iterable[Collection[int]]) -> Array:
    """The exponent of each pair's separation (S, S), infinite on the diagonal, for these final patterns.

    The maximal ones must hold every subclass and not overlap.
    """
    S = _checked(subclasses)
    every = checked_patterns(patterns, S)
    blocks = maximal(every)
    if sum(len(P) for P in blocks) != S or len(frozenset().union(*blocks)) != S:
        raise ValueError(
            "patterns must have maximal ones that hold each subclass once, got "
            + str([sorted(P) for P in blocks])
        )
    exponents = np.full((S, S), np.inf)
    for c, k in combinations(range(S), 2):
        block = next(P for P in blocks if c in P)
        q = largest_separating(every, c, k)
        exponents[c, k] = exponents[k, c] = (
            THEOREM.formulas.exponent.number(q, len(block)) if k in block else 0.0
        )
    return exponents


def largest_separating(patterns: Iterable[Pattern], c: int, k: int) -> int:
    """Size of the largest pattern that holds exactly one of c and k; 0 without one."""
    return max((len(Q) for Q in patterns if (c in Q) != (k in Q)), default=0)


def predict_unequal(weights: ArrayLike) -> float:
    """The exponent from the probabilities (S,) of the subclasses, up to a common factor."""
    pi = checks.real("weights", weights, ("S",))
    _checked(pi.size)
    if pi.min() <= 0:
        raise ValueError(f"weights must be > 0, got {pi.min()}")
    return float(THEOREM.formulas.unequal_exponent.number(pi.min(), np.sum(pi**2)))


def predict_master(
    initial: float, subclasses: int, classes: int, residual_integral: float, *, served: int | None = None
) -> float:
    """sep(t) by the master law, from sep at a time after alignment, S, C, and int r dt since.

    served: q, the size of the largest pattern that separates the pair; S - 1 by default.
    """
    q = subclasses - 1 if served is None else served
    return float(initial * THEOREM.formulas.master.number(q, subclasses, classes, residual_integral))


def predict_separation(energies: ArrayLike, log_growth: float) -> float:
    """sep exactly, from the energies e_1..e_S (S,) of one subset of each size and ln G = int r dt / C.

    An energy of 0: no neurons on subsets of that size.
    """
    return _separation(_logs(energies), log_growth)


def predict_end(energies: ArrayLike, eps: float) -> float:
    """sep at the end of training (f = 1, lambda = 0) from the energies at eps = 1, (S,), at any eps > 0."""
    checks.positive("eps", eps)
    # eps^2 underflows below 1e-162: all sums are in logarithms.
    logs = _logs(energies) + 2 * np.log(eps)
    return _separation(logs, _final_log_growth(logs))


def local_exponent(energies: ArrayLike, eps: float) -> float:
    """d ln sep / d ln eps at the end of training: the exponent that a fit around eps sees."""
    step = 1e-3
    low, high = (predict_end(energies, eps * np.exp(sign * step)) for sign in (-1, 1))
    return float((np.log(high) - np.log(low)) / (2 * step))


def largest_eps(energies: ArrayLike, tolerance: float) -> float:
    """The largest eps <= 1 below which the local exponent is within `tolerance` (relative) of the limit."""
    e = checks.real("energies", energies, ("S",))
    limit = THEOREM.formulas.exponent.number(np.flatnonzero(e[:-1]).max(initial=-1) + 1, e.size)

    def excess(log10_eps: float) -> float:
        return abs(local_exponent(e, 10.0**log10_eps) / limit - 1) - tolerance

    decades = range(-60, 1)
    first_off = next((k for k in decades if excess(k) > 0), None)
    if first_off is None:
        return 1.0
    if first_off == decades[0]:
        raise ValueError(f"tolerance must be reachable above eps = 1e-60, got {tolerance} at S = {e.size}")
    return float(10.0 ** brentq(excess, first_off - 1, first_off, xtol=1e-6))


def _checked(subclasses: int) -> int:
    if subclasses < 2:
        raise ValueError(f"subclasses must be >= 2 (one subclass has nothing to separate), got {subclasses}")
    return subclasses


def _logs(energies: ArrayLike) -> Array:
    """ln e_q (S,), -inf where a size is absent; the full one must be there."""
    e = checks.real("energies", energies, ("S",))
    _checked(e.size)
    if e.min() < 0 or e[-1] <= 0:
        raise ValueError(f"energies must be >= 0, the last > 0, got {e.tolist()}")
    with np.errstate(divide="ignore"):
        return np.log(e)


def _separation(logs: Array, log_growth: float) -> float:
    S = logs.size
    return float(
        np.exp((np.log(2) + _log_sum(logs, S - 2, log_growth) - _log_sum(logs, S - 1, log_growth)) / 2)
    )


def _log_sum(logs: Array, top: int, log_growth: float) -> float:
    """ln sum_q binom(top, q-1) e_q G^(2 sqrt q)."""
    q = np.arange(1, logs.size + 1)
    binomials = np.array([comb(top, k - 1) for k in q])
    return float(logsumexp(logs + 2 * np.sqrt(q) * log_growth, b=binomials))


def _final_log_growth(logs: Array) -> float:
    """ln G at f = 1: the root of sum_q binom(S-1, q-1) sqrt(q) e_q G^(2 sqrt q) = 1."""
    S = logs.size
    weighted = logs + np.log(np.arange(1, S + 1)) / 2
    # The slope of ln(sum) by ln G lies in [2, 2 sqrt S].
    start = _log_sum(weighted, S - 1, 0.0)
    low, high = sorted((-start / 2, -start / (2 * np.sqrt(S))))
    return float(brentq(lambda g: _log_sum(weighted, S - 1, g), low - 1e-9, high + 1e-9, xtol=1e-13))


def _growth(f: Formulas) -> Iterator[sp.Expr]:
    """One neuron on q subclasses, q a symbol, among others that give g_c: its velocity from the loss.

    Subclass 1 stands for any: their names mean nothing.
    """
    q, c, k = sp.symbols("q c k", integer=True, positive=True)
    a, u, r, lam = sp.symbols("a u r lambda", real=True)
    C = sp.Symbol("C", positive=True)
    w, g = sp.IndexedBase("w"), sp.IndexedBase("g")
    loss = sp.Sum((g[c] + a * w[c] - 1) ** 2 / (2 * C) + lam * w[c] ** 2 / 2, (c, 1, q)) + lam * a**2 / 2

    def aligned(velocity: sp.Expr, i: sp.Expr) -> sp.Expr:
        """At residual r on every subclass, w_c = u, a = sqrt(q) u."""
        # xreplace, as subs leaves the index of a sum alone.
        return velocity.xreplace({g[i]: 1 - r - a * w[i]}).xreplace({w[i]: u, a: sp.sqrt(q) * u}).doit()

    output, weight = -sp.diff(loss, a), -sp.diff(loss, w[k]).doit().subs(k, 1)
    yield aligned(output, c) - f.growth(q, r, C, lam) * sp.sqrt(q) * u
    yield aligned(weight, sp.Integer(1)) - f.growth(q, r, C, lam) * u


def _aligned(S: int) -> tuple[list[tuple[int, ...]], tuple[sp.Symbol, ...], tuple[sp.Symbol, ...]]:
    """All subsets of S fine classes, with a number n_q of neurons and an amplitude u_q for each size q."""
    subsets = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
    return subsets, sp.symbols(f"n1:{S + 1}"), sp.symbols(f"u1:{S + 1}")


def _growth_of_all(f: Formulas, S: int) -> Iterator[sp.Expr]:
    """Loss of one coarse class with n_q neurons for each subset; gradients at the aligned state."""
    subsets, n, u = _aligned(S)
    C, lam = sp.symbols("C lambda")
    w = {(Q, c): sp.Symbol(f"w_{Q}_{c}") for Q in subsets for c in Q}
    a = {Q: sp.Symbol(f"a_{Q}") for Q in subsets}
    count = {Q: n[len(Q) - 1] for Q in subsets}
    outputs = [sum(count[Q] * a[Q] * w[Q, c] for Q in subsets if c in Q) for c in range(S)]
    loss = sum((out - 1) ** 2 for out in outputs) / (2 * C)
    loss += sum(count[Q] * penalty(lam, sp.Matrix([a[Q], *(w[Q, c] for c in Q)])) for Q in subsets)

    aligned = {w[Q, c]: u[len(Q) - 1] for Q in subsets for c in Q}
    aligned |= {a[Q]: sp.sqrt(len(Q)) * u[len(Q) - 1] for Q in subsets}
    residuals = [1 - out.xreplace(aligned) for out in outputs]
    yield from (r - residuals[0] for r in residuals[1:])
    owner = {variable: Q for (Q, _), variable in w.items()} | {variable: Q for Q, variable in a.items()}
    for variable, value in aligned.items():
        Q = owner[variable]
        # n_q neurons share the variable: each moves by the derivative over n_q.
        velocity = -sp.diff(loss, variable).xreplace(aligned) / count[Q]
        yield velocity - f.growth(len(Q), residuals[0], C, lam) * value


def _energies(f: Formulas, S: int, G: sp.Symbol) -> list[sp.Expr]:
    """n_q u_q^2 once the amplitudes have grown by `growth`, with lambda = 0 and G = exp(int r dt/C)."""
    _, n, u = _aligned(S)
    return [n[q - 1] * u[q - 1] ** 2 * G ** (2 * _power(f, q)) for q in range(1, S + 1)]


def _power(f: Formulas, q: Any) -> sp.Expr:
    """d ln u/d ln G at lambda = 0."""
    r, C = sp.symbols("r C", positive=True)
    return sp.simplify(sp.diff(f.growth(q, r, C, 0), r) * C)


def _counted(f: Formulas, S: int) -> Iterator[sp.Expr]:
    """||h_c - h_c'||^2, ||h_c||^2 and f_c, counted neuron by neuron over all subsets, against sums of binomials."""
    subsets, n, u = _aligned(S)
    G = sp.Symbol("G", positive=True)
    energy = _energies(f, S, G)
    difference = sum(energy[len(Q) - 1] for Q in subsets if (0 in Q) != (1 in Q))
    norm = sum(energy[len(Q) - 1] for Q in subsets if 0 in Q)
    output = sum(sp.sqrt(len(Q)) * energy[len(Q) - 1] for Q in subsets if 0 in Q)
    start = _starting([n[q] * u[q] ** 2 for q in range(S)])
    yield difference - norm * f.separation(S, G).doit().subs(start)
    yield output - f.output(S, G).doit().subs(start)


def _starting(energies: list[Any]) -> dict[sp.Expr, Any]:
    """e_q -> its value."""
    return {sp.IndexedBase("e")[q]: e for q, e in enumerate(energies, 1)}


def _master(f: Formulas) -> tuple[sp.Expr, sp.Expr]:
    S, q, C, r, t = sp.symbols("S q C r t", positive=True)
    lam = sp.Symbol("lambda")
    claimed = sp.diff(sp.log(f.master(q, S, C, r * t)), t)
    return f.growth(q, r, C, lam) - f.growth(S, r, C, lam) - claimed, f.master(q, S, C, 0) - 1


def _exponent(f: Formulas) -> sp.Expr:
    """With x = ln G and amplitudes eps e^(gamma_q x), f = 1 reads eps^2 sum_q b_q e_q e^(2 gamma_q x) = 1.

    The full term alone is at most 1, and for x > 0 all terms with gamma_S for gamma_q at least 1: two bounds on x, of
    one form, energy e^(2 gamma_S x) = eps^-2. The limit may not depend on the energy.
    """
    S, q, k, x, energy = sp.symbols("S q k x e", positive=True)  # k = -ln eps
    slow, fast = _power(f, q), _power(f, S)
    (end,) = sp.solve(sp.log(energy) - 2 * k + 2 * fast * x, x)
    return sp.limit((fast - slow) * end / k, k, sp.oo) - f.exponent(q, S)


def _exponent_of_the_law(f: Formulas, S: int) -> Iterator[sp.Expr]:
    """d ln sep/d ln eps from the exact law as ln G = x goes to infinity, with every size up to q, and S; f = 1 ties
    eps to G.

    Sums of e^{k x}: divided by their fastest term, what still depends on x dies out.
    """
    x = sp.Symbol("x", positive=True)
    e = sp.symbols(f"e1:{S + 1}", positive=True)
    difference, norm = sp.fraction(f.separation(S, sp.exp(x)).doit())
    output = f.output(S, sp.exp(x)).doit()
    for q in range(1, S):
        start = _starting([0 if q < size < S else e[size - 1] for size in range(1, S + 1)])
        slopes = [_final_slope(part.subs(start), x) for part in (difference, norm, output)]
        # eps^2 times `output` is 1: d ln eps = -(slope of ln output) dx/2, as for sep^2.
        yield (slopes[0] - slopes[1]) / -slopes[2] - f.exponent(q, S)


def _final_slope(exponentials: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """lim d ln/dx of a sum of positive multiples of e^{k x}: the largest k."""
    terms = sp.Add.make_args(sp.expand(exponentials))
    return max((sp.simplify(sp.diff(sp.log(term), x)) for term in terms), key=float)


def _unequal_growth(f: Formulas, S: int) -> Iterator[sp.Expr]:
    """w_c = pi_c u, a = p u with p^2 = sum pi_c^2, in the loss's gradient at residual r."""
    # others: what the other neurons give.
    pi, w, others = (sp.symbols(f"{name}1:{S + 1}") for name in ("pi", "w", "g"))
    u, r, a = sp.symbols("u r a")
    square = sum(x**2 for x in pi)
    loss = sum(pi[c] * (others[c] + a * w[c] - 1) ** 2 for c in range(S)) / 2
    aligned = {a: sp.sqrt(square) * u} | {w[c]: pi[c] * u for c in range(S)}
    residual = {others[c]: 1 - r - aligned[a] * aligned[w[c]] for c in range(S)}
    for variable, speed in descent(loss, sp.Matrix([a, *w])).items():
        yield speed.xreplace(residual).xreplace(aligned) - f.unequal_growth(r, square) * aligned[variable]


def _unequal_exponent(f: Formulas) -> sp.Expr:
    """The slowest to close: a subset without the least likely class."""
    least, others = sp.symbols("pi_min others", positive=True)
    log_eps, R = sp.symbols("log_eps R")
    square = least**2 + others
    slower, faster = f.unequal_growth(1, square - least**2), f.unequal_growth(1, square)
    # ln(amplitude) of the full neurons goes from ln eps to 0.
    (reached,) = sp.solve(log_eps + faster * R, R)
    return f.unequal_exponent(least, square) - (slower - faster) * reached / log_eps


def _total(top: Any, S: Any, G: Any, of_size: Any = lambda q: 1) -> sp.Expr:
    """sum_q binom(top, q-1) e_q G^(2 sqrt q), each term times a function of q."""
    q = sp.Symbol("q", integer=True)
    e = sp.IndexedBase("e")
    return sp.Sum(sp.binomial(top, q - 1) * of_size(q) * e[q] * G ** (2 * sp.sqrt(q)), (q, 1, S))


q, r, C, lam, S, G, R = sp.symbols("q r C lambda S G R")
square, least = sp.symbols("P pi_min")
SLOPE = "ln sep/ln eps", r"\frac{\ln \mathrm{sep}}{\ln \varepsilon}"
# What is false: growth by q for its root; every neuron counted in the difference; S - 1 whatever separates.
LINEAR = {"growth": lambda q, r, C, lam: r * q / C - lam}
ALL = {"separation": lambda S, G: 2 * _total(S - 1, S, G) / _total(S - 1, S, G)}
EVEN = {"output": lambda S, G: _total(S - 1, S, G)}

THEOREM = Theorem(
    id="T7",
    subject="specialisation exponent",
    assumptions=(
        "ReLU",
        "orthogonal means, no input noise (T6)",
        "some neuron active on all S subclasses",
        "for each pair, some on S - 1 that separate it (q = S - 1)",
        "equal probabilities within the coarse class",
        "lambda = 0 (the exponent; the law in G holds for every lambda)",
    ),
    formulas=Formulas(
        growth=Formula(
            lambda q, r, C, lam: r * sp.sqrt(q) / C - lam, (q, r, C, lam), "d ln u/dt", r"\frac{d \ln u}{dt}"
        ),
        separation=Formula(
            lambda S, G: 2 * _total(S - 2, S, G) / _total(S - 1, S, G), (S, G), "sep^2", r"\mathrm{sep}^2"
        ),
        output=Formula(lambda S, G: _total(S - 1, S, G, sp.sqrt), (S, G), "f", "f"),
        master=Formula(
            lambda q, S, C, R: sp.exp(-(sp.sqrt(S) - sp.sqrt(q)) * R / C),
            (q, S, C, R),
            "sep/sep_0",
            r"\frac{\mathrm{sep}(t)}{\mathrm{sep}_0}",
        ),
        exponent=Formula(lambda q, S: 1 - sp.sqrt(sp.sympify(q) / S), (q, S), *SLOPE),
        unequal_growth=Formula(
            lambda r, P: r * sp.sqrt(P), (r, square), "d ln u/dt + lambda", r"\frac{d \ln u}{dt} + \lambda"
        ),
        unequal_exponent=Formula(lambda least, P: 1 - sp.sqrt(1 - least**2 / P), (least, square), *SLOPE),
    ),
    claims=(
        Claim("a neuron active on q subclasses grows as {growth}", ("growth", "growth of all")),
        Claim(
            "with one energy e_q at time 0 for each subset of size q and G = exp(int r dt/C): {separation}, and at "
            "lambda = 0 the output is {output}",
            ("growth", "growth of all", "separation"),
            "for S > 4 it is a count of subsets",
        ),
        Claim(
            "where G is large, with q the size of the largest pattern that separates the pair, the master law "
            "{master}, R = int r dt",
            ("growth", "master"),
        ),
        Claim(
            "from scale eps separation sep ends at {exponent}, the same q (S - 1 for m >> 2^S)",
            ("growth", "exponent", "exponent of the law"),
            "that training ends at f = 1 is shown on paper, that a random small start aligns is observed",
        ),
        Claim("inside each maximal pattern the same, if no two overlap; sep between them does not vanish"),
        Claim(
            "unequal probabilities: {unequal_growth} at equal residuals, P = sum pi_c^2 over the subclasses served, "
            "and {unequal_exponent}",
            ("unequal growth", "unequal exponent"),
            "that residuals stay equal until the amplitudes are of order 1 is observed",
        ),
        Claim("a linear network ends at ln sep/ln eps = 1"),
    ),
    steps=(
        Step(
            "growth",
            "from the loss of one neuron on q subclasses among others: its velocity at the aligned state",
            _growth,
            LINEAR,
            "q",
        ),
        Step(
            "growth of all",
            "a second time, from the loss of all 2^S - 1 patterns: the residuals are equal, each neuron grows so",
            _growth_of_all,
            LINEAR,
            "S",
            (2, 3),
        ),
        Step(
            "separation",
            "from the growth: energies and outputs counted pattern by pattern",
            _counted,
            ALL | EVEN | LINEAR,
            "S",
            (2, 3, 4),
        ),
        Step(
            "master",
            "from the growth: the difference lives on q subclasses, the norm on S; lambda cancels",
            _master,
            {"master": lambda q, S, C, R: sp.exp(-R / C), **LINEAR},
            "q and S",
        ),
        Step(
            "exponent",
            "from the growth: ln G at f = 1 lies between two bounds of one limit, and sep decays until then",
            _exponent,
            {"exponent": lambda q, S: sp.sympify(q) / S, "growth": lambda q, r, C, lam: r * q**2 / C - lam},
            "q and S",
        ),
        Step(
            "exponent of the law",
            "from the separation law, with eps tied to G by f = 1: no other pattern changes the limit",
            _exponent_of_the_law,
            {"exponent": lambda q, S: sp.sympify(q) / S, **ALL, "output": lambda S, G: _total(S - 2, S, G)},
            "S",
            (2, 3, 4, 5),
        ),
        Step(
            "unequal growth",
            "from the loss at equal residuals: the gradient at w_c = pi_c u, a = sqrt(P) u",
            _unequal_growth,
            {"unequal_growth": lambda r, P: r * P},
            "S",
            (2, 3),
        ),
        Step(
            "unequal exponent",
            "from that growth, as for equal probabilities: the pair that closes last misses the least likely class",
            _unequal_exponent,
            {"unequal_exponent": lambda least, P: 1 - least**2 / P, "unequal_growth": lambda r, P: r * P},
            "S",
        ),
    ),
)

prove = THEOREM.prove
