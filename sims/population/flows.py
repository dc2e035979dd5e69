"""Population flows of one problem from many starts: the seeds of a sweep, integrated together.

Where sims/gates applies (ReLU or leaky ReLU, squared loss, orthogonal inputs without noise) all starts share the NumPy
calls, every one with its own steps, and 64 of them cost little more than a few. Elsewhere they are run one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from finegrain.sims.gates.integrator import GateIntegrator, applies
from finegrain.sims.population.flow import (
    Trajectory,
    hidden,
    population_flow,
    require_rtol,
    require_times,
)
from finegrain.sims.population.loss import population_field
from finegrain.sims.setting import Setting, SettingKeywords
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import balancedness
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array
from finegrain.theory.tools.brief import brief


@dataclass(frozen=True, eq=False)
class Flows:
    """B networks along training; `flows[b]` is the Trajectory of one, with its Moments.

    Attributes:
        times: (T,)
        W: (B, T, m, d) first layers
        A: (B, T, K, m) second layers
        loss: (B, T) population losses, weight decay included
        info: for each network, as in Trajectory; with method "gates", `evaluations` counts those of all together
        hidden: W (m, d) -> Moments of h
    """

    times: Array
    W: Array
    A: Array
    loss: Array
    info: list[dict[str, Any]]
    hidden: Callable[[Array], Moments]

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.W)

    def __getitem__(self, b: int) -> Trajectory:
        # Made here: m x m covariances of all networks would fill the memory.
        moments = [self.hidden(W) for W in self.W[b]]
        return Trajectory(self.times, self.W[b], self.A[b], self.loss[b], moments, self.info[b])


def population_flows(
    mixture: Mixture,
    W0: ArrayLike,
    A0: ArrayLike,
    *,
    targets: ArrayLike,
    times: ArrayLike,
    rtol: float = 1e-8,
    **keywords: Unpack[SettingKeywords],
) -> Flows:
    """Gradient flow on the population loss from B starts W0 (B, m, d) and A0 (B, K, m).

    The arguments are those of `population_flow`; the errors too.
    """
    setting, t = Setting(**keywords), checks.real("times", times, ("T",))
    goal = checks.real("targets", targets, (mixture.num_fine, "K"))
    W = checks.real("W0", W0, ("B", "m", mixture.dim))
    A = checks.real("A0", A0, (len(W), goal.shape[1], W.shape[1]))
    field = population_field(mixture, goal, setting)
    require_times(t)
    require_rtol(rtol)
    moments = partial(hidden, mixture, setting=setting)
    if not applies(mixture, setting):
        one = [
            population_flow(mixture, w, a, targets=goal, times=t, rtol=rtol, **keywords)
            for w, a in zip(W, A, strict=True)
        ]
        found = [np.array([getattr(f, name) for f in one]) for name in ("W", "A", "loss")]
        return Flows(t, found[0], found[1], found[2], [f.info for f in one], moments)
    integrator = GateIntegrator(mixture, goal, setting, rtol)
    states = [(W, A)]
    for now, end in pairwise([0.0, *t.tolist()]):
        states.append(integrator(now, end, *states[-1]) if end > now else states[-1])
    W_all, A_all = (np.stack(part, axis=1) for part in zip(*states[1:], strict=True))
    losses = [[field(w, a)[0] for w, a in zip(*run, strict=True)] for run in zip(W_all, A_all, strict=True)]
    shared = asdict(setting) | {"method": "gates", "rtol": rtol, "evaluations": integrator.evaluations}
    info = [
        shared | {"balance_drift": balancedness.drift(w0, a0, 1, setting.weight_decay, t, w, a)}
        for w0, a0, w, a in zip(W, A, W_all, A_all, strict=True)
    ]
    return Flows(t, W_all, A_all, np.array(losses), info, moments)
