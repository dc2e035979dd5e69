"""A two-layer network trained on real images: docs/theory.md's setting, by full-batch gradient descent in torch.

    h = phi(W x),   f = A h,   L = 1/2 mean ||f - t||^2 + lambda/2 (||W||^2 + ||A||^2)

The gradient is written out and summed over blocks of samples small enough to stay in a processor's cache:
twice as fast as autograd over all samples at once. Moments of the representation are recorded along training,
one entry a fine class, though training sees the coarse targets alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sims.run_folder import Arrays, RunFolder, digest
from theory import Moments, MomentsAccumulator, checks
from theory.console import tracked

Array = NDArray[np.float64]

ACTIVATIONS = ("identity", "relu")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
BLOCK = {"cpu": 4096, "cuda": 1 << 20}  # samples at a time


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """A network at T recorded steps of its training.

    Attributes:
        steps: (T,) descent steps taken, increasing
        times: (T,) steps * learning_rate, to compare with gradient flow
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


def train(
    x: ArrayLike,
    fine: ArrayLike,
    W0: ArrayLike,
    A0: ArrayLike,
    *,
    targets: ArrayLike,
    activation: str = "relu",
    learning_rate: float = 0.3,
    steps: int = 1200,
    weight_decay: float = 1e-3,
    record_at: Sequence[int] | NDArray[np.integer] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    dtype: str = "float32",
    device: str = "auto",
    folder: Path | str | None = None,
    progress: bool = False,
) -> TrainingRecord:
    """Full-batch gradient descent from (W0, A0) on samples x with targets[fine].

    The same arguments give the same bits on the same machine and thread count.

    Args:
        x: training inputs (N, d).
        fine: fine labels (N,), 0..C-1.
        W0, A0: initial weights, (m, d) and (K, m).
        targets: (C, K), the training target of each fine class (theory.targets).
        activation: "relu" (with relu'(0) = 0) or "identity".
        learning_rate: > 0.
        steps: number of descent steps, >= 0.
        weight_decay: lambda >= 0, the same on both layers.
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
    wanted = _recorded_steps(steps, record_at)
    t = checks.real("targets", targets, ("C", "K"))
    W = checks.real("W0", W0, ("m", "d"))
    A = checks.real("A0", A0, (t.shape[1], W.shape[0]))
    _check_options(activation, learning_rate, weight_decay, dtype)
    where: dict[str, Any] = {"dtype": DTYPES[dtype], "device": device_named(device)}
    images = {"train": _Samples.on(where, "x", x, "fine", fine, t, W.shape[1])}
    if test is not None:
        images["test"] = _Samples.on(where, "test x", test[0], "test fine", test[1], t, W.shape[1])
    network = _Network(torch.tensor(W, **where), torch.tensor(A, **where), activation, weight_decay)
    info: dict[str, Any] = {
        "device": where["device"].type,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
    }
    inputs = digest(t, W, A, *(np.asarray(part) for part in (x, fine, *(test or ()))))
    config = {"learning_rate": learning_rate, "weight_decay": weight_decay, "activation": activation}
    config |= {"device": info["device"], "dtype": dtype, "record_at": wanted, "inputs": inputs}
    with nullcontext() if folder is None else RunFolder(folder, config) as run:
        info["read_back"] = 0 if run is None else run.completed
        records = _descend(network, images, wanted, steps, learning_rate, run, progress)
    columns = {name: np.array([record[name] for record in records]) for name in ("loss", "W", "A")}
    return TrainingRecord(
        np.array(wanted),
        np.array(wanted) * learning_rate,
        **columns,
        moments=[_moments_of(record, "train") for record in records],
        test_moments=[_moments_of(record, "test") for record in records if test is not None],
        info=info | {"seconds": time.perf_counter() - start},
    )


def _descend(
    network: _Network,
    images: dict[str, _Samples],
    wanted: list[int],
    steps: int,
    learning_rate: float,
    run: RunFolder | None,
    progress: bool,
) -> list[Arrays]:
    """Step through the training, from the last record on disk if there is one; the arrays of each record."""
    records = [] if run is None else [run.read(i) for i in range(run.completed)]
    first = wanted[len(records) - 1] if records else 0
    if records:
        network.load(records[-1]["W"], records[-1]["A"])
    pending = set(wanted[len(records) :])
    for step in tracked(range(first, steps + 1), "training", total=steps + 1 - first, show=progress):
        loss, dW, dA = network.gradient(images["train"])
        if not math.isfinite(loss):
            raise RuntimeError(
                f"training diverged: the loss is {loss} at step {step}; lower learning_rate, got {learning_rate}"
            )
        if step in pending:
            records.append(network.record(loss, images))
            if run is not None:
                run.write(len(records) - 1, records[-1], {"step": step, "loss": loss})
        if step < steps:
            network.W -= learning_rate * dW
            network.A -= learning_rate * dA
    return records


def _moments_of(record: Arrays, part: str) -> Moments:
    """The Moments stored for "train" or "test"."""
    return Moments(*(record[f"{part}.{name}"] for name in ("weights", "means", "covariances")))


@dataclass(frozen=True, eq=False)
class _Samples:
    """N samples of C fine classes in blocks: inputs (B, d), targets (B, K) and fine labels (B,)."""

    blocks: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    count: int
    num_fine: int

    @classmethod
    def on(
        cls,
        where: dict[str, Any],
        x_name: str,
        x: ArrayLike,
        fine_name: str,
        fine: ArrayLike,
        targets: Array,
        dim: int,
    ) -> _Samples:
        """Check x (N, dim) and fine (N,) and put them on the device of `where` in its type."""
        inputs = checks.real(x_name, x, ("N", dim))
        labels = _labels(fine_name, fine, inputs, len(targets))
        size = BLOCK[where["device"].type]
        t, y = torch.tensor(targets, **where), torch.tensor(labels, device=where["device"])
        parts = zip(torch.tensor(inputs, **where).split(size), t[y].split(size), y.split(size), strict=True)
        return cls(list(parts), len(inputs), len(targets))


@dataclass
class _Network:
    """The weights, and what follows from them."""

    W: torch.Tensor  # (m, d)
    A: torch.Tensor  # (K, m)
    activation: str
    weight_decay: float

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """h = phi(W x), (B, m), for x (B, d)."""
        z = x @ self.W.T
        return z.relu_() if self.activation == "relu" else z

    def gradient(self, samples: _Samples) -> tuple[float, torch.Tensor, torch.Tensor]:
        """L, dL/dW and dL/dA over all samples."""
        dW, dA = torch.zeros_like(self.W), torch.zeros_like(self.A)
        squares = torch.zeros((), dtype=torch.float64, device=self.W.device)
        for x, t, _ in samples.blocks:
            h = self.hidden(x)
            residual = torch.addmm(t, h, self.A.T, beta=-1)  # f - t
            back = residual @ self.A
            if self.activation == "relu":
                back *= h.sign()  # relu' is 1 where h > 0 and 0 where h = 0
            dW.addmm_(back.T, x)
            dA.addmm_(residual.T, h)
            squares += torch.dot(residual.ravel(), residual.ravel())
        decay = self.weight_decay
        penalty = decay / 2 * (self.W.double().square().sum() + self.A.double().square().sum())
        loss = float(squares / (2 * samples.count) + penalty)
        return loss, dW / samples.count + decay * self.W, dA / samples.count + decay * self.A

    def load(self, W: Array, A: Array) -> None:
        """Take weights recorded earlier; float64 holds float32 exactly."""
        self.W.copy_(torch.from_numpy(W))
        self.A.copy_(torch.from_numpy(A))

    def record(self, loss: float, images: dict[str, _Samples]) -> Arrays:
        """Copies of the weights in float64, the loss, and the Moments of h on each set of images."""
        weights = {"W": self.W, "A": self.A}
        arrays: Arrays = {name: w.detach().cpu().double().numpy().copy() for name, w in weights.items()}
        arrays["loss"] = np.array(loss)
        for part, samples in images.items():
            moments = self.moments(samples)
            for name in ("weights", "means", "covariances"):
                arrays[f"{part}.{name}"] = np.asarray(getattr(moments, name))
        return arrays

    def moments(self, samples: _Samples) -> Moments:
        """Moments of h, one entry a fine class, in NumPy: the features never leave their device."""
        accumulator = MomentsAccumulator(samples.num_fine, len(self.W))
        for x, _, fine in samples.blocks:
            accumulator.update(self.hidden(x), fine)
        found = accumulator.compute()
        return Moments(*(part.cpu().numpy() for part in (found.weights, found.means, found.covariances)))


def _recorded_steps(steps: int, record_at: Sequence[int] | NDArray[np.integer] | None) -> list[int]:
    checks.at_least("steps", steps, 0)
    asked = np.unique([0, steps]) if record_at is None else np.asarray(record_at)
    increasing = asked.ndim == 1 and asked.size and (np.diff(asked) > 0).all()
    if not (increasing and np.issubdtype(asked.dtype, np.integer) and asked[0] >= 0 and asked[-1] <= steps):
        raise ValueError(f"record_at must be increasing integers in 0..{steps}, got {asked.tolist()}")
    return [int(step) for step in asked]


def _check_options(activation: str, learning_rate: float, weight_decay: float, dtype: str) -> None:
    checks.one_of("activation", activation, ACTIVATIONS)
    checks.one_of("dtype", dtype, DTYPES)
    checks.at_least("weight_decay", weight_decay, 0)
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be a finite number > 0, got {learning_rate}")


def device_named(name: str) -> torch.device:
    """The device of "cpu", "cuda", or "auto", which takes CUDA when there is one; raises ValueError otherwise."""
    checks.one_of("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device must be cpu or auto on a machine where torch sees no CUDA device, got 'cuda'"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _labels(name: str, value: ArrayLike, x: Array, num_fine: int) -> NDArray[np.int64]:
    """Fine labels (N,), each class often enough to have a covariance: learned now, not after the training."""
    labels = checks.labels(name, value, x, num_fine)
    counts = np.bincount(labels, minlength=num_fine)
    if counts.min() < 2:
        rare = int(counts.argmin())
        raise ValueError(
            f"{name} must hold every class at least twice, got class {rare} {counts[rare]} times"
        )
    return labels
