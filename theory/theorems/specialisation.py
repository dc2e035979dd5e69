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
the two bounds that f = 1 sets; sep's formula at the sizes stated (for every S it is a count of subsets). That training
ends at f = 1 follows: with one energy for each size dG/dt = G r(G)/C, r falling in G, goes to the zero of r. Observed
only: that a random small start aligns before its residuals move, and patterns whose energies differ within a size,
where the residuals are equal up to what vanishes with eps.

Corrected: (1) it had been stated for one neuron on all S; each pair also needs neurons on S - 1 subclasses that
separate it. S = 3 with full and single-subclass neurons alone: exponent 1 - sqrt(1/3) = .4226, not .1835. (2) ln G at
the end had been inserted, not derived. (3) `predict_end` was NaN below eps = 1e-162.

Sources: this project, T7 (in the setting of Yang, Steinhardt & Hu, ICML 2023). The early alignment from a small start,
for ReLU and orthogonal inputs: Boursier, Pillaud-Vivien & Flammarion (2022); under gradient flow to neural collapse:
Min, Zhu & Vidal (2025). The rates at which patterns of different size grow, and what they leave, are added here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations
from math import comb

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp

from finegrain.theory.pattern_rest import Pattern, checked_patterns, maximal
from finegrain.theory.theorems.symbolic import Theorem, penalty, require_zero
from finegrain.theory.tools import checks

Array = NDArray[np.float64]

THEOREM = Theorem(
    id="T7",
    subject="specialisation exponent",
    statement="relative separation of two subclasses ends as eps^(1 - sqrt(q/S)), q the size of the largest pattern "
    "that separates them (S - 1 for m >> 2^S), against eps for a linear network",
    assumptions=(
        "ReLU",
        "orthogonal means, no input noise (T6)",
        "some neuron active on all S subclasses",
        "for each pair, some on S - 1 that separate it (q = S - 1)",
        "equal probabilities within the coarse class",
        "lambda = 0 (the exponent; the law in G holds for every lambda)",
    ),
    sizes="growth, master law and exponent for all S and q; S = 2, 3, 4 with every subset of fine classes; "
    "unequal probabilities S = 2, 3",
    latex=(
        r"\frac{d \ln u}{dt} = \frac{\sqrt q}{C}\, r - \lambda",
        r"\mathrm{sep}(t) = \mathrm{sep}_0 \exp\Bigl(-\frac{\sqrt S - \sqrt q}{C} \int r\,dt\Bigr)",
        r"\mathrm{sep} \sim \varepsilon^{1 - \sqrt{q/S}}",
    ),
)

SIZES = (2, 3, 4)


def predict(subclasses: int, *, patterns: Iterable[Collection[int]] | None = None) -> float:
    """The exponent of the mean separation: 1 - sqrt((S-1)/S) with neurons for every set of the S >= 2 subclasses.

    patterns: those that neurons have, sets of numbers 0..S-1; then the least exponent of a pair, which rules the mean.
    """
    S = _checked(subclasses)
    if patterns is None:
        return predict_unequal(np.full(S, 1.0))
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
        exponents[c, k] = exponents[k, c] = 1 - np.sqrt(q / len(block)) if k in block else 0.0
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
    return float(1 - np.sqrt(1 - pi.min() ** 2 / np.sum(pi**2)))


def predict_master(
    initial: float, subclasses: int, classes: int, residual_integral: float, *, served: int | None = None
) -> float:
    """sep(t) by the master law, from sep at a time after alignment, S, C, and int r dt since.

    served: q, the size of the largest pattern that separates the pair; S - 1 by default.
    """
    q = subclasses - 1 if served is None else served
    rate = (np.sqrt(subclasses) - np.sqrt(q)) / classes
    return float(initial * np.exp(-rate * residual_integral))


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
    limit = 1 - np.sqrt((np.flatnonzero(e[:-1]).max(initial=-1) + 1) / e.size)

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


def prove(growth: Callable[..., sp.Expr] | None = None) -> None:
    """Growth on the aligned state and the formula for sep, from the loss; then the master law and the exponent.

    growth: the claimed (q, r, C, lambda) -> d ln u/dt; the theorem's own by default.
    """
    growth = growth or (lambda q, r, C, lam: r * sp.sqrt(q) / C - lam)
    for claim, difference in growth_differences(growth):
        require_zero(f"T7 {claim}", difference)
    for claim, difference in exponent_differences(growth):
        require_zero(f"T7 {claim}", difference)
    for S in SIZES:
        _prove_growth(growth, S)
        _prove_separation(S)
    for S in (2, 3):
        _prove_unequal(S)


def growth_differences(growth: Callable[..., sp.Expr]) -> Iterator[tuple[str, sp.Expr]]:
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
    yield "growth of a", aligned(output, c) - growth(q, r, C, lam) * sp.sqrt(q) * u
    yield "growth of w", aligned(weight, sp.Integer(1)) - growth(q, r, C, lam) * u


