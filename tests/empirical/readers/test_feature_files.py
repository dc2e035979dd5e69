"""Features and labels of every format: read back in blocks as written, or an error that names the file."""

import csv
import os
import re
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from finegrain.empirical.readers.array_files import read_whole
from finegrain.empirical.readers.feature_files import open_shard

pyarrow = pytest.importorskip("pyarrow")
parquet_files = pytest.importorskip("pyarrow.parquet")

X = np.random.default_rng(0).standard_normal((23, 3)).astype(np.float32)
WORDS = np.array(["cat", "dog", "a"])[np.arange(23) % 3]
NUMBERS = np.arange(23) % 3


def write_csv(path, columns):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def columns(labels, name="label"):
    return {f"x{i}": X[:, i].tolist() for i in range(3)} | {name: labels.tolist()}


def npy(folder):
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", WORDS)
    return folder / "x.npy", folder / "y.npy", WORDS


def npz(folder):
    np.savez_compressed(folder / "f.npz", features=X, labels=NUMBERS, other=np.zeros(2))
    return folder / "f.npz", None, NUMBERS


def npz_by_column(folder):
    np.savez(folder / "f.npz", h=np.asfortranarray(X), y=WORDS.astype("S"))
    return f"{folder / 'f.npz'}:h", f"{folder / 'f.npz'}:y", WORDS.astype("S")


def npz_of_a_single_array_each(folder):
    np.savez(folder / "h.npz", activations=X)
    np.savez(folder / "y.npz", y=NUMBERS)
    return folder / "h.npz", folder / "y.npz", NUMBERS


def npz_with_a_folder_in_its_names(folder):
    np.savez(folder / "f.npz", **{"train/h": X, "test/h": X[:2], "train/y": NUMBERS})
    return f"{folder / 'f.npz'}:train/h", f"{folder / 'f.npz'}:train/y", NUMBERS


def safetensors(folder):
    save_file(
        {"features": torch.from_numpy(X).bfloat16(), "label": torch.from_numpy(NUMBERS)},
        folder / "f.safetensors",
    )
    return folder / "f.safetensors", None, NUMBERS


def table(folder):
    write_csv(folder / "f.csv", columns(WORDS))
    return folder / "f.csv", None, WORDS


def table_with_a_named_column(folder):
    write_csv(folder / "f.csv", columns(NUMBERS, "species"))
    return folder / "f.csv", f"{folder / 'f.csv'}:species", NUMBERS.astype(str)


def parquet(folder):
    parquet_files.write_table(pyarrow.table(columns(NUMBERS)), folder / "f.parquet")
    return folder / "f.parquet", None, NUMBERS


def parquet_with_a_named_column(folder):
    parquet_files.write_table(pyarrow.table(columns(NUMBERS, "species")), folder / "f.parquet")
    return folder / "f.parquet", f"{folder / 'f.parquet'}:species", NUMBERS


def parquet_of_lists(folder):
    for kind in (pyarrow.list_(pyarrow.float32(), 3), pyarrow.list_(pyarrow.float32())):
        lists = pyarrow.array(X.tolist(), kind)
        parquet_files.write_table(
            pyarrow.table({"features": lists, "labels": WORDS.tolist(), "id": NUMBERS}), folder / "f.parquet"
        )
    return folder / "f.parquet", None, WORDS


def parquet_of_categories(folder):
    categories = pyarrow.array(WORDS.tolist()).dictionary_encode()
    parquet_files.write_table(
        pyarrow.table({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "label": categories}), folder / "f.parquet"
    )
    return folder / "f.parquet", None, WORDS


