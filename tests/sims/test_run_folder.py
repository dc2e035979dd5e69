"""Run folders: whole files or none, resumed where they stopped, refused where they differ."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from finegrain.sims.run_folder import RunFolder, digest, environment, hold


def test_checkpoints_and_metrics_are_read_back_as_written(tmp_path):
    arrays = {"W": np.arange(6.0).reshape(2, 3), "count": np.array([3])}
    with RunFolder(tmp_path / "run", {"eps": 0.1}) as run:
        run.write(0, arrays, {"loss": 1.5})
        run.write(1, arrays, {"loss": 0.5})
    with RunFolder(tmp_path / "run", {"eps": 0.1}) as run:
        assert run.completed == 2
        for name, array in arrays.items():
            np.testing.assert_array_equal(run.read(1)[name], array)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [1.5, 0.5]


def test_another_config_is_refused_by_name_and_nothing_is_lost(tmp_path):
    with RunFolder(tmp_path, {"eps": 0.1, "seed": 1}) as run:
        run.write(0, {"W": np.ones(2)}, {})
    with pytest.raises(ValueError, match=r"another config \(seed: stored 1, asked 2\)"):
        RunFolder(tmp_path, {"eps": 0.1, "seed": 2})
    with RunFolder(tmp_path, {"eps": 0.1, "seed": 1}) as run:
        assert run.completed == 1


def test_a_second_process_on_the_folder_is_refused(tmp_path):
    with RunFolder(tmp_path, {}), pytest.raises(OSError, match="in use by another process"):
        RunFolder(tmp_path, {})
    RunFolder(tmp_path, {}).__exit__()


def test_a_folder_that_another_holds_is_refused_or_waited_for(tmp_path):
    begun = threading.Event()

    def wait():
        begun.set()
        with hold(tmp_path, wait=True):
            pass

    thread = threading.Thread(target=wait)
    with hold(tmp_path / "new" / "folder") as folder, hold(tmp_path):
        assert folder.is_dir()
        with (
            pytest.raises(
                OSError, match=rf"folder {re.escape(str(tmp_path))} is in use by another process; wait"
            ),
            hold(tmp_path),
        ):
            pass
        thread.start()
        begun.wait(10)
        thread.join(0.1)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


def test_what_killed_writers_left_is_cleared_away_and_nothing_else(tmp_path):
    stays = [tmp_path / name for name in ("a.json", ".mine.part", "b.12.part", ".c.json.12.parts")]
    for file in [*stays, tmp_path / ".a.json.12.part"]:
        file.write_text("")
    with hold(tmp_path):
        assert sorted(tmp_path.iterdir()) == sorted([*stays, tmp_path / ".lock"])


def test_a_truncated_checkpoint_is_named_with_the_cure(tmp_path):
    with RunFolder(tmp_path, {}) as run:
        run.write(0, {"W": np.ones(100)}, {})
    file = tmp_path / "checkpoints" / "00000.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"00000.safetensors is damaged .* delete it"):
        RunFolder(tmp_path, {})


def test_a_checkpoint_whose_bytes_changed_is_refused(tmp_path):
    with RunFolder(tmp_path, {}) as run:
        run.write(0, {"W": np.ones(100)}, {})
    file = tmp_path / "checkpoints" / "00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with (
        RunFolder(tmp_path, {}) as run,
        pytest.raises(ValueError, match=r"damaged \(its digest does not fit\)"),
    ):
        run.read(0)


def test_a_damaged_config_is_named_with_the_cure(tmp_path):
    RunFolder(tmp_path, {}).__exit__()
    (tmp_path / "config.json").write_text("")
    with pytest.raises(ValueError, match=r"config.json is damaged .* delete its folder"):
        RunFolder(tmp_path, {})


def test_every_environment_that_worked_on_the_run_stays_on_record(tmp_path, monkeypatch):
    RunFolder(tmp_path, {}).__exit__()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for _ in range(2):
        RunFolder(tmp_path, {}).__exit__()
    threads = [e["threads"] for e in json.loads((tmp_path / "environment.json").read_text())]
    assert len(threads) == 2
    assert threads[1] == "7"


def test_what_differs_is_named_down_to_the_entry_of_an_inner_table(tmp_path):
    RunFolder(tmp_path, {"recipe": {"width": 4, "map": "mod"}, "empty": {}}).__exit__()
    with pytest.raises(ValueError, match=r"another config \(recipe\.width: stored 4, asked 8\)"):
        RunFolder(tmp_path, {"recipe": {"width": 8, "map": "mod"}, "empty": {}})
    RunFolder(tmp_path, {"recipe": {"width": 4, "map": "mod"}, "empty": {}}).__exit__()


def test_leftovers_of_a_killed_writer_are_swept_and_never_read(tmp_path):
    with RunFolder(tmp_path, {}) as run:
        run.write(0, {"W": np.ones(2)}, {})
    leftover = tmp_path / "checkpoints" / ".00001.safetensors.99.part"
    leftover.write_bytes(b"half")
    with RunFolder(tmp_path, {}) as run:
        assert run.completed == 1
    assert not leftover.exists()


def test_digest_tells_values_shapes_and_types_apart():
    a = np.arange(4.0)
    others = [a + 1, a.reshape(2, 2), a.astype(np.float32)]
    assert digest(a) == digest(a.copy())
    assert len({digest(a), *map(digest, others)}) == 4


WRITER = """
import sys, numpy as np
from finegrain.sims.run_folder import RunFolder
with RunFolder(sys.argv[1], {}) as run:
    print("ready", flush=True)
    for i in range(run.completed, 100000):
        run.write(i, {"W": np.full(2000, float(i))}, {"i": i})
