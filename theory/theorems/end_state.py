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
(b) and (d) at the sizes stated; (c) linearised, at the sizes stated. On paper alone: that the flow of (a) converges.
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

from collections.abc import Collection, Iterable, Iterator
from itertools import combinations
from typing import overload

import numpy as np
import sympy as sp

from finegrain.theory.pattern_rest import rest
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import descent, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


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
    f = THEOREM.formulas
    return float(f.critical.number(f.strength.number(subclasses, slope), classes, target_norm))


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
    critical(subclasses, classes, target_norm, slope)
    f = THEOREM.formulas
    if patterns is None:
        strength = f.strength.number(subclasses, slope)
        return max(0.0, 1 - float(f.shrinkage.number(weight_decay, strength, classes, target_norm)))
    if slope:
        raise ValueError(f"slope must be 0 where patterns are given, got {slope}")
    pi = np.full(subclasses, 1 / classes)
    found = rest(weight_decay, patterns, pi, target_norm=target_norm)
    if weight_decay == 0:
        return found.outputs / target_norm
    loads = np.array(
        [sum(u for u, Q in zip(found.loads, found.patterns, strict=True) if c in Q) for c in range(pi.size)]
    )
    outputs: Array = f.output.number(pi, target_norm, loads, weight_decay)
    return outputs / target_norm


def predict_loss(
    weight_decay: float, subclasses: int, classes: int, *, target_norm: float = 1.0, slope: float = 0.0
) -> float:
    """The global minimum of the loss, weight decay included."""
    c = 1 - predict(weight_decay, subclasses, classes, target_norm=target_norm, slope=slope)
    return float(THEOREM.formulas.minimum.number(c, target_norm))


def predict_gap(
    separation: float, weight_decay: float, subclasses: int, classes: int, *, target_norm: float = 1.0
) -> float:
    """(f_inf - f(t)) . t/||t||^2 after the transient, from sep(t), for 0 < lambda < lambda_c/(2 - rho_S).

    With full neurons, and equal energies in the patterns of S - 1.
    """
    f = THEOREM.formulas
    turn = float(f.turn.number(subclasses, classes, target_norm))
    if not 0 < weight_decay < turn:
        raise ValueError(
            f"weight_decay must lie in (0, lambda_c/(2 - rho)) = (0, {turn}), got {weight_decay}"
        )
    mu = f.erosion.number(weight_decay, subclasses)
    kappa = f.transient.number(weight_decay, subclasses, classes, target_norm)
    end = 1 - f.shrinkage.number(weight_decay, subclasses, classes, target_norm)
    return float(f.gap.number(end, subclasses, mu, kappa, separation))


def predict_gap_rate(
    weight_decay: float, subclasses: int, classes: int, *, target_norm: float = 1.0
) -> float:
    """Late decay rate of |f_inf - f| for 0 < lambda < lambda_c: 2 min(lambda (1 - rho_S), lambda_c - lambda)."""
    top = critical(subclasses, classes, target_norm)
    if not 0 < weight_decay < top:
        raise ValueError(f"weight_decay must lie in (0, lambda_c) = (0, {top}), got {weight_decay}")
    f = THEOREM.formulas
    rates = [f.transient.number(weight_decay, subclasses, classes, target_norm)]
    if subclasses > 1:
        rates.append(f.erosion.number(weight_decay, subclasses))
    return float(2 * min(rates))


def _velocity(f: Formulas) -> Iterator[sp.Expr]:
    """One neuron on q subclasses, q a symbol, among others that give g_c: the pulls d_c drive it.

    Subclass 1 stands for any: their names mean nothing.
    """
    q, c, k = sp.symbols("q c k", integer=True, positive=True)
    a, norm, lam = sp.symbols("a n lambda", real=True)
    w, g, pi = (sp.IndexedBase(name) for name in ("w", "g", "pi"))
    loss = sp.Sum(pi[c] * (g[c] + a * w[c] - norm) ** 2 / 2 + lam * w[c] ** 2 / 2, (c, 1, q)) + lam * a**2 / 2

    def pull(i: sp.Expr) -> sp.Expr:
        return f.pull(pi[i], norm, g[i] + a * w[i])

    # Inside the sum, term by term.
    driven = -sp.diff(loss, a) + lam * a
    yield sp.expand(
        driven.args[0] * driven.args[1].function if driven.is_Mul else driven.function
    ) - sp.expand(pull(c) * w[c])
    weight = -sp.diff(loss, w[k]).doit().subs(k, 1)
    yield weight - a * pull(sp.Integer(1)) + lam * w[1]


