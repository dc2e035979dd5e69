"""T11 observed: the unconstrained-features loss minimised directly, from random starts.

L-BFGS finds the basin (it has no other: with m >= K every local minimum is global); its line search ends where the
loss itself is at rounding, so Newton steps on the gradient follow. The Hessian is singular along the rotations of
the features, where the gradient vanishes; MINRES takes the least-norm step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, minres

from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.theorems import unconstrained_features as law
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the descent ends.

    Attributes:
        A, H, b: (K, m), (m, N), (K,)
        loss: there
        gradient: its norm there
    """

    A: Array
    H: Array
    b: Array
    loss: float
    gradient: float


def minimise(
    probabilities: ArrayLike,
    *,
    width: int,
    samples: int = 1,
    weight_decay: float,
    bias_decay: float = np.inf,
    seed: int,
    scale: float = 1.0,
) -> Minimum:
    """Minimise over A, H and b (held at 0 for bias_decay = inf) from a Gaussian start of the given scale.

    probabilities: (K,); each class has `samples` columns of H, of equal weight within the class.
    """
    pi = checks.real("probabilities", probabilities, ("K",))
    problem = _Problem(pi, width, samples, weight_decay, bias_decay)
    start = scale * np.random.default_rng(seed).standard_normal(problem.size)
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0, "gtol": 1e-10, "maxcor": 20}
    x = minimize(problem.value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
    x = _newton(problem, x)
    value, gradient = problem.value_and_gradient(x)
    return Minimum(*problem.unpack(x), value, float(np.linalg.norm(gradient)))


def _newton(problem: _Problem, x: Array, steps: int = 4) -> Array:
    """Newton steps as long as they lower the gradient's norm."""
    norm = np.linalg.norm(problem.value_and_gradient(x)[1])
    for _ in range(steps):
        gradient = problem.value_and_gradient(x)[1]
        hessian = LinearOperator((x.size, x.size), matvec=problem.hessian_at(x), dtype=np.float64)
        moved = x - minres(hessian, gradient, rtol=1e-8, maxiter=500)[0]
        moved_norm = np.linalg.norm(problem.value_and_gradient(moved)[1])
        if not moved_norm < norm:
            break
        x, norm = moved, moved_norm
    return x


@dataclass(frozen=True, eq=False)
class _Problem:
    """The loss as a function of one vector that holds A, H and, with a bias, b."""

    probabilities: Array
    width: int
    samples: int
    weight_decay: float
    bias_decay: float

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int]]:
        K = self.probabilities.size
        return (K, self.width), (self.width, K * self.samples), (K if self.has_bias else 0,)

    @property
    def has_bias(self) -> bool:
        return bool(np.isfinite(self.bias_decay))

    @property
    def size(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.shapes)

    @property
    def column_weights(self) -> Array:
        """(N,) of sum 1."""
        return np.repeat(self.probabilities, self.samples) / self.samples

    @property
    def targets(self) -> Array:
        """Y (K, N)."""
        return np.repeat(np.eye(self.probabilities.size), self.samples, axis=1)

    def unpack(self, x: Array) -> tuple[Array, Array, Array]:
        """A (K, m), H (m, N) and b (K,), which is 0 without a bias."""
        sizes = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        A, H, b = (part.reshape(s) for part, s in zip(np.split(x, sizes[:-1]), self.shapes, strict=True))
        return A, H, b if self.has_bias else np.zeros(self.probabilities.size)

    def pack(self, A: Array, H: Array, b: Array) -> Array:
        """The vector of A, H and, with a bias, b."""
        return np.concatenate([A.ravel(), H.ravel(), b if self.has_bias else b[:0]])

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        A, H, b = self.unpack(x)
        error = A @ H + b[:, None] - self.targets
        weighted = self.column_weights * error
        decay, bias_decay = self.weight_decay, self.bias_decay if self.has_bias else 0.0
        value = (
            np.vdot(weighted, error) + decay * (np.vdot(A, A) + np.vdot(H, H)) + bias_decay * np.vdot(b, b)
        )
        gradient = (
            weighted @ H.T + decay * A,
            A.T @ weighted + decay * H,
            weighted.sum(axis=1) + bias_decay * b,
        )
        return float(value) / 2, self.pack(*gradient)

    def hessian_at(self, x: Array) -> Callable[[Array], Array]:
        """v -> Hessian v: the gradient's derivative along v, exactly."""
        A, H, b = self.unpack(x)
        weighted = self.column_weights * (A @ H + b[:, None] - self.targets)
        decay, bias_decay = self.weight_decay, self.bias_decay if self.has_bias else 0.0

        def product(v: Array) -> Array:
            dA, dH, db = self.unpack(np.asarray(v).ravel())
            change = self.column_weights * (dA @ H + A @ dH + db[:, None])
            return self.pack(
                change @ H.T + weighted @ dH.T + decay * dA,
                A.T @ change + dA.T @ weighted + decay * dH,
                change.sum(axis=1) + bias_decay * db,
            )

        return product


