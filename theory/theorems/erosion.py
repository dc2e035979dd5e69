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

Proved here from the loss: the rates for all S and q, the growth of every pattern at the sizes stated, the transient,
the limit, the linear case.
That the flow comes to rest: T9's convergence, on paper. Then near rest a dying neuron's aligned
part moves at ||d_Q|| - lambda and the rest of it faster, so separation's rate is that of its slowest part. For q = 0 an
upper bound alone: D = sum over living neurons of (w_jc - w_jc')^2 has dD/dt <= -2 lambda D, as what the outputs do is
to pull them level. Observed only: that random vector outputs (K > 2) come to the same.

Corrected: (1) the rate had been given as lambda (1 - rho_S) with one neuron on all S; each pair also needs neurons on
S - 1 that separate it. S = 3, lambda = .1443, full and single-subclass neurons alone: .0610, not .0265. (2) Above
lambda_c the rate had been given as (sqrt S - sqrt(S-1))/C, without ||t||; for centred one-hot targets
||t|| = sqrt(1 - 1/K), and the rate is ||t|| (sqrt S - sqrt(S-1))/C, continuous at lambda_c.

Sources: this project, T8 (in the setting of Yang, Steinhardt & Hu, ICML 2023). Training of the same networks without
weight decay: Boursier, Pillaud-Vivien & Flammarion (2022); neural collapse under their flow: Min, Zhu & Vidal (2025).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from finegrain.theory.pattern_rest import checked_patterns
from finegrain.theory.pattern_rest import rest as rest_of
from finegrain.theory.theorems.end_state import critical
from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, penalty, require_zero
from finegrain.theory.tools import checks

Array = NDArray[np.float64]

THEOREM = Theorem(
    id="T8",
    subject="erosion under weight decay",
    statement="relative separation of two subclasses decays at min(lambda, lambda_c) (1 - sqrt(q/S)), q the size of "
    "the largest pattern that separates them (S - 1 for m >> 2^S), against lambda without ReLU",
    assumptions=(
        "ReLU",
        "orthonormal means, no input noise, gates as T6 leaves them",
        "squared loss (T15 has others)",
        "a neuron active on all S subclasses",
        "for each pair, neurons on S - 1 that separate it (q = S - 1)",
        "equal probabilities within a coarse class (the rate; the limit holds without)",
        "times after the transient, 2 |lambda_c - lambda|",
    ),
    sizes="rates for all S and q; S = 2, 3, 4 with every subset of fine classes; "
    "unequal probabilities S = 2, 3; linear C = 4, 6",
    latex=(
        r"-\frac{d \ln \mathrm{sep}}{dt} = \min(\lambda, \lambda_c)\Bigl(1 - \sqrt{\tfrac{q}{S}}\Bigr), \quad "
        r"\lambda_c = \frac{\|t\| \sqrt S}{C}",
        r"\mathrm{sep}_\infty = \frac{|d_1 - d_2|}{\sqrt{d_1 d_2}}, \quad "
        r"d_c = \frac{\pi_c \|t\|}{1 + \pi_c P/\lambda}, \quad \sum_c d_c^2 = \lambda^2",
    ),
)


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
    return float(lead * (1 - np.sqrt((subclasses - 1) / subclasses)))


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
        slack = (lead[c] + lead[k]) / 2 - apart
        merge = abs(d[c] - d[k]) <= SAME * d[c] and abs(slack) > SAME * lead[c]
        rates[c, k] = rates[k, c] = slack if merge else min(slack, 0.0)
    return rates


def predict_linear_rate(weight_decay: float, classes: int) -> float:
    """The same for a linear network, K = 2 and targets +-1: min(lambda, 1/sqrt C)."""
    checks.at_least("weight_decay", weight_decay, 0)
    return float(min(weight_decay, 1 / np.sqrt(classes)))


def predict_transient(
    weight_decay: float, subclasses: int, classes: int, *, target_norm: float = 1.0
) -> float:
    """Rate at which the residual settles: 2 |lambda_c - lambda|."""
    return 2 * abs(critical(subclasses, classes, target_norm) - weight_decay)


def predict_limit(weight_decay: float, weights: ArrayLike, *, target_norm: float = 1.0) -> Array:
    """Relative separations (S, S) as t -> infinity, from the probabilities pi_c (S,) of a coarse class; lambda > 0."""
    d = rest_forces(weight_decay, weights, target_norm=target_norm)
    return np.abs(d[:, None] - d) / np.sqrt(d[:, None] * d)


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

    def excess(x: float) -> float:  # x = P/lambda
        return float(np.sum((free / (1 + pi * x)) ** 2)) - weight_decay**2

    # Each d_c <= ||t||/x, so the excess is negative from x = ||t|| sqrt(S)/lambda on.
    x = brentq(excess, 0, 2 * target_norm * np.sqrt(pi.size) / weight_decay, xtol=1e-14, rtol=1e-15)
    return free / (1 + pi * x)


def prove(rate: Callable[..., sp.Expr] | None = None) -> None:
    """Growth of every pattern at the rest point of the full one, from the loss; then the rates and the limit.

    rate: the claimed (lambda, S, q) -> decay rate below lambda_c; the theorem's own by default.
    """
    rate = rate or (lambda lam, S, q: lam * (1 - sp.sqrt(q / S)))
    for claim, difference in rate_differences(rate):
        require_zero(f"T8 {claim}", difference)
    for S in (2, 3, 4):
        _prove_rate(rate, S)
    for S in (2, 3):
        _prove_limit(S)
    for C in (4, 6):
        _prove_linear(C)


def rate_differences(rate: Callable[..., sp.Expr]) -> Iterator[tuple[str, sp.Expr]]:
    """S and q symbols: the residual at which full neurons rest, below lambda_c and above, gives the rates.

    A pattern of q subclasses grows at sqrt(q) r/C - lambda (T7, from the loss at every q).
    """
    S, q, C, lam, norm, r = sp.symbols("S q C lambda n r", positive=True)
    growth = {size: sp.sqrt(size) * r / C - lam for size in (S, q)}
    at_rest = {r: sp.solve(growth[S], r)[0]}
    yield "rate at every size", (growth[S] - growth[q]).subs(at_rest) - rate(lam, S, q)
    # Above lambda_c all weights vanish, and r = ||t||.
    critical_decay = sp.solve(growth[S].subs(r, norm), lam)[0]
    yield "rate above critical", (growth[S] - growth[q]).subs(r, norm) - rate(critical_decay, S, q)


def _one_class(S: int, pi: list[sp.Expr], norm: sp.Symbol, lam: sp.Symbol) -> tuple[sp.Expr, dict, dict]:
    """Loss of one coarse class along its target, one neuron for each subset Q of the S fine classes; its weights."""
    subsets = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
    w = {(Q, c): sp.Symbol(f"w_{'_'.join(map(str, Q))}_{c}") for Q in subsets for c in Q}
    a = {Q: sp.Symbol(f"a_{'_'.join(map(str, Q))}") for Q in subsets}
    f = [sum(a[Q] * w[Q, c] for Q in subsets if c in Q) for c in range(S)]
    loss = sum(pi[c] * (f[c] - norm) ** 2 for c in range(S)) / 2
    loss += sum(penalty(lam, sp.Matrix([a[Q], *(w[Q, c] for c in Q)])) for Q in subsets)
    return loss, w, a


def _prove_rate(rate: Callable[..., sp.Expr], S: int) -> None:
    """u -> 0 for all but the full neuron, which rests: growth of the patterns of size q is lambda (sqrt(q/S) - 1).

    sep^2 is to leading order u_{S-1}^2 over u_S^2: ln sep moves as ln u_{S-1} - ln u_S. Above lambda_c all u -> 0.
    """
    norm, lam, u, C = sp.symbols("n lambda u C")
    loss, w, a = _one_class(S, [1 / C] * S, norm, lam)
    full = tuple(range(S))
    for rest_energy in ((norm - lam * C / sp.sqrt(S)) / sp.sqrt(S), sp.Integer(0)):
        growth = {}
        for Q in a:
            small = sp.Symbol("v")
            state = {a[P]: 0 for P in a} | dict.fromkeys(w.values(), 0)
            state |= {a[full]: sp.sqrt(S) * u} | {w[full, c]: u for c in full}
            if full != Q:
                state |= {a[Q]: sp.sqrt(len(Q)) * small} | {w[Q, c]: small for c in Q}
            size = u if full == Q else small
            velocities = [(w[Q, c], size) for c in Q] + [(a[Q], sp.sqrt(len(Q)) * size)]
            rates = [sp.expand(-sp.diff(loss, x).subs(state) / value) for x, value in velocities]
            at_rest = [sp.expand(g).subs(small, 0).subs(u, sp.sqrt(rest_energy)) for g in rates]
            for g in at_rest[1:]:
                require_zero(f"T8 aligned growth at S = {S}, Q = {Q}", g - at_rest[0])
            growth[Q] = at_rest[0]
        part = full[:-1]
        claimed = rate(lam, sp.Integer(S), S - 1)
        if rest_energy == 0:  # the same at lambda = lambda_c: by continuity the rate above it
            claimed = rate(norm * sp.sqrt(S) / C, sp.Integer(S), S - 1)
        else:
            require_zero(f"T8 rest at S = {S}", growth[full])
        require_zero(f"T8 rate at S = {S}", growth[full] - growth[part] - claimed)
    transient = -2 * sp.diff(_growth_of_full(S, norm, lam, u, C), u) * u / 2
    at_rest = transient.subs(u, sp.sqrt((norm - lam * C / sp.sqrt(S)) / sp.sqrt(S)))
    require_zero(f"T8 transient at S = {S}", at_rest - 2 * (norm * sp.sqrt(S) / C - lam))


def _growth_of_full(S: int, norm: sp.Symbol, lam: sp.Symbol, u: sp.Symbol, C: sp.Symbol) -> sp.Expr:
    """d ln u/dt of the full neuron alone, from the loss; d(delta u)/dt = u (d growth/du) delta u around rest."""
    loss, w, a = _one_class(S, [1 / C] * S, norm, lam)
    full = tuple(range(S))
    state = dict.fromkeys((*a.values(), *w.values()), 0)
    state |= {a[full]: sp.sqrt(S) * u} | {w[full, c]: u for c in full}
    return sp.expand(-sp.diff(loss, w[full, 0]).subs(state) / u)


def _prove_limit(S: int) -> None:
    """Unequal pi_c: at w_c = d_c a/lambda the full neuron rests, if f_c = P d_c/lambda and sum d_c^2 = lambda^2."""
    norm, lam, a = sp.symbols("n lambda a")
    pi = list(sp.symbols(f"pi1:{S + 1}"))
    w = matrix("w", 1, S)
    loss = sum(pi[c] * (a * w[c] - norm) ** 2 for c in range(S)) / 2 + penalty(lam, w, sp.Matrix([a]))
    d = [pi[c] * norm / (1 + pi[c] * a**2 / lam) for c in range(S)]
    rest = {w[c]: d[c] * a / lam for c in range(S)}
    for entry in gradient(loss, w).subs(rest):
        require_zero(f"T8 unequal rest of w at S = {S}", sp.together(entry))
    output = -sp.diff(loss, a).subs(rest)
    require_zero(
        f"T8 unequal rest of a at S = {S}", sp.together(output - a / lam * (sum(x**2 for x in d) - lam**2))
    )


def _prove_linear(C: int) -> None:
    """Linear, K = 2: W = r v^T, A = b r^T with v_c = t_c/sqrt C rests at s b^2 = sigma - lambda, s = 1/C,
    sigma = 1/sqrt C; any w orthogonal to v off r decays at lambda."""
    lam, b, x = sp.symbols("lambda b x")
    t = [-1] * (C // 2) + [1] * (C // 2)
    W, A = matrix("w", 2, C), matrix("a", 1, 2)
    loss = sum(((A * W[:, c])[0] - t[c]) ** 2 for c in range(C)) / (2 * C) + penalty(lam, W, A)
    v = [sp.Integer(t[c]) / sp.sqrt(C) for c in range(C)]
    off = {0: x, 1: -x}  # a difference of two subclasses, in the neuron with a = 0
    state = {A[0, 0]: b, A[0, 1]: 0}
    state |= {W[0, c]: b * v[c] for c in range(C)} | {W[1, c]: off.get(c, 0) for c in range(C)}
    rest = sp.sqrt(C * (1 / sp.sqrt(sp.Integer(C)) - lam))
    velocity = -gradient(loss, W).subs(state)
    for c in range(C):
        require_zero(f"T8 linear rest at C = {C}", velocity[0, c].subs(b, rest))
        require_zero(f"T8 linear rate at C = {C}", velocity[1, c] + lam * off.get(c, 0))
