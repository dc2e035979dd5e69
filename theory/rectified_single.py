"""Noise at the output of a layer of leaky ReLUs, and its gradient, with pairs of neurons in single precision.

    h = phi(z),  phi(z) = a z + (1 - a) relu(z),  z ~ N(b, Q),  Q = W Sigma W^T,  noise = 1/2 tr(A Cov(h) A^T),

which is what the squared loss sees of Cov(h) (`sims/population/loss.py`). `kinematics.py` does the same for any
loss and more activations in double precision; here its cotangent is known in advance, A^T A/2, and nothing is kept.

As phi(z) = c z + e |z|, with c and e = (1 +- a)/2, a neuron's sign matters to its linear half alone. So all are taken
at h <= 0: where h > 0 the neuron is flipped, f = -1, which changes the signs of its row of W and of b, h and r. Then

    Cov_jk = Q_jk (c^2 + e^2 f_j f_k + c e (sigma_j + sigma_k)) + 2 e^2 (x_j rho_k + rho_j x_k - 2 rho_j rho_k)
             + 4 e^2 s_j s_k pair_jk,    pair_jk = (r + h_j h_k) delta + h_k shift_j + h_j shift_k + ring,

sigma = E sign(z) not flipped, x = s h and rho = E relu(z) flipped, the rest as in `gaussian_single.py`. The first
line is made of products of something of j and something of k, whose sums over k cost little, in double precision. What
is left for pairs, s_j s_k pair_jk = E (|z_j z_k| - z_j z_k)/4, is nothing where flipped neurons' signs agree, and

    dpair_jk/dr = delta,    at fixed Q_jk and times 1/s_k and s_j:
    dpair_jk/dx_j -> h_k delta + shift_k + p,    dpair_jk/ds_j -> h_k shift_j + ring - h_j p,    p = r shift_j.

Each term is summed over k as a product of a matrix and a vector. Pairs are done in blocks that stay in a core's cache:
some rows of the upper triangle, from their first column on, of the (m, m) matrices of some components. Values of
neurons broadcast to such a rectangle, and nothing is gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finegrain.theory import gaussian
from finegrain.theory.gaussian_single import HalfLine, half_line, orthant

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
    c, e = (1 + slope) / 2, (1 - slope) / 2
    s = np.sqrt(np.maximum(np.einsum("nmd,md->nm", W_cov, W), 0))
    inverse = np.divide(1, s, out=np.zeros_like(s), where=s > 0)
    line = gaussian.half_line(gaussian.standardise(b, s))
    g, steepness = slope + 2 * e * line.cdf, 2 * e * line.pdf
    mean = slope * b + 2 * e * np.maximum(b * line.cdf + s * line.pdf, 0)

    flip, tail, h = np.where(line.h > 0, -1.0, 1.0), line.tail, -np.abs(line.h)
    pairs = _pairs(h, s, flip, inverse, W, W_cov, A)
    left = np.stack([c * g, np.full_like(s, c * e), e * e * flip], axis=1)
    right = np.stack([np.ones_like(s), flip * (2 * tail - 1), flip], axis=1)
    linear = _Linear.of(left, right, W, W_cov, A)
    x, rho = s * h, s * np.maximum(line.pdf + h * tail, 0)
    A_rho, A_rest = rho @ A.T, (x - 2 * rho) @ A.T
    ranks = x[..., None] * A_rho[:, None] + rho[..., None] * A_rest[:, None]
    covariance_A = linear.covariance_A + 2 * e * e * (ranks + 2 * s[..., None] * pairs.covariance_A)

    by_rho = 2 * e * e * A_rest @ A
    p = 2 * c * e * flip * line.pdf * inverse * linear.partners + 4 * e * e * pairs.p
    from_x = 2 * e * e * (A_rho @ A + 2 * pairs.x) + tail * by_rho + p
    from_s = 4 * e * e * pairs.s + line.pdf * by_rho - h * p

    def pull(mean_bar: Array, weights: Array) -> tuple[Array, Array]:
        by_s = inverse * (steepness * mean_bar + from_s)
        W_bar = linear.gradient(weights) + _summed(weights[:, None] * by_s, W_cov)
        W_bar += _summed(4 * e * e * weights[:, None] * flip, pairs.W)
        return g * mean_bar + flip * from_x, W_bar

    return mean, covariance_A, pull


def _summed(factors: Array, parts: Array) -> Array:
    """sum_n factors (n, m) parts (n, m, d) -> (m, d)."""
    return (factors.T[:, None] @ parts.transpose(1, 0, 2))[:, 0]


class _Linear(NamedTuple):
    """The covariance Q_jk sum_i left_ij right_ik, symmetric in j and k, left and right (n, 3, m)."""

    covariance_A: Array  # (n, m, K)
    partners: Array  # (n, m): sum_k G_jk Q_jk, as right_0 = 1
    A_left: Array  # (n 3 K, m)
    A_W_cov: Array  # (n 3 K, d): A right W Sigma

    @classmethod
    def of(cls, left: Array, right: Array, W: Array, W_cov: Array, A: Array) -> _Linear:
        (n, m, dim), (outputs, _) = W_cov.shape, A.shape
        A_left, A_right = ((side[:, :, None] * A).reshape(n, -1, m) for side in (left, right))
        A_W_cov = (A_right @ W_cov).reshape(-1, dim)
        A_Q = (A_W_cov @ W.T).reshape(n, 3, outputs, m)
        covariance = (left[:, :, None] * A_Q).sum(axis=1)
        return cls(covariance.swapaxes(1, 2), (A * A_Q[:, 0]).sum(axis=1), A_left.reshape(-1, m), A_W_cov)

    def gradient(self, weights: Array) -> Array:
        """Of the noise with respect to W, (m, d), summed over components with weights (n,)."""
        return self.A_left.T @ (np.repeat(weights, len(self.A_W_cov) // len(weights))[:, None] * self.A_W_cov)


class _Sums(NamedTuple):
    """Of each neuron, sums over its partners of pair_jk and of its gradient, the latter with G_jk."""

    covariance_A: Array  # (n, m, K), over s_j
    W: Array  # (n, m, d): of delta
    x: Array  # (n, m), and so the others: of the slope by x but for p, of that by s but for p, and of p
    s: Array
    p: Array


def _pairs(h: Array, s: Array, flip: Array, inverse: Array, W: Array, W_cov: Array, A: Array) -> _Sums:
    """Of neurons of these h <= 0, s, flips and 1/s, (n, m)."""
    (n, m, dim), (outputs, _) = W_cov.shape, A.shape
    lines, G, unit = half_line(h), (A.T @ A).astype(np.float32), (flip * inverse)[..., None]
    unit_W, unit_W_cov = unit * W, unit * W_cov  # in double precision; their product is r
    W_cov_sh = np.empty((n, m, dim + 1), dtype=np.float32)
    W_cov_sh[..., :dim] = flip[..., None] * W_cov
    W_cov_sh[..., dim] = s * h
    sA, h, s, sh = (
        a.astype(np.float32) for a in (s[..., None] * A.T, *(a[..., None] for a in (h, s, s * h)))
    )
    covariance_A, by_W_x, by_x, by_s, by_p = (np.zeros((n, m, size)) for size in (outputs, dim + 1, 1, 1, 1))
    for block in _blocks(n, m):
        one, two = block.sides(lines)
        h_j, h_k = block.outer(h)
        r, delta, shift, ring = orthant(
            one, two, block.left(unit_W_cov) @ np.swapaxes(block.right(unit_W), 1, 2)
        )
        pair = h_j * h_k
        pair += r
        pair *= delta
        pair += h_k * shift[0]
        pair += h_j * shift[1]
        pair += ring
        block.add(covariance_A, pair, pair, sA)

        bar = np.ascontiguousarray(G[block.rows, block.columns])
        for part in (delta, *shift, ring):
            part *= bar
        block.add(by_W_x, delta, delta, W_cov_sh)
        block.add(by_x, shift[1], shift[0], s)
        block.add(by_s, shift[0], shift[1], sh)
        block.add(by_s, ring, ring, s)
        for part in shift:
            part *= r
        block.add(by_p, *shift, s)
    from_x = by_W_x[..., dim] + by_x[..., 0]
    return _Sums(covariance_A, by_W_x[..., :dim], from_x, by_s[..., 0], by_p[..., 0])


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
