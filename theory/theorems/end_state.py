"""T9 End state: with weight decay training ends at the minimum of a convex problem that its final patterns set.

Noise-free inputs at orthonormal means, C fine classes of probability 1/C, S in a coarse class; ReLU, squared loss,
lambda > 0. Targets of one norm ||t|| with t_k . t_l <= 0 for k != l: +-1, one-hot, centred one-hot.
lambda_c = ||t|| sqrt(S)/C. A final pattern is the set of gates that a neuron never closes (T6).

(a) Where the flow ends. Each neuron serves one coarse class, with a_j along its target. Then in each coarse class the
outputs f_c (along t/||t||) tend to those of theory/pattern_rest.py: with r_c = ||t|| - f_c,

    ||(r_c)_{c in Q}|| <= C lambda for every final pattern Q, with equality for those that keep neurons,

f_c adds up over them, and a neuron's w is proportional to r on its pattern. Every other pattern dies. For
patterns {1,2},{3}: 1 - f/||t|| = C lambda/||t|| times (1/sqrt 2, 1/sqrt 2, 1). For overlapping ones, {1,2},{2,3}, no
such closed form. With a neuron on all S subclasses, or disjoint patterns of q subclasses each,

    f = (1 - C lambda/(sqrt q ||t||))_+ t,   q = S.

Unequal probabilities: the pulls d_c = pi_c r_c in place of r_c/C (T8).

(b) Global minimum, of every width that has a neuron for each coarse class: f = (1 - C lambda/(sqrt S ||t||)) t. With
c = min(lambda/lambda_c, 1), for lambda <= lambda_c and every network,

    L - ||t||^2 c (1 - c/2) = 1/(2C) sum_c ||f_c - (1 - c) t_c||^2 + (lambda/2) sum_j { ||a_j - v_j||^2
                              + sum_c relu(-w_jc)^2 + ||w_j off the span||^2 + spread_j + overlap_j },

    v_j = sum_c t_c h_jc / (sqrt S ||t||),   S spread_j = sum over pairs of fine classes that share a coarse class of
    (h_jc - h_jc')^2,   S ||t||^2 overlap_j = -2 sum_{k < l} (t_k . t_l) s_jk s_jl,   s_jk = sum_{c in k} h_jc:

squares and products that are >= 0. So f = (1 - c) t at the minimum, and each neuron is equal on the fine classes of a
coarse class: full collapse. For lambda >= lambda_c the same with c = 1, lambda_c for lambda, and
(lambda - lambda_c)(||W||^2 + ||A||^2)/2 added. Flow reaches it if and only if every coarse class has a full final
pattern: else the end of (a) lies above.

(c) Finite time, with full neurons and equal energy in all patterns of S - 1: for lambda < lambda_c/(2 - rho_S) the gap
closes at twice the separation's rate,

    f_inf - f(t) = f_inf (S - 1) rho_S (mu/(kappa - mu)) sep(t)^2/2,

mu = lambda (1 - rho_S), kappa = lambda_c - lambda,
in units of ||t|| f along t, up to order sep^4, to patterns on fewer than S - 1 subclasses, and to e^{-2 kappa t}.
Above, up to lambda_c, the transient is the slower, and the gap closes at 2 (lambda_c - lambda).

(d) Leaky ReLU of slope a in [0, 1], K = 2, targets +-1: sqrt(S (1 + a^2)) in place of sqrt S in (b), by the same
squares. Linear, K = 2: a = 1, so f = (1 - lambda sqrt C) t.

Proved here from the loss: the certificate of (a) at every size, with the growth that makes its minimum the only end;
(b) and (d) at the sizes stated; (c) linearised, at the sizes stated. Proved on paper: that the flow of (a) converges.
Gates close finitely often (T6 a); after that the loss is a polynomial of the open weights, coercive as lambda > 0, so
its gradient flow converges to one critical point (Lojasiewicz 1984). There r_c > 0: else f_c > 0, hence some w_jc > 0
with lambda w_jc = a_j d_c <= 0. A final pattern either keeps a neuron, then ||d_Q|| = lambda, or dies, then
||d_Q|| <= lambda: its a_j + d_Q . w_j/||d_Q|| > 0 grows at ||d_Q|| - lambda. These are the minimum's conditions.
Observed only: that outputs in random directions align with a target (K > 2), and which end a leaky network reaches.

Corrected: (1) the end had been given by q, the most subclasses that any neuron serves, for all subclasses alike. False
for patterns {1,2},{3} (.788, .788, .700 at S = 3, C = 6, lambda = .05, claimed .788) and {1,2},{2,3} (.740, .851,
.740).
(2) The gap closes at twice the separation's rate only for lambda < lambda_c/(2 - rho_S), where kappa > mu (S = 2: below
.774 lambda_c). tests/theory/theorems/test_end_state.py keeps the cases.

Sources: this project, T9 (in the setting of Yang, Steinhardt & Hu, ICML 2023). Boursier, Pillaud-Vivien & Flammarion
(2022) treat ReLU, orthogonal inputs, squared loss and a small start without weight decay, down to the interpolator that
flow reaches; Min, Zhu & Vidal (2025) show neural collapse under ReLU gradient flow. What is added here is the end with
weight decay, for any set of patterns inside a class. The convex form is a group lasso (Yuan & Lin 2006), as in
Pilanci & Ergen (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations
from math import comb
from typing import overload

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from finegrain.theory.pattern_rest import rest
from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, penalty, require_zero
from finegrain.theory.tools import checks

Array = NDArray[np.float64]

THEOREM = Theorem(
    id="T9",
    subject="end state",
    statement="training ends where ||r_Q|| = C lambda on each pattern Q that lives, <= on the others; with a full one "
    "at f = (1 - C lambda/(sqrt S ||t||)) t, zero above lambda_c: the global minimum",
    assumptions=(
        "ReLU, or leaky ReLU and linear with their own constants (K = 2)",
        "orthonormal means, no input noise",
        "squared loss",
        "equal probabilities",
        "targets of one norm with t_k . t_l <= 0",
        "each neuron serves one coarse class, its output along the target (the end that flow reaches)",
        "a neuron active on all S subclasses (one f for all, the global minimum)",
        "lambda < lambda_c/(2 - rho_S) (the gap's rate)",
        "equal energies in all patterns of S - 1 (the gap)",
    ),
    sizes="end for any patterns at every size; minimum at (K, S) = (2,1), (2,2), (2,3), (3,2); leaky at S = 1, 2, 3; "
    "gap at S = 2, 3, 4, 5",
    latex=(
        r"\|(r_c)_{c \in Q}\| \le C \lambda, \quad f_c = \|t\| - r_c = \sum_{Q \ni c} u_Q \frac{r_c}{C \lambda}, \quad "
        r"u_Q \bigl(\|(r_c)_{c \in Q}\| - C \lambda\bigr) = 0",
        r"f_\infty = \Bigl(1 - \frac{C \lambda}{\sqrt S\, \|t\|}\Bigr)_+ t",
        r"f_\infty - f(t) = f_\infty\, \frac{(S-1) \rho_S\, \mu}{\kappa - \mu}\, \frac{\mathrm{sep}(t)^2}{2}",
        r"\mu = \lambda (1 - \rho_S), \quad \kappa = \lambda_c - \lambda",
    ),
)

SIZES = ((2, 1), (2, 2), (2, 3), (3, 2))


def critical(subclasses: int, classes: int, target_norm: float = 1.0, slope: float = 0.0) -> float:
    """lambda_c = ||t|| sqrt(q (1 + a^2))/C of neurons on q = `subclasses` of C equally likely classes.

    ||t|| the targets' norm; a in [0, 1] the slope below zero (a > 0: K = 2, q = S).
    """
    checks.at_least("subclasses", subclasses, 1)
    checks.at_least("classes", classes, subclasses)
    if not 0 <= slope <= 1:
        raise ValueError(f"slope must lie in [0, 1], got {slope}")
    if slope and classes != 2 * subclasses:
        raise ValueError(f"classes must be 2 * subclasses = {2 * subclasses} for slope > 0, got {classes}")
    return float(target_norm * np.sqrt(subclasses * (1 + slope**2)) / classes)


@overload
def predict(
    weight_decay: float,
    subclasses: int,
    classes: int,
    *,
    target_norm: float = 1.0,
    slope: float = 0.0,
    patterns: None = None,
) -> float: ...


@overload
def predict(
    weight_decay: float,
    subclasses: int,
    classes: int,
    *,
    target_norm: float = 1.0,
    slope: float = 0.0,
    patterns: Iterable[Collection[int]],
) -> Array: ...


def predict(
    weight_decay: float,
    subclasses: int,
    classes: int,
    *,
    target_norm: float = 1.0,
    slope: float = 0.0,
    patterns: Iterable[Collection[int]] | None = None,
) -> float | Array:
    """f . t/||t||^2 at the end of training, in [0, 1], the same for all subclasses; or, with `patterns`, one for each.

    Args:
        weight_decay: lambda >= 0.
        subclasses: S where some neuron is full; q where the final patterns are disjoint, of q subclasses each.
        classes: C.
        target_norm: ||t||.
        slope: below zero; 0 with `patterns`.
        patterns: the final patterns, sets of numbers 0..S-1; the result is then (S,). A subclass in no pattern has 0.
    """
    checks.at_least("weight_decay", weight_decay, 0)
    top = critical(subclasses, classes, target_norm, slope)
    if patterns is None:
        return max(0.0, 1 - weight_decay / top)
    if slope:
        raise ValueError(f"slope must be 0 where patterns are given, got {slope}")
    weights = np.full(subclasses, 1 / classes)
    return rest(weight_decay, patterns, weights, target_norm=target_norm).outputs / target_norm


def predict_loss(
    weight_decay: float, subclasses: int, classes: int, *, target_norm: float = 1.0, slope: float = 0.0
) -> float:
    """The global minimum of the loss, weight decay included."""
    c = 1 - predict(weight_decay, subclasses, classes, target_norm=target_norm, slope=slope)
    return target_norm**2 * c * (1 - c / 2)


def predict_gap(
    separation: float, weight_decay: float, subclasses: int, classes: int, *, target_norm: float = 1.0
) -> float:
    """(f_inf - f(t)) . t/||t||^2 after the transient, from sep(t), for 0 < lambda < lambda_c/(2 - rho_S).

    With full neurons, and equal energies in the patterns of S - 1.
    """
    rho = np.sqrt((subclasses - 1) / subclasses)
    top = critical(subclasses, classes, target_norm)
    if not 0 < weight_decay < top / (2 - rho):
        raise ValueError(
            f"weight_decay must lie in (0, lambda_c/(2 - rho)) = (0, {top / (2 - rho)}), got {weight_decay}"
        )
    mu = weight_decay * (1 - rho)
    end = predict(weight_decay, subclasses, classes, target_norm=target_norm)
    return float(end * (subclasses - 1) * rho * mu / (top - weight_decay - mu) * separation**2 / 2)


def predict_gap_rate(
    weight_decay: float, subclasses: int, classes: int, *, target_norm: float = 1.0
) -> float:
    """Late decay rate of |f_inf - f| for 0 < lambda < lambda_c: 2 min(lambda (1 - rho_S), lambda_c - lambda)."""
    top = critical(subclasses, classes, target_norm)
    if not 0 < weight_decay < top:
        raise ValueError(f"weight_decay must lie in (0, lambda_c) = (0, {top}), got {weight_decay}")
    if subclasses == 1:
        return 2 * (top - weight_decay)
    return float(2 * min(weight_decay * (1 - np.sqrt((subclasses - 1) / subclasses)), top - weight_decay))


def prove(
    shrinkage: Callable[..., sp.Expr] | None = None, pull: Callable[..., sp.Expr] | None = None
) -> None:
    """The end for any patterns, then the sum of squares, the rest point, the leaky case and the gap, from the loss.

    shrinkage: the claimed (lambda, S, C, ||t||) -> c in f = (1 - c) t; the theorem's own by default.
    pull: the claimed (pi, ||t||, U, lambda) -> d at rest, U the load on a subclass; the theorem's own by default.
    """
    shrinkage = shrinkage or (lambda lam, S, C, norm: C * lam / (sp.sqrt(S) * norm))
    pull = pull or (lambda pi, norm, load, lam: pi * norm / (1 + pi * load / lam))
    for claim, difference in cover_differences(shrinkage, pull):
        require_zero(f"T9 {claim}", difference)
    for K, S in SIZES:
        _prove_minimum(shrinkage, K, S)
        _prove_rest_point(shrinkage, K, S)
    for S in (1, 2, 3):
        _prove_leaky_minimum(shrinkage, S)
    for S in (2, 3, 4, 5):
        _prove_gap(shrinkage, S)


def cover_differences(
    shrinkage: Callable[..., sp.Expr], pull: Callable[..., sp.Expr]
) -> Iterator[tuple[str, sp.Expr]]:
    """What must vanish for (a), at every size: sums over subclasses and neurons are taken term by term.

    Of a neuron (a, w) on its pattern only x = d . w, y = ||w||^2 and D = ||d|| enter; the rest is Cauchy-Schwarz,
    x^2 <= D^2 y.
    """
    yield from velocity_differences()
    pi, norm, lam, load, C, q = sp.symbols("pi n lambda U C q", positive=True)
    f, a, x, y, D = sp.symbols("f a x y D", real=True)
    d = pull(pi, norm, load, lam)
    yield "outputs at rest", pi * (norm - load * d / lam) - d

    # L - L_rest = sum_c pi_c (f_c - f_c at rest)^2/2 + sum_j (squares): both kinds of term, d . f = sum_j a_j x_j.
    at_rest = norm - d / pi
    whole = pi * (f - norm) ** 2 / 2 - pi * (at_rest - norm) ** 2 / 2
    yield "minimum, by subclass", whole - pi * (f - at_rest) ** 2 / 2 + d * (f - at_rest)
    neuron = lam / 2 * (a**2 + y) - a * x
    squares = lam / 2 * (a - x / lam) ** 2 + ((D**2 * y - x**2) / lam + (lam - D**2 / lam) * y) / 2
    yield "minimum, by neuron", neuron - squares
    # At rest lambda u_Q a pattern is paid, and d . f = sum_Q u_Q D^2/lambda: the same where D = lambda.
    yield "minimum, at rest", (lam * load - load * D**2 / lam).subs(D, lam)

    # The aligned neuron w = a d/lambda stands still, and a + x/D of a dying one moves at D - lambda.
    da, dx = x - lam * a, a * D**2 - lam * x
    still = {x: a * D**2 / lam}
    yield "aligned neuron at rest", da.subs(still).subs(D, lam)
    yield "aligned neuron at rest, w", dx.subs(still).subs(D, lam)
    yield "growth of a pattern", da + dx / D - (D - lam) * (a + x / D)

    # Equal probabilities, disjoint patterns of q subclasses: d = lambda/sqrt q on each.
    end = (1 - shrinkage(lam, q, C, norm)) * norm
    yield "disjoint patterns", (norm - end) / C - lam / sp.sqrt(q)


def velocity_differences() -> Iterator[tuple[str, sp.Expr]]:
    """One neuron on q subclasses, q a symbol, among others that give g_c: its velocity is what the pulls d_c say.

    Subclass 1 stands for any: their names mean nothing.
    """
    q, c, k = sp.symbols("q c k", integer=True, positive=True)
    a, norm, lam = sp.symbols("a n lambda", real=True)
    w, g, d, pi = (sp.IndexedBase(name) for name in ("w", "g", "d", "pi"))
    loss = sp.Sum(pi[c] * (g[c] + a * w[c] - norm) ** 2 / 2 + lam * w[c] ** 2 / 2, (c, 1, q)) + lam * a**2 / 2

    def at_pull(velocity: sp.Expr, i: sp.Expr) -> sp.Expr:
        return velocity.xreplace({g[i]: norm - d[i] / pi[i] - a * w[i]})

    output, weight = -sp.diff(loss, a), -sp.diff(loss, w[k]).doit().subs(k, 1)
    yield "velocity of a", sp.simplify(at_pull(output, c)) - sp.Sum(d[c] * w[c], (c, 1, q)) + lam * a
    yield "velocity of w", at_pull(weight, sp.Integer(1)) - a * d[1] + lam * w[1]


def _targets(K: int, S: int) -> tuple[sp.Matrix, sp.Symbol, dict[sp.Expr, sp.Expr]]:
    """Targets t_k as symbols (K, K) that share one squared norm: t_k0^2 is written by the others."""
    T, norm = matrix("t", K, K), sp.Symbol("n")
    one_norm = {T[k, 0] ** 2: norm**2 - sum(T[k, i] ** 2 for i in range(1, K)) for k in range(K)}
    return T, norm, one_norm


def _reduced(expression: sp.Expr, rules: dict[sp.Expr, sp.Expr]) -> sp.Expr:
    """The expression with t_k0^2 replaced; every power of t_k0 in these losses is 2 at most."""
    return sp.expand(sp.expand(expression).subs(rules))


def _prove_minimum(shrinkage: Callable[..., sp.Expr], K: int, S: int) -> None:
    """L minus its minimum as the sum of squares, for one neuron; a second adds a term of its own, as f is a sum.

    w = p - n with p = relu(w), n = relu(-w), p n = 0; ||w||^2 = p^2 + n^2.
    """
    C = K * S
    lam = sp.Symbol("lambda")
    T, norm, rules = _targets(K, S)
    c = shrinkage(lam, S, C, norm)
    P, N, A = matrix("p", 2, C), matrix("m", 2, C), matrix("a", K, 2)
    t = [T[x // S, :].T for x in range(C)]
    f = [A * P[:, x] for x in range(C)]
    loss = sum((e**2 for x in range(C) for e in f[x] - t[x]), sp.S.Zero) / (2 * C) + penalty(lam, P, N, A)
    squares = sum(e**2 for x in range(C) for e in f[x] - (1 - c) * t[x]) / (2 * C)
    for j in range(2):
        s = [sum(P[j, k * S : (k + 1) * S]) for k in range(K)]
        v = sum((T[k, :].T * s[k] for k in range(K)), sp.zeros(K, 1)) / (sp.sqrt(S) * norm)
        within = [pair for k in range(K) for pair in combinations(range(k * S, (k + 1) * S), 2)]
        spread = sum((P[j, x] - P[j, y]) ** 2 for x, y in within) / S
        overlap = -2 * sum(T[k, :].dot(T[i, :]) * s[k] * s[i] for k, i in combinations(range(K), 2))
        squares += lam / 2 * sum(e**2 for e in A[:, j] - v) + lam / 2 * sum(e**2 for e in N[j, :])
        squares += lam / 2 * (spread + overlap / (S * norm**2))
    difference = loss - norm**2 * c * (1 - c / 2) - squares
    require_zero(f"T9 global minimum at K, S = {K, S}", _reduced(difference, rules))


def _prove_rest_point(shrinkage: Callable[..., sp.Expr], K: int, S: int) -> None:
    """Full neurons, one for each coarse class, a_k = sqrt(S) u t_k/||t||, sqrt(S) u^2 = (1 - c) ||t||: no velocity."""
    C = K * S
    lam, u = sp.symbols("lambda u")
    T, norm, rules = _targets(K, S)
    W, A = matrix("w", K, C), matrix("a", K, K)
    # Open gates alone: the others are closed, at w = 0.
    mine = [[W[k, x] if x // S == k else 0 for k in range(K)] for x in range(C)]
    loss = sum(
        (sum(A[i, k] * mine[x][k] for k in range(K)) - T[x // S, i]) ** 2 for x in range(C) for i in range(K)
    ) / (2 * C) + penalty(lam, W, A)
    rest = {A[i, k]: sp.sqrt(S) * u * T[k, i] / norm for i in range(K) for k in range(K)}
    rest |= {W[k, x]: u if x // S == k else 0 for k in range(K) for x in range(C)}
    balance = sp.solve(shrinkage(lam, S, C, norm) - 1 + sp.sqrt(S) * u**2 / norm, lam)[0]
    for variables in (W, A):
        velocity = gradient(loss, variables).subs(rest).subs(lam, balance)
        for entry in velocity:
            require_zero(f"T9 rest point at K, S = {K, S}", _reduced(entry, rules))


def _prove_leaky_minimum(shrinkage: Callable[..., sp.Expr], S: int) -> None:
    """Slope a, targets +-1, one neuron: h = p - a n. With X = sum_+ p + a sum_- n, Y = sum_- p + a sum_+ n >= 0,
    sum_c t_c h_c = X - Y, and s (||w||^2) - (X - Y)^2 for s = S (1 + a^2) is Lagrange's squares and 2 X Y."""
    C = 2 * S
    lam, a = sp.symbols("lambda a")
    out = sp.Symbol("b")
    p, n = sp.symbols(f"p:{C}"), sp.symbols(f"n:{C}")
    s = S * (1 + a**2)
    c = shrinkage(lam, s, C, sp.Integer(1))
    t = [1 if x < S else -1 for x in range(C)]
    h = [p[x] - a * n[x] for x in range(C)]
    off = {p[x] * n[x]: 0 for x in range(C)}
    loss = sum((out * h[x] - t[x]) ** 2 for x in range(C)) / (2 * C) + penalty(lam, sp.Matrix([out, *p, *n]))
    squares = sum((out * h[x] - (1 - c) * t[x]) ** 2 for x in range(C)) / (2 * C)
    along = sum(t[x] * h[x] for x in range(C))
    squares += lam / 2 * (out - along / sp.sqrt(s)) ** 2
    # Two groups, each with coefficients (1 for p, a for n): X from + and -, Y from - and +.
    for first, second in ((range(S), range(S, C)), (range(S, C), range(S))):
        terms = [(1, p[x]) for x in first] + [(a, n[x]) for x in second]
        lagrange = sum((k * y - i * x) ** 2 for (k, x), (i, y) in combinations(terms, 2))
        squares += lam / 2 * lagrange / s
    X = sum(p[x] for x in range(S)) + a * sum(n[x] for x in range(S, C))
    Y = sum(p[x] for x in range(S, C)) + a * sum(n[x] for x in range(S))
    squares += lam / 2 * 2 * X * Y / s
    difference = sp.expand(loss - c * (1 - c / 2) - squares)
    require_zero(f"T9 leaky minimum at S = {S}", difference.subs(off))


