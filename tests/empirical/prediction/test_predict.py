"""The comparison of theory with a trained network: its pieces, its settings, and its errors."""

import re
from dataclasses import replace

import numpy as np
import pytest

from finegrain.empirical.prediction import predict as prediction
from finegrain.empirical.prediction.predict import Config, predict, relative_error, squared_loss
from finegrain.empirical.readers.data import Dataset
from finegrain.theory.moments import Moments

SMALL = Config(map="0,0,1,1", components=1, dim=3, width=5, steps=20, records=4)


@pytest.fixture(scope="module")
def data():
    """Four classes of 3 x 3 images around different means."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    images = (60 * rng.random((4, 3, 3)) + 80)[labels] + 15 * rng.standard_normal((400, 3, 3))
    images = images.clip(0, 255).astype(np.uint8)
    return Dataset("small", images[:300], labels[:300], images[300:], labels[300:], ("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def result(data):
    return predict(data, SMALL, device="cpu")


def test_the_squared_loss_of_moments_is_the_mean_over_the_samples():
    rng = np.random.default_rng(1)
    h, labels, A, targets = (
        rng.standard_normal((50, 3)),
        np.arange(50) % 4,
        rng.standard_normal((2, 3)),
        rng.standard_normal((4, 2)),
    )
    expected = 0.5 * np.mean(np.sum((h @ A.T - targets[labels]) ** 2, axis=1))
    assert squared_loss(Moments.from_samples(h, labels), A, targets) == pytest.approx(expected, rel=1e-13)


def test_prediction_and_observation_start_at_the_same_weights(result):
    for name in ("W", "A"):
        start = getattr(result.predicted, name)[0]
        np.testing.assert_allclose(getattr(result.observed, name)[0], start, rtol=1e-7)  # trained in float32


def test_wide_networks_are_predicted_in_single_precision_within_a_hundredth_of_the_aim(
    data, result, monkeypatch
):
    monkeypatch.setattr(prediction, "LARGEST_DOUBLE", 4)
    single = predict(data, SMALL, device="cpu", observed=result.observed)
    assert single.predicted.info["precision"] == "single"
    assert "precision" not in result.predicted.info
    for name in ("fine_share", "loss"):  # the aim is 1 %
        np.testing.assert_allclose(
            single.course(name)["predicted"], result.course(name)["predicted"], rtol=1e-4
        )


def test_every_observable_is_compared_at_every_recorded_step(result):
    rows = result.rows()
    steps = SMALL.recorded_steps().tolist()
    names = {row["observable"] for row in rows}
    assert {"loss", "fine_share", "cdnv_coarse", "mahalanobis"} <= names
    assert [(row["observable"], row["step"]) for row in rows] == [
        (name, step) for name in dict.fromkeys(row["observable"] for row in rows) for step in steps
    ]
    for row in (row for row in rows if row["observed"] != 0):
        assert row["error"] == pytest.approx(abs(row["predicted"] / row["observed"] - 1), rel=1e-6, abs=1e-9)


def test_the_loss_is_given_on_test_images_too(result):
    """On the training images the same formula gives the loss that training reports."""
    course = result.course("loss")
    assert np.isfinite(course["test"]).all()
    record, decay = result.observed, SMALL.weight_decay
    again = [
        squared_loss(h, A, result.targets) + 0.5 * decay * (np.sum(W**2) + np.sum(A**2))
        for h, W, A in zip(record.moments, record.W, record.A, strict=True)
    ]
    np.testing.assert_allclose(again, record.loss, rtol=1e-5)  # trained in float32


def test_relative_error_is_undefined_where_nothing_is_observed():
    np.testing.assert_array_equal(relative_error(np.array([1.0, 3.0]), np.array([0.0, 2.0])), [np.nan, 0.5])


def test_the_number_of_gaussians_is_chosen_and_said(data):
    result = predict(data, replace(SMALL, components="auto", steps=2, records=1), device="cpu")
    assert result.components == 1  # the classes are Gaussian
    assert result.report()["components"] == 1


def test_momentum_and_batches_reach_both_sides(data):
    """At a small step SGD with momentum stays near its prediction; the times are those of the flow."""
    change = {"learning_rate": 0.003, "momentum": 0.9, "batch_size": 100, "steps": 60}
    result = predict(data, replace(SMALL, **change), device="cpu")
    np.testing.assert_allclose(result.observed.times, result.predicted.times)
    np.testing.assert_allclose(result.observed.times, result.observed.steps * 0.03)
    moved = np.abs(result.predicted.W[-1] - result.predicted.W[0]).max()
    assert np.abs(result.predicted.W[-1] - result.observed.W[-1]).max() < 0.1 * moved


def test_one_recorded_time_is_the_last_step():
    assert replace(SMALL, records=1).recorded_steps().tolist() == [0, 20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"width": 2.5}, "width must be an integer >= 1, got 2.5"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"weight_decay": -1e-3}, "weight_decay must be a finite number >= 0, got -0.001"),
        ({"dynamics": "jump"}, "dynamics must be one of descent, flow; got 'jump'"),
        ({"components": "many"}, "components, if not auto, must be an integer >= 1, got 'many'"),
        ({"shape": "oval"}, "shape must be one of full, spherical; got 'oval'"),
        ({"momentum": 1.0}, "momentum must lie in [0, 1), got 1.0"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"fit_in": "some"}, "fit_in must be one of all, class-means; got 'some'"),
    ],
)
def test_bad_settings_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(SMALL, **change)


def test_one_coarse_class_is_refused_before_any_work(data):
    with pytest.raises(
        ValueError, match="map must have at least 2 coarse classes to train on, got '0,0,0,0'"
    ):
        predict(data, replace(SMALL, map="0,0,0,0"), device="cpu")
