"""T16 Leak and noise crossover: a leak or a noise eps^kappa opens closed gates, and the exponent turns to 1 - kappa.

Setting of T7 (orthonormal means, C equally likely fine classes, S a coarse class, targets +-1, lambda = 0, start of
scale eps), with the gates softened: leaky ReLU of slope alpha = eps^kappa below zero, or inputs with noise
sigma^2 I, sigma = eps^kappa. As eps -> 0

    sep ~ eps^(1 - min(kappa, rho_S)),   rho_S = sqrt((S-1)/S):

a coordinate -v (v ~ eps) of a neuron whose active ones have grown to x opens where alpha x ~ v (sigma x ~ v), its gap
x + v stays from then on, and x reaches eps^(1 - rho_S) at most. A fixed leak or noise (kappa = 0) gives a linear
network's exponent, 1. T7 holds if alpha, sigma << eps^rho_S.

Leak, exactly: psi(w) = w (w > 0), w/alpha (w < 0). For every lambda and loss, with r_c the residual on fine class c,
D = psi(w_.c) - psi(w_.c') in R^m (m neurons, same coarse class) obeys dD/dt = A^T (r_c - r_c')/C - lambda D, so

    e^{lambda t} D(t) = D(0) + (1/C) int_0^t e^{lambda s} A(s)^T (r_c - r_c')(s) ds;

where the residuals are equal D is e^{-lambda t} times its initial value.

Gate equations: while residuals are equal, neurons are independent in the time tau = int r dt/C,

    da/dtau = sum_c t_c E phi(z_c),   dw/dtau = a grad_w sum_c t_c E phi(z_c),   z_c = w . x given c.

Leak: E phi = phi(w_c), exact. Noise: h_c = w_c/(sigma ||w||), and the gradient is
sum_c t_c (Phi(h_c) e_c + sigma phi(h_c) w/||w||). Stopped at margin 1,
for each coarse class apart, they give sep at finite eps. The error is of order C sigma^2 (outputs end near
1/(1 + C sigma^2), not at 1); at starts that are not equal under permutation of classes also alpha^2 (the leak couples
coarse classes, whose residuals differ) and sep^2 (so do those of subclasses; what levels them is put in, along A).
Without the term in phi(h), a closed coordinate w' beside one active x obeys the one-dimensional equation
dw'/dx = Phi(w'/(sigma sqrt(x^2 + w'^2))). Noise has a logarithm: the
gap is v/(sigma sqrt(2 ln(1/sigma))) to leading order, so that the local exponent is 1 - kappa + 1/(2 ln(1/eps)).

Corrected: D had been claimed to be e^{-lambda t} D(0) apart from its component along a_j. The correction is an
integral over the past A(s), which turn during training, and does not lie along A(t): the law above holds instead;
tests/theory/theorems/test_crossover.py keeps a start where a fifth of it is off A(t). And the one-dimensional equation
has an error of order sigma, not sigma^2: it leaves out the pull of inputs at the edges of the gates, sigma phi(h).
Noise must be isotropic, or at least act along the means: noise in other directions leaves T7's exponent.

Proved are the psi law, the gate equations, and with a leak the exponent that follows from them on aligned neurons.
With noise the gap v/(sigma sqrt(2 ln(1/sigma))) is a leading-order estimate that nothing here derives, and the exponent
rests on it.

Source: this project, T16 (in the setting of Yang, Steinhardt & Hu, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, product

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from finegrain.theory.theorems import specialisation
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem, Unknown
from finegrain.theory.theorems.symbolic import descent, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

# w (m, C), labels (C,) -> E phi(z_c) (m, C), grad_w sum_c t_c E phi(z_c) (m, C)
Gate = Callable[[Array, Array], tuple[Array, Array]]


def predict(kappa: float, subclasses: int) -> float:
    """The exponent as eps -> 0, for leaky slope or noise eps^kappa, kappa >= 0, and S >= 2."""
    checks.at_least("kappa", kappa, 0)
    checks.at_least("subclasses", subclasses, 2)
    return float(THEOREM.formulas.exponent.number(kappa, subclasses))


def psi(w: ArrayLike, slope: float) -> Array:
    """w where w > 0, w / slope elsewhere, for slope in (0, 1]: the coordinate in which a leak is no leak."""
    w = np.asarray(w, dtype=np.float64)
    return np.where(w > 0, w, w * THEOREM.formulas.stretch.number(_checked_slope(slope)))


def predict_psi_velocity(
    difference: Array, A: Array, residuals: Array, classes: int, weight_decay: float
) -> Array:
    """dD/dt (m,), from D (m,), A (K, m), r_c - r_c' (K,), C and lambda."""
    return THEOREM.formulas.velocity.number(
        A, residuals[:, None], difference[:, None], classes, weight_decay
    )[:, 0]


