"""The repr of a result: every field by name, on one line; the shape of a large array, the type of what is long."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.tools.brief import brief


@dataclass
class Result:
    part: Any

    __repr__ = brief


LONG = "a" * 59

CASES = [
    (np.array([0, 20, 100]), "[0, 20, 100]"),
    (np.arange(6), "[0, 1, 2, 3, 4, 5]"),
    (np.arange(7.0), "[0, ..., 6] of 7"),
    (np.zeros(0), "[]"),
    (np.array(2 / 3), "0.6667"),
    (np.float64(1e-10), "1e-10"),
    (np.zeros((1, 3)), "array (1, 3)"),
    (torch.zeros(2, 3, 4), "array (2, 3, 4)"),
    (torch.tensor([0.5, 1.5]), "[0.5, 1.5]"),
    (np.array(["cat", "dog"]), "['cat', 'dog']"),
    (float("nan"), "nan"),
    (2 / 3 - 100j / 3, "0.6667-33.33j"),
    (np.array([1j, 1 / 3]), "[0+1j, 0.3333+0j]"),
    (12345678, "12345678"),
    (True, "True"),
    (None, "None"),
    ({"loss": 1 / 3, "W": np.zeros((2, 2))}, "{loss: 0.3333, W: array (2, 2)}"),
    ({k: k for k in range(7)}, "{0: 0, ..., 6: 6} of 7"),
    ((np.zeros((2, 2)), [1.0]), "[array (2, 2), [1]]"),
    (LONG[1:], f"'{LONG[1:]}'"),
    (LONG, "<str>"),
    (Result(1), "Result(part=1)"),
]


@pytest.mark.parametrize(("value", "shown"), CASES, ids=[shown for _, shown in CASES])
def test_a_part_is_shown_whole_or_by_its_shape_or_by_its_ends(value, shown):
    assert repr(Result(value)) == f"Result(part={shown})"


@pytest.mark.parametrize("array", [np.asarray, torch.asarray], ids=["numpy", "torch"])
@pytest.mark.parametrize("kind", ["full", "diagonal", "pooled"])
def test_moments_of_thirty_classes_fill_a_line(kind, array):
    rng = np.random.default_rng(0)
    moments = Moments.from_samples(
        array(rng.standard_normal((90, 40))), array(np.arange(90) % 30), covariance=kind
    )
    covariances = {
        "full": "array (30, 40, 40)",
        "diagonal": "array (30, 40)",
        "pooled": "[array (40, 40), [",
    }
    expected = "Moments(weights=[0.03333, ..., 0.03333] of 30, means=array (30, 40), covariances="
    assert repr(moments).startswith(expected + covariances[kind])
    assert len(repr(moments)) < 160


def test_a_mixture_names_its_maps():
    shown = repr(Mixture.orthonormal(coarse=2, subclasses=2))
    assert shown == "Mixture(moments=<Moments>, coarse_map=[0, 0, 1, 1], fine_map=[0, 1, 2, 3])"