"""


def test_a_kill_at_any_moment_leaves_a_folder_that_reads_whole(tmp_path):
    for delay in (0.0, 0.013, 0.037):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=dict(os.environ)
        )
        assert process.stdout.readline() == b"ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with RunFolder(tmp_path, {}) as run:
            for i in range(run.completed):
                np.testing.assert_array_equal(run.read(i)["W"], np.full(2000, float(i)))


@pytest.mark.parametrize(("name", "text"), [("config.json", "[1]"), ("environment.json", '{"python": "3"}')])
def test_json_of_another_kind_is_damage_too(tmp_path, name, text):
    with RunFolder(tmp_path, {"steps": 1}):
        pass
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name} is damaged \(need a (dict|list), got a (dict|list)\)"):
        RunFolder(tmp_path, {"steps": 1})
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize("header", [None, {"sha256": "0"}, {"sha256": "0", "metrics": "{loss"}])
def test_a_checkpoint_without_its_header_is_named_with_the_cure(tmp_path, header):
    with RunFolder(tmp_path, {"steps": 1}) as run:
        run.write(0, {"W": np.eye(2)}, {"loss": 1.0})
    save_file({"W": np.eye(2)}, tmp_path / "checkpoints" / "00000.safetensors", header)
    with pytest.raises(
        ValueError, match=r"checkpoint .*00000\.safetensors is damaged .*; delete it and those"
    ):
        RunFolder(tmp_path, {"steps": 1})


@pytest.mark.parametrize(
    "program, started",
    [
        ("/home/me/.venv/bin/finegrain", "finegrain predict --data digits"),
        ("/home/me/site-packages/finegrain/__main__.py", "python -m finegrain predict --data digits"),
        ("/home/me/mine.py", "python mine.py predict --data digits"),
    ],
)
def test_the_command_that_is_recorded_can_be_typed(program, started, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "predict", "--data", "digits"])
    assert environment()["command"] == started


def written(folder, config, values=(0.625, 0.5, 0.25)):
    with RunFolder(folder, config) as run:
        for i, value in enumerate(values):
            run.write(i, {"W": np.full(4, value), "V": np.arange(4.0)}, {"test.accuracy": value})
    return folder / "checkpoints"


def reread(folder, config):
    with RunFolder(folder, config) as run:
        return [run.read(i) for i in range(run.completed)], run.metrics


@pytest.mark.parametrize("change", [
    (b"0.25", b"0.75"),  # a digit of the metrics
    (b"test.accuracy", b"text.accuracy"),
    (b'"W":', b'"X":'),  # the name of an array
    (np.full(4, 0.25).tobytes()[:8], np.full(1, 0.125).tobytes()),  # a number in an array
])  # fmt: skip
def test_whatever_changes_in_a_checkpoint_is_found(tmp_path, change):
    file = written(tmp_path, {"seed": 1}) / "00002.safetensors"
    assert change[0] in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(*change))
    with pytest.raises(ValueError, match=r"checkpoint .*00002\.safetensors is damaged .*; delete it and"):
        reread(tmp_path, {"seed": 1})


def test_a_checkpoint_of_another_run_or_another_place_is_refused(tmp_path):
    mine, theirs = written(tmp_path / "a", {"seed": 1}), written(tmp_path / "b", {"seed": 2})
    for source in (theirs / "00001.safetensors", mine / "00000.safetensors"):
        good = (mine / "00001.safetensors").read_bytes()
        (mine / "00001.safetensors").write_bytes(source.read_bytes())
        with pytest.raises(
            ValueError, match=r"00001\.safetensors is damaged .*not what was written as checkpoint 1"
        ):
            reread(tmp_path / "a", {"seed": 1})
        (mine / "00001.safetensors").write_bytes(good)
    assert len(reread(tmp_path / "a", {"seed": 1})[0]) == 3


@pytest.mark.parametrize("name", [".lock", "checkpoints"])
def test_a_link_in_a_run_folder_is_not_followed(tmp_path, name):
    (tmp_path / "run").mkdir()
    target = tmp_path / "mine"
    target.write_text("three years") if name == ".lock" else target.mkdir()
    (tmp_path / "run" / name).symlink_to(target)
    with pytest.raises(OSError, match=rf"run/{re.escape(name)} is a link, which is not followed"):
        written(tmp_path / "run", {})
    assert target.read_text() == "three years" if name == ".lock" else not list(target.iterdir())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_lock_that_is_no_plain_file_is_refused_and_not_waited_for(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(OSError):
        RunFolder(tmp_path, {})


def test_a_link_in_the_place_of_a_file_to_be_written_is_replaced(tmp_path):
    (tmp_path / "mine").write_text("three years")
    (tmp_path / "run").mkdir()
    for name in ("config.json", "metrics.jsonl", f".config.json.{os.getpid()}.part"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    (tmp_path / "run" / "config.json").unlink()
    written(tmp_path / "run", {"seed": 1})
    assert (tmp_path / "mine").read_text() == "three years"
    assert not (tmp_path / "run" / "metrics.jsonl").is_symlink()


@pytest.mark.parametrize("now", [{"OMP_NUM_THREADS": "3"}, {}])
def test_other_inputs_with_another_number_of_threads_are_explained_by_it(tmp_path, monkeypatch, now):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    written(tmp_path, {"inputs": digest(np.ones(2)), "width": 3})
    monkeypatch.setenv("OMP_NUM_THREADS", now.get("OMP_NUM_THREADS", "1"))
    with pytest.raises(ValueError, match=r"another config \(inputs differs") as error:
        RunFolder(tmp_path, {"inputs": digest(np.zeros(2)), "width": 3})
    assert ("computed with threads = 1 of" in str(error.value)) == bool(now)
    with pytest.raises(ValueError, match="width: stored 3, asked 4") as error:
        RunFolder(tmp_path, {"inputs": digest(np.zeros(2)), "width": 4})
    assert "threads" not in str(error.value)