def csv_of_a_spreadsheet(folder):
    write_csv(folder / "f.csv", {"label": WORDS.tolist()} | {f"x{i}": X[:, i].tolist() for i in range(3)})
    (folder / "f.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "f.csv").read_bytes())  # a byte-order mark
    return folder / "f.csv", None, WORDS


FORMATS = [
    parquet_of_categories,
    csv_of_a_spreadsheet,
    npy,
    npz,
    npz_by_column,
    npz_of_a_single_array_each,
    npz_with_a_folder_in_its_names,
    safetensors,
    table,
    table_with_a_named_column,
    parquet,
    parquet_with_a_named_column,
    parquet_of_lists,
]


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize("write", FORMATS, ids=lambda f: f.__name__)
def test_what_was_written_is_read_back_in_blocks(write, size, tmp_path):
    *paths, labels = write(tmp_path)
    sources = open_shard(*paths)
    x, y = (list(source.blocks(size)) for source in sources)
    assert all(source.name.startswith(f"{tmp_path}/") for source in sources)
    assert {source.rows for source in sources} == {None if ".csv" in str(paths[0]) else 23}
    assert {len(block) for block in x[:-1]} <= {size} and 0 < len(x[-1]) <= size
    tolerance = 2**-8 if write is safetensors else 0
    np.testing.assert_allclose(np.concatenate(x), X, rtol=tolerance)
    np.testing.assert_array_equal(np.concatenate(y), labels)
    assert np.concatenate(y).dtype.kind == labels.dtype.kind


@pytest.mark.parametrize("write", [npz, npy], ids=lambda f: f.__name__)
def test_a_file_is_never_held_whole(write, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "X", np.zeros((200_000, 8)))
    monkeypatch.setitem(globals(), "NUMBERS", np.zeros(200_000, dtype=int))
    monkeypatch.setitem(globals(), "WORDS", np.zeros(200_000, dtype=int))
    features, _ = open_shard(*write(tmp_path)[:2])
    tracemalloc.start()
    assert sum(len(block) for block in features.blocks(1000)) == 200_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6 < X.nbytes / 10


@pytest.mark.parametrize("write", [npy, npz, npz_by_column, safetensors, parquet], ids=lambda f: f.__name__)
@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.9])
def test_a_truncated_file_is_named(write, keep, tmp_path):
    features, labels, _ = write(tmp_path)
    path = tmp_path / str(features).removesuffix(":h").rsplit("/", 1)[1]
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged, truncated or no {path.suffix} file")):
        for source in open_shard(features, labels):
            list(source.blocks(4))


@pytest.mark.parametrize("write", [npy, npz, safetensors, table, parquet], ids=lambda f: f.__name__)
def test_a_file_that_is_damaged_once_it_is_open_is_named(write, tmp_path):
    path, labels, _ = write(tmp_path)
    features, _ = open_shard(path, labels)
    path.write_bytes(path.read_bytes()[:60] + b"\xff")
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged, truncated or no {path.suffix} file")):
        list(features.blocks(4))


def test_a_flipped_byte_in_an_archive_is_found(tmp_path):
    path, *_ = npz(tmp_path)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged, truncated or no \.npz file"):
        list(open_shard(path)[0].blocks(4))


@pytest.mark.parametrize("size", [2, 3])
def test_a_table_with_a_short_line_is_named_by_its_number(tmp_path, size):
    path = tmp_path / "f.csv"
    path.write_text("x0,x1,label\n1,2,a\n3,4,b\n5\n")
    with pytest.raises(
        ValueError, match=re.escape(f"{path} must have 3 cells in each line, got 1 in line 4")
    ):
        list(open_shard(path)[0].blocks(size))


def written(path, content):
    path.write_text(content)
    return path


def saved(path, *unnamed, **named):
    (np.save if unnamed else np.savez)(path, *unnamed, **named)
    return path


def tensors(path, **named):
    save_file({name: torch.zeros(shape) for name, shape in named.items()}, path)
    return path


