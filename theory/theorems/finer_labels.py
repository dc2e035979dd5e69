"""T26 Labels finer than the inputs: a split that the inputs do not know leaves no trace but memory.

Each fine class is given several labels at random: the target t is independent of the input given the class, with
targets t_s at probabilities p_s. Let the loss be affine in the target up to a term without the outputs,

    l(f, t) = a(f) + b(f) . t + c(t):   squared error (c = ||t||^2/2), cross-entropy (c = 0).

Then E l(f, t) = l(f, tbar) + offset, tbar = sum_s p_s t_s, and the offset, tr Cov(t)/2 for squared error and 0 for
cross-entropy, does not depend on the network. So on the population every gradient, hence every course of any network,
any depth, by any optimiser, is that of training on the mean targets: labels finer than what the inputs tell change
nothing in the representation. It is the mismatch of coarse labels in the other direction.

Finite samples see the labels drawn. At given weights the gradient differs from that on the mean targets by a sum of
independent terms: with one output, v = Var(t) and J_i the output's gradient by all weights,

    E ||difference||^2 = v sum_i ||J_i||^2/n^2.

With fixed features (a linear readout, squared error, gradient flow from any start) the outputs on the training samples
differ by the smoothing of the noise: in mean square, averaged over draws,

    v/n sum_k h_k^2,   h_k = s_k/(s_k + lambda) (1 - e^(-(s_k + lambda) t)),

s_k the eigenvalues of the features' Gram matrix over n. At most m of them are not 0, so the trace of the split is at
most v m/n: memory, which dies with the number of samples for each feature. That a network whose features are trained
too has a trace that falls with n is observed only; it is larger than that of its features at the start.

The logistic loss ln(1 + e^(-t f)) is affine on t = +-1 and not between: its mean target is a probability, and the loss
to train on is the cross-entropy of it. Hinge and absolute error are not affine, and there the split does change
training (tests keep both).

Sources: this project, T26 (in the setting of Yang, Steinhardt & Hu, ICML 2023). That squared error and cross-entropy
are minimised by conditional means is classical (proper losses: Savage 1971, JASA 66, 783); linear smoothers as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import along, descent
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

LOSSES = ("squared", "cross-entropy")


def predict(targets: ArrayLike, probabilities: ArrayLike) -> Array:
    """The mean target (K,) to train on, from the targets (S, K) of a class's labels and their probabilities (S,)."""
    t, p = _checked(targets, probabilities)
    return np.sum(
        [THEOREM.formulas.part.number(each, weight) for each, weight in zip(t, p, strict=True)], axis=0
    )


def predict_offset(loss: str, targets: ArrayLike, probabilities: ArrayLike) -> float:
    """The expected loss less that on the mean target, whatever the network: squared or cross-entropy."""
    checks.one_of("loss", loss, LOSSES)
    t, p = _checked(targets, probabilities)
    if loss == "cross-entropy":
        return 0.0
    mean = predict(t, p)
    return float(THEOREM.formulas.offset.number(p @ np.sum(t**2, axis=1), np.sum(mean**2)))


def predict_noise(variance: float, squares: ArrayLike) -> float:
    """E ||difference of gradients||^2 over draws of the labels, from v and ||J_i||^2 (n,): one output."""
    checks.at_least("variance", variance, 0)
    each = checks.real("squares", squares, ("n",))
    return float(THEOREM.formulas.noise.number(variance, each.sum(), each.size))


def predict_memory(features: ArrayLike, variance: float, weight_decay: float, t: float) -> float:
    """Mean square of the outputs' difference on the training samples at time t, for fixed features (n, m) and v."""
    H = checks.real("features", features, ("n", "m"))
    checks.at_least("variance", variance, 0)
    checks.at_least("weight_decay", weight_decay, 0)
    checks.at_least("t", t, 0)
    s = np.linalg.svd(H, compute_uv=False) ** 2 / len(H)
    kept = THEOREM.formulas.kept.number(s[s > 0], weight_decay, t)
    return float(variance * np.sum(kept**2) / len(H))


def _checked(targets: ArrayLike, probabilities: ArrayLike) -> tuple[Array, Array]:
    p = checks.real("probabilities", probabilities, ("S",))
    t = checks.real("targets", targets, (p.size, "K"))
    if p.min() < 0 or abs(p.sum() - 1) > 1e-12:
        raise ValueError(f"probabilities must be >= 0 and add to 1, got {p.tolist()}")
    return t, p


def _split(f: Formulas, K: int, S: int) -> tuple[list[list[sp.Symbol]], list[sp.Expr], list[sp.Expr]]:
    """Targets t_s (S, K), probabilities that add to 1, and the mean target by the formula."""
    t = [[sp.Symbol(f"t{s}{k}", real=True) for k in range(K)] for s in range(S)]
    free = sp.symbols(f"p1:{S}", positive=True)
    p = [*free, 1 - sum(free)]
    return t, p, [sum(f.part(t[s][k], p[s]) for s in range(S)) for k in range(K)]


