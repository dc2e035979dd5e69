"""Neurons whose gates change within a step: when, where they end, and what they add to the network's output.

Such a neuron's output has a kink at the crossing, in which an integrator of high order would lose its order. So it is
followed on its own, from crossing to crossing, and only the projection of what it adds to f (over what it would have
added with its gates as they were) on polynomials of low degree is handed to the step. What the projection drops is
orthogonal to all of these, so U loses to it the next power of the step only, times the kinks, however many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import legendre

from finegrain.sims.gates.series import Gates, OrthogonalPoints, at, path
from finegrain.theory.tools.arrays import Array, Index

# Bracketed Newton iterations from the chord's root; each squares an error that starts near 1e-2.
NEWTON = 5


@dataclass(frozen=True, eq=False)
class Crossings:
    """N neurons at the end of a step in which their gates change.

    Attributes:
        y: (C + K, N), without weight decay
        gates: (C, N)
        forcing: coefficients (degree + 1, C, K, B) of what they add to f, by network
    """

    y: Array
    gates: Gates
    forcing: Array


def outdated(inputs: OrthogonalPoints, gates: Gates, y: Array) -> Gates:
    """Gates (C, N) that a neuron at y (C + K, N) has crossed: open at w . mu <= 0, or closed above it (leaky only)."""
    coordinates = y[: len(gates)]
    return np.where(gates, coordinates <= 0, (coordinates > 0) & (inputs.slope > 0))


def degree(inputs: OrthogonalPoints) -> int:
    """Of the projection: the forcing is integrated once, and small, so half the order is enough."""
    return inputs.order // 2 - 1


def follow(
    inputs: OrthogonalPoints,
    y: Array,
    gates: Gates,
    residual: Array,
    step: Array,
    decay: Array,
    network: Index,
    batch: int,
) -> Crossings:
    """Follow neurons through all their crossings in one step.

    Args:
        y, gates: at the start of the step, (C + K, N) and (C, N).
        residual: g, coefficients (order, C, K, N), as each neuron's network has it.
        step, decay: of each neuron's network, (N,), as in `series`.
        network: (N,), not decreasing, in 0..batch-1.
    """
    C, K = inputs.targets.shape
    end, now = np.empty_like(y), gates.copy()
    moments = np.zeros((degree(inputs) + 1, C, K, batch))
    drive = inputs.rates * step * residual
    # Neurons still to cross, and where their paths start.
    left, since = np.arange(y.shape[1]), np.zeros(y.shape[1])
    paths = path(y, inputs.slopes(now)[:, None] * drive)
    while True:
        last = np.sum(paths, axis=0)
        crossed = outdated(inputs, now[:, left], last)
        go = np.any(crossed, axis=0)
        end[:, left[~go]] = last[:, ~go]
        if not go.any():
            break
        left, since, paths, crossed = left[go], since[go], paths[..., go], crossed[:, go]
        theta, gate = _first_root(paths[:, :C], crossed)
        mine = np.arange(left.size)
        start = at(paths, theta)
        start[gate, mine] = 0
        before = inputs.slopes(now[:, left])
        now[gate, left] ^= True
        after = inputs.slopes(now[:, left])
        when = since + theta * (1 - since)
        after_paths = path(start, after[:, None] * _recentred(drive[..., left], when))
        added = _Added(inputs, step[left], decay[left], when)
        moments += added.moments(paths, theta, before, after_paths, after, network[left], batch)
        paths, since = after_paths, when
    forcing = np.tensordot(_projection(degree(inputs)), inputs.norms[:, None, None] * moments, 1)
    return Crossings(end, now, forcing)


@dataclass(frozen=True, eq=False)
class _Added:
    """Integrals of what neurons add to f from their crossings `when` (N,) to the end of the step."""

    inputs: OrthogonalPoints
    step: Array
    decay: Array
    when: Array

    def moments(
        self,
        old: Array,
        theta: Array,
        before: Array,
        new: Array,
        after: Array,
        network: Index,
        batch: int,
    ) -> Array:
        """int (new - old) L_q, Legendre's polynomials on [0, 1], (degree + 1, C, K, batch); f without its factor nu."""
        q = degree(self.inputs)
        nodes, weights = _gauss(q + 1)
        x, left = nodes[:, None], 1 - self.when
        time = self.when + x * left  # (nodes, N)
        values = _outputs(_at_nodes(new, nodes), after)
        values -= _outputs(at(old[:, :, None], theta + x * (1 - theta)), before)
        weight = (
            self.decay * np.exp(-2 * self.inputs.weight_decay * self.step * time) * weights[:, None] * left
        )
        basis = np.moveaxis(legendre.legvander(2 * time - 1, q), -1, 0) * weight
        integrals = np.einsum("qgn,ckgn->qckn", basis, values)
        total = np.zeros((*integrals.shape[:3], batch))
        first = np.flatnonzero(np.r_[True, np.diff(network) > 0])
        total[..., network[first]] = np.add.reduceat(integrals, first, axis=-1)
        return total


