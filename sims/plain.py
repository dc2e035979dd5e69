"""Plain training: RK45 or steps of descent on the bare loss, with gradients by autograd.

The independent side of every comparison. Nothing of theory's theorems is here, nor of the exact population flows: a
network is a list of matrices, the data are points with weights, and torch differentiates the loss as written. It is
slow, and it knows nothing that could be wrong in the same way as a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

Array = NDArray[np.float64]

ACTIVATIONS = ("erf", "identity", "leaky_relu", "relu", "square")
LOSSES = ("cross-entropy", "logistic", "squared")


@dataclass(frozen=True, eq=False)
class Problem:
    """What is minimised: the mean loss over weighted points, plus lambda/2 times all squared weights.

    Attributes:
        inputs: (n, d)
        targets: (n, K): any numbers (squared), +-1 (logistic), probabilities (cross-entropy)
        weights: (n,), adding to 1; None: equal
        activation: after every layer but the last; `slope` below zero is leaky_relu's
        loss: squared, ||f - t||^2/2; logistic, sum_k ln(1 + exp(-t_k f_k)); cross-entropy
        weight_decay: lambda
    """

    inputs: Array
    targets: Array
    weights: Array | None = None
    activation: str = "relu"
    slope: float = 0.0
    loss: str = "squared"
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("activation", self.activation, ACTIVATIONS),
            ("loss", self.loss, LOSSES),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
        n, weights = len(self.inputs), self.weights
        if len(self.targets) != n or (weights is not None and len(weights) != n):
            raise ValueError(f"targets and weights must have one row per input, {n}")


def gaussian_points(
    means: ArrayLike, noise: float, per_class: int, seed: int
) -> tuple[Array, NDArray[np.intp]]:
    """Samples (C n, d) of N(mu_c, noise^2 I), n per fine class, and their fine classes (C n,)."""
    mu = np.asarray(means, dtype=np.float64)
    labels = np.repeat(np.arange(len(mu)), per_class)
    spread = np.random.default_rng(seed).standard_normal((labels.size, mu.shape[1]))
    return mu[labels] + noise * spread, labels


def matching_points(
    means: ArrayLike, covariances: ArrayLike, weights: ArrayLike
) -> tuple[Array, Array, NDArray[np.intp]]:
    """Points (n, d), their weights and fine classes (n,), that share the mean and covariance of each fine class.

    2 d points per class, mean +- sqrt(d) times a column of the covariance's root: all that the squared loss of a
    linear network sees of a distribution.
    """
    mu, each = np.asarray(means, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    C, d = mu.shape
    values, vectors = np.linalg.eigh(np.asarray(covariances, dtype=np.float64))
    columns = np.sqrt(d * np.clip(values, 0, None))[:, :, None] * vectors.swapaxes(1, 2)
    points = mu[:, None, :] + np.concatenate([columns, -columns], axis=1)
    labels = np.repeat(np.arange(C), 2 * d)
    return points.reshape(-1, d), (each / (2 * d))[labels], labels


def activate(problem: Problem, z: torch.Tensor) -> torch.Tensor:
    """phi(z), entry by entry."""
    if problem.activation == "relu":
        return torch.relu(z)
    if problem.activation == "leaky_relu":
        return torch.nn.functional.leaky_relu(z, problem.slope)
    if problem.activation == "erf":
        return torch.erf(z)
    return z if problem.activation == "identity" else z**2


def loss_of(problem: Problem, layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """The loss, weight decay included, of f(x) = A phi(... phi(W x))."""
    h, t = torch.from_numpy(problem.inputs), torch.from_numpy(problem.targets)
    for layer in layers[:-1]:
        h = activate(problem, h @ layer.T)
    f = h @ layers[-1].T
    if problem.loss == "squared":
        each = ((f - t) ** 2).sum(dim=1) / 2
    elif problem.loss == "logistic":
        each = torch.nn.functional.softplus(-t * f).sum(dim=1)
    else:
        each = -(t * torch.log_softmax(f, dim=1)).sum(dim=1)
    mean = each.mean() if problem.weights is None else (torch.from_numpy(problem.weights) * each).sum()
    return mean + problem.weight_decay / 2 * sum((layer**2).sum() for layer in layers)


def gradients(problem: Problem, layers: Sequence[Array]) -> tuple[float, list[Array]]:
    """The loss and its gradient by each layer."""
    tensors = [torch.tensor(layer, dtype=torch.float64, requires_grad=True) for layer in layers]
    value = loss_of(problem, tensors)
    value.backward()
    return float(value.detach()), [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in tensors]


def slopes(problem: Problem, layers: Sequence[Array], fixed: Sequence[int]) -> list[Array]:
    """The loss's gradient by each layer, 0 for the layers that are held `fixed` (by index)."""
    if not set(fixed) <= set(range(len(layers))):
        raise ValueError(f"fixed must hold indices of the {len(layers)} layers; got {fixed}")
    return [0 * g if i in fixed else g for i, g in enumerate(gradients(problem, layers)[1])]