def predict_leaky_coordinate(closed: float, active: float, grown: float, slope: float) -> float:
    """A coordinate that starts at `closed`, when an active one has grown from `active` to `grown` (lambda = 0)."""
    opens = THEOREM.formulas.opening.number(active, -closed, slope) if closed < 0 else active - closed
    return float(grown - opens if grown > opens else slope * (grown - opens))


def predict_noisy_coordinate(closed: float, active: float, grown: float, noise: float) -> float:
    """The same under noise, by the one-dimensional gate equation: dw'/dx = Phi(w'/(sigma sqrt(x^2 + w'^2)))."""
    solution = solve_ivp(
        lambda x, y: THEOREM.formulas.one_dimensional.number(x, y, noise),
        (active, grown),
        [closed],
        rtol=1e-10,
        atol=1e-12 * abs(closed),
    )
    return float(solution.y[0, -1])


def predict_noisy_exponent(kappa: float, eps: float) -> float:
    """The local exponent for 0 < kappa < rho_S to leading order in 1/ln(1/eps): 1 - kappa + 1/(2 ln(1/eps))."""
    return float(THEOREM.formulas.noisy_exponent.number(kappa, eps))


def leaky(slope: float) -> Gate:
    """Leaky ReLU without noise: E phi(z_c) = phi(w_c)."""
    alpha = _checked_slope(slope)

    def gate(w: Array, labels: Array) -> tuple[Array, Array]:
        open_ = w > 0
        return np.where(open_, w, alpha * w), np.where(open_, labels, alpha * labels)

    return gate


def noisy(noise: float) -> Gate:
    """ReLU with inputs e_c + noise N(0, I): a gate half open at w_c = 0, and the pull of inputs at its edge."""
    if not noise > 0:
        raise ValueError(f"noise must be > 0, got {noise}")

    def gate(w: Array, labels: Array) -> tuple[Array, Array]:
        norm = np.linalg.norm(w, axis=1, keepdims=True)
        h = w / (noise * norm)
        edge = np.exp(-(h**2) / 2) * (noise / np.sqrt(2 * np.pi))
        open_ = THEOREM.formulas.gate.number(h)
        pull = open_ * labels + (edge @ labels)[:, None] * w / norm
        return w * open_ + edge * norm, pull

    return gate


def predict_separation(
    W0: ArrayLike, a0: ArrayLike, labels: ArrayLike, gate: Gate, rtol: float = 1e-9
) -> float:
    """Mean separation of same-coarse pairs, for each class where the gate equations bring its mean margin to 1.

    Args:
        W0: (m, C) at time 0, in the basis of the means.
        a0: (m,) output weights at time 0.
        labels: (C,) of +-1.
        gate: leaky(slope) or noisy(noise).
        rtol: error of a step of the integrator, relative to each neuron.

    Raises:
        RuntimeError: a margin never reaches 1 (no neuron serves its class).
    """
    W0 = checks.real("W0", W0, ("m", "C"))
    m, C = W0.shape
    a0, t = checks.real("a0", a0, (m,)), checks.real("labels", labels, (C,))

    def velocity(_: float, state: Array) -> Array:
        a, W = state[:m], state[m:].reshape(m, C)
        mean, pull = gate(W, t)
        return np.concatenate([mean @ t, (a[:, None] * pull).ravel()])

    def margin(label: int) -> Callable[[float, Array], float]:
        own = np.where(t == label, t, 0) / np.sum(t == label)
        return lambda _, state: float(state[:m] @ (gate(state[m:].reshape(m, C), t)[0] @ own)) - 1

    events = (margin(-1), margin(1))
    found: dict[int, Array] = {}
    tau, state = 0.0, np.concatenate([a0, W0.ravel()])
    # A neuron on S subclasses grows at sqrt S >= 1, from its scale to order 1.
    end = 20 - np.log(np.hypot(np.linalg.norm(W0, axis=1), np.abs(a0)).max())
    while len(found) < 2:
        if tau > end:
            raise RuntimeError(
                f"both margins must reach 1, but had not by tau = {tau}: has every class a neuron?"
            )
        # Tolerances follow each neuron: at its start's scale the kink of a leak could not be located later.
        scale = np.hypot(np.linalg.norm(state[m:].reshape(m, C), axis=1), state[:m])
        atol = rtol * np.concatenate([scale, np.repeat(scale, C)])
        step = solve_ivp(velocity, (tau, tau + 1), state, events=events, rtol=rtol, atol=atol)
        for label, states in zip((-1, 1), step.y_events, strict=True):
            if len(states):
                found.setdefault(label, states[0])
        tau, state = tau + 1, step.y[:, -1]
    total, pairs = 0.0, 0
    for label, state in found.items():
        a, W = state[:m], state[m:].reshape(m, C)
        h = _levelled(gate(W, t)[0], a, (W > 0) & (a[:, None] * t > 0), t)[:, t == label].T
        total += _pair_sum(h)
        pairs += len(h) * (len(h) - 1) // 2
    return total / pairs


