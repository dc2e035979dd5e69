"""T7 Specialisation exponent: ReLU keeps fine structure as eps^(1 - sqrt((S-1)/S)), a linear network as eps.

Noise-free inputs with orthonormal means, C fine classes of probability 1/C, S of them in a coarse class, target +1 or
-1 for each; ReLU; gates as T6 leaves them: neuron j serves one coarse class and is active on a subset Q of its fine
classes. With residual r, equal on the fine classes of the coarse class, and q = |Q|, the aligned state
w_jc = u (c in Q), a_j = sqrt(q) u is kept by the flow, and

    d ln u/dt = r sqrt(q)/C - lambda.

So with G = exp(int r dt / C) an amplitude grows as G^sqrt(q), and with e_q the energy sum_j u_j^2 of each subset of
size q at time 0, exactly, for every lambda (it cancels) and every loss that enters through r alone,

    sep^2 = 2 sum_q binom(S-2, q-1) e_q G^(2 sqrt q) / sum_q binom(S-1, q-1) e_q G^(2 sqrt q).

Where G is large the largest q of each sum rules: sep(t) = sep_0 exp(-((sqrt S - sqrt(S-1))/C) int r dt), the master
law. At lambda = 0 training ends at f = 1, where G ~ eps^(-1/sqrt S), hence sep ~ eps^(1 - sqrt((S-1)/S)).

The correction at finite eps: the numerator's next term is G^(2(sqrt(S-2) - sqrt(S-1))) of its first and the
denominator's G^(2(sqrt(S-1) - sqrt S)), the slower one: eps^(2(1 - rho_S)), 6e-3 for S = 3 at eps = 1e-6. Hence the fit
of an exponent belongs below `largest_eps`.

Unequal probabilities pi_c within the coarse class: growth r sqrt(sum_{c in Q} pi_c^2) while r is equal, that is from
eps to order 1; exponent 1 - sqrt(1 - pi_min^2 / sum pi_c^2).

Source: this project, T7 (in the setting of Yang, Steinhardt & Hu, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import logsumexp

from finegrain.theory.theorems.symbolic import Theorem, penalty, require_zero
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

THEOREM = Theorem(
    id="T7",
    subject="specialisation exponent",
    statement="relative separation of subclasses ends as eps^(1 - sqrt((S-1)/S)), against eps for a linear network",
    assumptions=(
        "ReLU",
        "orthogonal means, no input noise (T6)",
        "some neuron active on all S subclasses",
        "equal probabilities within the coarse class",
        "lambda = 0 (the exponent; the law in G holds for every lambda)",
    ),
    sizes="S = 2, 3, 4 with every subset of fine classes; unequal probabilities S = 2, 3; the exponent for all S",
    latex=(
        r"\frac{d \ln u}{dt} = \frac{\sqrt q}{C}\, r - \lambda",
        r"\mathrm{sep}(t) = \mathrm{sep}_0 \exp\Bigl(-\frac{\sqrt S - \sqrt{S-1}}{C} \int r\,dt\Bigr)",
        r"\mathrm{sep} \sim \varepsilon^{1 - \sqrt{(S-1)/S}}",
    ),
)

SIZES = (2, 3, 4)


def predict(subclasses: int) -> float:
    """The exponent 1 - sqrt((S-1)/S) for S >= 2 equally likely subclasses a coarse class."""
    return predict_unequal(np.full(_checked(subclasses), 1.0))


def predict_unequal(weights: ArrayLike) -> float:
    """The exponent from the probabilities (S,) of the subclasses, up to a common factor."""
    pi = checks.real("weights", weights, ("S",))
    _checked(pi.size)
    if pi.min() <= 0:
        raise ValueError(f"weights must be > 0, got {pi.min()}")
    return float(1 - np.sqrt(1 - pi.min() ** 2 / np.sum(pi**2)))


def predict_master(initial: float, subclasses: int, classes: int, residual_integral: float) -> float:
    """sep(t) by the master law, from sep at a time after alignment, S, C, and int r dt since."""
    rate = (np.sqrt(subclasses) - np.sqrt(subclasses - 1)) / classes
    return float(initial * np.exp(-rate * residual_integral))


def predict_separation(energies: ArrayLike, log_growth: float) -> float:
    """sep exactly, from the energies e_1..e_S (S,) of one subset of each size and ln G = int r dt / C."""
    e = checks.real("energies", energies, ("S",))
    S = _checked(e.size)
    return float(np.exp((np.log(2) + _log_sum(e, S - 2, log_growth) - _log_sum(e, S - 1, log_growth)) / 2))


def predict_end(energies: ArrayLike, eps: float) -> float:
    """sep at the end of training (f = 1, lambda = 0) from the energies at eps = 1, (S,), at finite eps."""
    e = checks.real("energies", energies, ("S",)) * eps**2
    return predict_separation(e, _final_log_growth(e))


def local_exponent(energies: ArrayLike, eps: float) -> float:
    """d ln sep / d ln eps at the end of training: the exponent that a fit around eps sees."""
    step = 1e-3
    low, high = (predict_end(energies, eps * np.exp(sign * step)) for sign in (-1, 1))
    return float((np.log(high) - np.log(low)) / (2 * step))


def largest_eps(energies: ArrayLike, tolerance: float) -> float:
    """The largest eps <= 1 below which the local exponent is within `tolerance` (relative) of the limit."""
    e = checks.real("energies", energies, ("S",))
    limit = predict(e.size)

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


def _log_sum(energies: Array, top: int, log_growth: float) -> float:
    """ln sum_q binom(top, q-1) e_q G^(2 sqrt q)."""
    q = np.arange(1, energies.size + 1)
    binomials = np.array([comb(top, k - 1) for k in q])
    return float(logsumexp(2 * np.sqrt(q) * log_growth, b=binomials * energies))


def _final_log_growth(energies: Array) -> float:
    """ln G at f = 1: the root of sum_q binom(S-1, q-1) sqrt(q) e_q G^(2 sqrt q) = 1."""
    S = energies.size
    weighted = energies * np.sqrt(np.arange(1, S + 1))
    return float(brentq(lambda g: _log_sum(weighted, S - 1, g), -100, 1000, xtol=1e-13))


def prove(growth: Callable[..., sp.Expr] | None = None) -> None:
    """Growth on the aligned state and the formula for sep, from the loss; then the master law and the exponent.

    growth: the claimed (q, r, C, lambda) -> d ln u/dt; the theorem's own by default.
    """
    growth = growth or (lambda q, r, C, lam: r * sp.sqrt(q) / C - lam)
    for S in SIZES:
        _prove_growth(growth, S)
        _prove_separation(S)
    for S in (2, 3):
        _prove_unequal(S)
    _prove_exponent(growth)


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


def _prove_exponent(growth: Callable[..., sp.Expr]) -> None:
    """The master law's rate, and ln sep / ln eps -> 1 - sqrt((S-1)/S), for every S."""
    S, C, r, eps = sp.symbols("S C r epsilon", positive=True)
    lam = sp.Symbol("lambda")
    rate = growth(S - 1, r, C, lam) - growth(S, r, C, lam)
    require_zero("T7 master law", rate + (sp.sqrt(S) - sp.sqrt(S - 1)) * r / C)
    log_growth = -sp.log(eps) / sp.sqrt(S)  # f = 1: eps^2 G^(2 sqrt S) is of order 1
    exponent = (sp.sqrt(S - 1) - sp.sqrt(S)) * log_growth / sp.log(eps)
    require_zero("T7 exponent", exponent - (1 - sp.sqrt((S - 1) / S)))
