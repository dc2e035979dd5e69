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

Proved at the sizes listed: both laws. Only observed: that erf and unlike weight decays have none of this form.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem, Unknown
from finegrain.theory.theorems.symbolic import UnknownLoss, along, descent, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

DEGREES = {"identity": 1, "relu": 1, "leaky_relu": 1, "square": 2}


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
    f = THEOREM.formulas
    return f.decay.number(weight_decay, t) * f.imbalance.number(W, A)


def predict_neurons(W0: ArrayLike, A0: ArrayLike, degree: int, weight_decay: float, t: float) -> Array:
    """||w_j||^2 - p ||a_j||^2 at time t, shape (m,), for phi of degree p, from W0 (m, d) and A0 (K, m)."""
    W, A = _checked(W0, A0)
    f = THEOREM.formulas
    start = [f.neuron.number(w[None], a[:, None], degree).item() for w, a in zip(W, A.T, strict=True)]
    return f.decay.number(weight_decay, t) * np.array(start)


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


def _squared(f: Formulas) -> words.Words:
    W, A, X = _letters()
    error = A @ W @ X - words.letter("Y", "K", "n")
    return _missed(f, sp.Rational(1, 2) * words.tr(error @ error.T))


def _any_loss(f: Formulas) -> words.Words:
    W, A, X = _letters()
    return _missed(f, words.any_loss(A @ W @ X, words.letter("R", "K", "n")))


def _letters() -> tuple[words.Words, words.Words, words.Words]:
    return words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("X", "d", "n")


def _missed(f: Formulas, loss: words.Words) -> words.Words:
    """d/dt of the imbalance along the flow of the loss with weight decay, less its decay rate times it."""
    W, A, _ = _letters()
    lam = sp.Symbol("lambda")
    velocities = words.flow(loss + words.penalty(lam, W, A), W, A)
    imbalance = f.imbalance(W, A)
    return words.rate(imbalance, velocities) - _rate(f.decay, lam) * imbalance


def _neuron(f: Formulas) -> words.Words:
    """A row w and a column a with h = phi(w X); h moves as w X D does, D the diagonal matrix of phi'(w X), and Euler
    says that w X D = p h. The other neurons' outputs do not depend on w and a."""
    p, lam = sp.symbols("p lambda")
    w, a, X = words.letter("w", "1", "d"), words.letter("a", "K", "1"), words.letter("X", "d", "n")
    h, D = words.letter("h", "1", "n"), words.symmetric("D", "n")
    others, R = words.letter("others", "K", "n"), words.letter("R", "K", "n")
    loss = words.any_loss(others + a @ h, R)
    by_h = words.gradient(loss, h)
    velocities = {
        w: -words.gradient(words.tr(by_h.T @ w @ X @ D) + words.penalty(lam, w), w),
        a: -words.gradient(loss + words.penalty(lam, a), a),
    }
    balance = f.neuron(w, a, p)
    # The second: w X h^T is a number.
    euler = rewriting.rules((w @ X @ D, p * h), (h @ X.T @ w.T, w @ X @ h.T))
    return rewriting.under(words.rate(balance, velocities) - _rate(f.decay, lam) * balance, euler)


def _training(
    size: tuple[int, ...], phi: type[sp.Function] | None = None
) -> tuple[sp.Matrix, sp.Matrix, dict[sp.Expr, sp.Expr], sp.Symbol]:
    """W, A, their velocities under any loss of the outputs on all samples with weight decay, and lambda."""
    m, d, K, samples = size
    W, A, lam = matrix("W", m, d), matrix("A", K, m), sp.Symbol("lambda")
    hidden = [W * matrix(f"x{n}", d, 1) for n in range(samples)]
    outputs = [f for z in hidden for f in A * (z.applyfunc(phi) if phi else z)]
    return W, A, descent(UnknownLoss(*outputs) + penalty(lam, W, A), W, A), lam


def _rate(decay: Formula, lam: sp.Symbol) -> sp.Expr:
    """d ln decay/dt."""
    t = sp.Symbol("t")
    return sp.diff(decay(lam, t), t) / decay(lam, t)


