"""What a network trained on coarse labels knows of the classes hidden in them: rows by view, by place and by epoch.

    by_view     the representation, as it is and averaged over views of an image, alone and beside the stage before
    by_place    every stage of the network; beside it raw pixels, their principal components, the untrained network
    by_epoch    the measured subset at every checkpoint, with what T10 predicts from its Moments

Each is clustered plainly and in the guided ways of T18, matched, and probed (cluster.py, score.py). The number of
clusters is that of the coarse map; no fine label chooses any setting.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.hidden_classes.score import cluster_and_probe
from finegrain.empirical.networks.representation import Features, classifier_of, represent
from finegrain.empirical.networks.training import Trained
from finegrain.sims.workers import in_order
from finegrain.theory import observables
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import where_to_look
from finegrain.theory.tools.arrays import Labels
from finegrain.theory.tools.console import tracked

Row = dict[str, Any]
Views = Mapping[str, tuple[Features, Features]]  # of look.views
Name = TypeVar("Name", bound=Hashable)

COMPONENTS = 64  # of the pixels


@dataclass(frozen=True, eq=False)
class Representation:
    """What one place of a network, or of the images themselves, makes of the images.

    Attributes:
        train, test: features (N, d) and fine labels (N,) of training and of test images
        classifier: weights (K, d) of the layer that reads the features, None where none does
        before: what the stage before makes of both, (N, d') each, to be looked at as well
    """

    train: tuple[Features, Labels]
    test: tuple[Features, Labels]
    classifier: NDArray[Any] | None = None
    before: tuple[Features, Features] | None = None


def accuracies(trained: Trained, test: Views) -> dict[str, float]:
    """Of the network on the test images, on the labels that training saw, from each view."""
    fine = trained.data.test_y
    wanted = fine if trained.recipe.labels == "fine" else trained.coarse_map[fine]
    rows = classifier_of(trained.network)
    return {view: float(((last @ rows.T).argmax(1) == wanted).mean()) for view, (last, _) in test.items()}


def random_subset(images: int, count: int, seed: int) -> Labels:
    """Indices of `count` images drawn at random, or of all where there are fewer, increasing."""
    return np.sort(np.random.default_rng([seed, 2]).permutation(images)[:count])


def by_view(
    trained: Trained, train: Views, test: Views, fine: tuple[Labels, Labels], jobs: int = 1
) -> list[Row]:
    """Rows for each view, from the last stage and from the last two.

    Args:
        fine: labels of the training and of the test images that `train` and `test` show.
        jobs: processes to work in.
    """
    classifier = classifier_of(trained.network)
    shown: dict[tuple[str, str], Representation] = {}
    for view in train:
        (x, earlier), (test_x, test_earlier) = train[view], test[view]
        labelled = (x, fine[0]), (test_x, fine[1])
        shown[view, "last"] = Representation(*labelled, classifier)
        shown[view, "last two"] = Representation(*labelled, classifier, (earlier, test_earlier))
    scored = _side_by_side(shown, trained, jobs)
    return [{"view": view, "stages": stages} | row for (view, stages), rows in scored.items() for row in rows]


def by_place(trained: Trained, count: int, jobs: int = 1) -> list[Row]:
    """Rows for each stage, and for raw pixels, their principal components and the untrained network.

    Args:
        count: of training images drawn at random, which these rows use; test images are all used.
        jobs: processes to work in.
    """
    data = trained.data
    chosen = random_subset(len(data.train_x), count, trained.recipe.seed)
    fine = data.train_y[chosen], data.test_y
    stages, untrained = (
        (
            represent(network, trained.images["train"], chosen, pixels=trained.pixels),
            represent(network, trained.images["test"], pixels=trained.pixels),
        )
        for network in (trained.network, trained.network_at(0))
    )
    places = {f"stage {i + 1}": pair for i, pair in enumerate(zip(*stages, strict=True))}
    train_pixels, test_pixels = (flat_pixels(x) for x in (data.train_x[chosen], data.test_x))
    places["raw pixels"] = train_pixels, test_pixels
    places[f"{COMPONENTS} principal components"] = pixel_components(train_pixels, test_pixels)
    places["untrained network"] = untrained[0][-1], untrained[1][-1]
    read = {f"stage {len(stages[0])}": classifier_of(trained.network)}
    shown = {
        place: Representation((x, fine[0]), (test_x, fine[1]), read.get(place))
        for place, (x, test_x) in places.items()
    }
    scored = _side_by_side(shown, trained, jobs)
    return [{"place": place} | row for place, rows in scored.items() for row in rows]


def by_epoch(trained: Trained, progress: bool = False) -> list[Row]:
    """Rows at every checkpoint, from its measured subset of images; each holds T10's predictions as well."""
    epochs = [int(line["epoch"]) for line in trained.metrics]
    rows = []
    for epoch in tracked(epochs, "recovery along training", show=progress):
        checkpoint = trained.checkpoint(epoch)
        train, test = ((checkpoint[f"features.{s}"], checkpoint[f"fine.{s}"]) for s in ("train", "test"))
        classifier = checkpoint["network.classifier.weight"]
        moments = Moments.from_samples(*train, trained.coarse_map.size)
        rules = {"predicted": predicted(moments, trained.coarse_map, classifier)}
        scored = score_rows(Representation(train, test, classifier), trained.coarse_map, trained.recipe.seed)
        rows += [{"epoch": epoch} | row | rules for row in scored]
    return rows


def score_rows(shown: Representation, coarse_map: Labels, seed: int) -> list[Row]:
    """One row a way of clustering: share matched on training images, CLP and oracle probe on test images.

    "clp_in_class" and "oracle_in_class" choose within the coarse class that the classifier names, None without one.
    """
    (x, fine), classifier = shown.train, shown.classifier
    coarse = coarse_map[fine]
    scores = cluster_and_probe(
        (x, coarse, fine),
        shown.test,
        np.bincount(coarse_map).tolist(),
        classifier=classifier,
        before=shown.before,
        named=None if classifier is None else (shown.test[0] @ classifier.T).argmax(axis=1),
        seed=seed,
    )
    return [
        {
            "method": score.method,
            "images": len(coarse),
            "share": score.match.share,
            "share_by_class": score.match.share_by_class.tolist(),
            "clp": score.probe,
            "oracle": score.oracle,
            "clp_in_class": score.probe_in_class,
            "oracle_in_class": score.oracle_in_class,
        }
        for score in scores
    ]


def _side_by_side(shown: Mapping[Name, Representation], trained: Trained, jobs: int) -> dict[Name, list[Row]]:
    """The rows of each representation, found in so many processes."""
    from joblib import delayed

    coarse_map, seed = trained.coarse_map, trained.recipe.seed
    # Workers end with this process, however it ends.
    rows = in_order(jobs, (delayed(score_rows)(one, coarse_map, seed) for one in shown.values()))
    return dict(zip(shown, rows, strict=True))


def predicted(moments: Moments, coarse_map: Labels, classifier: NDArray[Any]) -> dict[str, list[float]]:
    """T10's rules in each coarse class, (K,): the mean over pairs of its fine classes.

    "two_means_off_classifier" is 2-means after T18's projection: the guided way but for the unit norm.
    """
    two_means, off = observables.two_means_accuracy, where_to_look.project(moments, classifier)
    values = {
        "two_means": observables.inside(two_means, moments, coarse_map),
        "bisector": observables.inside(observables.bisector_accuracy, moments, coarse_map),
        "lda": observables.inside(observables.lda_accuracy, moments, coarse_map),
        "two_means_off_classifier": observables.inside(two_means, off, coarse_map),
    }
    return {name: value.tolist() for name, value in values.items()}


def flat_pixels(images: NDArray[np.uint8]) -> Features:
    """Pixels (N, P) in 0..1."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def pixel_components(train: Features, test: Features) -> tuple[Features, Features]:
    """Leading principal components of the training pixels (N, P), of both, (N, COMPONENTS) at most."""
    from sklearn.decomposition import PCA

    components = PCA(min(COMPONENTS, *train.shape), random_state=0).fit(train)
    return components.transform(train), components.transform(test)
