"""Gradient flow of the population loss: dW/dt = -dL/dW, dA/dt = -dL/dA.

Integration is SciPy's DOP853 where the field is smooth. ReLU and leaky ReLU on noise-free inputs have kinks: with
squared loss and orthogonal means sims/gates takes them, method "gates"; otherwise SciPy's RK45 does, step by step.
Each recorded time starts a fresh integration from the state alone, so that a resumed run repeats an unbroken one
bit for bit. The error of a step is held below rtol times each weight or, where that is larger, rtol times the
root mean square of its neuron's weights at the last recorded time: a start at scale 1e-10 is resolved as well
as one at scale 1.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from finegrain.sims.gates.integrator import GateIntegrator, applies
from finegrain.sims.population.loss import Field, population_field
from finegrain.sims.run_folder import RunFolder, digest
from finegrain.sims.setting import Setting, SettingKeywords
from finegrain.theory import kinematics
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import balancedness
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array
from finegrain.theory.tools.brief import brief
from finegrain.theory.tools.console import tracked

# (W, A), and with momentum their velocities.
State = tuple[Array, ...]

STATE = ("W", "A", "velocity.W", "velocity.A")
# Of the gradient between two recorded times; ordinary flows take a few thousand.
MAX_EVALUATIONS = 200_000


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A network along training.

    Attributes:
        times: (T,)
        W: (T, m, d) first layer
        A: (T, K, m) second layer
        loss: (T,) population loss, weight decay included
        moments: T Moments of h = phi(W x), one entry a fine class
        info: what the integrator promised and did: method, rtol, evaluations of the gradient (of the series, for the
            method "gates"), checkpoints read back; and balance_drift, the error against T2's conservation law: the
            largest departure of ||w_j||^2 - p ||a_j||^2 from e^{-2 lambda t} times its start, over neurons and times,
            relative to ||w_j||^2 + p ||a_j||^2. Descent drifts by the order of its learning rate; erf has no law and
            no entry.
    """

    times: Array
    W: Array
    A: Array
    loss: Array
    moments: list[Moments]
    info: dict[str, Any] = field(default_factory=dict)

    __repr__ = brief


def population_flow(
    mixture: Mixture,
    W0: ArrayLike,
    A0: ArrayLike,
    *,
    targets: ArrayLike,
    times: ArrayLike,
    rtol: float = 1e-8,
    folder: Path | str | None = None,
    progress: bool = False,
    **setting: Unpack[SettingKeywords],
) -> Trajectory:
    """Gradient flow on the population loss from (W0, A0), recorded at `times`.

    Args:
        mixture: the inputs, dimension d.
        W0, A0: weights at time 0, (m, d) and (K, m), not all zero (zero is a fixed point).
        targets: (C, K), the training target of each fine class.
        times: (T,) increasing, >= 0.
        rtol: error of a step, relative to each weight (see the module).
        folder: a run folder; recorded times already in it are read back, not integrated again.
        progress: show a bar with the time left.
        setting: activation, slope, loss, weight_decay, as in `population_loss`.

    Returns:
        Trajectory with one entry for each of `times`.

    Raises:
        ValueError: shapes that do not fit, times that decrease or are negative, non-finite numbers, all-zero weights.
        RuntimeError: the step size collapsed; the message says where and what helps.
    """
    require_rtol(rtol)
    start = _Start.checked(mixture, W0, A0, targets, Setting(**setting))
    integrator = _integrator(start, rtol)
    config = {"method": integrator.method, "rtol": rtol}
    return _trajectory(start, integrator, checks.real("times", times, ("T",)), config, folder, progress)


def population_descent(
    mixture: Mixture,
    W0: ArrayLike,
    A0: ArrayLike,
    *,
    targets: ArrayLike,
    learning_rate: float,
    momentum: float = 0.0,
    steps: ArrayLike,
    precision: str = "double",
    folder: Path | str | None = None,
    progress: bool = False,
    **setting: Unpack[SettingKeywords],
) -> Trajectory:
    """Gradient descent on the population loss: the flow's explicit Euler scheme, step by step.

    As `population_flow`, with `steps` (T,) whole numbers in place of times. It predicts descent on samples without the
    O(learning_rate) by which descent leaves the flow. With momentum mu in [0, 1) each step is v <- mu v + gradient,
    w <- w - learning_rate v, from v = 0 (Polyak's heavy ball, as in torch); Trajectory.times is
    step * learning_rate/(1 - mu), the time of the flow that it follows. In precision "single" (see `population_loss`)
    wide ReLU networks take several times less; Trajectory.moments are double in both.

    Raises:
        RuntimeError: the loss diverged.
    """
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be a finite number > 0, got {learning_rate}")
    counts = np.asarray(steps)
    if not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(f"steps must be integers, got dtype {counts.dtype}")
    require_times(counts, "steps")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
    start = _Start.checked(mixture, W0, A0, targets, Setting(**setting), precision)
    descent = _Descent(start.loss, learning_rate, momentum)
    config = {"method": "descent", "learning_rate": learning_rate, "momentum": momentum}
    return _trajectory(start, descent, counts * descent.time_step, config, folder, progress)


