"""What a network trained on coarse labels knows of the classes hidden in them: how much, where, and when.

    how much   the representation, as it is and averaged over views of an image, alone and beside the stage before
    where      every stage of the network; beside it raw pixels, their principal components, the untrained network
    when       the measured subset at every checkpoint, with what T10 predicts from its Moments

Each is clustered plainly and in the guided ways of T18, matched, and probed (recovery.py). The number of
clusters is that of the coarse map; no fine label chooses any setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.hidden_classes import recovery
from finegrain.empirical.networks.architectures import Network
from finegrain.empirical.networks.augment import Images
from finegrain.empirical.networks.recipe import Recipe
from finegrain.empirical.networks.representation import Features, classifier_of, represent
from finegrain.empirical.networks.training import Trained
from finegrain.sims.run_folder import Arrays
from finegrain.theory.moments import Moments
from finegrain.theory.pairs import bisector_accuracy, inside, lda_accuracy, two_means_accuracy
from finegrain.theory.theorems import where_to_look
from finegrain.theory.tools.arrays import Labels

Row = dict[str, Any]
Arguments = tuple[Any, ...]  # of `recovered`

COMPONENTS = 64  # of the pixels

# What an image's representation is the mean over: (flipped, shift).
VIEWS = {
    "as is": ((False, 0),),
    "mirrored": ((False, 0), (True, 0)),
    "mirrored and shifted": tuple((flipped, shift) for shift in (0, -1, 1) for flipped in (False, True)),
}


def accuracies(
    trained: Trained, recipe: Recipe, test: dict[str, tuple[Features, Features]]
) -> dict[str, float]:
    """Of the network on the test images, on the labels that training saw, from each of `views`."""
    fine = trained.images["test"].labels.cpu().numpy()
    wanted = fine if recipe.labels == "fine" else trained.coarse_map[fine]
    rows = classifier_of(trained.network)
    return {view: float(((last @ rows.T).argmax(1) == wanted).mean()) for view, (last, _) in test.items()}


def some(images: int, count: int, seed: int) -> Labels:
    """Indices of `count` images drawn at random, or of all where there are fewer, increasing."""
    return np.sort(np.random.default_rng([seed, 2]).permutation(images)[:count])


def views(
    network: Network, images: Images, chosen: Labels | slice = slice(None), pixels: int | None = None
) -> dict[str, tuple[Features, Features]]:
    """For each of VIEWS the last stage's pooled output (N, d), the representation, and that of the stage before.

    Args:
        chosen: indices of the images, all by default.
        pixels: scale the images to so many on a side first.
    """
    wanted = max(VIEWS.values(), key=len)
    stages = {
        one: represent(network, images, chosen, flipped=one[0], shift=one[1], pixels=pixels) for one in wanted
    }
    return {
        name: tuple(np.mean([stages[one][-place] for one in members], axis=0) for place in (1, 2))
        for name, members in VIEWS.items()
    }


def how_much(
    trained: Trained,
    train: dict[str, tuple[Features, Features]],
    test: dict[str, tuple[Features, Features]],
    fine: tuple[Labels, Labels],
    seed: int,
    jobs: int = 1,
) -> list[Row]:
    """Rows of recovery for each of `views`, from the last stage and from the last two.

    Args:
        fine: labels of the training and of the test images.
        jobs: processes to work in.
    """
    rest = trained.coarse_map, classifier_of(trained.network), seed
    calls: dict[tuple[str, str], Arguments] = {}
    for view in train:
        (x, earlier), (test_x, test_earlier) = train[view], test[view]
        calls[view, "last"] = (x, fine[0]), (test_x, fine[1]), *rest
        calls[view, "last two"] = (x, fine[0]), (test_x, fine[1]), *rest, (earlier, test_earlier)
    found = _side_by_side(calls, jobs)
    return [{"view": view, "stages": stages} | row for (view, stages), rows in found.items() for row in rows]


def where(
    trained: Trained,
    untrained: Network,
    raw: Sequence[NDArray[np.uint8]],
    count: int,
    seed: int,
    pixels: int | None = None,
    jobs: int = 1,
) -> list[Row]:
    """Rows for each stage, and for raw pixels, their principal components and the untrained network.

    Args:
        untrained: the network before training.
        raw: training and test images.
        count: of training images drawn at random, which these rows use; test images are all used.
        pixels: scale the images that networks see to so many on a side first.
        jobs: processes to work in.
    """
    chosen = some(len(raw[0]), count, seed)
    fine = (trained.images["train"].labels.cpu().numpy()[chosen], trained.images["test"].labels.cpu().numpy())
    stages, first = (
        (
            represent(network, trained.images["train"], chosen, pixels=pixels),
            represent(network, trained.images["test"], pixels=pixels),
        )
        for network in (trained.network, untrained)
    )
    places: dict[str, tuple[Features, ...]] = {
        f"stage {i + 1}": pair for i, pair in enumerate(zip(*stages, strict=True))
    }
    flat = [x.reshape(len(x), -1).astype(np.float32) / np.float32(255) for x in (raw[0][chosen], raw[1])]
    places |= {"raw pixels": tuple(flat), f"{COMPONENTS} principal components": _components(*flat)}
    places["untrained network"] = (first[0][-1], first[1][-1])
    last = f"stage {len(stages[0])}"
    calls: dict[str, Arguments] = {}
    for place, (x, test_x) in places.items():
        classifier = classifier_of(trained.network) if place == last else None
        calls[place] = (x, fine[0]), (test_x, fine[1]), trained.coarse_map, classifier, seed
    return [{"place": p} | row for p, rows in _side_by_side(calls, jobs).items() for row in rows]


def when(checkpoint: Arrays, coarse_map: Labels, seed: int) -> list[Row]:
    """Rows at a checkpoint that measured, from its subset of images; each holds T10's predictions as well."""
    train, test = ((checkpoint[f"features.{s}"], checkpoint[f"fine.{s}"]) for s in ("train", "test"))
    classifier = checkpoint["network.classifier.weight"]
    moments = Moments.from_samples(*train, coarse_map.size)
    rules = {"predicted": predicted(moments, coarse_map, classifier)}
    return [row | rules for row in recovered(train, test, coarse_map, classifier, seed)]


