"""A two-layer network trained on real images: docs/theory.md's setting, by gradient descent in torch.

    h = phi(W x),   f = A h,   L = 1/2 mean ||f - t||^2 + lambda/2 (||W||^2 + ||A||^2)

One network of `sampled_descent` (sims/samples/flow.py), with Moments of the representation recorded along training,
one entry per fine class, though training sees the coarse targets alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from finegrain.sims.samples.flow import sampled_descent
from finegrain.theory.moments import Moments
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array
from finegrain.theory.tools.brief import brief


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """A network at T recorded steps of its training.

    Attributes:
        steps: (T,) descent steps taken, increasing
        times: (T,) steps * learning_rate/(1 - momentum), to compare with gradient flow
        loss: (T,) on the training images, weight decay included
        W: (T, m, d) first layer
        A: (T, K, m) second layer
        moments: T Moments of h = phi(W x) over the training images, one entry a fine class
        test_moments: the same over the test images; empty when none were given
        info: device, dtype, threads, and seconds taken, recording included
    """

    steps: NDArray[np.int64]
    times: Array
    loss: Array
    W: Array
    A: Array
    moments: list[Moments]
    test_moments: list[Moments] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)

    __repr__ = brief


def train(
    x: ArrayLike,
    fine: ArrayLike,
    W0: ArrayLike,
    A0: ArrayLike,
    *,
    targets: ArrayLike,
    activation: str = "relu",
    learning_rate: float = 0.3,
    momentum: float = 0.0,
    batch_size: int | None = None,
    steps: int = 1200,
    weight_decay: float = 1e-3,
    seed: int = 0,
    record_at: Sequence[int] | NDArray[np.integer] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    dtype: str = "float32",
    device: str = "auto",
    folder: Path | str | None = None,
    progress: bool = False,
) -> TrainingRecord:
    """Gradient descent from (W0, A0) on samples x with targets[fine], full-batch unless batch_size says otherwise.

    The same arguments give the same bits on the same machine and thread count.

    Args:
        x: training inputs (N, d).
        fine: fine labels (N,), 0..C-1.
        W0, A0: initial weights, (m, d) and (K, m).
        targets: (C, K), the training target of each fine class (finegrain.theory.targets).
        activation: identity, relu (relu'(0) = 0), leaky_relu (slope 0.01), erf or square.
        learning_rate: > 0.
        momentum, batch_size: as in `sampled_descent`.
        steps: number of descent steps, >= 0.
        weight_decay: lambda >= 0, the same on both layers.
        seed: of the batches.
        record_at: increasing steps in 0..steps at which to record; 0 is the start. Default: start and end.
        test: further inputs and fine labels, measured at the same steps and never trained on.
        dtype: "float32" or "float64", of the training; Moments are summed in float64 either way.
        device: "cpu", "cuda", or "auto", which takes CUDA when there is one.
        folder: a run folder; a run killed and called again goes on from its last record, to the same bits.
        progress: show a bar with the time left.

    Raises:
        ValueError: shapes that do not fit, labels outside 0..C-1, a class with fewer than 2 samples, numbers
            that are not finite, or an option out of its range.
        RuntimeError: the loss stopped being finite; the message names the step and the learning rate.
    """
    start = time.perf_counter()
    recorded = _recorded_steps(steps, record_at)
    t = checks.real("targets", targets, ("C", "K"))
    W = checks.real("W0", W0, ("m", "d"))
    A = checks.real("A0", A0, (t.shape[1], W.shape[0]))
    found = sampled_descent(
        x,
        fine,
        [W],
        [A],
        targets=t,
        activation=activation,
        learning_rate=learning_rate,
        momentum=momentum,
        batch_size=batch_size,
        steps=recorded,
        weight_decay=weight_decay,
        seeds=[seed],
        test=test,
        dtype=dtype,
        device=device,
        folder=folder,
        progress=progress,
    )
    info = {name: found.info[name] for name in ("device", "dtype", "read_back")}
    info |= {"threads": torch.get_num_threads(), "seconds": time.perf_counter() - start}
    return TrainingRecord(
        np.array(recorded),
        found.times,
        found.loss[:, 0],
        found.W[:, 0],
        found.A[:, 0],
        [moments for (moments,) in found.moments],
        [moments for (moments,) in found.test_moments],
        info,
    )


def _recorded_steps(steps: int, record_at: Sequence[int] | NDArray[np.integer] | None) -> list[int]:
    checks.at_least("steps", steps, 0)
    asked = np.unique([0, steps]) if record_at is None else np.asarray(record_at)
    increasing = asked.ndim == 1 and asked.size and (np.diff(asked) > 0).all()
    if not (increasing and np.issubdtype(asked.dtype, np.integer) and asked[0] >= 0 and asked[-1] <= steps):
        raise ValueError(f"record_at must be increasing integers in 0..{steps}, got {asked.tolist()}")
    return [int(step) for step in asked]
