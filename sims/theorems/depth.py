"""T17 observed: exact flow of an L-layer linear network, and of two layers under a convex loss with noise.

`linear_flow` integrates F = W_L ... W_1 under the squared loss, which meets the inputs through E x x^T and E t x^T.
`ConvexProblem` has points x_u beside Gaussian noise x_v ~ N(0, s I) in n = 1 or 2 dimensions; expectations over x_v are
trapezoidal sums of step 0.4 out to 8.5 standard deviations. Trapezoidal sums of analytic functions converge
exponentially: with f's slope in x_v/sqrt(s) at most 1.5, logistic's poles at distance pi leave
exp(-2 pi^2/(1.5 0.4)) < 1e-14.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import expit, softmax

from finegrain.sims import plain
from finegrain.sims.population import pointwise
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.theorems import depth as law
from finegrain.theory.tools.arrays import Array

Layers = list[Array]


def linear_flow(
    second: Array, cross: Array, start: Layers, *, weight_decay: float, times: Array, rtol: float = 1e-11
) -> list[Layers]:
    """Layers W_1..W_L, W_l (m_l, m_{l-1}), at each of `times` (increasing, > 0).

    Gradient flow of 1/2 tr(F Sigma F^T) - tr(F M^T) + lambda/2 sum ||W_l||^2 with Sigma = `second` (d, d) and
    M = `cross` (K, d). Errors of a step: rtol of each weight, or of the layers' root mean square.
    """
    shapes = [W.shape for W in start]

    def velocity(_: float, state: Array) -> Array:
        layers = _unpack(state, shapes)
        below = [np.eye(second.shape[0])]
        for W in layers:
            below.append(W @ below[-1])
        above = below[-1] @ second - cross
        parts = []
        for W, under in zip(reversed(layers), reversed(below[:-1]), strict=True):
            parts.append(-above @ under.T - weight_decay * W)
            above = W.T @ above
        return np.concatenate([part.ravel() for part in reversed(parts)])

    state = np.concatenate([W.ravel() for W in start])
    atol = rtol * np.sqrt(np.mean(state**2))
    run = solve_ivp(velocity, (0, times[-1]), state, "DOP853", t_eval=times, rtol=rtol, atol=atol)
    if not run.success:
        raise RuntimeError(f"flow of {len(start)} layers stopped before t = {times[-1]}: {run.message}")
    return [_unpack(y, shapes) for y in run.y.T]


def _unpack(state: Array, shapes: list[tuple[int, ...]]) -> Layers:
    ends = np.cumsum([0, *(a * b for a, b in shapes)])
    return [state[i:j].reshape(shape) for (i, j), shape in zip(pairwise(ends), shapes, strict=True)]


@dataclass(frozen=True, eq=False)
class DeepProblem:
    """A start for `linear_flow` and a direction whose separation is followed.

    Attributes:
        second, cross: E x x^T (d, d) and E t x^T (K, d)
        start: W_1..W_L
        delta: (d,), in V: the difference of two subclasses' inputs
    """

    second: Array
    cross: Array
    start: Layers
    delta: Array


def draw_deep(
    rng: np.random.Generator,
    *,
    depth: int,
    width: int,
    visible: int,
    invisible: int,
    eta: float,
    leak: float = 0.0,
) -> DeepProblem:
    """Random rotations of every layer; visible blocks near the identity, remainders of size eta, K = `visible`.

    leak: size of the blocks between visible and invisible (0: aligned).
    """
    n = [invisible] + [width - visible] * (depth - 1) + [0]
    bases = [np.linalg.qr(rng.standard_normal((visible + k, visible + k)))[0] for k in n]
    start = []
    for l_in, l_out, base_in, base_out in zip(n, n[1:], bases, bases[1:], strict=False):
        core = np.zeros((visible + l_out, visible + l_in))
        core[:visible, :visible] = np.eye(visible) + 0.2 * rng.standard_normal((visible, visible))
        core[visible:, visible:] = eta * rng.standard_normal((l_out, l_in)) / np.sqrt(l_in)
        core[visible:, :visible] = leak * rng.standard_normal((l_out, visible))
        core[:visible, visible:] = leak * rng.standard_normal((visible, l_in))
        start.append(base_out @ core @ base_in.T)
    blocks = np.zeros((visible + invisible,) * 2)
    blocks[:visible, :visible] = np.diag(rng.uniform(0.5, 1.5, visible))
    blocks[visible:, visible:] = np.diag(rng.uniform(0.5, 1.5, invisible))
    cross = np.zeros((visible, visible + invisible))
    cross[:, :visible] = np.diag(rng.uniform(0.8, 1.6, visible))
    delta = np.zeros(visible + invisible)
    delta[visible:] = rng.standard_normal(invisible)
    base = bases[0]
    return DeepProblem(base @ blocks @ base.T, bases[-1] @ cross @ base.T, start, base @ delta)


def draw_converged(
    rng: np.random.Generator, *, depth: int, eta: float, weight_decay: float, turned: bool
) -> DeepProblem:
    """One visible mode at rest, b = s = 1, K = 1, and remainders of size eta in three more dimensions a layer.

    turned: p_{l+1} = q_l and p_1 = 0, as of a mode that was turned: balanced to first order; else all independent.
    """
    n = [3] * depth + [0]
    into = [eta * rng.standard_normal(k) for k in n[:-1]]  # p_l
    out = [eta * rng.standard_normal(k) for k in n[1:]]  # q_l
    if turned:
        into = [np.zeros(3), *out[:-1]]
    start = []
    for p, q in zip(into, out, strict=True):
        remainder = eta * rng.standard_normal((q.size, p.size)) / np.sqrt(p.size)
        start.append(np.block([[np.ones((1, 1)), p[None]], [q[:, None], remainder]]))
    second = np.diag([1.0, 2.0, 2.5, 3.0])
    cross = np.array([[1 + weight_decay, 0, 0, 0]])
    return DeepProblem(second, cross, start, np.array([0.0, 1.0, -0.5, 0.3]))


def separations(layers: Layers, delta: Array) -> Array:
    """||W_l ... W_1 delta|| in layers 1..L-1, shape (L-1,)."""
    apart, found = delta, []
    for W in layers[:-1]:
        apart = W @ apart
        found.append(np.linalg.norm(apart))
    return np.array(found)


@dataclass(frozen=True, eq=False)
class ConvexProblem:
    """Points beside Gaussian noise, and a loss.

    Attributes:
        points: (C, d_u); weights (C,); targets (C, K)
        variance: s; dim: n, 1 or 2
        loss: logistic or cross-entropy
    """

    points: Array
    weights: Array
    targets: Array
    variance: float
    dim: int
    loss: str

    def _grid(self) -> tuple[Array, Array]:
        """Nodes (G, n) and weights (G,) for N(0, s I)."""
        z = np.arange(-21, 22) * 0.4
        density = np.exp(-(z**2) / 2)
        density /= density.sum()
        axes = np.meshgrid(*[z] * self.dim, indexing="ij")
        weights = np.ones(1)
        for _ in range(self.dim):
            weights = np.outer(weights, density).ravel()
        return np.sqrt(self.variance) * np.stack([a.ravel() for a in axes], axis=1), weights

    def gradient(self, W: Array, A: Array) -> tuple[Array, Array]:
        """dL_0/dW (m, d_u + n) and dL_0/dA (K, m)."""
        x, t, mass = self.inputs()
        h = x @ W.T
        residual = mass[:, None] * pointwise.loss(self.loss)(h @ A.T, t)[1]
        return (residual @ A).T @ x, residual.T @ h

    def inputs(self) -> tuple[Array, Array, Array]:
        """Inputs (N, d_u + n), every point beside every node; their targets (N, K) and weights (N,)."""
        nodes, weights = self._grid()
        x = np.hstack([np.repeat(self.points, len(nodes), axis=0), np.tile(nodes, (len(self.points), 1))])
        return x, np.repeat(self.targets, len(nodes), axis=0), np.outer(self.weights, weights).ravel()

    def hessian(self, W: Array, A: Array) -> Array:
        """Hbar = E[Hessian of the loss by f], shape (K, K)."""
        nodes, weights = self._grid()
        d_u = self.points.shape[1]
        f = ((self.points @ W[:, :d_u].T)[:, None] + (nodes @ W[:, d_u:].T)[None]) @ A.T
        mass = self.weights[:, None] * weights
        if self.loss == "logistic":
            return np.diag(np.einsum("cg,cgk->k", mass, expit(f) * expit(-f)))
        p = softmax(f, axis=2)
        return np.diag(np.einsum("cg,cgk->k", mass, p)) - np.einsum("cg,cgk,cgl->kl", mass, p, p)


def draw_convex(rng: np.random.Generator, *, loss: str, dim: int) -> ConvexProblem:
    """Four random points of two (logistic) or three (cross-entropy) classes in the plane; s between 0.3 and 1."""
    K = 1 if loss == "logistic" else 3
    labels = np.arange(6) % (2 if K == 1 else 3)
    targets = np.where(labels[:, None] == 1, 1.0, -1.0) if K == 1 else np.eye(3)[labels]
    return ConvexProblem(
        rng.standard_normal((6, 2)), rng.dirichlet(np.full(6, 5.0)), targets, rng.uniform(0.3, 1), dim, loss
    )


def convex_flow(
    problem: ConvexProblem, W0: Array, A0: Array, *, weight_decay: float, times: Array, rtol: float = 1e-11
) -> list[tuple[Array, Array]]:
    """(W, A) at each of `times`, by gradient flow."""
    shapes = [W0.shape, A0.shape]

    def velocity(_: float, state: Array) -> Array:
        W, A = _unpack(state, shapes)
        dW, dA = problem.gradient(W, A)
        return -np.concatenate([(dW + weight_decay * W).ravel(), (dA + weight_decay * A).ravel()])

    start = np.concatenate([W0.ravel(), A0.ravel()])
    run = solve_ivp(velocity, (0, times[-1]), start, "DOP853", t_eval=times, rtol=rtol, atol=rtol)
    if not run.success:
        raise RuntimeError(f"flow under {problem.loss} loss stopped before t = {times[-1]}: {run.message}")
    return [(W, A) for W, A in (_unpack(y, shapes) for y in run.y.T)]


def convex_log_det(
    problem: ConvexProblem, W0: Array, A0: Array, *, weight_decay: float, end: float, rtol: float = 1e-11
) -> tuple[float, float]:
    """Predicted and observed ln det T_s at `end`, for m = n; the integral over time by 16 Gauss points."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    times = np.append((nodes + 1) * end / 2, end)
    path = convex_flow(problem, W0, A0, weight_decay=weight_decay, times=times, rtol=rtol)
    traces = [np.trace(A.T @ problem.hessian(W, A) @ A) for W, A in path[:-1]]
    predicted = law.predict_log_det(end / 2 * float(weights @ traces), problem.variance)
    return predicted, log_det(problem, W0, path[-1][0], weight_decay, end)