def _prove_gap(shrinkage: Callable[..., sp.Expr], S: int) -> None:
    """One coarse class at the aligned state: full neurons, energy E (1 + x), and those on S - 1, energy E y each.

    The flow of the loss linearised in (x, y) has y ~ e^{-2 mu t} and x = X y, which gives the gap.
    """
    C = 2 * S
    lam = sp.Symbol("lambda")
    patterns = [tuple(range(S)), *combinations(range(S), S - 1)]
    w = {(Q, x): sp.Symbol(f"w_{'_'.join(map(str, Q))}_{x}") for Q in patterns for x in Q}
    a = {Q: sp.Symbol(f"a_{'_'.join(map(str, Q))}") for Q in patterns}
    f = [sum(a[Q] * w[Q, x] for Q in patterns if x in Q) for x in range(S)]
    loss = sum((e - 1) ** 2 for e in f) / (2 * C)
    loss += sum(penalty(lam, sp.Matrix([a[Q], *(w[Q, x] for x in Q)])) for Q in patterns)
    full, part = patterns[0], patterns[1]
    E, e = sp.symbols("E e")  # u^2 of either kind
    state = {a[Q]: sp.sqrt(len(Q) * (E if full == Q else e)) for Q in patterns}
    state |= {w[Q, x]: sp.sqrt(E if full == Q else e) for Q in patterns for x in Q}
    growth = [sp.expand(-sp.diff(loss, w[Q, 0]).subs(state) / state[w[Q, 0]]) for Q in (full, part)]
    end = 1 - shrinkage(lam, S, C, sp.Integer(1))
    rest = {E: end / sp.sqrt(S), e: 0}
    gap = end - f[0].subs(state)
    require_zero(f"T9 rest energy at S = {S}", growth[0].subs(rest))
    mu = -growth[1].subs(rest)
    kappa = -(sp.diff(growth[0], E) * E).subs(rest)  # of u; energies move at twice that
    rho = sp.sqrt(sp.Rational(S - 1, S))
    require_zero(f"T9 separation rate at S = {S}", mu - lam * (1 - rho))
    require_zero(f"T9 transient at S = {S}", kappa - (sp.sqrt(S) / sp.Integer(C) - lam))
    # d(dE)/dt = 2 E (dg/dE dE + dg/de e), e ~ e^{-2 mu t}: dE = X e with -2 mu X = -2 kappa X + 2 E dg/de.
    pull = (E * sp.diff(growth[0], e)).subs(rest)
    X = pull / (kappa - mu)
    first = (sp.diff(gap, E) * X + sp.diff(gap, e)).subs(rest)
    ratio = 1 / rest[E]  # e = ratio^{-1} sep^2/2
    predicted = end * comb(S - 1, S - 2) * rho * mu / (kappa - mu) * ratio
    require_zero(f"T9 gap at S = {S}", sp.simplify(first - predicted))
