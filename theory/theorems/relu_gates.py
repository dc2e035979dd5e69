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

Proved here from the loss: the velocities at the sizes stated, (a), (b) at up to three open gates, and of (c) how fast a
wrong gate closes at least and how long outputs stay small at least. On paper: that these two times, compared, close a
gate; that a gate of a_j's own sign stays open with the logistic loss and for S = 1. Observed only: that it does with
the squared loss and S > 1, as eps -> 0.

Source: this project, T6 (in the setting of Yang, Steinhardt & Hu, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import descent, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Gates = NDArray[np.bool_]

# Bounds on |f| that `guaranteed` tries.
DELTAS = np.linspace(0.02, 0.6, 30)


def predict_frozen(projections: ArrayLike, weight_decay: float, t: float) -> Array:
    """Closed coordinates w_jc <= 0, any shape, at time t; NaN where the gate is open and the law says nothing."""
    start = np.asarray(projections, dtype=np.float64)
    return np.where(start <= 0, THEOREM.formulas.frozen.number(start, weight_decay, t), np.nan)


def predict_open(projections: ArrayLike, outputs: ArrayLike, targets: ArrayLike) -> Gates:
    """Gates (m, C) open at the end of training from a small start.

    Args:
        projections: w_j . mu_c at the start, (m, C).
        outputs: a_j, (m,).
        targets: +-1, (C,).
    """
    w, a, t = _checked(projections, outputs, targets)
    return (w > 0) & (np.sign(a)[:, None] == t)


def predict_share(projections: ArrayLike, outputs: ArrayLike, targets: ArrayLike) -> float:
    """Share of all gates that are open then."""
    return float(np.mean(predict_open(projections, outputs, targets)))


def predict_closing(projection: float, output: float, norm: float, weight: float, low: float = 1.0) -> float:
    """Latest time at which a neuron's one open gate on a wrong class closes (lambda = 0), while |g| >= low there.

    Without open gates of the other kind, and at |g| = low, it is that time.
    """
    f = THEOREM.formulas
    slack = f.slack.number(output, projection / norm)
    return float(f.closing.number(projection, norm, slack, weight, low))


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
    f = THEOREM.formulas
    wrong = np.where(np.sign(a)[:, None] == t, 0, np.maximum(w, 0))
    slack = np.maximum(f.slack.number(a, np.linalg.norm(wrong / nu, axis=1)), 0)[:, None]
    # Without slack the gate never closes.
    with np.errstate(divide="ignore"):
        times = f.closing.number(wrong, nu, np.where(wrong > 0, slack, 1), pi, 1.0)
    # Times low.
    closing = np.max(times, axis=1)
    growth = max(np.sqrt(np.sum((pi * nu)[t == sign] ** 2)) for sign in (-1, 1))
    log_size = np.log(nu.max() * np.sum(a**2)) + 2 * np.log(eps)
    low, high = (expit(-DELTAS), expit(DELTAS)) if loss == "logistic" else (1 - DELTAS, 1 + DELTAS)
    return np.any(closing[:, None] / low <= f.small.number(DELTAS, log_size, high, growth), axis=1)


def _checked(projections: ArrayLike, outputs: ArrayLike, targets: ArrayLike) -> tuple[Array, Array, Array]:
    w = checks.real("projections", projections, ("m", "C"))
    t = checks.real("targets", targets, (w.shape[1],))
    if not np.isin(t, (-1, 1)).all():
        raise ValueError(f"targets must be -1 or 1 for a scalar output, got {np.unique(t).tolist()}")
    return w, checks.real("outputs", outputs, (w.shape[0],)), t


def _velocity(f: Formulas, C: int, m: int, K: int) -> Iterator[sp.Expr]:
    """Means nu_c e_c in C + 1 dimensions (a rotation gives any orthogonal means); each gate a symbol, 0 or 1."""
    lam = sp.Symbol("lambda")
    pi, nu = sp.symbols(f"pi:{C}"), sp.symbols(f"nu:{C}")
    W, A, gates = matrix("W", m, C + 1), matrix("A", K, m), matrix("gate", m, C)
    y = matrix("y", K, 1)
    loss, force = penalty(lam, W, A), sp.zeros(K, C)
    for c in range(C):
        h = [gates[j, c] * nu[c] * W[j, c] for j in range(m)]
        outputs = {y[k]: sum(A[k, j] * h[j] for j in range(m)) for k in range(K)}
        value = sp.Function(f"loss_{c}")(*y)
        loss += pi[c] * value.subs(outputs)
        for k in range(K):
            force[k, c] = -sp.diff(value, y[k]).subs(outputs)
    speed = descent(loss, W, A)
    for j in range(m):
        for c in range(C):
            push = sum(force[k, c] * A[k, j] for k in range(K))
            claimed = f.velocity(gates[j, c], pi[c] * nu[c] ** 2, push, nu[c] * W[j, c], lam)
            yield (nu[c] * speed[W[j, c]] - claimed).doit()
        for k in range(K):
            drive = sum(f.drive(pi[c], force[k, c], gates[j, c] * nu[c] * W[j, c]) for c in range(C))
            yield (speed[A[k, j]] - drive + lam * A[k, j]).doit()


def _frozen(f: Formulas) -> Iterator[sp.Expr]:
    """(a): behind a closed gate the path solves the flow, whatever pushes."""
    lam, t, w, scale, force = sp.symbols("lambda t w s F")
    path = f.frozen(w, lam, t)
    yield sp.diff(path, t) - f.velocity(0, scale, force, path, lam)
    yield path.subs(t, 0) - w


def _sign(f: Formulas, n: int) -> Iterator[sp.Expr]:
    """(b): in v_c = w_jc/nu_c > 0, p_c = pi_c nu_c: (da/dt + lambda a)^2 = (sum_c p_c g_c v_c)^2 is at most
    sum (p_c g_c)^2 sum v_c^2 (Lagrange's identity), and sum v_c^2 - a^2 decays at 2 lambda, so stays <= 0."""
    lam, a = sp.symbols("lambda a")
    pi, v, nu, g = (sp.symbols(f"{name}:{n}") for name in ("pi", "v", "nu", "g"))
    da = sum(f.drive(pi[c], g[c], nu[c] * v[c]) for c in range(n)) - lam * a
    dv = [f.velocity(1, pi[c] * nu[c] ** 2, g[c] * a, nu[c] * v[c], lam) / nu[c] for c in range(n)]
    excess = -f.slack(a, sp.sqrt(sum(x**2 for x in v)))
    change = 2 * sum(v[c] * dv[c] for c in range(n)) - 2 * a * da
    yield change + 2 * lam * excess
    p = [pi[c] * nu[c] for c in range(n)]
    pairs = [(c, k) for c in range(n) for k in range(c)]
    squares = sum((p[c] * g[c] * v[k] - p[k] * g[k] * v[c]) ** 2 for c, k in pairs)
    bound = sum(f.pace(p[c], g[c]) for c in range(n)) * sum(x**2 for x in v)
    yield bound - (da + lam * a) ** 2 - squares


def _slack(f: Formulas) -> sp.Expr:
    """(c): for a > 0, an own class at v with g > 0 and a wrong one at z with g = -low: the slack's change, weight decay
    scaled out, is 2 a pi nu g v >= 0."""
    lam, pi, nu, rho, g, low = sp.symbols("lambda pi nu rho g low", positive=True)
    a, v, z = sp.symbols("a v z", positive=True)
    da = f.drive(pi, g, nu * v) - f.drive(rho, low, nu * z) - lam * a
    dz = f.velocity(1, rho * nu**2, -low * a, nu * z, lam) / nu
    slack = f.slack(a, z)
    change = sp.diff(slack, a) * da + sp.diff(slack, z) * dz + 2 * lam * slack
    return change - 2 * a * f.drive(pi, g, nu * v)


def _closing(f: Formulas) -> sp.Expr:
    """(c): at a slack D that stays (lambda = 0) the time left to a wrong gate runs down at 1."""
    pi, nu, low, w, D, a = sp.symbols("pi nu low w D a", positive=True)
    dw = f.velocity(1, pi * nu**2, -low * a, w, 0)
    left = sp.diff(f.closing(w, nu, D, pi, low), w) * dw
    # The slack's a.
    (output,) = (x for x in sp.solve(f.slack(a, w / nu) - D, a) if x.is_positive)
    return left.subs(a, output) + 1


def _small(f: Formulas, n: int) -> sp.Expr:
    """|f_c| <= nu_c sum_j a_j^2, which grows at twice the pace at most: until it is delta."""
    log_size, t = sp.symbols("log_size t", real=True)
    delta, high = sp.symbols("delta high", positive=True)
    p = sp.symbols(f"p:{n}", positive=True)
    pace = sp.sqrt(sp.factor(sum(f.pace(x, high) for x in p)))
    (until,) = sp.solve(log_size + 2 * pace * t - sp.log(delta), t)
    return until - f.small(delta, log_size, high, sp.sqrt(sum(x**2 for x in p)))


gate, scale, force, w, lam, t, pi, g, h, p, a, z, nu, D, low, delta, size, high, P = sp.symbols(
    "open s_c F_c w_jc lambda t pi_c g_c h_jc p_c a_j z nu_c D_j low delta log_size high P", positive=True
)
# What is false: a closed gate feels the loss; twice the drive; a sum for the slack.
VELOCITY = {"velocity": lambda gate, scale, force, w, lam: scale * force - 2 * lam * w}
DRIVE = {"drive": lambda pi, g, h: 2 * pi * g * h}
SLACK = {"slack": lambda a, z: a**2 - 2 * z**2}

THEOREM = Theorem(
    id="T6",
    subject="ReLU gates",
    assumptions=(
        "ReLU",
        "orthogonal means",
        "no input noise",
        "scalar output with targets +-1 (b, c)",
        "|a_j| >= ||w_j|| at the start (b, c)",
        "a small start, as `guaranteed` says (c)",
        "logistic loss, or equal pi_c nu_c^2 within a coarse class (c, for gates of a_j's sign)",
    ),
    formulas=Formulas(
        velocity=Formula(
            lambda gate, scale, force, w, lam: gate * scale * force - lam * w,
            (gate, scale, force, w, lam),
            "dw_jc/dt",
            r"\dot w_{jc}",
        ),
        drive=Formula(lambda pi, g, h: pi * g * h, (pi, g, h)),
        frozen=Formula(lambda w, lam, t: sp.exp(-lam * t) * w, (w, lam, t), "w_jc(t)", "w_{jc}(t)"),
        pace=Formula(lambda p, g: (p * g) ** 2, (p, g)),
        slack=Formula(lambda a, z: a**2 - z**2, (a, z), "D_j", "D_j"),
        closing=Formula(
            lambda w, nu, D, pi, low: sp.asinh(w / (nu * sp.sqrt(D))) / (pi * nu * low),
            (w, nu, D, pi, low),
            "t",
            r"t_{\text{closed}}",
        ),
        small=Formula(
            lambda delta, size, high, P: (sp.log(delta) - size) / (2 * high * P),
            (delta, size, high, P),
            "t",
            r"t_{\text{small}}",
        ),
    ),
    claims=(
        Claim(
            "with s_c = pi_c nu_c^2, F_c = g_c . a_j and open = 0 or 1: {velocity}, and a_j moves by the sum of "
            "{drive}, less lambda a_j",
            ("velocity",),
        ),
        Claim("(a) once w_jc <= 0 it is {frozen}, and the gate stays closed", ("velocity", "frozen")),
        Claim(
            "(b) |a_j| >= ||w_j||, one output: a_j keeps its sign, as (d ln|a_j|/dt + lambda)^2 is at most the sum of "
            "{pace}, p_c = pi_c nu_c",
            ("velocity", "sign"),
            "more than three open gates",
        ),
        Claim(
            "(c) with z the norm of w_jc/nu_c over wrong classes {slack} never falls (lambda scaled out), and a wrong "
            "gate closes by {closing} while |g_c| >= low; |f| <= delta up to {small}, "
            "log_size = ln(max nu_c sum a_j^2)",
            ("velocity", "sign", "slack", "closing", "small"),
            "several wrong gates at once, on paper",
        ),
        Claim(
            "from a small start the gates left open at the end are the first ones of a_j's sign",
            ("slack", "closing", "small"),
            "that those of a_j's sign stay open is shown on paper for the logistic loss and S = 1, else observed",
        ),
    ),
    steps=(
        Step(
            "velocity",
            "from any loss of the outputs, every gate a symbol: velocities of w and a",
            _velocity,
            VELOCITY | DRIVE,
            "(C, m, K)",
            ((2, 2, 1), (3, 2, 2), (4, 1, 3)),
        ),
        Step(
            "frozen",
            "from the velocity at a closed gate: its path",
            _frozen,
            {"frozen": lambda w, lam, t: sp.exp(-2 * lam * t) * w, **VELOCITY},
            "push",
        ),
        Step(
            "sign",
            "from the velocities: the balance, and Lagrange's identity for the pace of a",
            _sign,
            {"pace": lambda p, g: p**2 * g, **VELOCITY, **DRIVE, **SLACK},
            "open gates",
            (1, 2, 3),
        ),
        Step(
            "slack",
            "from the velocities with an own and a wrong class: the slack grows by the own one",
            _slack,
            SLACK | VELOCITY,
            "weights",
        ),
        Step(
            "closing",
            "from the velocity at constant slack: the time left falls at 1",
            _closing,
            {"closing": lambda w, nu, D, pi, low: w / (nu * sp.sqrt(D)) / (pi * nu * low), **SLACK},
            "weights",
        ),
        Step(
            "small",
            "from the pace: how long sum a_j^2 needs to grow to delta at least",
            _small,
            {
                "small": lambda delta, size, high, P: (sp.log(delta) - size) / (high * P),
                "pace": lambda p, g: p * g**2,
            },
            "classes",
            (2, 3),
        ),
    ),
)

prove = THEOREM.prove
