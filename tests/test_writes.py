"""Every file that the package writes is written whole or not at all, and a full disk leaves the old one standing."""

import ast
import errno
import os
from pathlib import Path

import pytest

from theory import files
from theory.files import write_atomic

ROOT = Path(__file__).parents[1]
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
    "theory/files.py",
    "sims/run_folder.py",
    "sims/sweep.py",
    "empirical/image_cache.py",
    "empirical/testing.py",
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
    for package in ("theory", "sims", "empirical", "paper_figs"):
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
