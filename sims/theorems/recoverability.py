"""T10 observed: the share of samples that three rules sort into the right class of two Gaussians.

The optimal rule and the nearest class mean use the true parameters and are only counted on samples. 2-means is run on
the samples, with nothing known of the classes, and its error has two parts: counting, and the sample's own centres,
which move the split's normal by (||m|| - P J P)^{-1} P xi about the population's rest point (Pollard 1982), with
xi the sampling error of m, J = dm/dn and P the projector off n. Last, a linear network is trained on samples by plain
descent, which comes to the optimum with nothing known of either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from finegrain.sims import plain
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import recoverability as law
from finegrain.theory.tools.arrays import Array


@dataclass(frozen=True)
class Clustering:
    """What 2-means found: the unit normal (d,) of its split, the gain and the share of samples sorted right.

    gain: P_1 P_2 ||m_1 - m_2||^2, by which the loss falls; E|n.x|^2 in the population.
    """

    normal: Array
    gain: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Pair:
    """Two Gaussian classes of equal covariance: difference of means (d,), covariance (d, d), prior of the first."""

    delta: Array
    covariance: Array
    prior: float = 0.5

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
        """x (n, d) and the class (n,), 0 for the mean +delta/2."""
        mixture = Mixture(law.pair(self.delta, self.covariance, self.prior), np.zeros(2, dtype=int))
        return mixture.sample(n, rng)


def random_pair(rng: np.random.Generator, dim: int, *, prior: float = 0.5, eigenvector: bool = False) -> Pair:
    """Anisotropic covariance, eigenvalues over a factor of 30; a difference of means with Delta of order 1 to 3."""
    axes = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    variances = np.exp(rng.uniform(-1.7, 1.7, dim))
    root = axes * np.sqrt(variances)
    direction = np.eye(dim)[0] if eigenvector else rng.standard_normal(dim)
    delta = root @ (direction / np.linalg.norm(direction)) * rng.uniform(1, 3)
    return Pair(delta, root @ root.T, prior)


def count(pair: Pair, n: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of n samples sorted right by the optimal rule and by the nearest of the true class means."""
    x, label = pair.sample(n, rng)
    log_odds = np.log(pair.prior) - np.log1p(-pair.prior)
    scores = {
        "optimum": x @ (np.linalg.pinv(pair.covariance) @ pair.delta) + log_odds,
        "bisector": x @ pair.delta,
    }
    return {rule: float(np.mean((score > 0) == (label == 0))) for rule, score in scores.items()}


def counting_error(probability: float, n: int, z: float) -> float:
    """Bernstein's bound on |share - probability| over n samples, exceeded with probability below 2 exp(-z^2/2)."""
    return z * np.sqrt(probability * (1 - probability) / n) + z**2 / (3 * n)


def two_means(
    x: Array, label: NDArray[np.int64], starts: Array | None = None, *, seed: int = 0, steps: int = 1000
) -> list[Clustering]:
    """Where Lloyd's iteration on samples (N, d) ends from each start, the largest gain first.

    starts: normals (B, d) of first splits through the sample mean; by default three principal axes and 3 random ones.
    """
    centred = x - x.mean(axis=0)
    if starts is None:
        axes = np.linalg.svd(centred, full_matrices=False)[2][:3]
        starts = np.concatenate([axes, np.random.default_rng(seed).standard_normal((3, x.shape[1]))])
    ends = [_lloyd(centred, label, start, steps) for start in starts]
    return sorted(ends, key=lambda end: -end.gain)


def _lloyd(x: Array, label: NDArray[np.int64], normal: Array, steps: int) -> Clustering:
    """Assign to the nearer centre, recompute the centres, until nothing changes; x has mean 0."""
    n, total = len(x), np.sum(x, axis=0)
    upper = x @ normal > 0
    if upper.all() or not upper.any():  # no extent along the start: nothing to split
        return Clustering(normal, 0.0, max(np.mean(label == 0), np.mean(label != 0)))
    for _ in range(steps):
        size = int(upper.sum())
        above = upper.astype(float) @ x  # the sums above and below the split
        low, high = (total - above) / (n - size), above / size
        difference = high - low
        last, upper = upper, x @ difference > (high + low) @ difference / 2
        if (upper == last).all():
            break
    share = float(np.mean(upper == (label == 0)))
    gain = size * (n - size) / n**2 * float(difference @ difference)
    return Clustering(difference / np.linalg.norm(difference), gain, max(share, 1 - share))


