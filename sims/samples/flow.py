"""Training on finite samples: gradient flow, gradient descent and SGD of many two-layer networks at once, in torch.

The counterpart of `population_flow` and `population_descent` for N samples. Networks of any width, seed and start
train side by side in one array (finegrain.sims.samples.loss), on the same samples or each on its own.

Flow takes Runge-Kutta steps of fixed size: ReLU on N samples has N kinks a neuron, at which an adaptive solver
crawls, while a fixed step crosses each with an error of order step/N. What the step costs is estimated: the same flow
at twice the step runs beside it, and `info["step_error"]` is the distance that has come between them. That is some 15
times the error where phi is smooth (order four), and of the error's own size where kinks were crossed (order one).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from finegrain.sims.population.flow import Trajectory, require_times
from finegrain.sims.run_folder import RunFolder, digest
from finegrain.sims.samples.loss import DTYPES, SampleLoss, Samples, device_named
from finegrain.sims.samples.schemes import Descent, Rule, RungeKutta, Scheme, require_finite
from finegrain.sims.setting import Setting, SettingKeywords
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import balancedness
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, Arrays
from finegrain.theory.tools.brief import brief
from finegrain.theory.tools.console import tracked

PARTS = ("weights", "means", "covariances")


@dataclass(frozen=True, eq=False)
class SampledTrajectory:
    """B networks along training; `trajectory[b]` is network b alone, unpadded, as a `Trajectory`.

    Attributes:
        times: (T,)
        widths: (B,) neurons of each network; m is the largest
        W: (T, B, m, d) first layers, padded with zeros
        A: (T, B, K, m) second layers, padded with zeros
        loss: (T, B) on the training samples, weight decay included
        moments: T lists of B Moments of h = phi(W x) over the training samples, one entry a fine class
        test_loss, test_moments: the same over the test samples; (T, 0) and empty where none were given
        info: method, device, dtype, read_back; of a flow step_error, (T, B), relative to the weights' norm; and
            balance_drift, (B,), as in `Trajectory`: how far T2's law is missed
    """

    times: Array
    widths: NDArray[np.int64]
    W: Array
    A: Array
    loss: Array
    moments: list[list[Moments]]
    test_loss: Array
    test_moments: list[list[Moments]]
    info: dict[str, Any] = field(default_factory=dict)

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.widths)

    def __getitem__(self, b: int) -> Trajectory:
        m, moments = self.widths[b], [at_time[b] for at_time in self.moments]
        return Trajectory(
            self.times, self.W[:, b, :m], self.A[:, b, :, :m], self.loss[:, b], moments, self.info
        )


def sampled_flow(
    x: ArrayLike,
    fine: ArrayLike,
    W0: Sequence[ArrayLike],
    A0: Sequence[ArrayLike],
    *,
    targets: ArrayLike,
    times: ArrayLike,
    step: float,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    dtype: str = "float64",
    device: str = "cpu",
    folder: Path | str | None = None,
    progress: bool = False,
    **setting: Unpack[SettingKeywords],
) -> SampledTrajectory:
    """Gradient flow on the samples' loss from each (W0[b], A0[b]), by Runge-Kutta steps of fixed size.

    Args:
        x, fine: inputs (N, d) and fine labels (N,) that all networks share; or (B, N, d) and (B, N), each its own.
        W0, A0: B starts, (m_b, d) and (K, m_b); widths may differ.
        targets: (C, K), the training target of each fine class.
        times: (T,) increasing, >= 0.
        step: > 0, the longest step; stable below 2.8 over the loss's largest curvature.
        test: further inputs and fine labels, such as fresh samples of the population, measured at the same times.
        dtype: float64 or float32, of the training; Moments are summed in float64 either way.
        device: cpu, cuda, or auto, which takes CUDA when there is one.
        folder: a run folder; recorded times already in it are read back, to the same bits.
        progress: show a bar with the time left.
        setting: activation, slope, loss, weight_decay, as in `population_loss`, in any combination.

    Raises:
        ValueError: shapes that do not fit, labels outside 0..C-1, a class of fewer than 2 samples, numbers that are
            not finite, an option out of its range.
        RuntimeError: weights stopped being finite; the message names the networks and the time.
    """
    checks.positive("step", step)
    marks = checks.real("times", times, ("T",))
    require_times(marks)
    problem = _Problem.checked(x, fine, W0, A0, targets, Setting(**setting), test, dtype, device)
    scheme = RungeKutta(problem.loss, problem.train, *problem.starts, step)
    config = {"method": "RK4", "step": step, "times": marks.tolist()}
    return _trajectory(problem, scheme, marks.tolist(), marks, config, folder, progress)


def sampled_descent(
    x: ArrayLike,
    fine: ArrayLike,
    W0: Sequence[ArrayLike],
    A0: Sequence[ArrayLike],
    *,
    targets: ArrayLike,
    learning_rate: float,
    steps: ArrayLike,
    batch_size: int | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    seeds: Sequence[int] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    dtype: str = "float64",
    device: str = "cpu",
    folder: Path | str | None = None,
    progress: bool = False,
    **setting: Unpack[SettingKeywords],
) -> SampledTrajectory:
    """Gradient descent, or SGD, on the samples' loss: torch.optim.SGD's update, for all networks at once.

    As `sampled_flow`, with

    Args:
        learning_rate: > 0.
        steps: (T,) whole numbers, increasing, >= 0, at which to record. Trajectory.times is
            steps * learning_rate/(1 - momentum), the time of the flow that descent follows.
        batch_size: samples a step, in 1..N; by default all. An epoch takes each sample once, in an order of its own,
            and leaves out a last batch that would be smaller.
        momentum: in [0, 1): v <- momentum v + gradient, and the step is along v.
        nesterov: the step is along gradient + momentum v.
        seeds: (B,) whole numbers >= 0, of the order of each network's samples; by default 0..B-1. What a network
            becomes depends on its own seed alone.
    """
    checks.positive("learning_rate", learning_rate)
    counts = _recorded_steps(steps)
    problem = _Problem.checked(x, fine, W0, A0, targets, Setting(**setting), test, dtype, device)
    rule = Rule(learning_rate, batch_size, momentum, nesterov, _seeds(seeds, len(problem.widths)))
    rule.check(problem.train.count)
    scheme = Descent(problem.loss, problem.train, *problem.starts, rule)
    config = {"method": "descent", "steps": counts} | vars(rule)
    times = np.array(counts) * learning_rate / (1 - momentum)
    return _trajectory(problem, scheme, counts, times, config, folder, progress)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Checked samples, and the starts W (B, m, d) and A (B, K, m) padded with zeros."""

    train: Samples
    test: Samples | None
    starts: tuple[torch.Tensor, torch.Tensor]
    widths: tuple[int, ...]
    targets: Array
    setting: Setting
    loss: SampleLoss
    config: dict[str, Any]

    @classmethod
    def checked(
        cls,
        x: ArrayLike,
        fine: ArrayLike,
        W0: Sequence[ArrayLike],
        A0: Sequence[ArrayLike],
        targets: ArrayLike,
        setting: Setting,
        test: tuple[ArrayLike, ArrayLike] | None,
        dtype: str,
        device: str,
    ) -> _Problem:
        checks.one_of("dtype", dtype, DTYPES)
        where: dict[str, Any] = {"dtype": DTYPES[dtype], "device": device_named(device)}
        t = checks.real("targets", targets, ("C", "K"))
        setting.check_targets(t)
        W, A = _starts(W0, A0, t.shape[1])
        B, K, m, d = len(W), t.shape[1], max(map(len, W)), W[0].shape[1]
        W_padded, A_padded = np.zeros((B, m, d)), np.zeros((B, K, m))
        for b, (w, a) in enumerate(zip(W, A, strict=True)):
            W_padded[b, : len(w)], A_padded[b, :, : len(w)] = w, a
        train = Samples.checked("", x, fine, t, B, d, where)
        further = None if test is None else Samples.checked("test ", *test, t, B, d, where)
        inputs = digest(t, *W, *A, *(np.asarray(part) for part in (x, fine, *(test or ()))))
        config = asdict(setting) | {"inputs": inputs, "dtype": dtype, "device": where["device"].type}
        starts = torch.tensor(W_padded, **where), torch.tensor(A_padded, **where)
        return cls(train, further, starts, tuple(map(len, W)), t, setting, SampleLoss(setting), config)

    @property
    def parts(self) -> dict[str, Samples]:
        """The samples to measure on."""
        return {"train": self.train} | ({} if self.test is None else {"test": self.test})


