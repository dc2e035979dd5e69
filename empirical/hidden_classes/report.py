"""All that a trained run tells of its hidden classes, in one JSON file, and its representation beside it.

recovery.json                rows by view, by place and by epoch (study.py), accuracies, metrics of training; of a run
                             on fine labels what it shows of the coarse ones (finer.py)
representation.safetensors   of all images, as they are, with fine labels and classifier
moments.safetensors          of the test images' representation, one entry a fine class, in float32

Of many runs a glance does: glance.json, the rows by view, by default from 10,000 training images.
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
from scipy.special import stdtrit

from finegrain.empirical.hidden_classes import finer, look, study
from finegrain.empirical.networks.recipe import Recipe
from finegrain.empirical.networks.representation import Features, classifier_of
from finegrain.empirical.networks.training import Trained, train
from finegrain.empirical.readers.data import Dataset
from finegrain.sims.run_folder import environment, hold
from finegrain.theory.moments import Moments
from finegrain.theory.tools.files import to_json, write_atomic

Report = dict[str, Any]

# Training images for the rows that stand beside: earlier stages, pixels, the untrained network.
BESIDE = 10_000
WAY = ("view", "stages", "method")  # what tells rows by view apart
SCORES = ("share", "clp", "oracle", "clp_in_class", "oracle_in_class")
DRAWN = 1000  # test images of one coarse class that the t-SNE figure shows


def whole(
    recipe: Recipe,
    data: Dataset,
    folder: Path,
    *,
    device: str = "auto",
    jobs: int = 1,
    progress: bool = False,
) -> Report:
    """Report on one run, trained first if it is not, and write the module's three files into its folder.

    `jobs` processes cluster and probe. A run on fine labels is a baseline: its accuracies are reported, and what it
    shows of the map's coarse classes along training (finer.py).
    """
    trained = train(recipe, data, folder, device=device, progress=progress)
    shown = {
        split: look.views(trained.network, images, pixels=trained.pixels)
        for split, images in trained.images.items()
    }
    report = _heading(trained)
    report["accuracy"] = study.accuracies(trained, shown["test"])
    if recipe.labels == "coarse":
        fine = data.train_y, data.test_y
        report["by_view"] = study.by_view(trained, shown["train"], shown["test"], fine, jobs)
        report["by_place"] = study.by_place(trained, BESIDE, jobs)
        report["by_epoch"] = study.by_epoch(trained, progress)
        report["drawn"] = _drawn(shown["test"]["as is"][0], data.test_y, trained.coarse_map, recipe.seed)
    else:
        report["structure_by_epoch"] = finer.by_epoch(trained)
    with hold(folder, wait=True):  # the files of two processes are not mixed
        _write_arrays(folder, trained, shown)
        write_atomic(folder / "recovery.json", to_json(report))
    return report


def glance(
    recipe: Recipe,
    data: Dataset,
    folder: Path,
    *,
    images: int = BESIDE,
    device: str = "auto",
    jobs: int = 1,
    progress: bool = False,
) -> Report:
    """The rows by view alone, from so many training images, for tables of many runs; written as glance.json.

    Raises:
        ValueError: too few images to hold every class, before anything is trained; and as `train`.
    """
    chosen = study.random_subset(len(data.train_x), images, recipe.seed)
    if (missing := data.num_fine - np.unique(data.train_y[chosen]).size) > 0:
        raise ValueError(
            f"images must be so many that every class is among them, got {images}: {missing} have none"
        )
    trained = train(recipe, data, folder, device=device, progress=progress)
    test = look.views(trained.network, trained.images["test"], pixels=trained.pixels)
    report = _heading(trained)
    report["accuracy"] = study.accuracies(trained, test)
    if recipe.labels == "coarse":
        seen = look.views(trained.network, trained.images["train"], chosen, trained.pixels)
        fine = data.train_y[chosen], data.test_y
        report["by_view"] = study.by_view(trained, seen, test, fine, jobs)
    with hold(folder, wait=True):
        write_atomic(folder / "glance.json", to_json(report))
    return report


def _heading(trained: Trained) -> Report:
    return {
        "recipe": asdict(trained.recipe),
        "images": trained.data.name.partition(":")[0],
        "class_names": list(trained.data.class_names),
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
    """Rows by view: means over the runs of each coarse map, with 95 % intervals (NaN for one run).

    "ratio" is the mean CLP over the mean accuracy of the runs on fine labels, None without such runs.
    """
    baseline: dict[str, list[float]] = defaultdict(list)
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for report in reports:
        if report["recipe"]["labels"] == "fine":
            for view, accuracy in report["accuracy"].items():
                baseline[view].append(accuracy)
        for row in report.get("by_view", []):
            groups[report["recipe"]["map"], *(row[key] for key in WAY)].append(row)
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
    """Of every run the recipe, accuracy, last metrics and rows by view; what they share but once."""
    kept = ("recipe", "coarse_map", "accuracy", "by_view")
    common = ("images", "class_names", "environment", "device")
    shared = {name: reports[0][name] for name in common} if reports else {}
    runs = [{n: r[n] for n in kept if n in r} | {"last": r["metrics"][-1]} for r in reports]
    return shared | {"runs": runs}


def _interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval, Student's."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), float("nan")
    return float(np.mean(values)), float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(n))


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
    folder: Path, trained: Trained, shown: dict[str, dict[str, tuple[Features, Features]]]
) -> None:
    data = trained.data
    fine = {"train": data.train_y, "test": data.test_y}
    plain = {split: x["as is"][0] for split, x in shown.items()}
    arrays: dict[str, NDArray[Any]] = {f"{s}.as is": x for s, x in plain.items()}
    arrays |= {f"fine.{split}": y for split, y in fine.items()}
    arrays |= {"classifier": classifier_of(trained.network), "coarse_map": trained.coarse_map}
    write_atomic(folder / "representation.safetensors", save(arrays))
    moments = Moments.from_samples(plain["test"], fine["test"], data.num_fine)
    names = ("weights", "means", "covariances")
    parts = {name: np.asarray(getattr(moments, name), np.float32) for name in names}
    write_atomic(folder / "moments.safetensors", save(parts))
