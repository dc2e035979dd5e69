"""What is fuzzed: each reader with a way to write one damaged input and a way to read it.

A reader is new here when it is one entry of `targets()`: its name, what writes a damaged input into an empty folder,
and what reads that folder as a user's program would.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import save

from benchmarks.fuzz import bombs
from benchmarks.fuzz.mutations import mutated, mutated_tar, random_pickle
from finegrain.empirical.networks.recipe import read_recipes
from finegrain.empirical.readers import image_cache
from finegrain.empirical.readers.array_files import read_whole
from finegrain.empirical.readers.cifar_archive import LAYOUTS, read_cifar
from finegrain.empirical.readers.data import Dataset
from finegrain.empirical.readers.feature_files import open_shard
from finegrain.empirical.readers.idx import read_idx
from finegrain.empirical.readers.image_folder import read_images
from finegrain.empirical.readers.image_names import Names
from finegrain.empirical.readers.subtypes import read_subtypes
from finegrain.empirical.readers.testing import batch, meta
from finegrain.sims.run_folder import RunFolder
from finegrain.sims.sweeps.points import read_points
from finegrain.sims.sweeps.sweep import read_table, sweep

Files = Mapping[str, bytes]
PACK = (bytes, gzip.compress, lzma.compress)


@dataclass(frozen=True)
class Target:
    """A reader: `damage(folder, rng)` writes one input, `read(folder)` reads it."""

    name: str
    damage: Callable[[Path, Random], None]
    read: Callable[[Path], object]


def targets() -> list[Target]:
    """Every reader of the package."""
    # Libraries that load at the first file, which is no fault of that file: safetensors' and pyarrow's.
    import pyarrow.compute  # noqa: F401
    import torch  # noqa: F401

    return [
        *(_cifar(name) for name in LAYOUTS),
        _idx(),
        _image_tar(),
        _image_folder(),
        _subtypes(),
        _image_cache(),
        _run_folder(),
        _one_file("sweep TOML", "input.toml", (TOML_GRID, TOML_POINTS), read_points),
        _one_file("sweep CSV", "input.csv", (_csv(1), _csv(7)), read_table),
        _one_file("recipe TOML", "input.toml", (RECIPE, RECIPES), read_recipes),
        _sweep_folder(),
        *_feature_files(),
        Target("bombs, for all of them", bombs.damage, bombs.read),
    ]


def _one_file(name: str, file: str, samples: tuple[bytes, ...], read: Callable[[Path], object]) -> Target:
    def damage(folder: Path, rng: Random) -> None:
        (folder / file).write_bytes(mutated(*rng.sample(samples, 2), rng))

    return Target(name, damage, lambda folder: read(folder / file))


def _cifar(name: str) -> Target:
    """Damage to a pickle around its pixels, to the tar, to the packed tar; and random pickles."""
    layout = LAYOUTS[name]
    images = np.arange(3072, dtype=np.uint8).reshape(1, 32, 32, 3)
    sound = {f: batch(layout, images, np.array([7])) for f in (*layout.train, layout.test)} | {
        layout.meta: meta(layout)
    }
    pixels = images.transpose(0, 3, 1, 2).tobytes()

    def changed(content: bytes, rng: Random) -> bytes:
        head, found, tail = content.partition(pixels)
        other = sound[rng.choice(list(sound))]
        return rng.choice(
            (
                mutated(head, other, rng) + found + tail,
                head + found + mutated(tail, other, rng),
                random_pickle(rng),
            )
        )

    def damage(folder: Path, rng: Random) -> None:
        files = {f"{layout.folder}/{f}": content for f, content in sound.items()}
        if rng.random() < 0.6:
            victim = rng.choice(list(files))
            files[victim] = changed(files[victim], rng)
            content = _tar(files)
        else:
            content = _damaged_tar(_tar(files), rng)
        (folder / "input.tar").write_bytes(content)

    return Target(name, damage, lambda folder: read_cifar(name, folder / "input.tar", verify=False))


def _idx() -> Target:
    sound = b"\0\0\x08\x03\0\0\0\x02\0\0\0\x03\0\0\0\x04" + bytes(range(24))

    def damage(folder: Path, rng: Random) -> None:
        plain = mutated(sound, sound, rng)
        packed = rng.choice((gzip.compress(plain), mutated(gzip.compress(sound), sound, rng)))
        (folder / "input").write_bytes(plain)
        (folder / "input.gz").write_bytes(packed)

    def read(folder: Path) -> object:
        # Half of the inputs are read plain, half packed; which, their content tells.
        content = (folder / "input").read_bytes()
        return read_idx(folder / ("input" if sum(content) % 2 else "input.gz"), axes=3)

    return Target("IDX", damage, read)


def _image_files() -> dict[str, bytes]:
    """Six small images: two classes, train and test, PNG, JPEG and WebP; and their labels.csv."""
    files = {}
    for i, (split, kind) in enumerate((s, k) for s in ("train", "test") for k in ("png", "jpeg", "webp")):
        content = io.BytesIO()
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(content, kind, **({"lossless": True} if kind == "webp" else {}))
        files[f"{split}/{'ab'[i % 2]}/{i}.{kind}"] = content.getvalue()
    rows = [f"{name},{name.split('/')[1]},all,{i}.png" for i, name in enumerate(files)]
    files["labels.csv"] = "\n".join(["path,class,superclass,original_file", *rows]).encode()
    return files


def _image_tar() -> Target:
    sound = _image_files()

    def damage(folder: Path, rng: Random) -> None:
        files = dict(sound)
        if rng.random() < 0.5:
            victim, other = rng.sample(sorted(files), 2)
            files[victim] = mutated(files[victim], files[other], rng)
            content = rng.choice(PACK)(_tar(files))
        else:
            content = _damaged_tar(_tar(files), rng)
        (folder / "input.tar").write_bytes(content)

    return Target("image tar", damage, lambda folder: read_images(folder / "input.tar"))


def _image_folder() -> Target:
    sound = _image_files()

    def damage(folder: Path, rng: Random) -> None:
        files = dict(sound)
        victim, other = rng.sample(sorted(files), 2)
        files[victim] = mutated(files[victim], files[other], rng)
        for name, content in files.items():
            (folder / "input" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "input" / name).write_bytes(content)
        odd = (
            folder
            / "input"
            / rng.choice(("train/a/\u0416.png", "train/c", "test/.hidden", "train/a/x.gif", "elsewhere"))
        )
        rng.choice(
            (odd.mkdir, odd.touch, lambda: odd.symlink_to("/etc/passwd"), lambda: odd.symlink_to("."), str)
        )()

    return Target("image folder", damage, lambda folder: read_images(folder / "input"))


def _subtypes() -> Target:
    x, y, paths = np.zeros((2, 4, 4), np.uint8), np.array([0, 1]), ("train/a/0", "train/b/1")
    names = Names(("a", "b"), train_paths=paths, test_paths=("test/a/0", "test/b/1"))
    data = Dataset("images", x, y, x, y, names.classes, names=names)
    rows = [f"{path}.png,{path[-1]},term" for path in (*names.train_paths, *names.test_paths)]
    sound = "\n".join(["path,class,synset", *rows]).encode()

    def damage(folder: Path, rng: Random) -> None:
        pack = rng.choice(PACK)
        content = pack(mutated(sound, sound, rng)) if rng.random() < 0.5 else mutated(pack(sound), sound, rng)
        (folder / "input").write_bytes(content)

    return Target("subtypes", damage, lambda folder: read_subtypes("subtypes:input", data, folder))


def _image_cache() -> Target:
    """A damaged entry must be found out: what comes back is what the decoder gives, and no error ever."""
    x = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    decoded = ((x, np.array([0, 1])), (x[:1], np.array([1])), Names(("a", "b"), ("c", "c")))

    def read(folder: Path) -> object:
        found = image_cache.cached(
            folder / "input" / "cache", "any", folder / "input" / "source", lambda: decoded
        )
        for ours, theirs in zip((*found[0], *found[1]), (*decoded[0], *decoded[1]), strict=True):
            assert np.array_equal(ours, theirs), "a damaged entry was taken for a whole one"
        assert found[2] == decoded[2], "damaged names were taken for whole ones"
        return found

    def write(folder: Path) -> None:
        (folder / "input").mkdir()
        (folder / "input" / "source").write_bytes(b"source")
        read(folder)

    return Target("image cache", _damage_to_one_of(_files_written(write), spared="source"), read)


def _run_folder() -> Target:
    """A run of two checkpoints: its JSON files and its safetensors."""
    config = {"steps": 2, "scale": 0.5}

    def write(folder: Path) -> None:
        with RunFolder(folder / "input", config) as run:
            for i in range(2):
                run.write(i, {"W": np.eye(3) * i, "A": np.ones((1, 3), np.float32)}, {"loss": 1.0 / (i + 1)})

    def read(folder: Path) -> object:
        with RunFolder(folder / "input", config) as run:
            return [run.read(i) for i in range(run.completed)]

    return Target("run folder (JSON, safetensors)", _damage_to_one_of(_files_written(write)), read)


def _sweep_folder() -> Target:
    """A finished sweep of one flow: the rows of its point, and its run folder where they are gone."""
    config = {"times": [0.0, 1.0], "width": 4, "activation": "identity"}

    def read(folder: Path) -> object:
        return sweep(config, folder / "input")

    return Target("sweep folder", _damage_to_one_of(_files_written(read)), read)


def _files_written(write: Callable[[Path], None]) -> Files:
    """The content of every file that `write` leaves in a folder, by its path there."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".lock")
        return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != ".lock"}


