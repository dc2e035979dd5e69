"""Gradient flow: closed forms, scale, resumption and clear refusals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population import flow as flow_module
from finegrain.sims.population.flow import population_descent, population_flow
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, signs

TIMES = [0.0, 1.0, 3.0]


def noisy(seed=0, activation="relu"):
    mixture = Mixture.orthonormal(2, 2, dim=5, noise=0.3)
    W0, A0 = gaussian(4, 5, 2, 0.5, np.random.default_rng(seed))
    return mixture, W0, A0, {"targets": centred_one_hot(mixture.coarse_map), "activation": activation}


def test_one_aligned_linear_mode_follows_its_logistic_curve():
    """b = a^2 solves db/dt = 2 b (sigma - lambda - s b) (Saxe et al. 2014, with weight decay)."""
    mixture = Mixture.orthonormal(2, 1)
    second, cross = mixture.second_moment(), mixture.cross_moment(signs(mixture.coarse_map))
    sigma, s = np.linalg.norm(cross), second[0, 0]
    direction, b0, lam = cross[0] / sigma, 1e-3, 0.1
    t = np.array([0.0, 5.0, 20.0, 60.0])
    flow = population_flow(
        mixture,
        np.sqrt(b0) * direction[None],
        np.array([[np.sqrt(b0)]]),
        targets=signs(mixture.coarse_map),
        activation="identity",
        weight_decay=lam,
        times=t,
        rtol=1e-10,
    )
    kappa = sigma - lam
    growth = np.exp(2 * kappa * t)
    predicted = b0 * growth / (1 + s * b0 * (growth - 1) / kappa)
    np.testing.assert_allclose(flow.A[:, 0, 0] ** 2, predicted, rtol=1e-8)
    assert flow.info["method"] == "DOP853"


@pytest.mark.parametrize("eps", [1e-2, 1e-6, 1e-10, 1e-14])
def test_a_small_start_grows_as_its_linearisation_whatever_its_scale(eps):
    """Up to order eps^2 a noise-free ReLU network's neuron (w, a), alone on its cluster, grows as cosh and sinh."""
    mixture = Mixture.orthonormal(2, 1)
    t = 4.0
    flow = population_flow(
        mixture, eps * np.eye(2), eps * np.array([[-2.0, 2.0]]), targets=signs(mixture.coarse_map), times=[t]
    )
    w, a = np.cosh(t / 2) + 2 * np.sinh(t / 2), np.sinh(t / 2) + 2 * np.cosh(t / 2)
    bound = 40 * 1e-8 + 10 * (eps * a) ** 2  # steps of at most rtol each, and the neglected f = a w
    np.testing.assert_allclose(flow.W[0], eps * w * np.eye(2), rtol=bound, atol=bound * eps)
    np.testing.assert_allclose(flow.A[0, 0], eps * np.array([-a, a]), rtol=bound)


def test_descent_with_a_small_step_approaches_flow_at_first_order():
    mixture, W0, A0, options = noisy()
    end = population_flow(mixture, W0, A0, **options, times=[4.0], rtol=1e-10).W[0]
    gaps = []
    for steps in (100, 200):
        descent = population_descent(mixture, W0, A0, **options, learning_rate=4 / steps, steps=[steps])
        gaps.append(np.abs(descent.W[0] - end).max())
    # Euler's error halves with the step, up to its own next order (steps of 0.04 and 0.02).
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.1)


def test_a_tighter_tolerance_moves_the_end_by_no_more_than_promised():
    mixture, W0, A0, options = noisy()
    reference = population_flow(mixture, W0, A0, **options, times=[10.0], rtol=1e-12).W[0]
    for rtol in (1e-5, 1e-8):
        W = population_flow(mixture, W0, A0, **options, times=[10.0], rtol=rtol).W[0]
        # Errors of about a hundred steps add up, each within rtol of its weight or of its neuron's scale.
        assert np.abs(W - reference).max() <= 100 * rtol * np.abs(reference).max()


