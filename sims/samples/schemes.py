"""How networks move on samples: Runge-Kutta steps along gradient flow, or the steps of (stochastic) descent.

A scheme holds its state as named arrays, W and A among them, and takes it from one mark (a time, or a number of
steps) to a later one. The state alone decides how it goes on, so that a run read back from disk repeats an unbroken
one bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from finegrain.sims.samples.loss import SampleLoss, Samples
from finegrain.theory.tools import checks

State = dict[str, Tensor]


class Scheme(Protocol):
    """What RungeKutta and Descent share."""

    state: State

    def count(self, start: float, end: float) -> int:
        """Steps from mark to mark."""

    def advance(self, start: float, end: float) -> Iterator[None]:
        """Take them, yielding after each. Raises RuntimeError where a loss stops being finite."""

    def measures(self) -> dict[str, Tensor]:
        """What the scheme knows of its own error, each (B,)."""


class RungeKutta:
    """Gradient flow by the classical method of order four, two steps at a time beside one of twice the size."""

    def __init__(self, objective: SampleLoss, samples: Samples, W: Tensor, A: Tensor, step: float) -> None:
        self.objective, self.samples, self.step = objective, samples, step
        self.state: State = {"W": W, "A": A, "rough.W": W, "rough.A": A}

    def count(self, start: float, end: float) -> int:
        """Double steps, none longer than twice `step`."""
        return math.ceil((end - start) / (2 * self.step))

    def advance(self, start: float, end: float) -> Iterator[None]:
        n = self.count(start, end)
        for i in range(n):
            s, size = self.state, (end - start) / n
            fine = self._stepped(*self._stepped(s["W"], s["A"], size / 2), size / 2)
            rough = self._stepped(s["rough.W"], s["rough.A"], size)
            self.state = dict(zip(s, (*fine, *rough), strict=True))
            size_now, when = _square(self.state["W"]), f"t = {start + (i + 1) * size:g}"
            require_finite(size_now, "weights", when, f"lower step, got {self.step}")
            yield

    def measures(self) -> dict[str, Tensor]:
        """The gap between the two, relative to the norm of the weights."""
        s = self.state
        gap = _square(s["W"] - s["rough.W"]) + _square(s["A"] - s["rough.A"])
        square = _square(s["W"]) + _square(s["A"])
        return {"step_error": torch.sqrt(gap / square.clamp_min(torch.finfo(torch.float64).tiny))}

    def _stepped(self, W: Tensor, A: Tensor, size: float) -> tuple[Tensor, Tensor]:
        _, W_1, A_1 = self.objective(W, A, self.samples)
        _, W_2, A_2 = self.objective(W - size / 2 * W_1, A - size / 2 * A_1, self.samples)
        _, W_3, A_3 = self.objective(W - size / 2 * W_2, A - size / 2 * A_2, self.samples)
        _, W_4, A_4 = self.objective(W - size * W_3, A - size * A_3, self.samples)
        slope_W, slope_A = W_1 + 2 * (W_2 + W_3) + W_4, A_1 + 2 * (A_2 + A_3) + A_4
        return W - size / 6 * slope_W, A - size / 6 * slope_A


@dataclass(frozen=True)
class Rule:
    """The update of torch.optim.SGD, with weight decay as part of the loss.

    Attributes:
        learning_rate: > 0
        batch_size: samples a step; None for all
        momentum, nesterov: v <- momentum v + g; the step is along v, or with nesterov along g + momentum v
        seeds: of the order of each network's samples
    """

    learning_rate: float
    batch_size: int | None
    momentum: float
    nesterov: bool
    seeds: tuple[int, ...]

    def check(self, count: int) -> None:
        """Require values in range, for `count` samples."""
        if self.batch_size is not None:
            checks.integer("batch_size", self.batch_size, 1)
            if self.batch_size > count:
                raise ValueError(
                    f"batch_size must be in 1..{count}, the number of samples, got {self.batch_size}"
                )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}")
        if self.nesterov and not self.momentum:
            raise ValueError(f"momentum must be > 0 for nesterov, got {self.momentum}")


class Descent:
    """Gradient descent on all samples, or SGD."""

    def __init__(self, objective: SampleLoss, samples: Samples, W: Tensor, A: Tensor, rule: Rule) -> None:
        self.objective, self.samples, self.rule = objective, samples, rule
        self.state: State = {"W": W.clone(), "A": A.clone()}
        if rule.momentum:
            self.state |= {f"velocity.{name}": torch.zeros_like(w) for name, w in self.state.items()}

    def count(self, start: float, end: float) -> int:
        return int(end - start)

    def advance(self, start: float, end: float) -> Iterator[None]:
        rate, cure = self.rule.learning_rate, f"lower learning_rate, got {self.rule.learning_rate}"
        W, A = self.state["W"], self.state["A"]
        for step, batch in enumerate(self._batches(int(start), int(end)), int(start)):
            loss, dW, dA = self.objective(W, A, batch)
            require_finite(loss, "loss", f"step {step}", cure)
            W.sub_(self._direction("W", dW), alpha=rate)
            A.sub_(self._direction("A", dA), alpha=rate)
            yield

    def measures(self) -> dict[str, Tensor]:
        """None: descent is what it is."""
        return {}

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        if not self.rule.momentum:
            return gradient
        velocity = self.state[f"velocity.{name}"].mul_(self.rule.momentum).add_(gradient)
        return gradient.add_(velocity, alpha=self.rule.momentum) if self.rule.nesterov else velocity

    def _batches(self, start: int, end: int) -> Iterator[Samples]:
        """The samples of each step. An epoch's order follows from the seed and the epoch's number."""
        size, epoch, orders = self.rule.batch_size, -1, torch.empty(0)
        for step in range(start, end):
            if size is None:
                yield self.samples
                continue
            now, place = divmod(step, self.samples.count // size)
            if now != epoch:
                epoch, orders = now, self._orders(now)
            yield self.samples.chosen(orders[:, place * size : (place + 1) * size])

    def _orders(self, epoch: int) -> Tensor:
        """(B, N): drawn by NumPy, to be the same on every device."""
        drawn = [
            np.random.default_rng([seed, epoch]).permutation(self.samples.count) for seed in self.rule.seeds
        ]
        return torch.tensor(np.stack(drawn), device=self.samples.x.device)


def _square(weights: Tensor) -> Tensor:
    """Squared norm of each network's layer, (B,), in float64."""
    return weights.double().square().sum((1, 2))


def require_finite(values: Tensor, what: str, when: str, cure: str) -> None:
    """Require values (B,) to be finite; the error names the networks where they are not."""
    good = torch.isfinite(values)
    if not bool(good.all()):
        lost = torch.nonzero(~good).ravel().tolist()
        found = values[lost[0]].item()
        raise RuntimeError(
            f"training diverged: the {what} of network{'s' * (len(lost) > 1)} {', '.join(map(str, lost))} "
            f"stopped being finite ({found}) at {when}; {cure}"
        )
