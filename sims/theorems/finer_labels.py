"""T26 observed: training on labels split at random beside training on their means.

On the population every point carries all its labels, weighted by their probabilities; on samples each carries one.
"""

from __future__ import annotations

import numpy as np

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import finer_labels as law
from finegrain.theory.tools.arrays import Array


def split_points(points: Array, targets: Array, probabilities: Array) -> tuple[Array, Array, Array]:
    """Each point once for every label: inputs (n S, d), targets (n S, K) and weights (n S,) from (n, S, K), (n, S)."""
    n, S = probabilities.shape
    return np.repeat(points, S, axis=0), targets.reshape(n * S, -1), (probabilities / n).ravel()


def draw(loss: str, seed: int) -> tuple[Array, Array, Array]:
    """Points (6, 3), three labels' targets each (6, 3, K), and their probabilities (6, 3)."""
    rng = np.random.default_rng([seed, 26])
    K = 2 if loss == "squared" else 3
    targets = rng.standard_normal((6, 3, K))
    if loss == "cross-entropy":
        targets = rng.dirichlet(np.ones(K), (6, 3))
    return rng.standard_normal((6, 3)), targets, rng.dirichlet(np.full(3, 2.0), 6)


def population(loss: str, seed: int) -> tuple[Array, Array, float, float]:
    """Weights (all, flattened) and loss after 200 steps: exact descent on mean targets, plain on the split ones."""
    points, targets, probabilities = draw(loss, seed)
    W0, A0 = gaussian(5, 3, targets.shape[2], 0.7, np.random.default_rng(seed))
    mean = np.array([law.predict(t, p) for t, p in zip(targets, probabilities, strict=True)])
    if loss == "cross-entropy":
        # Probabilities to rounding; a falsified mean must still train.
        mean /= mean.sum(axis=1, keepdims=True)
    mixture = Mixture.from_means(points, np.arange(6))
    exact = population_descent(mixture, W0, A0, targets=mean, loss=loss, learning_rate=0.2, steps=[200])
    inputs, every, weights = split_points(points, targets, probabilities)
    task = plain.Problem(inputs, every, weights, loss=loss)
    end = [layer[0] for layer in plain.descend(task, [W0, A0], [200], learning_rate=0.2)]
    split_loss = plain.gradients(task, end)[0]
    flat = [np.concatenate([layer.ravel() for layer in layers]) for layers in ([exact.W[0], exact.A[0]], end)]
    return flat[0], flat[1], float(exact.loss[0]), split_loss


def gradient_noise(seed: int, draws: int = 400) -> tuple[float, float, float]:
    """Predicted mean square of the gradients' difference, its mean over draws of the labels, and standard error."""
    rng = np.random.default_rng([seed, 27])
    x, p, values = rng.standard_normal((12, 3)), 0.3, np.array([1.0, -2.0])
    layers = list(gaussian(5, 3, 1, 0.7, rng))
    mean = float(values @ [p, 1 - p])

    def slope(targets: Array) -> Array:
        return np.concatenate([g.ravel() for g in plain.gradients(plain.Problem(x, targets), layers)[1]])

    base = slope(np.full((12, 1), mean))
    found = []
    for _ in range(draws):
        drawn = np.where(rng.random((12, 1)) < p, *values)
        found.append(np.sum((slope(drawn) - base) ** 2))
    # J_i by hand: of f = a . relu(W x_i).
    W, A = layers
    h = np.maximum(x @ W.T, 0)
    squares = np.sum(h**2, axis=1) + np.sum((A[0] * (h > 0)) ** 2, axis=1) * np.sum(x**2, axis=1)
    variance = float(values**2 @ [p, 1 - p] - mean**2)
    return law.predict_noise(variance, squares), float(np.mean(found)), float(np.std(found) / np.sqrt(draws))