def exponent_differences(growth: Callable[..., sp.Expr]) -> Iterator[tuple[str, sp.Expr]]:
    """The master law's rate; ln G at the end; -ln sep/ln(1/eps) -> 1 - sqrt(q/S). S and q are symbols.

    With x = ln G and amplitudes eps e^(gamma_q x), f = 1 reads eps^2 sum_q b_q e_q e^(2 gamma_q x) = 1. The full term
    alone is at most 1, and for x > 0 all terms with gamma_S for gamma_q at least 1: two bounds on x, of one form,
    energy e^(2 gamma_S x) = eps^-2. The limit may not depend on the energy.
    """
    S, q, C, r, k, x, energy = sp.symbols("S q C r k x e", positive=True)  # k = -ln eps
    lam = sp.Symbol("lambda")
    rate = growth(q, r, C, lam) - growth(S, r, C, lam)
    yield "master law", rate + (sp.sqrt(S) - sp.sqrt(q)) * r / C
    gamma = [sp.simplify((growth(size, r, C, lam) + lam) * C / r) for size in (q, S)]
    end = sp.solve(sp.log(energy) - 2 * k + 2 * gamma[1] * x, x)[0]
    exponent = sp.limit((gamma[1] - gamma[0]) * end / k, k, sp.oo)
    yield "exponent", exponent - (1 - sp.sqrt(q / S))


def _aligned(S: int) -> tuple[list[tuple[int, ...]], sp.Symbol, sp.Symbol]:
    """All subsets of S fine classes, with a number n_q of neurons and an amplitude u_q for each size q."""
    subsets = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
    return subsets, sp.symbols(f"n1:{S + 1}"), sp.symbols(f"u1:{S + 1}")


def _prove_growth(growth: Callable[..., sp.Expr], S: int) -> None:
    """Loss of one coarse class with n_q neurons for each subset; gradients at the aligned state."""
    subsets, n, u = _aligned(S)
    C, lam = sp.symbols("C lambda")
    w = {(Q, c): sp.Symbol(f"w_{Q}_{c}") for Q in subsets for c in Q}
    a = {Q: sp.Symbol(f"a_{Q}") for Q in subsets}
    count = {Q: n[len(Q) - 1] for Q in subsets}
    f = [sum(count[Q] * a[Q] * w[Q, c] for Q in subsets if c in Q) for c in range(S)]
    loss = sum((f_c - 1) ** 2 for f_c in f) / (2 * C)
    loss += sum(count[Q] * penalty(lam, sp.Matrix([a[Q], *(w[Q, c] for c in Q)])) for Q in subsets)

    aligned = {w[Q, c]: u[len(Q) - 1] for Q in subsets for c in Q}
    aligned |= {a[Q]: sp.sqrt(len(Q)) * u[len(Q) - 1] for Q in subsets}
    r = 1 - f[0].subs(aligned)
    for c in range(1, S):
        require_zero(f"T7 equal residuals at S = {S}", 1 - f[c].subs(aligned) - r)
    for variable, value in aligned.items():
        Q = next(Q for Q in subsets if variable == a[Q] or any(variable == w[Q, c] for c in Q))
        # n_q neurons share the variable: each moves by the derivative over n_q.
        velocity = -sp.diff(loss, variable).subs(aligned) / count[Q]
        require_zero(f"T7 growth at S = {S}, Q = {Q}", velocity - growth(len(Q), r, C, lam) * value)


def _prove_separation(S: int) -> None:
    """||h_c - h_c'||^2 and ||h_c||^2, neuron by neuron, against the binomial sums."""
    subsets, n, u = _aligned(S)
    difference = sum(n[len(Q) - 1] * u[len(Q) - 1] ** 2 for Q in subsets if (0 in Q) != (1 in Q))
    norm = sum(n[len(Q) - 1] * u[len(Q) - 1] ** 2 for Q in subsets if 0 in Q)
    sizes = range(1, S + 1)
    binomial = [sum(comb(top, q - 1) * n[q - 1] * u[q - 1] ** 2 for q in sizes) for top in (S - 2, S - 1)]
    require_zero(f"T7 separation at S = {S}", difference - 2 * binomial[0])
    require_zero(f"T7 norm at S = {S}", norm - binomial[1])


def _prove_unequal(S: int) -> None:
    """w_c = pi_c u, a = p u with p^2 = sum pi_c^2 grows at r p, for the loss's gradient at residual r."""
    pi = sp.symbols(f"pi1:{S + 1}")
    u, r, a = sp.symbols("u r a")
    w = sp.symbols(f"w1:{S + 1}")
    rest = sp.symbols(f"f1:{S + 1}")  # what the other neurons give
    p = sp.sqrt(sum(x**2 for x in pi))
    loss = sum(pi[c] * (rest[c] + a * w[c] - 1) ** 2 for c in range(S)) / 2
    aligned = {a: p * u} | {w[c]: pi[c] * u for c in range(S)}
    residual = {rest[c]: 1 - r - aligned[a] * aligned[w[c]] for c in range(S)}
    for variable, value in aligned.items():
        velocity = -sp.diff(loss, variable).subs(residual).subs(aligned)
        require_zero(f"T7 unequal growth at S = {S}", velocity - r * p * value)
