"""Decoded once, then mapped; a damaged entry is decoded anew; an error or a kill leaves nothing half written."""

import fcntl
import multiprocessing
import os
import time

import numpy as np
import pytest

from finegrain.empirical.readers import image_cache
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.image_cache import cached, default_folder, fingerprint
from finegrain.empirical.readers.image_names import Names
from finegrain.empirical.readers.testing import write_cifar

NAMES = Names(("cat", "dog"), ("pets", "pets"), ("train/cat/0", "train/dog/\udcff"), ("test/dog/1",))
SPLITS = ("train_x", "train_y", "test_x", "test_y")


def decoded(shift=0):
    x = np.arange(2 * 48, dtype=np.uint8).reshape(2, 4, 4, 3) + np.uint8(shift)
    return (x, np.array([0, 1])), (x[:1], np.array([1])), NAMES


class Counting:
    """A decoder that counts its calls, and that raises if told to."""

    def __init__(self, error=None):
        self.calls, self.error = 0, error

    def __call__(self):
        self.calls += 1
        if self.error:
            raise self.error
        return decoded()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.tar"
    path.write_bytes(b"the archive")
    return path


def same(a, b):
    arrays = zip((*a[0], *a[1]), (*b[0], *b[1]), strict=True)
    return a[2] == b[2] and all(np.array_equal(x, y) for x, y in arrays)


def entry(folder):
    (found,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return found


def test_the_source_is_decoded_once_and_mapped(tmp_path, source):
    decode = Counting()
    for _ in range(3):
        result = cached(tmp_path / "cache", "images", source, decode)
        assert same(result, decoded())
        assert isinstance(result[0][0], np.memmap) and result[0][0].dtype == np.uint8
    assert decode.calls == 1


def test_the_folder_is_made_with_those_above_it(tmp_path, source):
    assert isinstance(cached(tmp_path / "a" / "cache", "images", source, decoded)[0][0], np.memmap)


def test_a_whole_entry_is_read_without_its_lock(tmp_path, source, monkeypatch):
    """Another process may hold it, to write the entry anew."""
    cached(tmp_path / "cache", "images", source, decoded)
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("asked for the lock"))
    assert same(cached(tmp_path / "cache", "images", source, decoded), decoded())


def test_entries_do_not_wait_for_each_other(tmp_path, source, monkeypatch):
    def decode():
        cached(tmp_path / "cache", "cifar10", source, decoded)
        return decoded()

    def at_once(file, operation, flock=fcntl.flock):
        flock(file, operation | fcntl.LOCK_NB)

    monkeypatch.setattr(fcntl, "flock", at_once)
    assert same(cached(tmp_path / "cache", "images", source, decode), decoded())


def test_writing_into_the_arrays_does_not_change_the_cache(tmp_path, source):
    first = cached(tmp_path / "cache", "images", source, decoded)
    first[0][0][:] = 0
    assert same(cached(tmp_path / "cache", "images", source, decoded), decoded())


def test_another_reader_or_a_changed_source_has_an_entry_of_its_own(tmp_path, source):
    decode = Counting()
    cached(tmp_path / "cache", "images", source, decode)
    cached(tmp_path / "cache", "cifar10", source, decode)
    source.write_bytes(b"another archive")
    cached(tmp_path / "cache", "images", source, decode)
    assert decode.calls == 3


def test_a_folder_s_fingerprint_follows_names_sizes_and_times(tmp_path):
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    seen = {fingerprint(tmp_path)}
    (folder / "0.png").write_bytes(b"abc")
    seen.add(fingerprint(tmp_path))
    os.utime(folder / "0.png", ns=(1, 1))
    seen.add(fingerprint(tmp_path))
    (folder / "0.png").rename(folder / "1.png")
    seen.add(fingerprint(tmp_path))
    folder.rename(tmp_path / "train" / "dog")
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 5
    assert fingerprint(tmp_path) in seen


