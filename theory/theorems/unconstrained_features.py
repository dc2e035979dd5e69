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

Proved at the sizes listed: every minimiser, in each case above. Only observed: that descent from random starts ends in
one (the landscape is benign: Zhu et al. 2021 for cross-entropy).

For lambda > 0 all samples of a coarse class get the same h: nothing is said of the fine labels, which T3-T8 follow.
lambda = 0: NC1 = 0 is not forced; H may vary at will outside the row space of A. m < K (no bias): A H is
(1 - K lambda) P for any projector P of rank m, so ||h_k||^2 = (1 - K lambda) P_kk is anything in [0, 1 - K lambda].

Proof: with dual D, ||D|| <= 1, and residual R = -N lambda D at the minimum, the loss is a sum of squares,

    L - L_min = 1/(2N) ||A H + b 1^T - Y - R||^2 + lambda/2 ||A - D H^T||^2
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

from collections.abc import Callable
from itertools import product

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems.symbolic import Theorem, gradient, matrix, penalty, require_zero
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

THEOREM = Theorem(
    id="T11",
    subject="neural-collapse baseline",
    statement="free features: singular values sqrt((1 - K lambda)_+), an ETF with a bias; no word on fine labels",
    assumptions=(
        "features are free parameters (unconstrained)",
        "squared loss",
        "the same lambda on A and H",
        "lambda > 0 (collapse within classes)",
        "m >= K (with a free bias, m >= K - 1)",
        "equal class sizes (equal singular values)",
    ),
    sizes="(K, m) = (2,1), (2,2), (2,3), (3,3), unequal; (K, n, m) = (2,1,2), (2,2,2), (3,1,2), (3,1,3), bias",
    latex=(
        r"\sigma_i(H)^2 = \sigma_i(A)^2 = \sqrt n\, (1 - K \sqrt n\, \lambda)_+, \quad i < K",
        r"\sigma_K(H)^2 = \sqrt n \Bigl(1 - K \sqrt n\, \lambda\, \frac{1 + \lambda_b}{\lambda_b}\Bigr)_+",
        r"\|h_k\|^2 = (1 - \lambda/\pi_k)_+",
        r"L - L_{\min} = \tfrac{1}{2N} \|A H + b 1^\top - Y - R\|^2 + \tfrac{\lambda}{2} \|A - D H^\top\|^2"
        r" + \tfrac{\lambda}{2} \operatorname{tr} H (I - D^\top D) H^\top + \tfrac{\lambda_b}{2} \|b - b_{\min}\|^2",
    ),
)

UNEQUAL_SIZES = ((2, 1), (2, 2), (2, 3), (3, 3))
BIAS_SIZES = ((2, 1, 2), (2, 2, 2), (3, 1, 2), (3, 1, 3))


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
    root = np.sqrt(samples)
    price = classes * root * weight_decay
    values = np.full(classes, root * max(1 - price, 0.0))
    # At bias_decay = 0 the bias carries the whole mean mode, whatever lambda is.
    factor = 1 + 1 / bias_decay if bias_decay > 0 else np.inf
    values[-1] = 0.0 if factor == np.inf else root * max(1 - price * factor, 0.0)
    return values


def predict_gram(classes: int, weight_decay: float, *, bias_decay: float = np.inf) -> Array:
    """H^T H, shape (K, K), of the class features at n = 1; arguments as in `predict`."""
    equal, mean = predict_product_values(classes, weight_decay, bias_decay=bias_decay)[[0, -1]]
    constant = np.full((classes, classes), 1 / classes)
    return equal * (np.eye(classes) - constant) + mean * constant


def predict_unequal(probabilities: ArrayLike, weight_decay: float) -> Array:
    """||h_k||^2, shape (K,), from the class probabilities (K,); no bias, one feature a class, m >= K."""
    pi = checks.real("probabilities", probabilities, ("K",))
    checks.at_least("weight_decay", weight_decay, 0)
    if pi.min() <= 0:
        raise ValueError(f"probabilities must be > 0, got {pi.min()}")
    return np.maximum(1 - weight_decay / pi, 0)


Claim = Callable[[sp.Expr, sp.Expr, sp.Expr], sp.Expr]


def prove(threshold: Claim | None = None) -> None:
    """The loss as a sum of squares, entry by entry, and a point where all squares vanish, in every case.

    threshold: the claimed (y, weight, lambda) -> singular value of Z where that of Y is y and the loss has `weight`;
    y - lambda/weight by default.
    """
    threshold = threshold or (lambda y, weight, lam: y - lam / weight)
    for K, m in UNEQUAL_SIZES:
        for kept in product((True, False), repeat=K):
            _prove_unequal(threshold, K, m, kept)
    for K, n, m in BIAS_SIZES:
        for kept in ((True, True), (True, False), (False, False)):
            _prove_bias(threshold, K, n, m, kept)
    _prove_narrow()
    _prove_no_decay()


def _squares(entries: sp.Matrix) -> sp.Expr:
    return sum(entry**2 for entry in entries)


