"""T20 End state on finite samples: what a ReLU network keeps of the fine structure of noisy data at its global minimum.

n samples x_i in R^d, coarse classes k with targets t_k of norm 1 and t_k . t_l <= 0 for k != l (+-1, centred or plain
one-hot directions), ReLU, two layers, L = ||f - t||^2/(2n) + lambda/2 (||W||^2 + ||A||^2). For each coarse class let

    G = X_k X_k^T/n,   f = G (G + kappa)^-1 1,   theta = X_k^T (G + kappa)^-1 1/n,   kappa ||theta|| = lambda;

f = theta = 0 if lambda >= ||X_k^T 1||/n, where the class dies. If

    x_i . x_j >= 0 inside each coarse class, <= 0 across, and f <= 1,

then the global minimum of L is sum_k [ ||f - 1||^2/(2n) + lambda ||theta_k|| ], the outputs there are f_i t_k, and
every class lies on one ray: its neurons point along theta_k, and ||h_i|| = f_i/sqrt(||theta_k||). So the fine structure
that survives is the spread of f, a ridge regression of 1 on the inputs,

    sep_cc' = |fbar_c - fbar_c'|/sqrt(fbar_c fbar_c'),

means over the samples of a subclass; to first order in lambda, where G is invertible,

    sep_cc' = lambda |mean_c(G^-1 1) - mean_c'(G^-1 1)|/||theta_0||,   ||theta_0||^2 = 1^T G^-1 1/n.

Why. (a^2 + ||w||^2)/2 >= |a| ||w||, so L is at least a convex problem over measures of unit neurons u (Bach 2017), and
by convexity the candidate is its minimum if ||sum_i rho_i relu(u . x_i) t_k(i)||/n <= lambda for all u, with the
residuals rho_i = 1 - f_i >= 0. Targets with products <= 0 leave at most sum_k A_k^2 of that square, A_k = u . v_k, v_k
the sum of rho_i x_i over samples of k with u . x_i > 0. Leaving samples out cannot raise ||v_k||, as products inside
are >= 0; for v_k . v_l <= 0, c_k = u . v_k >= 0, ||c||^2 = u . sum c_k v_k <= ||sum c_k v_k|| <= max ||v_k|| ||c||.
All samples of a class give ||sum rho_i x_i||/n = kappa ||theta|| = lambda. The candidate is a point of the network, for
rho >= 0 closes theta_k's gate to every other class and opens it to its own.

At sigma = 0 and orthonormal means this is T9 for targets +-1; class by class it is T12 (c), now of a ReLU network and
of its global minimum. Where the certificate fails the formula may still hold: it is
sufficient, and what counts is that no unit neuron gathers more. With products inside < 0, f > 1, or targets with
products > 0 the minimum found is lower; with products across > 0 the candidate is no point of the network, and the
minimum found is higher (tests keep one of each).

Proved here from the loss: stationarity, the value, the gap by convexity, that leaving samples out does not raise the
force, the first order. On paper: the bound over several classes above. Observed: that descent from random starts ends
there.

Sources: this project, T20 (in the setting of Yang, Steinhardt & Hu, ICML 2023). Convex neural networks over measures:
Bach (2017, JMLR 18); ReLU with orthogonal inputs and small start: Boursier, Pillaud-Vivien & Flammarion (2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems import finite_samples
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import descent, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

# Of the largest product: a sign that rounding alone decides.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class End:
    """The candidate for the global minimum, and what certifies it.

    Attributes:
        fit: f (n,), the output along the sample's target
        kappa: (K,), infinite for a class that dies
        theta: (K, d)
        minimum: the value of L
        within: the least product of two inputs of a coarse class
        across: the largest product of two inputs of different ones, -inf for a single class
    """

    fit: Array
    kappa: Array
    theta: Array
    minimum: float
    within: float
    across: float

    @property
    def certified(self) -> bool:
        """Whether it is the global minimum for sure."""
        return bool(self.within >= -ROUNDING and self.across <= ROUNDING and self.fit.max() <= 1 + ROUNDING)


def predict(inputs: ArrayLike, coarse: ArrayLike, weight_decay: float) -> End:
    """The end state from inputs (n, d), coarse classes (n,) numbered 0..K-1 and lambda > 0."""
    X = checks.real("inputs", inputs, ("n", "d"))
    checks.positive("weight_decay", weight_decay)
    k = _labels("coarse", coarse, len(X))
    n, K = len(X), int(k.max()) + 1
    fit, kappa, theta = np.zeros(n), np.full(K, np.inf), np.zeros((K, X.shape[1]))
    value = 0.0
    for c in range(K):
        own = X[k == c]
        if np.linalg.norm(own.sum(axis=0)) / n > weight_decay:
            # T12's ridge counts its own samples: G/n_k there is G here times n/n_k, as is lambda.
            share = len(own) / n
            kappa[c] = share * finite_samples.predict_penalty(
                own @ own.T, np.ones(len(own)), weight_decay / share
            )
            gram = own @ own.T / n
            inverse = np.linalg.inv(gram + kappa[c] * np.eye(len(own)))
            fit[k == c] = THEOREM.formulas.fit.number(gram, inverse, np.ones((len(own), 1)))[:, 0]
            theta[c] = own.T @ inverse.sum(axis=1) / n
        residual = float(np.sum((1 - fit[k == c]) ** 2))
        value += float(
            THEOREM.formulas.minimum.number(residual, float(np.linalg.norm(theta[c])), weight_decay, n)
        )
    products, same = X @ X.T, k[:, None] == k
    across = float(products[~same].max()) if K > 1 else -np.inf
    return End(fit, kappa, theta, value, float(products[same].min()), across)


def predict_separation(end: End, fine: ArrayLike) -> Array:
    """sep (C, C) of the subclasses of one coarse class, from fine classes (n,) 0..C-1; meaningless across classes."""
    label = _labels("fine", fine, len(end.fit))
    means = np.array([end.fit[label == c].mean() for c in range(int(label.max()) + 1)])
    found: Array = THEOREM.formulas.separation.number(means[:, None], means)
    return found


def predict_first_order(inputs: ArrayLike, fine: ArrayLike, weight_decay: float, samples: int) -> Array:
    """sep (C, C) to first order in lambda inside one coarse class, from its inputs (n_k, d) and fine classes (n_k,).

    samples: n, of all classes. The inputs must be linearly independent.
    """
    X = checks.real("inputs", inputs, ("n_k", "d"))
    label = _labels("fine", fine, len(X))
    solved = np.linalg.solve(X @ X.T / samples, np.ones(len(X)))
    means = np.array([solved[label == c].mean() for c in range(int(label.max()) + 1)])
    size = np.sqrt(solved.sum() / samples)
    found: Array = THEOREM.formulas.first.number(weight_decay, means[:, None], means, size)
    return found


def _labels(name: str, labels: ArrayLike, n: int) -> np.ndarray:
    found = np.asarray(labels)
    if found.shape != (n,) or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"{name} must be integers, one per input ({n},), got shape {found.shape}, {found.dtype}"
        )
    if not np.array_equal(np.unique(found), np.arange(found.max() + 1)):
        raise ValueError(f"{name} must hold each class 0..max, got {np.unique(found).tolist()}")
    return found


def _stationary(f: Formulas, n: int, d: int) -> Iterator[sp.Expr]:
    """A neuron w = c theta/||theta||, a = c of energy c^2 = ||theta||, its gates open on these samples: it rests if
    kappa ||theta|| = lambda, for residuals rho and theta = X^T rho/(n kappa); the value of the loss there."""
    X, rho = matrix("x", n, d), matrix("r", n, 1)
    N, kappa, a = sp.symbols("n kappa a", positive=True)
    w = matrix("w", d, 1)
    theta = X.T * rho / (N * kappa)
    size = sp.sqrt((theta.T * theta)[0])
    lam = f.balance(kappa, size)
    targets = rho + X * theta
    error = a * X * w - targets
    loss = (error.T * error)[0] / (2 * N) + penalty(lam, w, sp.Matrix([a]))
    rest = {a: sp.sqrt(size)} | {w[i]: theta[i] / sp.sqrt(size) for i in range(d)}
    for velocity in descent(loss, w, sp.Matrix([a])).values():
        yield sp.simplify(velocity.subs(rest))
    yield sp.simplify(loss.subs(rest) - f.minimum((rho.T * rho)[0], size, lam, N))


def _ridge(f: Formulas, n: int) -> Iterator[sp.Expr]:
    """Residuals 1 - f of theta = X^T rho/(n kappa) solve (G + kappa) rho = kappa 1: that is f."""
    X = matrix("x", n, n)
    N, kappa = sp.symbols("n kappa", positive=True)
    gram, one = X * X.T / N, sp.ones(n, 1)
    inverse = (gram + kappa * sp.eye(n)).inv()
    fit = f.fit(gram, inverse, one)
    theta = X.T * (one - fit) / (N * kappa)
    yield from ((X * theta - fit).applyfunc(sp.cancel))


def _gap(f: Formulas) -> Iterator[sp.Expr]:
    """Any outputs and measure against the candidate's: the squared error is convex, and weights cost |a| ||w||."""
    y, own, other = sp.symbols("y f g", real=True)
    yield f.excess(own, other) - ((other - y) ** 2 - (own - y) ** 2) / 2 - (y - own) * (other - own)
    yield sp.Ge(f.excess(own, other), 0)
    a, w = sp.symbols("a w", nonnegative=True)
    yield sp.Ge(sp.factor((a**2 + w**2) / 2 - a * w), 0)


