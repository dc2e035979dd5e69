"""Proofs at every size: matrices as letters that do not commute.

A letter is a matrix of which only the name and the shape are known; the two sizes are names too ("m", "d"). A word is
a product of letters. `Words` is a sum of words of one shape, with exact coefficients, and the trace of a word is that
word up to rotation and transposition. What comes out as the empty sum is zero for matrices of every size. Only that
is: matrices with ones along a path pick out the coefficient of any one word (tests/theory/theorems/test_words.py).

Losses are traces. Their gradient by a letter turns each word until the letter stands first, d tr(X u) = <u^T, dX>, and
`rate` is Leibniz's rule along a flow. Assumptions enter as rules (rewriting.py).

Where the algebra does not see something it refuses a true claim, it never passes a false one: words of shape (1, 1)
are not known to commute. What would pass for no reason is an error: shapes that do not fit, a gradient by a letter
that is not there, the rate of an expression with a letter whose own velocity is not given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

import sympy as sp


@dataclass(frozen=True, order=True)
class Letter:
    """A matrix by name and shape; `transposed` says which way round it stands."""

    name: str
    rows: str
    columns: str
    symmetric: bool = False
    transposed: bool = False

    @property
    def T(self) -> Letter:
        if self.symmetric:
            return self
        return replace(self, rows=self.columns, columns=self.rows, transposed=not self.transposed)

    def __str__(self) -> str:
        return f"{self.name}^T" if self.transposed else self.name


Word = tuple[Letter, ...]


@dataclass(frozen=True)
class Words:
    """A sum of words: {(word, coefficient)}, of shape (rows, columns), or () for a trace. The empty word is I."""

    terms: frozenset[tuple[Word, sp.Expr]]
    shape: tuple[str, ...]

    @property
    def vanishes(self) -> bool:
        return not self.terms

    @property
    def T(self) -> Words:
        return _collect(((_flip(word), c) for word, c in self.terms), self.shape[::-1])

    def __add__(self, other: Words) -> Words:
        require(self.shape == other.shape, "shapes differ: {} + {}", self.shape, other.shape)
        return _collect([*self.terms, *other.terms], self.shape)

    def __neg__(self) -> Words:
        return -1 * self

    def __sub__(self, other: Words) -> Words:
        return self + -other

    def __rmul__(self, factor: sp.Expr | int) -> Words:
        c = sp.sympify(factor, strict=True)
        require(c.is_commutative and not c.has(sp.Float), "a coefficient must be exact, got {}", factor)
        return _collect(((word, c * k) for word, k in self.terms), self.shape)

    def __matmul__(self, other: Words) -> Words:
        fits = len(self.shape) == len(other.shape) == 2 and self.shape[1] == other.shape[0]
        require(fits, "shapes do not fit: {} @ {}", self.shape, other.shape)
        pairs = ((u + v, a * b) for (u, a), (v, b) in product(self.terms, other.terms))
        return _collect(pairs, (self.shape[0], other.shape[1]))

    def __str__(self) -> str:
        ordered = sorted(self.terms, key=lambda term: term[0])
        return " + ".join(f"({c}) {' '.join(map(str, word)) or 'I'}" for word, c in ordered) or "0"

    def letters(self) -> set[Letter]:
        """Those that occur, none of them transposed."""
        return {x.T if x.transposed else x for word, _ in self.terms for x in word}


def letter(name: str, rows: str, columns: str) -> Words:
    """An unknown matrix; sizes are names, or "1"."""
    return _word(Letter(name, rows, columns))


def symmetric(name: str, size: str) -> Words:
    """An unknown symmetric matrix."""
    return _word(Letter(name, size, size, symmetric=True))


def identity(size: str) -> Words:
    return Words(frozenset({((), sp.Integer(1))}), (size, size))


def zero(rows: str, columns: str) -> Words:
    return Words(frozenset(), (rows, columns))


def tr(square: Words) -> Words:
    """The trace; that of I is the size, a symbol."""
    require(len(set(square.shape)) == 1, "only a square matrix has a trace, got {}", square.shape)
    size = sp.sympify(int(square.shape[0])) if square.shape[0].isdigit() else dimension(square.shape[0])
    return _collect(((word, c if word else c * size) for word, c in square.terms), ())


def dimension(size: str) -> sp.Symbol:
    """The symbol of a size, as it appears in a trace."""
    return sp.Symbol(size, integer=True, positive=True)


def gradient(trace: Words, variable: Words) -> Words:
    """Of a trace by a letter that it holds, of the letter's shape; the letter's entries are free, so not symmetric."""
    x = _letter(variable)
    require(not trace.shape, "only a trace has a gradient, got shape {}", trace.shape)
    require(not x.symmetric, "the entries of {} are not free: no gradient by a symmetric letter", x)
    require(x in trace.letters(), "{} does not occur in {}", x, trace)
    places = [(w[i], w[i + 1 :] + w[:i], c) for w, c in trace.terms for i in range(len(w))]
    pairs = [(_flip(rest) if at == x else rest, c) for at, rest, c in places if at in (x, x.T)]
    return _collect(pairs, variable.shape)


def flow(loss: Words, *weights: Words) -> dict[Words, Words]:
    """Gradient flow: the velocity of each weight."""
    return {w: -gradient(loss, w) for w in weights}


def rate(words: Words, velocities: Mapping[Words, Words | int]) -> Words:
    """d/dt by Leibniz's rule, from the velocity of every letter that occurs; 0 for one that stays."""
    moves: dict[Letter, Words] = {}
    for variable, velocity in velocities.items():
        x, v = _letter(variable), of_shape(velocity, variable.shape)
        require(not x.symmetric or v == v.T, "the velocity of {} must be symmetric, got {}", x, v)
        moves |= {x.T: v.T, x: v}
    for x in words.letters() - moves.keys():
        raise ValueError(f"the velocity of {x} is not given")
    places = [(w[:i], moves[w[i]], w[i + 1 :], c) for w, c in words.terms for i in range(len(w))]
    parts = (c * between(u, v, w, traced=not words.shape) for u, v, w, c in places)
    return sum(parts, Words(frozenset(), words.shape))