def _damage_to_one_of(sound: Files, spared: str = "nothing") -> Callable[[Path, Random], None]:
    """Write all files, one of them mutated, and never the one whose name is spared."""
    names = [name for name in sound if not name.endswith(spared)]

    def damage(folder: Path, rng: Random) -> None:
        victim, other = rng.sample(names, 2)
        for name, content in (dict(sound) | {victim: mutated(sound[victim], sound[other], rng)}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return damage


def _feature_files() -> list[Target]:
    """Features and labels of one's own, in each format, read to their end."""
    labels = _saved(np.save, np.arange(6) % 2)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((n, 3)).astype(np.float32) for n in (6, 9)]
    npy = tuple(_saved(np.save, a) for a in arrays)
    npz = tuple(_saved(np.savez, a) for a in arrays)
    tensors = tuple(save({"features": a}) for a in arrays)
    csv = tuple(b"a,b,c\n" + b"".join(b"%f,%f,%f\n" % tuple(row) for row in a.tolist()) for a in arrays)

    tables = tuple(_parquet(a, as_lists) for a, as_lists in zip(arrays, (False, True), strict=True))

    def read(file: Path) -> object:
        (file.parent / "labels.npy").write_bytes(labels)
        if file.suffix not in (".csv", ".parquet") and sum(file.read_bytes()) % 2:
            return read_whole(file, "input")
        return [list(source.blocks(4)) for source in open_shard(file, file.parent / "labels.npy")]

    def damage_npz(folder: Path, rng: Random) -> None:
        """To the zip file, or to the array in it under a checksum that fits."""
        if rng.random() < 0.5:
            (folder / "input.npz").write_bytes(mutated(*npz, rng))
            return
        with zipfile.ZipFile(folder / "input.npz", "w") as file:
            file.writestr("features.npy", mutated(*npy, rng))

    return [
        _one_file("features .npy", "input.npy", npy, read),
        Target("features .npz", damage_npz, lambda folder: read(folder / "input.npz")),
        _one_file("features .safetensors", "input.safetensors", tensors, read),
        _one_file("features .csv", "input.csv", csv, read),
        _one_file("features .parquet", "input.parquet", tables, read),
    ]


