"""T22 observed: when a leak opens a closed gate, and how fast separation falls before and after.

Plain RK45 on the bare loss, from full neurons at rest and small neurons beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finegrain.sims import plain
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.theorems import leaky_erosion as law
from finegrain.theory.tools.arrays import Array

RTOL = 1e-10
# Of a small neuron beside the full one: it changes the residual by its square.
SMALL = 1e-5


@dataclass(frozen=True, eq=False)
class Course:
    """One coarse class along training.

    Attributes:
        times: (T,)
        closed: (T,) the least closed coordinate of the small neuron, w_c'
        gap: (T,) phi(w_c) - phi(w_c') of that neuron
        separation: (T,) of subclasses c and c'
    """

    times: Array
    closed: Array
    gap: Array
    separation: Array

    @property
    def opening(self) -> float:
        """When the closed coordinate reaches 0, from six records before, as it has a kink there; NaN if it does not."""
        last = int(np.argmax(self.closed > 0))
        if last < 6:
            return float("nan")
        w, t = self.closed[last - 6 : last], self.times[last - 6 : last]
        return float(np.polyfit(w / np.abs(w).max(), t - t[-1], 5)[-1] + t[-1])


def course(
    subclasses: int, weight_decay: float, slope: float, closed: float, served: int, times: Array
) -> Course:
    """From rest: a full neuron, and one of size SMALL on `served` subclasses, -SMALL * closed on the others."""
    S, C = subclasses, 2 * subclasses
    full = np.sqrt(max(1 - C * weight_decay / np.sqrt(S), 0) / np.sqrt(S)) or 1e-2
    small = np.where(np.arange(S) < served, 1.0, -closed)
    # The closed coordinates farther off open later.
    small[served + 1 :] *= 3
    block = np.array([np.full(S, full), SMALL * small])
    a = np.array([np.sqrt(S) * full, np.sqrt(served) * SMALL])
    W, A = np.kron(np.eye(2), block), np.concatenate([a, -a])[None, :]
    targets = np.repeat([[1.0], [-1.0]], S, axis=0)
    problem = plain.Problem(
        np.eye(C), targets, activation="leaky_relu", slope=slope, weight_decay=weight_decay
    )
    W_t, A_t = plain.flow(problem, [W, A], times, rtol=RTOL)
    w = W_t[:, 1, :S]
    h = np.where(w > 0, w, slope * w)
    sep = [plain.separations(problem, layers)[served - 1, served] for layers in zip(W_t, A_t, strict=True)]
    return Course(times, w[:, served], h[:, served - 1] - h[:, served], np.array(sep))


# S, lambda, alpha, v/u, q: below critical for a neuron on S - 1 and on fewer, and above critical (.354).
CASES = (
    (2, 0.1, 1e-3, 0.5, 1),
    (2, 0.1, 0.05, 0.1, 1),
    (3, 0.08, 1e-2, 0.4, 2),
    (3, 0.08, 1e-2, 0.4, 1),
    (2, 0.5, 1e-2, 0.5, 1),
)


def verify(seed: int) -> list[Comparison]:
    """The time of opening, the gap before and after it, and the late rate."""
    rng, rows = np.random.default_rng([seed, 22]), []
    for S, weight_decay, slope, ratio, q in CASES:
        closed = ratio * float(rng.uniform(0.8, 1.25))
        about = np.log(1 + closed / slope) / (min(weight_decay, 0.5 / np.sqrt(S)) * np.sqrt(q / S))
        times = np.arange(0, 1.5 * about, about / 48.3)
        found = course(S, weight_decay, slope, closed, q, times)
        name = f"plain RK45, S = {S}, q = {q}, lambda = {weight_decay}, slope {slope:g}, v/u = {closed:.3f}"
        start = closed, 1.0, slope, weight_decay
        # a is pulled back by alpha v per closed gate (three times that for the second), r changed by alpha^2.
        order = slope * closed * (2 * (S - q) - 1) ** 2 + slope**2 * S
        reason = "next order in the leak, alpha v/u a closed gate and alpha^2"
        opening = law.predict(*start, S, 2 * S, served=q)
        bound = order / np.log(1 + closed / slope)
        quantity = f"time at which the gate opens, {name}"
        rows.append(Comparison("T22", quantity, opening, found.opening, bound, reason))
        for share in (0.5, 1.4):
            i = int(np.searchsorted(times, share * about))
            gap = law.predict_gap(*start, times[i : i + 1], S, 2 * S, served=q)[0]
            quantity = f"gap {'before' if share < 1 else 'after'} the opening, {name}"
            # After the opening nothing is left out: subclasses are pulled alike, to SMALL^2.
            error = (order, reason) if share < 1 else (3e-7, "RK45's rtol a step, and SMALL^2 e^(2 g t)")
            rows.append(Comparison("T22", quantity, float(gap), float(found.gap[i] / SMALL), *error))
    return rows
