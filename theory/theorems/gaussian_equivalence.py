"""T13 Gaussian-equivalent prediction: what a fit of R Gaussians a fine class says of training on the data themselves.

Data with weights pi_c, means mu_c and covariances Cov_c of the fine classes, targets t_c, network f = A phi(W x),
squared loss, any weight decay, any step size (flow included); the same start on both sides.
Mixture.fit(x, fine, map, R) keeps pi_c, mu_c and Cov_c for every R.

(a) Linear network: R = 1 is exact. The loss depends on the data only through
        Sigma = sum_c pi_c (Cov_c + mu_c mu_c^T),   M = sum_c pi_c t_c mu_c^T,
    and the Moments of h = W x are those of x, mapped. So weights and Moments agree at every time, for any data.
(b) Any phi: the loss and its gradient are averages over each fine class of functions of x, hence linear in the classes'
    distributions. They agree at every time if each fine class is a mixture of R Gaussians and the fit finds it;
    T1 gives them exactly. Training on n samples of it differs by sampling alone, as n^(-1/2).
(c) ReLU, R = 1, classes that are not Gaussian: at time 0+ already the law of the preactivations z = w.x enters.
    To first order in the skewness g of z ~ (b, s^2), h = b/s,
        E relu(z)   exceeds the Gaussian value by  -g b phi(h)/6,
        E relu(z)^2 exceeds the Gaussian value by   g s^2 phi(h)/3.

Conjecture, measured and not proved: on real data the error of the predicted Moments falls as R grows, down to what
the sample size allows (trial, Fashion-MNIST: fine share .4960, .5292, .5290 for R = 1, 4, 16, observed .5287). (c)
says why R = 1 fails; a bound at a given R would need a rate for Gaussian mixtures in the distance that E|z| sees.

Proved: (a) at every size, (b) for one ReLU neuron and two components, (c). Only observed: that training on samples
differs from the flow on their mixture by sampling alone, and the conjecture.

Source: that learning curves on real inputs or features are those of Gaussians of the same covariance: Goldt et al.
(2020, 2022), Mei & Montanari (2022), Loureiro et al. (2021), for random features or the last layer, in high
dimension, in the error. Here the first layer is trained, at finite width and dimension, each fine class has its own
Gaussians, and what is predicted are the Moments: this project, T13. (c) is Gram and Charlier's expansion.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import gaussian_kinematics as kinematics
from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.gaussian_kinematics import pdf
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import gradient, matrix, penalty, squared_loss
from finegrain.theory.tools.arrays import Array


def predict_from(mixture: Mixture) -> Mixture:
    """The mixture that a linear network cannot tell from this one: one Gaussian a fine class, R = 1."""
    return Mixture(mixture.fine_moments, mixture.coarse_map)


def predict_statistics(
    weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, targets: ArrayLike
) -> tuple[Array, Array]:
    """Sigma (d, d) and M (K, d), all that a linear network sees of fine classes with pi_c (C,), mu_c (C, d),
    Cov_c (C, d, d) and t_c (C, K)."""
    f = THEOREM.formulas
    parts = [np.asarray(x, dtype=np.float64) for x in (weights, means, covariances, targets)]
    classes = [(p, mu[:, None], cov, t[:, None]) for p, mu, cov, t in zip(*parts, strict=True)]
    second = sum(f.second.number(p, cov, mu) for p, mu, cov, _ in classes)
    return np.asarray(second), np.asarray(sum(f.cross.number(p, t, mu) for p, mu, _, t in classes))


def predict_moments(W: ArrayLike, mean: ArrayLike, covariance: ArrayLike) -> tuple[Array, Array]:
    """Mean (m,) and covariance (m, m) of h = W x, W (m, d), for x of this mean (d,) and covariance (d, d)."""
    f, W = THEOREM.formulas, np.asarray(W, dtype=np.float64)
    return f.mean.number(W, np.asarray(mean)[:, None])[:, 0], f.covariance.number(W, np.asarray(covariance))


def predict_mixed(share: float, one: ArrayLike, other: ArrayLike) -> Array:
    """An average over a class of two components, from its values on each, of any shape, and the first one's share."""
    return THEOREM.formulas.mixed.number(share, np.asarray(one), np.asarray(other))


def predict_skew_error(b: ArrayLike, s: ArrayLike, skewness: ArrayLike) -> tuple[Array, Array]:
    """What E relu(z) and E relu(z)^2 exceed their Gaussian values by, to first order in the skewness of z.

    b, s > 0, skewness: mean, standard deviation and E(z - b)^3/s^3, of any shapes that broadcast.
    """
    f, arguments = THEOREM.formulas, [np.asarray(x, dtype=np.float64) for x in (b, s, skewness)]
    return f.skew_mean.number(*arguments), f.skew_square.number(*arguments)


def _total(parts: list[sp.Matrix]) -> sp.Matrix:
    return reduce(lambda one, other: one + other, parts)