# What is asked for, by what it is asked of: a function of a folder, and the whole message ("x" is the file there).
BAD = {
    "missing": (lambda f: f / "x", "no file {x}"),
    "ending": (
        lambda f: written(f / "x", "1"),
        "features must be a file ending in .npy, .npz, .safetensors, .csv, .parquet; got {x}",
    ),
    "three axes": (
        lambda f: saved(f / "x.npy", np.zeros((4, 2, 2))),
        "{x}.npy must hold features of shape (N, d), not empty, got (4, 2, 2): "
        "average or flatten all axes but the first",
    ),
    "one axis": (
        lambda f: saved(f / "x.npy", np.zeros(4)),
        "{x}.npy must hold features of shape (N, d), not empty, got (4,)",
    ),
    "empty": (
        lambda f: saved(f / "x.npz", features=np.zeros((0, 2))),
        "{x}.npz must hold features of shape (N, d), not empty, got (0, 2)",
    ),
    "empty tensors": (
        lambda f: tensors(f / "x.safetensors", features=(3, 0)),
        "{x}.safetensors must hold features of shape (N, d), not empty, got (3, 0)",
    ),
    "no labels": (
        lambda f: saved(f / "x.npy", np.zeros((4, 2))),
        "{x}.npy must hold labels of shape (N,), not empty, got (4, 2): "
        "they are one a sample; where they lie in another file, name it (--labels)",
    ),
    "many": (
        lambda f: saved(f / "x.npz", a=X, b=X),
        "{x}.npz holds no single array for the features; name one as x.npz:NAME, of a, b",
    ),
    "unknown": (
        lambda f: f"{saved(f / 'x.npz', a=X)}:h",
        "{x}.npz holds no array 'h'; name one as x.npz:NAME, of a",
    ),
    "unknown tensor": (
        lambda f: f"{tensors(f / 'x.safetensors', b=(3, 1), a=(3, 1))}:h",
        "{x}.safetensors holds no array 'h'; name one as x.safetensors:NAME, of a, b",
    ),
    "unknown column": (
        lambda f: f"{written(f / 'x.csv', 'b,a')}:h",
        "{x}.csv holds no array 'h'; name one as x.csv:NAME, of a, b",
    ),
    "unknown column of parquet": (
        lambda f: (
            parquet_files.write_table(pyarrow.table({"a": [1]}), f / "x.parquet") or f"{f / 'x.parquet'}:h"
        ),
        "{x}.parquet holds no array 'h'; name one as x.parquet:NAME, of a",
    ),
    "named": (lambda f: f"{saved(f / 'x.npy', X)}:h", "{x}.npy holds one array without a name, got :h"),
    "no header": (
        lambda f: written(f / "x.csv", "1,2\n3,4\n"),
        "{x}.csv must begin with a line of column names, got ['1', '2']",
    ),
    "no line": (
        lambda f: written(f / "x.csv", ""),
        "{x}.csv must begin with a line of column names, got []",
    ),
    "text": (
        lambda f: written(f / "x.csv", "a,b,label\n1,?,c\n"),
        "{x}.csv must hold numbers in its feature columns, got '?' in column 'b' of line 2",
    ),
}


@pytest.mark.parametrize(("write", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_refused_by_name(write, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        list(open_shard(write(tmp_path))[0].blocks(4))
    assert str(refused.value) == message.format(x=tmp_path / "x")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors", "csv", "parquet"])
def test_a_pipe_or_a_folder_is_no_file_and_is_not_waited_for(make, ending, tmp_path):
    make(tmp_path / f"x.{ending}")
    for read in (open_shard, lambda path: read_whole(path, "x"), lambda path: open_shard(f"{path}:name")):
        with pytest.raises(
            FileNotFoundError, match=rf"no file .*x\.{ending} \(a folder, pipe or device is none\)"
        ):
            read(tmp_path / f"x.{ending}")


def test_a_colon_in_a_path_is_no_name(tmp_path):
    folder = tmp_path / "run:3"
    folder.mkdir()
    np.save(folder / "x:y.npy", X)
    np.savez(folder / "f.npz", h=X, y=NUMBERS)
    for spec in (folder / "x:y.npy", f"{folder}/f.npz:h"):
        (x,) = open_shard(spec, f"{folder}/f.npz:y")[0].blocks(100)
        np.testing.assert_array_equal(x, X)


def test_a_label_column_is_left_out_of_the_features_of_its_own_file_alone(tmp_path):
    write_csv(tmp_path / "f.csv", columns(NUMBERS, "kind"))
    write_csv(tmp_path / "labels.csv", {"kind": WORDS.tolist()})
    for file, width in (("f.csv", 3), ("labels.csv", 4)):
        (x,) = open_shard(tmp_path / "f.csv", f"{tmp_path / file}:kind")[0].blocks(100)
        assert x.shape == (23, width)