@dataclass(frozen=True, eq=False)
class _Start:
    """A checked problem and its initial weights."""

    mixture: Mixture
    W: Array
    A: Array
    targets: Array
    setting: Setting
    loss: Field
    config: dict[str, Any]

    @classmethod
    def checked(
        cls,
        mixture: Mixture,
        W0: ArrayLike,
        A0: ArrayLike,
        targets: ArrayLike,
        setting: Setting,
        precision: str = "double",
    ) -> _Start:
        loss = population_field(mixture, targets, setting, precision)
        t = np.asarray(targets, dtype=np.float64)
        W = checks.real("W0", W0, ("m", mixture.dim))
        checks.integer("the width m of W0", len(W), 1)
        A = checks.real("A0", A0, (t.shape[1], W.shape[0]))
        if not (W.any() or A.any()):
            raise ValueError("W0 and A0 must not both be zero: zero is a fixed point of the flow")
        m = mixture.moments
        inputs = digest(m.weights, m.means, m.covariances, mixture.fine_map, mixture.coarse_map, t, W, A)
        config = asdict(setting) | {"inputs": inputs}
        config |= {} if precision == "double" else {"precision": precision}
        return cls(mixture, W, A, t, setting, loss, config)

    def hidden(self, W: Array) -> Moments:
        """Moments of h = phi(W x), one entry a fine class."""
        return hidden(self.mixture, W, self.setting)


def hidden(mixture: Mixture, W: Array, setting: Setting) -> Moments:
    """Moments of h = phi(W x), one entry per fine class."""
    h = kinematics.propagate(mixture.moments, W, setting.activation, slope=setting.slope)
    return h.pool(mixture.fine_map)


def _integrator(start: _Start, rtol: float) -> _Integrator | GateIntegrator:
    """The method that suits the problem (see the module)."""
    if applies(start.mixture, start.setting):
        return GateIntegrator(start.mixture, start.targets, start.setting, rtol)
    smooth = not start.setting.rectified or bool(start.mixture.moments.covariances.any())
    return _Integrator(start.loss, "DOP853" if smooth else "RK45", rtol)


class _Integrator:
    """Advances (W, A) from one recorded time to the next by an adaptive Runge-Kutta method."""

    def __init__(self, loss: Field, method: str, rtol: float) -> None:
        self.loss, self.method, self.rtol, self.evaluations = loss, method, rtol, 0

    def initial(self, W: Array, A: Array) -> State:
        return W, A

    def __call__(self, start: float, end: float, W: Array, A: Array) -> State:
        allowed = self.evaluations + MAX_EVALUATIONS

        def velocity(t: float, state: Array) -> Array:
            self.evaluations += 1
            if self.evaluations > allowed:
                raise RuntimeError(
                    f"gradient flow took more than {MAX_EVALUATIONS} gradients between t = {start} and {end} and is at "
                    f"t = {t:.6g}: its steps have collapsed, as where ReLU's kinks meet inputs without noise in some "
                    f"direction. Raise rtol = {self.rtol}, give the inputs noise, or use population_descent."
                )
            if not _bounded(state):
                raise RuntimeError(
                    f"gradient flow diverged at t = {t:.6g}: lower the scale of W0 and A0 or raise weight_decay"
                )
            _, dW, dA = self.loss(*_unpack(state, W.shape, A.shape))
            return -np.concatenate([dW.ravel(), dA.ravel()])

        solution = solve_ivp(
            velocity,
            (start, end),
            np.concatenate([W.ravel(), A.ravel()]),
            method=self.method,
            t_eval=[end],
            rtol=self.rtol,
            atol=self.rtol * _neuron_scale(W, A),
        )
        if not solution.success:
            reached = solution.t[-1] if solution.t.size else start
            raise RuntimeError(
                f"gradient flow stopped between t = {start} and {end} (last output at {reached}): "
                f"{solution.message} Check that the loss is bounded, or raise rtol = {self.rtol}."
            )
        return _unpack(solution.y[:, -1], W.shape, A.shape)


