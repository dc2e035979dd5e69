"""Plain training: its gradients by finite differences, its flow against closed forms, and what it must not import."""

import ast
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf, expit

from finegrain.sims import plain


def loss_by_hand(problem, layers):
    """The loss in NumPy, straight from its formula."""
    phi = {
        "identity": lambda z: z,
        "relu": lambda z: np.maximum(z, 0),
        "leaky_relu": lambda z: np.where(z > 0, z, problem.slope * z),
        "erf": erf,
        "square": np.square,
    }[problem.activation]
    h = problem.inputs
    for layer in layers[:-1]:
        h = phi(h @ layer.T)
    f, t = h @ layers[-1].T, problem.targets
    each = {
        "squared": lambda: np.sum((f - t) ** 2, axis=1) / 2,
        "logistic": lambda: -np.sum(np.log(expit(t * f)), axis=1),
        "cross-entropy": lambda: np.log(np.sum(np.exp(f), axis=1)) - np.sum(t * f, axis=1),
    }[problem.loss]()
    pi = np.full(len(f), 1 / len(f)) if problem.weights is None else problem.weights
    return pi @ each + problem.weight_decay / 2 * sum(np.sum(layer**2) for layer in layers)


@given(
    activation=st.sampled_from(plain.ACTIVATIONS),
    loss=st.sampled_from(plain.LOSSES),
    hidden=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_loss_and_its_gradient_are_the_formula_s(activation, loss, hidden, weighted, seed):
    rng = np.random.default_rng(seed)
    n, d, K = 5, 3, 2
    labels = rng.integers(0, K, n)
    targets = {"squared": rng.standard_normal((n, K)), "logistic": 2 * np.eye(K)[labels] - 1}
    problem = plain.Problem(
        rng.standard_normal((n, d)), targets.get(loss, np.eye(K)[labels]),
        weights=rng.dirichlet(np.ones(n)) if weighted else None,
        activation=activation, slope=0.3, loss=loss, weight_decay=0.1,
    )  # fmt: skip
    sizes = [d, *hidden, K]
    layers = [rng.standard_normal((a, b)) / 2 for b, a in pairwise(sizes)]
    value, slopes = plain.gradients(problem, layers)
    assert value == pytest.approx(loss_by_hand(problem, layers), rel=1e-13)
    ways = [rng.standard_normal(layer.shape) for layer in layers]
    step = 1e-6
    ahead, back = (
        loss_by_hand(problem, [x + s * step * w for x, w in zip(layers, ways, strict=True)]) for s in (1, -1)
    )
    along = sum(np.sum(g * w) for g, w in zip(slopes, ways, strict=True))
    # Step^2 of the third derivative, a kink within a step (rare), and rounding over the step.
    assert (ahead - back) / (2 * step) == pytest.approx(along, abs=1e-6 * (1 + abs(value)))


def test_flow_is_exponential_decay_without_a_loss_and_records_its_start():
    problem = plain.Problem(np.zeros((1, 2)), np.zeros((1, 1)), weight_decay=0.3)
    W0, A0 = np.array([[1.0, -2.0], [1e-6, 0.0]]), np.array([[3.0, 1e-6]])
    W, A = plain.flow(problem, [W0, A0], [0.0, 1.0, 5.0])
    for i, t in enumerate([0, 1, 5]):
        np.testing.assert_allclose(W[i], np.exp(-0.3 * t) * W0, rtol=1e-7)
        np.testing.assert_allclose(A[i], np.exp(-0.3 * t) * A0, rtol=1e-7)


def test_descent_is_the_step_itself_and_tends_to_the_flow():
    problem = plain.Problem(np.eye(2), np.array([[1.0], [-1.0]]))
    start = [np.array([[0.5, 0.1], [0.2, 0.4]]), np.array([[0.5, -0.4]])]
    one = plain.descend(problem, start, [1], learning_rate=0.1)
    slopes = plain.gradients(problem, start)[1]
    for layer, x, g in zip(one, start, slopes, strict=True):
        np.testing.assert_array_equal(layer[0], x - 0.1 * g)
    exact = plain.flow(problem, start, [4.0], rtol=1e-10)
    errors = [
        max(
            np.abs(a[0] - b[0]).max()
            for a, b in zip(plain.descend(problem, start, [n], learning_rate=4 / n), exact, strict=True)
        )
        for n in (100, 200)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("train", ["flow", "descend"])
@pytest.mark.parametrize("fixed", [0, 1])
def test_a_fixed_layer_stays_and_the_other_moves_as_it_alone_makes_it(train, fixed):
    """With W fixed at I the rest is linear: A relaxes to the targets at rate 1/2; the other way round likewise."""
    problem = plain.Problem(np.eye(2), np.array([[1.0], [-1.0]]), activation="identity")
    start = [np.eye(2), np.array([[0.0, 2.0]])] if fixed == 0 else [np.eye(2)[:1] * 0.5, np.ones((1, 1))]
    options = {"learning_rate": 0.5} if train == "descend" else {"rtol": 1e-10}
    ends = getattr(plain, train)(problem, start, [3], fixed=[fixed], **options)
    np.testing.assert_array_equal(ends[fixed][0], start[fixed])
    left = (1 - 0.5 / 2) ** 3 if train == "descend" else np.exp(-3 / 2)
    goal = np.array([[1.0, -1.0]])
    np.testing.assert_allclose(ends[1 - fixed][0], goal + left * (start[1 - fixed] - goal), rtol=1e-8)


def test_a_layer_that_is_not_there_cannot_be_fixed():
    problem = plain.Problem(np.eye(2), np.ones((2, 1)))
    with pytest.raises(ValueError, match="fixed must hold indices of the 2 layers"):
        plain.flow(problem, [np.eye(2), np.ones((1, 2))], [1.0], fixed=[2])


def test_gaussian_points_have_their_means_and_noise():
    x, labels = plain.gaussian_points([[0.0, 1.0], [2.0, 0.0]], 0.5, 4000, seed=0)
    for c, mean in enumerate([[0, 1], [2, 0]]):
        # Four standard errors.
        np.testing.assert_allclose(x[labels == c].mean(axis=0), mean, atol=4 * 0.5 / np.sqrt(4000))
        np.testing.assert_allclose(x[labels == c].std(axis=0), 0.5, rtol=4 / np.sqrt(8000))


def test_matching_points_have_the_moments_of_each_fine_class():
    rng = np.random.default_rng(0)
    means, weights = rng.standard_normal((2, 3)), np.array([0.25, 0.75])
    roots = rng.standard_normal((2, 3, 2))
    covariances = roots @ roots.swapaxes(1, 2)
    points, each, labels = plain.matching_points(means, covariances, weights)
    for c in range(2):
        mine = labels == c
        centred = points[mine] - means[c]
        assert each[mine].sum() == pytest.approx(weights[c])
        np.testing.assert_allclose(each[mine] @ centred, 0, atol=1e-14)
        np.testing.assert_allclose(
            (centred.T * each[mine]) @ centred, weights[c] * covariances[c], atol=1e-14
        )


def test_output_weights_that_start_at_zero_take_the_tolerance_of_their_neuron(monkeypatch):
    """With a tolerance of their own, near 0, the first steps overflow and the rest are thousands."""
    calls, gradients = [], plain.gradients
    monkeypatch.setattr(plain, "gradients", lambda *a: (calls.append(None), gradients(*a))[1])
    problem = plain.Problem(np.eye(2), np.array([[1.0], [-1.0]]), activation="identity")
    A = plain.flow(problem, [0.1 * np.eye(2), np.zeros((1, 2))], [1.0])[1]
    assert A[-1][0, 0] > 0.01
    assert len(calls) < 300


def test_it_knows_nothing_of_the_theory_or_of_the_exact_flows():
    tree = ast.parse(Path(plain.__file__).read_text())
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {name.split(".")[0] for name in imported} == {
        "__future__", "collections", "dataclasses", "numpy", "scipy", "torch",
    }  # fmt: skip


BAD_CALLS = [
    ({"activation": "tanh"}, "activation must be one of erf, identity, leaky_relu, relu, square; got 'tanh'"),
    ({"loss": "hinge"}, "loss must be one of cross-entropy, logistic, squared; got 'hinge'"),
    ({"weights": np.ones(3)}, "targets and weights must have one row per input, 2"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        plain.Problem(np.eye(2), np.ones((2, 1)), **change)
