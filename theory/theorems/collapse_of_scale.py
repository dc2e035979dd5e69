"""T4 Collapse of scale, not of information: the invisible part shrinks, and still tells the subclasses apart.

Setting of T3: linear network, squared loss, weight decay lambda; x_v the input's part in the invisible subspace V,
h_v = W_v x_v its image, Sigma_v = E[x_v x_v^T].

(a) E||h_v||^2 = tr(W_v Sigma_v W_v^T) <= e^{-2 lambda t} times its initial value; so is tr(W_v C W_v^T) for every
    covariance C of x_v (of one class, say) that commutes with Sigma_v. The late rate of tr Cov_v / tr Sigma_B, with
    Sigma_B the between-class covariance of the coarse labels, where the right singular vectors v_k of M are
    eigenvectors of Sigma (eigenvalues s_k). A mode is kept if sigma_k > lambda, and separating if v_k tells coarse
    class means apart (a mean that all classes share gives a mode that does not). Then
        m > kept modes, a separating one kept:  2 lambda;
        m > kept modes, no separating one kept: Sigma_B dies too; 2 sigma_k of the largest separating sigma_k;
        m = kept modes, a separating one kept:  2 min_j,k (lambda + s_j (sigma_k - lambda)/s_k), s_j of Sigma_v: no
        neuron is off the classifier's row space, and what is in it decays faster.
    From a large start the ratio may first grow.
(c) With input noise the total NC1 = tr Sigma_W / tr Sigma_B has a floor: the noise in the visible directions.
(d) W_v(t) injective (m >= dim V): every Mahalanobis distance of h_v is that of x_v, and so is the Bayes accuracy.
    If Sigma_v = s I, then h_v(t) is an invertible image of h_v(0) and these never change, injective or not; else
    W_v may lose injectivity at isolated times. This is the invisible part h_v, not h: information in the whole
    representation h is the input's at every t at which W itself is injective (m >= d), by the same proof with W for
    W_v. For dim V <= m < d it is not kept: the visible part is mixed in, and its noise stays while h_v shrinks.
(e) Delta_h <= Delta_x for every linear map h = W x.

Corrected: (a) had been stated for Cov_v without the condition that it commutes with Sigma_v, and fails without it:
with C = c c^T, d/dt tr(W_v C W_v^T) = -2 (A W_v c)(A W_v Sigma_v c) for lambda = 0, K = 1, which is positive for
Sigma_v = diag(1, 1/10), c = (1, 2), A W_v = (-1, 1); tests/theory/theorems/test_collapse_of_scale.py keeps the case.

Corrected: (a)'s rate had been stated as 2 min(lambda, sigma_1(M)). It is false at m = 1 (two classes, sigma_1 = 1/2,
lambda = .05: rate 1.0, not .1), and where the top mode separates nothing (one-hot targets, inputs with a common mean:
lambda = .8 below sigma_1 = 1.41, rate 2 sigma_2 = .707, not 1.6). (d) had been read as a statement on h: at
m = dim V = 2, d = 3 Delta of h_v is constant, and that of h falls below 1/sqrt 2 of it for one of two pairs of
subclasses. The tests keep all of these.

Proved at every size: (a)'s rate of the energy and its bound; (d), by Penrose's conditions; (e). The energy, (d) and (e)
a second time, entry by entry, at the sizes listed. Proved at the sizes listed: the linearised rates at the rest point
for each of (a)'s three cases. Only observed: that the flow reaches that rest point from a random start, hence that
these rates are the ones seen; (b); (c); that W_v may lose injectivity.

(b), a heuristic, no theorem: the pseudo-inverse form tr(Sigma_W pinv(Sigma_B)) / K hardly sees the remainder; its
part decays at about 6 lambda (a trial gave 5.95).

Source: (e) is the data-processing inequality. NC1 as a measure: Papyan, Han & Donoho (2020); that it need not vanish
in full, and how a real network keeps structure within classes, Yang, Steinhardt & Hu (2023) and Kothapalli & Tirer
(2025) (kernel limits; no statement here is theirs). (a), (d): this project, T4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.proof import Claim, Formula, Formulas, Step, Theorem
from finegrain.theory.theorems.symbolic import along, descent, matrix, penalty, squared_loss
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


def predict_bound(initial: float, weight_decay: float, t: float) -> float:
    """The largest value that E||h_v||^2 can have at time t, from its initial value; reached where A W_v = 0."""
    return initial * float(THEOREM.formulas.decay.number(weight_decay, t))


def predict_ratio_rate(
    weight_decay: float,
    singular: ArrayLike,
    *,
    separating: ArrayLike,
    visible: ArrayLike,
    invisible: ArrayLike,
    width: int,
) -> float:
    """Late decay rate of tr Cov_v / tr Sigma_B for m = `width` neurons.

    Args:
        weight_decay: lambda; not one of the sigma_k, where a mode vanishes only as a power of t.
        singular: sigma_k > 0 of M, (k,).
        separating: (k,) bool, whether v_k tells coarse class means apart; one at least does.
        visible, invisible: s_k of Sigma v_k = s_k v_k, (k,), and the eigenvalues of Sigma_v, (n,).

    Raises:
        ValueError: lambda equal to a sigma_k, or too few neurons for the statement.
    """
    checks.at_least("weight_decay", weight_decay, 0)
    sigma = checks.real("singular", singular, ("k",))
    s, s_v = checks.real("visible", visible, sigma.shape), checks.real("invisible", invisible, ("n",))
    apart, kept = np.asarray(separating, dtype=bool), sigma > weight_decay
    if (sigma == weight_decay).any():
        raise ValueError(
            f"weight_decay must differ from every sigma_k of M, got {weight_decay}: no rate there"
        )
    f = THEOREM.formulas
    if width > kept.sum():
        found = f.kept.number(weight_decay) if (kept & apart).any() else f.dead.number(sigma[apart].max())
        return float(found)
    if width < kept.sum() or not (kept & apart).any():
        raise ValueError(
            f"width must be > {kept.sum()}, the modes above weight_decay, "
            f"or equal if one of them separates; got {width}"
        )
    return float(np.min(f.full.number(weight_decay, sigma[kept], s[kept], s_v.min())))


def predict_mahalanobis(delta: Array, covariance: Array) -> float:
    """Delta of h_v at every time: that of x_v, from the mean difference (n,) and the covariance (n, n) in V."""
    square = THEOREM.formulas.distance.number(delta[:, None], np.linalg.inv(covariance))
    return float(square.item()) ** 0.5


def _energy(f: Formulas) -> words.Words:
    """T3's setting, E a basis of V. A covariance that commutes with Sigma_v = r^2 is q^2 with q r = r q, r and q
    the roots: what is beyond weight decay is then a square, that of A W_v r q."""
    lam = sp.Symbol("lambda")
    W, A, E = words.letter("W", "m", "d"), words.letter("A", "K", "m"), words.letter("E", "d", "v")
    second, cross = words.symmetric("Sigma", "d"), words.letter("M", "K", "d")
    r, q = words.symmetric("r", "v"), words.symmetric("q", "v")
    loss = words.squared_loss(A @ W, second, cross) + words.penalty(lam, W, A)
    given = rewriting.rules((E.T @ E, 1), (second @ E, E @ r @ r), (cross @ E, 0), (r @ q, q @ r))
    energy, root = words.tr(W @ E @ q @ q @ E.T @ W.T), A @ W @ E @ r @ q
    rate = words.rate(energy, {**words.flow(loss, W), E: 0, q: 0})
    return rewriting.under(rate - f.energy_rate(energy, words.tr(root @ root.T), lam), given)


def _energy_entries(f: Formulas, n: int, m: int, K: int) -> sp.Expr:
    """For Sigma_v and C diagonal in one basis, all inputs in V."""
    lam, s, c = sp.Symbol("lambda"), sp.symbols(f"s:{n}"), sp.symbols(f"c:{n}")
    W, A = matrix("W", m, n), matrix("A", K, m)
    loss = squared_loss(A * W, sp.diag(*s), sp.zeros(K, n)) + penalty(lam, W, A)
    energy = sum(c[i] * W[:, i].dot(W[:, i]) for i in range(n))
    pull = sum(s[i] * c[i] * e**2 for i in range(n) for e in A * W[:, i])
    return along(descent(loss, W), energy) - f.energy_rate(energy, pull, lam)


def _bound(f: Formulas) -> Iterator[sp.Expr | sp.logic.boolalg.Boolean]:
    """The energy over decay does not grow, whatever the pull >= 0; nor does it shrink where that is 0."""
    energy, pull = sp.Symbol("E", positive=True), sp.Symbol("P", nonnegative=True)
    lam, t = sp.Symbol("lambda", real=True), sp.Symbol("t", real=True)
    decay = f.decay(lam, t)
    growth = f.energy_rate(energy, pull, lam) - sp.diff(decay, t) / decay * energy
    yield sp.Le(growth, 0)
    yield growth.subs(pull, 0)
    yield f.decay(lam, 0) - 1


Rate = Callable[[sp.Symbol, Sequence[sp.Symbol]], sp.Expr]


def _at_rest(modes: int, m: int, kept: int) -> tuple[sp.Matrix, sp.Matrix, list[sp.Expr], Rate]:
    """The squared loss's flow at its rest point where `kept` modes have a neuron each, in the bases u, r, (v, e).

    V has one dimension, of eigenvalue s_j. Returns W, A, all velocities there (none, at rest), and the linearised
    flow: minus the velocity of an entry while others are moved by 1.
    """
    lam, s_j, sigma, s = _spectrum(modes)
    W, A = matrix("W", m, modes + 1), matrix("A", modes, m)
    cross = sp.Matrix(modes, modes + 1, lambda i, j: sigma[i] if i == j else 0)
    velocity = descent(squared_loss(A * W, sp.diag(*s, s_j), cross) + penalty(lam, W, A), W, A)
    a = [sp.sqrt((sigma[k] - lam) / s[k]) for k in range(kept)]
    here = dict.fromkeys([*W, *A], sp.S.Zero) | {M[k, k]: a[k] for k in range(kept) for M in (W, A)}

    def rate(entry: sp.Symbol, moved: Sequence[sp.Symbol]) -> sp.Expr:
        return -sum((sp.diff(velocity[entry], x).xreplace(here) for x in moved), sp.S.Zero)

    return W, A, [v.xreplace(here) for v in velocity.values()], rate


def _spectrum(modes: int) -> tuple[sp.Symbol, sp.Symbol, tuple[sp.Symbol, ...], tuple[sp.Symbol, ...]]:
    """lambda, s_j, and sigma_k, s_k of each mode."""
    lam, s_j = sp.symbols("lambda s_j")
    return lam, s_j, sp.symbols(f"sigma1:{modes + 1}"), sp.symbols(f"s1:{modes + 1}", positive=True)


def _inside(f: Formulas, modes: int, m: int) -> Iterator[sp.Expr]:
    """Every neuron keeps a mode: what is left of V along neuron r_i moves by itself."""
    lam, s_j, sigma, s = _spectrum(modes)
    W, _, velocities, rate = _at_rest(modes, m, m)
    yield from velocities
    for i in range(m):
        yield 2 * rate(W[i, modes], [W[i, modes]]) - f.full(lam, sigma[i], s[i], s_j)


def _outside(f: Formulas, modes: int, m: int) -> Iterator[sp.Expr | sp.logic.boolalg.Boolean]:
    """All modes but the last are kept, and m - modes + 1 neurons are free, one of them for the mode that dies."""
    lam, s_j, sigma, s = _spectrum(modes)
    W, A, velocities, rate = _at_rest(modes, m, modes - 1)
    yield from velocities
    for i in range(m):
        expected = f.full(lam, sigma[i], s[i], s_j) if i < modes - 1 else f.kept(lam)
        yield 2 * rate(W[i, modes], [W[i, modes]]) - expected
    # Of the dying mode both layers' entries are equal; Sigma_B falls as their square.
    free, dying = W[m - 1, modes], (W[m - 1, modes - 1], A[modes - 1, m - 1])
    for entry in dying:
        yield 2 * (rate(free, [free]) - rate(entry, dying)) - f.dead(sigma[-1])
    lam, above, s_k, s_j = sp.symbols("lambda kappa s_k s_j", positive=True)
    yield sp.Ge(f.full(lam, lam + above, s_k, s_j) - f.kept(lam), 0)


def _injective(f: Formulas) -> Iterator[words.Words]:
    """Penrose's conditions for the claimed pseudo-inverse X of K = W C W^T, and the distance of W delta with it."""
    W, G = words.letter("W", "m", "v"), words.symmetric("G", "v")
    C, P = words.symmetric("C", "v"), words.symmetric("P", "v")
    delta = words.letter("delta", "v", "1")
    given = rewriting.rules((W.T @ W @ G, 1), (G @ W.T @ W, 1), (C @ P, 1), (P @ C, 1))
    K, X = W @ C @ W.T, f.inverse(W, G, P)
    for residual in (*_penrose(K, X), f.distance(W @ delta, X) - f.distance(delta, P)):
        yield rewriting.under(residual, given)


