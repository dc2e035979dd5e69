"""T12 observed: linear networks trained on n samples, plainly and by the exact flow.

For the exact flow each sample is a noise-free component of a mixture of its own, so that the population loss is the
training loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finegrain.sims import plain
from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, signs
from finegrain.theory.theorems import finite_samples as law
from finegrain.theory.tools.arrays import Array

# Of plain descent; the loss's curvature is near 1.
STEP = 0.5


@dataclass(frozen=True, eq=False)
class Samples:
    """Training inputs X (d, n), labels (n,) in 0..K'-1 and targets Y (K, n)."""

    X: Array
    labels: NDArray[np.int64]
    Y: Array


def draw(
    rng: np.random.Generator,
    *,
    coarse: int,
    samples: int,
    dim: int,
    commuting: bool = False,
    targets: Array | None = None,
) -> Samples:
    """n inputs with Gaussian class means and noise; by default targets +-1 for two classes, else centred one-hot.

    commuting: X = O G^{1/2} with a random G that commutes with the label projector, O (d, n) orthonormal; needs d >= n.
    targets: (classes, K), one row a class.
    """
    labels = np.concatenate([np.arange(coarse), rng.integers(0, coarse, samples - coarse)])
    if targets is None:
        targets = signs(np.arange(2)) if coarse == 2 else centred_one_hot(np.arange(coarse))
    Y = targets[labels].T
    if not commuting:
        means = rng.standard_normal((dim, coarse))
        X = (means[:, labels] + rng.standard_normal((dim, samples))) / np.sqrt(dim)
        return Samples(X, labels, Y)
    _, values, rows = np.linalg.svd(Y, full_matrices=True)
    rank = int(np.sum(values > 1e-10 * values.max()))
    root = np.zeros((samples, samples))
    for basis in (rows[:rank].T, rows[rank:].T):
        block = rng.standard_normal((basis.shape[1], basis.shape[1])) / np.sqrt(basis.shape[1])
        squares, vectors = np.linalg.eigh(block @ block.T)
        half = basis @ vectors
        root += half * np.sqrt(np.clip(squares, 0, None) + 0.1) @ half.T
    isometry = np.linalg.qr(rng.standard_normal((dim, samples)))[0]
    return Samples(isometry @ root, labels, Y)