def two_means_error(pair: Pair, normal: Array, n: int, z: float) -> float:
    """Bound on |share sorted right - Phi(a/s)| for 2-means on n samples, z standard errors wide.

    Counting plus the motion of the split: the largest change of Phi(a/s) when the normal moves z standard deviations
    along each principal axis of its error, and the threshold z of its own, added up in squares.
    """
    u, delta, cov = normal / np.linalg.norm(normal), pair.delta, pair.covariance
    image, second = cov @ u, cov + np.outer(delta, delta) / 4
    a, s = u @ delta / 2, np.sqrt(u @ cov @ u)
    density = np.exp(-((a / s) ** 2) / 2) / np.sqrt(2 * np.pi) / s
    # The mean of x sign(u.x), written out: a bound must not move with a prediction.
    m = delta * (0.5 - ndtr(-a / s)) + 2 * density * image
    size = np.linalg.norm(m)
    across = delta / 2 - a / s**2 * image  # class mean given that x lies on the split
    J = 2 * density * (np.outer(across, across) + cov - np.outer(image, image) / s**2)
    off = np.eye(u.size) - np.outer(u, u)
    response = np.linalg.inv(size * np.eye(u.size) - off @ J @ off) @ off
    spread, axes = np.linalg.eigh(response @ (second - np.outer(m, m)) @ response.T / n)
    centre = ndtr(np.abs(a) / s)
    changes = []
    for variance, axis in zip(np.clip(spread, 0, None), axes.T, strict=True):
        moved = [u + sign * z * np.sqrt(variance) * axis for sign in (-1, 1)]
        changes.append(max(abs(ndtr(abs(v @ delta) / 2 / np.sqrt(v @ cov @ v)) - centre) for v in moved))
    along = max(float(u @ second @ u - size**2), 0.0)
    shift = z * np.sqrt(along / n) / (1 - 2 * density * size)
    changes.append(abs((ndtr((abs(a) - shift) / s) + ndtr((abs(a) + shift) / s)) / 2 - centre))
    return counting_error(float(centre), n, z) + float(np.linalg.norm(changes))


def tied(splits: list[Clustering], pair: Pair, n: int, z: float) -> bool:
    """True if two different ends are too close in E|n.x| for n samples to tell which is the population's best."""
    best = splits[0]
    rivals = [end for end in splits if abs(end.normal @ best.normal) < 0.9]
    # Var|n.x| <= the largest second moment: z standard errors for each of the two.
    noise = (
        2 * z * np.sqrt(np.linalg.eigvalsh(pair.covariance + np.outer(pair.delta, pair.delta) / 4)[-1] / n)
    )
    return any(np.sqrt(best.gain) - np.sqrt(end.gain) < noise for end in rivals)


def across_the_thresholds(n: int, seed: int) -> list[tuple[str, float, float, float]]:
    """(setting, predicted, observed, bound) for delta = (2, 0), s = 1, where the thresholds are 2.138 and 2.411.

    Best: the end of largest gain from any start. Stable: the end of a start at the bisector tilted by .2 radians.
    """
    rng, rows = np.random.default_rng([seed, 10, 1]), []
    tilted = np.array([np.cos(0.2), np.sin(0.2)])
    for kind, variance in (("best", 1.8), ("best", 2.5), ("Lloyd", 2.05), ("Lloyd", 2.8)):
        pair = Pair(np.array([2.0, 0.0]), np.diag([1.0, variance]))
        x, label = pair.sample(n, rng)
        end = two_means(x, label, None if kind == "best" else tilted[None], seed=seed)[0]
        if kind == "best":
            predicted = law.predict(pair.delta, pair.covariance)["two_means"]
        else:
            normal = rest_from(pair, tilted)
            predicted = float(ndtr(abs(normal[0]) / np.sqrt(normal @ pair.covariance @ normal)))
        bound = two_means_error(pair, np.eye(2)[int(variance > (2.138 if kind == "best" else 2.411))], n, 4)
        rows.append((f"{kind}: tau^2 = {variance}", predicted, end.accuracy, bound))
    return rows


def threshold_observed(n: int, rng: np.random.Generator) -> tuple[float, float]:
    """tau^2 at which n samples gain as much by a split across delta = (2, 0) as along it, s = 1; its standard error."""
    x = np.abs(rng.standard_normal(n) + np.where(np.arange(n) % 2, 1, -1))
    z = np.abs(rng.standard_normal(n))
    tau = x.mean() / z.mean()
    relative = np.hypot(x.std() / x.mean(), z.std() / z.mean()) / np.sqrt(n)
    return float(tau**2), float(2 * tau**2 * relative)


