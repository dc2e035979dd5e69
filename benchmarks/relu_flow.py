"""ReLU flow without noise: the gate-aware integrator against a naive SciPy loop over the seeds, and against the width.

    python -m benchmarks.relu_flow                    # both settings and the widths: minutes, mostly SciPy's
    python -m benchmarks.relu_flow --seeds 8 --naive 2

C = 4 orthonormal inputs, +-1 targets, balanced starts of m = 400 neurons, t = 200, at the same rtol = 1e-6 for both.
The naive loop runs on `--naive` of the seeds, before and after the other, and is scaled to all; times are of the
processor, as a shared machine's clock would count other programs. Errors are against SciPy's RK45 at 1e-11 on the first
seeds.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer
from scipy.integrate import solve_ivp

from finegrain.sims.gates.integrator import GateIntegrator
from finegrain.sims.initial_weights import balanced
from finegrain.sims.setting import Setting
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import signs
from finegrain.theory.tools.arrays import Array

WIDTH, END, RTOL, ATOL = 400, 200.0, 1e-6, 1e-9
SETTINGS = ((0.1, 0.05), (1e-3, 0.0))  # eps, lambda
WIDTHS = (1_000, 10_000, 100_000, 1_000_000)
MIXTURE = Mixture.orthonormal(2, 2)
TARGETS = signs(MIXTURE.coarse_map)


def starts(seeds: int, width: int, eps: float) -> tuple[Array, Array]:
    """W (seeds, m, 4) and A (seeds, 1, m)."""
    pairs = [balanced(width, 4, eps, np.random.default_rng(s)) for s in range(seeds)]
    return np.array([W for W, _ in pairs]), np.array([A for _, A in pairs])


def naive(W: Array, A: Array, decay: float, rtol: float = RTOL, atol: float = ATOL) -> tuple[Array, Array]:
    """One seed by SciPy's RK45 on the field as one would write it."""
    m, t = len(W), TARGETS[:, 0]

    def velocity(_: float, state: Array) -> Array:
        W, a = state[: 4 * m].reshape(m, 4), state[4 * m :]
        h = np.maximum(W, 0)
        pull = (t - a @ h) / 4
        dW = np.outer(a, pull) * (W > 0) - decay * W
        return np.concatenate([dW.ravel(), h @ pull - decay * a])

    start = np.concatenate([W.ravel(), A[0]])
    end = solve_ivp(velocity, (0, END), start, "RK45", t_eval=[END], rtol=rtol, atol=atol).y[:, -1]
    return end[: 4 * m].reshape(m, 4), end[4 * m :][None]


def gates(W: Array, A: Array, decay: float) -> tuple[Array, Array]:
    """All seeds by the gate-aware integrator."""
    run = GateIntegrator(MIXTURE, TARGETS, Setting(weight_decay=decay), RTOL)
    return run(0.0, END, W, A)


def errors(found: tuple[Array, Array], exact: tuple[Array, Array]) -> tuple[float, float, float]:
    """Largest error of a weight, of an output, and the relative error of the separation of classes 0 and 1."""
    state = max(float(np.abs(x - y).max()) for x, y in zip(found, exact, strict=True))
    (f, sep), (f_exact, sep_exact) = (_observed(*pair) for pair in (found, exact))
    return state, float(np.abs(f - f_exact).max()), abs(sep / sep_exact - 1)


def _observed(W: Array, A: Array) -> tuple[Array, float]:
    h = np.maximum(W, 0)
    norms = np.linalg.norm(h[:, :2], axis=0)
    return A @ h, float(np.linalg.norm(h[:, 0] - h[:, 1]) / np.sqrt(norms[0] * norms[1]))


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Processor seconds, and the result."""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def compare(eps: float, decay: float, seeds: int, loop: int, checked: int) -> None:
    """One row: times, their ratio, and both methods' worst errors over the first `checked` seeds."""
    W, A = starts(seeds, WIDTH, eps)
    gates(W[:1], A[:1], decay)  # warm up
    runs = [timed(lambda b=b: naive(W[b], A[b], decay)) for b in range(loop)]
    fast, found = timed(lambda: gates(W, A, decay))
    fast = min(fast, timed(lambda: gates(W, A, decay))[0])
    again = [timed(lambda b=b: naive(W[b], A[b], decay))[0] for b in range(loop)]
    slow = seeds * float(np.mean([min(pair) for pair in zip((s for s, _ in runs), again, strict=True)]))
    print(f"\neps = {eps:g}, lambda = {decay:g}, {seeds} seeds (naive: {loop}, scaled)")
    print(f"  naive {slow:.2f} s, gate-aware {fast:.3f} s: {slow / fast:.0f} times as fast")
    worst = np.zeros((2, 3))
    for b in range(checked):
        exact = naive(W[b], A[b], decay, 1e-11, 1e-14 * eps)
        W_fast, A_fast = found  # type: ignore[misc]
        for row, result in enumerate((runs[b][1], (W_fast[b], A_fast[b]))):
            worst[row] = np.maximum(worst[row], errors(result, exact))  # type: ignore[arg-type]
    for name, row in zip(("naive", "gate-aware"), worst, strict=True):
        print(
            f"  {name}: error of a weight {row[0]:.1e}, an output {row[1]:.1e}, the separation {row[2]:.1e}"
        )


def widths(eps: float, decay: float) -> None:
    """Time of one network against its width, m eps^2 held fixed so that f starts alike."""
    print(f"\none network, eps = {eps:g} sqrt(400/m), lambda = {decay:g}")
    for m in WIDTHS:
        W, A = starts(1, m, eps * np.sqrt(WIDTH / m))
        seconds = min(timed(lambda W=W, A=A: gates(W, A, decay))[0] for _ in range(1 if m > 10_000 else 3))
        print(f"  m = {m:>9,}: {seconds:.3f} s")


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Starts integrated together.")] = 64,
    loop: Annotated[int, typer.Option("--naive", min=1, help="Of these, run by the naive loop.")] = 8,
    checked: Annotated[int, typer.Option(min=0, help="Of these, compared with 1e-11.")] = 2,
) -> None:
    """Print the table of docs/results/performance_flow.md."""
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    )
    for eps, decay in SETTINGS:
        compare(eps, decay, seeds, loop, min(checked, loop))
    widths(*SETTINGS[0])


if __name__ == "__main__":
    typer.run(main)
