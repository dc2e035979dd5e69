"""The record of whose kernels computed: quick, honest about what it cannot know, and no library loaded for it."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from finegrain.sims import processor as module
from finegrain.sims.processor import in_words, processor
from finegrain.sims.run_folder import environment


def test_it_names_the_kernels_of_torch_and_blas():
    np.eye(2) @ np.eye(2)
    found = processor()
    assert found["torch"] == torch.backends.cpu.get_cpu_capability()
    assert found["blas"] and all(name.split()[0] in ("openblas", "mkl", "blis") for name in found["blas"])
    assert environment()["processor"] == found


def test_limits_are_on_record(monkeypatch):
    for name in module.LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert processor()["limits"] == {}
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert processor()["limits"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert in_words(processor()).endswith(", ONEDNN_MAX_CPU_ISA=AVX2")


CPUS = [
    ("flags\t\t: fpu sse4_2 avx2 avx512f amx_bf16 avx512_bf16\n", "amx_bf16"),
    ("flags\t\t: fpu sse4_2 avx2 xavx512f\n", "avx2"),
    ("Features\t: fp asimd sve2\n", "asimd"),
    ("vendor_id\t: of a kernel that tells nothing\n", "unknown instructions"),
    (None, "unknown instructions"),
]


@pytest.mark.parametrize(("text", "newest"), CPUS)
def test_the_instructions_are_those_of_the_first_core_as_linux_names_them(
    monkeypatch, tmp_path, text, newest
):
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    if text:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{text}\nprocessor\t: 1\n{text}")
    assert in_words(processor()).startswith(f"{newest}; torch ")


def test_it_loads_no_library_and_is_quick():
    code = "import sys; from finegrain.sims.processor import processor; "
    code += "assert processor()['torch'] == 'not loaded' and 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Some milliseconds on one core; a fifth of a second would be felt.
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        processor()
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.2
