"""A run is a folder that a kill cannot corrupt and that resumes.

    config.json         what was asked for; a folder holding another config is refused
    environment.json    a list: Python, libraries, processor, thread count of each environment that worked on the run
    checkpoints/00012.safetensors    arrays at the 12th recorded point
    metrics.jsonl       one line a checkpoint, rebuilt from the checkpoints' own headers on resume

Every file is written beside its place, flushed to disk and renamed, so a reader sees the whole file or none.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from finegrain.sims.processor import processor
from finegrain.theory.tools.arrays import Arrays
from finegrain.theory.tools.files import clear, inside, to_json, writable_folder, write_atomic

CURE = "delete it and those after it to recompute them"
LIBRARIES = ("finegrain", "numpy", "scipy", "torch", "scikit-learn", "safetensors")


def digest(*arrays: NDArray[Any]) -> str:
    """SHA-256 of the shapes, types and bytes of arrays: how a config names its inputs."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape}{array.dtype.str}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def environment() -> dict[str, Any]:
    """What a number may depend on besides the config."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "libraries": dict(_versions()),
        "command": _command(),
    }


@cache
def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in LIBRARIES}


def _command() -> str:
    """The command line, a program of this package written as one starts it; without the machine's own paths."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        inside = "" if program.parent.name == "finegrain" else "finegrain."
        started = f"python -m {inside}{program.parent.name}"
    else:
        started = program.name if program.name == "finegrain" else f"python {program.name}"
    return " ".join([started, *sys.argv[1:]])