def top_values(matrix: Array, count: int) -> Array:
    """The `count` largest singular values, largest first, zeros appended where there are fewer."""
    values = np.linalg.svd(matrix, compute_uv=False)[:count]
    return np.pad(values, (0, count - values.size))


CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("balanced", {}),
    ("n = 4 a class", {"samples": 4}),
    ("free bias", {"bias_decay": 0.0}),
    ("penalised bias", {"bias_decay": 2.0}),
    ("penalised bias, n = 3 a class", {"bias_decay": 5.0, "samples": 3}),
)
REASON = "the gradient's norm at the stop over the least curvature at the minimum, and rounding, 16 machine epsilons"
LOST = "; a lost class is 0 to the square of that, for both layers shrink together"


def error_bound(
    found: Minimum, weights: Array, product: Array, weight_decay: float, singular: Array
) -> float:
    """What the gradient left at the stop can mean for a singular value, to first order, with rounding.

    A mode of the loss of weight w whose Y has singular value y, with that of Z in `product`: along a + h the
    curvature is 2 w z where it is kept, lambda - w y where it is lost; along a - h it is 2 lambda. All (K,).
    """
    kept = 2 * weights * product
    curvature = np.where(product > 0, kept, weight_decay - weights * singular)
    least = min(float(curvature.min()), 2 * weight_decay)
    return found.gradient / least + 16 * np.finfo(float).eps


def verify(seed: int) -> list[Comparison]:
    """Singular values of A and H for every case, and the norms for unequal classes."""
    rng = np.random.default_rng([seed, 11])
    rows = []
    for name, options in CASES:
        K = int(rng.integers(2, 9))
        width = K + int(rng.integers(0, 9))
        # Between .05 and .9 of critical: there the curvature is not small.
        weight_decay = float(rng.uniform(0.05, 0.9)) / (K * np.sqrt(options.get("samples", 1)))
        found = minimise(
            np.full(K, 1 / K),
            width=width,
            weight_decay=weight_decay,
            seed=int(rng.integers(2**32)),
            **options,
        )
        predicted = law.predict(K, weight_decay, **options)
        samples, bias_decay = options.get("samples", 1), options.get("bias_decay", np.inf)
        weights = np.full(K, 1 / (K * samples))
        # The bias carries part of the mean mode, whose weight in the loss is the less for it.
        weights[-1] *= 1.0 if np.isinf(bias_decay) else bias_decay / (1 + bias_decay)
        product = law.predict_product_values(K, weight_decay, **options)
        bound = error_bound(found, weights, product, weight_decay, np.full(K, np.sqrt(samples)))
        setting = f"{name}, K = {K}, m = {width}, lambda = {weight_decay:.3f}"
        for label, matrix in (("A", found.A), ("H", found.H)):
            worst = int(np.abs(top_values(matrix, K) - predicted).argmax())
            value = float(top_values(matrix, K)[worst])
            quantity = f"singular value of {label} farthest from its prediction, {setting}"
            rows.append(Comparison("T11", quantity, float(predicted[worst]), value, bound, REASON))
    return rows + _unequal_rows(rng)


def _unequal_rows(rng: np.random.Generator) -> list[Comparison]:
    pi = rng.dirichlet(np.full(5, 3.0))
    weight_decay = float(np.sort(pi)[:2].mean())  # one class is lost
    found = minimise(pi, width=7, weight_decay=weight_decay, seed=int(rng.integers(2**32)))
    norms = np.linalg.norm(found.H, axis=0)
    predicted = np.sqrt(law.predict_unequal(pi, weight_decay))
    bound = error_bound(found, pi, law.predict_unequal(pi, weight_decay), weight_decay, np.ones(5))
    rows = []
    for k in np.argsort(pi):
        reason = REASON if predicted[k] else REASON + LOST
        quantity = f"||h_k|| of a class of probability {pi[k]:.3f}, lambda = {weight_decay:.3f}"
        rows.append(Comparison("T11", quantity, float(predicted[k]), float(norms[k]), bound, reason))
    return rows
