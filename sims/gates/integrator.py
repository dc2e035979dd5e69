"""Gradient flow of ReLU and leaky ReLU networks on noise-free, orthogonal inputs: exact gates, many networks at once.

An adaptive solver meets a kink at every gate that closes, about one a neuron, and crawls from kink to kink. Here no
kink is ever stepped over: a step takes the gates as they are at its start, T19 gives the flow of every active set as a
power series (series.py), the few neurons that lose a gate in the step are followed on their own (crossings.py), and
what they add to the output is fed back until it changes no more. Neurons far from their gates are not looked at
(sets.py), so a step costs about the same at any width.

Gates close for good under ReLU (T6); under leaky ReLU they may also open. Orthogonal means make a gate's own coordinate
independent of the others, so that it is crossed outright and never slid along; for other means `applies` says no.

Error: in each step the last two terms of every active set's series, relative to each neuron, and what the feedback's
last round changed, are below rtol.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finegrain.sims.gates.crossings import Crossings, degree, follow, outdated
from finegrain.sims.gates.series import Gates, OrthogonalPoints, longest_step, rescale, series
from finegrain.sims.gates.sets import ActiveSets
from finegrain.sims.setting import Setting
from finegrain.theory.mixture import Mixture
from finegrain.theory.tools.arrays import Array, Index

# Steps between two recorded times; ordinary flows take 50.
MAX_STEPS = 200_000
# Rounds of feedback; each gains a few digits, and a step that needs more is halved.
ROUNDS = 6
# Steps are this much shorter than the series allows.
SAFETY = 0.9
# Entries of a set's transformation, beyond which its neurons are written down anew (rounding).
MOST_MOVED = 30.0
# Gates are bits of an integer.
MOST_CLASSES = 62


def applies(mixture: Mixture, setting: Setting) -> bool:
    """Whether this integrator is made for the problem: (leaky) ReLU, squared loss, orthogonal means, no noise."""
    means = mixture.moments.means
    norms = np.linalg.norm(means, axis=1)
    rounding = 8 * means.shape[1] * np.finfo(float).eps
    overlaps = np.abs(means @ means.T - np.diag(norms**2))
    return (
        setting.rectified
        and setting.closed >= 0
        and setting.loss == "squared"
        and not mixture.moments.covariances.any()
        and len(means) <= MOST_CLASSES
        and bool(np.all(overlaps <= rounding * np.outer(norms, norms)))
    )


class GateIntegrator:
    """Advances weights from one recorded time to the next; `evaluations` counts series, one a step and round.

    Args:
        targets: (C, K), of each fine class.
        setting: `applies` must hold.
        rtol: error of a step (see the module).
    """

    method = "gates"

    def __init__(self, mixture: Mixture, targets: Array, setting: Setting, rtol: float) -> None:
        m = mixture.moments
        norms = np.linalg.norm(m.means, axis=1)
        self._directions = m.means / np.where(norms > 0, norms, 1)[:, None]
        # The work for a digit is least near this order (Jorba & Zou).
        order = max(8, int(np.ceil(-np.log(rtol) / 2)) + 1)
        self._inputs = OrthogonalPoints(
            m.weights, norms, targets[mixture.fine_map], setting.weight_decay, setting.closed, order
        )
        self.rtol, self.evaluations = rtol, 0

    def initial(self, W: Array, A: Array) -> tuple[Array, Array]:
        """The state at time 0: the weights alone."""
        return W, A

    def __call__(self, start: float, end: float, W: Array, A: Array) -> tuple[Array, Array]:
        """Weights at time `end` from those at `start`: one network (m, d), (K, m), or B of them along a first axis."""
        coordinates = W @ self._directions.T
        # Off the means nothing but weight decay acts.
        rest = W - coordinates @ self._directions
        C = len(self._directions)
        y = np.concatenate([np.moveaxis(coordinates, -1, 0), np.moveaxis(A, -2, 0)])
        batch = 1 if W.ndim == 2 else len(W)
        y_end, gates = self._flow(y.reshape(len(y), -1), batch, start, end)
        moved, gates = y_end.reshape(y.shape), np.moveaxis(gates.reshape(C, *y.shape[1:]), 0, -1)
        decay = np.exp(-self._inputs.weight_decay * (end - start))
        W_end = np.moveaxis(moved[:C], 0, -1) @ self._directions + decay * rest
        return self._gates_kept(W_end, gates), np.moveaxis(moved[C:], 0, -2)

    def _gates_kept(self, W: Array, gates: Gates) -> Array:
        """W with each w . mu on its gate's side of zero for whoever computes it anew; moved by rounding errors only."""
        # Additions in w . mu; with none it is exact.
        sums = np.count_nonzero(self._directions, axis=1) - 1
        rounding = 4 * np.finfo(float).eps * sums * (np.abs(W) @ np.abs(self._directions.T))
        side = np.where(gates, 1.0, -1.0)
        short = np.maximum(rounding - side * (W @ self._directions.T), 0)
        return W + (side * np.where(sums > 0, short, 0)) @ self._directions

    def _flow(self, y: Array, batch: int, start: float, end: float) -> tuple[Array, Gates]:
        """Neurons (C + K, N) of `batch` networks and their gates after time end - start, each by its own steps."""
        span = end - start
        sets = ActiveSets(self._inputs, y, y[: len(self._directions)] > 0, batch)
        time, step = np.zeros(batch), np.full(batch, span)
        for _ in range(MAX_STEPS):
            running = np.flatnonzero(time < span)
            if not running.size:
                return sets.neurons()
            if np.abs(sets.moved).max() > MOST_MOVED:
                sets = ActiveSets(self._inputs, *sets.neurons(), batch)
            left = span - time[running]
            trial = self._trial(sets, running, np.minimum(step[running], left))
            time[running] = np.where(
                trial.good & (trial.step == left), span, time[running] + trial.good * trial.step
            )
            step[running] = trial.step * trial.next
            if np.any((time < span) & (step <= 4 * np.finfo(float).eps * span)):
                break
            _accept(sets, trial)
        b = int(np.argmin(np.where(time < span, step, np.inf)))
        raise RuntimeError(
            f"gradient flow of network {b} stopped at t = {start + time[b]:.6g}: its step fell to {step[b]:.2g}, or "
            f"{MAX_STEPS} steps were not enough. Raise rtol = {self.rtol}, or lower the scale of W0 and A0."
        )

    def _trial(self, sets: ActiveSets, networks: Index, step: Array) -> _Trial:
        """One step of `networks`, of length `step` or shorter, and its crossings, fed back until they settle."""
        inputs, gram = sets.inputs, sets.gram[..., networks]
        decay = np.exp(-2 * inputs.weight_decay * sets.time[networks])
        forcing = np.zeros((degree(inputs) + 1, *inputs.targets.shape, networks.size))
        occupied = np.trace(gram) > 0
        U, residual = series(inputs, sets.gates, gram, decay, step, forcing)
        shorter = np.minimum(SAFETY * longest_step(U, occupied, self.rtol), 1)
        if np.isnan(shorter).any():
            raise RuntimeError("gradient flow overflowed: lower the scale of W0 and A0")
        U, residual, step = rescale(U, shorter), rescale(residual, shorter), shorter * step
        for rounds in range(1, ROUNDS + 1):
            self.evaluations += 1
            crossing = _crossing(sets, networks, U, residual, step, decay)
            change = np.sum(
                inputs.rates * step * np.sum(np.abs(crossing.forcing - forcing), axis=0), axis=(0, 1)
            )
            again = np.flatnonzero(change > self.rtol)
            if not again.size or rounds == ROUNDS:
                break
            forcing[..., again] = crossing.forcing[..., again]
            U[..., again], residual[..., again] = series(
                inputs, sets.gates, gram[..., again], decay[again], step[again], forcing[..., again]
            )
        room = longest_step(U, occupied, self.rtol)
        good = (room >= 1) & (change <= self.rtol)
        shrink = np.where(change <= self.rtol, np.clip(SAFETY * room, 0.2, 0.9), 0.5)
        return _Trial(networks, step, good, np.where(good, np.clip(SAFETY * room, 0.2, 3), shrink), crossing)