def _affine(f: Formulas, K: int, S: int) -> Iterator[sp.Expr]:
    """Squared error: the offset. Cross-entropy, and any loss affine in t: none."""
    t, p, mean = _split(f, K, S)
    outputs = sp.symbols(f"f1:{K + 1}", real=True)

    def expected(loss: Callable[[list[Any]], sp.Expr]) -> sp.Expr:
        return sum(p[s] * loss(t[s]) for s in range(S)) - loss(mean)

    squares = sum(p[s] * sum(x**2 for x in t[s]) for s in range(S))
    yield expected(lambda y: sum((o - x) ** 2 for o, x in zip(outputs, y, strict=True)) / 2) - f.offset(
        squares, sum(x**2 for x in mean)
    )
    partition = sp.log(sum(sp.exp(o) for o in outputs))
    yield expected(lambda y: -sum(x * (o - partition) for o, x in zip(outputs, y, strict=True)))
    first, *rest = (sp.Function(name)(*outputs) for name in ("a", *(f"b{k}" for k in range(K))))
    yield expected(lambda y: first + sum(b * x for b, x in zip(rest, y, strict=True)))


def _noise(f: Formulas, n: int) -> sp.Expr:
    """Every assignment of two labels to n samples, with its probability; gradients of the squared loss."""
    p, first, second, w = sp.symbols("p t_1 t_2 w", real=True)
    values = sp.symbols(f"f1:{n + 1}", cls=sp.Function)
    J = sp.symbols(f"J1:{n + 1}", real=True)
    mean = f.part(first, p) + f.part(second, 1 - p)

    def gradient(targets: list[Any]) -> sp.Expr:
        loss = sum((value(w) - t) ** 2 for value, t in zip(values, targets, strict=True)) / (2 * n)
        slope = sp.diff(loss, w)
        return slope.subs({sp.diff(value(w), w): j for value, j in zip(values, J, strict=True)})

    total = sp.S.Zero
    for labels in product((True, False), repeat=n):
        weight = sp.prod([p if label else 1 - p for label in labels])
        drawn = gradient([first if label else second for label in labels])
        total += weight * (drawn - gradient([mean] * n)) ** 2
    variance = p * first**2 + (1 - p) * second**2 - mean**2
    return total - f.noise(variance, sum(j**2 for j in J), n)


def _memory(f: Formulas) -> Iterator[sp.Expr]:
    """One eigendirection of the features: readout b, features sqrt(s) there; the flow of the loss for a target y."""
    s, lam, t, y, b = sp.symbols("s lambda t y b", positive=True)
    loss = (sp.sqrt(s) * b - y) ** 2 / 2 + lam * b**2 / 2
    velocity = descent(loss, sp.Matrix([b]))
    # Linear in y: the difference of two trainings is the training on the difference, from 0.
    fit = f.kept(s, lam, t) * y
    yield along(velocity, sp.sqrt(s) * b).subs(b, fit / sp.sqrt(s)) - sp.diff(fit, t)
    yield f.kept(s, lam, 0)


x, p, squares, mean, v, n, s, lam, t = sp.symbols("t_s p_s T M v n s lambda t", positive=True)

THEOREM = Theorem(
    id="T26",
    subject="labels finer than the inputs",
    assumptions=(
        "the target is independent of the input given the fine class",
        "a loss affine in the target, up to what has no outputs: squared, cross-entropy",
        "the population (the memory laws: n samples)",
        "fixed features and squared error (the memory of a readout)",
    ),
    formulas=Formulas(
        part=Formula(lambda x, p: p * x, (x, p)),
        offset=Formula(
            lambda squares, mean: (squares - mean) / 2, (squares, mean), "E l - l(tbar)", r"E l - l(\bar t)"
        ),
        noise=Formula(
            lambda v, squares, n: v * squares / n**2,
            (v, squares, n),
            "E ||difference||^2",
            r"E \|\Delta \nabla L\|^2",
        ),
        kept=Formula(lambda s, lam, t: s / (s + lam) * (1 - sp.exp(-(s + lam) * t)), (s, lam, t), "h", "h"),
    ),
    claims=(
        Claim(
            "with the mean target, the sum of {part} over the labels, squared error has {offset} (T = E ||t||^2, "
            "M = ||tbar||^2) and cross-entropy none, for all outputs: every gradient is that on the mean targets",
            ("affine",),
            "more outputs and labels than those listed",
        ),
        Claim(
            "so the course of any network by any optimiser is the same",
            ("affine",),
            "it follows by induction",
        ),
        Claim(
            "on n samples, one output, squared error: gradients at given weights differ by {noise}, v = Var(t), "
            "T = sum ||J_i||^2",
            ("noise",),
            "n beyond those listed: independent terms",
        ),
        Claim(
            "with fixed features the outputs differ by v/n sum h_k^2 in mean square, {kept}: at most v m/n",
            ("memory",),
            "that eigendirections of the Gram matrix decouple is classical",
        ),
        Claim("a network with trained features has a trace that falls with n"),
    ),
    steps=(
        Step(
            "affine",
            "from the losses: expected over the labels, less the loss on the mean target",
            _affine,
            {"part": lambda x, p: x * p**2, "offset": lambda squares, mean: squares - mean},
            "(K, S)",
            ((1, 2), (2, 2), (2, 3), (3, 2)),
        ),
        Step(
            "noise",
            "from the squared loss: every assignment of two labels to n samples, with its probability",
            _noise,
            {"noise": lambda v, squares, n: v * squares / n},
            "n",
            (2, 3),
        ),
        Step(
            "memory",
            "from the squared loss of a readout along one eigendirection: the flow of what it fits",
            _memory,
            {"kept": lambda s, lam, t: 1 - sp.exp(-s * t) + 0 * lam},
            "s and lambda",
        ),
    ),
)

prove, statement = THEOREM.prove, THEOREM.statement
