"""Words: their values are those of matrices, exactly; what could pass for no reason is refused.

Matrices hold Python integers, so both sides of every comparison are exact.
"""

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from finegrain.theory.theorems import rewriting, words
from finegrain.theory.theorems.words import letter, symmetric, tr

W, A, Sigma = letter("W", "m", "d"), letter("A", "K", "m"), symmetric("Sigma", "d")
lam = sp.Symbol("lambda")


def integers(rng, rows, columns):
    return np.array(rng.integers(-3, 4, (rows, columns)), dtype=object).reshape(rows, columns)


def value(expression, matrices, sizes):
    """The expression at matrices by letter's name, word by word: a number for a trace."""
    shape = tuple(sizes[name] for name in expression.shape)
    total = np.zeros(shape, dtype=object)
    for word, coefficient in expression.terms:
        number = int(coefficient.subs({words.dimension(name): size for name, size in sizes.items()}))
        product = np.array(np.eye(sizes[word[0].rows] if word else max(shape, default=1), dtype=int), object)
        for x in word:
            product = product @ (matrices[x.name].T if x.transposed else matrices[x.name])
        total = total + number * (product if shape else np.trace(product) if word else 1)
    return total


class Moving:
    """A matrix and its velocity: sums and products by Leibniz, in twelve lines that share nothing with words.py."""

    def __init__(self, at, rate):
        self.at, self.rate = at, rate

    T = property(lambda self: Moving(self.at.T, self.rate.T))

    def __add__(self, other):
        return Moving(self.at + other.at, self.rate + other.rate)

    def __rmul__(self, c):
        return Moving(c * self.at, c * self.rate)

    def __matmul__(self, other):
        return Moving(self.at @ other.at, self.rate @ other.at + self.at @ other.rate)


@st.composite
def expressions(draw):
    """A square (d, d) expression and its value: the same operators on letters and on matrices that move."""
    sizes = {name: draw(st.integers(1, 3)) for name in "mdK"}
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, d, K = (sizes[name] for name in "mdK")
    root, root_rate = integers(rng, d, d), integers(rng, d, d)
    moving = {
        W: Moving(integers(rng, m, d), integers(rng, m, d)),
        A: Moving(integers(rng, K, m), integers(rng, K, m)),
        Sigma: Moving(root + root.T, root_rate + root_rate.T),
    }
    w, a, s = moving.values()
    eye = Moving(np.array(np.eye(d, dtype=int), dtype=object), np.zeros((d, d), dtype=object))
    found = [
        (W.T @ W, w.T @ w),
        (W.T @ A.T @ A @ W @ Sigma, w.T @ a.T @ a @ w @ s),
        (Sigma, s),
        (words.identity("d"), eye),
    ]
    for _ in range(draw(st.integers(1, 4))):
        (left, left_value), (right, right_value) = (draw(st.sampled_from(found)) for _ in range(2))
        c = draw(st.integers(-3, 3))
        found.append((left @ right, left_value @ right_value))
        found.append((c * left + right.T, c * left_value + right_value.T))
    return *found[-draw(st.integers(1, 2))], moving, sizes


def parts(moving):
    names = {"W": W, "A": A, "Sigma": Sigma}
    return ({name: getattr(moving[x], kind) for name, x in names.items()} for kind in ("at", "rate"))


@given(drawn=expressions())
def test_an_expression_has_the_value_of_the_matrices_and_so_has_its_trace(drawn):
    expression, expected, moving, sizes = drawn
    at, _ = parts(moving)
    np.testing.assert_array_equal(value(expression, at, sizes), expected.at)
    assert value(tr(expression), at, sizes) == np.trace(expected.at)


@given(drawn=expressions())
def test_the_rate_is_that_of_moving_matrices(drawn):
    expression, expected, moving, sizes = drawn
    at, rates = parts(moving)
    velocities = {x: letter(f"d{name}", *x.shape) for x, name in ((W, "W"), (A, "A"))}
    velocities[Sigma] = symmetric("dSigma", "d")
    both = at | {f"d{name}": rate for name, rate in rates.items()}
    np.testing.assert_array_equal(value(words.rate(expression, velocities), both, sizes), expected.rate)
    assert value(words.rate(tr(expression), velocities), both, sizes) == np.trace(expected.rate)


@given(drawn=expressions())
def test_the_gradient_gives_the_rate_of_the_trace_as_an_inner_product(drawn):
    expression, _, moving, sizes = drawn
    at, rates = parts(moving)
    trace = tr(expression @ W.T @ A.T @ A @ W)
    if not trace.terms:
        return
    dW, dA = letter("dW", "m", "d"), letter("dA", "K", "m")
    rate = words.rate(trace, {W: dW, A: dA, Sigma: 0})
    inner = sum(
        np.sum(value(words.gradient(trace, x), at, sizes) * rates[name]) for x, name in ((W, "W"), (A, "A"))
    )
    assert value(rate, at | {"dW": rates["W"], "dA": rates["A"]}, sizes) == inner


