"""Work shared by the processes of torchrun: one group a program, whatever it does, and results as of one process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from short_training import SHORT, weights
from tiny_images import tiny_images

from finegrain.empirical.measurement.measure import measure
from finegrain.empirical.networks.training import train

ROOT = Path(__file__).parents[2]
SHARDS = ["0.npz", "1.npz", "2.npz"]
COMMAND = ["finegrain", "measure", *SHARDS, "--coarse-map", "0,0,1,1", "--groups", "5", "--out", "out"]
# Both in one program: starting two interpreters takes longer than what they do.
PROGRAM = f"""
import io, json, os, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
import torch.distributed as dist
from short_training import SHORT
from tiny_images import tiny_images
from finegrain.empirical.measurement.measure import measure
from finegrain.empirical.networks.training import train

def measured():
    return measure({SHARDS}, groups=1, progress=True).moments.means.tolist()

def command():
    said, sys.argv = io.StringIO(), {COMMAND}
    with redirect_stdout(said), redirect_stderr(said):
        try:
            runpy.run_module("finegrain", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return [end.code or 0, said.getvalue()]
    return [0, said.getvalue()]

values, group = [measured()], dist.group.WORLD
for seed in range(2):
    train(replace(SHORT, seed=seed), tiny_images(), f"two{{seed}}", device="cpu", progress=True)
values.append(measured())
report = {{"values": values, "processes": dist.get_world_size(), "command": command()}}
report["one group"] = dist.group.WORLD is group
open(f"{{os.environ['RANK']}}.json", "w").write(json.dumps(report))
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The folder in which two processes have run PROGRAM, and what each of them found."""
    folder = tmp_path_factory.mktemp("shared")
    rng = np.random.default_rng(0)
    for name in SHARDS:
        y = np.arange(40) % 4
        x = rng.standard_normal((40, 5)) + 3 * np.eye(4, 5)[y]
        np.savez(folder / name, features=x.astype(np.float32 if name == "1.npz" else np.float64), labels=y)
    (folder / "script.py").write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'helpers'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--redirects", "2", "--log-dir", "log", "script.py"]  # standard error, each to a file
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_measure_and_train_in_one_program_as_one_does(shared, tmp_path):
    """Without batch statistics the mean gradient over two halves is that over the batch, up to float32 rounding."""
    folder, reports = shared
    alone = measure([folder / name for name in SHARDS], groups=1).moments.means
    for rank, found in enumerate(reports):
        np.testing.assert_allclose(found["values"], [alone, alone], rtol=1e-9)
        assert found["processes"] == 2
        assert found["one group"]
        (errors,) = (folder / "log").glob(f"*/*/{rank}/stderr.log")
        assert ("reading features" in errors.read_text()) == (rank == 0)  # the first alone draws bars
    for seed in range(2):
        recipe = replace(SHORT, seed=seed)
        two = train(recipe, tiny_images(), folder / f"two{seed}", device="cpu")  # finished: read back
        one = train(recipe, tiny_images(), tmp_path / f"one{seed}", device="cpu")
        for name, value in weights(one).items():
            np.testing.assert_allclose(weights(two)[name], value, atol=1e-5, rtol=0, err_msg=name)


def test_two_processes_of_the_program_measure_what_one_does(shared):
    """Three shards, two of them the first process's, and a table and files that the first alone writes."""
    folder, reports = shared
    (status, said), silent = (found["command"] for found in reports)
    assert status == 0, said
    assert "written: out/measure.json" in said
    assert silent == [0, ""]
    report = json.loads((folder / "out" / "measure.json").read_text())
    expected = measure([folder / name for name in SHARDS], coarse_map=[0, 0, 1, 1], groups=5)
    assert sum(c["samples"] for c in report["classes"]) == 120
    # The first process has read float64 alone; the shard in float32 is the other's.
    assert report["precision"] == expected.precision == {"features": "float32, float64", "sums": "float64"}
    for name, estimate in expected.scalars.items():
        value = float(estimate.value)
        assert report["scalars"][name]["value"] == pytest.approx(value, rel=1e-9, abs=1e-12), name
        assert report["scalars"][name]["low"] is not None
    names = {p.name for p in (folder / "out").iterdir()}
    assert names == {".lock", "measure.json", "measure.pdf", "measure.png"}