def test_a_folder_s_fingerprint_is_the_same_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(b"abc")
    before = fingerprint(tmp_path)
    monkeypatch.chdir(tmp_path / "cat")
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("name", [*(f"{split}.npy" for split in SPLITS), "names.json", "entry.json"])
@pytest.mark.parametrize("damage", ["bit", "truncated", "absent"])
def test_a_damaged_entry_is_decoded_anew(tmp_path, source, name, damage):
    decode = Counting()
    cached(tmp_path / "cache", "images", source, decode)
    file = entry(tmp_path / "cache") / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "absent":
        file.unlink()
    else:
        file.write_bytes(content if damage == "bit" else content[: len(content) // 2])
    for _ in range(2):
        assert same(cached(tmp_path / "cache", "images", source, decode), decoded())
    assert decode.calls == 2
    assert sorted(p.name for p in entry(tmp_path / "cache").iterdir()) == sorted(
        [*(f"{split}.npy" for split in SPLITS), "names.json", "entry.json"]
    )


def test_another_name_in_an_entry_is_found_out(tmp_path, source):
    cached(tmp_path / "cache", "images", source, decoded)
    file = entry(tmp_path / "cache") / "names.json"
    file.write_bytes(file.read_bytes().replace(b'"dog"', b'"cow"'))
    assert same(cached(tmp_path / "cache", "images", source, decoded), decoded())


def test_an_error_of_the_reader_passes_and_a_damaged_entry_stays(tmp_path, source):
    cached(tmp_path / "cache", "images", source, decoded)
    file = entry(tmp_path / "cache") / "train_x.npy"
    file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="truncated"):
        cached(tmp_path / "cache", "images", source, Counting(ValueError("truncated")))
    assert file.read_bytes() == b"damaged"


def test_a_missing_source_is_the_readers_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="images must be a folder or a tar file"):
        load("images:absent", tmp_path, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_where_nothing_can_be_written_the_images_come_with_a_warning(tmp_path, source):
    (tmp_path / "file").write_text("")
    with pytest.warns(
        RuntimeWarning, match="decoded images are not kept: cache folder .*file/cache could not"
    ):
        assert same(cached(tmp_path / "file" / "cache", "images", source, decoded), decoded())


def test_the_warning_names_the_line_that_loads(tmp_path):
    write_cifar(tmp_path / "archive.tar.gz", "cifar10")
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="are not kept") as warned:
        load("cifar10:archive.tar.gz", tmp_path, cache=tmp_path / "file" / "cache", verify=False)
    assert warned[0].filename == __file__


def test_a_full_disk_leaves_nothing_half_written(tmp_path, source, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.warns(RuntimeWarning, match="No space left on device"):
        patch.setattr(image_cache.np, "save", full)
        assert same(cached(tmp_path / "cache", "images", source, decoded), decoded())
    assert [p.name for p in (tmp_path / "cache").iterdir() if not p.name.endswith(".lock")] == []
    assert isinstance(cached(tmp_path / "cache", "images", source, decoded)[0][0], np.memmap)


def test_what_a_killed_writer_left_is_cleared_away(tmp_path, source):
    cached(tmp_path / "cache", "images", source, decoded)
    whole = entry(tmp_path / "cache")
    half = whole.rename(whole.with_name(f".{whole.name}.part"))
    (half / "train_x.npy").write_bytes(b"half")
    assert same(cached(tmp_path / "cache", "images", source, decoded), decoded())
    assert not half.exists() and entry(tmp_path / "cache") == whole


def _slow(folder, source, log):
    def decode():
        with open(log, "a") as file:
            file.write("decoded\n")
        time.sleep(0.3)
        return decoded()

    assert same(cached(folder, "images", source, decode), decoded())


def test_of_two_processes_one_decodes_and_the_other_waits(tmp_path, source):
    context = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "cache", source, tmp_path / "log")
    workers = [context.Process(target=_slow, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert (tmp_path / "log").read_text() == "decoded\n"


def test_the_default_folder_is_the_systems(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "finegrain"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "finegrain"


def test_a_cached_data_set_is_the_same_and_a_verified_one_is_not_taken_from_an_unverified(tmp_path):
    path = tmp_path / "archive.tar.gz"
    written = write_cifar(path, "cifar10")
    for _ in range(2):
        dataset = load(f"cifar10:{path}", cache=tmp_path / "cache", verify=False)
        for split in SPLITS:
            np.testing.assert_array_equal(getattr(dataset, split), written[split])
    with pytest.raises(ValueError, match="is not the official cifar10 archive"):
        load(f"cifar10:{path}", cache=tmp_path / "cache")
