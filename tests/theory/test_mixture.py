"""The mixture: its moments are those of its samples, and a fit keeps the samples' own moments."""

import numpy as np
import pytest
import torch

from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments

EPS = np.finfo(float).eps


def random_mixture(rng, components=6, dim=3):
    roots = rng.standard_normal((components, dim, dim)) / 2
    moments = Moments(
        rng.dirichlet(np.full(components, 4.0)),
        rng.standard_normal((components, dim)),
        roots @ roots.transpose(0, 2, 1),
    )
    return Mixture(moments, np.array([0, 0, 1]), np.array([0, 0, 1, 1, 2, 2]))


def test_samples_have_the_mixtures_moments():
    rng = np.random.default_rng(0)
    mixture, n = random_mixture(rng), 200_000
    x, fine = mixture.sample(n, rng)
    expected = mixture.fine_moments
    found = Moments.from_samples(x, fine)
    # 4 standard errors of a mean and, with fourth moments at most 15 s^4 here, of a second moment.
    spread = np.sqrt(np.max(np.abs(expected.covariances)))
    per_class = np.sqrt(n * expected.weights.min())
    assert np.abs(found.weights - expected.weights).max() < 4 * 0.5 / np.sqrt(n)
    assert np.abs(found.means - expected.means).max() < 4 * spread / per_class
    assert np.abs(found.covariances - expected.covariances).max() < 4 * np.sqrt(15) * spread**2 / per_class


def test_a_singular_covariance_is_sampled_on_its_support():
    moments = Moments(
        np.ones(2) / 2, np.zeros((2, 3)), np.broadcast_to(np.diag([1.0, 0, 0]), (2, 3, 3)).copy()
    )
    x, _ = Mixture(moments, np.array([0, 1])).sample(50, np.random.default_rng(0))
    assert np.ptp(x[:, 0]) > 0
    assert not x[:, 1:].any()


@pytest.mark.parametrize("components", [1, 3])
def test_a_fit_keeps_each_fine_class_mean_and_covariance_to_rounding(components):
    rng = np.random.default_rng(1)
    x = np.hstack([rng.standard_normal((600, 3)) ** 3, np.ones((600, 1))])  # skewed, one constant coordinate
    fine = np.arange(600) % 3
    fitted = Mixture.fit(x, fine, [0, 1, 1], components)
    assert fitted.moments.weights.size == 3 * components
    samples, pooled = Moments.from_samples(x, fine), fitted.fine_moments
    scale = np.abs(x).max() ** 2
    np.testing.assert_allclose(pooled.weights, samples.weights, atol=10 * EPS)
    np.testing.assert_allclose(pooled.means, samples.means, atol=600 * EPS * scale)
    np.testing.assert_allclose(pooled.covariances, samples.covariances, atol=600 * EPS * scale)