def _linear(f: Formulas, *size: int) -> sp.Matrix:
    W, A, velocity, lam = _training(size)
    imbalance = f.imbalance(W, A)
    return along(velocity, imbalance) - _rate(f.decay, lam) * imbalance


class Slope(Unknown):
    """phi', about which nothing is known."""


class Homogeneous(Unknown):
    """phi of degree p, with phi'(z) = slope(z)."""

    def fdiff(self, argindex: int) -> sp.Expr:
        return Slope(self.args[0])


def _neurons(f: Formulas, *size: int) -> list[sp.Expr]:
    """Euler: the derivative of phi(c z) = c^p phi(z) by c at c = 1 is z phi'(z) = p phi(z)."""
    W, A, velocity, lam = _training(size, Homogeneous)
    p = sp.Symbol("p")
    balances = [f.neuron(W[j, :], A[:, j], p)[0] for j in range(size[0])]
    missed = [along(velocity, b) - _rate(f.decay, lam) * b for b in balances]
    return [entry.replace(Homogeneous, lambda z: z * Slope(z) / p) for entry in missed]


def _start(f: Formulas) -> sp.Expr:
    return f.decay(sp.Symbol("lambda"), 0) - 1


OVER, SIZES = "(m, d, K, samples)", ((1, 2, 1, 2), (2, 2, 2, 1), (2, 3, 2, 2), (3, 2, 1, 2))
# What is false: half the rate, a sum for the difference, degree 1 whatever the degree.
HALF = {"decay": lambda lam, t: sp.exp(-lam * t)}
SUM = {"imbalance": lambda W, A: W @ W.T + A.T @ A}
ONE = {"neuron": lambda w, a, p: w @ w.T - a.T @ a}

m, d, K = sp.symbols("m d K", integer=True, positive=True)
W, A = sp.MatrixSymbol("W", m, d), sp.MatrixSymbol("A", K, m)
w, a = sp.MatrixSymbol("w_j", 1, d), sp.MatrixSymbol("a_j", K, 1)
p, lam, t = sp.symbols("p lambda t")

THEOREM = Theorem(
    id="T2",
    subject="balancedness",
    assumptions=(
        "phi = identity, or positively homogeneous of degree p for the law of each neuron",
        "the same lambda on both layers",
        "gradient flow, with the same speed in both layers",
    ),
    formulas=Formulas(
        imbalance=Formula(lambda W, A: W @ W.T - A.T @ A, (W, A)),
        neuron=Formula(lambda w, a, p: w @ w.T - p * a.T @ a, (w, a, p)),
        decay=Formula(lambda lam, t: sp.exp(-2 * lam * t), (lam, t)),
    ),
    claims=(
        Claim(
            "linear networks: {imbalance} is {decay} times its initial value",
            ("squared loss", "any loss", "entries", "start"),
        ),
        Claim(
            "phi of degree p, each neuron: {neuron} is {decay} times its own",
            ("one neuron", "neurons by entries", "start"),
        ),
        Claim("off the diagonal the law needs phi = identity"),
        Claim("no law of this kind for erf, nor for unlike lambda of the layers"),
    ),
    steps=(
        Step(
            "squared loss",
            "from the squared loss as a trace: d/dt of the imbalance is its decay rate times it",
            _squared,
            SUM | HALF,
        ),
        Step(
            "any loss",
            "from a loss of which only the gradient by the outputs has a name: the same",
            _any_loss,
            SUM | HALF,
        ),
        Step(
            "one neuron",
            "from any loss, one neuron among others, and w X D = p h (Euler): the same for its balance",
            _neuron,
            ONE | HALF,
        ),
        Step(
            "entries",
            "a second time, from an unknown function of all outputs, entry by entry",
            _linear,
            SUM | HALF,
            OVER,
            SIZES,
        ),
        Step(
            "neurons by entries",
            "a second time, entry by entry, with z phi'(z) = p phi(z)",
            _neurons,
            ONE | HALF,
            OVER,
            SIZES,
        ),
        Step(
            "start", "at time 0 the factor is 1", _start, {"decay": lambda lam, t: 2 * sp.exp(-2 * lam * t)}
        ),
    ),
)

prove = THEOREM.prove