def _leaving_out(f: Formulas, n: int) -> Iterator[sp.Expr]:
    """The square of the force of all samples is at least that of every part of them."""
    rho = sp.symbols(f"r1:{n + 1}", nonnegative=True)
    q = {(i, j): sp.Symbol(f"q{i}{j}", nonnegative=True) for i in range(n) for j in range(i, n)}

    def force(part: tuple[int, ...]) -> sp.Expr:
        return sum(f.product(rho[i], rho[j], q[min(i, j), max(i, j)]) for i in part for j in part)

    everything = force(tuple(range(n)))
    for size in range(n):
        for part in combinations(range(n), size):
            yield sp.Ge(sp.expand(everything - force(part)), 0)
    # And it is the square of the norm of the sum.
    x = [matrix(f"x{i}", 2, 1) for i in range(n)]
    total = sum((r * each for r, each in zip(rho, x, strict=True)), sp.zeros(2, 1))
    products = {s: (x[i].T * x[j])[0] for (i, j), s in q.items()}
    yield sp.expand((total.T * total)[0] - everything.xreplace(products))


def _first_order(f: Formulas) -> Iterator[sp.Expr]:
    """Two samples, one of each subclass: sep and kappa to first order in lambda."""
    X = matrix("x", 2, 2)
    N, kappa, lam = sp.symbols("n kappa lambda", positive=True)
    gram, one = X * X.T / N, sp.ones(2, 1)
    fit = f.fit(gram, (gram + kappa * sp.eye(2)).inv(), one)
    solved = gram.inv() * one
    theta = X.T * solved / N
    # kappa = lambda/||theta_0|| to first order; ||theta_0||^2 = 1^T G^-1 1/n.
    yield sp.simplify((theta.T * theta)[0] - (solved[0] + solved[1]) / N)
    slopes = [sp.cancel(sp.diff(entry, kappa).subs(kappa, 0)) for entry in fit]
    yield from (sp.cancel(slope + each) for slope, each in zip(slopes, solved, strict=True))
    size, first, second = sp.symbols("s m_1 m_2", positive=True)
    sep = f.separation(1 - lam / size * first, 1 - lam / size * second)
    yield sp.limit(sep**2 / lam**2, lam, 0) - (f.first(lam, first, second, size) / lam) ** 2


