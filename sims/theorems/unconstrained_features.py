"""T11 observed: the unconstrained-features loss minimised directly, from random starts, and by plain descent.

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

from finegrain.sims import plain
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.theorems import unconstrained_features as law
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

EPS = float(np.finfo(float).eps)


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
    ("n = 4 per class", {"samples": 4}),
    ("free bias", {"bias_decay": 0.0}),
    ("penalised bias, n = 3 per class", {"bias_decay": 5.0, "samples": 3}),
)
REASON = "the gradient's norm at the stop over 2 lambda, the least curvature of A against H, and 16 machine epsilons"


def verify(seed: int) -> list[Comparison]:
    """Sums of singular values with and without a bias, and by plain descent also for unequal classes."""
    rng = np.random.default_rng([seed, 11])
    return [*(_minimised(name, options, rng) for name, options in CASES), *_plain_rows(rng)]


def _minimised(name: str, options: dict[str, Any], rng: np.random.Generator) -> Comparison:
    K = int(rng.integers(2, 9))
    width = K + int(rng.integers(0, 9))
    # Between .05 and .9 of critical: there the curvature is not small.
    weight_decay = float(rng.uniform(0.05, 0.9)) / (K * np.sqrt(options.get("samples", 1)))
    found = minimise(
        np.full(K, 1 / K), width=width, weight_decay=weight_decay, seed=int(rng.integers(2**32)), **options
    )
    return Comparison(
        "T11",
        f"sum of H's singular values, {name}, K = {K}, m = {width}, lambda = {weight_decay:.3f}",
        float(law.predict(K, weight_decay, **options).sum()),
        float(top_values(found.H, K).sum()),
        (found.gradient / (2 * weight_decay) + 16 * EPS),
        REASON,
    )


def _plain_rows(rng: np.random.Generator) -> list[Comparison]:
    """Free features are a linear network on one-hot inputs: plain descent to its minimum."""
    K, width = 4, 6
    layers = rng.standard_normal((width, K)) / 2, rng.standard_normal((K, width)) / 2
    weight_decay = float(rng.uniform(0.3, 0.7)) / K
    equal = _plain_features(np.full(K, 1 / K), layers, weight_decay)
    # Far from its threshold each class converges in the same number of steps.
    pi = np.array([0.4, 0.3, 0.2, 0.1]) + rng.uniform(-0.02, 0.02, K)
    pi /= pi.sum()
    unequal = _plain_features(pi, layers, 0.05)
    norms = np.sqrt(law.predict_unequal(pi, 0.05))
    setting = f"plain descent, K = {K}, m = {width}"
    return [
        Comparison(
            "T11",
            f"sum of H's singular values, {setting}, lambda = {weight_decay:.3f}",
            float(law.predict(K, weight_decay).sum()),
            float(top_values(equal, K).sum()),
            16 * EPS,
            "rounding, 16 machine epsilons",
        ),
        Comparison(
            "T11",
            f"sum of ||h_k||, {setting}, unequal classes, lambda = 0.05",
            float(norms.sum()),
            float(np.linalg.norm(unequal, axis=0).sum()),
            16 * EPS,
            "rounding, 16 machine epsilons",
        ),
    ]


def _plain_features(probabilities: Array, layers: tuple[Array, Array], weight_decay: float) -> Array:
    """H (m, K) after 900 steps of rate 1, each of which leaves less than 1 - 2 lambda of what is left."""
    eye = np.eye(probabilities.size)
    problem = plain.Problem(eye, eye, probabilities, "identity", weight_decay=weight_decay)
    return plain.descend(problem, layers, [900], learning_rate=1.0)[0][0]
