"""A sweep of predictions: every point once, trainings shared, and a killed sweep goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from finegrain.empirical.prediction import sweep as prediction_sweep
from finegrain.empirical.prediction.predict import Config, predict
from finegrain.empirical.prediction.sweep import reduced, summary, sweep
from finegrain.empirical.readers.data import Dataset
from finegrain.sims.run_folder import lock

SMALL = Config(map="0,0,1,1", components=1, dim=3, width=4, steps=10, records=3)
CONFIGS = [SMALL, replace(SMALL, components=2), replace(SMALL, components=2, seed=1)]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    images = (100 + 40 * rng.standard_normal((4, 3, 3)))[labels] + 15 * rng.standard_normal((200, 3, 3))
    images = images.clip(0, 255).astype(np.uint8)
    return Dataset("small", images[:160], labels[:160], images[160:], labels[160:], ("a", "b", "c", "d"))


def counted(monkeypatch):
    """The configs handed to `predict`, and whether each brought a training along."""
    calls = []

    def spy(data, config, **options):
        calls.append((config, options["observed"] is not None))
        return predict(data, config, **options)

    monkeypatch.setattr(prediction_sweep, "predict", spy)
    return calls


def test_settings_of_the_prediction_share_a_training_and_a_sweep_goes_on(data, tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    file = tmp_path / "points.json"
    first = sweep(data, CONFIGS[:2], file)
    assert calls == [(CONFIGS[0], False), (CONFIGS[1], True)]
    points = sweep(data, CONFIGS, file)
    assert calls[2:] == [(CONFIGS[2], False)]
    assert points[:2] == first
    assert json.loads(file.read_text())["points"] == points
    assert [p["components"] for p in points] == [1, 2, 2]
    assert points[1]["fine_share"]["observed"] == points[0]["fine_share"]["observed"]


def test_a_summary_holds_ends_and_worst_errors(data):
    result = predict(data, SMALL, device="cpu")
    found, course = summary(result)["fine_share"], result.course("fine_share")
    error = np.abs(course["predicted"] / course["observed"] - 1)
    assert found["end"] == pytest.approx(error[-1])
    assert found["worst"] == pytest.approx(error.max())
    assert found["gap_end"] == pytest.approx(abs(course["test"][-1] / course["observed"][-1] - 1))
    assert found["test_end"] == pytest.approx(abs(course["predicted"][-1] / course["test"][-1] - 1))


def test_reducing_first_changes_nothing_but_rounding(data):
    whole, small = (predict(d, SMALL, device="cpu") for d in (data, reduced(data, 3)))
    np.testing.assert_allclose(small.predicted.W, whole.predicted.W, rtol=0, atol=1e-10)


def test_of_two_processes_on_one_file_the_second_is_refused(data, tmp_path):
    file = tmp_path / "points.json"
    with (
        lock(tmp_path / ".points.json.lock", "the test"),
        pytest.raises(OSError, match=r"points\.json is in use by"),
    ):
        sweep(data, CONFIGS, file)
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"points": [1]}', '{"points": 1}', "[" * 100_000])
def test_a_damaged_file_is_named_with_the_cure_and_kept(data, tmp_path, text):
    file = tmp_path / "points.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"points\.json is damaged .*; move it away"):
        sweep(data, CONFIGS, file)
    assert file.read_text() == text