@given(drawn=expressions())
def test_a_coefficient_can_be_read_off_matrices_with_ones_along_a_path(drawn):
    """So a sum of words that is not empty is not zero at every size: nothing true is refused, without rules."""
    expression, _, _, _ = drawn
    for word, coefficient in expression.terms:
        size = len(word) + 1
        path = {name: np.zeros((size, size), dtype=object) for name in ("W", "A", "Sigma")}
        for i, x in enumerate(word):
            path[x.name][(i + 1, i) if x.transposed else (i, i + 1)] = 1
            if x.symmetric:
                path[x.name][i + 1, i] = 1
        assert value(expression, path, dict.fromkeys("mdK", size))[0, -1] == coefficient


def coordinates(rng, size, first):
    """Two sets of columns of I, in random order."""
    columns = np.array(np.eye(size, dtype=int)[:, rng.permutation(size)], dtype=object)
    return columns[:, :first], columns[:, first:]


def invisible_model(rng, sizes):
    E, G = coordinates(rng, sizes["d"], sizes["v"])
    v, u = (integers(rng, n.shape[1], n.shape[1]) for n in (E, G))
    second = E @ (v + v.T) @ E.T + G @ (u + u.T) @ G.T
    return {"E": E, "Sigma": second, "Sigma_v": v + v.T, "M": integers(rng, sizes["K"], G.shape[1]) @ G.T}


def split_model(rng, sizes):
    return dict(zip(("E_v", "E_u"), coordinates(rng, sizes["d"], sizes["v"]), strict=True))


def pseudo_inverse_model(rng, sizes):
    A = np.zeros((sizes["K"], sizes["d"]), dtype=object)
    for i, j in enumerate(rng.permutation(sizes["d"])[: sizes["K"] - 1]):
        A[i, j] = rng.choice([-1, 1])
    return {"B": A, "B^+": A.T}


def commuting_model(rng, sizes):
    X = integers(rng, sizes["d"], sizes["d"])
    X = X + X.T
    return {"X": X, "Y": X @ X - 2 * X}


E, M, second_v = letter("E", "d", "v"), letter("M", "K", "d"), symmetric("Sigma_v", "v")
B = letter("B", "K", "d")
X, Y = symmetric("X", "d"), symmetric("Y", "d")
ASSUMPTIONS = {
    "invisible": ([(E.T @ E, 1), (Sigma @ E, E @ second_v), (M @ E, 0)], invisible_model),
    "split": (rewriting.split("d", "v", "u")[2], split_model),
    "pseudo-inverse": (rewriting.pseudo_inverse("B^+", B)[1], pseudo_inverse_model),
    "commuting": ([(X @ Y, Y @ X)], commuting_model),
}


def sizes_of(rng):
    sizes = {"d": int(rng.integers(2, 5)), "K": int(rng.integers(1, 3)), "v": 1}
    return sizes | {"u": sizes["d"] - 1}


@pytest.mark.parametrize("name", ASSUMPTIONS)
def test_each_rule_holds_at_matrices_that_are_as_assumed(name):
    """One by one: a rule that asks for more, such as B B^+ = I, may not be reached by a random word."""
    equalities, model = ASSUMPTIONS[name]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sizes = sizes_of(rng)
        matrices = model(rng, sizes)
        for left, right in equalities:
            sides = (value(x, matrices, sizes) for x in (left, words.of_shape(right, left.shape)))
            np.testing.assert_array_equal(*sides)


@given(name=st.sampled_from(sorted(ASSUMPTIONS)), seed=st.integers(0, 2**32 - 1), length=st.integers(1, 8))
def test_rules_keep_the_value_at_matrices_that_satisfy_them(name, seed, length):
    equalities, model = ASSUMPTIONS[name]
    rng = np.random.default_rng(seed)
    sizes = sizes_of(rng)
    matrices = model(rng, sizes)
    letters = {x for left, _ in equalities for x in left.letters()}
    letters = sorted({y for x in letters for y in (x, x.T)})
    word = (letters[rng.integers(len(letters))],)
    while len(word) < length:
        following = [x for x in letters if x.rows == word[-1].columns]
        word += (following[rng.integers(len(following))],)
    expression = words.between((), words.identity(word[0].rows), word)
    reduced = rewriting.under(expression, rewriting.rules(*equalities))
    np.testing.assert_array_equal(value(reduced, matrices, sizes), value(expression, matrices, sizes))
    assert rewriting.under(reduced, rewriting.rules(*equalities)) == reduced


def test_the_trace_forgets_where_a_word_begins_and_which_way_it_is_read():
    assert tr(W @ Sigma @ W.T) == tr(W.T @ W @ Sigma) == tr(Sigma @ W.T @ W)
    S, C, D = (symmetric(name, "n") for name in "SCD")
    assert tr(S @ C @ D) == tr(D @ C @ S)
    P, Q, R = (letter(name, "n", "n") for name in "PQR")
    assert tr(P @ Q @ R) != tr(R @ Q @ P)
    assert str(tr(3 * words.identity("m"))) == "(3*m) I"
    assert tr(words.identity("1")) == tr(words.identity("1")).T