def _at_rest(f: Formulas) -> Iterator[sp.Expr]:
    """A pattern's neurons give theta_c = u d_c/lambda: the output under load U solves a linear equation."""
    pi, norm, lam, load = sp.symbols("pi n lambda U", positive=True)
    out = sp.Symbol("f")
    (solved,) = sp.solve(out - load * f.pull(pi, norm, out) / lam, out)
    yield solved - f.output(pi, norm, load, lam)


def _growth(f: Formulas) -> Iterator[sp.Expr]:
    """At fixed pulls, with x = d . w and D = ||d||: a + x/D moves at growth, and w = a d/lambda stands still at 0."""
    a, x, lam, D = sp.symbols("a x lambda D", positive=True)
    da, dx = x - lam * a, a * D**2 - lam * x
    yield da + dx / D - f.growth(D, lam) * (a + x / D)
    (still,) = sp.solve(f.growth(D, lam), D)
    for velocity in (da, dx):
        yield velocity.subs(x, a * D**2 / lam).subs(D, still)


def _certificate(f: Formulas) -> Iterator[sp.Expr]:
    """L - L_rest = sum_c pi_c (f_c - f_c at rest)^2/2 + sum_j (squares), term by term, as d . f = sum_j a_j x_j.

    Of a neuron (a, w) on its pattern only x = d . w, y = ||w||^2 and D = ||d|| enter; the rest is Cauchy-Schwarz,
    x^2 <= D^2 y, and growth <= 0.
    """
    pi, norm, lam, load = sp.symbols("pi n lambda U", positive=True)
    out, end, a, x, y = sp.symbols("f f_rest a x y", real=True)
    D = sp.Symbol("D", positive=True)
    whole = pi * (out - norm) ** 2 / 2 - pi * (end - norm) ** 2 / 2
    yield whole - pi * (out - end) ** 2 / 2 + f.pull(pi, norm, end) * (out - end)
    neuron = lam / 2 * (a**2 + y) - a * x
    squares = lam / 2 * (a - x / lam) ** 2 + (D**2 * y - x**2) / (2 * lam)
    yield neuron - squares + f.growth(D, lam) * (lam + D) / lam * y / 2
    # At rest lambda u_Q a pattern is paid, and d . f = sum_Q u_Q D^2/lambda: the same where it lives.
    (alive,) = sp.solve(f.growth(D, lam), D)
    yield lam * load - load * alive**2 / lam


def _disjoint(f: Formulas) -> Iterator[sp.Expr]:
    """Equal probabilities: f = (1 - c) n on the q subclasses of a pattern gives ||d|| = lambda; c = 1 at lambda_c."""
    lam, q, C, norm, D = sp.symbols("lambda q C n D", positive=True)
    end = (1 - f.shrinkage(lam, q, C, norm)) * norm
    (alive,) = sp.solve(f.growth(D, lam), D)
    yield sp.sqrt(q) * f.pull(1 / C, norm, end) - alive
    yield f.shrinkage(f.critical(q, C, norm), q, C, norm) - 1


def _targets(K: int, S: int) -> tuple[sp.Matrix, sp.Symbol, dict[sp.Expr, sp.Expr]]:
    """Targets t_k as symbols (K, K) that share one squared norm: t_k0^2 is written by the others."""
    T, norm = matrix("t", K, K), sp.Symbol("n")
    one_norm = {T[k, 0] ** 2: norm**2 - sum(T[k, i] ** 2 for i in range(1, K)) for k in range(K)}
    return T, norm, one_norm


def _reduced(expression: sp.Expr, rules: dict[sp.Expr, sp.Expr]) -> sp.Expr:
    """The expression with t_k0^2 replaced; every power of t_k0 in these losses is 2 at most."""
    return sp.expand(sp.expand(expression).xreplace(rules))


