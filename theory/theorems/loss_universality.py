"""T15 Loss-universal erosion: weight decay erodes fine structure at lambda (1 - sqrt((S-1)/S)), whatever the loss.

Setting of T7: orthonormal noise-free means, C fine classes of probability 1/C, S a coarse class, ReLU, weight decay
lambda on both layers. The loss is a function of the outputs and the coarse label alone. Let v be the unit vector along
which it pulls the outputs of a coarse class: the sign of the label (squared, logistic), or
v_k = (e_k - 1/K)/sqrt((K-1)/K) (softmax). At outputs F v the residual, minus the loss's gradient, is r(F) v:

    squared   r = ||t|| - F        logistic   r = 1/(1 + e^F)        softmax   r = (1 - p) sqrt(K/(K-1)),

p = 1/(1 + (K-1) exp(-F sqrt(K/(K-1)))) the label's probability. A neuron active on q subclasses, w_c = u,
A_j = sqrt(q) u v, grows at d ln u/dt = r sqrt(q)/C - lambda, so that T7's formula for sep in G = exp(int r dt/C) holds
for every such loss.
The margin is F = sum_q binom(S-1, q-1) sqrt(q) e_q G^(2 sqrt q) e^{-2 lambda t}. Hence, exactly,

    sep is a function of F e^{2 lambda t} and of the start, the same function for every loss.

If r falls with F, neurons active on all S come to rest where r = C lambda/sqrt S, below lambda_c = r(0) sqrt(S)/C:

    logistic  F = ln(sqrt S/(C lambda) - 1), lambda_c = sqrt S/(2C)
    softmax   p = 1 - (C lambda/sqrt S) sqrt((K-1)/K), lambda_c = sqrt(S (K-1)/K)/C,

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

Proved here from the loss: the growth for any loss and the residuals, at the sizes stated; rest, margin, rate and the
law in eps and F for all S. On paper: with a residual that falls, F of the full neurons alone settles (a scalar flow).
Observed only: that the flow from a random start comes to that rest (T9's argument needs a loss that is a polynomial or,
for these, analytic: Lojasiewicz serves for both, but T6's gates for vector outputs are observed).

Source: this project, T15 (in the setting of Yang, Steinhardt & Hu, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import combinations

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit

from finegrain.theory.pattern_rest import checked_patterns
from finegrain.theory.theorems import specialisation
from finegrain.theory.theorems.symbolic import Theorem, penalty, require_zero
from finegrain.theory.tools import checks

Array = NDArray[np.float64]

THEOREM = Theorem(
    id="T15",
    subject="loss-universal erosion",
    statement="for every loss whose residual falls with the margin sep decays at min(lambda, lambda_c) (1 - sqrt(q/S)) "
    "with q the size of the largest pattern that separates the pair (S - 1 for m >> 2^S)",
    assumptions=(
        "ReLU",
        "orthogonal means, no input noise (T6)",
        "some neuron active on all S subclasses, and some on S-1",
        "equal probabilities within the coarse class",
        "the residual falls with the margin, to below C lambda/sqrt S (the rate; not the law in F)",
        "lambda = 0 (sep as a power of eps and F; else F e^{2 lambda t} for F)",
    ),
    sizes="any loss at (S, K) = (2,1), (3,1), (2,2), (2,3) with every subset of fine classes; softmax K = 2, 3, 4, 5; "
    "rates for all S",
    latex=(
        r"\frac{d \ln u}{dt} = \frac{\sqrt q}{C}\, r(F) - \lambda, \quad |r(F_\infty)| = \frac{C \lambda}{\sqrt S}",
        r"F_\infty = \ln\Bigl(\frac{\sqrt S}{C \lambda} - 1\Bigr), \quad \lambda_c = \frac{\sqrt S}{2C}"
        r" \quad \text{(logistic)}",
        r"p_\infty = 1 - \frac{C \lambda}{\sqrt S} \sqrt{\frac{K-1}{K}} \quad \text{(softmax)}",
        r"-\frac{d \ln \mathrm{sep}}{dt} = \min(\lambda, \lambda_c)\,\bigl(1 - \sqrt{q/S}\bigr)",
        r"\lambda = 0: \quad \mathrm{sep} \sim \varepsilon^{1 - \rho_S} F^{-(1 - \rho_S)/2}",
    ),
)

LOSSES = ("logistic", "softmax", "squared")
SIZES = ((2, 1), (3, 1), (2, 2), (2, 3))  # (S, outputs)


def residual(loss: str, margin: float, coarse: int = 2) -> float:
    """r(F) at margin F, for K = `coarse` classes (softmax) and targets of norm 1 (squared)."""
    checks.one_of("loss", loss, LOSSES)
    if loss == "squared":
        return 1 - margin
    if loss == "logistic":
        return float(expit(-margin))
    norm = _norm(coarse)
    return float(expit(np.log(coarse - 1) - margin / norm) / norm)


def predict_residual(subclasses: int, classes: float, weight_decay: float) -> float:
    """r at rest below the critical weight decay, for every loss: C lambda/sqrt S. C may be 1/pi_c."""
    return _checked(weight_decay) * classes / np.sqrt(subclasses)


def predict_critical(loss: str, subclasses: int, classes: float, coarse: int = 2) -> float:
    """lambda_c = r(0) sqrt(S)/C: from there on the network dies."""
    return residual(loss, 0.0, coarse) * float(np.sqrt(subclasses)) / classes


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
        return float(np.log(1 / r - 1))
    p = predict_probability(subclasses, classes, weight_decay, coarse)
    return _norm(coarse) * float(np.log((coarse - 1) * p / (1 - p)))


def predict_probability(subclasses: int, classes: float, weight_decay: float, coarse: int) -> float:
    """Softmax at rest: the probability p given to the label, 1/K from the critical weight decay on."""
    r = predict_residual(subclasses, classes, weight_decay)
    return max(1 - r * _norm(coarse), 1 / coarse)


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
    return min(_checked(weight_decay), critical) * specialisation.predict(subclasses, patterns=every)


def predict_transient(
    loss: str, subclasses: int, classes: float, weight_decay: float, coarse: int = 2
) -> float:
    """Rate at which the margin of neurons active on all S settles; 0 at the critical weight decay."""
    excess = weight_decay - predict_critical(loss, subclasses, classes, coarse)
    if excess >= 0:
        return 2 * excess
    F = predict_end(loss, subclasses, classes, weight_decay, coarse)
    r = residual(loss, F, coarse)
    fall = {"squared": 1.0, "logistic": r * (1 - r), "softmax": r * (1 / _norm(coarse) - r)}[loss]
    return 2 * F * fall * float(np.sqrt(subclasses)) / classes


def predict_separation(
    energies: ArrayLike, margin: float, weight_decay: float = 0.0, t: float = 0.0
) -> float:
    """sep when the margin is F at time t, for every loss, from the energies e_1..e_S (S,) at time 0 (T7)."""
    e = checks.real("energies", energies, ("S",))
    if not margin > 0:
        raise ValueError(f"margin must be > 0, got {margin}")
    # T7's end state is the margin 1 without decay; sep does not change with the scale of the energies.
    return specialisation.predict_end(e / margin * np.exp(-2 * weight_decay * t), 1.0)


def predict_unequal(loss: str, weights: ArrayLike, weight_decay: float, coarse: int = 2) -> Array:
    """Outputs' pulls d_c (S,) at rest for unequal probabilities (S,) below the critical weight decay.

    The limit of the separation of subclasses c and c' is |d_c - d_c'|/sqrt(d_c d_c').
    """
    pi = checks.real("weights", weights, ("S",))
    critical = residual(loss, 0.0, coarse) * float(np.linalg.norm(pi))
    if not 0 < weight_decay < critical:
        raise ValueError(f"weight_decay must lie in (0, {critical}), the critical value, got {weight_decay}")

    def pulls(log_power: float) -> Array:
        power = np.exp(log_power) / weight_decay

        def excess(d: float, p: float) -> float:
            return d - p * residual(loss, power * d, coarse)

        return np.array([brentq(excess, 0, p * residual(loss, 0.0, coarse), (p,), xtol=1e-15) for p in pi])

    log_power = brentq(lambda x: float(np.sum(pulls(x) ** 2)) - weight_decay**2, -60, 60, xtol=1e-13)
    return pulls(float(log_power))


def _norm(coarse: int) -> float:
    """||e_k - 1/K||."""
    checks.at_least("coarse", coarse, 2)
    return float(np.sqrt((coarse - 1) / coarse))


def _checked(weight_decay: float) -> float:
    checks.at_least("weight_decay", weight_decay, 0)
    return weight_decay


def prove(rest: Callable[..., sp.Expr] | None = None) -> None:
    """Growth for any loss, from the loss; each loss's residual; rest, rate, settling and the law in eps and F.

    rest: the claimed (S, C, lambda) -> residual at rest; the theorem's own by default.
    """
    rest = rest or (lambda S, C, lam: C * lam / sp.sqrt(S))
    for S, outputs in SIZES:
        _prove_growth(rest, S, outputs)
    _prove_logistic(rest)
    for K in (2, 3, 4, 5):
        _prove_softmax(rest, K)
    _prove_rate(rest)
    _prove_law()
    _prove_unequal()


class AnyLoss(sp.Function):
    """A differentiable loss of the outputs: all that is known are the names of its derivatives, -R_k."""

    def fdiff(self, argindex: int) -> sp.Expr:
        """Minus the residual, as a function of the same outputs."""
        return -sp.Function(f"R{argindex}")(*self.args)


def _prove_growth(rest: Callable[..., sp.Expr], S: int, outputs: int) -> None:
    """One coarse class, n_Q neurons for every subset Q; the gradient at the aligned state, and where it is zero."""
    C, lam, r = sp.symbols("C lambda r")
    subsets = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
    u, n = sp.symbols(f"u1:{S + 1}"), sp.symbols(f"n1:{S + 1}")
    v = _unit_vector(outputs)
    w = {(Q, c): sp.Symbol(f"w_{Q}_{c}") for Q in subsets for c in Q}
    a = {(Q, k): sp.Symbol(f"a_{Q}_{k}") for Q in subsets for k in range(outputs)}
    loss = sp.Integer(0)
    for c in range(S):
        f = [sum(n[len(Q) - 1] * a[Q, k] * w[Q, c] for Q in subsets if c in Q) for k in range(outputs)]
        loss += AnyLoss(*f) / C
    for Q in subsets:
        loss += n[len(Q) - 1] * penalty(
            lam, sp.Matrix([*(w[Q, c] for c in Q), *(a[Q, k] for k in range(outputs))])
        )
    aligned = {w[Q, c]: u[len(Q) - 1] for Q, c in w} | {
        a[Q, k]: sp.sqrt(len(Q)) * u[len(Q) - 1] * v[k] for Q, k in a
    }
    margin = sum(n[len(Q) - 1] * sp.sqrt(len(Q)) * u[len(Q) - 1] ** 2 for Q in subsets if 0 in Q)
    along = {f"R{k + 1}": r * v[k] for k in range(outputs)}
    for variable, value in aligned.items():
        Q = next(Q for Q, _ in [*w, *a] if str(Q) in variable.name)
        velocity = (-sp.diff(loss, variable) / n[len(Q) - 1]).subs(aligned)
        velocity = velocity.replace(
            lambda e: e.func.__name__ in along, lambda e: _at(e, margin, v) * along[e.func.__name__]
        )
        growth = sp.sqrt(len(Q)) * r / C - lam
        require_zero(f"T15 growth at S, K = {S, outputs}, Q = {Q}", velocity - growth * value)
        if len(Q) == S:
            require_zero(f"T15 rest at S, K = {S, outputs}", velocity.subs(r, rest(S, C, lam)))


def _at(residual: sp.Expr, margin: sp.Expr, v: list[sp.Expr]) -> int:
    """1 if the residual is taken at outputs F v, the same for every subclass; else ProofFailed."""
    for argument, entry in zip(residual.args, v, strict=True):
        require_zero("T15 outputs along v", argument - margin * entry)
    return 1


def _unit_vector(outputs: int) -> list[sp.Expr]:
    """(1) for one output, else v_1 = (e_1 - 1/K)/sqrt((K-1)/K)."""
    if outputs == 1:
        return [sp.Integer(1)]
    K = sp.Integer(outputs)
    return [((1 if k == 0 else 0) - 1 / K) / sp.sqrt((K - 1) / K) for k in range(outputs)]


def _prove_logistic(rest: Callable[..., sp.Expr]) -> None:
    """The residual of ln(1 + e^-F), its value at the claimed margin, its fall, and the critical weight decay."""
    F, S, C, lam = sp.symbols("F S C lambda")
    r = -sp.diff(sp.log(1 + sp.exp(-F)), F)
    require_zero("T15 logistic residual", r - 1 / (1 + sp.exp(F)))
    end = sp.log(sp.sqrt(S) / (C * lam) - 1)
    require_zero("T15 logistic end", r.subs(F, end) - rest(S, C, lam))
    require_zero("T15 logistic fall", sp.diff(r, F) + r * (1 - r))
    require_zero("T15 logistic critical", rest(S, C, sp.sqrt(S) / (2 * C)) - r.subs(F, 0))


def _prove_softmax(rest: Callable[..., sp.Expr], K: int) -> None:
    """The residual of ln sum_l exp(f_l) - f_1 at f = F v_1, entry by entry."""
    F, S, C, lam = sp.symbols("F S C lambda")
    outputs, v = sp.symbols(f"f1:{K + 1}"), _unit_vector(K)
    loss = sp.log(sum(sp.exp(f) for f in outputs)) - outputs[0]
    norm = sp.sqrt(sp.Rational(K - 1, K))
    x = sp.Symbol("x")  # e^(-F/norm): all outputs but the first are lower by F/norm
    p = 1 / (1 + (K - 1) * x)
    r = (1 - p) / norm
    for k in range(K):
        at = (-sp.diff(loss, outputs[k])).subs(
            {f: sp.log(x) if i else sp.Integer(0) for i, f in enumerate(outputs)}
        )
        require_zero(f"T15 softmax residual, K = {K}, k = {k}", at - r * v[k])
        require_zero(f"T15 softmax outputs, K = {K}", F * (v[0] - v[k]) - (F / norm if k else 0))
    # The claimed p as outputs, F = norm ln((K-1) p/(1-p)): there the residual must be the one at rest.
    p_end = 1 - C * lam / sp.sqrt(S) * norm
    margin = norm * sp.log((K - 1) * p_end / (1 - p_end))
    require_zero(f"T15 softmax end, K = {K}", r.subs(x, sp.exp(-margin / norm)) - rest(S, C, lam))
    require_zero(f"T15 softmax fall, K = {K}", sp.diff(r, x) * (-x / norm) + r * (1 / norm - r))
    critical = sp.sqrt(S) * norm / C
    require_zero(f"T15 softmax critical, K = {K}", rest(S, C, critical) - r.subs(x, 1))


def _prove_rate(rest: Callable[..., sp.Expr]) -> None:
    """sep falls as the amplitude on S-1 over that on S; F = sqrt S e settles as its linearised flow says."""
    S, C, lam, r0, F = sp.symbols("S C lambda r_0 F", positive=True)

    def erosion(r: sp.Expr) -> sp.Expr:
        return (sp.sqrt(S) - sp.sqrt(S - 1)) * r / C

    factor = 1 - sp.sqrt((S - 1) / S)
    require_zero("T15 rate below critical", erosion(rest(S, C, lam)) - lam * factor)
    require_zero("T15 rate above critical", erosion(r0) - r0 * sp.sqrt(S) / C * factor)
    r = sp.Function("r")
    flow = 2 * F * (sp.sqrt(S) * r(F) / C - lam)  # d(sqrt S u^2)/dt = 2 F d ln u/dt
    fall = sp.Symbol("r_prime")  # named first: a constant put for r(F) would have no derivative
    slope = sp.diff(flow, F).subs(sp.diff(r(F), F), fall).subs(r(F), rest(S, C, lam))
    require_zero("T15 settling", slope - 2 * F * fall * sp.sqrt(S) / C)


def _prove_law() -> None:
    """sep^2 = 2 G^(2 sqrt(S-1))/G^(2 sqrt S), where F = sqrt S eps^2 G^(2 sqrt S) e^(-2 lambda t)."""
    S, eps, F, t = sp.symbols("S epsilon F t", positive=True)
    lam = sp.Symbol("lambda")
    log_growth = (sp.log(F) + 2 * lam * t - 2 * sp.log(eps) - sp.log(S) / 2) / (2 * sp.sqrt(S))
    log_sep = sp.log(2) / 2 + (sp.sqrt(S - 1) - sp.sqrt(S)) * log_growth
    exponent = 1 - sp.sqrt((S - 1) / S)
    require_zero("T15 exponent of eps", eps * sp.diff(log_sep, eps) - exponent)
    require_zero("T15 exponent of F", F * sp.diff(log_sep, F) + exponent / 2)
    require_zero("T15 F e^(2 lambda t)", sp.diff(log_sep, t) - 2 * lam * F * sp.diff(log_sep, F))


def _prove_unequal() -> None:
    """One neuron on two subclasses: at rest lambda w_c = a d_c and lambda a = sum w_c d_c, so sum d_c^2 = lambda^2."""
    lam, a = sp.symbols("lambda a")
    w, pi = sp.symbols("w1:3"), sp.symbols("pi1:3")
    d = sp.symbols("d1:3")
    loss = sum(pi[c] * AnyLoss(a * w[c]) for c in range(2)) + penalty(lam, sp.Matrix([a, *w]))
    pull = {sp.Function("R1")(a * w[c]): d[c] / pi[c] for c in range(2)}
    rest = {w[c]: a * d[c] / lam for c in range(2)}
    for c in range(2):
        require_zero("T15 unequal, w", sp.diff(loss, w[c]).subs(pull).subs(rest))
    output = sp.diff(loss, a).subs(pull).subs(rest)
    require_zero("T15 unequal, a", output * lam / a - (lam**2 - d[0] ** 2 - d[1] ** 2))