def _levelled(h: Array, a: Array, serving: NDArray[np.bool_], labels: Array) -> Array:
    """h (m, C) with margins of a coarse class made equal, as residuals do: along a, on the neurons that serve c."""
    means = np.where(labels > 0, *((a @ h)[labels == s].mean() for s in (1, -1)))
    along = np.where(serving, a[:, None], 0.0)
    return h + along * ((means - a @ h) / np.maximum(np.sum(along**2, axis=0), np.finfo(float).tiny))


def _pair_sum(h: Array) -> float:
    """Sum over pairs of rows of ||h_c - h_c'||/sqrt(||h_c|| ||h_c'||)."""
    norms = np.linalg.norm(h, axis=1)
    return sum(
        float(np.linalg.norm(h[c] - h[k]) / np.sqrt(norms[c] * norms[k]))
        for c, k in combinations(range(len(h)), 2)
    )


def predict_slope(
    W0: Array, a0: Array, labels: Array, gate: Callable[[float], Gate], kappa: float, eps: Array
) -> float:
    """Least-squares slope of ln sep against ln eps by the gate equations, from (W0, a0) at eps = 1."""
    ends = [predict_separation(e * W0, e * a0, labels, gate(e**kappa)) for e in eps]
    return float(np.polyfit(np.log(eps), np.log(ends), 1)[0])


def _checked_slope(slope: float) -> float:
    if not 0 < slope <= 1:
        raise ValueError(f"slope must lie in (0, 1], got {slope}")
    return slope


def _psi(f: Formulas, S: int, m: int, K: int) -> Iterator[sp.Matrix]:
    """Squared loss on S subclasses; phi and psi are linear on each sign pattern of W (m, S)."""
    lam, C, alpha = sp.symbols("lambda C alpha")
    W, A, t = matrix("W", m, S), matrix("A", K, m), matrix("t", K, 1)
    for slopes in product((sp.S.One, alpha), repeat=S * m):
        slope = sp.Matrix(m, S, slopes)
        factor = slope.applyfunc(lambda s: f.stretch(alpha) if s == alpha else s)
        residual = [t - A * slope[:, c].multiply_elementwise(W[:, c]) for c in range(S)]
        loss = sum(e**2 for r in residual for e in r) / (2 * C) + penalty(lam, W, A)
        velocity = descent(loss, W)
        moved = W.applyfunc(velocity.__getitem__).multiply_elementwise(factor)
        psi = W.multiply_elementwise(factor)
        for c in range(1, S):
            claimed = f.velocity(A, residual[0] - residual[c], psi[:, 0] - psi[:, c], C, lam)
            yield moved[:, 0] - moved[:, c] - claimed


class Norm(Unknown):
    """||w||: its derivatives are all that the proof needs, and a symbol of its own keeps the proof short."""

    def fdiff(self, argindex: int) -> sp.Expr:
        """w_c / ||w||."""
        return self.args[argindex - 1] / self


def _gate(f: Formulas, C: int) -> Iterator[sp.Expr]:
    """One ReLU neuron, inputs N(e_c, sigma^2 I): E relu and E relu^2 (T1) give the loss, whose lowest order in the
    scale of the weights drives a and w as the gate equations say; the next is their square."""
    sigma, a, scale = sp.symbols("sigma a scale")
    w, t = sp.symbols(f"w1:{C + 1}"), sp.symbols(f"t1:{C + 1}")
    norm = Norm(*w)
    s = sigma * norm
    h = [x / s for x in w]
    density = [sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi) for x in h]
    Phi = [_normal(x) for x in h]
    mean = [w[c] * Phi[c] + s * density[c] for c in range(C)]
    square = [(w[c] ** 2 + s**2) * Phi[c] + w[c] * s * density[c] for c in range(C)]
    # Both are homogeneous in w, so that weights of size `scale` put it in front.
    loss = sum(
        t[c] ** 2 - 2 * t[c] * scale**2 * a * mean[c] + scale**4 * a**2 * square[c] for c in range(C)
    ) / (2 * C)
    leading = loss.expand().coeff(scale, 2)
    for c in range(C):
        pull = t[c] * f.gate(h[c]) + sigma * sum(t[k] * density[k] for k in range(C)) * w[c] / norm
        yield -sp.diff(leading, w[c]) * C - a * pull
    output = sum(t[c] * (w[c] * f.gate(h[c]) + s * density[c]) for c in range(C))
    yield -sp.diff(leading, a) * C - output


