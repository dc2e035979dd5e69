"""T13: theory, fitted to the images with no free parameter, against the network trained on them.

A Gaussian mixture is fitted to the training inputs, R Gaussians a fine class. Exact population descent on it, from
the network's own initial weights, predicts the Moments of the representation; the network trained on the images
gives the observed ones. Every observable is the same function on both.

Source: this project, T13.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.networks import two_layer
from finegrain.empirical.networks.preprocess import Preprocess
from finegrain.empirical.prediction.config import Config
from finegrain.empirical.readers.data import Dataset
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import Trajectory, population_descent, population_flow
from finegrain.sims.run_folder import environment
from finegrain.sims.samples.loss import device_named
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture, mean_span_basis
from finegrain.theory.mixture_fit import choose_components
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.tools.arrays import Array
from finegrain.theory.tools.brief import brief
from finegrain.theory.tools.files import inside

# R m^2 beyond which descent is in single precision: double would take longer than the training that it predicts.
LARGEST_DOUBLE = 16 * 32**2

DEFAULTS = Config()


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted and observed along training.

    Attributes:
        config: the settings
        coarse_map: (C,)
        targets: (C, K) that the training saw
        components: R, as asked for or as chosen
        predicted: the population's trajectory
        observed: the trained network's record, with test moments
        seconds: spent on "fit", "theory" and "training"
    """

    config: Config
    coarse_map: NDArray[np.int64]
    targets: Array
    components: int
    predicted: Trajectory
    observed: two_layer.TrainingRecord
    seconds: dict[str, float] = field(default_factory=dict)

    __repr__ = brief

    @cached_property
    def tables(self) -> dict[str, list[dict[str, float]]]:
        """For "predicted", "observed" and "test", every scalar observable at each recorded time, and the loss."""
        parts = {
            "predicted": (self.predicted.moments, self.predicted.loss),
            "observed": (self.observed.moments, self.observed.loss),
            "test": (self.observed.test_moments, self._test_loss()),
        }
        return {
            part: [
                {"loss": float(v)} | observables.table(m, self.coarse_map) for m, v in zip(*pair, strict=True)
            ]
            for part, pair in parts.items()
        }

    def _test_loss(self) -> Array:
        """The training's loss on the test images, (T,): the squared loss is a function of Moments."""
        record, decay = self.observed, self.config.weight_decay
        return np.array(
            [
                squared_loss(h, A, self.targets) + 0.5 * decay * (np.sum(W**2) + np.sum(A**2))
                for h, W, A in zip(record.test_moments, record.W, record.A, strict=True)
            ]
        )

    def course(self, name: str) -> dict[str, Array]:
        """One observable at each recorded time, (T,): predicted, observed on training images, and on test images.

        NaN where the observable is not defined.
        """
        return {
            part: np.array([table.get(name, np.nan) for table in tables])
            for part, tables in self.tables.items()
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row an observable and recorded time, with the relative error of the prediction."""
        rows = []
        for name in self.tables["observed"][-1]:
            course = self.course(name)
            error = relative_error(course["predicted"], course["observed"])
            for i, step in enumerate(self.observed.steps):
                values = {part: float(values[i]) for part, values in course.items()}
                when = {"step": int(step), "time": float(self.observed.times[i]), "observable": name}
                rows.append(when | values | {"error": float(error[i])})
        return rows

    def report(self) -> dict[str, Any]:
        """Everything that the numbers depend on, and the numbers, for JSON."""
        return {
            "config": asdict(self.config),
            "coarse_map": self.coarse_map.tolist(),
            "components": self.components,
            "seconds": self.seconds,
            "training": self.observed.info,
            "read_back": {
                "predicted": self.predicted.info["read_back"],
                "observed": self.observed.info["read_back"],
            },
            "rows": self.rows(),
            "environment": environment(),
        }


def squared_loss(hidden: Moments, A: Array, targets: Array) -> float:
    """1/2 E||A h - t||^2 from the Moments of h: 1/2 sum_c pi_c (||A mean_c - t_c||^2 + tr A Cov_c A^T).

    Args:
        hidden: full Moments of h, C classes in dimension m.
        A: (K, m).
        targets: (C, K).
    """
    bias = np.sum((hidden.means @ A.T - targets) ** 2, axis=1)
    noise = np.einsum("ki,cij,kj->c", A, hidden.covariances, A, optimize=True)
    return 0.5 * float(hidden.weights @ (bias + noise))


def relative_error(predicted: Array, observed: Array) -> Array:
    """|predicted - observed| / |observed|, elementwise; NaN where the observation is zero or undefined."""
    safe = np.where(observed == 0, np.nan, np.abs(observed))
    return np.abs(predicted - observed) / safe


def predict(
    data: Dataset,
    config: Config = DEFAULTS,
    *,
    device: str = "auto",
    folder: Path | None = None,
    progress: bool = False,
    observed: two_layer.TrainingRecord | None = None,
) -> Prediction:
    """Fit, predict, train and compare.

    Args:
        data: images with fine labels.
        config: settings, those of docs/results/prediction.md by default; config.map sends the fine labels to the coarse
            ones that training sees.
        device: of the training, "auto", "cpu" or "cuda".
        folder: holds the run folders "predicted" and "observed", which resume after a kill.
        progress: show bars with the time left.
        observed: the same training from an earlier call, to set another prediction beside it.
    """
    fine_to_coarse = data.coarse_map(config.map)
    if fine_to_coarse.max() == 0:
        raise ValueError(f"map must have at least 2 coarse classes to train on, got {config.map!r}")
    device_named(device)  # refused before the work, not after
    targets = centred_one_hot(fine_to_coarse)
    preprocess = Preprocess.fit(data.train_x, config.dim)
    x, test_x = preprocess.apply(data.train_x), preprocess.apply(data.test_x)
    W0, A0 = gaussian(
        config.width, x.shape[1], targets.shape[1], config.scale, np.random.default_rng(config.seed)
    )
    clock = _Clock()
    mixture = fit(x, data.train_y, fine_to_coarse, config, progress=progress)
    clock.lap("fit")
    predicted = _population(
        mixture, W0, A0, targets, config, folder and inside(folder, "predicted"), progress
    )
    clock.lap("theory")
    if observed is None:
        images = (x, data.train_y, test_x, data.test_y)
        observed = _trained(
            images, W0, A0, targets, config, device, folder and inside(folder, "observed"), progress
        )
        clock.lap("training")
    components = len(mixture.fine_map) // data.num_fine
    return Prediction(config, fine_to_coarse, targets, components, predicted, observed, clock.seconds)


def fit(
    x: Array,
    fine: NDArray[np.int64],
    fine_to_coarse: NDArray[np.int64],
    config: Config,
    *,
    progress: bool = False,
) -> Mixture:
    """The mixture that the prediction is made from, fitted to inputs (N, d) with fine labels (N,) as config says."""
    R, directions = config.components, None
    if isinstance(R, str):
        R = choose_components(x, fine, shape=config.shape, seed=config.seed)
    if config.fit_in == "class-means":
        directions = mean_span_basis(Moments.from_samples(x, fine, fine_to_coarse.size))
    return Mixture.fit(
        x,
        fine,
        fine_to_coarse,
        R,
        shape=config.shape,
        directions=directions,
        seed=config.seed,
        progress=progress,
    )


def _population(
    mixture: Mixture,
    W0: Array,
    A0: Array,
    targets: Array,
    config: Config,
    folder: Path | None,
    progress: bool,
) -> Trajectory:
    """The population's trajectory at the recorded steps, by descent or by flow."""
    common: dict[str, Any] = {"targets": targets, "weight_decay": config.weight_decay}
    common |= {"folder": folder, "progress": progress}
    steps = config.recorded_steps()
    rate, momentum = config.learning_rate, config.momentum
    if config.dynamics == "descent":
        pairs = len(mixture.fine_map) // mixture.num_fine * config.width**2
        common |= {"precision": "single" if pairs > LARGEST_DOUBLE else "double"}
        return population_descent(
            mixture, W0, A0, learning_rate=rate, momentum=momentum, steps=steps, **common
        )
    return population_flow(mixture, W0, A0, times=steps * rate / (1 - momentum), rtol=1e-6, **common)


def _trained(
    images: tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]],
    W0: Array,
    A0: Array,
    targets: Array,
    config: Config,
    device: str,
    folder: Path | None,
    progress: bool,
) -> two_layer.TrainingRecord:
    """The network trained on the images (x, y, test x, test y), recorded on both."""
    x, y, test_x, test_y = images
    return two_layer.train(
        x,
        y,
        W0,
        A0,
        targets=targets,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        batch_size=config.batch_size,
        steps=config.steps,
        seed=config.seed,
        weight_decay=config.weight_decay,
        record_at=config.recorded_steps(),
        test=(test_x, test_y),
        device=device,
        folder=folder,
        progress=progress,
    )


class _Clock:
    """Seconds spent between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
