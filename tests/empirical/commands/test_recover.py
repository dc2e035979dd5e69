"""What recover refuses, and the table of what was recovered, as a terminal shows it."""

import io
import math

import pytest
from rich.console import Console
from short_training import SHORT
from tiny_images import tiny_images

from finegrain.empirical.commands.recover import _computed_in, _table, _untrained, recover
from finegrain.empirical.hidden_classes.report import SCORES
from finegrain.empirical.networks.training import train


@pytest.mark.parametrize("error", [float("nan"), 0.0625])
def test_the_table_of_recovered_classes_keeps_every_number_whole_on_80_columns(error):
    way = {"view": "mirrored and shifted", "stages": "last two", "method": "guided-mixture"}
    scores = dict(zip(SCORES, (0.8765, 1.0, 0.5, 0.9876, 0.25), strict=True))
    row = {"map": "mod", "runs": 3, "ratio": 0.978} | way | scores | {f"{name} ±": error for name in scores}
    terminal = Console(width=80, file=io.StringIO())
    terminal.print(_table([row], tuple(way), tuple(scores)))
    shown = terminal.file.getvalue()
    assert "in %" in shown and "the last column is a ratio" in " ".join(shown.split())
    for number in ("87.65", "100.00", "50.00", "98.76", "25.00", "0.978"):
        assert f" {number} " in shown
    assert shown.count("± 6.25 ") == (0 if math.isnan(error) else len(SCORES))
    assert "nan" not in shown.split()
    assert "…" not in shown


def test_images_of_no_glance_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--images says how many a glance takes; add --glance"):
        recover(tmp_path / "recipes.toml", "digits", images=50)


def test_one_line_names_the_precisions_and_the_kernels():
    kernels = {
        "instructions": ["sse4_2", "avx2"],
        "torch": "AVX2",
        "blas": ["openblas Haswell"],
        "limits": {},
    }
    reports = [
        {"precision": {"training": used, "representation": "float32"}, "environment": {"processor": kernels}}
        for used in ("float32", "bf16", "float32")
    ]
    expected = (
        "computed in: training bf16, float32, representation float32; avx2; torch AVX2, openblas Haswell"
    )
    assert _computed_in(reports) == expected


def test_a_run_that_is_trained_first_is_told_of_and_a_finished_one_is_not(tmp_path):
    assert _untrained(SHORT, tmp_path) == f"{tmp_path}: no run there, so it is trained first, 3 epochs"
    train(SHORT, tiny_images(), tmp_path, device="cpu", steps=6)  # an epoch has 5
    assert _untrained(SHORT, tmp_path) == f"{tmp_path}: 2 of 4 checkpoints, so training goes on first"
    train(SHORT, tiny_images(), tmp_path, device="cpu")
    assert _untrained(SHORT, tmp_path) == ""