def recovered(
    train: tuple[Features, Labels],
    test: tuple[Features, Labels],
    coarse_map: Labels,
    classifier: NDArray[Any] | None,
    seed: int,
    before: tuple[Features, Features] | None = None,
) -> list[Row]:
    """One row a way of clustering: share matched on training images, CLP and oracle probe on test images.

    "clp_in_class" and "oracle_in_class" choose within the coarse class that the classifier names, None without one.
    """
    coarse = coarse_map[train[1]]
    found = recovery.cluster_and_probe(
        (train[0], coarse, train[1]),
        test,
        np.bincount(coarse_map).tolist(),
        classifier=classifier,
        before=before,
        named=None if classifier is None else (test[0] @ classifier.T).argmax(axis=1),
        seed=seed,
    )
    return [
        {
            "method": r.method,
            "images": len(coarse),
            "share": r.match.share,
            "share_by_class": r.match.share_by_class.tolist(),
            "clp": r.probe,
            "oracle": r.oracle,
            "clp_in_class": r.probe_in_class,
            "oracle_in_class": r.oracle_in_class,
        }
        for r in found
    ]


def _side_by_side(calls: dict[Any, Arguments], jobs: int) -> dict[Any, list[Row]]:
    """`recovered` of each entry's arguments."""
    from joblib import Parallel, delayed

    found = Parallel(n_jobs=jobs)(delayed(recovered)(*arguments) for arguments in calls.values())
    return dict(zip(calls, found, strict=True))


def predicted(moments: Moments, coarse_map: Labels, classifier: NDArray[Any]) -> dict[str, list[float]]:
    """T10's rules in each coarse class, (K,): the mean over pairs of its fine classes.

    "two_means_off_classifier" is 2-means after T18's projection: the guided way but for the unit norm.
    """
    rules = {"two_means": two_means_accuracy, "bisector": bisector_accuracy, "lda": lda_accuracy}
    values = {name: inside(rule, moments, coarse_map).tolist() for name, rule in rules.items()}
    off = where_to_look.project(moments, classifier)
    values["two_means_off_classifier"] = inside(two_means_accuracy, off, coarse_map).tolist()
    return values


def _components(train: Features, test: Features) -> tuple[Features, Features]:
    from sklearn.decomposition import PCA

    components = PCA(min(COMPONENTS, *train.shape), random_state=0).fit(train)
    return components.transform(train), components.transform(test)
