"""Noise at the output of a layer of leaky ReLUs, and its gradient, with pairs of neurons in single precision.

    h = phi(z),  phi(z) = a z + (1 - a) relu(z),  z ~ N(b, W Sigma W^T),  noise = 1/2 tr(A Cov(h) A^T),

which is what the squared loss sees of Cov(h) (`sims.population`). `theory.kinematics` does the same for any loss and
more activations in double precision; here its cotangent is known in advance, A^T A/2, and nothing is kept. Notation as
in `theory.gaussian_single`; g = E phi'(z) = a + (1 - a) Phi(h), and delta, shift and excess are times (1 - a)^2:

    Cov_jk = s_j s_k {r (g_j g_k + delta) + h_j h_k delta + h_k shift_j + h_j shift_k + excess}
    dCov_jk/dQ_jk = g_j g_k + delta
    dCov_jk/db_j / s_k = h_k delta + shift_k + p,          p = r {shift_j + (1 - a) phi(h_j) g_k}
    2 s_j dCov_jk/dQ_jj / s_k = h_k shift_j + excess - h_j p,   at fixed Q_jk.

Each term is summed over k as a product of a matrix and a vector. All neurons are taken at h <= 0: one with h > 0 is
mirrored, z -> -z, which changes the signs of its row of W and of b, h, g and r, and not the covariance's kink.

Pairs are done in blocks that stay in a core's cache: some rows of the upper triangle, from their first column on, of
the (m, m) matrices of some components. Values of neurons broadcast to such a rectangle, and nothing is gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theory import gaussian
from theory.gaussian_single import HalfLine, half_line, orthant

Array = NDArray[Any]
Pull = Callable[[Array, Array], tuple[Array, Array]]

SIZE = 2**16  # pairs of a block: fewer would be ruled by what a call costs
STRIP = 32  # rows of a block: the squares at their left are done twice, and short rows make short inner loops


def output_noise(b: Array, W: Array, W_cov: Array, A: Array, slope: float) -> tuple[Array, Array, Pull]:
    """Means of h, products of its covariances with A^T, and the gradient of the noise and the means.

    Args:
        b: (n, m), of n components.
        W, W_cov: (m, d), and (n, m, d): W Sigma.
        A: (K, m).
        slope: a.

    Returns:
        mean (n, m), Cov(h) A^T (n, m, K), and pull(mean_bar (n, m), weights (n,)), the gradient of each component's
        noise + <mean_bar, mean> with respect to b, (n, m), and to W where it enters Q = W Sigma W^T, (m, d), the latter
        summed over components with these weights. All float64; what pairs add is within 6e-5 s_j s_k in Cov(h) and,
        with G = A^T A, within 2e-5 sum_k |G_jk| s_k in dL/db_j and 2 s_j dL/dQ_jj, as long as s and A are within the
        range of float32.
    """
    bend = 1 - slope
    s = np.sqrt(np.maximum(np.einsum("nmd,md->nm", W_cov, W), 0))
    inverse = np.divide(1, s, out=np.zeros_like(s), where=s > 0)
    h = gaussian.standardise(b, s)
    line = gaussian.half_line(h)
    g, steepness = slope + bend * line.cdf, bend * line.pdf
    mean = slope * b + bend * np.maximum(b * line.cdf + s * line.pdf, 0)

    mirror = np.where(h > 0, -1.0, 1.0)
    unit = (mirror * inverse)[..., None]
    mirrored = np.multiply(mirror[..., None], W_cov, dtype=np.float32, casting="same_kind")
    single = (s[..., None] * A.T, mirrored, *(a[..., None] for a in (s, mirror * h, mirror * g)))
    neurons = _Neurons(unit * W, unit * W_cov, *(a.astype(np.float32, copy=False) for a in single))
    sums = _sums(half_line(mirror * h), neurons, (A.T @ A).astype(np.float32), bend)

    p = sums.p[..., 0] + steepness * sums.linear[..., 0]
    from_b, from_s = sums.b[..., 0] + p, sums.s[..., 0] - mirror * h * p

    def pull(mean_bar: Array, weights: Array) -> tuple[Array, Array]:
        by_s = inverse * (steepness * mean_bar + from_s)
        W_bar = _summed(weights[:, None] * mirror, sums.W) + _summed(weights[:, None] * by_s, W_cov)
        return g * mean_bar + mirror * from_b, W_bar

    return mean, s[..., None] * sums.covariance_A, pull


def _summed(factors: Array, parts: Array) -> Array:
    """sum_n factors (n, m) parts (n, m, d) -> (m, d)."""
    return (factors.T[:, None] @ parts.transpose(1, 0, 2))[:, 0]


class _Neurons(NamedTuple):
    """Mirrored neurons; the first two in double precision."""

    unit_W: Array  # (n, m, d): W/s
    unit_W_cov: Array  # (n, m, d): W Sigma/s, whose product with W/s is r
    sA: Array  # (n, m, K): s A^T
    W_cov: Array  # (n, m, d)
    s: Array  # (n, m, 1), and so the others
    h: Array
    g: Array


class _Sums(NamedTuple):
    """Of each neuron, sums over its partners."""

    covariance_A: Array  # (n, m, K), over s_j
    W: Array  # (n, m, d): of dL/dQ_jk
    b: Array  # (n, m, 1), and so the others: of dL/db_j but for p, of 2 s_j dL/dQ_jj but for p, and of p in two parts
    s: Array
    p: Array
    linear: Array


def _sums(lines: HalfLine, neurons: _Neurons, G: Array, bend: float) -> _Sums:
    n, m, outputs = neurons.sA.shape
    dim = neurons.W_cov.shape[2]
    sums = _Sums(*(np.zeros((n, m, size)) for size in (outputs, dim, 1, 1, 1, 1)))
    sh, sg = neurons.s * neurons.h, neurons.s * neurons.g
    for block in _blocks(n, m):
        one, two = block.sides(lines)
        (g_j, g_k), (h_j, h_k) = (block.outer(a) for a in (neurons.g, neurons.h))
        double = block.left(neurons.unit_W_cov) @ np.swapaxes(block.right(neurons.unit_W), 1, 2)
        r, delta, shift, excess = orthant(one, two, double)
        if bend != 1:
            for part in (delta, *shift, excess):
                part *= bend**2
        gates = g_j * g_k
        gates += delta
        unit = h_j * h_k  # Cov_jk/(s_j s_k)
        unit *= delta
        unit += r * gates
        unit += h_k * shift[0]
        unit += h_j * shift[1]
        unit += excess
        block.add(sums.covariance_A, unit, unit, neurons.sA)

        bar = np.ascontiguousarray(G[block.rows, block.columns])
        for part in (gates, delta, *shift, excess):
            part *= bar
        block.add(sums.W, gates, gates, neurons.W_cov)
        block.add(sums.b, delta, delta, sh)
        block.add(sums.b, shift[1], shift[0], neurons.s)
        block.add(sums.s, shift[0], shift[1], sh)
        block.add(sums.s, excess, excess, neurons.s)
        for part in shift:
            part *= r
        block.add(sums.p, *shift, neurons.s)
        r *= bar
        block.add(sums.linear, r, r, sg)
    return sums


class _Block(NamedTuple):
    """Pairs of rows (R) and columns (S) of components (B): arrays (B, R, S). The square at the left is whole."""

    components: slice
    rows: slice
    columns: slice

    def left(self, neurons: Array) -> Array:
        """(n, m, p) -> (B, R, p)."""
        return neurons[self.components, self.rows]

    def right(self, neurons: Array) -> Array:
        """(n, m, p) -> (B, S, p)."""
        return neurons[self.components, self.columns]

    def outer(self, neurons: Array) -> tuple[Array, Array]:
        """(n, m, 1) -> (B, R, 1) and (B, 1, S)."""
        return self.left(neurons), np.swapaxes(self.right(neurons), 1, 2)

    def sides(self, lines: HalfLine) -> tuple[HalfLine, HalfLine]:
        """The half-lines of the rows (..., B, R, 1), and of the columns (..., B, 1, S)."""
        return (
            HalfLine(*(a[..., self.components, self.rows, None] for a in lines)),
            HalfLine(*(a[..., self.components, None, self.columns] for a in lines)),
        )

    def add(self, totals: Array, by_rows: Array, by_columns: Array, vectors: Array) -> None:
        """Add sum_k M_jk v_k to totals_j, over the block's pairs, each once; totals and vectors (n, m, p).

        M_jk is an entry of `by_rows` (B, R, S), or of `by_columns` where j is the column's neuron.
        """
        beyond = slice(self.rows.stop, self.columns.stop)
        turned = np.swapaxes(by_columns[..., by_rows.shape[1] :], 1, 2)
        totals[self.components, self.rows] += by_rows @ self.right(vectors)
        totals[self.components, beyond] += turned @ self.left(vectors)


def _blocks(n: int, m: int) -> Iterator[_Block]:
    """All pairs, each once but for the squares."""
    height = min(STRIP, -(-m // 4))
    for start in range(0, m, height):
        rows, columns = slice(start, min(start + height, m)), slice(start, m)
        step = max(1, SIZE // (height * (m - start)))
        for first in range(0, n, step):
            yield _Block(slice(first, min(first + step, n)), rows, columns)