def _prove_unequal(threshold: Claim, K: int, m: int, kept: tuple[bool, ...]) -> None:
    """Classes of probability pi_k, those in `kept` above lambda: D_kk is 1 for them, else pi_k/lambda."""
    at = f"T11 unequal classes at {K, m}, kept {kept}"
    lam = sp.Symbol("lambda")
    pi = sp.symbols(f"pi1:{K + 1}")
    A, H = matrix("A", K, m), matrix("H", m, K)
    z = [threshold(sp.Integer(1), pi[k], lam) if kept[k] else sp.Integer(0) for k in range(K)]
    D = sp.diag(*(1 if kept[k] else pi[k] / lam for k in range(K)))

    error = A * H - sp.eye(K)
    loss = sum(pi[k] * _squares(error[:, k]) for k in range(K)) / 2 + penalty(lam, A, H)
    left = A * H - sp.diag(*z)
    squares = sum(pi[k] * _squares(left[:, k]) for k in range(K)) / 2
    squares += lam / 2 * (_squares(A - D * H.T) + (H * (sp.eye(K) - D * D) * H.T).trace())
    variables = sp.Matrix([*A, *H])
    require_zero(at, gradient(sp.expand(loss - squares), variables))
    if m >= K:
        root = sp.diag(*(sp.sqrt(value) for value in z))
        point = sp.Matrix.hstack(root, sp.zeros(K, m - K))
        here = dict(zip(variables, [*point, *point.T], strict=True))
        require_zero(f"{at}: attained", squares.subs(here))


def _prove_bias(threshold: Claim, K: int, n: int, m: int, kept: tuple[bool, bool]) -> None:
    """Equal classes with a bias; `kept` says whether the K - 1 equal modes and the mean mode survive."""
    at = f"T11 bias at {K, n, m}, kept {kept}"
    lam, N = sp.Symbol("lambda"), K * n
    # u = 1/(1 + lambda_b) in (0, 1]: lambda_b may be 0 where the mean mode is lost, and all stays polynomial in 1/u.
    u = sp.Symbol("u")
    lam_b = 1 / u - 1
    root = sp.sqrt(n)
    mean = sp.ones(K) / K
    spread = sp.ones(1, n) / root

    def columns(equal: sp.Expr, constant: sp.Expr) -> sp.Matrix:
        """(equal (I - 11^T/K) + constant 11^T/K), each column n times, scaled to keep singular values."""
        return sp.kronecker_product(equal * (sp.eye(K) - mean) + constant * mean, spread)

    dual_equal = 1 if kept[0] else root / (N * lam)
    dual_mean = 1 if kept[1] else root * (1 - u) / (N * lam)
    D = columns(dual_equal, dual_mean)
    bias = lam * root / lam_b * sp.ones(K, 1) if kept[1] else u * sp.ones(K, 1) / K
    z_equal = threshold(root, sp.Rational(1, N), lam) if kept[0] else sp.Integer(0)
    z_mean = threshold(root, lam_b / (1 + lam_b) / N, lam) if kept[1] else sp.Integer(0)
    Z, Y, ones = columns(z_equal, z_mean), columns(root, root), sp.ones(1, N)
    require_zero(f"{at}: residual", Z + bias * ones - Y + N * lam * D)

    A, H, b = matrix("A", K, m), matrix("H", m, N), matrix("b", K, 1)
    loss = _squares(A * H + b * ones - Y) / (2 * N) + penalty(lam, A, H) + penalty(lam_b, b)
    squares = _squares(A * H + b * ones - Z - bias * ones) / (2 * N) + penalty(lam_b, b - bias)
    squares += lam / 2 * (_squares(A - D * H.T) + (H * (sp.eye(N) - D.T * D) * H.T).trace())
    require_zero(at, gradient(sp.expand(loss - squares), sp.Matrix([*A, *H, *b])))
    # A = H's transpose up to the repetition of columns, from the square roots of the two modes: all squares vanish.
    half = sp.sqrt(z_equal) * (sp.eye(K) - mean) + sp.sqrt(z_mean) * mean
    features = columns(sp.sqrt(z_equal), sp.sqrt(z_mean))
    require_zero(f"{at}: product", half * features - Z)
    require_zero(f"{at}: balance", half - D * features.T)
    require_zero(f"{at}: equal columns", (sp.eye(N) - D.T * D) * features.T)


def _prove_narrow() -> None:
    """K = 3, m = 1 < K: A = sqrt(1 - K lambda) p, H = A^T has the same loss and is at rest for every unit vector p."""
    lam, x, y = sp.symbols("lambda x y")
    p = sp.Matrix([x, y, sp.sqrt(1 - x**2 - y**2)])
    A, H = matrix("A", 3, 1), matrix("H", 1, 3)
    loss = _squares(A * H - sp.eye(3)) / 6 + penalty(lam, A, H)
    point = sp.sqrt(1 - 3 * lam) * p
    here = dict(zip([*A, *H], [*point, *point], strict=True))
    for coordinate in (x, y):
        require_zero("T11 narrow: one loss for all p", sp.diff(loss.subs(here), coordinate))
    require_zero("T11 narrow: at rest", gradient(loss, sp.Matrix([*A, *H])).subs(here))


def _prove_no_decay() -> None:
    """lambda = 0, two samples a class: the loss is 0 whatever the second half of H is."""
    A = sp.Matrix.hstack(sp.eye(2), sp.zeros(2))
    classes = sp.kronecker_product(sp.eye(2), sp.ones(1, 2))
    H = sp.Matrix.vstack(classes, matrix("X", 2, 4))
    require_zero("T11 no decay", _squares(A * H - classes))