class _Descent:
    """Advances (W, A), and with momentum their velocities, from one recorded time to the next by gradient steps."""

    def __init__(self, loss: Field, learning_rate: float, momentum: float) -> None:
        self.loss, self.learning_rate, self.momentum, self.evaluations = loss, learning_rate, momentum, 0
        self.time_step = learning_rate / (1 - momentum)

    def initial(self, W: Array, A: Array) -> State:
        return (W, A, np.zeros_like(W), np.zeros_like(A)) if self.momentum else (W, A)

    def __call__(self, start: float, end: float, W: Array, A: Array, *velocity: Array) -> State:
        vW, vA = velocity or (np.zeros_like(W), np.zeros_like(A))
        for _ in range(round((end - start) / self.time_step)):
            if not _bounded(W, A):
                raise RuntimeError(
                    f"gradient descent diverged between t = {start} and {end}: "
                    f"lower learning_rate = {self.learning_rate}"
                )
            _, dW, dA = self.loss(W, A)
            self.evaluations += 1
            vW, vA = self.momentum * vW + dW, self.momentum * vA + dA
            W, A = W - self.learning_rate * vW, A - self.learning_rate * vA
        return (W, A, vW, vA) if velocity else (W, A)


def _trajectory(
    start: _Start,
    advance: _Integrator | _Descent | GateIntegrator,
    times: Array,
    config: dict[str, Any],
    folder: Path | str | None,
    progress: bool,
) -> Trajectory:
    """Advance from time to time, storing each state as it is reached, or reading it back where stored."""
    require_times(times)
    config = config | start.config | {"times": times.tolist()}
    states = [advance.initial(start.W, start.A)]
    names = STATE[: len(states[0])]
    with nullcontext() if folder is None else RunFolder(folder, config) as run:
        stored = 0 if run is None else run.completed
        spans = enumerate(pairwise([0.0, *times.tolist()]))
        for i, (now, end) in tracked(spans, "population flow", total=times.size, show=progress):
            if run is not None and i < stored:
                arrays = run.read(i)
                states.append(tuple(arrays[name] for name in names))
                continue
            states.append(advance(now, end, *states[-1]) if end > now else states[-1])
            if run is not None:
                _store(run, i, end, start, dict(zip(names, states[-1], strict=True)))
    W, A, *_ = (np.array(part) for part in zip(*states[1:], strict=True))
    losses = np.array([start.loss(w, a)[0] for w, a in zip(W, A, strict=True)])
    info = config | {"evaluations": advance.evaluations, "read_back": stored}
    if (p := balancedness.DEGREES.get(start.setting.activation)) is not None:
        decay = start.setting.weight_decay
        info["balance_drift"] = balancedness.drift(start.W, start.A, p, decay, times, W, A)
    return Trajectory(times, W, A, losses, [start.hidden(w) for w in W], info)


def _store(run: RunFolder, index: int, time: float, start: _Start, state: dict[str, Array]) -> None:
    h = start.hidden(state["W"])
    moments = {"weights": h.weights, "means": h.means, "covariances": h.covariances}
    run.write(index, state | moments, {"time": time, "loss": start.loss(state["W"], state["A"])[0]})


def _bounded(*weights: Array) -> bool:
    """Finite, and so small that products of four of them are."""
    return all(bool(np.all(np.abs(w) < 1e50)) for w in weights)


def require_rtol(rtol: float) -> None:
    """Require a tolerance that double precision and the methods can keep."""
    if not 1e-13 <= rtol <= 1e-2:
        raise ValueError(f"rtol must lie in [1e-13, 1e-2], got {rtol}")


def require_times(times: Array, name: str = "times") -> None:
    """Require recorded times (or steps) >= 0, increasing."""
    if times.ndim != 1 or times.size == 0 or times[0] < 0 or (np.diff(times) <= 0).any():
        raise ValueError(f"{name} must be non-empty, >= 0 and increasing, got {times.tolist()}")


def _neuron_scale(W: Array, A: Array) -> Array:
    """Root mean square of each neuron's weights, laid out like the state; never below the smallest normal number."""
    squares = (np.sum(W**2, axis=1) + np.sum(A**2, axis=0)) / (W.shape[1] + A.shape[0])
    scale = np.maximum(np.sqrt(squares), np.finfo(float).tiny)
    return np.concatenate([np.repeat(scale, W.shape[1]), np.tile(scale, A.shape[0])])


def _unpack(state: Array, W_shape: tuple[int, ...], A_shape: tuple[int, ...]) -> tuple[Array, Array]:
    split = W_shape[0] * W_shape[1]
    return state[:split].reshape(W_shape), state[split:].reshape(A_shape)
