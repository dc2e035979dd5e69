"""Setting: checked once, by name; public functions take its fields as keywords, with its defaults."""

import inspect
import re
from dataclasses import FrozenInstanceError, asdict, fields, replace

import numpy as np
import pytest

from finegrain.sims.population import flow, flows, loss
from finegrain.sims.samples import flow as samples
from finegrain.sims.setting import LOSSES, Setting, SettingKeywords
from finegrain.theory.kinematics import ACTIVATIONS
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, one_hot, signs


def test_the_default_is_a_relu_network_with_squared_loss_and_no_weight_decay():
    default = {"activation": "relu", "slope": 0.01, "loss": "squared", "weight_decay": 0.0}
    assert asdict(Setting()) == default


def test_its_fields_are_the_keywords_of_public_functions():
    names = [field.name for field in fields(Setting)]
    assert names == list(SettingKeywords.__annotations__)
    public = (loss.population_loss, flow.population_flow, flow.population_descent, flows.population_flows)
    for function in (*public, samples.sampled_flow, samples.sampled_descent):
        (keywords,) = [p for p in inspect.signature(function).parameters.values() if p.kind == p.VAR_KEYWORD]
        assert keywords.annotation == "Unpack[SettingKeywords]"


def test_a_misspelt_keyword_is_refused():
    with pytest.raises(TypeError, match="weigth_decay"):
        loss.population_loss(Mixture.orthonormal(2, 2), targets=np.ones((4, 1)), weigth_decay=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"activation": "tanh"},
            "activation must be one of erf, identity, leaky_relu, relu, square; got 'tanh'",
        ),
        ({"loss": "softmax"}, "loss must be one of cross-entropy, logistic, squared; got 'softmax'"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number >= 0, got -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay must be a finite number >= 0, got nan"),
        ({"slope": float("inf")}, "slope must be a finite number, got inf"),
    ],
)
def test_a_field_out_of_its_range_is_named_at_construction_and_at_replacement(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Setting(**change)
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(Setting(), **change)


def test_it_cannot_change_and_equal_settings_have_one_hash():
    with pytest.raises(FrozenInstanceError):
        Setting().slope = 1.0  # type: ignore[misc]
    assert len({Setting(), Setting("relu"), Setting("erf")}) == 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gates_are_those_of_relu_and_leaky_relu_and_only_leaky_ones_let_through(activation):
    setting = Setting(activation, slope=0.3)
    assert setting.rectified is (activation in ("relu", "leaky_relu"))
    assert setting.closed == (0.3 if activation == "leaky_relu" else 0.0)


TARGETS = {"squared": centred_one_hot, "logistic": signs, "cross-entropy": one_hot}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("made_for", LOSSES)
def test_each_loss_takes_its_own_targets_and_the_squared_loss_any(name, made_for):
    targets = TARGETS[made_for](np.array([0, 0, 1]))
    if name in ("squared", made_for):
        Setting(loss=name).check_targets(targets)
        return
    wanted = {"logistic": "-1 or 1", "cross-entropy": "rows of probabilities"}[name]
    with pytest.raises(ValueError, match=f"targets must be {wanted} for the {name} loss"):
        Setting(loss=name).check_targets(targets)
