"""Which theorems speak of a mixture and a setting: every condition met, and each of them missing."""

from dataclasses import replace

import numpy as np
import pytest

import finegrain as fg
from finegrain.theory.moments import Moments
from finegrain.theory.theorems.applicable import CONDITIONS, obstacles

CLEAN = fg.Mixture.orthonormal(coarse=2, subclasses=2)
NOISY = fg.Mixture.orthonormal(coarse=2, subclasses=2, noise=0.3)
RELU = fg.Setting(activation="relu", weight_decay=0.1)
LINEAR = fg.Setting(activation="identity")


def mixture(weights=(0.25, 0.25, 0.25, 0.25), means=None, covariances=None):
    means = np.eye(4) if means is None else np.asarray(means, dtype=float)
    covariances = np.zeros((4, 4, 4)) if covariances is None else covariances
    return fg.Mixture(Moments(np.array(weights), means, covariances), np.array([0, 0, 1, 1]))


def test_every_theorem_has_its_conditions():
    assert list(CONDITIONS) == list(fg.theorems)


@pytest.mark.parametrize(
    ("inputs", "setting", "expected"),
    [
        (CLEAN, RELU, ["T1", "T2", "T6", "T8", "T9", "T10", "T11", "T13", "T19", "T20", "T21", "T23", "T26"]),
        (
            CLEAN,
            replace(RELU, weight_decay=0.0),
            ["T1", "T2", "T6", "T7", "T10", "T13", "T19", "T21", "T23", "T26"],
        ),
        (CLEAN, replace(RELU, loss="logistic"), ["T1", "T2", "T6", "T10", "T15", "T19"]),
        (NOISY, replace(RELU, weight_decay=0.0), ["T1", "T2", "T10", "T13", "T16", "T26"]),
        (
            NOISY,
            LINEAR,
            ["T1", "T2", "T3", "T4", "T5", "T10", "T13", "T14", "T17", "T18", "T26"],
        ),
        (NOISY, fg.Setting(activation="erf", loss="logistic"), ["T1", "T10"]),
    ],
)
def test_the_theorems_that_apply(inputs, setting, expected):
    assert fg.theorems.applicable(inputs, setting) == expected


@pytest.mark.parametrize(
    ("inputs", "theorem", "missing"),
    [
        (mixture(means=np.eye(4) + 0.1), "T6", ["orthogonal means"]),
        (mixture(means=2 * np.eye(4)), "T8", ["orthonormal means"]),
        (mixture(weights=(0.3, 0.2, 0.25, 0.25)), "T9", ["equal probabilities"]),
        (
            mixture(covariances=np.eye(4) * np.arange(4.0)[:, None, None]),
            "T10",
            ["one covariance for all classes"],
        ),
        (NOISY, "T9", ["no input noise"]),
    ],
)
def test_what_is_missing_is_said(inputs, theorem, missing):
    assert obstacles(inputs, RELU)[theorem] == missing


def test_means_a_rounding_from_orthogonal_are_orthogonal():
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    assert "T8" in fg.theorems.applicable(mixture(means=turned), RELU)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((RELU, CLEAN), "mixture must be a Mixture, got Setting"),
        ((CLEAN.moments, RELU), "mixture must be a Mixture, got Moments"),
        ((CLEAN, CLEAN), "setting must have activation, loss, weight_decay, .*; got Mixture without"),
        ((CLEAN, "relu"), "got str without activation, loss, weight_decay"),
    ],
)  # fmt: skip
def test_swapped_arguments_are_refused_by_name(arguments, told):
    with pytest.raises(TypeError, match=told):
        fg.theorems.applicable(*arguments)


def test_theorems_by_number_have_predict_prove_and_statement():
    assert fg.theorems["T7"].predict(2) == pytest.approx(1 - np.sqrt(0.5))
    fg.theorems["T7"].prove()
    assert "separation" in fg.theorems["T7"].statement
    for number, theorem in fg.theorems.items():
        assert callable(theorem.prove), number
        assert theorem.statement == theorem.THEOREM.statement, number
        assert any(name.startswith("predict") for name in dir(theorem)), number


def test_an_unknown_theorem_is_answered_with_those_there_are():
    with pytest.raises(KeyError, match=r"theorem must be one of T1, .*, T26; got 'T99'"):
        fg.theorems["T99"]
    assert "T99" not in fg.theorems
    assert fg.theorems.get("T99") is None


def test_the_numbers_of_theorems_are_completed_by_the_tab_key():
    assert fg.theorems._ipython_key_completions_() == list(fg.theorems)