def test_the_loss_falls_and_moments_are_of_the_fine_classes():
    mixture, W0, A0, options = noisy()
    flow = population_flow(mixture, W0, A0, **options, times=TIMES)
    assert (np.diff(flow.loss) < 0).all()
    assert flow.W.shape == (3, 4, 5)
    assert flow.A.shape == (3, 2, 4)
    assert [m.means.shape for m in flow.moments] == [(4, 4)] * 3
    np.testing.assert_array_equal(flow.W[0], W0)


@pytest.mark.parametrize(("activation", "law"), [("relu", True), ("square", True), ("erf", False)])
def test_a_flow_carries_its_error_against_the_conservation_law(activation, law):
    mixture, W0, A0, options = noisy(activation=activation)
    flow = population_flow(mixture, W0, A0, **options, times=[3.0], weight_decay=0.1, rtol=1e-8)
    assert ("balance_drift" in flow.info) is law
    if law:
        assert (
            flow.info["balance_drift"] <= 100 * 1e-8
        )  # some tens of steps; T2 forgets errors, never amplifies them
        descent = population_descent(
            mixture, W0, A0, **options, weight_decay=0.1, learning_rate=0.1, steps=[30]
        )
        assert 1e-4 < descent.info["balance_drift"] < 1  # of the order of the step


def test_a_resumed_run_repeats_the_unbroken_one_bit_for_bit(tmp_path):
    mixture, W0, A0, options = noisy()
    whole = population_flow(mixture, W0, A0, **options, times=TIMES)
    population_flow(mixture, W0, A0, **options, times=TIMES, folder=tmp_path)
    (tmp_path / "checkpoints" / "00002.safetensors").unlink()
    resumed = population_flow(mixture, W0, A0, **options, times=TIMES, folder=tmp_path)
    np.testing.assert_array_equal(resumed.W, whole.W)
    np.testing.assert_array_equal(resumed.A, whole.A)
    np.testing.assert_array_equal(resumed.loss, whole.loss)
    assert 0 < resumed.info["evaluations"] < whole.info["evaluations"]
    read_back = population_flow(mixture, W0, A0, **options, times=TIMES, folder=tmp_path)
    assert read_back.info["evaluations"] == 0


KILLED = """
import sys
sys.path[:0] = sys.argv[2:]
from test_flow import long_run
print("ready", flush=True)
long_run(sys.argv[1])
"""


def long_run(folder):
    mixture, W0, A0, options = noisy()
    return population_flow(mixture, W0, A0, **options, times=np.linspace(0.1, 20, 40), folder=folder)


def test_a_killed_flow_resumes_to_the_same_bits(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    )
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.15)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    np.testing.assert_array_equal(long_run(tmp_path / "killed").W, long_run(tmp_path / "whole").W)


def test_another_run_in_the_folder_is_refused(tmp_path):
    mixture, W0, A0, options = noisy()
    population_flow(mixture, W0, A0, **options, times=TIMES, folder=tmp_path)
    with pytest.raises(ValueError, match=r"another config \(inputs differs\)"):
        population_flow(mixture, 2 * W0, A0, **options, times=TIMES, folder=tmp_path)


def test_descent_with_momentum_follows_the_flow_at_its_effective_rate_and_resumes(tmp_path):
    """The distance from the flow is of first order in the step: a tenth of the step leaves a tenth of it."""
    mixture, W0, A0, options = noisy()
    flow = population_flow(mixture, W0, A0, **options, times=[0.9, 1.8])
    errors = []
    for rate in (1e-3, 1e-4):
        steps = [round(0.09 / rate), round(0.18 / rate)]
        descent = population_descent(
            mixture,
            W0,
            A0,
            **options,
            learning_rate=rate,
            momentum=0.9,
            steps=steps,
            folder=tmp_path / str(rate),
        )
        np.testing.assert_allclose(descent.times, flow.times)
        errors.append(np.abs(descent.W - flow.W).max())
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.2)
    (tmp_path / "0.0001" / "checkpoints" / "00001.safetensors").unlink()
    resumed = population_descent(
        mixture, W0, A0, **options, learning_rate=rate, momentum=0.9, steps=steps, folder=tmp_path / "0.0001"
    )
    np.testing.assert_array_equal(resumed.W, descent.W)