def _outputs(y: Array, slopes: Array) -> Array:
    """s_c y_c a, (C, K, nodes, N), of neurons y (C + K, nodes, N)."""
    C = len(slopes)
    return (slopes[:, None] * y[:C])[:, None] * y[C:]


def _first_root(coordinates: Array, crossed: Gates) -> tuple[Array, Index]:
    """Each neuron's first crossing theta (N,) and its gate (N,), from gate coordinates (order + 1, C, N)."""
    gate, neuron = np.nonzero(crossed)
    polynomial = coordinates[:, gate, neuron]
    slope = polynomial[1:] * np.arange(1, len(polynomial))[:, None]
    end = np.sum(polynomial, axis=0)
    low, high = np.zeros_like(end), np.ones_like(end)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = polynomial[0] / (polynomial[0] - end)
        theta = np.where((theta >= 0) & (theta <= 1), theta, 0.5)
        for _ in range(NEWTON):
            value = at(polynomial, theta)
            early = (value > 0) == (end <= 0)
            low, high = np.where(early, theta, low), np.where(early, high, theta)
            step = theta - value / at(slope, theta)
            theta = np.where((step >= low) & (step <= high), step, (low + high) / 2)
    table = np.full(crossed.shape, np.inf)
    table[gate, neuron] = theta
    first = np.argmin(table, axis=0)
    return table[first, np.arange(first.size)], first


def _recentred(drive: Array, when: Array) -> Array:
    """Polynomials (order, C, K, N) on [0, 1] as polynomials on [when, 1], times its length (repeated Horner)."""
    shifted, p = drive.copy(), len(drive)
    for k in range(p - 1):
        for i in range(p - 2, k - 1, -1):
            shifted[i] += when * shifted[i + 1]
    return shifted * ((1 - when) ** np.arange(1, p + 1)[:, None])[:, None, None]


def _at_nodes(coefficients: Array, nodes: Array) -> Array:
    """Polynomials (order + 1, n, N) at the same nodes for all, (n, nodes, N)."""
    powers = np.vander(nodes, len(coefficients), increasing=True)
    values = powers @ coefficients.reshape(len(coefficients), -1)
    return np.swapaxes(values.reshape(nodes.size, *coefficients.shape[1:]), 0, 1)


@cache
def _gauss(points: int) -> tuple[Array, Array]:
    """Gauss's nodes and weights on [0, 1]."""
    nodes, weights = legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2


@cache
def _projection(degree: int) -> Array:
    """int f L_q over [0, 1] -> coefficients of theta^k of f's projection on polynomials of this degree."""
    shifted = np.zeros((degree + 1, degree + 1))
    for q in range(degree + 1):
        powers = legendre.Legendre.basis(q, domain=[0, 1]).convert(kind=np.polynomial.Polynomial)
        shifted[: q + 1, q] = (2 * q + 1) * powers.coef
    return shifted
