"""One look for every figure: a column's width, a colour-blind safe palette (Okabe & Ito 2008), PDF and PNG.

Predictions are lines and observations are markers, in every figure of the package.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

from finegrain.theory.tools.console import clean
from finegrain.theory.tools.files import inside, writable_folder, write_atomic

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
COLUMN, PAGE = 3.3, 6.75  # widths in inches of one column and of both, as in ICML's style

RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "savefig.dpi": 300,
}

# In each PDF it would warn of the dates inside matplotlib's own font.
logging.getLogger("fontTools.ttLib.tables._h_e_a_d").setLevel(logging.ERROR)


def literal(name: object) -> str:
    """A name as matplotlib shall write it: no mathematics between dollars, no control characters."""
    return clean(name).replace("$", r"\$")


@contextmanager
def paper_style() -> Iterator[None]:
    """Figures made inside have the package's look; settings outside are left alone."""
    with matplotlib.rc_context(RC):
        yield


def save(figure: Figure, folder: Path | str, name: str) -> list[Path]:
    """Write folder/name.pdf and folder/name.png, each whole or not at all; returns their paths.

    Raises:
        ValueError: a name with separators.
        OSError: the folder cannot be written.
    """
    target = writable_folder(folder)
    inside(target, name)
    paths = []
    for suffix in ("pdf", "png"):
        buffer = BytesIO()
        with paper_style(), warnings.catch_warnings():
            # Of letters that its font lacks: a name in another script shows boxes, and the files hold the name.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            # No dates inside: the same numbers give the same file.
            metadata = {"CreationDate": None} if suffix == "pdf" else {}
            figure.savefig(buffer, format=suffix, metadata=metadata)
        paths.append(target / f"{name}.{suffix}")
        write_atomic(paths[-1], buffer.getvalue())
    return paths
