"""Whose kernels compute: the instruction set of the processor, and what the libraries make of it.

NumPy, SciPy and torch choose their kernels by the processor. Each sums in an order of its own, so one config gives
numbers that agree to rounding between two machines, and to the bit on one of them only.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

# Each a step that some library has kernels of its own for.
INSTRUCTIONS = ("sse4_2", "avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")
# What holds a library to older kernels; `make other-processor` sets them.
LIMITS = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE")
CPUINFO = Path("/proc/cpuinfo")


def processor() -> dict[str, Any]:
    """The processor's instructions, the kernels that torch and BLAS took, and the limits set on them.

    It imports no library: of torch it tells only where the program has loaded it.
    """
    torch = sys.modules.get("torch")
    blas = {
        f"{lib['internal_api']} {lib.get('architecture', '')}".strip()
        for lib in threadpool_info()
        if lib["user_api"] == "blas"
    }
    return {
        "instructions": _instructions(),
        "torch": torch.backends.cpu.get_cpu_capability() if torch else "not loaded",
        "blas": sorted(blas),
        "limits": {name: os.environ[name] for name in LIMITS if name in os.environ},
    }


def in_words(found: dict[str, Any]) -> str:
    """`processor` on one line: "avx2; torch AVX2, openblas Haswell"."""
    limits = [f"{name}={value}" for name, value in found["limits"].items()]
    newest = found["instructions"][-1] if found["instructions"] else "unknown instructions"
    return f"{newest}; " + ", ".join([f"torch {found['torch']}", *found["blas"], *limits])


def _instructions() -> list[str]:
    """Those of INSTRUCTIONS that Linux names among the flags of the first core; none elsewhere."""
    try:
        text = CPUINFO.read_text()
    except OSError:
        return []
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    named = flags[1].split() if flags else []
    return [name for name in INSTRUCTIONS if name in named]
