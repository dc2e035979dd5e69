"""Training a two-layer network: the descent is the gradient's, and the record is the network's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.networks.two_layer import train
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent
from finegrain.sims.samples import loss as sample_loss
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot

EPS = np.finfo(float).eps
N, D, M, K = 50, 6, 7, 2
COARSE = [0, 1, 0, 1]
TARGETS = centred_one_hot(COARSE)


def problem(seed, count=N):
    """Samples of four fine classes about different means, and initial weights."""
    rng = np.random.default_rng(seed)
    fine = np.arange(count) % 4
    x = rng.standard_normal((4, D))[fine] + rng.standard_normal((count, D))
    return x, fine, *gaussian(M, D, K, 0.5, np.random.default_rng(seed))


def autograd(x, fine, W, A, activation, weight_decay):
    """L, dL/dW and dL/dA in float64, from the loss as docs/theory.md writes it."""
    x, t = torch.tensor(x), torch.tensor(TARGETS[fine])
    W, A = (torch.tensor(w, requires_grad=True) for w in (W, A))
    z = x @ W.T
    h = torch.relu(z) if activation == "relu" else z
    fit = 0.5 * ((h @ A.T - t) ** 2).sum(dim=1).mean()
    loss = fit + weight_decay / 2 * ((W**2).sum() + (A**2).sum())
    loss.backward()
    return float(loss.detach()), W.grad.numpy(), A.grad.numpy()


def rounding(x, W, A):
    """A bound on the rounding of a gradient of `problem`, per entry and relative to 1.

    An entry is a mean over samples of products that pass through sums of D, M and K terms; every intermediate
    is below the product of the norms.
    """
    size = np.linalg.norm(x, axis=1).max()
    norms = (1 + np.linalg.norm(W)) * (1 + np.linalg.norm(A))
    return (len(x) + D + M + K) * EPS * (1 + size) ** 2 * norms**2


@given(st.integers(0, 2**32), st.sampled_from(["relu", "identity"]), st.floats(0, 1), st.floats(0.01, 1))
def test_one_step_is_the_gradient_of_the_loss(seed, activation, weight_decay, rate):
    x, fine, W0, A0 = problem(seed)
    options = {"activation": activation, "weight_decay": weight_decay, "learning_rate": rate}
    record = train(x, fine, W0, A0, targets=TARGETS, steps=1, dtype="float64", **options)
    loss, dW, dA = autograd(x, fine, W0, A0, activation, weight_decay)
    bound = rounding(x, W0, A0)
    assert record.loss[0] == pytest.approx(loss, rel=0, abs=bound)
    np.testing.assert_array_equal(record.W[0], W0)
    np.testing.assert_allclose(record.W[1], W0 - rate * dW, rtol=0, atol=bound)
    np.testing.assert_allclose(record.A[1], A0 - rate * dA, rtol=0, atol=bound)


@given(st.integers(0, 2**32))
def test_the_record_is_of_the_weights_it_holds(seed):
    x, fine, W0, A0 = problem(seed)
    other = problem(seed + 1)[:2]
    record = train(
        x, fine, W0, A0, targets=TARGETS, steps=9, record_at=[0, 4, 9], test=other, dtype="float64"
    )
    np.testing.assert_array_equal(record.steps, [0, 4, 9])
    np.testing.assert_array_equal(record.times, record.steps * 0.3)
    assert len(record.moments) == len(record.test_moments) == 3
    for W, A, loss, *moments in zip(
        record.W, record.A, record.loss, record.moments, record.test_moments, strict=True
    ):
        bound = rounding(x, W, A)
        assert loss == pytest.approx(autograd(x, fine, W, A, "relu", 1e-3)[0], rel=0, abs=bound)
        for (inputs, labels), found in zip([(x, fine), other], moments, strict=True):
            expected = Moments.from_samples(np.maximum(inputs @ W.T, 0), labels)
            bound = rounding(inputs, W, A)
            np.testing.assert_allclose(found.means, expected.means, rtol=0, atol=bound)
            np.testing.assert_allclose(found.covariances, expected.covariances, rtol=0, atol=bound)
            np.testing.assert_array_equal(found.weights, expected.weights)


def test_a_linear_network_follows_the_population_descent_of_the_samples_moments():
    """A linear network sees second moments alone, so here theory and training must agree to rounding.

    The bound lets the errors of single steps add up: at this rate, below 1/curvature, descent does not
    amplify them.
    """
    x, fine, W0, A0 = problem(0)
    mixture = Mixture.fit(x, fine, COARSE)
    options = {"activation": "identity", "weight_decay": 0.01, "learning_rate": 0.02}
    at = [1, 10, 40]
    real = train(x, fine, W0, A0, targets=TARGETS, steps=40, record_at=at, dtype="float64", **options)
    predicted = population_descent(mixture, W0, A0, targets=TARGETS, steps=at, **options)
    bound = 40 * rounding(x, W0, A0)
    assert np.abs(real.W[-1] - W0).max() > 1e6 * bound  # it has moved
    np.testing.assert_allclose(real.times, predicted.times, rtol=EPS)
    np.testing.assert_allclose(real.W, predicted.W, rtol=0, atol=bound)
    np.testing.assert_allclose(real.A, predicted.A, rtol=0, atol=bound)
    np.testing.assert_allclose(real.loss, predicted.loss, rtol=0, atol=bound)


def test_blocks_of_samples_add_up_to_all_of_them(monkeypatch):
    x, fine, W0, A0 = problem(1)
    whole = train(x, fine, W0, A0, targets=TARGETS, steps=1, dtype="float64")
    monkeypatch.setattr(sample_loss, "LEAST", 7)  # the last block is smaller
    monkeypatch.setitem(sample_loss.BLOCK, "cpu", 1)
    parts = train(x, fine, W0, A0, targets=TARGETS, steps=1, dtype="float64")
    bound = rounding(x, W0, A0)
    np.testing.assert_allclose(parts.W, whole.W, rtol=0, atol=bound)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=0, atol=bound)
    np.testing.assert_allclose(parts.moments[1].covariances, whole.moments[1].covariances, rtol=0, atol=bound)


def test_relu_has_slope_zero_at_zero():
    """A neuron whose gate is closed or on the edge for every sample moves by weight decay alone."""
    x, fine, W0, A0 = problem(2)
    x, W0 = np.abs(x), np.stack([np.zeros(D), -np.ones(D), np.ones(D)])
    record = train(x, fine, W0, A0[:, :3], targets=TARGETS, steps=1, weight_decay=0.0, dtype="float64")
    np.testing.assert_array_equal(record.W[1, :2], W0[:2])
    assert (record.W[1, 2] != W0[2]).all()


def test_training_lowers_the_loss_and_repeats_bit_for_bit():
    x, fine, W0, A0 = problem(3)
    first, second = (train(x, fine, W0, A0, targets=TARGETS, steps=50, device="cpu") for _ in range(2))
    assert first.loss[-1] < first.loss[0]
    np.testing.assert_array_equal(first.W, second.W)
    np.testing.assert_array_equal(first.A, second.A)
    assert first.info["device"] == "cpu" and first.info["dtype"] == "float32" and first.info["seconds"] > 0


def test_float32_starts_from_the_nearest_weights():
    x, fine, W0, A0 = problem(4)
    record = train(x, fine, W0, A0, targets=TARGETS, steps=0)
    np.testing.assert_array_equal(record.W, [W0.astype(np.float32)])
    np.testing.assert_array_equal(record.A, [A0.astype(np.float32)])
    assert record.W.dtype == record.moments[0].covariances.dtype == np.float64


def test_divergence_names_step_and_learning_rate():
    x, fine, W0, A0 = problem(5)
    with pytest.raises(
        RuntimeError, match=r"training diverged: .* at step \d+; lower learning_rate, got 1000\.0"
    ):
        train(x, fine, W0, A0, targets=TARGETS, learning_rate=1000.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((N, D + 1))}, rf"x must have shape \(N, {D}\), got \({N}, {D + 1}\)"),
        ({"x": np.full((N, D), np.nan)}, r"x must be finite, got 300 NaN"),
        ({"fine": np.zeros(N - 1, int)}, rf"fine must have shape \({N},\), got \({N - 1},\)"),
        ({"fine": np.full(N, 4)}, r"fine must be in 0\.\.3, got 4"),
        ({"fine": np.zeros(N)}, r"fine must be integers, got dtype float64"),
        ({"fine": np.arange(N) % 3}, r"fine must hold every class at least twice, got class 3 0 times"),
        (
            {"x": np.zeros((0, D)), "fine": []},
            r"fine must hold every class at least twice, got class 0 0 times",
        ),
        ({"test": (np.zeros((4, D)), np.arange(4))}, r"test fine must hold every class at least twice"),
        ({"W0": np.zeros(D)}, r"W0 must have shape \(m, d\), got"),
        ({"A0": np.zeros((K + 1, M))}, rf"A0 must have shape \({K}, {M}\), got \({K + 1}, {M}\)"),
        ({"A0": np.full((K, M), np.inf)}, r"A0 must be finite"),
        ({"targets": TARGETS[0]}, r"targets must have shape \(C, K\), got"),
        (
            {"activation": "tanh"},
            r"activation must be one of erf, identity, leaky_relu, relu, square; got 'tanh'",
        ),
        ({"learning_rate": 0.0}, r"learning_rate must be a finite number > 0, got 0\.0"),
        ({"learning_rate": np.inf}, r"learning_rate must be a finite number > 0, got inf"),
        ({"weight_decay": -1.0}, r"weight_decay must be a finite number >= 0, got -1\.0"),
        ({"steps": -1}, r"steps must be a finite number >= 0, got -1"),
        ({"record_at": [0, 6]}, r"record_at must be increasing integers in 0\.\.5, got \[0, 6\]"),
        ({"record_at": [2, 2]}, r"record_at must be increasing integers in 0\.\.5, got \[2, 2\]"),
        ({"record_at": [-1]}, r"record_at must be increasing integers in 0\.\.5, got \[-1\]"),
        ({"record_at": []}, r"record_at must be increasing integers in 0\.\.5, got \[\]"),
        ({"record_at": [0.5]}, r"record_at must be increasing integers in 0\.\.5, got \[0\.5\]"),
        ({"dtype": "float16"}, r"dtype must be one of float32, float64; got 'float16'"),
        ({"device": "tpu"}, r"device must be one of auto, cpu, cuda; got 'tpu'"),
    ],
)
def test_bad_arguments_are_named_with_what_is_allowed(change, message):
    arguments = dict(zip(("x", "fine", "W0", "A0"), problem(6), strict=True))
    with pytest.raises(ValueError, match=message):
        train(**(arguments | {"targets": TARGETS, "steps": 5} | change))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(
        ValueError, match="device must be cpu or auto on a machine where torch sees no CUDA device"
    ):
        train(*problem(7), targets=TARGETS, steps=1, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_cuda_agrees_with_the_cpu():
    cpu, cuda = (
        train(*problem(8), targets=TARGETS, steps=1, dtype="float64", device=d) for d in ("cpu", "cuda")
    )
    x, _, W0, A0 = problem(8)
    np.testing.assert_allclose(cuda.W, cpu.W, rtol=0, atol=rounding(x, W0, A0))
    np.testing.assert_allclose(cuda.moments[1].means, cpu.moments[1].means, rtol=0, atol=rounding(x, W0, A0))


def test_a_resumed_training_repeats_the_unbroken_one_bit_for_bit(tmp_path):
    options = {"targets": TARGETS, "steps": 20, "record_at": [0, 7, 20], "test": problem(3)[:2]}
    whole = train(*problem(2), **options)
    train(*problem(2), **options, folder=tmp_path)
    (tmp_path / "checkpoints" / "00002.safetensors").unlink()
    resumed = train(*problem(2), **options, folder=tmp_path)
    for name in ("W", "A", "loss"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    np.testing.assert_array_equal(resumed.test_moments[2].means, whole.test_moments[2].means)


def test_a_finished_training_is_read_back_and_another_is_refused(tmp_path):
    options = {"targets": TARGETS, "steps": 5, "folder": tmp_path}
    first, again = (train(*problem(2), **options) for _ in range(2))
    np.testing.assert_array_equal(first.W, again.W)
    with pytest.raises(ValueError, match=r"another config \(inputs differs\)"):
        train(*problem(4), **options)