def test_descent_in_single_precision_is_the_same_descent_resumes_and_is_another_run(tmp_path):
    mixture, W0, A0, options = noisy()
    common = options | {"learning_rate": 0.05, "steps": [10, 40]}
    single, double = (
        population_descent(mixture, W0, A0, **common, precision=p, folder=tmp_path / p)
        for p in ("single", "double")
    )
    # 2e-5 of the gradient a step, over two units of time, in which deviations grow e-fold a few times.
    assert 0 < np.abs(single.W - double.W).max() <= 2e-4
    assert single.info["precision"] == "single"
    (tmp_path / "single" / "checkpoints" / "00001.safetensors").unlink()
    resumed = population_descent(mixture, W0, A0, **common, precision="single", folder=tmp_path / "single")
    np.testing.assert_array_equal(resumed.W, single.W)
    with pytest.raises(ValueError, match="precision"):
        population_descent(mixture, W0, A0, **common, precision="single", folder=tmp_path / "double")


def test_a_diverging_descent_says_so():
    mixture, W0, A0, options = noisy()
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            RuntimeError, match=r"diverged between t = 0.0 and 5000.0: lower learning_rate = 100.0"
        ),
    ):
        population_descent(mixture, W0, A0, **options, learning_rate=100.0, steps=[50])


@pytest.mark.parametrize("steps", [[-1], [2, 1], [3, 3], 4, [[1]]])
def test_steps_that_do_not_increase_are_refused_by_their_own_name(steps):
    mixture, W0, A0, options = noisy()
    with pytest.raises(ValueError, match="steps must be non-empty, >= 0 and increasing"):
        population_descent(mixture, W0, A0, **options, learning_rate=0.1, steps=steps)


def test_a_collapsed_step_is_an_error_that_says_where(monkeypatch):
    monkeypatch.setattr(flow_module, "MAX_EVALUATIONS", 50)
    mixture, W0, A0, options = noisy()
    with pytest.raises(
        RuntimeError, match=r"more than 50 gradients between t = 0.0 and 100.0 .* use population_descent"
    ):
        population_flow(mixture, W0, A0, **options, times=[100.0])


BAD_CALLS = [
    ({"times": [-1.0]}, r"times must be non-empty, >= 0 and increasing, got \[-1.0\]"),
    ({"times": [1.0, 1.0]}, "times must be non-empty, >= 0 and increasing"),
    ({"times": []}, "times must be non-empty"),
    ({"times": [np.inf]}, "times must be finite"),
    ({"rtol": 0.5}, r"rtol must lie in \[1e-13, 1e-2\], got 0.5"),
    ({"W0": np.ones((4, 3))}, r"W0 must have shape \(m, 5\), got \(4, 3\)"),
    ({"A0": np.ones((2, 3))}, r"A0 must have shape \(2, 4\), got \(2, 3\)"),
    ({"W0": np.full((4, 5), np.nan)}, "W0 must be finite, got 20 NaN"),
    ({"W0": np.ones((0, 5)), "A0": np.ones((2, 0))}, "the width m of W0 must be an integer >= 1, got 0"),
    ({"slope": np.nan}, "slope must be a finite number, got nan"),
    ({"W0": np.zeros((4, 5)), "A0": np.zeros((2, 4))}, "must not both be zero"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS)
def test_bad_input_is_named(change, message):
    mixture, W0, A0, options = noisy()
    arguments = {"W0": W0, "A0": A0, "times": TIMES} | options | change
    with pytest.raises(ValueError, match=message):
        population_flow(mixture, **arguments)


def test_bad_steps_are_named():
    mixture, W0, A0, options = noisy()
    with pytest.raises(ValueError, match="learning_rate must be a finite number > 0, got 0"):
        population_descent(mixture, W0, A0, **options, learning_rate=0, steps=[1])
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), got 1.0"):
        population_descent(mixture, W0, A0, **options, learning_rate=0.1, momentum=1.0, steps=[1])
    with pytest.raises(ValueError, match="steps must be integers, got dtype float64"):
        population_descent(mixture, W0, A0, **options, learning_rate=0.1, steps=[1.5])