kappa, size, lam, n, square = sp.symbols("kappa s lambda n R", positive=True)
c, k, own, other, rho, sigma, product = sp.symbols("fbar_c fbar_k f g r_i r_j q", positive=True)
m1, m2 = sp.symbols("m_1 m_2", real=True)

THEOREM = Theorem(
    id="T20",
    subject="end state on finite samples",
    assumptions=(
        "ReLU, two layers, squared loss, the same weight decay on both",
        "x_i . x_j >= 0 inside a coarse class",
        "x_i . x_j <= 0 across coarse classes",
        "targets of norm 1 with products <= 0 across",
        "f <= 1 on every sample",
    ),
    formulas=Formulas(
        fit=finite_samples.THEOREM.formulas.fit,
        balance=Formula(lambda kappa, size: kappa * size, (kappa, size), "lambda", r"\lambda"),
        minimum=Formula(
            lambda square, size, lam, n: square / (2 * n) + lam * size, (square, size, lam, n), "L_k", "L_k"
        ),
        excess=Formula(lambda own, other: (other - own) ** 2 / 2, (own, other)),
        product=Formula(lambda rho, sigma, product: rho * sigma * product, (rho, sigma, product)),
        separation=Formula(lambda c, k: sp.Abs(c - k) / sp.sqrt(c * k), (c, k), "sep", r"\mathrm{sep}"),
        first=Formula(
            lambda lam, m1, m2, size: lam * sp.Abs(m1 - m2) / size,
            (lam, m1, m2, size),
            "sep",
            r"\mathrm{sep}",
        ),
    ),
    claims=(
        Claim(
            "a class on one ray is a rest point of the network: its outputs are {fit} at y = 1, with {balance}, "
            "s = ||theta||, and its part of the loss is {minimum}, R = ||f - 1||^2",
            ("stationary", "ridge"),
            "more samples and dimensions than those listed",
        ),
        Claim(
            "any other outputs g and weights cost at least {excess} a sample more, where no unit neuron gathers a "
            "force above lambda",
            ("gap",),
        ),
        Claim(
            "none does: of products {product} >= 0 inside a class all samples together gather the most, "
            "kappa ||theta|| = lambda",
            ("leaving out",),
            "several classes at once are shown on paper; n beyond those listed",
        ),
        Claim(
            "what survives is {separation}, to first order {first}, m_c the mean of G^-1 1 over a subclass, "
            "s = ||theta_0||",
            ("first order",),
            "more samples than two",
        ),
        Claim("descent from random starts ends there"),
    ),
    steps=(
        Step(
            "stationary",
            "from the loss of a neuron along theta, open on the samples of its class: gradient and value",
            _stationary,
            {
                "balance": lambda kappa, size: kappa * size**2,
                "minimum": lambda square, size, lam, n: square / n + lam * size,
            },
            "(n, d)",
            ((1, 2), (2, 2)),
        ),
        Step(
            "ridge",
            "from theta, the pull of the residuals: what it puts out is what the residuals leave",
            _ridge,
            {"fit": lambda G, inverse, y: inverse * y},
            "n",
            (1, 2),
        ),
        Step(
            "gap",
            "from the squared error at any other outputs, and the cost of a neuron",
            _gap,
            {"excess": lambda own, other: (other - own) ** 2},
            "network",
        ),
        Step(
            "leaving out",
            "from the square of the force: what every part of the samples lacks",
            _leaving_out,
            {"product": lambda rho, sigma, product: rho * sigma * (product - 1)},
            "n",
            (2, 3, 4),
        ),
        Step(
            "first order",
            "from the fit of two samples, differentiated by kappa",
            _first_order,
            {
                "fit": lambda G, inverse, y: inverse * y,
                "separation": lambda c, k: sp.Abs(c - k) / (2 * c),
                "first": lambda lam, m1, m2, size: lam * sp.Abs(m1 - m2),
            },
            "two samples",
        ),
    ),
)

prove, statement = THEOREM.prove, THEOREM.statement
