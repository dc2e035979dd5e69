"""Many recipes on the command line: one that diverges does not keep the others from their end."""

import json
import re

import pytest
from tiny_images import tiny_images

from finegrain.empirical.commands.recover import recover
from finegrain.empirical.commands.train import train
from finegrain.empirical.readers import data

DIVERGING = """
name = "two"
grid = { learning_rate = [1e30, 0.1] }
[recipe]
network = "mlp"
width = 16
epochs = 1
batch = 32
crop = 1
scale = 1.0
measured = 80
"""
MESSAGE = r"^1 of 2 runs diverged: two_learning_rate-1e\+30$"


def test_a_folder_that_cannot_be_written_is_refused_before_the_images_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *args, **options: pytest.fail("the images were read"))
    file = tmp_path / "two.toml"
    file.write_text(DIVERGING)
    for command in (train, recover):
        with pytest.raises(OSError, match=r"two\.toml is a file; name a folder"):
            command(file, "tiny", out=file)


def test_the_runs_after_one_that_diverges_are_trained_and_recovered(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda *args, **options: tiny_images())
    file = tmp_path / "two.toml"
    file.write_text(DIVERGING)
    with pytest.raises(RuntimeError, match=MESSAGE):
        train(file, "tiny", out=tmp_path, device="cpu")
    told = capsys.readouterr().out
    assert "two_learning_rate-1e+30: the loss stopped being finite in epoch 1" in told
    assert told.count("written: ") == 1
    assert f"written: {tmp_path / 'two_learning_rate-0.1'}" in told
    assert len((tmp_path / "two_learning_rate-0.1" / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(RuntimeError, match=MESSAGE):
        recover(file, "tiny", out=tmp_path, device="cpu", glance=True, json_file=tmp_path / "two.json")
    # The one that diverged has a checkpoint, the untrained network, and goes on from it; the other is finished.
    assert re.findall(r"\S+: .* first", capsys.readouterr().out) == [
        f"{tmp_path / 'two_learning_rate-1e+30'}: 1 of 2 checkpoints, so training goes on first"
    ]
    (run,) = json.loads((tmp_path / "two.json").read_text())["runs"]
    assert run["recipe"]["learning_rate"] == 0.1
