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

Source: this project, T16 (in the setting of Yang, Steinhardt & Hu, ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp
from scipy.special import ndtr

from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, penalty, require_zero
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

# w (m, C), labels (C,) -> E phi(z_c) (m, C), grad_w sum_c t_c E phi(z_c) (m, C)
Gate = Callable[[Array, Array], tuple[Array, Array]]

THEOREM = Theorem(
    id="T16",
    subject="leak and noise crossover",
    statement="leaky slope or noise eps^kappa: separation ends as eps^(1 - min(kappa, rho_S)), by the gate equations",
    assumptions=(
        "orthonormal means, equal probabilities within the coarse class (T7)",
        "some neuron active on all S subclasses, and some on S-1",
        "lambda = 0 (the exponent; the psi law holds for every lambda)",
        "equal residuals on the subclasses (psi law and gate equations; else its integral)",
        "the noise acts along the means (isotropic noise)",
    ),
    sizes="psi at (S, m, K) = (2,1,1), (2,2,1), (2,2,2), (3,1,1), every sign pattern; gates C = 2, 3; "
    "exponents for all S",
    latex=(
        r"\mathrm{sep} \sim \varepsilon^{1 - \min(\kappa, \rho_S)}",
        r"\frac{d}{dt}\bigl(\psi(w_c) - \psi(w_{c'})\bigr) = \tfrac1C A^\top (r_c - r_{c'}) "
        r"- \lambda \bigl(\psi(w_c) - \psi(w_{c'})\bigr)",
        r"\frac{dw'}{dx} = \Phi\Bigl(\frac{w'}{\sigma \sqrt{x^2 + w'^2}}\Bigr)",
    ),
)


def predict(kappa: float, subclasses: int) -> float:
    """The exponent as eps -> 0, for leaky slope or noise eps^kappa, kappa >= 0, and S >= 2."""
    checks.at_least("kappa", kappa, 0)
    checks.at_least("subclasses", subclasses, 2)
    return float(1 - min(kappa, np.sqrt((subclasses - 1) / subclasses)))


def psi(w: ArrayLike, slope: float) -> Array:
    """w where w > 0, w / slope elsewhere, for slope in (0, 1]: the coordinate in which a leak is no leak."""
    w = np.asarray(w, dtype=np.float64)
    return np.where(w > 0, w, w / _checked_slope(slope))


def predict_psi_velocity(
    difference: Array, A: Array, residuals: Array, classes: int, weight_decay: float
) -> Array:
    """dD/dt (m,), from D (m,), A (K, m), r_c - r_c' (K,), C and lambda."""
    return A.T @ residuals / classes - weight_decay * difference


def predict_leaky_coordinate(closed: float, active: float, grown: float, slope: float) -> float:
    """A coordinate that starts at `closed`, when an active one has grown from `active` to `grown` (lambda = 0)."""
    reached = float(psi(closed, slope)) + grown - active
    return reached if reached > 0 else slope * reached


def predict_noisy_coordinate(closed: float, active: float, grown: float, noise: float) -> float:
    """The same under noise, by the one-dimensional gate equation: dw'/dx = Phi(w'/(sigma sqrt(x^2 + w'^2)))."""
    solution = solve_ivp(
        lambda x, y: ndtr(y / (noise * np.hypot(x, y))),
        (active, grown),
        [closed],
        rtol=1e-10,
        atol=1e-12 * abs(closed),
    )
    return float(solution.y[0, -1])


def predict_noisy_exponent(kappa: float, eps: float) -> float:
    """The local exponent for 0 < kappa < rho_S to leading order in 1/ln(1/eps): 1 - kappa + 1/(2 ln(1/eps))."""
    return 1 - kappa + 1 / (2 * float(np.log(1 / eps)))


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
        pull = ndtr(h) * labels + (edge @ labels)[:, None] * w / norm
        return w * ndtr(h) + edge * norm, pull

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


def prove(
    stretch: Callable[[sp.Expr], sp.Expr] | None = None, gate: Callable[[sp.Expr], sp.Expr] | None = None
) -> None:
    """The psi law from the loss on every sign pattern, the gate equations from the loss, and the exponents.

    stretch: the claimed alpha -> factor of psi below zero, 1/alpha by default.
    gate: the claimed h -> how far a gate is open, Phi(h) by default.
    """
    stretch = stretch or (lambda alpha: 1 / alpha)
    gate = gate or (lambda h: (1 + sp.erf(h / sp.sqrt(2))) / 2)
    for S, m, K in ((2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 1, 1)):
        for negative in product((False, True), repeat=S * m):
            _prove_psi(stretch, S, m, K, negative)
    for C in (2, 3):
        _prove_gate(gate, C)
    _prove_leaky_coordinate(stretch)
    _prove_exponent()


def _prove_psi(
    stretch: Callable[[sp.Expr], sp.Expr], S: int, m: int, K: int, negative: tuple[bool, ...]
) -> None:
    """Squared loss on S subclasses; phi and psi are linear on each sign pattern of W (m, S)."""
    lam, C, alpha = sp.symbols("lambda C alpha")
    W, A, t = matrix("W", m, S), matrix("A", K, m), matrix("t", K, 1)
    slope = sp.Matrix(m, S, lambda j, c: alpha if negative[j * S + c] else 1)
    factor = slope.applyfunc(lambda s: stretch(alpha) if s == alpha else sp.Integer(1))
    residual = [t - A * slope[:, c].multiply_elementwise(W[:, c]) for c in range(S)]
    loss = sum(e**2 for r in residual for e in r) / (2 * C) + penalty(lam, W, A)
    stretched = -gradient(loss, W).multiply_elementwise(factor)
    D = W.multiply_elementwise(factor)
    for c in range(1, S):
        law = A.T * (residual[0] - residual[c]) / C - lam * (D[:, 0] - D[:, c])
        require_zero(f"T16 psi at S, m, K = {S, m, K}", stretched[:, 0] - stretched[:, c] - law)


class Norm(sp.Function):
    """||w||: its derivatives are all that the proof needs, and a symbol of its own keeps the proof short."""

    def fdiff(self, argindex: int) -> sp.Expr:
        """w_c / ||w||."""
        return self.args[argindex - 1] / self


def _prove_gate(gate: Callable[[sp.Expr], sp.Expr], C: int) -> None:
    """One ReLU neuron, inputs N(e_c, sigma^2 I): E relu and E relu^2 (T1) give the loss, whose lowest order in the
    scale of the weights drives a and w as the gate equations say; the next is their square."""
    sigma, a, scale = sp.symbols("sigma a scale")
    w = sp.symbols(f"w1:{C + 1}")
    t = sp.symbols(f"t1:{C + 1}")
    norm = Norm(*w)
    h = [x / (sigma * norm) for x in w]
    density = [sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi) for x in h]
    Phi = [(1 + sp.erf(x / sp.sqrt(2))) / 2 for x in h]
    s = sigma * norm
    mean = [w[c] * Phi[c] + s * density[c] for c in range(C)]
    square = [(w[c] ** 2 + s**2) * Phi[c] + w[c] * s * density[c] for c in range(C)]
    # Both are homogeneous in w, so that weights of size `scale` put it in front.
    loss = sum(
        t[c] ** 2 - 2 * t[c] * scale**2 * a * mean[c] + scale**4 * a**2 * square[c] for c in range(C)
    ) / (2 * C)
    leading = loss.expand().coeff(scale, 2)
    for c in range(C):
        claimed = t[c] * gate(h[c]) + sigma * sum(t[k] * density[k] for k in range(C)) * w[c] / norm
        require_zero(f"T16 gate at C = {C}", -sp.diff(leading, w[c]) * C - a * claimed)
    output = sum(t[c] * mean[c] for c in range(C))
    require_zero(f"T16 output weight at C = {C}", -sp.diff(leading, a) * C - output)