def _penrose(K: Any, X: Any) -> list[Any]:
    """What vanishes if X is the pseudo-inverse of K."""
    return [K @ X @ K - K, X @ K @ X - X, K @ X - (K @ X).T, X @ K - (X @ K).T]


def _injective_entries(f: Formulas, m: int, n: int) -> Iterator[sp.Matrix]:
    """V in the eigenbasis of C; then a rotation of h makes W lower triangular."""
    W = sp.Matrix(m, n, lambda i, j: sp.Symbol(f"W_{i}{j}") if i >= j else 0)
    C, delta = sp.diag(*sp.symbols(f"c:{n}")), matrix("delta", n, 1)
    K, X = W * C * W.T, f.inverse(W, (W.T * W).inv(), C.inv()).applyfunc(sp.cancel)
    for residual in (*_penrose(K, X), f.distance(W * delta, X) - f.distance(delta, C.inv())):
        yield residual.applyfunc(sp.cancel)


def _isotropic(f: Formulas) -> words.Words:
    """h is K y apart with covariance K, and T h is T K y apart with T K T^T = N; as T is invertible, y = T^T z.

    A mean difference of h_v lies in the range of K = W_v C W_v^T, whatever W_v, for C is invertible.
    """
    T, K, z = words.letter("T", "m", "m"), words.symmetric("K", "m"), words.letter("z", "m", "1")
    K_inverse, N_inverse = words.symmetric("K^+", "m"), words.symmetric("N^+", "m")
    N = T @ K @ T.T
    given = rewriting.rules((K @ K_inverse @ K, K), (N @ N_inverse @ N, N))
    return rewriting.under(f.distance(N @ z, N_inverse) - f.distance(K @ T.T @ z, K_inverse), given)


