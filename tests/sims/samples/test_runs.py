"""Runs on samples: resumed to the same bits, on any device, and refused or stopped by name."""

import re

import numpy as np
import pytest
import torch
from small_samples import EPS, TARGETS, D, K, N, samples, starts

from finegrain.sims.samples.flow import sampled_descent, sampled_flow


@pytest.mark.parametrize("scheme", ["descent", "flow"])
def test_a_resumed_run_repeats_the_unbroken_one_bit_for_bit(scheme, tmp_path):
    (x, fine), (W0, A0) = samples(15), starts(15)
    options = {"targets": TARGETS["squared"], "weight_decay": 0.1, "test": samples(16)}
    rule = {"learning_rate": 0.1, "steps": [0, 7, 20], "batch_size": 5, "momentum": 0.9}
    run, options = (
        (sampled_descent, options | rule)
        if scheme == "descent"
        else (sampled_flow, options | {"times": [0, 0.5, 1], "step": 0.1})
    )
    whole = run(x, fine, W0, A0, **options)
    run(x, fine, W0, A0, **options, folder=tmp_path)
    (tmp_path / "checkpoints" / "00002.safetensors").unlink()
    resumed = run(x, fine, W0, A0, **options, folder=tmp_path)
    assert (whole.info["read_back"], resumed.info["read_back"]) == (0, 2)
    for name in ("W", "A", "loss", "test_loss"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    np.testing.assert_array_equal(resumed.test_moments[2][1].means, whole.test_moments[2][1].means)
    with pytest.raises(ValueError, match=r"another config .*weight_decay"):
        run(x, fine, W0, A0, **(options | {"weight_decay": 0.2}), folder=tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_cuda_agrees_with_the_cpu():
    (x, fine), (W0, A0) = samples(17), starts(17)
    options = {"targets": TARGETS["squared"], "learning_rate": 0.1, "steps": [10], "batch_size": 5}
    cpu, cuda = (sampled_descent(x, fine, W0, A0, **options, device=d) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda.W, cpu.W, rtol=0, atol=1e4 * EPS)
    np.testing.assert_allclose(cuda.moments[0][1].means, cpu.moments[0][1].means, rtol=0, atol=1e4 * EPS)


@pytest.mark.filterwarnings("ignore:overflow")
def test_divergence_names_the_networks_the_time_and_the_cure():
    (x, fine), (W0, A0) = samples(18), starts(18)
    W0 = [1e3 * W0[0], W0[1], 1e3 * W0[2]]
    options = {"targets": TARGETS["squared"], "activation": "square"}
    with pytest.raises(
        RuntimeError, match=r"loss of networks 0, 2 stopped .* at step \d+; lower learning_rate, got 0.01"
    ):
        sampled_descent(x, fine, W0, A0, **options, learning_rate=0.01, steps=[100])
    with pytest.raises(RuntimeError, match=r"weights of networks 0, 2 .* at t = \S+; lower step, got 0.05"):
        sampled_flow(x, fine, W0, A0, **options, times=[9.0], step=0.05)


BAD_CALLS = [
    ({"W0": []}, "W0 and A0 must hold one array a network, at least one; got 0 and 3"),
    ({"W0": [np.ones((0, D))] * 3}, r"W0[0] must have m >= 1 neurons and d >= 1 inputs, got shape (0, 5)"),
    (
        {"W0": [np.ones((2, D)), np.ones((2, D + 1)), np.ones((2, D))]},
        "W0[1] must have shape (m, 5), got (2, 6)",
    ),
    ({"A0": [np.ones((K, 3)), np.ones((K, 3)), np.ones((K, 1))]}, "A0[1] must have shape (2, 6), got (2, 3)"),
    ({"x": np.zeros((N, D + 1))}, "x must have shape (N, 5), got (24, 6)"),
    ({"x": np.zeros((2, N, D))}, "x must have shape (3, N, 5), got (2, 24, 5)"),
    ({"x": np.zeros((3, N, D))}, "fine must have shape (3, 24), got (24,)"),
    ({"fine": np.zeros(N, int)}, "fine must hold every class at least twice, got class 1 0 times"),
    ({"test": (np.zeros((1, D)), [0])}, "test fine must hold every class at least twice"),
    ({"activation": "tanh"}, "activation must be one of erf, identity, leaky_relu, relu, square; got 'tanh'"),
    ({"slope": np.inf}, "slope must be a finite number, got inf"),
    ({"loss": "hinge"}, "loss must be one of cross-entropy, logistic, squared; got 'hinge'"),
    ({"loss": "logistic"}, "targets must be -1 or 1 for the logistic loss"),
    ({"weight_decay": -1}, "weight_decay must be a finite number >= 0, got -1"),
    ({"learning_rate": 0}, "learning_rate must be a finite number > 0, got 0"),
    ({"steps": [3, 1]}, "steps must be increasing integers >= 0, got [3, 1]"),
    ({"steps": [-1]}, "steps must be increasing integers >= 0, got [-1]"),
    ({"steps": [0.5]}, "steps must be increasing integers >= 0, got [0.5]"),
    ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
    ({"batch_size": N + 1}, "batch_size must be in 1..24, the number of samples, got 25"),
    ({"momentum": 1.0}, "momentum must lie in [0, 1), got 1.0"),
    ({"nesterov": True}, "momentum must be > 0 for nesterov, got 0.0"),
    ({"seeds": [1]}, "seeds must hold one number a network, 3 in all, got 1"),
    ({"seeds": [1, -2, 3]}, "seeds[1] must be an integer >= 0, got -2"),
    ({"dtype": "float16"}, "dtype must be one of float32, float64; got 'float16'"),
    ({"device": "tpu"}, "device must be one of auto, cpu, cuda; got 'tpu'"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_bad_input_is_named(change, message):
    arguments = dict(zip(("x", "fine", "W0", "A0"), (*samples(19), *starts(19)), strict=True))
    arguments |= {"targets": TARGETS["squared"], "learning_rate": 0.1, "steps": [1]} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        sampled_descent(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [-1.0]}, "times must be non-empty, >= 0 and increasing, got [-1.0]"),
        ({"times": []}, "times must be non-empty, >= 0 and increasing, got []"),
        ({"step": 0}, "step must be a finite number > 0, got 0"),
    ],
)
def test_bad_times_are_named(change, message):
    options = {"targets": TARGETS["squared"], "times": [1.0], "step": 0.1} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        sampled_flow(*samples(20), *starts(20), **options)