def _prove_leaky_coordinate(stretch: Callable[[sp.Expr], sp.Expr]) -> None:
    """dw'/dx = alpha while w' < 0: w' = 0 where the active coordinate has grown by v psi'(0-), gap v (1 + ...) then."""
    alpha, v, x0, x = sp.symbols("alpha v x_0 x")
    closed = -v + alpha * (x - x0)
    opens = x0 + v * stretch(alpha)
    require_zero("T16 opening of a leaky gate", closed.subs(x, opens))
    require_zero("T16 closed coordinate", sp.diff(closed, x) - alpha)


def _prove_exponent() -> None:
    """ln(gap)/ln eps where the gate opens (x = v/eps^kappa) and where it stays shut (x at the end), for every S."""
    S, eps, kappa = sp.symbols("S epsilon kappa", positive=True)
    log_opening = (1 - kappa) * sp.log(eps)
    # x = eps G^sqrt(S-1), G = eps^(-1/sqrt S)
    log_end = sp.log(eps) - sp.sqrt(S - 1) * sp.log(eps) / sp.sqrt(S)
    require_zero("T16 exponent, open", log_opening / sp.log(eps) - (1 - kappa))
    require_zero("T16 exponent, shut", log_end / sp.log(eps) - (1 - sp.sqrt((S - 1) / S)))
    require_zero("T16 crossover", (log_opening - log_end).subs(kappa, sp.sqrt((S - 1) / S)))
    # Noise: ln(gap) up to a constant, with gap = eps/(sigma sqrt(2 ln(1/sigma))), sigma = eps^kappa.
    log_gap = (1 - kappa) * sp.log(eps) - sp.log(-sp.log(eps)) / 2
    require_zero("T16 logarithm", eps * sp.diff(log_gap, eps) - (1 - kappa - 1 / (2 * sp.log(eps))))
