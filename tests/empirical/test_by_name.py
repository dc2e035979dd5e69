"""The public calls take names where the rooms below take data and settings."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_images import tiny_images

import finegrain as fg
from finegrain.empirical.by_name import SETTINGS
from finegrain.empirical.prediction.config import Config
from finegrain.empirical.prediction.predict import predict

QUICK = {"width": 4, "dim": 3, "steps": 3, "records": 1, "components": 1}


def test_a_run_on_named_images_lies_under_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = {"network": "mlp", "width": 4, "epochs": 1, "batch": 32, "measured": 80, "precision": "float32"}
    trained = fg.train(recipe, "digits", device="cpu", steps=1)
    assert trained.data.name == "digits"
    assert trained.record.path.parent.name == "runs"
    assert trained.record.path.name.startswith("mlp-")


def test_a_recipe_may_be_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        '[recipe]\nnetwork = "mlp"\nwidth = 4\nepochs = 1\nbatch = 32\nmeasured = 80\n'
    )
    trained = fg.train("mine.toml", tiny_images(), device="cpu", steps=1)
    assert (trained.recipe.network, trained.recipe.width) == ("mlp", 4)
    assert (
        trained.record.path == fg.train(trained.recipe, tiny_images(), "runs/mine", device="cpu").record.path
    )


def test_settings_by_name_are_those_of_a_config():
    named = fg.predict("digits", **QUICK, device="cpu")
    assert named.config == Config(**QUICK)
    given = fg.predict("digits", Config(**QUICK), steps=2, device="cpu")
    assert given.config == replace(Config(**QUICK), steps=2)
    same = (
        fg.predict(tiny_images(), **QUICK, device="cpu"),
        predict(tiny_images(), Config(**QUICK), device="cpu"),
    )
    np.testing.assert_array_equal(*(result.predicted.W for result in same))


def test_an_unknown_setting_is_answered_with_those_there_are():
    with pytest.raises(
        TypeError, match=r"predict has no argument 'step'; did you mean 'steps'.*Known settings: map, "
    ):
        fg.predict("digits", step=3)
    with pytest.raises(ValueError, match="steps must be an integer >= 1, got 0"):
        fg.predict("digits", steps=0)
    assert set(SETTINGS) == set(vars(Config()))