def test_a_fit_finds_well_separated_components():
    rng = np.random.default_rng(2)
    centres = np.array([[-5.0, 0], [5, 0], [0, -5], [0, 5]])
    x = centres[np.arange(4000) % 4] + rng.standard_normal((4000, 2))
    fitted = Mixture.fit(x, np.arange(4000) % 4 // 2, [0, 1], components=2)
    distances = np.linalg.norm(fitted.moments.means[:, None] - centres, axis=2)
    assert distances.min(axis=0).max() < 4 / np.sqrt(1000)  # 4 standard errors of a mean
    assert fitted.fine_map.tolist() == [0, 0, 1, 1]


def test_a_seed_beyond_32_bits_is_taken_modulo_2_to_the_32():
    x, fine = np.random.default_rng(0).standard_normal((60, 2)), np.arange(60) % 2
    small, large = (Mixture.fit(x, fine, [0, 1], 2, seed=seed) for seed in (3, 2**32 + 3))
    np.testing.assert_array_equal(small.moments.means, large.moments.means)


def test_the_same_seed_gives_the_same_fit():
    x = np.random.default_rng(3).standard_normal((300, 2))
    first, second = (Mixture.fit(x, np.arange(300) % 2, [0, 1], 3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.moments.means, second.moments.means)


def test_orthonormal_means_and_coarse_map():
    mixture = Mixture.orthonormal(3, 2, dim=8, noise=0.5)
    np.testing.assert_array_equal(mixture.moments.means, np.eye(6, 8))
    assert mixture.coarse_map.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(mixture.moments.covariances[4], 0.25 * np.eye(8))
    assert (mixture.num_fine, mixture.num_coarse, mixture.dim) == (6, 3, 8)


def test_second_and_cross_moments_are_averages_over_samples():
    rng = np.random.default_rng(4)
    mixture, n = random_mixture(rng), 200_000
    targets = rng.standard_normal((3, 2))
    x, fine = mixture.sample(n, rng)
    bound = 4 * np.abs(x[:, :, None] * x[:, None, :]).std(axis=0).max() / np.sqrt(n)
    assert np.abs(x.T @ x / n - mixture.second_moment()).max() < bound
    products = targets[fine][:, :, None] * x[:, None, :]
    cross_bound = 4 * products.std(axis=0).max() / np.sqrt(n)
    assert np.abs(products.mean(axis=0) - mixture.cross_moment(targets)).max() < cross_bound


BAD_CALLS = [
    (
        lambda: Mixture.from_means(np.eye(3), [0, 1]),
        "coarse_map must have one entry for each fine class, 3 in all, got 2",
    ),
    (lambda: Mixture.from_means(np.eye(3), [0, 2, 2]), r"but none is sent to \[1\]"),
    (lambda: Mixture.from_means(np.eye(3), [0, 1, 10**12]), "below their number, 3"),
    (lambda: Mixture.from_means(np.eye(3), [0.0, 1.0, 1.0]), "array of integers"),
    (lambda: Mixture.from_means(np.eye(3), [0, -1, 1]), "entries >= 0, got -1"),
    (lambda: Mixture.from_means(np.full((2, 2), np.nan), [0, 1]), r"means must be finite, got 4 NaN"),
    (lambda: Mixture.from_means(np.eye(2), [0, 1], noise=-1.0), "noise must be >= 0, got -1.0"),
    (
        lambda: Mixture.from_means(np.eye(2), [0, 1], weights=[0.5]),
        r"weights must have shape \(2,\), got \(1,\)",
    ),
    (lambda: Mixture.orthonormal(2, 2, noise=[1, 2, 3]), "noise must be one number or one for each of 4"),
    (lambda: Mixture.orthonormal(2.5, 2), "coarse must be an integer >= 1, got 2.5"),
    (lambda: Mixture.orthonormal(0, 2), "coarse must be an integer >= 1, got 0"),
    (lambda: Mixture.orthonormal(2, 2, dim=3), "dim must be an integer >= 4, got 3"),
    (lambda: Mixture.fit(np.zeros((5, 2)), [0, 0, 0, 1, 1], [0, 1], 2), "for the 2 samples of class 1"),
    (
        lambda: Mixture.orthonormal(2, 2).sample(0, np.random.default_rng(0)),
        "n must be an integer >= 1, got 0",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_objects_of_another_class_are_named():
    mixture = Mixture.orthonormal(2, 2)
    with pytest.raises(TypeError, match="moments must be a Moments, got Mixture"):
        Mixture(mixture, [0, 0, 1, 1])
    with pytest.raises(TypeError, match="rng must be a Generator, got int"):
        mixture.sample(3, 0)


def test_moments_of_torch_features_make_the_same_mixture():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)), np.arange(40) % 4
    a = Mixture(Moments.from_samples(x, y), [0, 0, 1, 1])
    b = Mixture(Moments.from_samples(torch.from_numpy(x), torch.from_numpy(y)), [0, 0, 1, 1])
    np.testing.assert_allclose(a.second_moment(), b.second_moment(), atol=100 * EPS)
