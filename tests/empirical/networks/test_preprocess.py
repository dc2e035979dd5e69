"""T13's preprocessing: PCA, one scale, a constant coordinate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from finegrain.empirical.networks import preprocess
from finegrain.empirical.networks.preprocess import Preprocess

EPS = np.finfo(float).eps


def images(seed, count=60, shape=(4, 5)):
    """uint8 images whose pixels have unequal variances."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, rng.integers(40, 256, shape), (count, *shape)).astype(np.uint8)


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_training_inputs_are_centred_uncorrelated_and_of_mean_square_five(seed, dim):
    x = images(seed)
    fitted = Preprocess.fit(x, dim)
    z = fitted.apply(x)
    assert z.shape == (60, min(dim, 20) + 1) and fitted.dim == min(dim, 20)
    np.testing.assert_array_equal(z[:, -1], 1)
    covariance = z[:, :-1].T @ z[:, :-1] / len(x)
    # Sums of 60 products of 20-pixel projections; the pixels' scale, up to 255, is divided out.
    bound = 60 * 20 * EPS * 5
    np.testing.assert_allclose(z[:, :-1].mean(axis=0), 0, atol=bound)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=bound)
    assert np.trace(covariance) == pytest.approx(5, abs=bound)
    assert (np.diff(np.diag(covariance)) <= bound).all()


def projection_error(x, dim):
    """A bound on the rounding of projected coordinates, relative to the largest.

    An eigenvector moves by (rounding of the covariance) / (its gap to the other eigenvalues).
    """
    variances = np.linalg.eigvalsh(np.cov(x.reshape(len(x), -1).T, bias=True))[::-1]
    gap = -np.diff(variances)[:dim].min()
    return len(x) * variances.size * EPS * variances.sum() / gap


def test_it_is_scikit_learns_pca_up_to_scale_and_sign():
    x = images(1)
    z = Preprocess.fit(x, 6).apply(x)[:, :-1]
    pca = PCA(6, svd_solver="full").fit_transform(x.reshape(60, -1).astype(float))
    pca *= np.sqrt(5 / np.mean(np.sum(pca**2, axis=1)))
    signs = np.sign(np.sum(z * pca, axis=0))
    bound = projection_error(x, 6) * np.abs(pca).max()
    np.testing.assert_allclose(z, pca * signs, rtol=0, atol=bound)


def test_the_fit_sees_the_training_images_alone():
    train, test = images(2), images(3)
    fitted = Preprocess.fit(train, 5)
    by_hand = (test.reshape(60, -1) - train.reshape(60, -1).mean(axis=0)) @ fitted.projection.T
    np.testing.assert_allclose(fitted.apply(test)[:, :-1], by_hand, rtol=0, atol=20 * EPS * 255)


def test_signs_are_fixed():
    rows = Preprocess.fit(images(4), 8).projection
    assert (rows[np.arange(8), np.abs(rows).argmax(axis=1)] > 0).all()


def test_images_are_read_in_blocks(monkeypatch):
    x = images(5)
    whole = Preprocess.fit(x, 4).apply(x)
    monkeypatch.setattr(preprocess, "BLOCK", 7)
    bound = projection_error(x, 4) * np.abs(whole).max()
    np.testing.assert_allclose(Preprocess.fit(x, 4).apply(x), whole, rtol=0, atol=bound)


@pytest.mark.parametrize(("count", "constant", "rank"), [(5, 0, 4), (60, 8, 12), (2, 0, 1)])
def test_directions_without_variance_are_left_out(count, constant, rank):
    x = images(6, count)
    x.reshape(count, -1)[:, :constant] = 17
    z = Preprocess.fit(x, 20).apply(x)
    assert z.shape == (count, rank + 1)
    assert np.mean(np.sum(z[:, :-1] ** 2, axis=1)) == pytest.approx(5, abs=60 * 20 * EPS * 5)


def test_the_scale_of_the_pixels_does_not_matter():
    x = images(7)
    np.testing.assert_array_equal(Preprocess.fit(x / 256, 5).apply(x / 256), Preprocess.fit(x, 5).apply(x))


@pytest.mark.parametrize(
    ("x", "dim", "message"),
    [
        (images(8), 0, "dim must be a finite number >= 1, got 0"),
        (images(8, 1), 3, "x must hold at least 2 training images, got 1"),
        (np.full((9, 4), 3.0), 2, "x must hold images that differ, got training images that are all equal"),
        (np.array([[1.0, 2.0], [np.nan, 0.0]]), 1, "x must be finite, got 1 NaN or infinite entries"),
    ],
)
def test_images_that_cannot_be_fitted_are_refused(x, dim, message):
    with pytest.raises(ValueError, match=message):
        Preprocess.fit(x, dim)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="x must have 20 pixels an image, as fitted, got 12"):
        Preprocess.fit(images(9), 3).apply(images(9, shape=(3, 4)))