def _every_size(f: Formulas) -> Iterator[words.Words]:
    """A fine class's samples X (d, n), 1 the column of n ones with 1^T 1 = n: its loss has the gradients that Sigma
    and M give, with mean X 1/n and covariance X X^T/n - mean mean^T; the classes' losses add up."""
    W, A, X = words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("X", "d", "n")
    one, target = words.letter("1", "n", "1"), words.letter("t", "K", "1")
    pi, each = sp.Symbol("pi"), words.dimension("n")
    error = A @ W @ X - target @ one.T
    loss = pi / each / 2 * words.tr(error @ error.T)
    mean = 1 / each * X @ one
    spread = 1 / each * X @ X.T - mean @ mean.T
    claimed = words.squared_loss(A @ W, f.second(pi, spread, mean), f.cross(pi, target, mean))
    for weight in (W, A):
        yield words.gradient(loss, weight) - words.gradient(claimed, weight)
    # Centred samples of h, and the mean of h.
    ones = rewriting.rules((one.T @ one, each * words.identity("1")))
    hidden = W @ X
    centred = hidden - 1 / each * hidden @ one @ one.T
    yield rewriting.under(1 / each * centred @ centred.T - f.covariance(W, spread), ones)
    yield 1 / each * hidden @ one - f.mean(W, mean)


def _entries(f: Formulas, each: int, classes: int, d: int, m: int, K: int) -> Iterator[sp.Matrix]:
    """Classes of `each` samples, class c counted with weight pi_c: any data with rational weights and more."""
    lam = sp.Symbol("lambda")
    pi = sp.symbols(f"pi:{classes}")
    W, A = matrix("W", m, d), matrix("A", K, m)
    samples = [[matrix(f"x{c}_{i}", d, 1) for i in range(each)] for c in range(classes)]
    targets = [matrix(f"t{c}", K, 1) for c in range(classes)]
    loss = penalty(lam, W, A)
    for p, xs, t in zip(pi, samples, targets, strict=True):
        loss += sum(p / each / 2 * e**2 for x in xs for e in A * W * x - t)
    means = [_total(xs) / each for xs in samples]
    spreads = [
        _total([(x - mu) * (x - mu).T for x in xs]) / each for xs, mu in zip(samples, means, strict=True)
    ]
    hidden = [W * x for x in samples[0]]
    centre = _total(hidden) / each
    yield centre - f.mean(W, means[0])
    yield _total([(h - centre) * (h - centre).T for h in hidden]) / each - f.covariance(W, spreads[0])
    second = _total([f.second(*part) for part in zip(pi, spreads, means, strict=True)])
    cross = _total([f.cross(*part) for part in zip(pi, targets, means, strict=True)])
    claimed = squared_loss(A * W, second, cross) + penalty(lam, W, A)
    for weights in (W, A):
        yield gradient(loss, weights) - gradient(claimed, weights)


def _mixture(f: Formulas) -> Iterator[sp.Expr]:
    """One ReLU neuron, z of two Gaussians of shares p and 1 - p: E relu(z - c)^k, differentiated by c until the
    mixture's density is left (as in T1), and the loss in these two moments."""
    p, c, a, t = sp.symbols("p c a t")
    b, s = sp.symbols("b1:3"), sp.symbols("s1:3", positive=True)
    parts = list(zip(b, s, strict=True))

    def loss(shift: sp.Expr, mean: sp.Expr, square: sp.Expr) -> sp.Expr:
        return (a**2 * square - 2 * a * t * mean + t**2) / 2

    mean, square = (
        p * moment(b[0] - c, s[0]) + (1 - p) * moment(b[1] - c, s[1])
        for moment in (f.relu_mean, f.relu_square)
    )
    density = [pdf((c - x) / y) / y for x, y in parts]
    mixed = p * density[0] + (1 - p) * density[1]
    yield sp.diff(mean, c, 2) - mixed
    yield sp.diff(square, c, 3) + 2 * mixed
    each = [loss(c, f.relu_mean(x - c, y), f.relu_square(x - c, y)) for x, y in parts]
    yield loss(c, mean, square) - f.mixed(p, *each)


def _skew(f: Formulas) -> Iterator[sp.Expr]:
    """The density phi(u) (1 + g (u^3 - 3u)/6) has mean 0, variance 1, skewness g; relu(b + s u) averaged over it.

    The excess of E (u + h)^p 1(u > -h) is int_{-h} (u + h)^p tilt phi du: by Leibniz's rule each derivative by h lowers
    p by one, the next after the last leaves p! tilt(-h) phi(h), and all of them vanish at h = -infinity.
    """
    u, g, h, s = sp.symbols("u g h s")
    tilt = f.tilt(g, u)
    for power, value in ((0, 1), (1, 0), (2, 1), (3, g)):
        yield _normal_mean(sp.expand(u**power * (1 + tilt)), u) - value
    for power, claim in ((1, f.skew_mean(s * h, s, g)), (2, f.skew_square(s * h, s, g))):
        last = sp.factorial(power) * s**power * tilt.subs(u, -h) * pdf(h)
        yield sp.diff(claim, h, power + 1) - last
        for order in range(power + 1):
            yield sp.limit(sp.diff(claim, h, order), h, -sp.oo)


