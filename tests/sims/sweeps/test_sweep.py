"""Sweeps: what they compute, results that a kill cannot lose, errors that name what is kept."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from importlib import import_module
from itertools import product

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from programs import ROOT, program
from quick_experiment import GRID, QUICK

from finegrain.sims import run_folder
from finegrain.sims.sweeps.points import Point, read_points
from finegrain.sims.sweeps.sweep import finish, finished, read_table, sweep
from finegrain.sims.theorems import specialisation

# The module, whose name its own function takes above.
sweep_module = import_module("finegrain.sims.sweeps.sweep")


# What a sweep computes


def test_a_row_is_the_flow_of_its_settings(tmp_path):
    """The same flow by another road, finegrain.sims.theorems.specialisation, to the bit."""
    eps, S = 1e-2, 2
    end = 2 * S / np.sqrt(S) * (np.log(1 / eps) + 12)
    (row,) = sweep({"times": [end], "S": S, "eps": eps, "rtol": 1e-6, "seed": 3}, tmp_path)
    assert row["separation"] == specialisation.final_separation(S, 40, eps, 3)
    assert (row["subclasses"], row["dim"], row["width"], row["time"]) == (S, 4, 40, end)


@pytest.mark.parametrize("coarse", [2, 3])
@pytest.mark.parametrize("loss", ["squared", "logistic", "cross-entropy"])
def test_every_loss_and_number_of_classes_trains(coarse, loss):
    point = Point(
        times=[0, 20], coarse=coarse, loss=loss, start="gaussian", eps=0.5, activation="erf", rtol=1e-4
    )
    first, last = point.rows()
    assert last["population_loss"] < first["population_loss"]


def test_processes_and_their_number_change_no_byte_of_the_table(tmp_path):
    first = sweep(GRID, tmp_path / "one", jobs=1)
    second = sweep(GRID, tmp_path / "two", jobs=2)
    get_reusable_executor().shutdown(wait=True)
    table = (tmp_path / "one" / "sweep.csv").read_bytes()
    assert table == (tmp_path / "two" / "sweep.csv").read_bytes()
    assert len(first) == len(second) == 8
    assert [(r["eps"], r["seed"], r["time"]) for r in first] == list(product([0.1, 0.01], [0, 1], [0.5, 1.0]))


def test_the_table_is_read_back_as_it_was_returned(tmp_path):
    """Also where one point lacks an observable of another: S = 1 has no pairs inside a coarse class."""
    table = sweep(QUICK | {"grid": {"S": [1, 2]}}, tmp_path)
    np.testing.assert_equal(read_table(tmp_path / "sweep.csv"), table)  # NaN equals NaN here
    assert np.isnan(table[0]["separation"])
    assert table[2]["separation"] > 0
    (tmp_path / "short.csv").write_text("run,time\na,1\n")
    with pytest.raises(
        ValueError, match=r"short.csv must be a sweep's table, whole, with columns activation"
    ):
        read_table(tmp_path / "short.csv")


# What a kill leaves


def test_a_sweep_killed_in_the_middle_resumes_to_the_same_bytes(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("times = [20, 40, 60]\nrtol = 1e-8\n[grid]\neps = [1e-2, 1e-3]\nseed = [0, 1, 2]\n")
    sweep(config, tmp_path / "whole")
    command = [
        sys.executable,
        "-m",
        "finegrain",
        "sims",
        "sweep",
        config,
        "--jobs",
        "1",
        "--out",
        tmp_path / "killed",
    ]
    with subprocess.Popen(
        command, env=dict(os.environ) | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    ) as process:
        while len(list((tmp_path / "killed").glob("runs/*/rows.json"))) < 2 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "killed").glob("runs/*/rows.json")}
    assert 2 <= len(before) < 6
    assert not (tmp_path / "killed" / "sweep.csv").exists()
    sweep(config, tmp_path / "killed")
    assert (tmp_path / "killed" / "sweep.csv").read_bytes() == (tmp_path / "whole" / "sweep.csv").read_bytes()
    assert before == {p: p.stat().st_mtime_ns for p in before}, "a finished point was computed again"


def test_a_point_left_between_two_times_resumes_to_the_same_bytes(tmp_path):
    (point,) = read_points(QUICK)
    finish(point, tmp_path)
    rows = tmp_path / point.name / "rows.json"
    whole = rows.read_bytes()
    rows.unlink()
    (tmp_path / point.name / "checkpoints" / "00001.safetensors").unlink()
    finish(point, tmp_path)
    assert rows.read_bytes() == whole


def test_finished_points_are_read_back_and_not_computed_again(tmp_path, monkeypatch):
    table = sweep(GRID, tmp_path)

    def computed(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(Point, "rows", computed)
    assert sweep(GRID, tmp_path) == table
    part = sweep(QUICK | {"grid": {"eps": [0.01], "seed": [1]}}, tmp_path)
    assert part == table[-2:]


def test_a_point_that_another_process_computes_is_waited_for_and_read(tmp_path):
    (point,) = read_points(QUICK)
    folder = tmp_path / point.name
    folder.mkdir()
    with open(folder / ".point.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=finish, args=(point, tmp_path))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        theirs = {"rows": [{"theirs": 1}], "sha256": sweep_module._digest(point, [{"theirs": 1}])}
        (folder / "rows.json").write_text(json.dumps(theirs))
    thread.join(30)
    assert finished(point, tmp_path) == [{"theirs": 1}]


def finished_sweep(folder):
    sweep(QUICK, folder)
    (rows,) = folder.glob("runs/*/rows.json")
    return rows


@pytest.mark.parametrize("change", [
    lambda text: re.sub(r'("population_loss": 0\.\d)(\d)', lambda m: m[1] + str(9 - int(m[2])), text, count=1),
    lambda text: text.replace('"eps": ', '"eps": 1', 1),
    lambda text: text.replace('"rows": [', '"rows": [{"run": "x"},', 1),
    lambda text: json.dumps(json.loads(text)["rows"]),
    lambda text: json.dumps(json.loads(text) | {"sha256": "0" * 64}),
    lambda text: json.dumps({"rows": json.loads(text)["rows"]}),
    lambda text: "[" * 60_000,
])  # fmt: skip
def test_rows_that_have_changed_are_refused_by_their_file(tmp_path, change):
    rows = finished_sweep(tmp_path)
    good = rows.read_text()
    rows.write_text(change(good))
    assert rows.read_text() != good
    with pytest.raises(ValueError, match=r"rows\.json is damaged .*; delete it, and its point"):
        sweep(QUICK, tmp_path)
    rows.unlink()
    sweep(QUICK, tmp_path)
    assert rows.read_text() == good


def test_rows_of_another_point_are_refused(tmp_path):
    mine, other = finished_sweep(tmp_path / "a"), tmp_path / "b"
    sweep({**QUICK, "seed": 5}, other)
    (theirs,) = other.glob("runs/*/rows.json")
    mine.write_text(theirs.read_text())
    with pytest.raises(ValueError, match="its digest is not that of its rows"):
        sweep(QUICK, tmp_path / "a")


@pytest.mark.parametrize(
    "name", [".lock", "runs", "runs/POINT", "runs/POINT/.point.lock", "runs/POINT/checkpoints"]
)
def test_nothing_outside_of_the_folder_is_written_through_a_link(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis").write_text("three years")
    (point,) = read_points(QUICK)
    link = tmp_path / "out" / name.replace("POINT", point.name)
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere" / ("thesis" if name.endswith("lock") else ""))
    with pytest.raises((OSError, RuntimeError), match="is a link, which is not followed"):
        sweep(QUICK, tmp_path / "out")
    assert (tmp_path / "elsewhere" / "thesis").read_text() == "three years"
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["thesis"]


@pytest.mark.parametrize(("column", "value"), [
    ("subclasses", "two"), ("eps", ""), ("time", "late"), ("separation", "1;5"), ("seed", "0x1"),
])  # fmt: skip
def test_a_table_with_a_word_for_a_number_is_refused_by_column_and_row(tmp_path, column, value):
    table = sweep(QUICK, tmp_path)
    table[1][column] = value
    sweep_module._write_table(tmp_path / "sweep.csv", table)
    with pytest.raises(
        ValueError, match=rf"sweep\.csv must hold numbers in column '{column}', got '{value}' in row 2"
    ):
        read_table(tmp_path / "sweep.csv")


def test_two_sweeps_on_one_folder_share_the_work(tmp_path, monkeypatch):
    """The second waits for each point that the first computes, and both give the whole table."""
    genuine, computed = Point.rows, []

    def counting(self, folder):
        computed.append(self)
        time.sleep(0.02)
        return genuine(self, folder)

    monkeypatch.setattr(Point, "rows", counting)
    tables = []
    threads = [threading.Thread(target=lambda: tables.append(sweep(GRID, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables) == 2 and tables[0] == tables[1]
    assert len(computed) == len(set(computed)) == 4


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 100_000])
def test_damaged_rows_are_named_with_the_cure(tmp_path, text):
    sweep(QUICK, tmp_path)
    (rows,) = tmp_path.glob("runs/*/rows.json")
    rows.write_text(text)
    with pytest.raises(ValueError, match=r"rows\.json is damaged .*; delete it"):
        sweep(QUICK, tmp_path)
    rows.unlink()
    assert len(sweep(QUICK, tmp_path)) == 2


# What goes wrong


def test_a_full_disk_keeps_and_names_the_finished_points(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []
    first, second, *_ = read_points(GRID)

    def full(file):
        calls.append(file)
        if finished(second, tmp_path / "runs") is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(run_folder.os, "fsync", full)
    kept = f"kept in {tmp_path}/runs: {first.name} (eps = 0.1, seed = 0), {second.name} (eps = 0.1, seed = 1)"
    with pytest.raises(OSError, match="No space left on device") as caught:
        sweep(GRID, tmp_path)
    assert f"2 of 4 points are finished and {kept}; the same command resumes" in str(caught.value)
    monkeypatch.undo()
    assert len(sweep(GRID, tmp_path)) == 8


def test_a_flow_that_fails_stops_no_other_and_is_named(tmp_path, monkeypatch):
    flow = Point.flow

    def collapses(self, folder=None):
        if self.seed == 0:
            raise RuntimeError("the step collapsed")
        return flow(self, folder)

    monkeypatch.setattr(Point, "flow", collapses)
    failed = [p for p in read_points(GRID) if p.seed == 0]
    with pytest.raises(RuntimeError, match="2 of 4 points failed: ") as caught:
        sweep(GRID, tmp_path)
    for point in failed:
        assert f"{point.name} (eps = {point.eps}, seed = 0): the step collapsed" in str(caught.value)
    assert "2 of 4 points are finished and kept" in str(caught.value)
    assert {row["seed"] for row in read_table(tmp_path / "sweep.csv")} == {1}


def test_a_worker_that_dies_is_reported_and_the_sweep_resumes(tmp_path, monkeypatch):
    attempt = sweep_module._attempt

    def dies(point, runs):  # nested, hence sent to the worker as it is
        if point.seed == 1 and point.eps == 0.01:
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt(point, runs)

    monkeypatch.setattr(sweep_module, "_attempt", dies)
    with pytest.raises(RuntimeError, match=r"(?s)terminated.*of 4 points are finished"):
        sweep(GRID, tmp_path, jobs=2)
    monkeypatch.undo()
    get_reusable_executor().shutdown(wait=True)
    assert len(sweep(GRID, tmp_path)) == 8


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="is not writable"):
        sweep(QUICK, tmp_path / "file" / "out")


def test_dask_that_is_missing_is_named_with_its_cure(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)  # importing it raises ImportError
    with pytest.raises(RuntimeError, match=r"pip install 'dask\[distributed\]'; 0 of 4 points are finished"):
        sweep(GRID, tmp_path, backend="dask")


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    def client(address, timeout, **_):
        raise OSError(f"timed out after {timeout} s")

    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(Client=client))
    sweep(QUICK | {"grid": {"eps": [0.1], "seed": [0, 1]}}, tmp_path)
    with pytest.raises(
        OSError, match="scheduler tcp://nowhere:1 did not answer within 10 s: timed"
    ) as caught:
        sweep(GRID, tmp_path, scheduler="tcp://nowhere:1")
    assert "2 of 4 points are finished and kept" in str(caught.value)


def test_a_real_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(sweep_module, "PATIENCE", 1)
    with pytest.raises(OSError, match=r"scheduler tcp://127.0.0.1:1 did not answer within 1 s"):
        sweep(GRID, tmp_path, scheduler="tcp://127.0.0.1:1")


def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(tmp_path):
    distributed = pytest.importorskip("distributed")
    config = QUICK | {"times": [20, 40], "activation": "relu", "grid": {"seed": list(range(12))}}
    sweep(config, tmp_path / "alone")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:

        def kill_one():
            while not list((tmp_path / "cluster").glob("runs/*/rows.json")):
                time.sleep(0.01)
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        table = sweep(config, tmp_path / "cluster", scheduler=cluster.scheduler_address)
        killer.join()
    assert len({(row["run"], row["time"]) for row in table}) == len(table) == 24
    files = [tmp_path / name / "sweep.csv" for name in ("alone", "cluster")]
    assert files[0].read_bytes() == files[1].read_bytes()


# The programs


def test_the_program_sweeps_plots_both_files_and_reports_the_slope(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("times = [50]\nwidth = 10\nactivation = 'identity'\n[grid]\neps = [1e-2, 1e-3, 1e-4]\n")
    swept = program("sims", "sweep", config, "--jobs", 1, "--out", tmp_path / "out")
    assert swept.returncode == 0, swept.stderr
    assert f"3 rows written to {tmp_path / 'out' / 'sweep.csv'}" in swept.stdout
    plotted = program(
        "sims",
        "plot",
        tmp_path / "out" / "sweep.csv",
        "--x",
        "eps",
        "--y",
        "separation",
        "--hue",
        "S",
        "--out",
        tmp_path,
    )
    assert plotted.returncode == 0, plotted.stderr
    # A linear network's separation is eps times a constant, up to eps^2 = 1e-4 at the largest.
    slope = re.search(r"subclasses = 2: fitted slope (\S+)", plotted.stdout)
    assert abs(float(slope[1]) - 1) <= 1e-4 + 5e-5, plotted.stdout  # and the four digits printed
    assert "from 3 rows, predicted 1.0000" in plotted.stdout
    for suffix in ("pdf", "png"):
        assert (tmp_path / f"separation_against_eps.{suffix}").stat().st_size > 1000


def test_the_programs_errors_are_one_line(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("times = [1]\nwidht = 10\n")
    for arguments, message in (
        (["sweep", config], "unknown key 'widht'; did you mean 'width'?"),
        (["plot", tmp_path / "none.csv", "--x", "eps", "--y", "loss"], "No such file"),
    ):
        result = program("sims", *arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert result.stderr.splitlines()[-1].startswith("error: ")
        assert message in result.stderr
        assert "Traceback" not in result.stderr


def test_text_that_is_not_utf_8_is_named(tmp_path):
    for name, read in (("sweep.toml", read_points), ("sweep.csv", read_table)):
        (tmp_path / name).write_bytes(b"times = [1.0] # caf\xe9\n")
        with pytest.raises(
            ValueError, match=rf"{re.escape(name)} must be a .*can't decode byte 0xe9"
        ) as caught:
            read(tmp_path / name)
        assert type(caught.value) is ValueError