def _opening(f: Formulas) -> sp.Expr:
    """Equal residuals and lambda = 0: psi(w') - x is conserved (the psi law), from -stretch v - x_0 to 0 - x."""
    alpha, v, x0, x, C = sp.symbols("alpha v x_0 x C", positive=True)
    difference, none = sp.Matrix([f.stretch(alpha) * -v - x0]), sp.zeros(1, 1)
    speed = f.velocity(sp.Matrix([sp.Symbol("a")]), none, difference, C, 0)[0]
    (opens,) = sp.solve(difference[0] + x, x)
    return speed, opens - f.opening(x0, v, alpha)


def _leaky_exponent(f: Formulas, order: int) -> sp.Expr:
    """The gap when the neuron's active coordinate stops: at the opening, or at the end of training if that is first.

    order: 1 for kappa < rho_S, -1 for kappa > rho_S.
    """
    others, eps, a, b, beyond = sp.symbols("others epsilon a b beyond", positive=True)
    S = 1 + others
    shut = f.shut(S)
    kappa = 1 - shut - order * beyond
    # Any positive exponent will do for the limit; the opening knows kappa only through alpha.
    power = sp.Symbol("kappa", positive=True)
    gap = f.opening(a * eps, b * eps, eps**power)
    opens = sp.limit(sp.log(gap) / sp.log(eps), eps, 0, "+").subs(power, kappa)
    # Of two powers of eps the smaller gap has the larger exponent.
    first = opens if sp.simplify(opens - shut).is_positive else shut
    return first - f.exponent(kappa, S)


def _shut(f: Formulas) -> sp.Expr:
    """The active coordinate of a neuron on S - 1, once a neuron on S has grown from eps to 1 (growth: T7)."""
    S, C = sp.symbols("S C", positive=True)
    log_eps, R = sp.symbols("log_eps R")
    growth = specialisation.THEOREM.formulas.growth
    (reached,) = sp.solve(log_eps + growth(S, 1, C, 0) * R, R)
    return f.shut(S) - (log_eps + growth(S - 1, 1, C, 0) * reached) / log_eps


def _noisy_exponent(f: Formulas) -> sp.Expr:
    eps, kappa = sp.symbols("epsilon kappa", positive=True)
    log_gap = sp.expand_log(sp.log(f.noisy_gap(eps, eps**kappa)), force=True)
    return eps * sp.diff(log_gap, eps) - f.noisy_exponent(kappa, eps)


def _normal(h: sp.Expr) -> sp.Expr:
    """Phi(h)."""
    return (1 + sp.erf(h / sp.sqrt(2))) / 2


kappa, S, alpha, lam, C, h, x, x0, v, sigma, eps = sp.symbols(
    "kappa S alpha lambda C h x x_0 v sigma epsilon"
)
width, outputs = sp.symbols("m K", integer=True, positive=True)
closed = sp.Symbol("w'")
A, r, D = (
    sp.MatrixSymbol("A", outputs, width),
    sp.MatrixSymbol("r", outputs, 1),
    sp.MatrixSymbol("D", width, 1),
)