def _processing(f: Formulas) -> Iterator[words.Words]:
    """Whitened inputs: h = W x has covariance W W^T, whose pseudo-inverse is W^{+T} W^+; what is lost is a square."""
    W, delta = words.letter("W", "m", "d"), words.letter("delta", "d", "1")
    inverse, penrose = rewriting.pseudo_inverse("W^+", W)
    X, unit = inverse.T @ inverse, words.identity("d")
    lost = f.distance(delta, unit) - f.distance(W @ delta, X)
    for residual in (*_penrose(W @ W.T, X), lost - f.lost(delta, unit - inverse @ W)):
        yield rewriting.under(residual, rewriting.rules(*penrose))


def _processing_entries(f: Formulas, d: int) -> sp.Matrix:
    """One neuron: W^+ = W^T/||W||^2."""
    W, delta = matrix("W", 1, d), matrix("delta", d, 1)
    inverse, unit = W.T / W.dot(W), sp.eye(d)
    lost = f.distance(delta, unit) - f.distance(W * delta, inverse.T * inverse)
    return (lost - f.lost(delta, unit - inverse * W)).applyfunc(sp.cancel)


# What is false: half the rates, rates of other regimes, no Gram matrix, the covariance twice.
HALF_RATE = {"energy_rate": lambda E, P, lam: -2 * P - lam * E}
HALF_DECAY = {"decay": lambda lam, t: sp.exp(-lam * t)}
ONE_RATE = {"full": lambda lam, sigma, s, s_j: 2 * lam}
NO_GRAM = {"inverse": lambda W, G, P: W @ P @ W.T}
TWICE = {"distance": lambda delta, P: delta.T @ P @ P @ delta}
LOST_TWICE = {"lost": lambda delta, off: 2 * delta.T @ off.T @ off @ delta}