def _trajectory(
    problem: _Problem,
    scheme: Scheme,
    marks: Sequence[float],
    times: Array,
    config: dict[str, Any],
    folder: Path | str | None,
    progress: bool,
) -> SampledTrajectory:
    """Advance from mark to mark, storing each record as it is reached, or reading it back where stored."""
    config = config | problem.config
    spans = list(pairwise([0, *marks]))
    with nullcontext() if folder is None else RunFolder(folder, config) as run:
        records = [] if run is None else [run.read(i) for i in range(run.completed)]
        stored = len(records)
        if records:
            like = scheme.state["W"]
            scheme.state = {n: torch.tensor(records[-1][n]).to(like) for n in scheme.state}  # copies

        def work() -> Iterator[None]:
            for i, (start, end) in enumerate(spans[stored:], stored):
                yield from scheme.advance(start, end)
                records.append(_record(problem, scheme))
                if run is not None:
                    run.write(
                        i, records[-1], {"time": float(times[i]), "loss": records[-1]["train.loss"].mean()}
                    )

        total = sum(scheme.count(*span) for span in spans[stored:])
        for _ in tracked(work(), "training", total=total, show=progress):
            pass
    return _assembled(problem, times, records, config | {"read_back": stored})


def _record(problem: _Problem, scheme: Scheme) -> Arrays:
    """Copies of the state in float64, which holds float32 exactly, and what is measured of it."""
    W, A = scheme.state["W"], scheme.state["A"]
    measured = scheme.state | scheme.measures()
    for part, samples in problem.parts.items():
        measured[f"{part}.loss"] = problem.loss(W, A, samples)[0]
    require_finite(measured["train.loss"], "loss", "a recorded time", "lower the step or the learning rate")
    arrays: Arrays = {name: value.cpu().double().numpy().copy() for name, value in measured.items()}
    for part, samples in problem.parts.items():
        found = problem.loss.moments(W, problem.widths, samples, len(problem.targets))
        arrays |= {f"{part}.{name}": value for name, value in found.items()}
    return arrays


