"""Small tools for proofs: matrices of symbols, losses written entry by entry, and their flows.

Losses are sums over entries. Derivatives of traces of SymPy's MatrixSymbol can silently be 0, and a proof built on
them passes for any claim; explicit entries cannot hide a term. Entries of matrices are real; any other symbol is
declared real or positive only where the proof needs it or would be slow without.
"""

from __future__ import annotations

import sympy as sp

from finegrain.theory.theorems.proof import Unknown


def matrix(name: str, rows: int, columns: int) -> sp.Matrix:
    """A matrix of real symbols name_ij."""
    return sp.Matrix(rows, columns, lambda i, j: sp.Symbol(f"{name}_{i}{j}", real=True))


def symmetric(name: str, n: int) -> sp.Matrix:
    """A symmetric matrix of real symbols."""
    return sp.Matrix(n, n, lambda i, j: sp.Symbol(f"{name}_{min(i, j)}{max(i, j)}", real=True))


def squared_loss(F: sp.Matrix, second: sp.Matrix, cross: sp.Matrix) -> sp.Expr:
    """1/2 E||F x - t||^2 up to the constant E||t||^2/2, from E x x^T (d, d) and E t x^T (K, d), entry by entry."""
    K, d = F.shape
    square = sum(F[k, a] * second[a, b] * F[k, b] for k in range(K) for a in range(d) for b in range(d))
    return square / 2 - sum(F[k, a] * cross[k, a] for k in range(K) for a in range(d))


class UnknownLoss(Unknown):
    """A differentiable function of the network's outputs of which nothing else is known: dl1, dl2, ... by each."""

    def fdiff(self, argindex: int) -> sp.Expr:
        """The derivative by argument `argindex`, again an unknown function of all of them."""
        return sp.Function(f"dl{argindex}")(*self.args)


def penalty(weight_decay: sp.Expr, *weights: sp.Matrix) -> sp.Expr:
    """lambda/2 times the sum of squares of all entries."""
    return weight_decay / 2 * sum(entry**2 for w in weights for entry in w)


def gradient(loss: sp.Expr, variables: sp.Matrix) -> sp.Matrix:
    """The matrix of derivatives of `loss` by each entry of `variables`."""
    return variables.applyfunc(lambda entry: sp.diff(loss, entry))


def along(velocity: dict[sp.Expr, sp.Expr], quantity: sp.Expr | sp.Matrix) -> sp.Expr | sp.Matrix:
    """d/dt of a quantity, or of each entry of a matrix, whose variables move at `velocity` (variable -> dv/dt)."""
    if isinstance(quantity, sp.MatrixBase):
        return quantity.applyfunc(lambda entry: along(velocity, entry))
    return sum((sp.diff(quantity, variable) * speed for variable, speed in velocity.items()), sp.S.Zero)


def descent(loss: sp.Expr, *weights: sp.Matrix) -> dict[sp.Expr, sp.Expr]:
    """Gradient flow: each entry of the weights -> minus the loss's derivative by it."""
    return {entry: -sp.diff(loss, entry) for w in weights for entry in w}
