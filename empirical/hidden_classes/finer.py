"""A network trained on labels finer than a structure: does its representation show the structure, or the labels?

Of a run with labels = "fine" the map tells the structure: superclasses, or the classes that were halved. At every
checkpoint, of the measured subset of training and of test images:

    grouped      adjusted Rand index of the C class means, joined by Ward's rule into K groups, against the map; 1 where
                 the representation shows the coarse classes, 0 by chance
    fine_share   of the variance inside the coarse classes, what lies between the classes that were trained
    by_chance    the same, in the mean, of labels dealt out anew inside each coarse class: what finite samples give to
                 classes without any structure

A random split of classes that the network has memorised has a fine_share above `by_chance` on training images and not
on test images (T26). Ward, Hierarchical grouping to optimize an objective function, JASA 58, 1963.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from finegrain.empirical.hidden_classes.third_level import adjusted_rand_index
from finegrain.empirical.networks.training import Trained
from finegrain.theory import observables
from finegrain.theory.moments import Moments
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Floats, Labels

DRAWS = 20  # of labels dealt out anew


def by_epoch(trained: Trained) -> list[dict[str, Any]]:
    """A row per checkpoint: epoch, and for "train" and "test" grouped, fine_share and by_chance."""
    rows = []
    for line in trained.metrics:
        checkpoint = trained.checkpoint(int(line["epoch"]))
        parts = {
            split: structure(
                checkpoint[f"features.{split}"],
                checkpoint[f"fine.{split}"],
                trained.coarse_map,
                trained.recipe.seed,
            )
            for split in ("train", "test")
        }
        rows.append({"epoch": int(line["epoch"]), **parts})
    return rows


def structure(features: Floats, fine: Labels, coarse_map: Labels, seed: int) -> dict[str, float | None]:
    """The module's three numbers; None where a class has no image, so that it has no mean.

    Args:
        features: (N, d).
        fine: (N,) labels trained on, 0..C-1.
        coarse_map: (C,) the structure looked for.
        seed: of the draws.
    """
    checks.shape("fine", fine, (len(features),))
    if not np.bincount(fine, minlength=coarse_map.size).all():
        return dict.fromkeys(("grouped", "fine_share", "by_chance"))
    rng = np.random.default_rng([seed, 6])
    own, dealt = _share(features, fine, coarse_map), []
    for _ in range(DRAWS):
        labels = fine.copy()
        for k in range(coarse_map.max() + 1):
            members = np.flatnonzero(coarse_map[fine] == k)
            labels[members] = rng.permutation(fine[members])
        dealt.append(_share(features, labels, coarse_map))
    return {
        "grouped": _grouped(features, fine, coarse_map),
        "fine_share": own,
        "by_chance": float(np.mean(dealt)),
    }


def _share(features: Floats, fine: Labels, coarse_map: Labels) -> float:
    moments = Moments.from_samples(features, fine, coarse_map.size, covariance="diagonal")
    return float(observables.fine_share(moments, coarse_map))


def _grouped(features: Floats, fine: Labels, coarse_map: Labels) -> float:
    from scipy.cluster.hierarchy import fcluster, linkage

    means = Moments.from_samples(features, fine, coarse_map.size, covariance="diagonal").means
    groups = fcluster(linkage(means, "ward"), coarse_map.max() + 1, "maxclust")
    return adjusted_rand_index(coarse_map, groups)
