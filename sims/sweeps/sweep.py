"""Sweeps: many population flows, over processes or a cluster, that a kill cannot lose.

    OUT/runs/HASH/         the run folder of one point (finegrain.sims.run_folder), named by a hash of its settings
    OUT/runs/HASH/rows.json    its rows of the table and their digest, written last: a point that has them is finished
    OUT/sweep.csv          all rows in the order of the config: one a point and recorded time
    OUT/environment.json   Python, libraries, platform

A point's result depends on its settings alone: each flow runs on one thread, so the number of processes and the order
of their work cannot change a bit. A point is computed under its own file lock, and whoever finds it taken waits and
then reads it: two sweeps on one folder, or a cluster that gives a lost worker's point to another, share the work.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
from threadpoolctl import threadpool_limits

from finegrain.sims import workers
from finegrain.sims.run_folder import environment, hold, lock
from finegrain.sims.sweeps.points import KEYS, KINDS, Point, Row, read_points
from finegrain.theory.tools import checks
from finegrain.theory.tools.console import tracked
from finegrain.theory.tools.files import inside, writable_folder, write_atomic

BACKENDS = ("loky", "dask")
PATIENCE = 10  # seconds that a scheduler has to answer


def sweep(
    config: Mapping[str, Any] | Path | str,
    out: Path | str = "runs/sweep",
    *,
    jobs: int = 1,
    backend: str = "loky",
    scheduler: str | None = None,
    progress: bool = False,
) -> list[Row]:
    """Run every point of a config that is not finished in `out`, and write the table sweep.csv.

    Args:
        config: a TOML file, or a mapping of the same form (finegrain.sims.sweeps.points).
        out: folder of the results; with a cluster, one that every worker sees under the same path.
        jobs: processes, -1 for one a core. With a scheduler, its workers are used, however many.
        backend: loky (processes on this machine) or dask.
        scheduler: address of a running dask scheduler, such as tcp://host:8786; implies dask.
        progress: show a bar with the time left.

    Returns:
        The table, one dict a point and recorded time: run (the folder's name), settings, time, population_loss and
        the scalars of observables.table, NaN where undefined.

    Raises:
        ValueError: a config that is refused, before any work.
        RuntimeError: flows failed, or a process died; all other points were finished and are in sweep.csv.
        OSError: the disk is full, or the scheduler does not answer. Every message says which points are kept.
    """
    points = read_points(config)
    if jobs < 1 and jobs != -1:
        raise ValueError(f"jobs must be >= 1, or -1 for one a core, got {jobs}")
    checks.one_of("backend", backend, BACKENDS)
    backend = backend if scheduler is None else "dask"
    with hold(out, wait=True) as folder:
        folder = folder.resolve()
        write_atomic(folder / "environment.json", json.dumps(environment(), indent=1))
    runs = inside(folder, "runs")
    todo = [p for p in points if finished(p, runs) is None]
    try:
        failures = _compute(todo, runs, jobs, backend, scheduler, progress) if todo else {}
        rows = [row for p in points for row in finished(p, runs) or []]
        with hold(folder, wait=True):
            table = _write_table(folder / "sweep.csv", rows)
    except OSError as error:
        raise OSError(f"{error}; {_kept(points, runs)}") from error
    except RuntimeError as error:
        raise RuntimeError(f"{error}; {_kept(points, runs)}") from error
    if failures:
        told = "; ".join(f"{_told(p, points)}: {message}" for p, message in failures.items())
        raise RuntimeError(f"{len(failures)} of {len(points)} points failed: {told}; {_kept(points, runs)}")
    return table


def finished(point: Point, runs: Path) -> list[Row] | None:
    """The rows of a finished point, None for any other; raises ValueError if they are not what was written."""
    file = runs / point.name / "rows.json"
    try:
        stored = json.loads(file.read_text())
        rows = stored["rows"]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("need a list of rows")
        if stored["sha256"] != _digest(point, rows):
            raise ValueError("its digest is not that of its rows")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); delete it, and its point is read back or computed"
        ) from error
    return rows


def _digest(point: Point, rows: list[Row]) -> str:
    """SHA-256 of a point's name and its rows."""
    return hashlib.sha256(json.dumps([point.name, rows], sort_keys=True).encode()).hexdigest()


def finish(point: Point, runs: Path) -> None:
    """Compute one point, or read on where it was left; its rows are on disk when this returns."""
    folder = writable_folder(inside(runs, point.name))
    with lock(folder / ".point.lock", f"point {folder}", wait=True), threadpool_limits(1):
        if finished(point, runs) is None:
            rows = json.loads(json.dumps(point.rows(folder)))
            write_atomic(
                folder / "rows.json", json.dumps({"sha256": _digest(point, rows), "rows": rows}, indent=1)
            )


def read_table(path: Path | str) -> list[Row]:
    """The rows of a sweep.csv, with numbers as numbers.

    Raises:
        ValueError: not a whole table of a sweep.
        OSError: the file cannot be read.
    """
    try:
        with open(path, newline="") as file:
            rows = [{k: number(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be a sweep's table: {error}") from error
    needed = {"run", "time", *KEYS} - {"times"}
    if not rows or any(None in row or None in row.values() or needed - row.keys() for row in rows):
        raise ValueError(f"{path} must be a sweep's table, whole, with columns {', '.join(sorted(needed))}")
    words = {"run", *(name for name, kind in KINDS.items() if kind is str)}
    for i, row in enumerate(rows, 1):
        wrong = next((k for k, v in row.items() if k not in words and isinstance(v, str)), None)
        if wrong is not None:
            raise ValueError(
                f"{path} must hold numbers in column {wrong!r}, got {row[wrong]!r:.60} in row {i}"
            )
    return rows


def _compute(
    todo: list[Point], runs: Path, jobs: int, backend: str, scheduler: str | None, progress: bool
) -> dict[Point, str]:
    """Finish the points in parallel; a flow that fails is returned with its message and stops no other."""
    with _workers(backend, jobs, scheduler) as parallel:
        outcomes = workers.results(parallel, (joblib.delayed(_attempt)(point, runs) for point in todo))
        bar = tracked(outcomes, "sweep", total=len(todo), show=progress)
        failures = {point: message for point, message in bar if message is not None}
    return {point: failures[point] for point in todo if point in failures}


def _attempt(point: Point, runs: Path) -> tuple[Point, str | None]:
    try:
        finish(point, runs)
    # A full disk is no fault of the point: OSError stops the sweep.
    except (ValueError, RuntimeError) as error:
        return point, str(error)
    return point, None


@contextmanager
def _workers(backend: str, jobs: int, scheduler: str | None) -> Iterator[joblib.Parallel]:
    """A joblib.Parallel that yields results as they come."""
    if backend == "loky":
        yield workers.parallel(jobs, "generator_unordered")
        return
    with (
        _dask_client(jobs, scheduler) as client,
        joblib.parallel_config(backend="dask", client=client, wait_for_workers_timeout=PATIENCE),
    ):
        yield joblib.Parallel(n_jobs=-1, return_as="generator_unordered")


@contextmanager
def _dask_client(jobs: int, scheduler: str | None) -> Iterator[Any]:
    """A client of the scheduler, or of a cluster of `jobs` processes on this machine that ends with it."""
    try:
        import distributed
    except ImportError as error:
        raise RuntimeError("backend dask needs dask: pip install 'dask[distributed]'") from error
    if scheduler is None:
        count = joblib.cpu_count() if jobs == -1 else jobs
        with (
            distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            client.run(workers.end_with, os.getpid())
            yield client
        return
    try:
        client = distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(f"scheduler {scheduler} did not answer within {PATIENCE} s: {error}") from error
    with client:
        yield client


def _write_table(path: Path, rows: Iterable[Row]) -> list[Row]:
    """Rows with the same columns each, NaN where one lacks an observable; written as CSV."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = [{name: row.get(name, float("nan")) for name in columns} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_atomic(path, text.getvalue())
    return table


def number(text: str) -> Any:
    """The text as an integer or a float where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text


def _told(point: Point, points: list[Point]) -> str:
    """A point by its run and by what tells it from the others."""
    varied = {k: v for k, v in point.settings.items() if any(p.settings[k] != v for p in points)}
    return f"{point.name} ({', '.join(f'{k} = {v}' for k, v in varied.items())})" if varied else point.name


def _kept(points: list[Point], runs: Path, most: int = 5) -> str:
    """Which points are safe, the first few by name."""
    done = [p for p in points if finished(p, runs) is not None]
    names = [_told(p, points) for p in done[:most]] + ["..."] * (len(done) > most)
    kept = f" and kept in {runs}: {', '.join(names)}" if done else ""
    return f"{len(done)} of {len(points)} points are finished{kept}; the same command resumes"