def log_det(problem: ConvexProblem, W0: Array, W: Array, weight_decay: float, t: float) -> float:
    """ln det of e^{lambda t} W_v(t) W_v(0)^{-1}; NaN if the determinant is not positive."""
    d_u = problem.points.shape[1]
    sign, found = np.linalg.slogdet(np.exp(weight_decay * t) * W[:, d_u:] @ np.linalg.inv(W0[:, d_u:]))
    return float(found) if sign > 0 else float("nan")


END, LATE, DECAY = 1.5, 6.0, 0.1
STEPS = "3 times the change when RK45's tolerance is 10 times coarser, and rounding"
# Loss, dimension of x_v, lambda.
CONVEX = (("logistic", 2, 0.02), ("cross-entropy", 1, 0.05))


def verify(seed: int) -> list[Comparison]:
    """The separation in every hidden layer of L = 4, and ln det T_s for two convex losses.

    Observed by plain training: on points that have the moments of the deep problem, and on the nodes over x_v.
    """
    rng = np.random.default_rng([seed, 17])
    return _depth_rows(rng) + [_convex_row(rng, *setting) for setting in CONVEX]


def _depth_rows(rng: np.random.Generator) -> list[Comparison]:
    problem = draw_deep(rng, depth=4, width=6, visible=2, invisible=4, eta=0.3)
    bare = plain.Problem(*points_of(problem), activation="identity", weight_decay=DECAY)
    found, coarser = (_plain_separations(bare, problem, rtol) for rtol in (1e-8, 1e-7))
    claimed = law.predict(separations(problem.start, problem.delta), DECAY, LATE)
    rows = []
    for layer, (predicted, observed, rough) in enumerate(zip(claimed, found, coarser, strict=True), 1):
        name = f"separation in layer {layer} of 4 at t = {LATE:g}, lambda = {DECAY}"
        bound = 3 * abs(rough - observed) / abs(predicted) + 16 * np.finfo(float).eps
        rows.append(Comparison("T17", name, float(predicted), float(observed), float(bound), STEPS))
    return rows


