"""T12 observed: exact flows of linear networks on n samples.

Each sample is a noise-free component of a mixture of its own, so that the population loss is the training loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finegrain.sims.population.flow import Trajectory, population_flow
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, signs
from finegrain.theory.theorems import finite_samples as law
from finegrain.theory.tools.arrays import Array


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


TIGHTER = "; the norm sees a tilt of the row space at second order alone, so it errs by less"


def verify(seed: int) -> list[Comparison]:
    """The remainder's Gram for generic and commuting data, and the scatter that weight decay leaves."""
    rows = []
    for index, (coarse, weight_decay, eps) in enumerate([(2, 0.0, 0.1), (3, 0.05, 1e-2), (4, 0.1, 1e-3)]):
        rng = np.random.default_rng([seed, 12, index])
        rows += _remainder_rows(rng, coarse, weight_decay, eps)
    for index, relative in enumerate((0.05, 0.2, 0.5)):
        rng = np.random.default_rng([seed, 12, 10 + index])
        data = draw(rng, coarse=2, samples=20, dim=30)
        weight_decay = relative * float(np.linalg.norm(data.X @ data.Y[0])) / 20
        # The same start for both tolerances.
        state = rng.bit_generator.state
        found, change = trained_scatter(data, weight_decay, 12, rng)
        rng.bit_generator.state = state
        coarser, _ = trained_scatter(data, weight_decay, 12, rng, 1e-9)
        predicted = law.predict_scatter(data.X.T @ data.X, data.Y[0], data.labels, weight_decay)
        rows.append(
            Comparison(
                "T12",
                f"within-class std of h after training, n = 20, d = 30, lambda = {relative} of critical",
                predicted,
                found,
                (change + 2 * abs(coarser - found)) / predicted + 3e-13,
                "change over the last two times of the transient, e^-18; and at a tolerance 10 times coarser; rounding",
            )
        )
    return rows


def _remainder_rows(
    rng: np.random.Generator, coarse: int, weight_decay: float, eps: float
) -> list[Comparison]:
    """(a) on generic data with n < d, (b) on data whose Gram matrix commutes; gap 0 and norm as predicted."""
    rows, t, dim, width = [], 15.0, 14, 20
    for commuting in (False, True):
        data = draw(rng, coarse=coarse, samples=10, dim=dim, commuting=commuting)
        W0, A0 = isometric(width, dim, data.Y.shape[0], eps, rng)
        paths = [flow(data, W0, A0, np.array([t]), weight_decay, rtol=rtol) for rtol in (1e-12, 1e-11)]
        W, A = paths[0].W[0], paths[0].A[0]
        found, coarser = (remainder(path.W[0], path.A[0], data.X) for path in paths)
        if commuting:
            predicted = law.predict_commuting_remainder(data.X, data.Y, eps, weight_decay, t)
        else:
            predicted = law.predict_remainder(data.X, A @ W, eps, weight_decay, t)
        # F is read from the flow too, hence the change of the gap and not of the remainder alone.
        moved = (
            predicted
            if commuting
            else law.predict_remainder(data.X, paths[1].A[0] @ paths[1].W[0], eps, weight_decay, t)
        )
        bound = 2 * relative_gap(coarser - moved + predicted, found) + rounding(W, A, eps, weight_decay, t)
        name = (
            f"{'commuting' if commuting else 'generic'} G, K = {coarse}, lambda = {weight_decay}, eps = {eps}"
        )
        reason = "twice the change of the gap at a tolerance 10 times coarser, and rounding against eps e^{-lambda t}"
        norms = (float(np.linalg.norm(predicted)), float(np.linalg.norm(found)))
        rows.append(
            Comparison("T12", f"norm of the remainder's Gram, {name}", *norms, bound, reason + TIGHTER)
        )
        gap = relative_gap(found, predicted)
        rows.append(Comparison("T12", f"its distance from the prediction, {name}", 0.0, gap, bound, reason))
    return rows
