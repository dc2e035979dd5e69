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

Source: that learning curves on real inputs or features are those of Gaussians of the same covariance: Goldt et al.
(2020, 2022), Mei & Montanari (2022), Loureiro et al. (2021), for random features or the last layer, in high
dimension, in the error. Here the first layer is trained, at finite width and dimension, each fine class has its own
Gaussians, and what is predicted are the Moments: this project, T13. (c) is Gram and Charlier's expansion.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, penalty, require_zero, squared_loss
from finegrain.theory.tools.arrays import Array

THEOREM = Theorem(
    id="T13",
    subject="Gaussian-equivalent prediction",
    statement="linear networks see class means and covariances alone: R = 1 is exact; ReLU needs the classes' mixtures",
    assumptions=(
        "squared loss",
        "linear network, or each fine class a mixture of the R Gaussians fitted",
        "the same initial weights and the same steps",
    ),
    sizes="(samples a class, classes, d, m, K) = (2,2,1,2,1), (2,2,2,2,1), (2,3,2,2,2); skewness for every b, s > 0",
    latex=(
        r"\Sigma = \sum_c \pi_c (\mathrm{Cov}_c + \mu_c \mu_c^\top), \quad M = \sum_c \pi_c t_c \mu_c^\top",
        r"\mathbb{E}\,\mathrm{relu}(z) - \mathbb{E}_{\mathcal N} = -\tfrac{g}{6}\, b\, \varphi(b/s), \quad "
        r"\mathbb{E}\,\mathrm{relu}(z)^2 - \mathbb{E}_{\mathcal N} = \tfrac{g}{3}\, s^2 \varphi(b/s)",
    ),
)

SIZES = ((2, 2, 1, 2, 1), (2, 2, 2, 2, 1), (2, 3, 2, 2, 2))


def predict_from(mixture: Mixture) -> Mixture:
    """The mixture that a linear network cannot tell from this one: one Gaussian a fine class, R = 1."""
    return Mixture(mixture.fine_moments, mixture.coarse_map)


def predict_skew_error(b: ArrayLike, s: ArrayLike, skewness: ArrayLike) -> tuple[Array, Array]:
    """What E relu(z) and E relu(z)^2 exceed their Gaussian values by, to first order in the skewness of z.

    b, s > 0, skewness: mean, standard deviation and E(z - b)^3/s^3, of any shapes that broadcast.
    """
    b, s = np.asarray(b, dtype=np.float64), np.asarray(s, dtype=np.float64)
    weight = np.asarray(skewness) * np.exp(-((b / s) ** 2) / 2) / np.sqrt(2 * np.pi)
    return -weight * b / 6, weight * s**2 / 3


Statistics = Callable[
    [list[sp.Expr], list[sp.Matrix], list[sp.Matrix], list[sp.Matrix]], tuple[sp.Matrix, sp.Matrix]
]


def prove(
    statistics: Statistics | None = None, skew_error: Callable[..., tuple[sp.Expr, sp.Expr]] | None = None
) -> None:
    """(a) from the loss on samples, entry by entry; (b) and (c) by integration.

    statistics: the claimed (pi_c, mu_c, Cov_c, t_c) -> (Sigma, M); the theorem's own by default.
    skew_error: the claimed (b, s, skewness) -> errors of E relu, E relu^2; the theorem's own by default.
    """
    _prove_skew(skew_error or (lambda b, s, g: (-g * b * _phi(b / s) / 6, g * s**2 * _phi(b / s) / 3)))
    for sizes in SIZES:
        _prove_linear(statistics or _statistics, *sizes)
    _prove_mixture()


def _statistics(
    pi: list[sp.Expr], means: list[sp.Matrix], covariances: list[sp.Matrix], targets: list[sp.Matrix]
) -> tuple[sp.Matrix, sp.Matrix]:
    classes = range(len(pi))
    second = [pi[c] * (covariances[c] + means[c] * means[c].T) for c in classes]
    cross = [pi[c] * targets[c] * means[c].T for c in classes]
    return sum(second[1:], second[0]), sum(cross[1:], cross[0])


