"""All that a trained run tells of its hidden classes, in one JSON file, and its representation beside it.

recovery.json                how much, where, when (study.py), accuracies, metrics of training
representation.safetensors   of all images, as they are, with fine labels and classifier
moments.safetensors          of the test images' representation, one entry a fine class, in float32

Of many runs a glance does: glance.json, how much, by default from 10,000 training images.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy.stats import t as student

from finegrain.empirical.hidden_classes import study as hidden_classes
from finegrain.empirical.networks.recipe import Recipe
from finegrain.empirical.networks.representation import Features, classifier_of
from finegrain.empirical.networks.training import Trained, train
from finegrain.empirical.readers.data import Dataset
from finegrain.sims.run_folder import environment, hold
from finegrain.theory.moments import Moments
from finegrain.theory.tools.console import tracked
from finegrain.theory.tools.files import to_json, write_atomic

Report = dict[str, Any]

# Training images for the rows that stand beside: earlier stages, pixels, the untrained network.
BESIDE = 10_000
WAY = ("view", "stages", "method")  # what tells rows of "how much" apart
SCORES = ("share", "clp", "oracle", "clp_in_class", "oracle_in_class")
DRAWN = 1000  # test images of one coarse class that the t-SNE figure shows


def study(
    data: Dataset,
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    jobs: int = 1,
    progress: bool = False,
) -> Report:
    """Report on one run, trained first if it is not, and write the module's three files into its folder.

    `jobs` processes cluster and probe. A run on fine labels is a baseline: its accuracies alone are reported.
    """
    trained = train(data, recipe, folder, device=device, progress=progress)
    pixels = _pixels(data, recipe)
    views = {
        split: hidden_classes.views(trained.network, images, pixels=pixels)
        for split, images in trained.images.items()
    }
    report = _heading(data, trained)
    report["accuracy"] = hidden_classes.accuracies(trained, recipe, views["test"])
    if recipe.labels == "coarse":
        fine = data.train_y, data.test_y
        report["how much"] = hidden_classes.how_much(
            trained, views["train"], views["test"], fine, recipe.seed, jobs
        )
        raw = (data.train_x, data.test_x)
        report["where"] = hidden_classes.where(
            trained, trained.network_at(0), raw, BESIDE, recipe.seed, pixels, jobs
        )
        report["when"] = _when(trained, recipe, progress)
        report["drawn"] = _drawn(views["test"]["as is"][0], data.test_y, trained.coarse_map, recipe.seed)
    with hold(folder, wait=True):  # the files of two processes are not mixed
        _write_arrays(data, folder, trained, views)
        write_atomic(folder / "recovery.json", to_json(report))
    return report


def glance(
    data: Dataset,
    recipe: Recipe,
    folder: Path,
    *,
    images: int = BESIDE,
    device: str = "auto",
    jobs: int = 1,
    progress: bool = False,
) -> Report:
    """How much alone, from so many training images, for tables of many runs; written as glance.json.

    Raises:
        ValueError: too few images to hold every class, before anything is trained; and as `train`.
    """
    chosen = hidden_classes.some(len(data.train_x), images, recipe.seed)
    if (missing := data.num_fine - np.unique(data.train_y[chosen]).size) > 0:
        raise ValueError(
            f"images must be so many that every class is among them, got {images}: {missing} have none"
        )
    trained = train(data, recipe, folder, device=device, progress=progress)
    pixels = _pixels(data, recipe)
    test = hidden_classes.views(trained.network, trained.images["test"], pixels=pixels)
    report = _heading(data, trained)
    report["accuracy"] = hidden_classes.accuracies(trained, recipe, test)
    if recipe.labels == "coarse":
        seen = hidden_classes.views(trained.network, trained.images["train"], chosen, pixels)
        fine = data.train_y[chosen], data.test_y
        report["how much"] = hidden_classes.how_much(trained, seen, test, fine, recipe.seed, jobs)
    with hold(folder, wait=True):
        write_atomic(folder / "glance.json", to_json(report))
    return report


def _pixels(data: Dataset, recipe: Recipe) -> int:
    """The resolution that the network was last trained on: at another one it is another network."""
    return recipe.pixels(recipe.epochs - 1, data.train_x.shape[1])


def _heading(data: Dataset, trained: Trained) -> Report:
    return {
        "recipe": asdict(trained.recipe),
        "images": data.name.partition(":")[0],
        "class_names": list(data.class_names),
        "coarse_map": trained.coarse_map.tolist(),
        "metrics": trained.metrics,
        # Of the training and of its checkpoints; whatever precision trained a network, `represent` reads it in float32.
        "precision": {"training": trained.recipe.precision, "representation": "float32"},
        "environment": environment(),
        "device": _device(trained),
    }


def _device(trained: Trained) -> str:
    """What the network lies on: cpu, or a GPU by name."""
    place = trained.network.classifier.weight.device
    return torch.cuda.get_device_name(place) if place.type == "cuda" else place.type


def summary(reports: list[Report]) -> list[dict[str, Any]]:
    """Rows of "how much": means over the runs of each coarse map, with 95 % intervals (NaN for one run).

    "ratio" is the mean CLP over the mean accuracy of the runs on fine labels, None without such runs.
    """
    baseline: dict[str, list[float]] = defaultdict(list)
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for report in reports:
        if report["recipe"]["labels"] == "fine":
            for view, accuracy in report["accuracy"].items():
                baseline[view].append(accuracy)
        for found in report.get("how much", []):
            groups[report["recipe"]["map"], *(found[key] for key in WAY)].append(found)
    rows: list[dict[str, Any]] = []
    for (name, *way), members in groups.items():
        numbers: dict[str, Any] = {}
        for key in SCORES:
            numbers[key], numbers[f"{key} ±"] = _interval([m[key] for m in members])
        fine = baseline[way[0]]
        ratio = numbers["clp"] / np.mean(fine) if fine else None
        told = dict(zip(WAY, way, strict=True))
        rows.append({"map": name} | told | {"runs": len(members), "ratio": ratio} | numbers)
    return rows


def together(reports: list[Report]) -> dict[str, Any]:
    """Of every run the recipe, accuracy, last metrics and how much was recovered; what they share but once."""
    kept = ("recipe", "coarse_map", "accuracy", "how much")
    common = ("images", "class_names", "environment", "device")
    shared = {name: reports[0][name] for name in common} if reports else {}
    runs = [{n: r[n] for n in kept if n in r} | {"last": r["metrics"][-1]} for r in reports]
    return shared | {"runs": runs}


def _interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval, Student's."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), float("nan")
    return float(np.mean(values)), float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))


def _when(trained: Trained, recipe: Recipe, progress: bool) -> list[dict[str, Any]]:
    rows = []
    measured = [int(line["epoch"]) for line in trained.metrics]
    for epoch in tracked(measured, "recovery along training", show=progress):
        found = hidden_classes.when(trained.checkpoint(epoch), trained.coarse_map, recipe.seed)
        rows += [{"epoch": epoch} | row for row in found]
    return rows


def _drawn(
    features: Features, fine: NDArray[np.int64], coarse_map: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """t-SNE in the plane of test images of coarse class 0, drawn at random, with their fine classes."""
    from sklearn.manifold import TSNE

    members = np.flatnonzero(coarse_map[fine] == 0)
    members = np.random.default_rng([seed, 3]).permutation(members)[:DRAWN]
    perplexity = min(30, (len(members) - 1) / 3)
    points = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(features[members])
    return {"points": np.round(points.astype(float), 2).tolist(), "fine": fine[members].tolist()}


def _write_arrays(
    data: Dataset,
    folder: Path,
    trained: Trained,
    views: dict[str, dict[str, tuple[Features, Features]]],
) -> None:
    fine = {"train": data.train_y, "test": data.test_y}
    plain = {split: x["as is"][0] for split, x in views.items()}
    arrays: dict[str, NDArray[Any]] = {f"{s}.as is": x for s, x in plain.items()}
    arrays |= {f"fine.{split}": y for split, y in fine.items()}
    arrays |= {"classifier": classifier_of(trained.network), "coarse_map": trained.coarse_map}
    write_atomic(folder / "representation.safetensors", save(arrays))
    moments = Moments.from_samples(plain["test"], fine["test"], data.num_fine)
    names = ("weights", "means", "covariances")
    parts = {name: np.asarray(getattr(moments, name), np.float32) for name in names}
    write_atomic(folder / "moments.safetensors", save(parts))
