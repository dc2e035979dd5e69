"""Contests: rivals take turns within each round of one run, on one thread, timed by processor time.

A round's ratio sets a rival beside the first one a moment earlier, so that a busy machine slows both; the median over
rounds is what to quote. `pytest benchmarks --benchmark-only` prints them as a Markdown table.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib import metadata

import numpy as np
import pytest
import torch

torch.set_num_threads(1)
LINES: list[str] = []


@pytest.fixture
def contest(benchmark) -> Callable[..., dict[str, float]]:
    """run(name, rivals, rounds) -> median ratio of each rival's time to the first one's."""

    def run(name: str, rivals: dict[str, Callable[[], object]], rounds: int = 9) -> dict[str, float]:
        seconds: dict[str, list[float]] = {rival: [] for rival in rivals}

        def one_round() -> None:
            for rival, work in rivals.items():
                start = time.process_time()
                work()
                seconds[rival].append(time.process_time() - start)

        benchmark.pedantic(one_round, rounds=rounds, warmup_rounds=1)
        times = {rival: np.array(s[1:]) for rival, s in seconds.items()}  # without the warm-up
        first = next(iter(times.values()))
        ratios = {rival: float(np.median(t / first)) for rival, t in times.items()}
        for rival, t in times.items():
            low, high = np.percentile(t / first, [25, 75])
            LINES.append(
                f"| {name} | {rival} | {1e3 * np.median(t):.1f} | {ratios[rival]:.2f} | {low:.2f} to {high:.2f} |"
            )
        benchmark.extra_info.update(ratios)
        return ratios

    return run


def pytest_terminal_summary(terminalreporter) -> None:
    if not LINES:
        return
    write = terminalreporter.write_line
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "torch"))
    write(
        f"\n{platform.machine()}, Python {platform.python_version()}, {versions}; processor time, one thread\n"
    )
    write("| contest | rival | median ms | ratio to the first | quartiles |\n| --- | --- | --- | --- | --- |")
    for line in LINES:
        write(line)
