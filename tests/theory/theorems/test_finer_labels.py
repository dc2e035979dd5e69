"""T26: training on labels split at random is training on their means; what samples keep of the split; assumptions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finegrain.sims import plain
from finegrain.sims.theorems import finer_labels as observed
from finegrain.theory.theorems import finer_labels as law

pytestmark = pytest.mark.T26
EPS = np.finfo(float).eps
seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, classes=st.integers(1, 5), labels=st.integers(2, 6))
def test_the_offset_is_the_same_for_all_outputs(seed, classes, labels):
    rng = np.random.default_rng(seed)
    t, p = rng.standard_normal((labels, classes)), rng.dirichlet(np.ones(labels))
    mean, offset = law.predict(t, p), law.predict_offset("squared", t, p)
    np.testing.assert_allclose(mean, p @ t, atol=8 * EPS * np.abs(t).max())
    for f in rng.standard_normal((3, classes)):
        expected = p @ np.sum((f - t) ** 2, axis=1) / 2
        assert expected - np.sum((f - mean) ** 2) / 2 == pytest.approx(offset, abs=1e-14 * (1 + expected))


@pytest.mark.parametrize("activation", ["erf", "identity", "square"])
def test_gradients_agree_in_networks_of_any_depth(activation):
    points, targets, probabilities = observed.draw("squared", 0)
    rng = np.random.default_rng(1)
    layers = [rng.standard_normal(shape) for shape in ((4, 3), (5, 4), (2, 5))]
    mean = np.einsum("cs,csk->ck", probabilities, targets)
    inputs, every, weights = observed.split_points(points, targets, probabilities)
    first = plain.gradients(plain.Problem(points, mean, activation=activation), layers)[1]
    second = plain.gradients(plain.Problem(inputs, every, weights, activation=activation), layers)[1]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12 * np.abs(a).max())


@given(seed=seeds, n=st.integers(2, 30), m=st.integers(1, 8), decay=st.floats(0, 1), t=st.floats(0, 50))
def test_the_memory_grows_to_at_most_the_features_for_each_sample(seed, n, m, decay, t):
    features = np.random.default_rng(seed).standard_normal((n, m))
    now, later = (law.predict_memory(features, 2.0, decay, x) for x in (t, t + 1))
    assert 0 <= now <= later <= 2 * min(m, n) / n * (1 + 1e-12)


def test_the_memory_at_the_end_is_that_of_ridge_regression():
    features = np.random.default_rng(0).standard_normal((12, 4))
    gram = features @ features.T / 12
    hat = gram @ np.linalg.inv(gram + 0.3 * np.eye(12))
    assert law.predict_memory(features, 1.0, 0.3, 1e3) == pytest.approx(np.trace(hat @ hat) / 12, rel=1e-12)


def test_a_trained_network_keeps_more_than_its_first_features_and_ever_less_with_more_samples():
    """n = 20 and 160, six neurons: .22 and .020 where the fixed features keep .12 and .016."""
    (few, few_error), (many, many_error) = (observed.trace(n, 0) for n in (20, 160))
    assert few - 3 * few_error > law.predict_memory(features_of(20), 1.0, 0.0, 20.0)
    assert many + 3 * many_error < few / 4


def features_of(n):
    x, (W, _) = observed.samples(n, 0)
    return np.maximum(x @ W.T, 0)


def descent_on(loss, probabilities, values, x, steps=400):
    """f at two points by descent on a written loss, labels `values` (S,) at `probabilities` (n, S); a linear f."""
    w = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    p, t = torch.from_numpy(probabilities), torch.tensor(values, dtype=torch.float64)
    for _ in range(steps):
        f = torch.from_numpy(x) @ w
        total = (p * loss(f[:, None], t)).sum(dim=1).mean()
        (slope,) = torch.autograd.grad(total, w)
        w = (w - 0.05 * slope).detach().requires_grad_()
    return (torch.from_numpy(x) @ w).detach().numpy()


LOSSES = {
    "hinge": lambda f, t: torch.relu(1 - t * f),
    "absolute": lambda f, t: (f - t).abs(),
    "logistic": lambda f, t: torch.nn.functional.softplus(-t * f),
}


@pytest.mark.parametrize("name", LOSSES)
def test_necessary_a_loss_affine_in_the_target(name):
    """Labels +1 and -1 at .8 and .2, mean .6: training on the split ends elsewhere; squared error does not."""
    x = np.eye(2)
    split, mean = np.tile([0.8, 0.2], (2, 1)), np.ones((2, 1))
    ends = [descent_on(LOSSES[name], p, v, x) for p, v in ((split, [1.0, -1.0]), (mean, [0.6]))]
    assert np.abs(ends[0] - ends[1]).min() > 0.1
    squared = [
        descent_on(lambda f, t: (f - t) ** 2 / 2, p, v, x) for p, v in ((split, [1.0, -1.0]), (mean, [0.6]))
    ]
    np.testing.assert_allclose(*squared, atol=1e-14)


def test_necessary_a_split_independent_of_the_input():
    """One class, x = N(0, I), labelled +1 and -1 by the sign of x_1: the network learns it; drawn at random, it does
    not."""
    rng = np.random.default_rng(0)
    x, layers = observed.samples(200, 0)
    ends = []
    for targets in (np.sign(x[:, :1]), rng.choice([-1.0, 1.0], (200, 1))):
        problem = plain.Problem(x, targets)
        end = plain.descend(problem, layers, [200], learning_rate=0.1)
        ends.append(np.corrcoef(plain.outputs(problem, [w[0] for w in end])[:, 0], x[:, 0])[0, 1])
    assert ends[0] > 0.8
    assert abs(ends[1]) < 0.5


def test_necessary_the_population():
    """On eight samples gradients differ by half of themselves and more, averaged over draws."""
    rng = np.random.default_rng(0)
    x, layers = observed.samples(8, 0)
    base = np.concatenate([g.ravel() for g in plain.gradients(plain.Problem(x, np.zeros((8, 1))), layers)[1]])
    gaps = []
    for _ in range(20):
        drawn = plain.gradients(plain.Problem(x, rng.choice([-1.0, 1.0], (8, 1))), layers)[1]
        gaps.append(np.linalg.norm(np.concatenate([g.ravel() for g in drawn]) - base))
    assert np.mean(gaps) > 0.5 * np.linalg.norm(base)


def test_necessary_fixed_features_for_the_memory():
    """n = 20: a trained network keeps half as much again as v/n sum h_k^2 of its first features."""
    found, error = observed.trace(20, 0)
    s = np.linalg.eigvalsh(features_of(20).T @ features_of(20) / 20)
    claimed = np.sum((1 - np.exp(-s * 20.0)) ** 2) / 20
    assert found - 3 * error > 1.2 * claimed


BAD_CALLS = [
    (
        lambda: law.predict([[1.0], [2.0]], [0.5, 0.6]),
        r"probabilities must be >= 0 and add to 1, got \[0.5, 0.6\]",
    ),
    (
        lambda: law.predict_offset("hinge", [[1.0]], [1.0]),
        "loss must be one of cross-entropy, squared; got 'hinge'",
    ),
    (lambda: law.predict_memory([[1.0]], -1.0, 0.0, 1.0), "variance must be a finite number >= 0, got -1.0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# By hand: labels 1 and 5 at 3/4 and 1/4 have mean 2, E t^2 = 7 and variance 3. Features (2, 2), n = 2: s = 4.
VALUES = {
    "part": [(lambda: law.predict([[1.0], [5.0]], [0.75, 0.25])[0], 2.0)],
    "offset": [
        (lambda: law.predict_offset("squared", [[1.0], [5.0]], [0.75, 0.25]), 1.5),
        (lambda: law.predict_offset("cross-entropy", [[1.0, 0], [0, 1]], [0.5, 0.5]) + 1, 1.0),
    ],
    "noise": [(lambda: law.predict_noise(3.0, [1.0, 7.0]), 6.0)],
    "kept": [
        (lambda: law.THEOREM.formulas.kept.number(4.0, 1.0, np.log(2) / 5), 0.4),
        (lambda: law.predict_memory([[2.0], [2.0]], 3.0, 0.0, np.log(2) / 4), 3 / 8),
    ],
}
