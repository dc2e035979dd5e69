"""Neurons of a batch of networks by active set: one Gram matrix and one transformation a set, whatever the width.

A neuron is touched only where one of its gates may change. When that can be is known beforehand: while Gamma of its
network, int ||R|| dt, grows by less than ln(1 + |w . mu/nu| / ||y||), nothing can bring w . mu to zero, as ||y|| grows
by e^Gamma at most. And with one output a neuron all of whose gates move away from zero (g_c a w_c > 0) goes on to do so
for as long as no g_c changes sign. So each neuron has a due date on its network's clock Gamma.
"""

from __future__ import annotations

import numpy as np

from finegrain.sims.gates.crossings import Crossings
from finegrain.sims.gates.series import Gates, OrthogonalPoints
from finegrain.theory.tools.arrays import Array, Index

# Neurons transformed at once: their matrices stay in the cache.
CHUNK = 8192


class ActiveSets:
    """B networks of m neurons each, weight decay scaled out since this object was made.

    Attributes:
        gates: (C, sets), of each set
        gram: sum of y^T y over each set's neurons, now, (C + K, C + K, sets, B)
        moved: the transformation of each set since it was made, (C + K, C + K, sets, B)
        time: since this object was made, (B,)
        network: of each neuron, (N,), N = B m
    """

    def __init__(self, inputs: OrthogonalPoints, y: Array, gates: Gates, batch: int) -> None:
        """From neurons y (C + K, N), ordered by network, and their gates (C, N)."""
        self.inputs, self.batch = inputs, batch
        self.network = np.repeat(np.arange(batch), y.shape[1] // batch)
        self._y, (codes, self._member) = y.copy(), np.unique(_code(gates), return_inverse=True)
        self._codes = codes
        self.gates = (codes >> np.arange(len(gates))[:, None] & 1).astype(bool)
        n = len(y)
        self.gram = self._gram(np.arange(y.shape[1]), y)
        self.moved = np.zeros_like(self.gram)
        self.moved[np.arange(n), np.arange(n)] = 1
        self.time, self._clock = np.zeros(batch), np.zeros(batch)
        self._signs = np.zeros((len(gates), batch))
        self._due = np.full(y.shape[1], -np.inf)

    def neurons(self) -> tuple[Array, Gates]:
        """All neurons now, weight decay included, (C + K, N), and their gates (C, N)."""
        y = np.empty_like(self._y)
        for first in range(0, y.shape[1], CHUNK):
            some = np.arange(first, min(first + CHUNK, y.shape[1]))
            decay = np.exp(-self.inputs.weight_decay * self.time[self.network[some]])
            y[:, some] = decay * self.now(some)
        return y, self.gates[:, self._member]

    def now(self, neurons: Index) -> Array:
        """y of some neurons, (C + K, N)."""
        moved = self.moved[:, :, self._member[neurons], self.network[neurons]]
        return np.einsum("in,ijn->jn", self._y[:, neurons], moved)

    def gates_of(self, neurons: Index) -> Gates:
        """Their gates (C, N)."""
        return self.gates[:, self._member[neurons]]

    def carried(self, y: Array, neurons: Index, U: Array, column: Index) -> Array:
        """y of some neurons after a step that moves the sets of network `column` (N,) by U (.., .., sets, columns)."""
        return np.einsum("in,ijn->jn", y, U[:, :, self._member[neurons], column])

    def due(self, networks: Index, growth: Array, signs: Array) -> Index:
        """Neurons of `networks` (B',) of which a gate may change in a step of Gamma `growth` (B',).

        signs: of g over the whole step, 0 where it changes, (C, B'); a new one makes all due dates void.
        """
        limit = np.full(self.batch, -np.inf)
        void = np.any(signs != self._signs[:, networks], axis=0)
        limit[networks] = np.where(void, np.inf, self._clock[networks] + growth)
        return np.flatnonzero(self._due <= limit[self.network])

    def move(self, networks: Index, U: Array, step: Array, growth: Array, signs: Array) -> None:
        """Carry all sets of `networks` over a step by U (C + K, C + K, sets, B')."""
        gram = np.einsum("ijsb,jksb->iksb", self.gram[..., networks], U)
        self.gram[..., networks] = np.einsum("ijsb,iksb->jksb", U, gram)
        self.moved[..., networks] = np.einsum("ijsb,jksb->iksb", self.moved[..., networks], U)
        self.time[networks] += step
        self._clock[networks] += growth
        self._signs[:, networks] = signs

    def examined(self, neurons: Index, y: Array) -> None:
        """New due dates for neurons that are at y (C + K, N) and keep their gates."""
        self._due[neurons] = self._clock[self.network[neurons]] + self._margin(neurons, y)

    def take_out(self, neurons: Index, y: Array) -> None:
        """Take neurons at y (C + K, N) out of their sets' Gram matrices, before a step."""
        self.gram -= self._gram(neurons, y)

    def put_in(self, neurons: Index, crossed: Crossings) -> None:
        """Put them into the sets of their new gates, after it."""
        self._member[neurons] = self._sets_of(_code(crossed.gates))
        self.gram += self._gram(neurons, crossed.y)
        # The inverse of a Lorentz matrix is eta U^T eta.
        eta = np.where(np.arange(len(crossed.y)) < len(self.gates), 1.0, -1.0)[:, None]
        moved = self.moved[:, :, self._member[neurons], self.network[neurons]]
        self._y[:, neurons] = eta * np.einsum("jn,ijn->in", eta * crossed.y, moved)
        self.examined(neurons, crossed.y)

    def _gram(self, neurons: Index, y: Array) -> Array:
        """Sum of y^T y over these neurons, by set and network, (C + K, C + K, sets, B)."""
        n, sets = len(y), self.gates.shape[1]
        cell = self._member[neurons] * self.batch + self.network[neurons]
        gram = np.empty((n, n, sets, self.batch))
        for i in range(n):
            for j in range(i + 1):
                total = np.bincount(cell, y[i] * y[j], sets * self.batch)
                gram[i, j] = gram[j, i] = total.reshape(sets, self.batch)
        return gram

    def _margin(self, neurons: Index, y: Array) -> Array:
        """The least Gamma that can bring a gate coordinate of a neuron at y (C + K, N) to zero."""
        gates = self.gates_of(neurons)
        C, K = self.inputs.targets.shape
        distance = np.abs(y[:C])
        if K == 1:
            pull = self._signs[:, self.network[neurons]] * y[C] * y[:C]
            leaving = (pull > 0) | ~(gates | (self.inputs.slope > 0))
            distance = np.where(np.all(leaving, axis=0), np.inf, distance)
        if self.inputs.slope == 0:
            distance = np.where(gates, distance, np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log1p(np.min(distance, axis=0) / np.sqrt(np.sum(y**2, axis=0)))

    def _sets_of(self, codes: Index) -> Index:
        """The sets with these gates; those that no neuron had before are made, empty."""
        new = np.setdiff1d(codes, self._codes)
        if new.size:
            n = len(self._y)
            identity = np.broadcast_to(np.eye(n)[:, :, None, None], (n, n, new.size, self.batch))
            gates = (new >> np.arange(len(self.gates))[:, None] & 1).astype(bool)
            self._codes, self.gates = np.append(self._codes, new), np.hstack([self.gates, gates])
            self.gram = np.concatenate([self.gram, np.zeros_like(identity)], axis=2)
            self.moved = np.concatenate([self.moved, identity], axis=2)
        order = np.argsort(self._codes)
        return order[np.searchsorted(self._codes[order], codes)]


def _code(gates: Gates) -> Index:
    """Each neuron's gates (C, N), C <= 62, as the bits of an integer (N,)."""
    return np.sum(gates.astype(np.int64) << np.arange(len(gates))[:, None], axis=0)
