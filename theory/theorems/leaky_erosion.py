"""T22 A leak makes slow erosion temporary: closed gates open in the end, and erosion runs at lambda from then on.

T8's setting with leaky ReLU of small slope alpha below zero: orthonormal means, C fine classes of probability 1/C, S of
them in a coarse class, targets +-1, squared loss, full neurons at rest with residual r on every subclass. A small
neuron is active on q subclasses with w_c = u, a = sqrt(q) u, and closed on another of its coarse class, w_c' = -v (if
on several, that of the least v). With the pull g = r sqrt(q)/C, which is lambda sqrt(q/S) below
lambda_c = sqrt(S)/C and lambda_c sqrt(q/S) above,

    u(t) = u e^((g - lambda) t),   v(t) = e^(-lambda t) (v - alpha u (e^(g t) - 1)),

so its closed gate opens at

    t* = ln(1 + v/(alpha u))/g.

Before, what tells the two subclasses apart is u(t) + alpha v(t): separation decays at T8's lambda - g; after, it is the
gap of two open coordinates, (u + v/alpha) e^(-lambda t), and decays at lambda whatever the leak: the two subclasses are
pulled alike. (Above lambda_c the norms themselves decay at lambda - lambda_c, and separation at the rest.) So T8's slow
rate lambda (1 - sqrt(q/S)) lasts for a time that grows only as ln(1/alpha): a hundred times less leak buys ln(100)/g.
With several neurons each opens at its own time, and the last to open leads.

Exact for the closed coordinate; the neuron's own growth is perturbed by alpha v/u, and r by alpha^2, as a leak lets the
other coarse class pull: the law is of first order in alpha.

Corrected: t* had been given as ln(v/(alpha u))/g, without the 1. At S = 2, lambda = .1, v/(alpha u) = 2 that is 9.8,
where the gate opens at 15.5; a test keeps it.

Source: this project, T22 (in the setting of Yang, Steinhardt & Hu, ICML 2023); psi, by which a closed coordinate counts
1/alpha times, is T16's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems import end_state, erosion
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import along, descent, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def predict(
    closed: float,
    active: float,
    slope: float,
    weight_decay: float,
    subclasses: int,
    classes: int,
    *,
    served: int | None = None,
) -> float:
    """The time from rest at which the gate opens, for v = `closed`, u = `active`, alpha = `slope`, lambda, S and C.

    served: q, the number of subclasses on which the neuron is active, 1..S-1; S - 1 by default.
    """
    pull = predict_pull(weight_decay, subclasses, classes, served=served)
    _checked(closed, active, slope)
    return float(THEOREM.formulas.opening.number(closed, active, slope, pull))


def predict_gap(
    closed: float,
    active: float,
    slope: float,
    weight_decay: float,
    times: ArrayLike,
    subclasses: int,
    classes: int,
    *,
    served: int | None = None,
) -> Array:
    """phi(w_c) - phi(w_c') of the neuron at `times` (T,) from rest, before and after its gate opens."""
    t = checks.real("times", times, ("T",))
    pull = predict_pull(weight_decay, subclasses, classes, served=served)
    opens = predict(closed, active, slope, weight_decay, subclasses, classes, served=served)
    f = THEOREM.formulas
    before = f.active.number(active, pull, weight_decay, t)
    before = before + slope * f.closed.number(closed, active, slope, pull, weight_decay, t)
    return np.where(t < opens, before, f.gap.number(closed, active, slope, weight_decay, t))


def predict_pull(weight_decay: float, subclasses: int, classes: int, *, served: int | None = None) -> float:
    """g at rest: lambda sqrt(q/S) below lambda_c, lambda_c sqrt(q/S) above."""
    checks.positive("weight_decay", weight_decay)
    checks.at_least("subclasses", subclasses, 2)
    q = subclasses - 1 if served is None else served
    if not 1 <= q < subclasses:
        raise ValueError(f"served must lie in 1..{subclasses - 1}, got {served}")
    lead = min(weight_decay, end_state.critical(subclasses, classes))
    return float(THEOREM.formulas.pull.number(lead, q, subclasses))


def _checked(closed: float, active: float, slope: float) -> None:
    checks.positive("closed", closed)
    checks.positive("active", active)
    if not 0 < slope < 1:
        raise ValueError(f"slope must lie in (0, 1), got {slope}")


def _neuron(q: int) -> tuple[dict[sp.Expr, sp.Expr], sp.Symbol, tuple[sp.Symbol, ...], sp.Symbol, dict]:
    """Velocity by the leaky loss of a neuron on q subclasses, closed on one more, at residual r on each.

    Returns the velocity, a, the open w (q,), the closed one, and what puts it on the aligned state.
    """
    a, x, u = sp.symbols("a x u", positive=True)
    w, others = sp.symbols(f"w1:{q + 1}"), sp.symbols(f"g1:{q + 2}")
    C, r, lam, alpha = sp.symbols("C r lambda alpha", positive=True)
    images = [*w, alpha * x]
    outputs = [g + a * h for g, h in zip(others, images, strict=True)]
    loss = sum((f - 1) ** 2 for f in outputs) / (2 * C) + penalty(lam, sp.Matrix([a, x, *w]))
    residual = {g: 1 - r - a * h for g, h in zip(others, images, strict=True)}
    velocity = {z: sp.expand(v.xreplace(residual)) for z, v in descent(loss, sp.Matrix([a, x, *w])).items()}
    return velocity, a, w, x, {a: sp.sqrt(q) * u} | dict.fromkeys(w, u)


def _moves(f: Formulas, q: int) -> Iterator[sp.Expr]:
    """The closed forms are the flow of the loss: u and a to zeroth order in alpha, the closed coordinate exactly."""
    velocity, a, w, x, aligned = _neuron(q)
    C, r, lam, alpha, u, v, t = sp.symbols("C r lambda alpha u v t", positive=True)
    pull = r * sp.sqrt(q) / C
    size = f.active(u, pull, lam, t)
    moving = {z: value.subs(sp.Symbol("u", positive=True), size) for z, value in aligned.items()}
    for z in (a, *w):
        yield velocity[z].subs(alpha, 0).xreplace(moving) - sp.diff(moving[z], t)
    coordinate = -f.closed(v, u, alpha, pull, lam, t)
    yield velocity[x].xreplace(moving | {x: coordinate}) - sp.diff(coordinate, t)
    yield f.active(u, pull, lam, 0) - u
    yield f.closed(v, u, alpha, pull, lam, 0) - v


def _opening(f: Formulas) -> sp.Expr:
    """The closed coordinate vanishes there."""
    u, v, alpha, g, lam = sp.symbols("u v alpha g lambda", positive=True)
    return f.closed(v, u, alpha, g, lam, f.opening(v, u, alpha, g)) * sp.exp(lam * f.opening(v, u, alpha, g))


def _gap(f: Formulas, q: int) -> Iterator[sp.Expr]:
    """Both open: their difference moves at -lambda, from the loss; at the opening it is what u is."""
    a, lam, C, r, t = sp.symbols("a lambda C r t", positive=True)
    w, others = sp.symbols(f"w1:{q + 2}"), sp.symbols(f"g1:{q + 2}")
    outputs = [g + a * z for g, z in zip(others, w, strict=True)]
    loss = sum((o - 1) ** 2 for o in outputs) / (2 * C) + penalty(lam, sp.Matrix([a, *w]))
    velocity = descent(loss, sp.Matrix([a, *w]))
    residual = {g: 1 - r - a * z for g, z in zip(others, w, strict=True)}
    u, v, alpha, g = sp.symbols("u v alpha g", positive=True)
    rate = sp.diff(sp.log(f.gap(v, u, alpha, lam, t)), t)
    yield along(velocity, w[0] - w[q]).xreplace(residual) - rate * (w[0] - w[q])
    opens = f.opening(v, u, alpha, g)
    # Times e^{lambda t*}, so that no power of a sum is left to simplify.
    yield sp.powsimp(
        sp.expand((f.gap(v, u, alpha, lam, opens) - f.active(u, g, lam, opens)) * sp.exp(lam * opens)),
        force=True,
    )


def _rates(f: Formulas) -> Iterator[sp.Expr]:
    """The pull at rest from the full neurons, and then separation's two rates: T8's, and lambda."""
    S, q, C, lam, u, t, r = sp.symbols("S q C lambda u t r", positive=True)
    # Full neurons rest where r sqrt(S)/C = lambda: a pattern's pull with q = S.
    (rest,) = sp.solve(r * sp.sqrt(S) / C - lam, r)
    yield rest * sp.sqrt(q) / C - f.pull(lam, q, S)
    before = f.active(u, f.pull(lam, q, S), lam, t)
    yield -sp.diff(sp.log(before), t) - erosion.THEOREM.formulas.rate(lam, q, S)
    # Above critical r = 1.
    critical = end_state.THEOREM.formulas.critical(S, C, 1)
    yield sp.sqrt(q) / C - f.pull(critical, q, S)


u, v, alpha, g, lam, t = sp.symbols("u v alpha g lambda t", positive=True)
lead, q, S = sp.symbols("lambda q S", positive=True)
PULLED = {"closed": lambda v, u, alpha, g, lam, t: sp.exp(-lam * t) * (v - alpha * u * (sp.exp(lam * t) - 1))}

THEOREM = Theorem(
    id="T22",
    subject="leak and erosion",
    assumptions=(
        "leaky ReLU of small slope",
        "orthonormal means, no input noise, equal probabilities",
        "squared loss, targets +-1",
        "full neurons at rest, the neuron small beside them",
        "an aligned neuron, closed on another subclass of its coarse class",
    ),
    formulas=Formulas(
        pull=Formula(lambda lead, q, S: lead * sp.sqrt(sp.sympify(q) / S), (lead, q, S), "g", "g"),
        active=Formula(lambda u, g, lam, t: u * sp.exp((g - lam) * t), (u, g, lam, t), "u(t)", "u(t)"),
        closed=Formula(
            lambda v, u, alpha, g, lam, t: sp.exp(-lam * t) * (v - alpha * u * (sp.exp(g * t) - 1)),
            (v, u, alpha, g, lam, t),
            "v(t)",
            "v(t)",
        ),
        opening=Formula(
            lambda v, u, alpha, g: sp.log(1 + v / (alpha * u)) / g, (v, u, alpha, g), "t*", r"t^\ast"
        ),
        gap=Formula(
            lambda v, u, alpha, lam, t: (u + v / alpha) * sp.exp(-lam * t),
            (v, u, alpha, lam, t),
            "gap",
            r"\mathrm{gap}",
        ),
    ),
    claims=(
        Claim(
            "at rest a neuron on q subclasses is pulled at {pull} (above lambda_c with lambda_c for lambda): {active}, "
            "and its closed coordinate is -v with {closed}",
            ("moves", "rates"),
            "q beyond those listed; the first order in alpha of u",
        ),
        Claim("its gate opens at {opening}", ("opening",)),
        Claim(
            "from then on what tells the two subclasses apart is {gap}, at rate lambda; before, u(t) + alpha v(t), at "
            "T8's rate",
            ("gap", "rates"),
            "q beyond those listed",
        ),
        Claim("of several neurons the last to open leads the separation"),
    ),
    steps=(
        Step(
            "moves",
            "from the leaky loss of a neuron on q subclasses, closed on one more, at one residual: its velocity",
            _moves,
            {"active": lambda u, g, lam, t: u * sp.exp(g * t), **PULLED},
            "q",
            (1, 2, 3),
        ),
        Step(
            "opening",
            "from the closed coordinate: it vanishes there",
            _opening,
            {"opening": lambda v, u, alpha, g: sp.log(v / (alpha * u)) / g},
            "neuron",
        ),
        Step(
            "gap",
            "from the loss with both gates open, and from u at the opening",
            _gap,
            {"gap": lambda v, u, alpha, lam, t: (u + v) * sp.exp(-lam * t)},
            "q",
            (1, 2, 3),
        ),
        Step(
            "rates",
            "from the residual at which full neurons rest, or 1 above lambda_c",
            _rates,
            {"pull": lambda lead, q, S: lead * q / S, "active": lambda u, g, lam, t: u * sp.exp(g * t)},
            "q and S",
        ),
    ),
)

prove, statement = THEOREM.prove, THEOREM.statement