def _normal_mean(polynomial: sp.Expr, u: sp.Symbol) -> sp.Expr:
    """E of a polynomial in u ~ N(0, 1), by the moment generating function."""
    x = sp.Symbol("x")
    powers = sp.Poly(polynomial, u).terms()
    return sum(c * sp.diff(sp.exp(x**2 / 2), x, k).subs(x, 0) for (k,), c in powers)


d, m, K = sp.symbols("d m K", integer=True, positive=True)
pi, b, s, g, p, L1, L2, u = sp.symbols("pi_c b s g p L_1 L_2 u")
W, Cov, mu, t = (
    sp.MatrixSymbol("W", m, d),
    sp.MatrixSymbol("Cov_c", d, d),
    sp.MatrixSymbol("mu_c", d, 1),
    sp.MatrixSymbol("t_c", K, 1),
)

WITHOUT_MEANS = {"second": lambda pi, cov, mu: pi * cov}
TWICE = {"cross": lambda pi, t, mu: 2 * pi * t @ mu.T}
SHRUNK = {"mean": lambda W, mu: -W @ mu, "covariance": lambda W, cov: 2 * W @ cov @ W.T}

THEOREM = Theorem(
    id="T13",
    subject="Gaussian-equivalent prediction",
    assumptions=(
        "squared loss",
        "linear network, or each fine class a mixture of the R Gaussians fitted",
        "the same initial weights and the same steps",
    ),
    formulas=Formulas(
        second=Formula(lambda pi, cov, mu: pi * cov + pi * mu @ mu.T, (pi, Cov, mu)),
        cross=Formula(lambda pi, t, mu: pi * t @ mu.T, (pi, t, mu)),
        mean=Formula(lambda W, mu: W @ mu, (W, mu)),
        covariance=Formula(lambda W, cov: W @ cov @ W.T, (W, Cov)),
        relu_mean=kinematics.MEAN,
        relu_square=kinematics.SQUARE,
        mixed=Formula(lambda p, one, other: p * one + (1 - p) * other, (p, L1, L2), "L", "L"),
        tilt=Formula(lambda g, u: g * (u**3 - 3 * u) / 6, (g, u)),
        skew_mean=Formula(
            lambda b, s, g: -g * b * pdf(b / s) / 6,
            (b, s, g),
            "E relu(z) - Gaussian value",
            r"\mathbb{E}\,\mathrm{relu}(z) - \mathbb{E}_{\mathcal N}",
        ),
        skew_square=Formula(
            lambda b, s, g: g * s**2 * pdf(b / s) / 3,
            (b, s, g),
            "E relu(z)^2 - Gaussian value",
            r"\mathbb{E}\,\mathrm{relu}(z)^2 - \mathbb{E}_{\mathcal N}",
        ),
    ),
    claims=(
        Claim(
            "a linear network's loss has the gradients that Sigma, the sum of {second} over fine classes, and M, that "
            "of {cross}, give, for any data",
            ("every size", "entries"),
        ),
        Claim(
            "of each class h = W x has mean {mean} and covariance {covariance}; so weights and Moments are those of "
            "one Gaussian per fine class at every step, R = 1",
            ("every size", "entries"),
        ),
        Claim(
            "ReLU: each Gaussian of a fine class counts with its {relu_mean} and {relu_square}, and two components of "
            "shares p and 1 - p with {mixed}",
            ("mixture",),
            "shown for one neuron; more neurons and other phi by linearity of the expectation",
        ),
        Claim(
            "to first order in the skewness g, the density phi(u)(1 + t), t = {tilt}, of z = b + s u: {skew_mean}, "
            "{skew_square}",
            ("skewness",),
        ),
        Claim("on n samples of the mixture fitted, training differs by sampling alone, as n^(-1/2)"),
        Claim("on real data the error falls as R grows"),
    ),
    steps=(
        Step(
            "every size",
            "from the squared loss on a class's samples as a trace: its gradients, and the moments of W x",
            _every_size,
            WITHOUT_MEANS | TWICE | SHRUNK,
        ),
        Step(
            "entries",
            "a second time, for several classes, entry by entry",
            _entries,
            WITHOUT_MEANS | TWICE | SHRUNK,
            "(samples per class, classes, d, m, K)",
            ((2, 2, 1, 2, 1), (2, 2, 2, 2, 1), (2, 3, 2, 2, 2)),
        ),
        Step(
            "mixture",
            "from the mixture's density: E relu and E relu^2, and the squared loss made of them",
            _mixture,
            {"mixed": lambda p, one, other: p * one + other}
            | kinematics.FALSE_MEAN
            | kinematics.FALSE_SQUARE,
            "b, s and p",
        ),
        Step(
            "skewness",
            "from a density of skewness g: its first four moments, and relu(b + s u) averaged over it",
            _skew,
            {
                "tilt": lambda g, u: g * (u**3 - u) / 6,
                "skew_mean": lambda b, s, g: -g * b * pdf(b / s) / 3,
                "skew_square": lambda b, s, g: sp.S.Zero,
            },
            "b and s",
        ),
    ),
)

prove = THEOREM.prove