def flow(
    problem: Problem,
    layers: Sequence[ArrayLike],
    times: ArrayLike,
    *,
    rtol: float = 1e-8,
    fixed: Sequence[int] = (),
) -> list[Array]:
    """Gradient flow from time 0 by RK45: each layer at `times`, (T, ...) per layer; those in `fixed` do not move.

    The integrator starts afresh at each time, and its absolute tolerance is rtol times each row's size there (each
    column's for the last layer): small neurons are as exact as large ones. Where weights shrink, give more times.
    """
    state = [np.array(layer, dtype=np.float64) for layer in layers]
    records, now = [], 0.0
    for time in np.asarray(times, dtype=np.float64):
        if time > now:
            state = _advance(problem, state, float(time) - now, rtol, fixed)
        now = float(time)
        records.append(state)
    return [np.array(layer) for layer in zip(*records, strict=True)]


def _advance(
    problem: Problem, layers: list[Array], span: float, rtol: float, fixed: Sequence[int]
) -> list[Array]:
    shapes = [layer.shape for layer in layers]
    cuts = np.cumsum([layer.size for layer in layers])[:-1]

    def split(flat: Array) -> list[Array]:
        return [x.reshape(s) for x, s in zip(np.split(flat, cuts), shapes, strict=True)]

    def velocity(_: float, flat: Array) -> Array:
        return -np.concatenate([g.ravel() for g in slopes(problem, split(flat), fixed)])

    sizes = [np.broadcast_to(np.linalg.norm(x, axis=1, keepdims=True), x.shape) for x in layers[:-1]]
    columns = np.linalg.norm(layers[-1], axis=0)
    # Output weights that start at zero grow with their neuron.
    sizes.append(np.broadcast_to(np.where(columns > 0, columns, sizes[-1][:, 0]), shapes[-1]))
    size = np.concatenate([s.ravel() for s in sizes])
    start = np.concatenate([x.ravel() for x in layers])
    # A neuron at zero stays there; any positive tolerance does.
    found = solve_ivp(
        velocity, (0, span), start, method="RK45", rtol=rtol, atol=np.maximum(rtol * size, 1e-300)
    )
    if not found.success:
        raise RuntimeError(f"RK45 stopped after {found.t[-1]} of {span}: {found.message}")
    return split(found.y[:, -1])


def descend(
    problem: Problem,
    layers: Sequence[ArrayLike],
    steps: Sequence[int],
    *,
    learning_rate: float,
    fixed: Sequence[int] = (),
) -> list[Array]:
    """Full-batch gradient descent: each layer after each number of `steps`, (T, ...) per layer; `fixed` as in flow."""
    state = [np.array(layer, dtype=np.float64) for layer in layers]
    records, done = [], 0
    for goal in steps:
        for _ in range(done, goal):
            moves = slopes(problem, state, fixed)
            state = [x - learning_rate * g for x, g in zip(state, moves, strict=True)]
        done = goal
        records.append(state)
    return [np.array(layer) for layer in zip(*records, strict=True)]


def hidden(problem: Problem, layers: Sequence[Array], inputs: ArrayLike | None = None) -> Array:
    """The representation before the last layer, (n, m), of the problem's inputs or of others."""
    h = torch.from_numpy(np.asarray(problem.inputs if inputs is None else inputs, dtype=np.float64))
    for layer in layers[:-1]:
        h = activate(problem, h @ torch.from_numpy(np.asarray(layer, dtype=np.float64)).T)
    return np.asarray(h.numpy())


def outputs(problem: Problem, layers: Sequence[Array], inputs: ArrayLike | None = None) -> Array:
    """f(x), (n, K)."""
    return hidden(problem, layers, inputs) @ np.asarray(layers[-1]).T


def separations(problem: Problem, layers: Sequence[Array]) -> Array:
    """||h_c - h_c'||/sqrt(||h_c|| ||h_c'||) of every two inputs, (n, n)."""
    h = hidden(problem, layers)
    norms = np.linalg.norm(h, axis=1)
    apart = np.linalg.norm(h[:, None] - h, axis=2)
    return np.asarray(apart / np.sqrt(norms[:, None] * norms))
