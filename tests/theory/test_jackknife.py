"""Grouped Moments equal plain ones; the intervals cover as often as they say, and take out the plug-in bias."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import binom

from finegrain.theory import observables
from finegrain.theory.jackknife import GroupedMoments, interval
from finegrain.theory.moments import Moments, MomentsAccumulator

EPS = np.finfo(float).eps
KINDS = ("full", "diagonal", "pooled")


def draw(rng, n=30, classes=3, dim=4):
    labels = np.repeat(np.arange(classes), n)
    return rng.standard_normal((classes * n, dim)) + 2 * np.eye(classes, dim)[labels], labels


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("kind", KINDS)
def test_the_groups_together_hold_all_samples(kind, library):
    x, labels = draw(np.random.default_rng(0))
    grouped = GroupedMoments(3, 4, kind, groups=7)
    for part in np.array_split(np.random.default_rng(1).permutation(len(x)), 5):
        features, there = library(x[part]), library(labels[part])
        with torch.device("meta"):  # whatever is made without a device would go there, and have no values
            grouped.update(features, there)
    whole = Moments.from_samples(x, labels, covariance=kind)
    np.testing.assert_allclose(grouped.compute().means, whole.means, atol=len(x) * EPS)
    np.testing.assert_allclose(grouped.compute().traces, whole.traces, atol=4 * len(x) * EPS)
    assert grouped.counts.tolist() == [30, 30, 30]


def test_each_sample_is_left_out_once_and_each_class_evenly():
    """Features are the identity, so that a class mean shows which samples are in it."""
    n, groups = 23, 5
    labels = np.arange(n) % 2
    grouped = GroupedMoments(2, n, groups=groups)
    grouped.update(np.eye(n), labels)
    inside = np.array([(m.means > 0).any(axis=0) for m in grouped.leave_one_out()])
    assert inside.shape == (groups, n)
    assert ((~inside).sum(axis=0) == 1).all()
    for c in (0, 1):
        sizes = (~inside[:, labels == c]).sum(axis=1)
        assert sizes.max() - sizes.min() <= 1


def test_a_seed_deals_alike_and_another_one_otherwise():
    def dealt(seed):
        grouped = GroupedMoments(30, 1, groups=7, seed=seed)
        for _ in range(2):  # forgetting begins anew
            grouped.reset()
            grouped.update(np.zeros((30, 1)), np.arange(30))
        return np.array([part.counts for part in grouped.parts])

    assert (dealt(3) == dealt(3)).all() and (dealt(3) != dealt(4)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_a_group_out_gives_the_moments_of_the_others(kind):
    x, labels = draw(np.random.default_rng(2))
    grouped = GroupedMoments(3, 4, kind, groups=5, seed=3)
    grouped.update(x, labels)
    before = pickle.dumps(grouped)
    for g, found in enumerate(grouped.leave_one_out()):
        others = MomentsAccumulator(3, 4, kind)
        for part in grouped.parts[:g] + grouped.parts[g + 1 :]:
            others.merge(part)
        expected = others.compute()
        np.testing.assert_allclose(found.weights, expected.weights)
        np.testing.assert_allclose(found.means, expected.means, atol=len(x) * EPS)
        np.testing.assert_allclose(found.traces, expected.traces, atol=4 * len(x) * EPS)
    assert pickle.dumps(grouped) == before


def test_merging_is_adding_the_samples_of_both():
    x, labels = draw(np.random.default_rng(4))
    first, second = GroupedMoments(3, 4, groups=4), GroupedMoments(3, 4, groups=4, seed=1)
    first.update(x[:50], labels[:50])
    second.update(x[50:], labels[50:])
    first.merge(second)
    np.testing.assert_allclose(
        first.compute().covariances, Moments.from_samples(x, labels).covariances, atol=4 * len(x) * EPS
    )
    first.reset()
    assert first.counts.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="other must have groups = 4, got 5"):
        first.merge(GroupedMoments(3, 4, groups=5))


def test_the_interval_of_a_mean_of_groups_is_students():
    """For a mean of G equal groups the jackknife is exact: mean -+ t_{G-1} std/sqrt G."""
    values = np.random.default_rng(5).standard_normal(8)
    left_out = (values.sum() - values) / 7
    low, high = interval(values.mean(), left_out, level=0.9)
    half = 1.894578605 * values.std(ddof=1) / np.sqrt(8)  # t_7 at .95 (tables)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-9)


def test_the_bias_of_a_square_is_taken_out():
    """(mean)^2 over samples of mean 0 is 1/n too large on average; the jackknife's centre is not."""
    rng = np.random.default_rng(6)
    G, draws = 20, 4000
    x = rng.standard_normal((G, draws))
    whole, left_out = x.mean(axis=0) ** 2, ((x.sum(axis=0) - x) / (G - 1)) ** 2
    low, high = interval(whole, left_out)
    centre = (low + high) / 2
    assert abs(whole.mean() - 1 / G) < 4 * whole.std() / np.sqrt(draws)
    assert abs(centre.mean()) < 4 * centre.std() / np.sqrt(draws)