def points_of(problem: DeepProblem) -> tuple[Array, Array]:
    """As many points (d, d) as dimensions and targets (d, K) with E x x^T = `second` and E t x^T = `cross`."""
    d = len(problem.second)
    x = np.sqrt(d) * np.linalg.cholesky(problem.second).T
    return x, d * np.linalg.solve(x.T, problem.cross.T)


def _plain_separations(bare: plain.Problem, problem: DeepProblem, rtol: float) -> Array:
    layers = plain.flow(bare, problem.start, [LATE], rtol=rtol)
    return separations([W[0] for W in layers], problem.delta)


def _convex_row(rng: np.random.Generator, loss: str, dim: int, decay: float) -> Comparison:
    convex = draw_convex(rng, loss=loss, dim=dim)
    W0 = rng.standard_normal((dim, 2 + dim)) / 2
    A0 = rng.standard_normal((convex.targets.shape[1], dim)) / 2
    predicted, _ = convex_log_det(convex, W0, A0, weight_decay=decay, end=END, rtol=1e-9)
    bare = plain.Problem(*convex.inputs(), activation="identity", loss=loss, weight_decay=decay)
    observed, rough = (
        log_det(convex, W0, plain.flow(bare, [W0, A0], [END], rtol=rtol)[0][0], decay, END)
        for rtol in (1e-7, 1e-6)
    )
    name = f"ln det T_s at t = {END}, {loss} loss, s = {convex.variance:.2f}, lambda = {decay}"
    bound = 3 * abs(rough - observed) / abs(predicted) + 1e-12
    return Comparison("T17", name, predicted, observed, bound, STEPS)