m, n = sp.symbols("m n", integer=True, positive=True)
W, G, P = sp.MatrixSymbol("W_v", m, n), sp.MatrixSymbol("G", n, n), sp.MatrixSymbol("P", n, n)
delta = sp.MatrixSymbol("delta", n, 1)
lam, t, sigma, s, s_j, energy, pull = sp.symbols("lambda t sigma_k s_k s_j E P")

THEOREM = Theorem(
    id="T4",
    subject="collapse of scale, not of information",
    assumptions=(
        "linear network, squared loss, V invisible (T3)",
        "the covariance of x_v commutes with Sigma_v (decay of its trace)",
        "a separating mode of M is above lambda (the ratio's rate 2 lambda)",
        "more neurons than modes of M above lambda (the ratio's rate 2 lambda)",
        "W_v injective, so m >= dim V (information kept in h_v; in h: W injective, so m >= d)",
        "Sigma_v = s I (information constant at all t)",
    ),
    formulas=Formulas(
        energy_rate=Formula(
            lambda E, P, lam: -2 * P - 2 * lam * E, (energy, pull, lam), "dE/dt", r"\frac{dE}{dt}"
        ),
        decay=Formula(lambda lam, t: sp.exp(-2 * lam * t), (lam, t)),
        kept=Formula(lambda lam: 2 * lam, (lam,)),
        dead=Formula(lambda sigma: 2 * sigma, (sigma,)),
        full=Formula(lambda lam, sigma, s, s_j: 2 * lam + 2 * s_j * (sigma - lam) / s, (lam, sigma, s, s_j)),
        inverse=Formula(
            lambda W, G, P: W @ G @ P @ G @ W.T, (W, G, P), "(W_v C W_v^T)^+", r"(W_v C W_v^\top)^+"
        ),
        distance=Formula(lambda delta, P: delta.T @ P @ delta, (delta, P), "Delta^2", r"\Delta^2"),
        lost=Formula(
            lambda delta, off: delta.T @ off.T @ off @ delta,
            (delta, sp.MatrixSymbol("Q", n, n)),
            "Delta_x^2 - Delta_h^2",
            r"\Delta_x^2 - \Delta_h^2",
        ),
    ),
    claims=(
        Claim(
            "(a) {energy_rate} for E = tr(W_v C W_v^T), C commuting with Sigma_v, "
            "P = ||A W_v Sigma_v^(1/2) C^(1/2)||_F^2",
            ("energy", "energy by entries"),
        ),
        Claim(
            "so E, hence E||h_v||^2 (C = Sigma_v), is at most {decay} times its start", ("energy", "bound")
        ),
        Claim(
            "(a) tr Cov_v / tr Sigma_B falls, late, at {kept} with more neurons than modes above lambda and a "
            "separating one among these; at {dead} of the largest separating mode if none is; with as many neurons as "
            "modes above lambda at {full}, the least over these and over V",
            ("inside", "outside"),
            "that the flow from a random start ends at that rest point is observed",
        ),
        Claim("(b) the pseudo-inverse form's part of the remainder falls at about 6 lambda: a heuristic"),
        Claim("(c) with input noise the total NC1 has a floor, the noise in the visible directions"),
        Claim(
            "(d) W_v injective, G = (W_v^T W_v)^-1, P = C^-1: {inverse}, so {distance} is that of x_v in h_v too",
            ("injective", "injective by entries"),
        ),
        Claim(
            "(d) Sigma_v = s I: h_v is e^(-lambda t) T_s h_v(0), T_s invertible (T3), and {distance} of h_v never "
            "changes, for P the pseudo-inverse of its covariance",
            ("isotropic",),
        ),
        Claim("(d) else W_v may lose injectivity at isolated times"),
        Claim(
            "(e) every linear map, inputs whitened, Q the projector off W's rows: {lost} >= 0",
            ("processing", "processing by entries"),
        ),
    ),
    steps=(
        Step(
            "energy",
            "from the squared loss as a trace, with roots of Sigma_v and C that commute",
            _energy,
            HALF_RATE,
        ),
        Step(
            "energy by entries",
            "a second time, entry by entry, in the eigenbasis",
            _energy_entries,
            HALF_RATE,
            "(dim V, m, K)",
            ((1, 2, 1), (2, 2, 1), (2, 3, 2)),
        ),
        Step(
            "bound",
            "from the energy's rate: over decay it never grows, and stays where P = 0",
            _bound,
            HALF_RATE | HALF_DECAY,
        ),
        Step(
            "inside",
            "from the squared loss linearised at the rest point, every neuron keeping a mode: V's part of each",
            _inside,
            ONE_RATE,
            "(modes, m)",
            ((1, 1), (2, 1), (2, 2)),
        ),
        Step(
            "outside",
            "the same with the last mode dying and a neuron to spare: V's part, the dying mode, and which is slowest",
            _outside,
            {
                "kept": lambda lam: 3 * lam,
                "dead": lambda sigma: sigma,
                "full": lambda lam, sigma, s, s_j: lam,
            },
            "(modes, m)",
            ((1, 2), (2, 3)),
        ),
        Step(
            "injective",
            "Penrose's four conditions for W C W^T, from W^T W G = 1 and C P = 1, and the distance with it",
            _injective,
            NO_GRAM | TWICE,
        ),
        Step(
            "injective by entries",
            "a second time, entry by entry",
            _injective_entries,
            NO_GRAM | TWICE,
            "(m, dim V)",
            ((2, 1), (2, 2)),
        ),
        Step(
            "isotropic",
            "from Penrose's K K^+ K = K and N N^+ N = N for N = T K T^T, T invertible",
            _isotropic,
            TWICE,
        ),
        Step(
            "processing",
            "from Penrose's conditions for W: what Delta^2 loses is a square",
            _processing,
            LOST_TWICE | TWICE,
        ),
        Step(
            "processing by entries",
            "a second time, entry by entry, for one neuron",
            _processing_entries,
            LOST_TWICE,
            "d",
            (2, 3),
        ),
    ),
)

prove = THEOREM.prove