def _parquet(array: np.ndarray, as_lists: bool) -> bytes:
    """Columns of numbers, or one of lists; not compressed, so that damage reaches the values."""
    columns = {"features": array.tolist()} if as_lists else dict(zip("abc", array.T, strict=True))
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), content, compression="none")
    return content.getvalue()


def _saved(save_as: Callable[..., None], array: np.ndarray) -> bytes:
    content = io.BytesIO()
    save_as(content, array)
    return content.getvalue()


def _tar(files: Files) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return packed.getvalue().rstrip(b"\0") + bytes(1024)  # tarfile pads to 10 KiB


def _damaged_tar(tar: bytes, rng: Random) -> bytes:
    """Damage to headers, to any place, or to the packed file."""
    kind = rng.randrange(4)
    if kind == 0:
        return mutated(rng.choice(PACK)(tar), tar[:512], rng)
    for _ in range(rng.choice((1, 2, 3)) if kind > 1 else 0):
        tar = mutated_tar(tar, rng)
    return tar if kind > 1 else mutated(tar, tar[:512], rng)


TOML_GRID = b"""times = [0.0, 100.0, 400.0]
start = "balanced"
rtol = 1e-8
[grid]
eps = [1e-2, 1e-3]
S = [2, 3]
seed = [0, 1]
"""
RECIPE = b"""name = "cifar"
grid = { labels = ["coarse", "fine"], seed = [0, 1] }
[recipe]
network = "speed"
width = 32
map = "mod"
epochs = 9
sizes = [[0, 20], [4, 24], [6, 32]]
learning_rate = 0.75
lookahead = true
"""
RECIPES = b"""grid = { map = ["mod", "random:1", [0, 0, 1, 1]], width = [8] }
[recipe]
network = "mlp"
loss = "squared"
label_smoothing = 0.1
flip = "none"
compile = false
measured = 80
"""
TOML_POINTS = b"""times = [10.0]
activation = "identity"
[[points]]
width = 16
lambda = 0.01
[[points]]
width = 32
sigma = 0.1
start = "gaussian"
"""


def _csv(seed: int) -> bytes:
    """A sweep's table of two rows."""
    settings = read_points({"times": [1.0], "seed": seed})[0].settings
    columns = ["run", *settings, "time", "population_loss", "fine_share"]
    rows = [[f"run{i}", *settings.values(), 10.0 * i, 0.25 / (i + 1), "nan"] for i in range(2)]
    return "".join(",".join(map(str, row)) + "\n" for row in [columns, *rows]).encode()