def squared_loss(F: Words, second: Words, cross: Words) -> Words:
    """1/2 E||F x - t||^2 up to its constant, from E x x^T and E t x^T."""
    return sp.Rational(1, 2) * tr(F @ second @ F.T) - tr(F @ cross.T)


def any_loss(outputs: Words, slope: Words) -> Words:
    """tr(R^T F), which has the gradients of any differentiable loss of F whose own gradient by F is the letter R.

    R moves along the flow as nobody knows: `rate` refuses an expression that holds it.
    """
    require(_letter(slope) not in outputs.letters(), "the slope {} must not occur in {}", slope, outputs)
    return tr(slope.T @ outputs)


def penalty(weight_decay: sp.Expr, *weights: Words) -> Words:
    """lambda/2 times the sum of squares of all entries."""
    return sum((weight_decay / 2 * tr(w @ w.T) for w in weights), Words(frozenset(), ()))


def require(holds: bool, message: str, *values: object) -> None:
    # Formatted only when needed: a long sum takes longer to write than to add.
    if not holds:
        raise ValueError(message.format(*values))


def _word(x: Letter) -> Words:
    return Words(frozenset({((x,), sp.Integer(1))}), (x.rows, x.columns))


def _flip(word: Word) -> Word:
    return tuple(x.T for x in reversed(word))


def _necklace(word: Word) -> Word:
    """One name for a word, its rotations and their transposes, which share their trace."""
    turned = (w[i:] + w[:i] for w in (word, _flip(word)) for i in range(len(word)))
    return min(turned, default=())


def _collect(pairs: Iterable[tuple[Word, sp.Expr]], shape: tuple[str, ...]) -> Words:
    """The normal form: each word once, coefficients expanded, none of them 0."""
    total: dict[Word, sp.Expr] = {}
    for word, c in pairs:
        name = word if shape else _necklace(word)
        total[name] = total.get(name, 0) + c
    expanded = ((word, sp.expand(c)) for word, c in total.items())
    return Words(frozenset((word, c) for word, c in expanded if c != 0), shape)


def only_word(words: Words) -> Word:
    """The word of a sum of one, with coefficient 1."""
    [(word, c)] = words.terms if len(words.terms) == 1 else [((), 0)]
    require(word != () and c == 1 and words.shape != (), "must be one word, got {}", words)
    return word


def _letter(words: Words) -> Letter:
    word = only_word(words)
    require(len(word) == 1 and not word[0].transposed, "must be one letter, got {}", words)
    return word[0]


def of_shape(value: Words | int, shape: tuple[str, ...]) -> Words:
    """`value` in this shape, a number c as c I."""
    if not isinstance(value, Words):
        value = Words(frozenset(), shape) if value == 0 else value * identity(shape[0])
    require(value.shape == shape, "shapes differ: {} for {}", value.shape, shape)
    return value


def between(before: Word, middle: Words, after: Word, traced: bool = False) -> Words:
    """before middle after, or the trace of it."""
    ends = (before[0].rows if before else middle.shape[0], after[-1].columns if after else middle.shape[1])
    whole = _collect(((before + word + after, c) for word, c in middle.terms), ends)
    return tr(whole) if traced else whole