def _prove_linear(statistics: Statistics, each: int, classes: int, d: int, m: int, K: int) -> None:
    """Classes of `each` samples, class c counted with weight pi_c: any data with rational weights and more."""
    lam = sp.Symbol("lambda")
    pi = list(sp.symbols(f"pi:{classes}"))
    W, A = matrix("W", m, d), matrix("A", K, m)
    samples = [[matrix(f"x{c}_{i}", d, 1) for i in range(each)] for c in range(classes)]
    targets = [matrix(f"t{c}", K, 1) for c in range(classes)]
    loss = penalty(lam, W, A)
    for c in range(classes):
        for x in samples[c]:
            loss += pi[c] / each * sum(e**2 for e in A * W * x - targets[c]) / 2
    means = [sum(xs[1:], xs[0]) / each for xs in samples]
    covariances = []
    for xs, mean in zip(samples, means, strict=True):
        terms = [(x - mean) * (x - mean).T for x in xs]
        covariances.append(sum(terms[1:], terms[0]) / each)
        images = [W * x for x in xs]
        centre = sum(images[1:], images[0]) / each
        spread = [(h - centre) * (h - centre).T for h in images]
        require_zero("T13(a) mean of h", centre - W * mean)
        require_zero("T13(a) covariance of h", sum(spread[1:], spread[0]) / each - W * covariances[-1] * W.T)
    claimed = squared_loss(A * W, *statistics(pi, means, covariances, targets)) + penalty(lam, W, A)
    for weights in (W, A):
        difference = gradient(loss, weights) - gradient(claimed, weights)
        require_zero(f"T13(a) gradient at {each, classes, d, m, K}", difference)


def _phi(x: sp.Expr) -> sp.Expr:
    return sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)


def _prove_mixture() -> None:
    """(b) for one neuron and two components: the loss on the mixture is the components' average, each
    with its own E relu and gate probability, as T1 has them."""
    u, s, h = sp.symbols("u s h")
    for sign in (-1, 1):
        gate = sp.integrate(_phi(u), (u, -sign * h, sp.oo))
        relu = sp.integrate((sign * h + u) * _phi(u), (u, -sign * h, sp.oo)) * s
        cdf = (1 + sp.erf(sign * h / sp.sqrt(2))) / 2
        require_zero("T13(b) gate", gate.rewrite(sp.erf) - cdf)
        require_zero("T13(b) mean", relu.rewrite(sp.erf) - s * (sign * h * cdf + _phi(h)))
    a, t, p = sp.symbols("a t p")
    moments = [sp.symbols(f"m{r} q{r}") for r in (0, 1)]  # E relu, E relu^2 of each component
    whole = [p * x + (1 - p) * y for x, y in zip(*moments, strict=True)]
    losses = [(a**2 * q - 2 * a * t * m + t**2) / 2 for m, q in (*moments, whole)]
    require_zero("T13(b) loss of a mixture", losses[2] - p * losses[0] - (1 - p) * losses[1])


def _prove_skew(skew_error: Callable[..., tuple[sp.Expr, sp.Expr]]) -> None:
    """The density phi(u) (1 + g (u^3 - 3u)/6) has mean 0, variance 1, skewness g; relu(b + s u) averaged over it.

    The excess of E (u + h)^p 1(u > -h) is int_{-h} (u + h)^p tilt phi du: by Leibniz's rule each derivative by h lowers
    p by one, the next after the last leaves p! tilt(-h) phi(h), and all of them vanish at h = -infinity.
    """
    u, g, h = sp.symbols("u g h")
    s = sp.Symbol("s")
    tilt = g * (u**3 - 3 * u) / 6
    for power, value in ((0, 1), (1, 0), (2, 1), (3, g)):
        moment = sp.integrate(sp.expand(u**power * (1 + tilt)) * _phi(u), (u, -sp.oo, sp.oo))
        require_zero(f"T13(c) moment {power}", moment - value)
    for power, claim in zip((1, 2), skew_error(s * h, s, g), strict=True):
        last = sp.factorial(power) * s**power * tilt.subs(u, -h) * _phi(h)
        require_zero(f"T13(c) E relu^{power}", sp.diff(claim, h, power + 1) - last)
        for order in range(power + 1):
            left = sp.limit(sp.diff(claim, h, order), h, -sp.oo)
            require_zero(f"T13(c) E relu^{power} at minus infinity", left)
