"""T6 ReLU gates: a closed gate stays closed, and from a small start the gates left open are known at the start.

Noise-free inputs at orthogonal means mu_c of norm nu_c; ReLU with phi'(0) = 0; gate c of neuron j is open if
w_jc = w_j . mu_c > 0. With g_c = -(derivative of the loss on class c by the output f_c), gradient flow is

    dw_jc/dt = pi_c nu_c^2 [w_jc > 0] (g_c . a_j) - lambda w_jc,   da_j/dt = sum_c pi_c g_c relu(w_jc) - lambda a_j.

(a) Any start, lambda, loss and K: from w_jc <= 0 on, w_jc(t) = e^{-lambda t} w_jc(0); sets of open gates only shrink.
(b) Scalar output, |a_j| >= ||w_j|| at the start: a_j keeps its sign, for by T2 ||w_j|| <= |a_j| for good, so that
    |d ln|a_j|/dt + lambda| <= sqrt(sum_c pi_c^2 nu_c^2 g_c^2), finite.
(c) Also targets +-1, squared or logistic loss, and a small start: the open gates at the end are those open at the start
    on classes of a_j's sign. Call the other classes wrong. While |f| <= delta, low <= |g| <= high. With lambda scaled
    out, D_j = a_j^2 - sum_{wrong, open} w_jc^2/nu_c^2 never falls, so a wrong gate closes by the time
        asinh(w_jc/(nu_c sqrt(D_j))) / (pi_c nu_c low),
    while |f| <= delta up to the time
        ln(delta / (max_c nu_c sum_j a_j^2)) / (2 high P),   P = largest over signs of sqrt(sum pi_c^2 nu_c^2).
    `guaranteed` compares the two: an explicit eps for each neuron. A gate of a_j's sign closes only by an overshoot:
    never for the logistic loss, whose g_c keeps the sign of t_c, nor while |f_c| <= 1 for the squared loss, hence never
    for S = 1. For S > 1 and equal pi_c nu_c^2 within a coarse class f overshoots by what vanishes with eps.

Corrected: (c) had been stated as "exact for eps small", with every neuron seen to comply at eps <= 0.01. No eps serves
every draw: where D_j is small a gate closes late (2 % of neurons break the rule at eps = 0.01 for C = 2, m = 200; 10 %
where pi = .48 and .02), and where D_j = 0, all of w_j on wrong classes and |a_j| = ||w_j||, never. And for the
squared loss with unequal pi_c nu_c^2 f may overshoot however small eps is, and close a gate of a_j's own sign (once in
400 draws with 6 neurons for 8 classes). The tests keep all three.
Vector outputs: with K = 3 and a_j in random directions 44 % of the neurons end up serving several coarse classes with
one-hot targets, 11 % with centred ones (S = 2, eps = 1e-3); nearly none with centred ones and each a_j along a target.

Source: this project, T6 (in the setting of Yang, Steinhardt & Hu, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, penalty, require_zero
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Gates = NDArray[np.bool_]

THEOREM = Theorem(
    id="T6",
    subject="ReLU gates",
    statement="a closed gate stays closed; from a small start the gates left open are the first ones of a_j's sign",
    assumptions=(
        "ReLU",
        "orthogonal means",
        "no input noise",
        "scalar output with targets +-1 (b, c)",
        "|a_j| >= ||w_j|| at the start (b, c)",
        "a small start, as `guaranteed` says (c)",
        "logistic loss, or equal pi_c nu_c^2 within a coarse class (c, for gates of a_j's sign)",
    ),
    sizes="(C, m, K) = (2,2,1), (3,2,2), (4,1,3) with every pattern of gates; n = 1, 2, 3 open gates in (b); "
    "the closing time for all sizes",
    latex=(
        r"\dot w_{jc} = \pi_c \nu_c^2\, [w_{jc} > 0]\; g_c \cdot a_j - \lambda w_{jc}",
        r"w_{jc}(0) \le 0 \;\Rightarrow\; w_{jc}(t) = e^{-\lambda t} w_{jc}(0)",
        r"t_{\text{closed}} \le \operatorname{asinh}\bigl(w_{jc} / (\nu_c \sqrt{D_j})\bigr) / (\pi_c \nu_c\, g_{\min})",
    ),
)

SIZES = ((2, 2, 1), (3, 2, 2), (4, 1, 3))
DELTAS = np.linspace(0.02, 0.6, 30)  # bounds on |f| that `guaranteed` tries


def predict_frozen(projections: ArrayLike, weight_decay: float, t: float) -> Array:
    """Closed coordinates w_jc <= 0, any shape, at time t; NaN where the gate is open and the law says nothing."""
    start = np.asarray(projections, dtype=np.float64)
    return np.where(start <= 0, np.exp(-weight_decay * t) * start, np.nan)


def predict_open(projections: ArrayLike, outputs: ArrayLike, targets: ArrayLike) -> Gates:
    """Gates (m, C) open at the end of training from a small start.

    Args:
        projections: w_j . mu_c at the start, (m, C).
        outputs: a_j, (m,).
        targets: +-1, (C,).
    """
    w, a, t = _checked(projections, outputs, targets)
    return (w > 0) & (np.sign(a)[:, None] == t)


def guaranteed(
    projections: ArrayLike,
    outputs: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike,
    norms: ArrayLike,
    eps: float = 1.0,
    loss: str = "squared",
) -> Gates:
    """Neurons (m,) that surely lose all wrong gates when the start is scaled by eps; at every lambda.

    Args:
        projections, outputs, targets: as in `predict_open`, at eps = 1; |a_j| >= ||w_j||.
        weights, norms: pi_c and nu_c, (C,).
        loss: squared or logistic.
    """
    w, a, t = _checked(projections, outputs, targets)
    pi = checks.real("weights", weights, (t.size,))
    nu = checks.real("norms", norms, (t.size,))
    checks.one_of("loss", loss, ("logistic", "squared"))
    wrong = np.where(np.sign(a)[:, None] == t, 0, np.maximum(w / nu, 0))
    slack = a**2 - np.sum(wrong**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # no slack: the gate never closes
        stretch = np.where(wrong > 0, wrong / np.sqrt(np.maximum(slack, 0))[:, None], 0)
    closing = np.max(np.arcsinh(stretch) / (pi * nu), axis=1)  # times low
    growth = max(np.sqrt(np.sum((pi * nu)[t == sign] ** 2)) for sign in (-1, 1))
    log_size = np.log(nu.max() * np.sum(a**2)) + 2 * np.log(eps)
    low, high = (expit(-DELTAS), expit(DELTAS)) if loss == "logistic" else (1 - DELTAS, 1 + DELTAS)
    return np.any(closing[:, None] / low <= (np.log(DELTAS) - log_size) / (2 * high * growth), axis=1)


def _checked(projections: ArrayLike, outputs: ArrayLike, targets: ArrayLike) -> tuple[Array, Array, Array]:
    w = checks.real("projections", projections, ("m", "C"))
    t = checks.real("targets", targets, (w.shape[1],))
    if not np.isin(t, (-1, 1)).all():
        raise ValueError(f"targets must be -1 or 1 for a scalar output, got {np.unique(t).tolist()}")
    return w, checks.real("outputs", outputs, (w.shape[0],)), t


def prove(velocity: Callable[..., sp.Expr] | None = None) -> None:
    """Velocities from the loss at every pattern of gates, for an undetermined loss; then (b) and (c) from them.

    velocity: the claimed (gate, pi nu^2, g . a, w, lambda) -> dw/dt; the theorem's own by default.
    """
    velocity = velocity or (lambda gate, scale, force, w, lam: gate * scale * force - lam * w)
    for C, m, K in SIZES:
        _prove_velocity(velocity, C, m, K)
    _prove_frozen(velocity)
    _prove_sign(velocity)
    _prove_closing(velocity)


def _prove_velocity(velocity: Callable[..., sp.Expr], C: int, m: int, K: int) -> None:
    """Means nu_c e_c in C + 1 dimensions (a rotation gives any orthogonal means); each gate a symbol, 0 or 1."""
    lam = sp.Symbol("lambda")
    pi, nu = sp.symbols(f"pi:{C}"), sp.symbols(f"nu:{C}")
    W, A, gates = matrix("W", m, C + 1), matrix("A", K, m), matrix("gate", m, C)
    y = matrix("y", K, 1)
    loss, force = penalty(lam, W, A), sp.zeros(K, C)
    for c in range(C):
        h = [gates[j, c] * nu[c] * W[j, c] for j in range(m)]
        f = {y[k]: sum(A[k, j] * h[j] for j in range(m)) for k in range(K)}
        value = sp.Function(f"loss_{c}")(*y)
        loss += pi[c] * value.subs(f)
        for k in range(K):
            force[k, c] = -sp.diff(value, y[k]).subs(f)
    moved = -gradient(loss, W).doit()
    for j in range(m):
        for c in range(C):
            push = sum(force[k, c] * A[k, j] for k in range(K))
            claimed = velocity(gates[j, c], pi[c] * nu[c] ** 2, push, nu[c] * W[j, c], lam)
            require_zero(f"T6 gate velocity at {C, m, K}", (nu[c] * moved[j, c] - claimed).doit())
    output = -gradient(loss, A).doit()
    for k in range(K):
        for j in range(m):
            drive = sum(pi[c] * force[k, c] * gates[j, c] * nu[c] * W[j, c] for c in range(C))
            require_zero(f"T6 output velocity at {C, m, K}", (output[k, j] - drive + lam * A[k, j]).doit())


def _prove_frozen(velocity: Callable[..., sp.Expr]) -> None:
    """(a): behind a closed gate e^{-lambda t} w solves the flow, whatever pushes."""
    lam, t, w, scale, force = sp.symbols("lambda t w s F")
    path = sp.exp(-lam * t) * w
    require_zero("T6 frozen", sp.diff(path, t) - velocity(0, scale, force, path, lam))


def _prove_sign(velocity: Callable[..., sp.Expr]) -> None:
    """(b): in v_c = w_jc/nu_c > 0, p_c = pi_c nu_c: (da/dt + lambda a)^2 = (sum_c p_c g_c v_c)^2 is at most
    sum (p_c g_c)^2 sum v_c^2 (Lagrange's identity), and sum v_c^2 - a^2 decays at 2 lambda, so stays <= 0."""
    lam, a = sp.symbols("lambda a")
    for n in (1, 2, 3):
        p, v = sp.symbols(f"p:{n}"), sp.symbols(f"v:{n}")
        nu, g = sp.symbols(f"nu:{n}"), sp.symbols(f"g:{n}")
        da = sum(p[c] * g[c] * v[c] for c in range(n)) - lam * a
        dv = [velocity(1, p[c] * nu[c], g[c] * a, nu[c] * v[c], lam) / nu[c] for c in range(n)]
        excess = sum(x**2 for x in v) - a**2
        change = 2 * sum(v[c] * dv[c] for c in range(n)) - 2 * a * da
        require_zero(f"T6 balance at n = {n} open gates", change + 2 * lam * excess)
        pairs = [(c, k) for c in range(n) for k in range(c)]
        squares = sum((p[c] * g[c] * v[k] - p[k] * g[k] * v[c]) ** 2 for c, k in pairs)
        bound = sum((p[c] * g[c]) ** 2 for c in range(n)) * sum(x**2 for x in v)
        require_zero(f"T6 sign at n = {n} open gates", bound - (da + lam * a) ** 2 - squares)


def _prove_closing(velocity: Callable[..., sp.Expr]) -> None:
    """(c): for a > 0, an own class v with g > 0 and a wrong one z with g = -low: D = a^2 - z^2 obeys
    dD/dt + 2 lambda D = 2 a p g v >= 0, and asinh(z/sqrt D) falls at p low from a D that stays (lambda = 0)."""
    lam, p, q, g, low = sp.symbols("lambda p q g low")
    a, v, z, D = sp.symbols("a v z D", positive=True)
    da = p * g * v - q * low * z - lam * a
    dz = velocity(1, q, -low * a, z, lam)
    require_zero("T6 slack", 2 * a * da - 2 * z * dz + 2 * lam * (a**2 - z**2) - 2 * a * p * g * v)
    falling = sp.diff(sp.asinh(z / sp.sqrt(D)), z) * dz.subs(lam, 0)
    require_zero("T6 closing time", falling.subs(a, sp.sqrt(D + z**2)) + q * low)
