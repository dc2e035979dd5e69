"""T15 Loss-universal erosion: weight decay erodes fine structure at lambda (1 - sqrt((S-1)/S)), whatever the loss.

Setting of T7: orthonormal noise-free means, C fine classes of probability 1/C, S a coarse class, ReLU, weight decay
lambda on both layers. The loss is a function of the outputs and the coarse label alone. Let v be the unit vector along
which it pulls the outputs of a coarse class: the sign of the label (squared, logistic), or
v_k = (e_k - 1/K)/sqrt((K-1)/K) (cross-entropy). At outputs F v the residual, minus the loss's gradient, is r(F) v:

    squared   r = ||t|| - F        logistic   r = 1/(1 + e^F)        cross-entropy   r = (1 - p) sqrt(K/(K-1)),

p = 1/(1 + (K-1) exp(-F sqrt(K/(K-1)))) the label's probability. A neuron active on q subclasses, w_c = u,
A_j = sqrt(q) u v, grows at d ln u/dt = r sqrt(q)/C - lambda, so that T7's formula for sep in G = exp(int r dt/C) holds
for every such loss.
The margin is F = sum_q binom(S-1, q-1) sqrt(q) e_q G^(2 sqrt q) e^{-2 lambda t}. Hence, exactly,

    sep is a function of F e^{2 lambda t} and of the start, the same function for every loss.

If r falls with F, neurons active on all S come to rest where r = C lambda/sqrt S, below lambda_c = r(0) sqrt(S)/C:

    logistic       F = ln(sqrt S/(C lambda) - 1), lambda_c = sqrt S/(2C)
    cross-entropy  p = 1 - (C lambda/sqrt S) sqrt((K-1)/K), lambda_c = sqrt(S (K-1)/K)/C,

and the separation of two subclasses decays at min(lambda, lambda_c) (1 - sqrt(q/S)), q the size of the largest pattern
(set of subclasses that a neuron serves) that holds exactly one of them: S - 1, hence 1 - rho_S, for every pair once
m >> 2^S. The margin settles at 2 F |r'(F)| sqrt(S)/C below lambda_c, and at
2 (lambda - lambda_c) above. At lambda = 0, with that q = S - 1, sep ~ eps^(1 - rho_S) F^(-(1 - rho_S)/2) where G is
large: with the logistic loss F ~ ln t, so sep falls as a power of ln t only.

Unequal probabilities pi_c in the coarse class: as in T8 sep has a limit, |d_1 - d_2|/sqrt(d_1 d_2) with
sum d_c^2 = lambda^2; for any loss d_c = pi_c r(P d_c/lambda), P = sum_j a_j^2.

Corrected: the master law had been stated for losses whose residual falls with the margin. It needs no such thing (a
constant residual obeys it); the rate lambda (1 - rho_S) does: with a constant residual r the rate is
(sqrt S - sqrt(S-1)) r/C for every lambda. Nor does the law in eps and F need the logistic loss, and with lambda > 0 it
holds with F e^{2 lambda t} in place of F. And a neuron on all S is not enough: the rate is
lambda (1 - sqrt(q/S)) with q < S the size of the largest pattern that separates the pair, lambda without one. The
softmax end had been compared with itself; it is now solved from the residual.
tests/theory/theorems/test_loss_universality.py keeps the cases.

Proved here from the loss: the growth for any loss (every q for one output, else at the sizes stated) and the residuals;
rest, margin, rate and the law in eps and F for all S and q. On paper: with a residual that falls, F of the full neurons
alone settles (a scalar flow). Observed only: that the flow from a random start comes to that rest (T9's argument needs
a loss that is a polynomial or, for these, analytic: Lojasiewicz serves for both, but T6's gates for vector outputs are
observed).

Source: this project, T15 (in the setting of Yang, Steinhardt & Hu, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import combinations

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from finegrain.theory.pattern_rest import checked_patterns
from finegrain.theory.theorems import specialisation
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem, Unknown
from finegrain.theory.theorems.symbolic import descent, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

LOSSES = ("cross-entropy", "logistic", "squared")


def residual(loss: str, margin: float, coarse: int = 2) -> float:
    """r(F) at margin F, for K = `coarse` classes (cross-entropy) and targets of norm 1 (squared)."""
    checks.one_of("loss", loss, LOSSES)
    f = THEOREM.formulas
    # exp overflows beyond 709, where the residual is 0 to every digit.
    margin = min(margin, 350.0)
    if loss == "squared":
        return float(f.squared.number(margin))
    if loss == "logistic":
        return float(f.logistic.number(margin))
    checks.at_least("coarse", coarse, 2)
    return float(f.softmax.number(margin, coarse))


def predict_residual(subclasses: int, classes: float, weight_decay: float) -> float:
    """r at rest below the critical weight decay, for every loss: C lambda/sqrt S. C may be 1/pi_c."""
    return float(THEOREM.formulas.rest.number(subclasses, classes, _checked(weight_decay)))


def predict_critical(loss: str, subclasses: int, classes: float, coarse: int = 2) -> float:
    """lambda_c = r(0) sqrt(S)/C: from there on the network dies."""
    return float(THEOREM.formulas.critical.number(residual(loss, 0.0, coarse), subclasses, classes))


def predict_end(loss: str, subclasses: int, classes: float, weight_decay: float, coarse: int = 2) -> float:
    """The margin F at rest: the outputs are F v. Zero from the critical weight decay on; needs lambda > 0."""
    r = predict_residual(subclasses, classes, weight_decay)
    if r >= residual(loss, 0.0, coarse):
        return 0.0
    if loss == "squared":
        return 1 - r
    if weight_decay == 0:
        raise ValueError(f"weight_decay must be > 0 for an end state of the {loss} loss, got 0")
    if loss == "logistic":
        return float(THEOREM.formulas.logistic_end.number(subclasses, classes, weight_decay))
    p = predict_probability(subclasses, classes, weight_decay, coarse)
    return float(THEOREM.formulas.softmax_end.number(p, coarse))


def predict_probability(subclasses: int, classes: float, weight_decay: float, coarse: int) -> float:
    """Cross-entropy at rest: the probability p given to the label, 1/K from the critical weight decay on."""
    checks.at_least("coarse", coarse, 2)
    found = THEOREM.formulas.probability.number(subclasses, classes, _checked(weight_decay), coarse)
    return max(float(found), 1 / coarse)


def predict_rate(
    loss: str,
    subclasses: int,
    classes: int,
    weight_decay: float,
    coarse: int = 2,
    *,
    patterns: Iterable[Collection[int]] | None = None,
) -> float:
    """Late decay rate of the relative separation: min(lambda, lambda_c) (1 - rho_S).

    patterns: those that neurons have, with a full one, sets of numbers 0..S-1; then of the slowest pair.
    """
    critical = predict_critical(loss, subclasses, classes, coarse)
    every = None if patterns is None else checked_patterns(patterns, subclasses)
    if every is not None and frozenset(range(subclasses)) not in every:
        raise ValueError(f"patterns must have one that holds all {subclasses} subclasses, got {every}")
    lead = min(_checked(weight_decay), critical)
    if every is None:
        checks.at_least("subclasses", subclasses, 2)
        return float(THEOREM.formulas.rate.number(lead, subclasses - 1, subclasses))
    pairs = combinations(range(subclasses), 2)
    served = max(specialisation.largest_separating(every, c, k) for c, k in pairs)
    return float(THEOREM.formulas.rate.number(lead, served, subclasses))


def predict_transient(
    loss: str, subclasses: int, classes: float, weight_decay: float, coarse: int = 2
) -> float:
    """Rate at which the margin of neurons active on all S settles; 0 at the critical weight decay."""
    excess = weight_decay - predict_critical(loss, subclasses, classes, coarse)
    if excess >= 0:
        return float(THEOREM.formulas.dying.number(excess))
    f = THEOREM.formulas
    F = predict_end(loss, subclasses, classes, weight_decay, coarse)
    r = residual(loss, F, coarse)
    fall = {
        "squared": 1.0,
        "logistic": f.logistic_fall.number(r),
        "cross-entropy": f.softmax_fall.number(r, coarse),
    }
    return float(f.transient.number(F, fall[loss], subclasses, classes))


def predict_separation(
    energies: ArrayLike, margin: float, weight_decay: float = 0.0, t: float = 0.0
) -> float:
    """sep when the margin is F at time t, for every loss, from the energies e_1..e_S (S,) at time 0 (T7)."""
    e = checks.real("energies", energies, ("S",))
    if not margin > 0:
        raise ValueError(f"margin must be > 0, got {margin}")
    # T7's end state is the margin 1 without decay; sep does not change with the scale of the energies.
    return specialisation.predict_end(e / margin * THEOREM.formulas.decay.number(weight_decay, t), 1.0)


def predict_exponents(subclasses: int) -> tuple[float, float]:
    """At lambda = 0 and small eps, with neurons on every set: the powers of eps and of F in sep."""
    checks.at_least("subclasses", subclasses, 2)
    f, q = THEOREM.formulas, subclasses - 1
    return float(f.exponent.number(q, subclasses)), float(f.margin_exponent.number(q, subclasses))


def predict_unequal(loss: str, weights: ArrayLike, weight_decay: float, coarse: int = 2) -> Array:
    """Outputs' pulls d_c (S,) at rest for unequal probabilities (S,) below the critical weight decay.

    The limit of the separation of subclasses c and c' is |d_c - d_c'|/sqrt(d_c d_c').
    """
    pi = checks.real("weights", weights, ("S",))
    critical = residual(loss, 0.0, coarse) * float(np.linalg.norm(pi))
    if not 0 < weight_decay < critical:
        raise ValueError(f"weight_decay must lie in (0, {critical}), the critical value, got {weight_decay}")

    def pulls(log_power: float) -> Array:
        def excess(d: float, p: float) -> float:
            margin = THEOREM.formulas.unequal_margin.number(np.exp(log_power), d, weight_decay)
            return d - p * residual(loss, float(margin), coarse)

        return np.array([brentq(excess, 0, p * residual(loss, 0.0, coarse), (p,), xtol=1e-15) for p in pi])

    log_power = brentq(lambda x: float(np.sum(pulls(x) ** 2)) - weight_decay**2, -60, 60, xtol=1e-13)
    return pulls(float(log_power))


def _checked(weight_decay: float) -> float:
    checks.at_least("weight_decay", weight_decay, 0)
    return weight_decay


class UnknownLoss(Unknown):
    """A differentiable loss of the outputs: all that is known are the names of its derivatives, -R_k."""

    def fdiff(self, argindex: int) -> sp.Expr:
        """Minus the residual, as a function of the same outputs."""
        return -sp.Function(f"R{argindex}")(*self.args)


def _growth(f: Formulas) -> Iterator[sp.Expr]:
    """Any loss of one output, one neuron on q subclasses, q a symbol, among others that give g_c; as in T7."""
    q, c, k = sp.symbols("q c k", integer=True, positive=True)
    a, u, r, lam, C = sp.symbols("a u r lambda C", positive=True)
    w, g = sp.IndexedBase("w"), sp.IndexedBase("g")
    each = UnknownLoss(g[c] + a * w[c]) / C + lam * w[c] ** 2 / 2
    loss = sp.Sum(each, (c, 1, q)) + lam * a**2 / 2

    def aligned(velocity: sp.Expr) -> sp.Expr:
        at_residual = velocity.replace(lambda e: e.func.__name__ == "R1", lambda e: r)
        return (
            at_residual.replace(lambda e: isinstance(e, sp.Indexed), lambda e: u)
            .subs(a, sp.sqrt(q) * u)
            .doit()
        )

    output, weight = -sp.diff(loss, a), -sp.diff(loss, w[k]).doit().subs(k, 1)
    yield aligned(output) - f.growth(q, r, C, lam) * sp.sqrt(q) * u
    yield aligned(weight) - f.growth(q, r, C, lam) * u
    yield f.growth(q, f.rest(q, C, lam), C, lam)


def _growth_of_all(f: Formulas, S: int, outputs: int) -> Iterator[sp.Expr]:
    """One coarse class, n_Q neurons for every subset Q; the gradient at the aligned state, and where it is zero."""
    C, lam, r = sp.symbols("C lambda r")
    subsets = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
    u, n = sp.symbols(f"u1:{S + 1}"), sp.symbols(f"n1:{S + 1}")
    v = _unit_vector(outputs)
    w = {(Q, c): sp.Symbol(f"w_{Q}_{c}") for Q in subsets for c in Q}
    a = {(Q, k): sp.Symbol(f"a_{Q}_{k}") for Q in subsets for k in range(outputs)}
    loss = sp.S.Zero
    for c in range(S):
        out = [sum(n[len(Q) - 1] * a[Q, k] * w[Q, c] for Q in subsets if c in Q) for k in range(outputs)]
        loss += UnknownLoss(*out) / C
    for Q in subsets:
        weights = sp.Matrix([*(w[Q, c] for c in Q), *(a[Q, k] for k in range(outputs))])
        loss += n[len(Q) - 1] * penalty(lam, weights)
    aligned = {w[Q, c]: u[len(Q) - 1] for Q, c in w}
    aligned |= {a[Q, k]: sp.sqrt(len(Q)) * u[len(Q) - 1] * v[k] for Q, k in a}
    margin = sum(n[len(Q) - 1] * sp.sqrt(len(Q)) * u[len(Q) - 1] ** 2 for Q in subsets if 0 in Q)
    along = {f"R{k + 1}": r * v[k] for k in range(outputs)}
    owner = {variable: Q for table in (w, a) for (Q, _), variable in table.items()}
    for variable, speed in descent(loss, sp.Matrix(list(aligned))).items():
        Q = owner[variable]
        velocity = speed.xreplace(aligned) / n[len(Q) - 1]
        # Every residual is taken at outputs F v, the same for every subclass.
        for taken in velocity.atoms(sp.core.function.AppliedUndef):
            yield from (found - margin * entry for found, entry in zip(taken.args, v, strict=True))
        velocity = velocity.replace(lambda e: e.func.__name__ in along, lambda e: along[e.func.__name__])
        yield velocity - f.growth(len(Q), r, C, lam) * aligned[variable]
        if len(Q) == S:
            yield velocity.subs(r, f.rest(S, C, lam))


def _norm(K: sp.Expr | int) -> sp.Expr:
    """||e_k - 1/K||."""
    return sp.sqrt((sp.sympify(K) - 1) / K)


def _unit_vector(outputs: int) -> list[sp.Expr]:
    """(1) for one output, else v_1 = (e_1 - 1/K)/sqrt((K-1)/K)."""
    if outputs == 1:
        return [sp.Integer(1)]
    K = sp.Integer(outputs)
    return [((1 if k == 0 else 0) - 1 / K) / _norm(K) for k in range(outputs)]


def _scalar(f: Formulas) -> Iterator[sp.Expr]:
    """The residuals of (F - 1)^2/2 and ln(1 + e^-F), and the logistic one's margin at rest and fall."""
    F, S, C, lam = sp.symbols("F S C lambda", positive=True)
    yield -sp.diff((F - 1) ** 2 / 2, F) - f.squared(F)
    r = -sp.diff(sp.log(1 + sp.exp(-F)), F)
    yield r - f.logistic(F)
    yield r.subs(F, f.logistic_end(S, C, lam)) - f.rest(S, C, lam)
    yield -sp.diff(r, F) - f.logistic_fall(r)


def _softmax(f: Formulas, K: int) -> Iterator[sp.Expr]:
    """The residual of ln sum_l exp(f_l) - f_1 at f = F v_1, entry by entry, and where it is what rest asks."""
    # x = e^(-F/norm): all outputs but the first are lower by F/norm.
    S, C, lam, x = sp.symbols("S C lambda x", positive=True)
    outputs, v, norm = sp.symbols(f"f1:{K + 1}"), _unit_vector(K), _norm(K)
    loss = sp.log(sum(sp.exp(out) for out in outputs)) - outputs[0]
    F = -norm * sp.log(x)
    r = f.softmax(F, K)
    # Softmax does not change when all outputs move together: f_1 = 0.
    at = {out: F * (v[i] - v[0]) for i, out in enumerate(outputs)}
    for k in range(K):
        yield sp.simplify((-sp.diff(loss, outputs[k])).subs(at)) - r * v[k]
    p = sp.simplify((sp.exp(outputs[0]) / sum(sp.exp(out) for out in outputs)).subs(at))
    (end,) = sp.solve(sp.simplify(r) - f.rest(S, C, lam), x)
    yield p.subs(x, end) - f.probability(S, C, lam, K)
    yield sp.exp(f.softmax_end(p, K) / norm) - 1 / x
    yield sp.diff(r, x) * x / norm - f.softmax_fall(r, K)


def _rate(f: Formulas) -> Iterator[sp.Expr]:
    """sep falls as the amplitude on q over that on S, at the residual of rest, or at r(0) where all weights die."""
    S, q, C, lam, r0 = sp.symbols("S q C lambda r_0", positive=True)

    def erosion(r: sp.Expr) -> sp.Expr:
        return f.growth(S, r, C, lam) - f.growth(q, r, C, lam)

    top = f.critical(r0, S, C)
    yield f.rest(S, C, top) - r0
    yield erosion(f.rest(S, C, lam)) - f.rate(lam, q, S)
    yield erosion(r0) - f.rate(top, q, S)


def _settling(f: Formulas) -> Iterator[sp.Expr]:
    """Full neurons alone, F = sqrt S u^2, so dF/dt = 2 F growth: its slope at rest, and at F = 0."""
    S, C, lam, F, fall, r0, excess = sp.symbols("S C lambda F fall r_0 excess", positive=True)
    r = sp.Function("r")
    flow = 2 * F * f.growth(S, r(F), C, lam)
    # The derivative is named first: a constant put for r(F) would have none.
    slope = sp.diff(flow, F).subs(sp.diff(r(F), F), -fall).subs(r(F), f.rest(S, C, lam))
    yield -slope - f.transient(F, fall, S, C)
    dying = -2 * f.growth(S, r0, C, f.critical(r0, S, C) + excess)
    yield dying - f.dying(excess)


def _grown(f: Formulas, q: sp.Expr | int, G: sp.Symbol, lam: sp.Symbol, t: sp.Symbol) -> sp.Expr:
    """u(t)/u(0), ln G = int r dt/C: growth is affine in r, so that its mean is the growth at the mean."""
    C = sp.Symbol("C", positive=True)
    return sp.exp(sp.expand(t * f.growth(q, C * sp.log(G) / t, C, lam)))


def _margin(f: Formulas, S: int) -> sp.Expr:
    """The output at time t, counted pattern by pattern, is T7's of the same G, times what weight decay took."""
    G, lam, t = sp.symbols("G lambda t", positive=True)
    e = sp.symbols(f"e1:{S + 1}", positive=True)
    sizes = [q for q in range(1, S + 1) for Q in combinations(range(S), q) if 0 in Q]
    margin = sum(sp.sqrt(q) * e[q - 1] * _grown(f, q, G, lam, t) ** 2 for q in sizes)
    start = {sp.IndexedBase("e")[q]: e[q - 1] for q in range(1, S + 1)}
    output = specialisation.THEOREM.formulas.output(S, G).doit().subs(start)
    return sp.powsimp(sp.expand(margin)) - f.decay(lam, t) * output


def _law(f: Formulas) -> Iterator[sp.Expr]:
    """Where the full neurons hold the norm and those on q the difference: sep ~ eps^0 u_q/u_S, F = sqrt S u_S^2."""
    S, q, eps, F, x = sp.symbols("S q epsilon F x", positive=True)
    r, C = sp.symbols("r C", positive=True)
    # x = ln G at lambda = 0.
    fast, slow = (sp.diff(f.growth(size, r, C, 0), r) * C * x for size in (S, q))
    (reached,) = sp.solve(sp.log(S) / 2 + 2 * sp.log(eps) + 2 * fast - sp.log(F), x)
    log_sep = (slow - fast).subs(x, reached)
    yield eps * sp.diff(log_sep, eps) - f.exponent(q, S)
    yield F * sp.diff(log_sep, F) - f.margin_exponent(q, S)


def _unequal(f: Formulas, _: int) -> Iterator[sp.Expr]:
    """One neuron on two subclasses: at rest lambda w_c = a d_c and lambda a = sum w_c d_c, so sum d_c^2 = lambda^2."""
    lam, a = sp.symbols("lambda a", positive=True)
    w, pi, d = sp.symbols("w1:3"), sp.symbols("pi1:3"), sp.symbols("d1:3")
    loss = sum(pi[c] * UnknownLoss(a * w[c]) for c in range(2)) + penalty(lam, sp.Matrix([a, *w]))
    pulls = {sp.Function("R1")(a * w[c]): d[c] / pi[c] for c in range(2)}
    speed = {x: v.xreplace(pulls) for x, v in descent(loss, sp.Matrix([a, *w])).items()}
    rest = {w[c]: sp.solve(speed[w[c]], w[c])[0] for c in range(2)}
    yield from (a * rest[w[c]] - f.unequal_margin(a**2, d[c], lam) for c in range(2))
    yield speed[a].xreplace(rest) - a / lam * (d[0] ** 2 + d[1] ** 2 - lam**2)


F, S, q, C, K, lam, r, r0, p, P, d, t, fall, excess = sp.symbols(
    "F S q C K lambda r r_0 p P d_c t fall excess", positive=True
)
# What is false, differing already at the smallest sizes.
LINEAR = {"growth": lambda q, r, C, lam: r * q / C - lam}
REST = {"rest": lambda S, C, lam: C * lam / S}
SLOPE = r"\frac{\partial \ln \mathrm{sep}}{\partial \ln "

THEOREM = Theorem(
    id="T15",
    subject="loss-universal erosion",
    assumptions=(
        "ReLU",
        "orthogonal means, no input noise (T6)",
        "some neuron active on all S subclasses, and some on S-1",
        "equal probabilities within the coarse class",
        "the residual falls with the margin, to below C lambda/sqrt S (the rate; not the law in F)",
        "lambda = 0 (sep as a power of eps and F; else F e^{2 lambda t} for F)",
    ),
    formulas=Formulas(
        growth=specialisation.THEOREM.formulas.growth,
        squared=Formula(lambda F: 1 - F, (F,), "r", "r"),
        logistic=Formula(lambda F: 1 / (1 + sp.exp(F)), (F,), "r", "r"),
        softmax=Formula(lambda F, K: (K - 1) / ((K - 1 + sp.exp(F / _norm(K))) * _norm(K)), (F, K), "r", "r"),
        rest=Formula(lambda S, C, lam: C * lam / sp.sqrt(S), (S, C, lam), "r", r"r(F_\infty)"),
        critical=Formula(lambda r0, S, C: r0 * sp.sqrt(S) / C, (r0, S, C), "lambda_c", r"\lambda_c"),
        logistic_end=Formula(
            lambda S, C, lam: sp.log(sp.sqrt(S) / (C * lam) - 1), (S, C, lam), "F", r"F_\infty"
        ),
        probability=Formula(
            lambda S, C, lam, K: 1 - C * lam / sp.sqrt(S) * _norm(K), (S, C, lam, K), "p", r"p_\infty"
        ),
        softmax_end=Formula(lambda p, K: _norm(K) * sp.log((K - 1) * p / (1 - p)), (p, K), "F", r"F_\infty"),
        rate=Formula(
            lambda lam, q, S: lam * (1 - sp.sqrt(sp.sympify(q) / S)),
            (lam, q, S),
            "-d ln sep/dt",
            r"-\frac{d \ln \mathrm{sep}}{dt}",
        ),
        transient=Formula(lambda F, fall, S, C: 2 * F * fall * sp.sqrt(S) / C, (F, fall, S, C)),
        logistic_fall=Formula(lambda r: r * (1 - r), (r,), "-r'", "-r'"),
        softmax_fall=Formula(lambda r, K: r * (1 / _norm(K) - r), (r, K), "-r'", "-r'"),
        dying=Formula(lambda excess: 2 * excess, (excess,)),
        decay=Formula(lambda lam, t: sp.exp(-2 * lam * t), (lam, t)),
        exponent=Formula(
            lambda q, S: 1 - sp.sqrt(sp.sympify(q) / S),
            (q, S),
            "d ln sep/d ln eps",
            SLOPE + r"\varepsilon}",
        ),
        margin_exponent=Formula(
            lambda q, S: (sp.sqrt(sp.sympify(q) / S) - 1) / 2, (q, S), "d ln sep/d ln F", SLOPE + "F}"
        ),
        unequal_margin=Formula(lambda P, d, lam: P * d / lam, (P, d, lam), "F_c", "F_c"),
    ),
    claims=(
        Claim(
            "for any loss of outputs and coarse label: {growth}, r the residual", ("growth", "growth of all")
        ),
        Claim(
            "at outputs F v the residual is {squared} (squared, ||t|| = 1), {logistic} (logistic), {softmax} "
            "(cross-entropy)",
            ("one output", "softmax"),
            "cross-entropy beyond the K listed",
        ),
        Claim(
            "full neurons rest where {rest}, below {critical}, r_0 = r(0); logistic: {logistic_end}; cross-entropy: "
            "{probability}, {softmax_end}",
            ("growth", "growth of all", "rate", "one output", "softmax"),
            "that the flow comes to rest is shown on paper for full neurons alone, from a random start it is observed",
        ),
        Claim(
            "if r falls with F sep decays as {rate}, q the size of the largest pattern that separates the pair (S - 1 "
            "for m >> 2^S), above the critical value with lambda_c for lambda",
            ("rate",),
            "that the flow comes to rest, as before",
        ),
        Claim(
            "the margin of full neurons settles at {transient}, with {logistic_fall} (logistic), {softmax_fall} "
            "(cross-entropy); above the critical value at {dying}, excess = lambda - lambda_c",
            ("settling", "one output", "softmax"),
        ),
        Claim(
            "sep is one function of the start and of F over {decay}, for every loss (the margin is T7's output times "
            "that)",
            ("growth", "growth of all", "margin"),
            "for S > 3 it is a count of subsets",
        ),
        Claim(
            "lambda = 0 and large G: {exponent} and {margin_exponent}",
            ("growth", "law"),
            "that a random small start aligns is observed",
        ),
        Claim(
            "unequal probabilities: a limit as in T8, d_c = pi_c r(F_c), {unequal_margin}, P = sum of a_j^2, sum of "
            "d_c^2 = lambda^2",
            ("unequal",),
            "more than two subclasses; that the flow comes to rest",
        ),
    ),
    steps=(
        Step(
            "growth",
            "from any loss of one output, one neuron on q subclasses among others: growth, and where it is 0",
            _growth,
            LINEAR | REST,
            "q",
        ),
        Step(
            "growth of all",
            "a second time, from any loss of all outputs, entry by entry, with all 2^S - 1 patterns",
            _growth_of_all,
            LINEAR | REST,
            "(S, outputs)",
            ((2, 1), (2, 2), (2, 3)),
        ),
        Step(
            "one output",
            "from the squared and the logistic loss: residual, its fall, the margin at rest",
            _scalar,
            {
                **REST,
                "squared": lambda F: 2 - F,
                "logistic": lambda F: 1 / (1 + sp.exp(2 * F)),
                "logistic_end": lambda S, C, lam: sp.log(sp.sqrt(S) / (C * lam)),
                "logistic_fall": lambda r: r,
            },
            "margin",
        ),
        Step(
            "softmax",
            "from the cross-entropy, entry by entry: residual, its fall, probability and margin at rest",
            _softmax,
            {
                **REST,
                "softmax": lambda F, K: (K - 1) / ((K - 1 + sp.exp(F)) * _norm(K)),
                "probability": lambda S, C, lam, K: 1 - C * lam / sp.sqrt(S),
                "softmax_end": lambda p, K: _norm(K) * sp.log(p / (1 - p) / (K - 1)) + 1,
                "softmax_fall": lambda r, K: r * (1 - r),
            },
            "K",
            (2, 3),
        ),
        Step(
            "rate",
            "from the growth at the residual of rest, and at r(0) above the critical value",
            _rate,
            {
                **LINEAR,
                **REST,
                "critical": lambda r0, S, C: r0 / C,
                "rate": lambda lam, q, S: lam * (1 - sp.sympify(q) / S),
            },
            "S and q",
        ),
        Step(
            "settling",
            "from the growth: the flow of F linearised where it ends",
            _settling,
            {
                **REST,
                "transient": lambda F, fall, S, C: F * fall * sp.sqrt(S) / C,
                "dying": lambda excess: excess,
                "critical": lambda r0, S, C: r0 / C,
            },
            "S",
        ),
        Step(
            "margin",
            "from the growth: the output counted pattern by pattern, against T7's",
            _margin,
            {"decay": lambda lam, t: sp.exp(-lam * t), **LINEAR},
            "S",
            (2, 3),
        ),
        Step(
            "law",
            "from the growth: G from the margin, sep from G",
            _law,
            {
                **LINEAR,
                "exponent": lambda q, S: 1 - sp.sympify(q) / S,
                "margin_exponent": lambda q, S: (sp.sympify(q) / S - 1) / 2,
            },
            "S and q",
        ),
        Step(
            "unequal",
            "from any loss of one output: where one neuron on two subclasses stands still",
            _unequal,
            {"unequal_margin": lambda P, d, lam: P * d},
            "S",
            (2,),
        ),
    ),
)

prove = THEOREM.prove
