"""The public strategies stay inside their ranges, reach the corners of them, and name bad arguments."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings

from finegrain.theory import kinematics
from finegrain.theory.moments import Moments
from finegrain.theory.tools import testing

EPS = np.finfo(float).eps
SEARCH = settings(derandomize=True, database=None, max_examples=3000, deadline=None, phases=[Phase.generate])


def spectrum(matrix):
    return np.linalg.eigvalsh(matrix)


def rank(matrix):
    values = spectrum(matrix)
    return int((values > 10 * len(values) * EPS * max(values[-1], 1e-300)).sum())


def condition(matrix):
    return spectrum(matrix)[-1] / spectrum(matrix)[0]


CORNERS = {
    "2 fine classes": (testing.coarse_maps(), lambda g: g.size == 2),
    "12 fine classes": (testing.coarse_maps(), lambda g: g.size == 12),
    "one subclass each": (testing.coarse_maps(), lambda g: g.size > 2 and np.bincount(g).max() == 1),
    "five subclasses each": (testing.coarse_maps(), lambda g: np.bincount(g).min() == 5),
    "12 coarse classes": (testing.coarse_maps(), lambda g: g.max() == 11),
    "unequal numbers": (testing.coarse_maps(), lambda g: np.ptp(np.bincount(g)) >= 3),
    "an order not sorted": (testing.coarse_maps(), lambda g: (np.diff(g) < 0).any()),
    "balanced, S = 5": (testing.coarse_maps(balanced=True), lambda g: np.bincount(g).tolist() == [5, 5]),
    "zero matrix": (testing.psd_matrices(), lambda c: not c.any()),
    "isotropic matrix": (
        testing.psd_matrices(),
        lambda c: c[0, 0] > 0 and (c == c[0, 0] * np.eye(len(c))).all(),
    ),
    "d = 2": (testing.psd_matrices(), lambda c: len(c) == 2),
    "d = 40": (testing.psd_matrices(), lambda c: len(c) == 40),
    "rank 1": (testing.psd_matrices(), lambda c: len(c) > 2 and rank(c) == 1),
    "rank d - 1": (testing.psd_matrices(), lambda c: len(c) > 2 and rank(c) == len(c) - 1),
    "condition over 1000": (testing.psd_matrices(kind="anisotropic"), lambda c: condition(c) > 1e3),
    "rotated": (testing.psd_matrices(kind="anisotropic"), lambda c: abs(c[0, 1]) > 1e-3 * c[0, 0]),
    "along the axes": (
        testing.psd_matrices(kind="anisotropic"),
        lambda c: (c == np.diag(np.diag(c))).all() and np.ptp(np.diag(c)) > 0,
    ),
    "large scale": (testing.psd_matrices(), lambda c: spectrum(c)[-1] > 50),
    "small scale": (testing.psd_matrices(kind="isotropic"), lambda c: spectrum(c)[-1] < 0.02),
    "equal weights": (testing.mixtures(), lambda m: np.ptp(m.moments.weights) == 0),
    "weights a factor of 5 apart": (
        testing.mixtures(),
        lambda m: m.moments.weights.max() > 5 * m.moments.weights.min(),
    ),
    "covariances that differ": (testing.mixtures(), lambda m: np.ptp(m.moments.covariances, axis=0).any()),
    "one shared covariance": (
        testing.mixtures(),
        lambda m: m.moments.covariances.any() and not np.ptp(m.moments.covariances, axis=0).any(),
    ),
    "unequal numbers of subclasses": (
        testing.mixtures(),
        lambda m: np.ptp(np.bincount(m.coarse_map)) >= 3,
    ),
    "no noise": (testing.mixtures(), lambda m: not m.moments.covariances.any()),
    "more dimensions than classes": (testing.mixtures(), lambda m: m.dim > 3 * m.num_fine),
    "fewer dimensions than classes": (testing.mixtures(), lambda m: m.dim < m.num_fine),
    "one neuron": (testing.networks(), lambda n: len(n.W) == 1),
    "64 neurons": (testing.networks(), lambda n: len(n.W) == 64),
    "eps below 2e-5": (testing.networks(), lambda n: n.eps < 2e-5),
    "eps above 1/2": (testing.networks(), lambda n: n.eps > 0.5),
    "layers of unequal norm": (
        testing.networks(),
        lambda n: (np.linalg.norm(n.A, axis=0) > 2 * np.linalg.norm(n.W, axis=1)).any(),
    ),
    "slope 0": (testing.networks(activations=("leaky_relu",)), lambda n: n.slope == 0),
    "slope above .9": (testing.networks(activations=("leaky_relu",)), lambda n: n.slope > 0.9),
    **{
        f"activation {name}": (testing.networks(), lambda n, name=name: n.activation == name)
        for name in kinematics.ACTIVATIONS
    },
}


@pytest.mark.parametrize(("strategy", "corner"), CORNERS.values(), ids=CORNERS.keys())
def test_the_corner_is_reached(strategy, corner):
    find(strategy, corner, settings=SEARCH)


@given(coarse_map=testing.coarse_maps())
def test_coarse_maps_stay_in_their_ranges(coarse_map):
    sizes = np.bincount(coarse_map)
    assert 2 <= coarse_map.size <= 12
    assert sizes.size >= 2
    assert 1 <= sizes.min() <= sizes.max() <= 5


@given(coarse_map=testing.coarse_maps(fine=(6, 8), subclasses=(2, 3), coarse=3, balanced=True))
def test_coarse_maps_keep_to_the_sizes_asked_for(coarse_map):
    assert np.bincount(coarse_map).tolist() == [2, 2, 2]


@given(matrix=testing.psd_matrices())
def test_matrices_are_covariances(matrix):
    d = len(matrix)
    values = spectrum(matrix)
    assert (matrix == matrix.T).all()
    assert values[0] >= -4 * d * EPS * values[-1]
    assert values[-1] == 0 or 1e-2 * (1 - 4 * d * EPS) <= values[-1] <= 1e2 * (1 + 4 * d * EPS)
    Moments([1.0], np.zeros((1, d)), matrix[None])  # raises unless positive semi-definite


@given(matrix=testing.psd_matrices(kind="anisotropic", anisotropy=100.0))
def test_definite_matrices_have_the_condition_asked_for(matrix):
    assert condition(matrix) <= 100 * (1 + 4e3 * len(matrix) * EPS)


@given(matrix=testing.psd_matrices(kind="singular"))
def test_singular_matrices_are_singular(matrix):
    assert rank(matrix) < len(matrix)


@given(mixture=testing.mixtures(equal_weights=False, shared_covariance=False, dim=3))
def test_mixtures_have_the_weights_and_dimension_asked_for(mixture):
    assert mixture.dim == 3
    assert np.ptp(mixture.moments.weights) > 0


@given(mixture=testing.mixtures(covariances="anisotropic", scale=(2.0, 3.0), anisotropy=4.0))
def test_mixtures_have_the_spectra_asked_for(mixture):
    for covariance in mixture.moments.covariances:
        rounding = 4e3 * len(covariance) * EPS
        assert condition(covariance) <= 4 * (1 + rounding)
        assert 2 * (1 - rounding) <= spectrum(covariance)[-1] <= 3 * (1 + rounding)


@given(network=testing.networks(balanced=True))
def test_balanced_networks_have_equal_norms_in_both_layers(network):
    norms = np.linalg.norm(network.W, axis=1)
    np.testing.assert_allclose(np.linalg.norm(network.A, axis=0), norms, rtol=64 * EPS)


def test_hypothesis_is_imported_by_no_other_module():
    code = "import sys, finegrain.theory.observables, finegrain.theory.mixture; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


BAD_CALLS = [
    (
        lambda: testing.coarse_maps(fine=11, subclasses=(2, 5), coarse=6),
        r"fine, subclasses and coarse must allow a map, got 11, \(2, 5\) and 6",
    ),
    (
        lambda: testing.coarse_maps(fine=7, coarse=2, balanced=True),
        "got 7, .* and 2 with balanced classes",
    ),
    (
        lambda: testing.coarse_maps(fine=(3, 2)),
        r"fine must be a size or a pair 1 <= least <= largest, got \(3, 2\)",
    ),
    (
        lambda: testing.psd_matrices(kind="odd").example(),
        "kind must be one of anisotropic, any, .*; got 'odd'",
    ),
    (
        lambda: testing.psd_matrices(scale=(0.0, 1.0)).example(),
        r"scale must be a pair 0 < least <= largest, got \(0.0, 1.0\)",
    ),
    (
        lambda: testing.networks(activations=("tanh",)).example(),
        "activations must be one of erf, .*; got 'tanh'",
    ),
]


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