def memory(n: int, t: float, weight_decay: float, seed: int) -> tuple[float, float]:
    """Predicted mean square of the outputs' difference on n samples with fixed features, and what training gives.

    A class has labels +1 and -1, mean 0. Independent labels add up, so the mean over all draws is the sum over samples
    of what one label alone leaves.
    """
    x, layers = samples(n, seed)
    base = readout(x, layers, np.zeros((n, 1)), t, weight_decay)
    alone = [readout(x, layers, unit[:, None], t, weight_decay) for unit in np.eye(n)]
    features = np.maximum(x @ layers[0].T, 0)
    observed = float(np.sum((np.array(alone) - base) ** 2)) / n
    return law.predict_memory(features, 1.0, weight_decay, t), observed


def trace(n: int, seed: int, *, draws: int = 20, steps: int = 200) -> tuple[float, float]:
    """The same with trained features after descent of step .1, over draws of the labels: mean and standard error."""
    rng = np.random.default_rng([seed, 29, n])
    x, layers = samples(n, seed)

    def outputs(targets: Array) -> Array:
        problem = plain.Problem(x, targets)
        end = plain.descend(problem, layers, [steps], learning_rate=0.1)
        return plain.outputs(problem, [layer[0] for layer in end])

    base = outputs(np.zeros((n, 1)))
    found = [float(np.mean((outputs(rng.choice([-1.0, 1.0], (n, 1))) - base) ** 2)) for _ in range(draws)]
    return float(np.mean(found)), float(np.std(found) / np.sqrt(draws))


def samples(n: int, seed: int) -> tuple[Array, list[Array]]:
    """Inputs (n, 3) and a network of six neurons, the same at every n."""
    x = np.random.default_rng([seed, 28, n]).standard_normal((n, 3))
    return x, list(gaussian(6, 3, 1, 1.0, np.random.default_rng([seed, 28])))


def readout(x: Array, layers: list[Array], targets: Array, t: float, weight_decay: float) -> Array:
    """Outputs (n, 1) at time t by plain RK45, the features fixed."""
    problem = plain.Problem(x, targets, weight_decay=weight_decay)
    end = plain.flow(problem, layers, [t], rtol=1e-6, fixed=(0,))
    return plain.outputs(problem, [layer[0] for layer in end])


def verify(seed: int) -> list[Comparison]:
    """Weights and losses on the population, the gradients' noise, and the memory of a readout."""
    rows = []
    for loss in law.LOSSES:
        mean, split, mean_loss, split_loss = population(loss, seed)
        probe = np.random.default_rng(seed).standard_normal(mean.size)
        reason = "rounding: a machine epsilon a step, 200 steps"
        bound = 200 * np.finfo(float).eps
        name = f"weights after 200 steps, along a random vector, {loss}"
        size = float(np.linalg.norm(probe) * np.linalg.norm(mean) / abs(probe @ mean))
        rows.append(Comparison("T26", name, float(probe @ mean), float(probe @ split), bound * size, reason))
        _, targets, probabilities = draw(loss, seed)
        offset = np.mean(
            [law.predict_offset(loss, t, p) for t, p in zip(targets, probabilities, strict=True)]
        )
        name = f"loss on split labels after 200 steps, {loss}"
        rows.append(Comparison("T26", name, mean_loss + float(offset), split_loss, bound, reason))
    predicted, found, error = gradient_noise(seed)
    reason = "five standard errors of the draws"
    name = "mean square of gradients' difference, n = 12"
    rows.append(Comparison("T26", name, predicted, found, 5 * error / predicted, reason))
    for n, t, weight_decay in ((20, 3.0, 0.0), (60, 10.0, 0.05)):
        predicted, found = memory(n, t, weight_decay, seed)
        name = f"mean square of a readout's memory, n = {n}, t = {t:g}, lambda = {weight_decay}"
        rows.append(Comparison("T26", name, predicted, found, 3e-5, "RK45's rtol, 1e-6 a step, 30 steps"))
    return rows