@contextmanager
def lock(file: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock `file`; raises OSError naming `what` if another process does, unless told to `wait` for its end."""
    with _lock_file(file) as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise OSError(
                f"{what} is in use by another process; wait for its end or choose another"
            ) from None
        yield


def _lock_file(file: Path) -> IO[str]:
    """The file, made if need be and never emptied; a link would lead to somebody else's."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"{file} is a link, which is not followed: delete it") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{file} must be a plain file to lock: delete it")
    return os.fdopen(descriptor, "r+")


@contextmanager
def hold(path: Path | str, *, wait: bool = False) -> Iterator[Path]:
    """The folder, made if need be, for this process alone; what killed writers left in it is cleared away.

    Raises:
        OSError: it cannot be written, or, unless told to `wait`, another process holds it.
    """
    folder = writable_folder(path)
    with lock(folder / ".lock", f"folder {folder}", wait=wait):
        clear(folder)
        yield folder


class RunFolder:
    """One run on disk: numbered checkpoints under a fixed config. Use as a context manager; it holds a lock.

    Raises:
        ValueError: the folder holds a run of another config, named entry by entry.
        OSError: the folder is not writable, or another process is running in it.
    """

    def __init__(self, path: Path | str, config: Mapping[str, Any]) -> None:
        self._held = ExitStack()
        self.path = self._held.enter_context(hold(path))
        try:
            self._open(json.loads(json.dumps(dict(config))))
        except BaseException:
            self._held.close()
            raise

    def _open(self, config: dict[str, Any]) -> None:
        self._checkpoints = inside(self.path, "checkpoints")
        self._run = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
        stored = self.path / "config.json"
        if stored.exists():
            _require_same(self.path, _read_json(stored, dict), config, self._environments())
        self._checkpoints.mkdir(exist_ok=True)
        clear(self._checkpoints)
        self._add_environment()
        write_atomic(stored, to_json(config))
        self._metrics = [self._read_metrics(i) for i in range(self.completed)]
        self._write_metrics()

    def _add_environment(self) -> None:
        """Enter this environment once; those that wrote earlier checkpoints stay on record."""
        known = self._environments()
        if environment() not in known:
            write_atomic(self.path / "environment.json", to_json([*known, environment()]))

    def _environments(self) -> list[Any]:
        file = self.path / "environment.json"
        return _read_json(file, list) if file.exists() else []

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @property
    def completed(self) -> int:
        """Number of checkpoints on disk, counted from 0 without a gap."""
        count = 0
        while self._file(count).exists():
            count += 1
        return count

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The metrics of every checkpoint, in order."""
        return list(self._metrics)

    def read(self, index: int) -> Arrays:
        """The arrays of checkpoint `index`; raises ValueError if they are not those that were written."""
        self._read_metrics(index)
        with self._opened(index) as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            written = file.metadata()["sha256"]
        if written != _digest_of(arrays):
            raise ValueError(f"checkpoint {self._file(index)} is damaged (its digest does not fit); {CURE}")
        return arrays

    def write(self, index: int, arrays: Mapping[str, NDArray[Any]], metrics: Mapping[str, float]) -> None:
        """Store checkpoint `index` and its line of metrics; on disk when this returns."""
        contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        header = {"metrics": json.dumps(dict(metrics)), "sha256": _digest_of(contiguous)}
        header["place"] = self._place(index, header)
        write_atomic(self._file(index), save(contiguous, header))
        self._metrics = [*self._metrics[:index], dict(metrics)]
        self._write_metrics()

    def _file(self, index: int) -> Path:
        return self._checkpoints / f"{index:05d}.safetensors"

    @contextmanager
    def _opened(self, index: int) -> Iterator[Any]:
        try:
            with safe_open(self._file(index), framework="numpy") as file:
                yield file
        except (SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"checkpoint {self._file(index)} is damaged ({error}); {CURE}") from error

    def _read_metrics(self, index: int) -> dict[str, float]:
        with self._opened(index) as file:
            header = file.metadata()
            metrics = json.loads(header["metrics"])
            if header["place"] != self._place(index, header):
                raise ValueError(f"its header is not what was written as checkpoint {index} of this run")
        return metrics

    def _place(self, index: int, header: Mapping[str, str]) -> str:
        """A digest of all that a checkpoint holds, of its number, and of the config of its run."""
        whole = [self._run, index, header["metrics"], header["sha256"]]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()

    def _write_metrics(self) -> None:
        lines = "".join(json.dumps(m) + "\n" for m in self._metrics)
        write_atomic(self.path / "metrics.jsonl", lines)


def _digest_of(arrays: Arrays) -> str:
    """Of names and arrays."""
    names = sorted(arrays)
    return digest(np.array(names, dtype="U"), *(arrays[name] for name in names))


def _read_json(file: Path, kind: type) -> Any:
    try:
        value = json.loads(file.read_text())
        if not isinstance(value, kind):
            raise ValueError(f"need a {kind.__name__}, got a {type(value).__name__}")
        return value
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete its folder to start the run again") from error


def _require_same(
    path: Path, stored: dict[str, Any], config: dict[str, Any], environments: list[Any]
) -> None:
    stored, config = _flat(stored), _flat(config)
    different = sorted(k for k in stored.keys() | config.keys() if stored.get(k) != config.get(k))
    if different:
        details = "; ".join(_difference(k, stored.get(k), config.get(k)) for k in different)
        if all(_is_digest(values.get(k)) for k in different for values in (stored, config)):
            details += _other_machine(environments)
        raise ValueError(
            f"run folder {path} holds a run of another config ({details}); choose another output folder or delete it"
        )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _other_machine(environments: list[Any]) -> str:
    """What may be why computed inputs differ: numbers are the same to the bit on one machine with one thread count."""
    now = environment()
    known = [one for one in environments if isinstance(one, dict)]
    if not known or any(
        one.get("threads") == now["threads"] and one.get("cores") == now["cores"] for one in known
    ):
        return ""
    were = known[-1]
    return (
        f": it was computed with threads = {were.get('threads')} of {were.get('cores')} cores, now {now['threads']} of "
        f"{now['cores']}, which changes the last digits of what is computed; set OMP_NUM_THREADS as it was"
    )


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """The entries of inner tables by their path, "recipe.width", so that a message names what differs."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        inner = _flat(value) if isinstance(value, dict) and value else {}
        flat |= {f"{name}.{key}": entry for key, entry in inner.items()} if inner else {name: value}
    return flat


def _difference(name: str, stored: Any, asked: Any) -> str:
    """Both values where they fit on a line; the name alone for long lists and digests."""
    values = f"stored {stored!r}, asked {asked!r}"
    return f"{name}: {values}" if len(values) < 80 else f"{name} differs"