def test_95_percent_intervals_cover_95_percent_of_the_time():
    """Gaussian draws, 40 samples a class in 6 dimensions, where the plug-in bias is as large as the error."""
    rng, draws, coarse = np.random.default_rng(7), 100, [0, 0, 1, 1]
    means = 0.7 * rng.standard_normal((4, 6))
    labels = np.repeat(np.arange(4), 40)
    observed = {
        "fine_share": lambda m: observables.fine_share(m, coarse),
        "trace_ratio": observables.nc1_trace_ratio,
        "mahalanobis": lambda m: observables.mahalanobis(m, coarse),
    }
    true = Moments(np.full(4, 0.25), means, np.stack([np.eye(6)] * 4))
    hits = dict.fromkeys(observed, 0)
    for _ in range(draws):
        grouped = GroupedMoments(4, 6, groups=8)
        grouped.update(means[labels] + rng.standard_normal((160, 6)), labels)
        whole, left_out = grouped.compute(), list(grouped.leave_one_out())
        for name, f in observed.items():
            low, high = interval(f(whole), [f(m) for m in left_out])
            hits[name] += int(low <= f(true) <= high)
    # Two-sided, at one chance in a thousand for each of three; and 2 % for the next order of the bias.
    low, high = binom.ppf([5e-4, 1 - 5e-4], draws, 0.95) / draws
    shares = {name: count / draws for name, count in hits.items()}
    assert all(low - 0.02 <= share <= high for share in shares.values()), shares


def test_what_is_not_finite_has_no_interval():
    low, high = interval([1.0, np.inf, 2.0], [[1.0, 1.0, np.nan], [2.0, 1.0, 1.0]])
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1:], high[1:]]).all()


def test_an_update_that_raises_changes_nothing():
    x, labels = draw(np.random.default_rng(8))
    grouped = GroupedMoments(3, 4)
    grouped.update(x, labels)
    before = pickle.dumps(grouped)
    x[-1, 0] = np.nan
    for bad in ((x, labels), (x[:5], [0, 1, 2, 3, 0])):
        with pytest.raises(ValueError, match=r"features must be finite|labels must be in"):
            grouped.update(*bad)
    assert pickle.dumps(grouped) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GroupedMoments(2, 2, groups=0), "groups must be an integer >= 1, got 0"),
        (lambda: GroupedMoments(2, 2, seed=-1), "seed must be an integer >= 0, got -1"),
        (
            lambda: list(GroupedMoments(2, 2, groups=1).leave_one_out()),
            "groups must be an integer >= 2, got 1",
        ),
        (lambda: interval(0.0, [0.0, 1.0], level=1), "level must be > 0 and < 1, got 1"),
        (lambda: interval(0.0, [0.0, 1.0], level=0), "level must be > 0 and < 1, got 0"),
        (lambda: interval(0.0, [0.0]), "the number of groups must be an integer >= 2, got 1"),
    ],
)
def test_bad_calls_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
