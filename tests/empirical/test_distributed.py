"""Work shared by the processes of torchrun: one group a program, whatever it does, and results as of one process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tiny_images import tiny_images

from finegrain.empirical.measurement.measure import measure
from finegrain.empirical.networks.recipe import Recipe
from finegrain.empirical.networks.training import train

ROOT = Path(__file__).parents[2]
SHARDS = ["0.npz", "1.npz", "2.npz"]
DATA = tiny_images()
SHORT = Recipe(network="mlp", width=16, epochs=3, batch=32, learning_rate=0.1, crop=1, scale=1.0, measured=80)
PROGRAM = """
import json, os
import torch.distributed as dist
from test_distributed import DATA, SHARDS, SHORT, measure, replace, train

def measured():
    return measure(SHARDS, groups=1, progress=True).moments.means.tolist()

values, group = [measured()], dist.group.WORLD
for seed in range(2):
    train(replace(SHORT, seed=seed), DATA, f"two{seed}", device="cpu", progress=True)
values.append(measured())
report = {"values": values, "processes": dist.get_world_size(), "one group": dist.group.WORLD is group}
open(f"{os.environ['RANK']}.json", "w").write(json.dumps(report))
"""


def weights(trained):
    return {name: t.numpy() for name, t in trained.network.state_dict().items()}


def test_two_processes_measure_and_train_in_one_program_as_one_does(tmp_path):
    """Without batch statistics the mean gradient over two halves is that over the batch, up to float32 rounding."""
    rng = np.random.default_rng(0)
    for name in SHARDS:
        np.savez(tmp_path / name, features=rng.standard_normal((40, 3)), labels=np.arange(40) % 4)
    (tmp_path / "script.py").write_text(PROGRAM)
    folders = f"{ROOT}:{Path(__file__).parent}:{ROOT / 'tests' / 'helpers'}"
    environment = os.environ | {"PYTHONPATH": folders, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--redirects", "2", "--log-dir", "log", "script.py"]  # standard error, each to a file
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    alone = measure([tmp_path / name for name in SHARDS], groups=1).moments.means
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        np.testing.assert_allclose(found["values"], [alone, alone], rtol=1e-9)
        assert found["processes"] == 2
        assert found["one group"]
        (errors,) = (tmp_path / "log").glob(f"*/*/{rank}/stderr.log")
        assert ("reading features" in errors.read_text()) == (rank == 0)  # the first alone draws bars
    for seed in range(2):
        recipe = replace(SHORT, seed=seed)
        two = train(recipe, DATA, tmp_path / f"two{seed}", device="cpu")  # finished: read back
        one = train(recipe, DATA, tmp_path / f"one{seed}", device="cpu")
        for name, value in weights(one).items():
            np.testing.assert_allclose(weights(two)[name], value, atol=1e-5, rtol=0, err_msg=name)