def isometric(
    width: int, dim: int, outputs: int, eps: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """W (m, d) with W^T W = eps^2 I, and A (K, m) = 0; m >= d."""
    if width < dim:
        raise ValueError(f"width must be >= dim = {dim} for W^T W = eps^2 I, got {width}")
    return eps * np.linalg.qr(rng.standard_normal((width, dim)))[0], np.zeros((outputs, width))


def flow(
    data: Samples,
    W0: Array,
    A0: Array,
    times: Array,
    weight_decay: float,
    *,
    loss: str = "squared",
    activation: str = "identity",
    rtol: float = 1e-12,
) -> Trajectory:
    """Gradient flow on the mean loss over the samples."""
    mixture = Mixture.from_means(data.X.T, data.labels)
    return population_flow(
        mixture,
        W0,
        A0,
        targets=data.Y.T,
        activation=activation,
        loss=loss,
        weight_decay=weight_decay,
        times=times,
        rtol=rtol,
    )


def remainder(W: Array, A: Array, X: Array) -> Array:
    """H_r^T H_r (n, n): the Gram matrix of the features outside the row space of A."""
    _, values, rows = np.linalg.svd(A, full_matrices=False)
    rows = rows[values > 1e-12 * values.max()]
    H = W @ X
    outside = H - rows.T @ (rows @ H)
    return outside.T @ outside


def integrator_error(W: Array, eps: float, weight_decay: float, t: float, rtol: float = 1e-12) -> float:
    """Relative error allowed in the remainder's Gram: 300 steps of rtol ||W|| each, against W_r of size
    eps e^{-lambda t}, twice for a square; and rounding."""
    left = eps * np.exp(-weight_decay * t)
    return float(2 * 300 * rtol * (left + np.linalg.norm(W, 2)) / left) + 1e-12


def rounding(W: Array, A: Array, eps: float, weight_decay: float, t: float) -> float:
    """Relative rounding of the remainder's Gram: 2 machine epsilons of ||W||, through A's row space."""
    values = np.linalg.svd(A, compute_uv=False)
    values = values[values > 1e-12 * values.max()]
    size = np.linalg.norm(W, 2) / (eps * np.exp(-weight_decay * t))
    return float(2 * np.finfo(float).eps * (8 + size * values.max() / values.min()))


def relative_gap(observed: Array, predicted: Array) -> float:
    """||observed - predicted|| / ||predicted||, Frobenius."""
    return float(np.linalg.norm(observed - predicted) / np.linalg.norm(predicted))


def trained_scatter(
    data: Samples, weight_decay: float, width: int, rng: np.random.Generator, rtol: float = 1e-10
) -> tuple[float, float]:
    """Within-class standard deviation of h, all coordinates together, at the end of training (scalar targets).

    And its change over the last two of the slowest transient's times: e^2 - 1 = 6.4 times what is left, if all is that
    transient. The end is ten times the growth's time, plus twenty times the slowest transient's, e^-20; lambda must
    not be critical, and past it the slowest is lambda - critical.
    """
    dim, n = data.X.shape
    critical = float(np.linalg.norm(data.X @ data.Y[0])) / n
    excess = abs(weight_decay - critical)
    slowest = law.predict_rate(data.X, data.Y[0], weight_decay) if weight_decay < critical else excess
    end = 10 / excess + 20 / slowest
    W0 = 0.5 * rng.standard_normal((width, dim)) / np.sqrt(dim)
    A0 = 0.5 * rng.standard_normal((data.Y.shape[0], width)) / np.sqrt(width)
    before, last = (
        _scatter(W, data)
        for W in flow(data, W0, A0, np.array([end - 2 / slowest, end]), weight_decay, rtol=rtol).W
    )
    return last, abs(last - before)


def _scatter(W: Array, data: Samples) -> float:
    """Within-class standard deviation of h = W x, all coordinates together."""
    H = (W @ data.X).T
    for k in np.unique(data.labels):
        H[data.labels == k] -= H[data.labels == k].mean(axis=0)
    return float(np.sqrt(np.sum(H**2) / len(H)))


def plain_problem(data: Samples, weight_decay: float) -> plain.Problem:
    """The training loss."""
    return plain.Problem(data.X.T, data.Y.T, activation="identity", weight_decay=weight_decay)


def plain_scatter(data: Samples, weight_decay: float, layers: list[Array]) -> tuple[float, float]:
    """As `trained_scatter`, by plain descent, whose end is the flow's whatever its step.

    It ends at a time that no rate of the theorem sets, 10/lambda after the growth; the change: over the last 2/lambda.
    """
    critical = float(np.linalg.norm(data.X @ data.Y[0])) / data.X.shape[1]
    times = 10 / (critical - weight_decay) + np.array([8, 10]) / weight_decay
    steps = [int(t / STEP) for t in times]
    path = plain.descend(plain_problem(data, weight_decay), layers, steps, learning_rate=STEP)
    before, last = (_scatter(W, data) for W in path[0])
    return last, abs(last - before)


def verify(seed: int) -> list[Comparison]:
    """The remainder's Gram for generic and commuting data, and the scatter that weight decay leaves."""
    rows = []
    for index, (coarse, weight_decay, eps) in enumerate([(2, 0.0, 0.1), (3, 0.05, 1e-2)]):
        rng = np.random.default_rng([seed, 12, index])
        rows += [_remainder_row(rng, coarse, weight_decay, eps, commuting) for commuting in (False, True)]
    for index, relative in enumerate((0.2, 0.5)):
        rows.append(_scatter_row(np.random.default_rng([seed, 12, 10 + index]), relative))
    return rows


def _remainder_row(
    rng: np.random.Generator, coarse: int, weight_decay: float, eps: float, commuting: bool
) -> Comparison:
    """(a) on generic data with n < d, its F by the exact flow; (b) on data whose Gram matrix commutes."""
    t, dim, width = 15.0, 14, 20
    data = draw(rng, coarse=coarse, samples=10, dim=dim, commuting=commuting)
    W0, A0 = isometric(width, dim, data.Y.shape[0], eps, rng)
    # Seen along a random vector, to first order in any tilt; the norm sees a tilt at second order alone.
    probe = rng.standard_normal(10)
    problem, found = plain_problem(data, weight_decay), []
    for rtol in (1e-9, 1e-8):
        W, A = (layer[0] for layer in plain.flow(problem, [W0, A0], [t], rtol=rtol))
        found.append(float(probe @ remainder(W, A, data.X) @ probe))
    if commuting:
        gram = law.predict_commuting_remainder(data.X, data.Y, eps, weight_decay, t)
    else:
        path = flow(data, W0, A0, np.array([t]), weight_decay)
        gram = law.predict_remainder(data.X, path.A[0] @ path.W[0], eps, weight_decay, t)
    name = f"{'commuting' if commuting else 'generic'} G, K = {coarse}, lambda = {weight_decay}, eps = {eps}"
    return Comparison(
        "T12",
        f"remainder's Gram matrix along a random vector, {name}",
        float(probe @ gram @ probe),
        found[0],
        2 * abs(found[1] / found[0] - 1) + rounding(W, A, eps, weight_decay, t),
        "twice the change when plain training's tolerance is 10 times coarser, and rounding against eps e^{-lambda t}",
    )


def _scatter_row(rng: np.random.Generator, relative: float) -> Comparison:
    data = draw(rng, coarse=2, samples=20, dim=30)
    weight_decay = relative * float(np.linalg.norm(data.X @ data.Y[0])) / 20
    layers = [
        0.5 * rng.standard_normal((12, 30)) / np.sqrt(30),
        0.5 * rng.standard_normal((1, 12)) / np.sqrt(12),
    ]
    found, change = plain_scatter(data, weight_decay, layers)
    return Comparison(
        "T12",
        f"within-class std of h after training, n = 20, d = 30, lambda = {relative} of critical",
        law.predict_scatter(data.X.T @ data.X, data.Y[0], data.labels, weight_decay),
        found,
        change / found + 1e-13,
        "change over the last 2/lambda, of which e^-2 or so is left, and rounding",
    )