def trained_share(pair: Pair, n: int, rng: np.random.Generator) -> float:
    """Share of n fresh samples nearer to their own target, 0 or 1, of a linear network plainly trained on n others."""
    (x, label), (fresh, truth) = pair.sample(n, rng), pair.sample(n, rng)

    def inputs(points: Array) -> Array:
        return np.concatenate([points, np.ones((n, 1))], axis=1)

    problem = plain.Problem(inputs(x), label[:, None].astype(float), activation="identity")
    layers = rng.standard_normal((2, pair.delta.size + 1)) / 2, rng.standard_normal((1, 2)) / 2
    ends = plain.descend(problem, layers, [300], learning_rate=0.3)
    f = plain.outputs(problem, [layer[0] for layer in ends], inputs(fresh))[:, 0]
    return float(np.mean((f > 0.5) == (truth == 1)))


def verify(seed: int) -> list[Comparison]:
    """Random pairs for each rule, the threshold, both sides of each, and the optimum by plain training."""
    rng = np.random.default_rng([seed, 10, 0])
    linear = [observe_linear(rng, 4) for _ in range(40)]
    rows = [_mean_row(rule, [draw[rule] for draw in linear]) for rule in ("optimum", "bisector")]
    rows.append(_mean_row("two_means", [observe_two_means(rng, 4) for _ in range(8)]))
    found, error = threshold_observed(100_000, rng)
    name, reason = "tau^2 at which 2-means leaves the bisector, a = s = 1", "4 standard errors"
    predicted = law.predict_thresholds(1.0, 1.0)[0]
    rows.append(Comparison("T10", name, predicted, found, 4 * error / found, reason))
    reason = "4 standard errors of counting and of the sample's centres"
    for name, predicted, observed, bound in across_the_thresholds(20_000, seed):
        rows.append(Comparison("T10", f"2-means, {name}", predicted, observed, bound / observed, reason))
    return [*rows, _plain_row(rng)]


def _mean_row(rule: str, draws: list[tuple[float, float, float]]) -> Comparison:
    """Errors of independent draws add up in squares."""
    predicted, observed, bound = np.array(draws).T
    error = float(np.linalg.norm(bound)) / len(draws) / observed.mean()
    name = f"{rule}, mean of {len(draws)} random pairs"
    return Comparison(
        "T10", name, float(predicted.mean()), float(observed.mean()), error, "4 Monte-Carlo standard errors"
    )


def _plain_row(rng: np.random.Generator, n: int = 8000) -> Comparison:
    pair = Pair(np.array([2.0, 0.5, 0.0]), np.diag([1.0, 0.5, 1.5]) + 0.2)
    found = trained_share(pair, n, rng)
    # Okamoto (1963): the rule that n samples teach loses a multiple of d/n.
    error = counting_error(found, n, 4) + pair.delta.size / n
    return Comparison(
        "T10",
        f"optimum, by a linear network plainly trained on {n} samples",
        law.predict(pair.delta, pair.covariance)["optimum"],
        found,
        error / found,
        "4 standard errors of counting, and d/n for the samples' own rule",
    )


def observe_linear(
    rng: np.random.Generator, z: float, n: int = 4000
) -> dict[str, tuple[float, float, float]]:
    """For each linear rule (predicted, observed, bound of z standard errors) on n samples of one random pair."""
    pair = random_pair(rng, int(rng.integers(2, 41)), prior=rng.uniform(0.2, 0.8))
    predicted = law.predict(pair.delta, pair.covariance, pair.prior)
    shares = count(pair, n, rng)
    return {rule: (p, shares[rule], counting_error(shares[rule], n, z)) for rule, p in predicted.items()}


def observe_two_means(rng: np.random.Generator, z: float, n: int = 4000) -> tuple[float, float, float]:
    """(predicted, observed, bound of z standard errors) for 2-means on n samples of one random pair.

    Pairs whose two best splits are tied within sampling error are drawn again: theory names the best split alone.
    """
    while True:
        pair = random_pair(rng, int(rng.integers(2, 7)), eigenvector=bool(rng.integers(2)))
        x, label = pair.sample(n, rng)
        splits = two_means(x, label, seed=int(rng.integers(2**32)))
        if not tied(splits, pair, n, z):
            predicted = law.predict(pair.delta, pair.covariance)["two_means"]
            return predicted, splits[0].accuracy, two_means_error(pair, rest(pair, splits[0]), n, z)


def rest(pair: Pair, split: Clustering) -> Array:
    """The population's rest point (d,) that Lloyd's iteration reaches from a split found in samples."""
    return rest_from(pair, split.normal)


def rest_from(pair: Pair, normal: Array) -> Array:
    """The same from a split's unit normal (d,)."""
    n = normal
    for _ in range(2000):
        m = law.predict_centre(n, pair.delta, pair.covariance)
        last, n = n, m / np.linalg.norm(m)
        if np.linalg.norm(n - last) < 1e-12:
            break
    return n