def _assembled(
    problem: _Problem, times: Array, records: list[Arrays], info: dict[str, Any]
) -> SampledTrajectory:
    def column(name: str) -> Array:
        return np.array([record[name] for record in records])

    def moments(part: str) -> list[list[Moments]]:
        return [[_moments(record, part, b, m) for b, m in enumerate(problem.widths)] for record in records]

    tested = problem.test is not None
    if "step_error" in records[0]:
        info["step_error"] = column("step_error")
    W, A = column("W"), column("A")
    if (p := balancedness.DEGREES.get(problem.setting.activation)) is not None:
        starts = zip(*(part.cpu().double().numpy() for part in problem.starts), strict=True)
        info["balance_drift"] = [
            balancedness.drift(W0, A0, p, problem.setting.weight_decay, times, W[:, b], A[:, b])
            for b, (W0, A0) in enumerate(starts)
        ]
    return SampledTrajectory(
        times,
        np.array(problem.widths),
        W,
        A,
        column("train.loss"),
        moments("train"),
        column("test.loss") if tested else np.empty((len(times), 0)),
        moments("test") if tested else [],
        info,
    )


def _moments(record: Arrays, part: str, b: int, width: int) -> Moments:
    """The Moments of network b, without its padding."""
    weights, means, covariances = (record[f"{part}.{name}"][b] for name in PARTS)
    return Moments(weights, means[:, :width], covariances[:, :width, :width])


def _starts(
    W0: Sequence[ArrayLike], A0: Sequence[ArrayLike], outputs: int
) -> tuple[list[Array], list[Array]]:
    if len(W0) == 0 or len(W0) != len(A0):
        raise ValueError(
            f"W0 and A0 must hold one array a network, at least one; got {len(W0)} and {len(A0)}"
        )
    W = [checks.real(f"W0[{b}]", w, ("m", "d" if b == 0 else np.shape(W0[0])[1])) for b, w in enumerate(W0)]
    for b, w in enumerate(W):
        if 0 in w.shape:
            raise ValueError(f"W0[{b}] must have m >= 1 neurons and d >= 1 inputs, got shape {w.shape}")
    return W, [checks.real(f"A0[{b}]", a, (outputs, len(W[b]))) for b, a in enumerate(A0)]


def _recorded_steps(steps: ArrayLike) -> list[int]:
    counts = np.asarray(steps)
    increasing = counts.ndim == 1 and counts.size and (np.diff(counts) > 0).all()
    if not (increasing and np.issubdtype(counts.dtype, np.integer) and counts[0] >= 0):
        raise ValueError(f"steps must be increasing integers >= 0, got {counts.tolist()}")
    return [int(count) for count in counts]


def _seeds(seeds: Sequence[int] | None, networks: int) -> tuple[int, ...]:
    chosen = tuple(range(networks)) if seeds is None else tuple(seeds)
    if len(chosen) != networks:
        raise ValueError(f"seeds must hold one number a network, {networks} in all, got {len(chosen)}")
    for b, seed in enumerate(chosen):
        checks.integer(f"seeds[{b}]", seed, 0)
    return tuple(int(seed) for seed in chosen)
