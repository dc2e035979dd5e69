"""Assumptions as rules: one word, and what may be written for it (M E -> 0).

A rule is used from left to right wherever it fits, transposed too, until none fits. Rules that never end are refused,
and so are rules that give one word two values: it is enough to compare the words where two of them meet (Bergman 1978,
Adv. Math. 29, 178). So no two rules contradict each other, and what is left of an expression does not depend on the
order in which they were used. In a trace two rules may also meet around the back: it can be left longer than need be,
and S C -> C S turns tr(S C) for ever, which is an error.

A block matrix is a sum E X G^T, with E and G orthonormal bases of complementary subspaces: `split` has their rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from finegrain.theory.theorems.words import (
    Word,
    Words,
    between,
    identity,
    letter,
    of_shape,
    only_word,
    require,
)

# Rewritings of one expression: the proofs here need fewer than a hundred.
MOST_STEPS = 500

Rules = tuple[tuple[Word, Words], ...]
# A word and its value; a number c stands for c I, and 0 for the zero of any shape.
Equality = tuple[Words, Words | int]


def rules(*equalities: Equality) -> Rules:
    """What may be assumed, as pairs: one word and what to write for it; a number c stands for c I, 0 for any shape.

    Raises:
        ValueError: the rules do not end, or contradict each other, or leave a word two values.
    """
    found = tuple(rule for equality in equalities for rule in both_ways(*equality))
    for _, right in found:
        under(right, found)
    for word, first, second in _ambiguities(found):
        gap = under(first - second, found)
        require(gap.vanishes, "the rules give {} two values, apart by {}", " ".join(map(str, word)), gap)
    return found


def both_ways(left: Words, value: Words | int) -> Rules:
    """The rule and its transpose, unchecked."""
    word, right = only_word(left), of_shape(value, left.shape)
    difference = left - right
    # S C -> C S of symmetric letters is its own transpose: used both ways it would never end.
    turned = () if difference.T in (difference, -difference) else ((only_word(left.T), right.T),)
    return (word, right), *turned


def under(words: Words, rules: Rules) -> Words:
    """What is left when no rule applies any more."""
    left, steps = words, 0
    while found := {term: hit for term in left.terms if (hit := _find(term[0], rules, not left.shape))}:
        steps += len(found)
        require(steps <= MOST_STEPS, "the rules do not come to an end: {} steps from {}", steps, words)
        rewritten = [c * between(*hit, traced=not left.shape) for (_, c), hit in found.items()]
        left = sum(rewritten, Words(left.terms - found.keys(), left.shape))
    return left


def split(size: str, first: str, second: str) -> tuple[Words, Words, list[Equality]]:
    """Orthonormal bases E, G of two complementary subspaces, and their rules: block matrices are sums E X G^T."""
    E, G = letter(f"E_{first}", size, first), letter(f"E_{second}", size, second)
    return E, G, [(E.T @ E, 1), (G.T @ G, 1), (E.T @ G, 0), (E @ E.T, identity(size) - G @ G.T)]


def pseudo_inverse(name: str, A: Words) -> tuple[Words, list[Equality]]:
    """A^+ and its rules: Penrose's four conditions, and what follows from them (A^+ A A^T = A^T, ...)."""
    B = letter(name, *A.shape[::-1])
    penrose = [(A @ B @ A, A), (B @ A @ B, B), (A.T @ B.T, B @ A), (B.T @ A.T, A @ B)]
    return B, [*penrose, (B @ A @ A.T, A.T), (B.T @ B @ A, B.T), (A @ B @ B.T, B.T), (A.T @ A @ B, A.T)]


def _find(word: Word, rules: Rules, cyclic: bool) -> tuple[Word, Words, Word] | None:
    """Before a place where a rule fits, what it writes there, and after; a trace is turned until one fits."""
    for turn in range(max(1, len(word)) if cyclic else 1):
        turned = word[turn:] + word[:turn]
        for (left, right), i in product(rules, range(len(word))):
            if turned[i : i + len(left)] == left:
                return turned[:i], right, turned[i + len(left) :]
    return None


def _ambiguities(rules: Iterable[tuple[Word, Words]]) -> Iterator[tuple[Word, Words, Words]]:
    """Words where two rules meet, u at the start and v from place i on, with the value that each gives."""
    for (u, p), (v, q) in product(rules, repeat=2):
        for i in range(len(u)):
            if u[i : i + len(v)] == v[: len(u) - i]:
                beyond, behind = v[len(u) - i :], u[i + len(v) :]
                word = u[:i] + v + behind
                yield word, between((), p, beyond), between(u[:i], q, behind)
