"""Where to look for hidden classes: off the classifier's row space, at unit norm (T18), in some views of an image.

What the coarse labels do not name survives off the classifier's row space, and what they see inside a class
(confidence, the norm of the features) is in the way of clustering. So

    off_classifier    project off the classifier's rows, or off the span of the centred coarse class means
    unit_norm         divide each sample by its norm: a per-sample scale, on which T18 is silent

and a network's representation of an image is taken from one view of it, or as the mean over several.

Source: this project, T18.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from finegrain.empirical.networks.architectures import Network
from finegrain.empirical.networks.augment import Images
from finegrain.empirical.networks.representation import Features, represent
from finegrain.theory.theorems.where_to_look import projector
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Floats, Labels

# What an image's representation is the mean over: (flipped, shift).
VIEWS = {
    "as is": ((False, 0),),
    "mirrored": ((False, 0), (True, 0)),
    "mirrored and shifted": tuple((flipped, shift) for shift in (0, -1, 1) for flipped in (False, True)),
}


def centred_class_means(x: Floats, y: Labels) -> Floats:
    """Of features and labels from `checked`, (K, D): what a classifier, were it known, would look at (NC3)."""
    means = np.stack([x[y == k].mean(axis=0, dtype=np.float64) for k in range(y.max() + 1)])
    return means - means.mean(axis=0)


def off_classifier(features: ArrayLike, classifier: ArrayLike) -> Floats:
    """Features (N, D) projected off the row space of `classifier` (K, D), in their own dtype.

    Raises:
        ValueError: a classifier of another width than the features, or one that leaves nothing: rank D.
    """
    x = checks.features("features", np.asarray(features))
    rows = checks.real("classifier", classifier, ("K", x.shape[1]))
    P = projector(rows)
    if np.trace(P) < 0.5:  # its rank, a whole number
        raise ValueError(
            f"classifier must leave a direction to look in, got rank {x.shape[1]} in {x.shape[1]} dimensions"
        )
    return x @ P.astype(x.dtype)


def unit_norm(features: Floats) -> Floats:
    """Each row over its norm; a row of zeros stays so."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0, norms, 1)


def look_where_theory_says(
    features: ArrayLike, coarse: ArrayLike, classifier: ArrayLike | None = None
) -> Floats:
    """Steps 1 and 2: features (N, D) off the classifier (K, D) or, without one, off the class means; unit norm."""
    rows = centred_class_means(*checked(features, coarse)) if classifier is None else classifier
    return unit_norm(off_classifier(features, rows))


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


def checked(features: ArrayLike, coarse: ArrayLike) -> tuple[Floats, Labels]:
    """Features (N, D), in float32 at least, and coarse labels (N,) that take every value 0..K-1."""
    x = checks.features("features", np.asarray(features))
    x = x.astype(np.promote_types(x.dtype, np.float32), copy=False)
    y = checks.labels("coarse", np.asarray(coarse), x)
    if not len(y) or y.min() < 0:
        raise ValueError(f"coarse must hold labels >= 0, got {y.min() if len(y) else 'none'}")
    empty = np.flatnonzero(np.bincount(y) == 0)
    if empty.size:
        raise ValueError(f"coarse must take every value 0..{y.max()}, but none is {empty[:5].tolist()}")
    return x, y


def beside(before: ArrayLike, features: Floats, samples: str = "samples") -> Floats:
    """What an earlier layer makes of the same samples: as many rows as `features`."""
    earlier = checks.features("before", np.asarray(before))
    if len(earlier) != len(features):
        raise ValueError(
            f"before must have a row for each of the {len(features)} {samples} in features, got {len(earlier)}"
        )
    return earlier
