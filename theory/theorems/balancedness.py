"""T2 Balancedness: what the layers differ by is forgotten at a rate that weight decay alone sets.

Two-layer network f = A phi(W x), gradient flow of L_0 + (lambda/2)(||W||^2 + ||A||^2), where L_0 is any differentiable
function of the outputs on any data. For phi = identity

    W W^T - A^T A = e^{-2 lambda t} times its initial value        (m, m),

and for phi positively homogeneous of degree p, phi(c z) = c^p phi(z) for c > 0, neuron by neuron,

    ||w_j||^2 - p ||a_j||^2 = e^{-2 lambda t} times its initial value,

w_j the row of W and a_j the column of A: p = 1 for ReLU and leaky ReLU, p = 2 for the square. At ReLU's kink the law
holds with any value of phi'(0), as z phi'(z) = 0 there. Off the diagonal it needs phi = identity.

No law of this kind for erf, which is not homogeneous, nor with unlike weight decay of the two layers, where
d/dt (W W^T - A^T A) = -2 lambda_W W W^T + 2 lambda_A A^T A does not close. A descent step of size eta leaves the law
by eta^2 (dW dW^T - dA^T dA), so descent as a whole by O(eta).

Source: Arora, Cohen & Hazan (2018), ICML, for linear networks, Du, Hu & Lee (2018), NeurIPS, for p = 1, both with
lambda = 0. Weight decay and other degrees: this project, T2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.symbolic import AnyLoss, Theorem, gradient, matrix, penalty, require_zero
from finegrain.theory.tools import checks

Array = NDArray[np.float64]

THEOREM = Theorem(
    id="T2",
    subject="balancedness",
    statement="W W^T - A^T A (linear) and ||w_j||^2 - p ||a_j||^2 (degree p) decay exactly as e^{-2 lambda t}",
    assumptions=(
        "phi = identity, or positively homogeneous of degree p for the law of each neuron",
        "the same lambda on both layers",
        "gradient flow, with the same speed in both layers",
    ),
    sizes="(m, d, K, samples) = (1,2,1,2), (2,2,2,1), (3,2,1,2), (2,3,2,2); every degree p",
    latex=(
        r"W W^\top - A^\top A = e^{-2\lambda t} \bigl(W_0 W_0^\top - A_0^\top A_0\bigr)",
        r"\|w_j\|^2 - p \|a_j\|^2 = e^{-2\lambda t} \bigl(\|w_j(0)\|^2 - p \|a_j(0)\|^2\bigr)",
    ),
)

SIZES = ((1, 2, 1, 2), (2, 2, 2, 1), (3, 2, 1, 2), (2, 3, 2, 2))
DEGREES = {"identity": 1, "relu": 1, "leaky_relu": 1, "square": 2}

Claim = Callable[[sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr]]


def degree(activation: str) -> int:
    """p with phi(c z) = c^p phi(z) for c > 0.

    Raises:
        ValueError: an activation that is not homogeneous, such as erf.
    """
    checks.one_of("activation", activation, DEGREES)
    return DEGREES[activation]


def predict(W0: ArrayLike, A0: ArrayLike, weight_decay: float, t: float) -> Array:
    """W W^T - A^T A at time t, shape (m, m), of a linear network from W0 (m, d) and A0 (K, m)."""
    W, A = _checked(W0, A0)
    return np.exp(-2 * weight_decay * t) * (W @ W.T - A.T @ A)


def predict_neurons(W0: ArrayLike, A0: ArrayLike, degree: int, weight_decay: float, t: float) -> Array:
    """||w_j||^2 - p ||a_j||^2 at time t, shape (m,), for phi of degree p, from W0 (m, d) and A0 (K, m)."""
    W, A = _checked(W0, A0)
    return np.exp(-2 * weight_decay * t) * (np.sum(W**2, axis=1) - degree * np.sum(A**2, axis=0))


def drift(W0: Array, A0: Array, degree: int, weight_decay: float, times: Array, W: Array, A: Array) -> float:
    """How far weights W (T, m, d) and A (T, K, m) at `times` (T,) miss the neurons' law: a check of any flow.

    The largest departure of ||w_j||^2 - p ||a_j||^2 from e^{-2 lambda t} times its start, over neurons and times,
    relative to the two terms' sum.
    """
    decay = np.exp(-2 * weight_decay * times)[:, None]
    first, second = np.sum(W**2, axis=2), degree * np.sum(A**2, axis=1)
    first_0, second_0 = np.sum(W0**2, axis=1), degree * np.sum(A0**2, axis=0)
    missed = np.abs(first - second - decay * (first_0 - second_0))
    size = first + second + decay * (first_0 + second_0) + np.finfo(float).tiny
    return float(np.max(missed / size))


def _checked(W0: ArrayLike, A0: ArrayLike) -> tuple[Array, Array]:
    W = checks.real("W0", W0, ("m", "d"))
    return W, checks.real("A0", A0, ("K", W.shape[0]))


def residuals(claim: Claim | None = None) -> dict[str, words.Words]:
    """Both laws at every size, from losses written as traces (words.py): what is left of each.

    claim: as in `prove`.
    """
    claim = claim or (lambda p, lam: (p, 2 * lam))
    W, A, X = words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("X", "d", "n")
    F = A @ W @ X
    error = F - words.letter("Y", "K", "n")
    losses = {
        "squared loss": sp.Rational(1, 2) * words.tr(error @ error.T),
        "any loss": words.any_loss(F, words.letter("R", "K", "n")),
    }
    linear = {name: _linear_residual(claim, loss, W, A) for name, loss in losses.items()}
    return linear | {"any loss, one neuron of degree p": _neuron_residual(claim)}


def _linear_residual(claim: Claim, loss: words.Words, W: words.Words, A: words.Words) -> words.Words:
    lam = sp.Symbol("lambda")
    share, decay = claim(sp.Integer(1), lam)
    imbalance = W @ W.T - share * A.T @ A
    return words.rate(imbalance, words.flow(loss + words.penalty(lam, W, A), W, A)) + decay * imbalance


def _neuron_residual(claim: Claim) -> words.Words:
    """A row w and a column a with h = phi(w X); h moves as w X D does, D the diagonal matrix of phi'(w X), and Euler
    says that w X D = p h. The other neurons' outputs do not depend on w and a."""
    p, lam = sp.symbols("p lambda")
    share, decay = claim(p, lam)
    w, a, X = words.letter("w", "1", "d"), words.letter("a", "K", "1"), words.letter("X", "d", "n")
    h, D = words.letter("h", "1", "n"), words.symmetric("D", "n")
    others, R = words.letter("others", "K", "n"), words.letter("R", "K", "n")
    loss = words.any_loss(others + a @ h, R)
    by_h = words.gradient(loss, h)
    velocities = {
        w: -words.gradient(words.tr(by_h.T @ w @ X @ D) + words.penalty(lam, w), w),
        a: -words.gradient(loss + words.penalty(lam, a), a),
    }
    imbalance = w @ w.T - share * a.T @ a
    # The second: w X h^T is a number.
    euler = rewriting.rules((w @ X @ D, p * h), (h @ X.T @ w.T, w @ X @ h.T))
    return rewriting.under(words.rate(imbalance, velocities) + decay * imbalance, euler)


