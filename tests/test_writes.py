"""Every file that the package writes is written whole or not at all, and a full disk leaves the old one standing.

`writers.WRITERS` has all that writes. Each runs with the disk failing from its k-th call on, for a k of each
kind of call: an error (of the image cache: a warning) names the path, no half file is left, what was there is the old
or the new, and the same call then goes on. Where the system lets us mount them, they also run on real disks that are
full or read-only.
"""

import ast
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from safetensors import safe_open
from writers import WRITERS, prepare, quick

from finegrain.theory.tools import files
from finegrain.theory.tools.files import write_atomic

ROOT = Path(__file__).parents[1]
MEMORY_DISK = Path("/dev/shm")
READ_BACK = ("predict", "predictions", "train", "recover")  # what they find; the others write it anew
RESUMING = (*READ_BACK, "sweep", "figures", "image cache")
PACKAGES = ("theory", "sims", "empirical", "paper_figs")
WRITING = {
    "write_text",
    "write_bytes",
    "save",
    "savez",
    "savez_compressed",
    "save_file",
    "tofile",
    "to_csv",
    "dump",
}
# These write a lock, or into a folder that is renamed into place as a whole, or the archives that tests read.
OWN_CARE = {
    "theory/tools/files.py",
    "sims/run_folder.py",
    "sims/sweeps/sweep.py",
    "empirical/readers/image_cache.py",
    "empirical/readers/testing.py",
}


def direct_writes(source):
    """Calls that put bytes on disk without write_atomic: open for writing, and the libraries' own savers."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        *owner, name = ast.unparse(node.func).rsplit(".", 1)
        modes = [
            a.value
            for a in [*node.args[1:], *(k.value for k in node.keywords)]
            if isinstance(a, ast.Constant)
        ]
        opened = name == "open" and any(
            isinstance(m, str) and set(m) & set("wax") and len(m) <= 3 for m in modes
        )
        in_memory = bool(node.args) and ast.unparse(node.args[0]) == "buffer"
        saved = name in WRITING and owner and owner[0] in ("np", "torch", "json", "path")
        if opened or (saved and not in_memory):
            yield f"{name}, line {node.lineno}"


def test_the_scan_sees_direct_writes():
    source = (
        "open(p, 'wb')\nopen(p)\nnp.save(p, x)\npath.write_text('x')\nwrite_atomic(p, x)\nnp.savez(buffer, x)"
    )
    assert list(direct_writes(source)) == ["open, line 1", "save, line 3", "write_text, line 4"]


def test_all_files_go_through_write_atomic():
    offenders = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            if name not in OWN_CARE:
                offenders += [f"{name}: {write}" for write in direct_writes(file.read_text())]
    assert offenders == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failing_write_keeps_the_old_file_names_it_and_leaves_nothing_behind(
    step, code, tmp_path, monkeypatch
):
    file = tmp_path / "result.json"
    file.write_text("old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match=r"could not write .*result\.json") as caught:
        write_atomic(file, "new")
    assert caught.value.errno == code
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_beyond_the_limit_on_file_sizes_fails_like_a_full_disk(tmp_path):
    resource = pytest.importorskip("resource")
    import signal

    file = tmp_path / "result.bin"
    file.write_bytes(b"old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="could not write"):
            write_atomic(file, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


# Every writer


class Disk:
    """The calls that put something into a folder, as the interpreter tells of them; from `fail_at` on, all fail."""

    def __init__(self):
        self.folder, self.calls, self.fail_at, self.modules = None, [], None, set()
        sys.addaudithook(self._event)  # for good: without a folder it does nothing

    def watch(self, folder, fail_at=None):
        self.folder, self.calls, self.fail_at = str(folder), [], fail_at

    def _event(self, event, arguments):
        if self.folder is None:
            return
        written = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if written or event in ("os.mkdir", "os.rename"):
            self.call(event, str(arguments[0]))

    def call(self, event, path):
        if path.startswith(self.folder):
            self.calls.append((event, path))
            self.modules |= _callers()
            if self.fail_at is not None and len(self.calls) > self.fail_at:
                code = (errno.ENOSPC, errno.EROFS)[self.fail_at % 2]
                raise OSError(code, os.strerror(code), path)


def _callers():
    """The project's files on the stack."""
    frame, found = sys._getframe(2), set()
    while frame:
        # A checkout may reach its folders through links in finegrain/.
        file = Path(frame.f_code.co_filename).resolve()
        if file.is_relative_to(ROOT) and file.relative_to(ROOT).parts[0] in PACKAGES:
            found.add(file.relative_to(ROOT).as_posix())
        frame = frame.f_back
    return found


@pytest.fixture(scope="module")
def disk():
    disk = Disk()
    yield disk
    disk.folder = None


