"""All that a trained run tells of its hidden classes, in one JSON file, and its representation beside it.

recovery.json                how much, where, when (empirical.hidden_classes), accuracies, metrics of training
representation.safetensors   of all images, both views, with fine labels and classifier
moments.safetensors          of the test images' representation, one entry a fine class, in float32
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy.stats import t as student

from empirical import hidden_classes
from empirical.data import Dataset
from empirical.recipe import Recipe
from empirical.representation import Features, classifier_of
from empirical.training import Trained, train
from sims.run_folder import environment, hold
from theory import Moments
from theory.console import tracked
from theory.files import to_json, write_atomic

Report = dict[str, Any]

# Training images for the rows that stand beside: earlier stages, pixels, the untrained network.
BESIDE = 10_000
DRAWN = 1000  # test images of one coarse class that the t-SNE figure shows


def study(
    data: Dataset, recipe: Recipe, folder: Path, *, device: str = "auto", progress: bool = False
) -> Report:
    """Report on one run, trained first if it is not, and write the module's three files into its folder.

    A run on fine labels is a baseline: its accuracies alone are reported.
    """
    trained = train(data, recipe, folder, device=device, progress=progress)
    views = {s: hidden_classes.both_views(trained.network, images) for s, images in trained.images.items()}
    accuracies = {v: hidden_classes.accuracy(trained, recipe, x) for v, x in views["test"].items()}
    report: Report = {
        "recipe": asdict(recipe),
        "images": data.name.partition(":")[0],
        "class_names": list(data.class_names),
        "coarse_map": trained.coarse_map.tolist(),
        "accuracy": accuracies,
        "metrics": trained.metrics,
        "environment": environment(),
    }
    if recipe.labels == "coarse":
        report["how much"] = hidden_classes.how_much(trained, views["train"], views["test"], recipe.seed)
        pixels = (data.train_x, data.test_x)
        report["where"] = hidden_classes.where(trained, trained.network_at(0), pixels, BESIDE, recipe.seed)
        report["when"] = _when(trained, recipe, progress)
        report["drawn"] = _drawn(views["test"]["as is"], data.test_y, trained.coarse_map, recipe.seed)
    with hold(folder, wait=True):  # the files of two processes are not mixed
        _write_arrays(data, folder, trained, views)
        write_atomic(folder / "recovery.json", to_json(report))
    return report


def summary(reports: list[Report]) -> list[dict[str, Any]]:
    """Rows of "how much": means over the runs of each coarse map, with 95 % intervals (NaN for one run).

    "ratio" is the mean CLP over the mean accuracy of the runs on fine labels, None without such runs.
    """
    baseline: dict[str, list[float]] = defaultdict(list)
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for report in reports:
        if report["recipe"]["labels"] == "fine":
            for view, accuracy in report["accuracy"].items():
                baseline[view].append(accuracy)
        for found in report.get("how much", []):
            groups[report["recipe"]["map"], found["view"], found["method"]].append(found)
    rows: list[dict[str, Any]] = []
    for (name, view, method), members in groups.items():
        numbers: dict[str, Any] = {}
        for key in ("share", "clp", "oracle"):
            numbers[key], numbers[f"{key} ±"] = _interval([m[key] for m in members])
        ratio = numbers["clp"] / np.mean(baseline[view]) if baseline[view] else None
        rows.append(
            {"map": name, "view": view, "method": method, "runs": len(members), "ratio": ratio} | numbers
        )
    return rows


def _interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval, Student's."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), float("nan")
    return float(np.mean(values)), float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))


def _when(trained: Trained, recipe: Recipe, progress: bool) -> list[dict[str, Any]]:
    rows = []
    measured = [m for m in trained.metrics if "measure_seconds" in m]
    for line in tracked(measured, "recovery along training", show=progress):
        found = hidden_classes.when(trained.checkpoint(int(line["epoch"])), trained.coarse_map, recipe.seed)
        rows += [{"epoch": int(line["epoch"])} | row for row in found]
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
    data: Dataset, folder: Path, trained: Trained, views: dict[str, dict[str, Features]]
) -> None:
    fine = {"train": data.train_y, "test": data.test_y}
    arrays: dict[str, NDArray[Any]] = {
        f"{s}.{view}": x for s, both in views.items() for view, x in both.items()
    }
    arrays |= {f"fine.{split}": y for split, y in fine.items()}
    arrays |= {"classifier": classifier_of(trained.network), "coarse_map": trained.coarse_map}
    write_atomic(folder / "representation.safetensors", save(arrays))
    moments = Moments.from_samples(views["test"]["as is"], fine["test"], data.num_fine)
    names = ("weights", "means", "covariances")
    parts = {name: np.asarray(getattr(moments, name), np.float32) for name in names}
    write_atomic(folder / "moments.safetensors", save(parts))
