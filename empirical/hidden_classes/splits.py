"""Does a class hide subclasses, how many, and which sample is in which? No fine label, and a stated error rate.

No structure means: every projection of the class onto a line has one mode. Against that a class is split in two, and
each part again, as long as the split stands its test:

    choose    on a random third of the samples, a direction: two Gaussians at unit norm, and their linear discriminant
    test      on the others, which had no say in the choice, the dip of the projection on that direction
    repeat    over SPLITS thirds, and combine their p-values

Unit norm guides the choice alone. The test projects the samples as they are: dividing by the norm bends a class, and
can give a Gaussian two modes (spread along one axis, it ends at two opposite points).

All thirds are drawn alike, so that their p-values are exchangeable, and the share of p_1..p_l that are at most alpha/2
is a martingale from the last l to the first. By Ville's inequality it reaches 1/2, at any l, with a probability of at
most alpha. So the least over l of twice the lower median of p_1..p_l is a p-value, and a class has that one. A part of
a class has the larger one of the last l, twice the median of all: most thirds must agree to cut what has been cut.

The level is alpha for the class and falls tenfold with each generation of parts. True subclasses are leaves of a binary
tree, and over its leaves sum 2^-depth = 1 (Kraft), so halving would do to keep the chance of splitting any of them
below alpha. The rest is a margin for what a cut leaves behind, strays and an edge, which no projection of a class has.

Source: this project, T18 (where to look); Hartigan & Hartigan (1985), the dip; Ledoit & Wolf (2004), the discriminant;
Gasparin, Wang & Ramdas (2025), Combining exchangeable p-values, PNAS 122.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from finegrain.empirical.hidden_classes.cluster import COMPONENTS, mixture_components
from finegrain.empirical.hidden_classes.look import unit_norm
from finegrain.theory.dip import p_value
from finegrain.theory.tools.arrays import Array, Floats, Labels

SPLITS = 5  # random choices a test
CUT_STARTS = 3  # of the mixture that cuts
CHOOSERS = 3  # one sample in three has a say in the direction
PER_AXIS = 4  # samples a principal component, at least, where a direction is chosen
FEWEST = 24  # samples that can be split and tested
GENERATION = 10  # by which the level falls for the parts of a class, and again for theirs


@dataclass(frozen=True)
class Split:
    """One test of a class, or of a part of it.

    Attributes:
        part: "" for the class, "0" and "1" for its parts, "01" for the second part of the first
        samples: in this part
        p_value: of one mode in every projection
        level: that the p-value had to reach
    """

    part: str
    samples: int
    p_value: float
    level: float

    @property
    def found(self) -> bool:
        """Whether the part was split."""
        return self.p_value <= self.level


@dataclass(frozen=True, eq=False)
class Subclasses:
    """What one class hides.

    Attributes:
        subclass: (n,) 0..S-1, largest first; S = 1 where nothing was found
        confidence: (n,) probability of its subclass that a linear discriminant taught all other folds gives a sample
        tests: the class's own test first, then those of its parts
    """

    subclass: Labels
    confidence: Array
    tests: tuple[Split, ...]

    @property
    def count(self) -> int:
        """S, the number of subclasses."""
        return int(self.subclass.max()) + 1


def find_subclasses(features: Floats, *, alpha: float = 0.05, seed: int = 0) -> Subclasses:
    """Subclasses of one class from its features (n, D), already off the classifier, not normalised.

    Args:
        alpha: the chance of a subclass too many, at most.
        seed: of choices and clusters; the same seed gives the same answer.
    """
    leaves: list[Labels] = []
    tests = tuple(_grow(features, np.arange(len(features)), "", alpha, seed, leaves))
    subclass = np.empty(len(features), dtype=np.int64)
    for s, members in enumerate(sorted(leaves, key=len, reverse=True)):
        subclass[members] = s
    return Subclasses(subclass, _confidence(features, subclass), tests)


def _grow(
    x: Floats, members: Labels, part: str, alpha: float, seed: int, leaves: list[Labels]
) -> Iterator[Split]:
    """Test the part `members` of the class x; split it and grow its parts, or make it a leaf."""
    combine = twice_median if part else combined
    p = split_p_value(x[members], seed=seed, combine=combine)
    test = Split(part, len(members), p, alpha / GENERATION ** len(part))
    yield test
    if not test.found:
        leaves.append(members)
        return
    side = _cut(unit_norm(x[members]), seed)
    for child in (0, 1):
        yield from _grow(x, members[side == child], f"{part}{child}", alpha, seed, leaves)


def _cut(x: Floats, seed: int) -> Labels:
    """Sides (n,) of features (n, D): two Gaussians with full covariances, from the partitions of k-means.

    Not fitted to the end from random starts, as cluster.mixture_clusters is: of few samples the likeliest two may be
    one around the other, and parts of such a cut are cut again (docs/results/discover.md).
    """
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(2, n_init=CUT_STARTS, random_state=seed)
    return mixture.fit_predict(mixture_components(x)).astype(np.int64)


def combined(p_values: Sequence[float]) -> float:
    """One p-value from exchangeable ones, in the order they came: the least of twice the lower median so far."""
    return min(1.0, *(2 * sorted(p_values[:seen])[(seen - 1) // 2] for seen in range(1, len(p_values) + 1)))


def twice_median(p_values: Sequence[float]) -> float:
    """One p-value from several, whatever their dependence (Rueger 1978)."""
    return min(1.0, 2 * float(np.median(p_values)))


def split_p_value(
    x: Floats, *, seed: int = 0, combine: Callable[[Sequence[float]], float] = combined
) -> float:
    """p-value of "every projection of this class has one mode", features (n, D); 1 for too few samples to tell."""
    if len(x) < FEWEST:
        return 1.0
    rng = np.random.default_rng([seed, len(x)])
    p_values: list[float] = []
    for _ in range(SPLITS):
        choose, test = np.split(rng.permutation(x), [len(x) // CHOOSERS])
        p_values.append(p_value(test @ direction(choose, seed)))
        if sum(p >= 0.5 for p in p_values) > SPLITS / 2:
            break  # too little evidence to go on for; to stop at any number is allowed
    return combine(p_values)


def direction(x: Floats, seed: int = 0) -> Array:
    """The direction (D,) in which features (n, D) look most like two groups; 0 if they do not fall into two.

    Two Gaussians of one covariance, whose border is flat, on the leading principal components at unit norm; then the
    difference of the two groups' means over the shrunk covariance within them, both of the samples as they are.
    """
    from sklearn.covariance import ledoit_wolf
    from sklearn.mixture import GaussianMixture

    axes = _leading_axes(unit_norm(x), max(1, min(COMPONENTS, len(x) // PER_AXIS)))
    scores = unit_norm(x) @ axes
    spread = scores[:, 0].std()
    if spread <= len(x) * np.finfo(x.dtype).eps:
        return np.zeros(x.shape[1])
    mixture = GaussianMixture(2, covariance_type="tied", random_state=seed)
    side = mixture.fit_predict(scores.astype(np.float64) / spread)
    if side.min() == side.max():
        return np.zeros(x.shape[1])
    z = (x @ axes).astype(np.float64)
    means = np.stack([z[side == s].mean(axis=0) for s in (0, 1)])
    within = ledoit_wolf(z - means[side], assume_centered=True)[0]
    return axes @ np.linalg.lstsq(within, means[1] - means[0])[0]


def _leading_axes(x: Floats, most: int) -> Floats:
    """Principal axes (D, <= most) of features (n, D), the largest variance first."""
    centred = x - x.mean(axis=0)
    if x.shape[1] > len(x):
        return np.linalg.svd(centred, full_matrices=False)[2][:most].T
    return np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :most]


def _confidence(x: Floats, subclass: Labels) -> Array:
    """Cross-validated probability (n,) of each sample's subclass, by a shrunk linear discriminant; 1 if there is one.

    Folds are no more than the smallest subclass has samples.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import cross_val_predict

    if subclass.max() == 0:
        return np.ones(len(x))
    z = x @ _leading_axes(unit_norm(x), min(COMPONENTS, max(1, len(x) // PER_AXIS)))
    folds = max(2, min(5, int(np.bincount(subclass).min())))
    rule = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return cross_val_predict(rule, z, subclass, cv=folds, method="predict_proba")[np.arange(len(x)), subclass]
