"""What a fitted mixture still misses: its gradient against that of the images, at the same weights.

    python benchmarks/prediction_gradient.py --data fashion-mnist --components 1 4 16 64 --seeds 0 1

Along the course that R = 1 predicts, so without training a network, at the recorded steps of the default settings:

    gradient / noise   root mean square over steps and seeds of ||g_mixture - g_images|| over the deviation that
                       g_images has between samples of its size n. Below 1 the mixture is nearer to the training images
                       than their own distribution is. The deviation is read off the test images, for
                       E||g_test - g_images||^2 is its square times n (1/n + 1/n_test).
    fine_share, NC1    largest relative error of the mixture's Moments of h at these weights

A search is SHAPE/FIT_IN as in `finegrain predict`, or spherical/weights: distances weighed by the mean W^T W
along the course, as preactivations see them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.networks.preprocess import Preprocess
from finegrain.empirical.prediction.config import Config
from finegrain.empirical.prediction.predict import fit
from finegrain.empirical.readers.coarse_maps import coarse_map
from finegrain.empirical.readers.data import Dataset, load
from finegrain.empirical.readers.image_cache import default_folder
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent
from finegrain.sims.population.loss import population_loss
from finegrain.theory import kinematics, observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.tools.arrays import Array

NAMES = ("fine_share", "nc1_trace_ratio_coarse")


class Course:
    """Weights that R = 1 predicts from one start, the images' gradients there, and their Moments of h."""

    def __init__(self, images: tuple[Array, ...], coarse: NDArray[np.int64], seed: int) -> None:
        x, y, test_x, test_y = images
        base, self.coarse = Config(), coarse
        self.targets = centred_one_hot(coarse)
        start = gaussian(
            base.width, x.shape[1], self.targets.shape[1], base.scale, np.random.default_rng(seed)
        )
        path = population_descent(
            Mixture.fit(x, y, coarse),
            *start,
            targets=self.targets,
            weight_decay=base.weight_decay,
            learning_rate=base.learning_rate,
            steps=base.recorded_steps(),
        )
        self.weights = list(zip(path.W, path.A, strict=True))
        self.gradients = [gradient(x, self.targets[y], W, A) for W, A in self.weights]
        test = [gradient(test_x, self.targets[test_y], W, A) for W, A in self.weights]
        share = np.sqrt(len(test_x) / (len(x) + len(test_x)))
        self.noise = [share * np.linalg.norm(t - g) for t, g in zip(test, self.gradients, strict=True)]
        hidden = [Moments.from_samples(np.maximum(x @ W.T, 0), y, len(coarse)) for W, _ in self.weights]
        self.observed = self._table(hidden)

    def _table(self, hidden: list[Moments]) -> Array:
        rows = [observables.table(h, self.coarse) for h in hidden]
        return np.array([[row[name] for name in NAMES] for row in rows])

    def errors(self, mixture: Mixture) -> tuple[Array, Array]:
        """||g_mixture - g_images||/noise, (T,), and the relative errors of NAMES, (T, 2), at the same weights."""
        field = population_loss(mixture, targets=self.targets)
        found = [np.concatenate([part.ravel() for part in field(W, A)[1:]]) for W, A in self.weights]
        apart = [np.linalg.norm(f - g) for f, g in zip(found, self.gradients, strict=True)]
        hidden = [kinematics.propagate(mixture.moments, W).pool(mixture.fine_map) for W, _ in self.weights]
        return np.array(apart) / self.noise, self._table(hidden) / self.observed - 1


def gradient(x: Array, targets: Array, W: Array, A: Array) -> Array:
    """The squared loss's gradient on samples (N, d) with targets (N, K), flattened: W first."""
    z = x @ W.T
    h = np.maximum(z, 0)
    residual = (h @ A.T - targets) / len(x)
    return np.concatenate([(((residual @ A) * (z > 0)).T @ x).ravel(), (residual.T @ h).ravel()])


def fitted(
    images: tuple[Array, ...], coarse: NDArray[np.int64], search: str, R: int, course: Course
) -> Mixture:
    """R Gaussians a class for the training images, by the search's name."""
    shape, _, fit_in = search.partition("/")
    x, y = images[:2]
    if fit_in == "weights":
        values, vectors = np.linalg.eigh(np.mean([W.T @ W for W, _ in course.weights], axis=0))
        seen = vectors * np.sqrt(np.maximum(values, 0))
        return Mixture.fit(x, y, coarse, R, shape=shape, directions=seen)
    return fit(x, y, coarse, replace(Config(), components=R, shape=shape, fit_in=fit_in))


def prepared(data: Dataset) -> tuple[Array, ...]:
    """Inputs and labels, of training and of test images."""
    preprocess = Preprocess.fit(data.train_x, Config().dim)
    return preprocess.apply(data.train_x), data.train_y, preprocess.apply(data.test_x), data.test_y


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--components", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--search", nargs="+", default=["full/class-means", "spherical/all"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    data = load(options.data, cache=default_folder())
    coarse = coarse_map(Config().map, data.num_fine, data.class_names)
    images = prepared(data)
    courses = [Course(images, coarse, seed) for seed in options.seeds]
    print(
        "| search | R | gradient / noise | fine_share, at worst | NC1, at worst |",
        "|" + " --- |" * 5,
        sep="\n",
    )
    for search in options.search:
        for R in options.components:
            found = [course.errors(fitted(images, coarse, search, R, course)) for course in courses]
            size = np.sqrt(np.mean([ratio**2 for ratio, _ in found]))
            share, nc1 = 100 * np.max([np.abs(table).max(axis=0) for _, table in found], axis=0)
            print(f"| {search} | {R} | {size:.2f} | {share:.2f} % | {nc1:.2f} % |", flush=True)


if __name__ == "__main__":
    main()