def _minimum(f: Formulas, K: int, S: int) -> sp.Expr:
    """L minus its minimum as the sum of squares, for one neuron; a second adds a term of its own, as f is a sum.

    w = p - n with p = relu(w), n = relu(-w), p n = 0; ||w||^2 = p^2 + n^2.
    """
    C = K * S
    lam = sp.Symbol("lambda")
    T, norm, rules = _targets(K, S)
    c = f.shrinkage(lam, S, C, norm)
    P, N, A = matrix("p", 2, C), matrix("m", 2, C), matrix("a", K, 2)
    t = [T[x // S, :].T for x in range(C)]
    out = [A * P[:, x] for x in range(C)]
    loss = sum((e**2 for x in range(C) for e in out[x] - t[x]), sp.S.Zero) / (2 * C) + penalty(lam, P, N, A)
    squares = sum(e**2 for x in range(C) for e in out[x] - (1 - c) * t[x]) / (2 * C)
    for j in range(2):
        s = [sum(P[j, k * S : (k + 1) * S]) for k in range(K)]
        v = sum((T[k, :].T * s[k] for k in range(K)), sp.zeros(K, 1)) / (sp.sqrt(S) * norm)
        within = [pair for k in range(K) for pair in combinations(range(k * S, (k + 1) * S), 2)]
        spread = sum((P[j, x] - P[j, y]) ** 2 for x, y in within) / S
        overlap = -2 * sum(T[k, :].dot(T[i, :]) * s[k] * s[i] for k, i in combinations(range(K), 2))
        squares += lam / 2 * sum(e**2 for e in A[:, j] - v) + lam / 2 * sum(e**2 for e in N[j, :])
        squares += lam / 2 * (spread + overlap / (S * norm**2))
    return _reduced(loss - f.minimum(c, norm) - squares, rules)


def _rest_point(f: Formulas, K: int, S: int) -> Iterator[sp.Expr]:
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
    rest |= {W[k, x]: u if x // S == k else sp.S.Zero for k in range(K) for x in range(C)}
    (balance,) = sp.solve(f.shrinkage(lam, S, C, norm) - 1 + sp.sqrt(S) * u**2 / norm, lam)
    for velocity in descent(loss, W, A).values():
        yield _reduced(velocity.xreplace(rest | {lam: balance}), rules)


def _leaky_minimum(f: Formulas, S: int) -> sp.Expr:
    """Slope a, targets +-1, one neuron: h = p - a n. With X = sum_+ p + a sum_- n, Y = sum_- p + a sum_+ n >= 0,
    sum_c t_c h_c = X - Y, and s (||w||^2) - (X - Y)^2 for s = S (1 + a^2) is Lagrange's squares and 2 X Y."""
    C = 2 * S
    lam, a, out = sp.symbols("lambda a b", positive=True)
    p, n = sp.symbols(f"p:{C}"), sp.symbols(f"n:{C}")
    s = f.strength(S, a)
    c = f.shrinkage(lam, s, C, sp.Integer(1))
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
    return sp.expand(loss - f.minimum(c, sp.Integer(1)) - squares).subs(off)


def _gap(f: Formulas, S: int) -> Iterator[sp.Expr]:
    """One coarse class at the aligned state: full neurons, energy E, and those on S - 1, energy e each.

    The flow of the loss linearised around rest has e ~ e^{-2 mu t} and dE = X e, which gives the gap.
    """
    C = 2 * S
    lam, E, e = sp.symbols("lambda E e", positive=True)
    patterns = [tuple(range(S)), *combinations(range(S), S - 1)]
    full, part = patterns[0], patterns[1]
    w = {(Q, x): sp.Symbol(f"w_{'_'.join(map(str, Q))}_{x}") for Q in patterns for x in Q}
    a = {Q: sp.Symbol(f"a_{'_'.join(map(str, Q))}") for Q in patterns}
    outputs = [sum(a[Q] * w[Q, x] for Q in patterns if x in Q) for x in range(S)]
    loss = sum((out - 1) ** 2 for out in outputs) / (2 * C)
    loss += sum(penalty(lam, sp.Matrix([a[Q], *(w[Q, x] for x in Q)])) for Q in patterns)
    state = {a[Q]: sp.sqrt(len(Q) * (E if full == Q else e)) for Q in patterns}
    state |= {w[Q, x]: sp.sqrt(E if full == Q else e) for Q in patterns for x in Q}
    growth = [sp.expand(-sp.diff(loss, w[Q, 0]).xreplace(state) / state[w[Q, 0]]) for Q in (full, part)]
    end = 1 - f.shrinkage(lam, S, C, sp.Integer(1))
    rest = {E: end / sp.sqrt(S), e: 0}
    yield growth[0].subs(rest)
    mu = -growth[1].subs(rest)
    kappa = -(sp.diff(growth[0], E) * E).subs(rest)  # of u; energies move at twice that
    yield mu - f.erosion(lam, S)
    yield kappa - f.transient(lam, S, C, 1)
    # d(dE)/dt = 2 E (dg/dE dE + dg/de e), e ~ e^{-2 mu t}: dE = X e with -2 mu X = -2 kappa X + 2 E dg/de.
    X = (E * sp.diff(growth[0], e)).subs(rest) / (kappa - mu)
    gap = end - outputs[0].xreplace(state)
    # ||h_0 - h_1||^2 is the energy of the patterns that hold one of the two.
    sep = sp.sqrt(sum(e for Q in patterns if (0 in Q) != (1 in Q)) / rest[E])
    yield (sp.diff(gap, E) * X + sp.diff(gap, e)).subs(rest) * e - f.gap(end, S, mu, kappa, sep)


def _turn(f: Formulas) -> sp.Expr:
    """Where the two rates meet."""
    lam, S, C, norm = sp.symbols("lambda S C n", positive=True)
    (turn,) = sp.solve(f.erosion(lam, S) - f.transient(lam, S, C, norm), lam)
    return turn - f.turn(S, C, norm)


def _rho(S: sp.Expr | int) -> sp.Expr:
    """sqrt((S-1)/S)."""
    return sp.sqrt(sp.sympify(S - 1) / S)


lam, q, S, C, n, pi, U, out, D, c, a, mu, kappa, sep, end = sp.symbols(
    "lambda q S C n pi_c U_c f_c D c a mu kappa sep f_inf"
)
# What is false, differing already at the smallest sizes.
SHRINKAGE = {"shrinkage": lambda lam, q, C, n: 2 * C * lam / (sp.sqrt(q) * n)}
PULL = {"pull": lambda pi, n, out: n - out}
GROWTH = {"growth": lambda D, lam: D - 2 * lam}
MINIMUM = {"minimum": lambda c, n: n**2 * c}
MU = {"erosion": lambda lam, S: lam / S}
KAPPA = {"transient": lambda lam, S, C, n: n * sp.sqrt(S) / C}

THEOREM = Theorem(
    id="T9",
    subject="end state",
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
    formulas=Formulas(
        pull=Formula(lambda pi, n, out: pi * (n - out), (pi, n, out), "d_c", "d_c"),
        growth=Formula(lambda D, lam: D - lam, (D, lam)),
        output=Formula(lambda pi, n, U, lam: n * pi * U / (lam + pi * U), (pi, n, U, lam), "f_c", "f_c"),
        shrinkage=Formula(lambda lam, q, C, n: C * lam / (sp.sqrt(q) * n), (lam, q, C, n), "c", "c"),
        critical=Formula(lambda q, C, n: n * sp.sqrt(q) / C, (q, C, n), "lambda_c", r"\lambda_c"),
        minimum=Formula(lambda c, n: n**2 * c * (1 - c / 2), (c, n), "min L", r"\min L"),
        strength=Formula(lambda S, a: S * (1 + a**2), (S, a)),
        erosion=Formula(lambda lam, S: lam * (1 - _rho(S)), (lam, S), "mu", r"\mu"),
        transient=Formula(lambda lam, S, C, n: n * sp.sqrt(S) / C - lam, (lam, S, C, n), "kappa", r"\kappa"),
        gap=Formula(
            lambda end, S, mu, kappa, sep: end * (S - 1) * _rho(S) * mu / (kappa - mu) * sep**2 / 2,
            (end, S, mu, kappa, sep),
            "f_inf - f",
            r"f_\infty - f",
        ),
        turn=Formula(lambda S, C, n: n * sp.sqrt(S) / C / (2 - _rho(S)), (S, C, n)),
    ),
    claims=(
        Claim(
            "training ends at the only state with ||d_Q|| <= lambda on each final pattern Q and equality on those that "
            "keep neurons, n = ||t||, {pull}, at load U_c {output}; a pattern with ||d_Q|| = D moves at {growth}",
            ("velocity", "at rest", "growth", "certificate"),
            "that the flow converges is shown on paper",
        ),
        Claim(
            "with a full final pattern (q = S), or disjoint ones of q, it ends at f = (1 - c) t, {shrinkage}, "
            "and at 0 above {critical}",
            ("growth", "certificate", "disjoint"),
            "that the flow converges is shown on paper",
        ),
        Claim(
            "no network lies below {minimum}, with {shrinkage} at q = S up to lambda_c, and f = (1 - c) t there",
            ("minimum", "rest point", "disjoint"),
            "K and S beyond those listed",
        ),
        Claim(
            "leaky slope a, K = 2: the same with {strength} for S (a = 1: linear)",
            ("leaky minimum",),
            "S beyond those listed; that flow reaches it is observed",
        ),
        Claim(
            "with full neurons and equal energies on S - 1, below lambda = {turn}: {gap}, with {erosion} and "
            "{transient}, which are half the rates of the gap below and above it",
            ("gap", "turn"),
            "S beyond those listed; higher orders of sep",
        ),
        Claim("outputs in random directions (K > 2) align with a target"),
    ),
    steps=(
        Step(
            "velocity",
            "from the loss of one neuron on q subclasses among others: the pulls drive it",
            _velocity,
            PULL,
            "q",
        ),
        Step(
            "at rest",
            "from the pulls: the output of a subclass that patterns of load U serve",
            _at_rest,
            PULL | {"output": lambda pi, n, U, lam: n * U / (lam + U)},
            "set of patterns",
        ),
        Step(
            "growth",
            "from the velocities at fixed pulls: how a pattern grows, and that it stands still where it lives",
            _growth,
            GROWTH,
            "q",
        ),
        Step(
            "certificate",
            "from the loss: it exceeds that of the rest state by squares, as ||d_Q|| <= lambda",
            _certificate,
            PULL | GROWTH,
            "set of patterns",
        ),
        Step(
            "disjoint",
            "from the pulls at rest: the shrinkage of disjoint patterns, and where it is 1",
            _disjoint,
            {**SHRINKAGE, **PULL, **GROWTH, "critical": lambda q, C, n: n * q / C},
            "q",
        ),
        Step(
            "minimum",
            "from the loss of any network: it exceeds the minimum by squares and products >= 0",
            _minimum,
            SHRINKAGE | MINIMUM,
            "(K, S)",
            ((2, 1), (2, 2), (2, 3), (3, 2)),
        ),
        Step(
            "rest point",
            "from the loss: the full neurons of the minimum do not move",
            _rest_point,
            SHRINKAGE,
            "(K, S)",
            ((2, 1), (2, 2), (3, 2)),
        ),
        Step(
            "leaky minimum",
            "from the loss of any leaky network: the same squares",
            _leaky_minimum,
            {**SHRINKAGE, **MINIMUM, "strength": lambda S, a: S * (1 + a)},
            "S",
            (1, 2),
        ),
        Step(
            "gap",
            "from the loss, linearised at rest in the energies of the full neurons and of those on S - 1",
            _gap,
            {
                **MU,
                **KAPPA,
                **SHRINKAGE,
                "gap": lambda end, S, mu, kappa, sep: end * mu / (kappa - mu) * sep**2 / 2,
            },
            "S",
            (2, 3),
        ),
        Step(
            "turn",
            "from the two rates: where they meet",
            _turn,
            {**MU, **KAPPA, "turn": lambda S, C, n: n * sp.sqrt(S) / C / 2},
            "S",
        ),
    ),
)

prove = THEOREM.prove
