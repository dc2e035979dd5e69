"""Workers end with the program that started them, however it ends, and give the same results."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from joblib import delayed
from programs import ROOT

from finegrain.sims import workers

# A program with two workers that would go on for a minute; each writes its number into a folder once it is at work.
PROGRAM = """
import os, sys, time
import joblib
from finegrain.sims import workers
from finegrain.theory.tools import console

def work(folder, i):
    open(f"{folder}/{os.getpid()}", "w").close()
    time.sleep(60)

def main():
    workers.in_order(2, [joblib.delayed(work)(sys.argv[1], i) for i in range(2)])

if __name__ == "__main__":
    console.run(main)
"""
CLUSTER = """
import os, sys, time
import distributed
from finegrain.sims import workers

if __name__ == "__main__":
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    client = distributed.Client(cluster)
    client.run(workers.end_with, os.getpid())
    for number in client.run(os.getpid).values():
        open(f"{sys.argv[1]}/{number}", "w").close()
    time.sleep(60)
"""


# The same, killed while its workers start: by itself, in the first moment of each.
EARLY = PROGRAM.replace(
    "if __name__",
    """
def at_birth(parent):
    open(f"at_work/{os.getpid()}", "w").close()
    while len(os.listdir("at_work")) < 2:
        time.sleep(0.01)
    time.sleep(1)
    workers._begin(parent)

parallel = workers.parallel
workers.parallel = lambda *a: joblib.Parallel(2, return_as="generator", initializer=at_birth, initargs=(os.getpid(),))
if __name__""",
    1,
)


def gone(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def left_after(folder, program, ending):
    """The workers of a program that are alive some seconds after its end."""
    (folder / "program.py").write_text(program)
    (folder / "at_work").mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    process = subprocess.Popen([sys.executable, "program.py", "at_work"], cwd=folder, **silent)
    try:
        deadline = time.monotonic() + 60
        while len(list((folder / "at_work").iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        found = [int(file.name) for file in (folder / "at_work").iterdir()]
        assert len(found) == 2
        process.send_signal(ending)
        process.wait(30)
        deadline = time.monotonic() + 10
        while (left := [n for n in found if not gone(n)]) and time.monotonic() < deadline:
            time.sleep(0.1)
        for number in left:
            os.kill(number, signal.SIGKILL)
        return left
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
def test_no_worker_outlives_its_program(tmp_path, ending):
    assert left_after(tmp_path, PROGRAM, ending) == []


def test_no_worker_is_left_where_its_program_is_killed_while_it_starts(tmp_path):
    assert left_after(tmp_path, EARLY, signal.SIGKILL) == []


def test_no_worker_of_a_cluster_of_our_own_outlives_its_program(tmp_path):
    pytest.importorskip("distributed")
    assert left_after(tmp_path, CLUSTER, signal.SIGKILL) == []


def square(x):
    return x * x


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_and_an_error_comes_too(jobs):
    assert workers.in_order(jobs, [delayed(square)(i) for i in range(5)]) == [0, 1, 4, 9, 16]
    with pytest.raises(TypeError, match="can't multiply"):
        workers.in_order(jobs, [delayed(square)(i) for i in (1, "a")])
    # What an error has stopped starts again.
    assert workers.in_order(jobs, [delayed(square)(i) for i in range(3)]) == [0, 1, 4]


def test_a_process_that_is_not_the_parent_is_not_watched():
    workers.end_with(os.getpid())
    assert not workers._watched


def test_processes_are_started_in_one_place():
    """Whatever starts workers by itself leaves them behind when it is killed; a Dask cluster keeps its own."""
    folders = ("theory", "sims", "empirical", "paper_figs")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    starts = {str(f.relative_to(ROOT)) for f in files if re.search(r"\bParallel\(", f.read_text())}
    assert starts == {"sims/workers.py", "sims/sweeps/sweep.py"}