THEOREM = Theorem(
    id="T16",
    subject="leak and noise crossover",
    assumptions=(
        "orthonormal means, equal probabilities within the coarse class (T7)",
        "some neuron active on all S subclasses, and some on S-1",
        "lambda = 0 (the exponent; the psi law holds for every lambda)",
        "equal residuals on the subclasses (psi law and gate equations; else its integral)",
        "the noise acts along the means (isotropic noise)",
    ),
    formulas=Formulas(
        stretch=Formula(lambda alpha: 1 / alpha, (alpha,), "psi(w)/w for w < 0", r"\psi(w)/w"),
        velocity=Formula(
            lambda A, r, D, C, lam: A.T @ r / C - lam * D, (A, r, D, C, lam), "dD/dt", r"\frac{dD}{dt}"
        ),
        opening=Formula(lambda x0, v, alpha: x0 + v / alpha, (x0, v, alpha), "x", "x"),
        shut=Formula(
            lambda S: specialisation.THEOREM.formulas.exponent(S - 1, S),
            (S,),
            "ln sep/ln eps",
            r"\frac{\ln \mathrm{sep}}{\ln \varepsilon}",
        ),
        exponent=Formula(
            lambda kappa, S: 1 - sp.Min(kappa, sp.sqrt((S - 1) / S)),
            (kappa, S),
            "ln sep/ln eps",
            r"\frac{\ln \mathrm{sep}}{\ln \varepsilon}",
        ),
        gate=Formula(_normal, (h,), "Phi(h)", r"\Phi(h)"),
        one_dimensional=Formula(
            lambda x, w, sigma: _normal(w / (sigma * sp.sqrt(x**2 + w**2))),
            (x, closed, sigma),
            "dw'/dx",
            r"\frac{dw'}{dx}",
        ),
        noisy_gap=Formula(lambda v, sigma: v / (sigma * sp.sqrt(2 * sp.log(1 / sigma))), (v, sigma)),
        noisy_exponent=Formula(
            lambda kappa, eps: 1 - kappa + 1 / (2 * sp.log(1 / eps)),
            (kappa, eps),
            "d ln sep/d ln eps",
            r"\frac{d \ln \mathrm{sep}}{d \ln \varepsilon}",
        ),
    ),
    claims=(
        Claim(
            "leaky slope alpha: with {stretch}, the difference D = psi(w_c) - psi(w_c') of a coarse class obeys "
            "{velocity}, r = r_c - r_c'",
            ("psi",),
        ),
        Claim("a closed coordinate -v beside an active one from x_0 opens at {opening}", ("psi", "opening")),
        Claim(
            "without leak and noise {shut}", ("shut",), "the alignment and convergence that T7 leaves open"
        ),
        Claim(
            "slope alpha = eps^kappa: {exponent}",
            ("opening", "shut", "leaky exponent"),
            "that flow from a random start has the aligned neurons of T7 and ends at f = 1 is observed",
        ),
        Claim("noise: small weights move by the gate equations, a gate open by {gate}", ("gate",)),
        Claim("up to order sigma a closed coordinate obeys {one_dimensional}"),
        Claim(
            "noise sigma = eps^kappa, kappa < rho_S: the gap is {noisy_gap}, hence {noisy_exponent}",
            ("noisy exponent",),
            "the gap is a leading-order estimate",
        ),
    ),
    steps=(
        Step(
            "psi",
            "from the squared loss on every sign pattern of the weights: the velocity of D",
            _psi,
            {
                "stretch": lambda alpha: 1 / alpha**2,
                "velocity": lambda A, r, D, C, lam: A.T @ r / C - 2 * lam * D,
            },
            "(S, m, K)",
            ((2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 1, 1)),
        ),
        Step(
            "opening",
            "from the psi law with equal residuals: psi(w') - x does not move, and w' = 0 where it opens",
            _opening,
            {
                "opening": lambda x0, v, alpha: x0 + v,
                "stretch": lambda alpha: sp.S.One,
                "velocity": lambda A, r, D, C, lam: A.T @ r / C - (lam + 1) * D,
            },
        ),
        Step(
            "shut",
            "from T7's growth: how far neurons on S - 1 come while those on S grow from eps to 1",
            _shut,
            {"shut": lambda S: 1 / S},
            "S",
        ),
        Step(
            "leaky exponent",
            "from the opening at alpha = eps^kappa as eps -> 0, against the end of training, whichever is first",
            _leaky_exponent,
            {
                "exponent": lambda kappa, S: 1 - sp.Min(kappa, 1 / S),
                "opening": lambda x0, v, alpha: x0 + v / alpha**2,
                "shut": lambda S: 1 / S,
            },
            "sign of rho_S - kappa",
            (1, -1),
        ),
        Step(
            "gate",
            "from E relu and E relu^2 (T1) in the squared loss: its gradient at lowest order in the weights' scale",
            _gate,
            {"gate": lambda h: (1 + sp.erf(h)) / 2},
            "C",
            (2, 3),
        ),
        Step(
            "noisy exponent",
            "from the gap as given, at v = eps: its logarithm, differentiated by ln eps",
            _noisy_exponent,
            {
                "noisy_exponent": lambda kappa, eps: 1 - kappa,
                "noisy_gap": lambda v, sigma: v / sigma,
            },
            "kappa",
        ),
    ),
)

prove = THEOREM.prove