@dataclass(frozen=True, eq=False)
class _Crossing:
    """The end of a step, and the neurons near their gates in it.

    Attributes:
        U: of the whole step, (C + K, C + K, sets, B)
        growth, signs: of Gamma (B,), and of g (C, B), over it
        due: neurons looked at, and the network's place in the batch of each, (N,)
        before, after: their y at its two ends with their gates as they were, (C + K, N)
        crossed: those whose gates change, (N,)
        found: where these end
        forcing: (degree + 1, C, K, B)
    """

    U: Array
    growth: Array
    signs: Array
    due: Index
    column: Index
    before: Array
    after: Array
    crossed: NDArray[np.bool_]
    found: Crossings | None
    forcing: Array


@dataclass(frozen=True, eq=False)
class _Trial:
    """A step of `networks` (B,): lengths (B,), which of them are good, and factors for the next."""

    networks: Index
    step: Array
    good: NDArray[np.bool_]
    next: Array
    crossing: _Crossing


def _crossing(
    sets: ActiveSets, networks: Index, U: Array, residual: Array, step: Array, decay: Array
) -> _Crossing:
    """Which neurons cross a gate in a step with these series, and what they add to the output."""
    inputs, end = sets.inputs, np.sum(U, axis=0)
    largest = inputs.rates * step * np.sum(np.abs(residual), axis=0)
    growth = np.sqrt(np.sum(largest**2, axis=(0, 1)))
    due = sets.due(networks, growth, signs := _signs(residual))
    place = np.full(sets.batch, -1)
    place[networks] = np.arange(networks.size)
    column, before = place[sets.network[due]], sets.now(due)
    after, gates = sets.carried(before, due, end, column), sets.gates_of(due)
    crossed = np.any(outdated(inputs, gates, after), axis=0)
    if not crossed.any():
        nothing = np.zeros((degree(inputs) + 1, *inputs.targets.shape, networks.size))
        return _Crossing(end, growth, signs, due, column, before, after, crossed, None, nothing)
    which = column[crossed]
    found = follow(
        inputs,
        before[:, crossed],
        gates[:, crossed],
        residual[..., which],
        step[which],
        decay[which],
        which,
        networks.size,
    )
    return _Crossing(end, growth, signs, due, column, before, after, crossed, found, found.forcing)


def _signs(residual: Array) -> Array:
    """Sign of g_c over the whole step, 0 where it may change, or with more than one output; (C, B)."""
    start, rest = residual[0, :, 0], np.sum(np.abs(residual[1:, :, 0]), axis=0)
    if residual.shape[2] > 1:
        return np.zeros_like(start)
    return np.where(np.abs(start) > rest, np.sign(start), 0)


def _accept(sets: ActiveSets, trial: _Trial) -> None:
    """Move the networks whose step is good, and their crossing neurons into their new sets."""
    c, good = trial.crossing, trial.good
    if not good.any():
        return
    mine = good[c.column]
    gone = mine & c.crossed
    sets.take_out(c.due[gone], c.before[:, gone])
    sets.move(trial.networks[good], c.U[..., good], trial.step[good], c.growth[good], c.signs[:, good])
    kept = mine & ~c.crossed
    sets.examined(c.due[kept], c.after[:, kept])
    if c.found is not None:
        some = mine[c.crossed]
        found = Crossings(c.found.y[:, some], c.found.gates[:, some], c.found.forcing)
        sets.put_in(c.due[gone], found)