def prove(claim: Claim | None = None) -> None:
    """Both laws from an unknown differentiable loss of the outputs on all samples.

    claim: (p, lambda) -> (weight of ||a_j||^2, decay rate); the theorem's own, (p, 2 lambda), by default.
    """
    claim = claim or (lambda p, lam: (p, 2 * lam))
    for sizes in SIZES:
        _prove_linear(claim, *sizes)
        _prove_homogeneous(claim, *sizes)


def _weights(m: int, d: int, K: int, samples: int) -> tuple[sp.Matrix, sp.Matrix, list[sp.Matrix], sp.Symbol]:
    x = [matrix(f"x{n}", d, 1) for n in range(samples)]
    return matrix("W", m, d), matrix("A", K, m), x, sp.Symbol("lambda")


def _prove_linear(claim: Claim, m: int, d: int, K: int, samples: int) -> None:
    W, A, inputs, lam = _weights(m, d, K, samples)
    outputs = [f for x in inputs for f in A * W * x]
    loss = AnyLoss(*outputs) + penalty(lam, W, A)
    dW, dA = -gradient(loss, W), -gradient(loss, A)
    share, rate = claim(sp.Integer(1), lam)
    derivative = dW * W.T + W * dW.T - share * (dA.T * A + A.T * dA)
    require_zero(f"T2 linear at {m, d, K, samples}", derivative + rate * (W * W.T - share * A.T * A))


class _Slope(sp.Function):
    """phi', about which nothing is known."""


class _Homogeneous(sp.Function):
    """phi of degree p, with phi'(z) = slope(z)."""

    def fdiff(self, argindex: int) -> sp.Expr:
        return _Slope(self.args[0])


def _prove_homogeneous(claim: Claim, m: int, d: int, K: int, samples: int) -> None:
    """Euler: the derivative of phi(c z) = c^p phi(z) by c at c = 1 is z phi'(z) = p phi(z)."""
    W, A, inputs, lam = _weights(m, d, K, samples)
    p = sp.Symbol("p")
    outputs = [f for x in inputs for f in A * (W * x).applyfunc(_Homogeneous)]
    loss = AnyLoss(*outputs) + penalty(lam, W, A)
    dW, dA = -gradient(loss, W), -gradient(loss, A)
    share, rate = claim(p, lam)
    for j in range(m):
        derivative = 2 * (W[j, :].dot(dW[j, :]) - share * A[:, j].dot(dA[:, j]))
        balance = W[j, :].dot(W[j, :]) - share * A[:, j].dot(A[:, j])
        difference = (derivative + rate * balance).replace(_Homogeneous, lambda z: z * _Slope(z) / p)
        require_zero(f"T2 neuron at {m, d, K, samples}", difference)
