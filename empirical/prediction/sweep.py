"""Predictions at many settings, each a line of one JSON file that grows as they finish: a killed sweep goes on.

A training is shared by the settings that differ in the prediction alone (components, shape, fit_in, dynamics).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from finegrain.empirical.networks import two_layer
from finegrain.empirical.networks.preprocess import Preprocess
from finegrain.empirical.prediction.config import Config
from finegrain.empirical.prediction.predict import Prediction, predict, relative_error
from finegrain.empirical.readers.data import Dataset
from finegrain.sims.run_folder import environment, lock
from finegrain.theory.tools.files import to_json, writable_folder, write_atomic

OBSERVED = ("loss", "fine_share", "nc1_trace_ratio_coarse", "nc1_coarse")
OF_THE_PREDICTION = ("components", "shape", "fit_in", "dynamics")


def summary(result: Prediction) -> dict[str, Any]:
    """Of one prediction: its config, and for each of OBSERVED the values at the end and the relative errors.

    "end", "worst" (over the recorded times) compare prediction and training images; "test_end", "test_worst" prediction
    and test images; "gap", "gap_worst" training and test images of the network itself.
    """
    found: dict[str, Any] = {"config": asdict(result.config), "components": result.components}
    found["seconds"] = result.seconds
    for name in OBSERVED:
        course = result.course(name)
        predicted, observed, test = (course[part] for part in ("predicted", "observed", "test"))
        pairs = {"": (predicted, observed), "test_": (predicted, test), "gap_": (test, observed)}
        entry = {"predicted": predicted[-1], "observed": observed[-1], "test": test[-1]}
        for label, pair in pairs.items():
            error = relative_error(*pair)
            entry |= {f"{label}end": error[-1], f"{label}worst": np.nanmax(error)}
        found[name] = {key: float(value) for key, value in entry.items()}
    return found


def sweep(
    data: Dataset, configs: Sequence[Config], file: Path, *, progress: bool = False
) -> list[dict[str, Any]]:
    """The summary of every config, in order; those already in `file` are read back.

    Args:
        data: images; reduced once to the largest `dim` asked for, which changes the numbers by rounding alone.
        configs: settings; those that differ in the prediction alone should follow each other, to share a training.
        file: JSON, written anew after each prediction.

    Raises:
        ValueError: the file does not hold such points.
        OSError: its folder is not writable, or another process works on it.
    """
    writable_folder(file.parent)
    with lock(file.with_name(f".{file.name}.lock"), str(file)):
        return _sweep(data, configs, file, progress)


def _sweep(data: Dataset, configs: Sequence[Config], file: Path, progress: bool) -> list[dict[str, Any]]:
    known = _stored(file)
    data = reduced(data, max(config.dim for config in configs))
    shared: tuple[Config, two_layer.TrainingRecord] | None = None
    for number, config in enumerate(configs, 1):
        if _key(asdict(config)) in known:
            continue
        training = replace(config, **{name: getattr(Config(), name) for name in OF_THE_PREDICTION})
        observed = shared[1] if shared and shared[0] == training else None
        result = predict(data, config, device="cpu", observed=observed)
        shared = training, result.observed
        known[_key(asdict(config))] = summary(result)
        record = {"data": data.name, "points": list(known.values()), "environment": environment()}
        write_atomic(file, to_json(record))
        if progress:
            print(f"{number}/{len(configs)} {_said(known[_key(asdict(config))])}", flush=True)
    return [known[_key(asdict(config))] for config in configs]


def _stored(file: Path) -> dict[str, dict[str, Any]]:
    """The points of the file by their config; none where there is no file."""
    try:
        return {_key(point["config"]): point for point in json.loads(file.read_text())["points"]}
    except FileNotFoundError:
        return {}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{file} is damaged ({error!r}); move it away to compute its points again"
        ) from error


def reduced(data: Dataset, dim: int) -> Dataset:
    """The data with its images replaced by their leading principal components."""
    preprocess = Preprocess.fit(data.train_x, dim)
    train, test = (preprocess.apply(x)[:, :-1] for x in (data.train_x, data.test_x))
    return replace(data, train_x=train, test_x=test)


def _key(config: dict[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)


def _said(point: dict[str, Any]) -> str:
    config, share, nc1 = point["config"], point["fine_share"], point["nc1_trace_ratio_coarse"]
    errors = (
        f"fine_share {share['end']:.2%}, worst {share['worst']:.2%}; NC1 {nc1['end']:.2%}, {nc1['worst']:.2%}"
    )
    return f"seed {config['seed']}, R = {point['components']}: {errors}"
