"""finegrain NAME ...: one command for the four programs, the same as python -m NAME ..."""

from __future__ import annotations

import runpy
import sys

PROGRAMS = {
    "theory": "the ledger of theorems, each with its proof run",
    "sims": "verify the theorems on simulations; sweeps of gradient flow",
    "empirical": "real images with coarse labels: predict, measure, discover, train, recover",
    "paper_figs": "the figures and the report",
}
USAGE = "usage: finegrain PROGRAM ...\n\n" + "".join(
    f"  {name:12}{what}\n" for name, what in PROGRAMS.items()
)


def main() -> None:
    """Run the program named by the first argument; only then is any of it imported."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(USAGE + "\nfinegrain PROGRAM --help says more.")
    elif name in PROGRAMS:
        sys.argv[:2] = [sys.argv[0]]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        print(f"error: PROGRAM must be one of {', '.join(PROGRAMS)}, got {name!r}", file=sys.stderr)
        sys.exit(2)
