"""Every part of the package that writes, small, for tests of what a failing disk does to it.

    with quick(): WRITERS["sweep"](folder, version)

A writer works in `folder` alone and reads the files of `prepare`, which lie beside it. `version` 1 has other results
than `version` 0 where a second run may replace the first. `quick` puts constants in the place of what takes long and
writes nothing: proofs, verifications, clustering, drawing.
"""

from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from finegrain.empirical.commands.discover import discover
from finegrain.empirical.commands.measure import measure
from finegrain.empirical.commands.predict import predict
from finegrain.empirical.commands.recover import recover
from finegrain.empirical.commands.terms import terms
from finegrain.empirical.commands.train import train
from finegrain.empirical.hidden_classes import report, study, third_level
from finegrain.empirical.networks.recipe import Recipe
from finegrain.empirical.prediction import sweep as prediction_sweep
from finegrain.empirical.prediction.config import Config
from finegrain.empirical.readers import image_cache
from finegrain.empirical.readers.data import Dataset
from finegrain.empirical.readers.image_names import Names
from finegrain.empirical.readers.subtypes import Subtypes
from finegrain.paper_figs.gallery import build, changes, inputs
from finegrain.paper_figs.program import main as figures
from finegrain.sims import run_folder
from finegrain.sims.program import plot, verify
from finegrain.sims.sweeps.sweep import sweep
from finegrain.theory import ledger
from finegrain.theory.program import main as theory

SWEEP = {"times": [1.0], "width": 4, "activation": "identity"}
RECIPE = Recipe(
    network="mlp", width=4, map="0,0,1,1", epochs=1, batch=32, scale=1.0, crop=1, measured=40, precision="float32"
)  # fmt: skip
TERMS = {"class": "a", "terms": ["b", "c"], "images": 9, "ari": {"k-means": 0.5}, "chance": {"k-means": 0.1}}
TERMS |= {"test images": 9, "probe": 0.5, "largest": 0.5}
CONFIG = Config(map="0,0,1,1", components=1, dim=3, width=4, steps=4, records=2)


def images():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    x = rng.integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
    return Dataset("small", x[:40], labels[:40], x[40:], labels[40:], tuple("abcd"))


def prepare(folder):
    """What the writers read: features with labels, a sweep's table, a recipe."""
    for version in (0, 1):
        rng = np.random.default_rng(version)
        y = np.arange(80) % 4
        x = rng.standard_normal((80, 4)) + np.eye(4)[y]
        np.savez(folder / f"features{version}.npz", features=x, labels=y, test_features=x, test_labels=y)
        np.savez(folder / f"coarse{version}.npz", features=x, labels=y // 2)
        sweep(SWEEP | {"eps": 0.1 + version, "grid": {"width": [4, 8]}}, folder / f"table{version}")
    (folder / "recipe.toml").write_text(
        '[recipe]\nnetwork = "mlp"\nwidth = 4\nepochs = 1\nbatch = 32\nmeasured = 40\n'
    )


def given(folder, name, version):
    return str(folder.parent / f"{name}{version}.npz")


def _train(folder, version):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finegrain.empirical.readers.data.load", lambda *_, **__: images())
        train(folder.parent / "recipe.toml", "small", out=folder, device="cpu")


def _recover(folder, version):
    report.whole(RECIPE, images(), folder, device="cpu")


def _glances(folder, version):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finegrain.empirical.readers.data.load", lambda *_, **__: images())
        recipes, table = folder.parent / "recipe.toml", folder / "new" / "runs.json"
        recover(recipes, "small", out=folder, device="cpu", glance=True, json_file=table)


def _terms(folder, version):
    data = images()
    below = Subtypes(tuple("abcd"), np.arange(4), data.train_y, data.test_y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finegrain.empirical.readers.data.load", lambda *_, **__: data)
        patch.setattr("finegrain.empirical.readers.subtypes.read_subtypes", lambda *_: below)
        terms("small", "subtypes:small", least=2, seed=version, json_file=folder / "new" / "terms.json")


def _predictions(folder, version):
    configs = [replace(CONFIG, seed=seed) for seed in (0, 1)]
    prediction_sweep.sweep(images(), configs, folder / "points.json")


def _accept(folder, version):
    record = {"name": "depth", "seed": 0, "numbers": {"slope": float(version)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "COMMITTED", folder / "numbers.json")
        changes.accept([record])


def _cache(folder, version):
    data = images()
    decoded = (data.train_x, data.train_y), (data.test_x, data.test_y), Names(data.class_names)
    source = folder.parent / f"features{version}.npz"
    image_cache.cached(folder / "cache", "images", source, lambda: decoded)


WRITERS = {
    "theory": lambda folder, version: theory("T14" if version else "T3", json_file=folder / "new" / "ledger.json"),
    "verify": lambda folder, version: verify("T4", seed=version, json_file=folder / "rows.json"),
    "sweep": lambda folder, version: sweep(SWEEP | {"eps": 0.1 + version}, folder),
    "plot": lambda folder, version: plot(
        folder.parent / f"table{version}" / "sweep.csv", "width", "population_loss", where=["time=1.0"], out=folder
    ),
    "predict": lambda folder, version: predict(
        data=f"features:{given(folder, 'features', 0)}", map="0,0,1,1", components="1",
        dim=3, width=4, steps=4, records=2, device="cpu", out=folder,
    ),
    "predictions": _predictions,
    "measure": lambda folder, version: measure([given(folder, "features", version)], out=folder, groups=1),
    "discover": lambda folder, version: discover(given(folder, "coarse", version), seed=version, out=folder),
    "train": _train,
    "recover": _recover,
    "glances": _glances,
    "terms": _terms,
    "figures": lambda folder, version: figures(["invisible_subspace"], out=folder, seed=version, jobs=1),
    "accept": _accept,
    "image cache": _cache,
}  # fmt: skip


def _drawn(figure, buffer, format, **_):
    buffer.write(f"{format} {figure.get_axes()}".encode())


@contextmanager
def quick():
    """Constants for what takes long; a figure is drawn, its file is a word."""
    toy = SimpleNamespace(
        CLAIM="a claim", compute=lambda jobs, seed: {"slope": seed}, draw=lambda numbers: Figure()
    )
    numbers = dict.fromkeys(("error", "predicted", "observed", "bound", "slack"), 1.0)
    row = SimpleNamespace(row=lambda: {}, holds=True, theorem="T4", quantity="q", reason="r", **numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "prove", cache(ledger.prove))
        patch.setattr("finegrain.sims.program._observed", lambda _: SimpleNamespace(verify=lambda _: [row]))
        genuine = build.import_module
        patch.setattr(build, "import_module", lambda name: toy if "paper_figs" in name else genuine(name))
        patch.setattr(inputs, "digest", lambda name, settings: f"{name} {settings}")
        patch.setattr(Figure, "savefig", _drawn)
        patch.setattr(run_folder, "environment", cache(run_folder.environment))
        for module in ("prediction.figure", "measurement.figure", "hidden_classes.contact_sheet"):
            patch.setattr(f"finegrain.empirical.{module}.draw", lambda *_: Figure())
        for command in ("predict", "measure"):
            patch.setattr(f"finegrain.empirical.commands.{command}._table", lambda *_: "")
        for name in ("by_view", "by_place", "by_epoch"):
            patch.setattr(study, name, lambda *_: [])
        patch.setattr(report, "_drawn", lambda *_: {})
        patch.setattr(third_level, "by_class", lambda *_, **__: [TERMS])
        yield
