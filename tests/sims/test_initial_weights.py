"""Starting points: their spread, their balance, and what they refuse."""

import numpy as np
import pytest

from finegrain.sims.initial_weights import balanced, gaussian


def test_gaussian_weights_have_the_stated_spread_and_follow_their_seed():
    W, A = gaussian(200, 50, 80, 0.5, np.random.default_rng(1))
    assert W.shape == (200, 50)
    assert A.shape == (80, 200)
    for weights, fan_in in ((W, 50), (A, 200)):
        # The sample variance of n normals has relative standard error sqrt(2/n).
        ratio = np.mean(weights**2) * fan_in / 0.5**2
        assert abs(ratio - 1) < 4 * np.sqrt(2 / weights.size)
    np.testing.assert_array_equal(W, gaussian(200, 50, 80, 0.5, np.random.default_rng(1))[0])
    assert (gaussian(200, 50, 80, 0.5, np.random.default_rng(2))[0] != W).all()


def test_balanced_weights_scale_without_turning():
    small, large = (balanced(7, 3, eps, np.random.default_rng(0)) for eps in (1e-8, 1.0))
    np.testing.assert_allclose(1e8 * small[0], large[0], rtol=1e-15)
    np.testing.assert_allclose(np.abs(large[1][0]), np.linalg.norm(large[0], axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be an integer >= 1, got 0"),
        ({"outputs": 0}, "outputs must be an integer >= 1, got 0"),
        ({"scale": -0.5}, "scale must be a finite number > 0 .*, got -0.5"),
        ({"scale": 0.0}, "scale must be a finite number > 0 .*, got 0.0"),
    ],
)
def test_sizes_and_scale_are_needed(change, message):
    arguments = {"width": 3, "dim": 3, "outputs": 3, "scale": 1.0} | change
    with pytest.raises(ValueError, match=message):
        gaussian(**arguments, rng=np.random.default_rng(0))
