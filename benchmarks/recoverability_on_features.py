"""Predicted against observed LDA, nearest-centre and 2-means accuracy in each coarse class, as Markdown.

python benchmarks/recoverability_on_features.py features.safetensors --map mod
python benchmarks/recoverability_on_features.py RUN.safetensors:features.train --labels RUN.safetensors:fine.train --map mod
"""  # noqa: E501

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from finegrain.empirical.readers.coarse_maps import coarse_map
from finegrain.empirical.readers.feature_files import open_shard
from finegrain.empirical.theorems.recoverability import RULES, Row, compare
from finegrain.theory.tools.console import run


def main(
    features: Annotated[str, typer.Argument(help="FILE or FILE:NAME, as finegrain measure reads it.")],
    labels: Annotated[str | None, typer.Option(help="Fine labels 0..C-1, FILE or FILE:NAME.")] = None,
    map_: Annotated[str, typer.Option("--map", help="Coarse map.")] = "mod",
    components: Annotated[list[int], typer.Option(help="R, repeated for several.")] = [1, 2, 4, 8],  # noqa: B006
    axes: Annotated[int, typer.Option(help="Where Gaussians are sought; 0: in all dimensions.")] = 10,
    held_out: Annotated[bool, typer.Option(help="Predict on one half what is counted on the other.")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """One table a rule: the observed accuracy of each coarse class, and the predictions with their errors in points."""
    x, y = (np.concatenate(list(source.blocks(2**16))) for source in open_shard(features, labels))
    coarse = coarse_map(map_, int(y.max()) + 1)
    rows = list(compare(x, y, coarse, components, axes=axes or None, held_out=held_out, seed=seed))
    how = "held out" if held_out else "the same samples"
    print(f"{x.shape[0]} samples in {x.shape[1]} dimensions, seed {seed}, {how}")
    for rule in RULES:
        print(f"\n| {rule} | " + " | ".join(f"R = {R}" for R in components) + " | observed | s.e. |")
        print("| --- " * (len(components) + 3) + "|")
        for k in sorted({row.coarse for row in rows}):
            print(_line(f"coarse class {k}", [r for r in rows if (r.coarse, r.rule) == (k, rule)]))
        for name, worst in (("mean error", np.mean), ("largest error", np.max)):
            errors = [[abs(r.error) for r in rows if (r.rule, r.components) == (rule, R)] for R in components]
            print(f"| {name} | " + " | ".join(f"{100 * worst(e):.1f}" for e in errors) + " | | |")


def _line(name: str, rows: list[Row]) -> str:
    cells = [f"{r.predicted:.3f} ({100 * r.error:+.1f})" for r in rows]
    p, n = rows[0].observed, rows[0].samples
    return f"| {name} | " + " | ".join(cells) + f" | {p:.3f} | {np.sqrt(p * (1 - p) / n):.3f} |"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