@pytest.fixture(autouse=True)
def fsync_is_a_call_too(disk, monkeypatch):
    genuine = os.fsync

    def fsync(descriptor):
        if disk.folder is not None:
            disk.call("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        genuine(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    yield
    disk.folder = None


@pytest.fixture(scope="module")
def inputs():
    """A folder with what the writers read; in memory where there is such a disk: it is the calls that are watched."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as name:
        prepare(Path(name))
        with quick():
            yield Path(name)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def whole(file):
    """Whether a file is a whole one of its kind."""
    if file.suffix != ".safetensors":
        text = file.read_text()
        return all(map(json.loads, [text] if file.suffix == ".json" else text.splitlines()))
    with safe_open(file, framework="numpy") as opened:
        return bool(list(opened.keys()))


def kinds(calls):
    """The place of the first call of each kind: checkpoints differ by their numbers and their run alone."""
    names = [(event, re.sub(r"\d+|observed|predicted", "#", path)) for event, path in calls]
    return [k for k, name in enumerate(names) if name not in names[:k]]


def run(name, folder, version):
    """What a writer says of a failing disk."""
    if name == "image cache":
        with pytest.warns(RuntimeWarning, match="are not kept") as caught:
            WRITERS[name](folder, version)
        return str(caught[0].message)
    with pytest.raises(OSError) as caught:
        WRITERS[name](folder, version)
    return str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_whichever_call_to_the_disk_fails_nothing_is_lost_or_half_written(name, inputs, disk):
    old_folder, new_folder = inputs / f"{name} old", inputs / f"{name} new"
    old_folder.mkdir()
    if name not in READ_BACK:
        WRITERS[name](old_folder, 0)
    shutil.copytree(old_folder, new_folder)
    disk.watch(new_folder)
    WRITERS[name](new_folder, 1)
    disk.folder = None
    old, new = contents(old_folder), contents(new_folder)
    assert len(disk.calls) >= 3  # open, fsync, rename
    for k in kinds(disk.calls):
        folder = inputs / f"{name} {k}"
        shutil.copytree(old_folder, folder)
        disk.watch(folder, fail_at=k)
        message = run(name, folder, 1)
        disk.folder = None
        assert str(folder) in message and any(
            os.strerror(c) in message for c in (errno.ENOSPC, errno.EROFS)
        ), message
        found = contents(folder)
        assert old.keys() <= found.keys()
        assert [p for p in found if ".part" in p or p not in new] == [], f"left behind at call {k}"
        for path, content in found.items():
            assert content in (old.get(path), new[path]) or whole(folder / path), f"{path} at call {k}"
        if name in RESUMING or k == 0:
            WRITERS[name](folder, 1)
            assert contents(folder).keys() == new.keys()
        shutil.rmtree(folder)


def test_no_writer_is_forgotten(inputs, disk):
    """Each file of the package that writes, or asks for a folder to write to, did so above."""
    writing = ("write_atomic", "writable_folder", "hold", "lock", "RunFolder", "save", "mkdir", "rename")
    for name in WRITERS:
        (inputs / f"{name} again").mkdir()
        disk.watch(inputs / f"{name} again")
        WRITERS[name](inputs / f"{name} again", 0)
    disk.folder = None
    expected = set()
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        if any(ast.unparse(call).rsplit(".", 1)[-1] in writing for call in calls):
            expected.add(file.relative_to(ROOT).as_posix())
    assert (
        sorted(expected - disk.modules - {"empirical/readers/testing.py"}) == []
    )  # which writes archives for tests


SMALL_DISK = """
import subprocess, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pytest
from writers import WRITERS, prepare, quick

def mount(folder, *options):
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], check=True)

inputs = Path(tempfile.mkdtemp())
prepare(inputs)
with quick():
    for name, writer in WRITERS.items():
        if name == "image cache":
            continue  # whose failure is no error
        folder, failures = inputs / name, 0
        folder.mkdir()
        for pages in (1, 3, 9, 27, 81):
            mount(folder, "-o", f"size={4 * pages}k")
            try:
                writer(folder, 0)
            except OSError as error:
                failures += 1
                assert str(folder) in str(error) and "No space left" in str(error), error
                left = [p for p in folder.rglob("*") if ".part" in p.name]
                assert not left, left
                subprocess.run(["umount", str(folder)], check=True)
                continue
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
            with pytest.raises(OSError, match="Read-only file system") as caught:
                writer(folder, 1)
            assert str(folder) in str(caught.value), caught.value
            assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
            break
        print("STOOD", name, failures)
"""


def test_real_disks_that_are_full_or_read_only():
    """Of 4, 8, 12, ... KiB until there is room; then mounted anew for reading only."""
    isolated = ["unshare", "--map-root-user", "--mount"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*isolated, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).returncode
    ):
        pytest.skip("this system mounts nothing for us")
    command = [*isolated, sys.executable, "-c", SMALL_DISK, str(ROOT / "tests" / "helpers")]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    stood = [line.split() for line in result.stdout.splitlines() if line.startswith("STOOD")]
    assert [" ".join(line[1:-1]) for line in stood] == [name for name in WRITERS if name != "image cache"]
    assert all(int(line[-1]) > 0 for line in stood if line[1] in READ_BACK[2:]), stood
