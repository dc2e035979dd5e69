"""Files are whole or as they were, folders are tried before work begins, and JSON is JSON."""

import errno
import json

import pytest

from finegrain.theory.tools import files
from finegrain.theory.tools.files import to_json, writable_folder, write_atomic


def test_text_and_bytes_are_written_whole_and_nothing_else_is_left(tmp_path):
    write_atomic(tmp_path / "text", "λ")
    write_atomic(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "text").read_text() == "λ"
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bytes", "text"]


def test_a_full_disk_keeps_the_old_file_and_names_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_atomic(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"could not write .*result.json: No space left") as error:
        write_atomic(path, "new")
    assert error.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_what_killed_writers_left_is_cleared_and_nothing_else(tmp_path):
    kept = {"result.json", ".hidden", "x.7.part", ".result.json.part", ".result.json.7.part.old"}
    for name in kept | {".result.json.7.part", ".weights.12345.part"}:
        (tmp_path / name).write_text("")
    files.clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"output folder .*file/run is not writable") as error:
        writable_folder(tmp_path / "file" / "run")
    assert error.value.errno == errno.ENOTDIR
    with pytest.raises(
        OSError, match=r"output folder .*file is not writable: .*file is a file; name a folder"
    ):
        writable_folder(tmp_path / "file")


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    for _ in range(2):
        folder = writable_folder(str(tmp_path / "a" / "b"))
        assert folder == tmp_path / "a" / "b"
        assert list(folder.iterdir()) == []


def test_json_has_null_where_a_number_is_not_finite():
    value = {"a": [float("nan"), 1.0], "b": (float("inf"), 2), "c": {"d": "x", "e": None}}
    assert json.loads(to_json(value)) == {"a": [None, 1.0], "b": [None, 2], "c": {"d": "x", "e": None}}
    assert to_json([1]) == "[\n 1\n]"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_stops_a_write_leaves_nothing_behind_either(tmp_path, monkeypatch, error):
    def stopped(_):
        raise error

    monkeypatch.setattr(files.os, "fsync", stopped)
    with pytest.raises(error):
        write_atomic(tmp_path / "result.json", "new")
    assert list(tmp_path.iterdir()) == []


def test_text_that_no_file_can_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_atomic(tmp_path / "text", "\ud800")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_removal_either_does_not_hide_why(tmp_path, monkeypatch):
    def readonly(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.os, "fsync", readonly)
    monkeypatch.setattr(files.Path, "unlink", readonly)
    with pytest.raises(OSError, match=r"could not write .*result\.json: Read-only file system"):
        write_atomic(tmp_path / "result.json", "new")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "../a", "a\0b"])
def test_a_name_inside_a_folder_has_no_separators(tmp_path, name):
    with pytest.raises(ValueError, match="must be one of a file, without separators, got"):
        files.inside(tmp_path, name)


def test_a_place_inside_a_folder_is_behind_no_link(tmp_path):
    assert files.inside(tmp_path, "a", "b [c]") == tmp_path / "a" / "b [c]"
    (tmp_path / "a").symlink_to("/tmp")
    with pytest.raises(
        OSError, match="a is a link, which is not followed: delete it, or name another folder"
    ):
        files.inside(tmp_path, "a", "b")


def test_an_output_file_that_is_a_folder_is_refused_before_the_work(tmp_path):
    assert files.writable_file(tmp_path / "new" / "x.json").parent.is_dir()
    with pytest.raises(OSError, match="is a folder; name a file"):
        files.writable_file(tmp_path)
