r"""T11 Neural-collapse baseline: what the unconstrained-features model says, and that it is silent on fine labels.

Features H (m, N) are free, n for each of K classes (N = K n); targets Y = I (x) 1_n^T, classifier A (K, m), bias b:

    L = 1/(2N) ||A H + b 1^T - Y||^2 + lambda/2 (||A||^2 + ||H||^2) + lambda_b/2 ||b||^2.

For m >= K every minimiser has A H = Z, A^T A = H H^T, with the singular values of Y soft-thresholded:

    K - 1 equal ones          sqrt(n) (1 - K sqrt(n) lambda)_+
    and the mean mode         sqrt(n) (1 - K sqrt(n) lambda (1 + lambda_b)/lambda_b)_+,

so that those of A and of H are their square roots. Without bias (lambda_b = inf) all K are equal; at n = 1 then
H^T H = (1 - K lambda) I. With a free bias (lambda_b = 0) the mean mode is 0 and the class features are a simplex ETF;
m >= K - 1 is then enough. Classes of unequal probability pi_k, n = 1, no bias, data term
1/2 sum_k pi_k ||A h_k - e_k||^2: the h_k are orthogonal with ||h_k||^2 = (1 - lambda/pi_k)_+, so that a class with
pi_k <= lambda is lost (minority collapse).

Proved: the sum of squares at every size; its zeros, so every minimiser, at the sizes listed. Only observed: that
descent from random starts ends in one (the landscape is benign: Zhu et al. 2021 for cross-entropy).

For lambda > 0 all samples of a coarse class get the same h: nothing is said of the fine labels, which T3-T8 follow.
lambda = 0: NC1 = 0 is not forced; H may vary at will outside the row space of A. m < K (no bias): A H is
(1 - K lambda) P for any projector P of rank m, so ||h_k||^2 = (1 - K lambda) P_kk is anything in [0, 1 - K lambda].

Proof: G the diagonal matrix of the columns' weights (I/N here), D with ||D|| <= 1 and lambda D 1 = lambda_b b_min, and
R = -lambda D G^{-1} the residual at the minimum: the loss is a sum of squares,

    L - L_min = 1/2 ||A H + b 1^T - Y - R||_G^2 + lambda/2 ||A - D H^T||^2
                + lambda/2 tr(H (I - D^T D) H^T) + lambda_b/2 ||b - b_min||^2.

Its zeros are the statement; the third term makes the columns of H equal within a class.

Sources, all classical: the nuclear norm of Z = A H behind the penalty, Srebro, Rennie & Jaakkola (2004); this model,
Mixon, Parshall & Pi (2022), Tirer & Bruna (2022), Zhou et al. (2022); unequal classes, Dang et al. (2023). Collapse
itself was observed by Papyan, Han & Donoho (2020); minority collapse is Fang et al. (2021), under cross-entropy and
norm constraints, where the classifiers of small classes end on one vector. Deeper free features: Sukenik, Mondelli &
Lampert (2023). Beyond free features, where data enter: Jacot et al. (2024), wide networks with linear last layers and
weight decay; Wu & Mondelli (2025), mean field; Kothapalli & Tirer (2025), kernels. None of them follows fine labels.
That coarse labels merge subclasses or learn their common features alone: Xue et al. (2023), contrastive learning;
Hong et al. (2023, 2024), label granularity. The sum of squares and the silence on fine labels: this project, T11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import gradient, matrix, penalty
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def predict(classes: int, weight_decay: float, *, samples: int = 1, bias_decay: float = np.inf) -> Array:
    """Singular values of A, and of H, shape (K,), largest first, for K equal classes of n = `samples`; m >= K.

    bias_decay: lambda_b; inf for no bias, 0 for a free one.
    """
    product = predict_product_values(classes, weight_decay, samples=samples, bias_decay=bias_decay)
    return np.sqrt(product)


def predict_product_values(
    classes: int, weight_decay: float, *, samples: int = 1, bias_decay: float = np.inf
) -> Array:
    """Singular values of Z = A H, shape (K,), largest first; arguments as in `predict`."""
    checks.at_least("classes", classes, 2)
    checks.at_least("samples", samples, 1)
    checks.at_least("weight_decay", weight_decay, 0)
    if not bias_decay >= 0:
        raise ValueError(f"bias_decay must be >= 0 (inf for no bias), got {bias_decay}")
    f = THEOREM.formulas
    equal = max(float(f.equal.number(classes, samples, weight_decay)), 0.0)
    # At bias_decay = 0 the bias carries the whole mean mode, whatever lambda is; without a bias all modes are equal.
    mean = 0.0 if bias_decay == 0 else equal
    if 0 < bias_decay < np.inf:
        mean = max(float(f.mean_mode.number(classes, samples, weight_decay, bias_decay)), 0.0)
    return np.array([equal] * (classes - 1) + [mean])


def predict_gram(classes: int, weight_decay: float, *, bias_decay: float = np.inf) -> Array:
    """H^T H, shape (K, K), of the class features at n = 1; arguments as in `predict`."""
    equal, mean = predict_product_values(classes, weight_decay, bias_decay=bias_decay)[[0, -1]]
    constant = np.full((classes, classes), 1 / classes)
    return THEOREM.formulas.gram.number(equal, mean, np.eye(classes), constant)


def predict_unequal(probabilities: ArrayLike, weight_decay: float) -> Array:
    """||h_k||^2, shape (K,), from the class probabilities (K,); no bias, one feature a class, m >= K."""
    pi = checks.real("probabilities", probabilities, ("K",))
    checks.at_least("weight_decay", weight_decay, 0)
    if pi.min() <= 0:
        raise ValueError(f"probabilities must be > 0, got {pi.min()}")
    return np.maximum(THEOREM.formulas.unequal.number(pi, weight_decay), 0)


def _every_size(f: Formulas) -> Iterator[words.Words]:
    """Any D, Y and column weights G with lambda D 1 = lambda_b b_min: the gradients of both sides agree."""
    lam, lam_b = sp.symbols("lambda lambda_b")
    A, H, b = words.letter("A", "K", "m"), words.letter("H", "m", "N"), words.letter("b", "K", "1")
    D, Y, one = words.letter("D", "K", "N"), words.letter("Y", "K", "N"), words.letter("1", "N", "1")
    G, inverse, least = (
        words.symmetric("G", "N"),
        words.symmetric("G^-1", "N"),
        words.letter("b_min", "K", "1"),
    )
    error = A @ H + b @ one.T - Y
    loss = sp.Rational(1, 2) * words.tr(error @ G @ error.T) + words.penalty(lam, A, H)
    loss += words.penalty(lam_b, b)
    left, apart = error - f.residual(D, inverse, lam), A - f.balance(D, H)
    squares = sp.Rational(1, 2) * words.tr(left @ G @ left.T) + words.penalty(lam_b, b)
    squares += lam / 2 * words.tr(apart @ apart.T) + lam / 2 * words.tr((H - f.within(D, H)) @ H.T)
    squares += -lam_b * words.tr(b @ least.T)
    rules = rewriting.rules((G @ inverse, 1), (D @ one, lam_b / lam * least))
    for variable in (A, H, b):
        yield rewriting.under(words.gradient(loss, variable) - words.gradient(squares, variable), rules)


def _squares(entries: sp.Matrix) -> sp.Expr:
    return sum(entry**2 for entry in entries)


def _unequal(f: Formulas, K: int, m: int) -> Iterator[Any]:
    """Classes of probability pi_k, every choice of those above lambda: D_kk is 1 for them, else pi_k/lambda <= 1."""
    lam, more = sp.symbols("lambda more", positive=True)
    yield f.unequal(lam + more, lam) >= 0
    yield f.unequal(lam, lam + more) <= 0
    pi = sp.symbols(f"pi1:{K + 1}")
    A, H = matrix("A", K, m), matrix("H", m, K)
    error = A * H - sp.eye(K)
    loss = sum(pi[k] * _squares(error[:, k]) for k in range(K)) / 2 + penalty(lam, A, H)
    variables = sp.Matrix([*A, *H])
    for kept in product((True, False), repeat=K):
        z = [f.unequal(pi[k], lam) if kept[k] else sp.S.Zero for k in range(K)]
        D = sp.diag(*(1 if kept[k] else pi[k] / lam for k in range(K)))
        left, apart, within = A * H - sp.diag(*z), A - f.balance(D, H), H - f.within(D, H)
        squares = sum(pi[k] * _squares(left[:, k]) for k in range(K)) / 2
        squares += lam / 2 * (_squares(apart) + (within * H.T).trace())
        yield gradient(sp.expand(loss - squares), variables)
        if m >= K:
            root = sp.diag(*(sp.sqrt(value) for value in z))
            point = sp.Matrix.hstack(root, sp.zeros(K, m - K))
            yield squares.subs(dict(zip(variables, [*point, *point.T], strict=True)))


def _bias(f: Formulas, K: int, n: int, m: int) -> Iterator[Any]:
    """Equal classes with a bias: both modes survive, the K - 1 equal ones alone, or none."""
    more, lam_b = sp.symbols("more lambda_b", positive=True)
    lam = 1 / (K * sp.sqrt(n) + more)
    yield f.equal(K, n, lam) >= 0
    # The mean's threshold is the lower one.
    yield f.equal(K, n, lam) - f.mean_mode(K, n, lam, lam_b) >= 0
    for kept in ((True, True), (True, False), (False, False)):
        yield from _bias_with(f, K, n, m, kept)


def _bias_with(f: Formulas, K: int, n: int, m: int, kept: tuple[bool, bool]) -> Iterator[Any]:
    """`kept`: whether the K - 1 equal modes and the mean mode survive."""
    lam, N = sp.Symbol("lambda"), K * n
    # u = 1/(1 + lambda_b) in (0, 1]: lambda_b may be 0 where the mean mode is lost, and all stays polynomial in 1/u.
    u = sp.Symbol("u")
    lam_b, root = 1 / u - 1, sp.sqrt(n)
    mean, spread = sp.ones(K) / K, sp.ones(1, n) / root

    def columns(equal: sp.Expr, constant: sp.Expr) -> sp.Matrix:
        """(equal (I - 11^T/K) + constant 11^T/K), each column n times, scaled to keep singular values."""
        return sp.kronecker_product(f.gram(equal, constant, sp.eye(K), mean), spread)

    D = columns(1 if kept[0] else root / (N * lam), 1 if kept[1] else root * (1 - u) / (N * lam))
    bias = lam * root / lam_b * sp.ones(K, 1) if kept[1] else u * sp.ones(K, 1) / K
    z_equal = f.equal(K, n, lam) if kept[0] else sp.S.Zero
    z_mean = f.mean_mode(K, n, lam, lam_b) if kept[1] else sp.S.Zero
    Z, Y, ones = columns(z_equal, z_mean), columns(root, root), sp.ones(1, N)
    yield (Z + bias * ones - Y - f.residual(D, N * sp.eye(N), lam)).applyfunc(sp.cancel)

    A, H, b = matrix("A", K, m), matrix("H", m, N), matrix("b", K, 1)
    loss = _squares(A * H + b * ones - Y) / (2 * N) + penalty(lam, A, H) + penalty(lam_b, b)
    squares = _squares(A * H + b * ones - Z - bias * ones) / (2 * N) + penalty(lam_b, b - bias)
    within = H - f.within(D, H)
    squares += lam / 2 * (_squares(A - f.balance(D, H)) + (within * H.T).trace())
    yield gradient(sp.expand(loss - squares), sp.Matrix([*A, *H, *b])).applyfunc(sp.cancel)
    # A = H's transpose up to the repetition of columns, from the square roots of the two modes: all squares vanish.
    e, k = (root_ if survives else sp.S.Zero for root_, survives in zip(sp.symbols("e k"), kept, strict=True))
    half, features = f.gram(e, k, sp.eye(K), mean), columns(e, k)
    yield half * features - columns(e**2, k**2)
    yield half - f.balance(D, features)
    yield features - f.within(D, features)


def _narrow(f: Formulas) -> Iterator[Any]:
    """K = 3, m = 1 < K: A = sqrt(1 - K lambda) p, H = A^T has the same loss and is at rest for every unit vector p."""
    lam, x, y = sp.symbols("lambda x y")
    p = sp.Matrix([x, y, sp.sqrt(1 - x**2 - y**2)])
    A, H = matrix("A", 3, 1), matrix("H", 1, 3)
    loss = _squares(A * H - sp.eye(3)) / 6 + penalty(lam, A, H)
    point = sp.sqrt(f.narrow(3, lam, 1)) * p
    here = dict(zip([*A, *H], [*point, *point], strict=True))
    for coordinate in (x, y):
        yield sp.diff(loss.subs(here), coordinate)
    yield gradient(loss, sp.Matrix([*A, *H])).subs(here)


def _no_decay(f: Formulas) -> words.Words:
    """The squared loss at H and at H with X added outside the row space of A, whose projector is P: A P = A."""
    A, H, X = words.letter("A", "K", "m"), words.letter("H", "m", "N"), words.letter("X", "m", "N")
    P, Y = words.symmetric("P", "m"), words.letter("Y", "K", "N")
    rules = rewriting.rules((A @ P, A))
    errors = (A @ features - Y for features in (H, H + f.unseen(P, X)))
    one, other = (words.tr(error @ error.T) for error in errors)
    return rewriting.under(one - other, rules)


K, n, m, N = sp.symbols("K n m N", integer=True, positive=True)
lam, lam_b, pi, P_kk, equal, mean_ = sp.symbols("lambda lambda_b pi_k P_kk z z_K")
A, H, D, inverse, P, X, one, J = (
    sp.MatrixSymbol(name, *shape)
    for name, shape in {
        "A": (K, m),
        "H": (m, N),
        "D": (K, N),
        "G^-1": (N, N),
        "P": (m, m),
        "X": (m, N),
        "I": (K, K),
        "J": (K, K),
    }.items()
)

SUM_OF_SQUARES: dict[str, Callable[..., Any]] = {
    "residual": lambda D, inverse, lam: -2 * lam * D @ inverse,
    "balance": lambda D, H: 2 * D @ H.T,
    "within": lambda D, H: 2 * H @ D.T @ D,
}
ENTRIES: dict[str, Callable[..., Any]] = {name: SUM_OF_SQUARES[name] for name in ("balance", "within")}

THEOREM = Theorem(
    id="T11",
    subject="neural-collapse baseline",
    assumptions=(
        "features are free parameters (unconstrained)",
        "squared loss",
        "the same lambda on A and H",
        "lambda > 0 (collapse within classes)",
        "m >= K (with a free bias, m >= K - 1)",
        "equal class sizes (equal singular values)",
    ),
    formulas=Formulas(
        residual=Formula(lambda D, inverse, lam: -lam * D @ inverse, (D, inverse, lam)),
        balance=Formula(lambda D, H: D @ H.T, (D, H)),
        within=Formula(lambda D, H: H @ D.T @ D, (D, H)),
        equal=Formula(lambda K, n, lam: sp.sqrt(n) * (1 - K * sp.sqrt(n) * lam), (K, n, lam)),
        mean_mode=Formula(
            lambda K, n, lam, lam_b: sp.sqrt(n) * (1 - K * sp.sqrt(n) * lam * (1 + lam_b) / lam_b),
            (K, n, lam, lam_b),
        ),
        gram=Formula(lambda z, z_K, one, J: z * (one - J) + z_K * J, (equal, mean_, one, J)),
        unequal=Formula(lambda pi, lam: 1 - lam / pi, (pi, lam)),
        narrow=Formula(lambda K, lam, P: (1 - K * lam) * P, (K, lam, P_kk), "||h_k||^2", r"\|h_k\|^2"),
        unseen=Formula(lambda P, X: X - P @ X, (P, X)),
    ),
    claims=(
        Claim(
            "free features, column weights G: L - L_min is the sum of 1/2 ||A H + b 1^T - Y - R||_G^2, "
            "lambda/2 ||A - A_0||^2, lambda/2 tr((H - H_0) H^T) and lambda_b/2 ||b - b_min||^2, with R = {residual}, "
            "A_0 = {balance} and H_0 = {within}, for every D with lambda D 1 = lambda_b b_min",
            ("every size",),
        ),
        Claim(
            "all are 0 for K equal classes where A H has K - 1 equal singular values, the positive part of {equal}, "
            "and for the mean the positive part of {mean_mode}; those of A and H are their square roots",
            ("bias",),
        ),
        Claim("at n = 1 H^T H is {gram}, J = 1 1^T/K: with a free bias a simplex ETF", ("bias",)),
        Claim(
            "unequal classes without a bias: orthogonal h_k, ||h_k||^2 the positive part of {unequal}",
            ("unequal",),
        ),
        Claim(
            "m < K: {narrow} at rest and of one loss for every projector P of rank m",
            ("narrow",),
            "shown at K = 3, m = 1; that no point lies lower",
        ),
        Claim("lambda = 0: {unseen} added to H leaves the loss, P the projector on A's rows", ("no decay",)),
        Claim(
            "descent from random starts ends in a minimum; samples of a class share one h, whatever their fine labels"
        ),
    ),
    steps=(
        Step(
            "every size",
            "from the loss as a trace: its gradients are those of the sum of squares",
            _every_size,
            SUM_OF_SQUARES,
        ),
        Step(
            "unequal",
            "from the loss entry by entry, every choice of lost classes: it is the sum of squares, and attained",
            _unequal,
            ENTRIES | {"unequal": lambda pi, lam: 1 - lam},
            "(K, m)",
            ((2, 1), (2, 2), (2, 3), (3, 3)),
        ),
        Step(
            "bias",
            "from the loss entry by entry, every choice of kept modes: it is the sum of squares, and attained",
            _bias,
            SUM_OF_SQUARES
            | {
                "equal": lambda K, n, lam: sp.sqrt(n) * (1 - K * lam / 2),
                "mean_mode": lambda K, n, lam, lam_b: sp.sqrt(n) * (1 - K * sp.sqrt(n) * lam / lam_b),
                "gram": lambda z, z_K, one, J: z * one + z_K * J,
            },
            "(K, n, m)",
            ((2, 1, 2), (2, 2, 2), (3, 1, 2)),
        ),
        Step(
            "narrow",
            "from the loss of one neuron for three classes: at rest, with one loss, for every unit vector",
            _narrow,
            {"narrow": lambda K, lam, P: (1 - 2 * K * lam) * P},
            "p",
        ),
        Step(
            "no decay",
            "from the squared loss as a trace: it does not see what lies off the rows of A",
            _no_decay,
            {"unseen": lambda P, X: X},
        ),
    ),
)

prove = THEOREM.prove