def test_the_gradient_of_a_squared_loss_is_the_one_in_textbooks():
    cross = letter("M", "K", "d")
    loss = words.squared_loss(A @ W, Sigma, cross) + words.penalty(lam, W, A)
    assert words.gradient(loss, W) == A.T @ (A @ W @ Sigma - cross) + lam * W
    assert words.gradient(loss, A) == (A @ W @ Sigma - cross) @ W.T + lam * A
    inputs, R = letter("X", "d", "n"), letter("R", "K", "n")
    assert words.gradient(words.any_loss(A @ W @ inputs, R), W) == A.T @ R @ inputs.T


def test_a_sum_is_written_word_by_word():
    assert str(W.T @ W - 2 * lam * words.identity("d")) == "(-2*lambda) I + (1) W^T W"
    assert str(W - W) == "0"


def test_zeros_of_unlike_shape_are_not_the_same():
    assert words.zero("m", "d").vanishes
    assert W - W == words.zero("m", "d") != words.zero("d", "m")


R = letter("R", "K", "d")
S, C, D = (symmetric(name, "n") for name in "SCD")
REFUSED = {
    "sum of unlike shapes": (lambda: W @ W.T + W.T @ W, "shapes differ"),
    "difference with a zero of unlike shape": (lambda: words.zero("m", "d") - words.zero("d", "m"), "shapes"),
    "product that does not fit": (lambda: W @ A, "shapes do not fit"),
    "product with a trace": (lambda: tr(S) @ S, "shapes do not fit"),
    "sum of a trace and a matrix": (lambda: tr(S) + S, "shapes differ"),
    "trace of what is not square": (lambda: tr(W), "only a square matrix"),
    "trace of a trace": (lambda: tr(tr(S)), "only a square matrix"),
    "same name, other shape": (lambda: letter("W", "d", "m") - W, "shapes differ"),
    "rounded coefficient": (lambda: 0.5 * W, "must be exact"),
    "coefficient that does not commute": (lambda: sp.Symbol("x", commutative=False) * W, "must be exact"),
    "gradient of a matrix": (lambda: words.gradient(W, W), "only a trace"),
    "gradient by an absent letter": (lambda: words.gradient(tr(W @ W.T), A), "does not occur"),
    "gradient by a symmetric letter": (lambda: words.gradient(tr(S), S), "not free"),
    "gradient by a product": (lambda: words.gradient(tr(W @ W.T), W @ W.T), "must be one letter"),
    "gradient by a transpose": (lambda: words.gradient(tr(W @ W.T), W.T), "must be one letter"),
    "rate without a velocity": (lambda: words.rate(A @ W, {W: W}), "velocity of A is not given"),
    "rate of an unknown slope": (lambda: words.rate(words.any_loss(A @ W, R), {W: 0, A: 0}), "velocity of R"),
    "velocity of another shape": (lambda: words.rate(W, {W: W.T}), "shapes differ"),
    "lopsided velocity": (lambda: words.rate(S, {S: S @ C}), "must be symmetric"),
    "slope inside the outputs": (lambda: words.any_loss(R, R), "must not occur"),
    "slope that is not a letter": (lambda: words.any_loss(A @ W, A @ W), "must be one letter"),
    "rule from a sum": (lambda: rewriting.rules((S + C, 0)), "must be one word"),
    "rule from a trace": (lambda: rewriting.rules((tr(S), 1)), "must be one word"),
    "rule from a multiple": (lambda: rewriting.rules((2 * S, C)), "must be one word"),
    "number for what is not square": (lambda: rewriting.rules((W, 1)), "shapes differ"),
    "rule from the identity": (lambda: rewriting.rules((words.identity("n"), 0)), "must be one word"),
    "rule of unlike shapes": (lambda: rewriting.rules((W, W.T)), "shapes differ"),
    "rule that grows": (lambda: rewriting.rules((S, S @ S)), "do not come to an end"),
    "rules in a circle": (lambda: rewriting.rules((S @ C, C @ S), (C @ S, S @ C)), "do not come to an end"),
    "rules that contradict": (lambda: rewriting.rules((S @ C, 1), (S @ C, 0)), "two values"),
    "rules that contradict where they meet": (lambda: rewriting.rules((S @ C, 1), (C @ D, 0)), "two values"),
    "rule inside a rule": (lambda: rewriting.rules((S @ C @ S, S), (C, 2 * D)), "two values"),
    "trace that turns for ever": (
        lambda: rewriting.under(tr(S @ C), rewriting.rules((S @ C, C @ S))),
        "do not come to an end",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_pass_for_no_reason_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("operation", ["W * A", "W + 1", "2 - W", "W @ 2"])
def test_only_words_are_added_and_multiplied(operation):
    with pytest.raises((TypeError, AttributeError)):
        eval(operation)
