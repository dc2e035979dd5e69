"""T8: the rate of erosion on both sides of critical, the limit at unequal probabilities, and every assumption."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from finegrain.sims import plain
from finegrain.sims.initial_weights import balanced, served
from finegrain.sims.population.flow import population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import erosion as observed
from finegrain.sims.theorems.end_state import course, patterns
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, signs
from finegrain.theory.theorems import erosion as law
from finegrain.theory.theorems.end_state import critical

pytestmark = pytest.mark.T8
EPS = np.finfo(float).eps
seeds = st.integers(0, 2**32 - 1)
shares = st.one_of(st.floats(0.1, 0.9), st.floats(1.1, 3))
sizes = st.sampled_from([(2, 2), (2, 3), (2, 4), (2, 5), (3, 2), (3, 3), (4, 2), (4, 3), (5, 2), (6, 2)])


@settings(max_examples=12)
@given(size=sizes, share=shares, seed=seeds)
def test_the_rate_is_the_law_to_a_tenth_of_a_percent_on_both_sides_of_critical(size, share, seed):
    rate, found = observed.eroded(*size, share, seed)
    bound = observed.remainder(found, size[1], rate) + observed.STEPS_ERROR
    assert bound < 1e-3
    assert observed.mean_rate(found) == pytest.approx(rate, rel=bound)


@settings(max_examples=12)
@given(share=st.one_of(st.floats(0.1, 0.8), st.floats(1.2, 2)), seed=seeds)
def test_random_starts_erode_at_the_same_rate(share, seed):
    rate, found = observed.from_random_start(share, seed, width=40)
    full = (found.W[-1] > 0).reshape(40, 2, 2).all(axis=2).any(axis=0)
    assume(full.all())
    bound = observed.remainder(found, 2, rate) + observed.STEPS_ERROR
    assert bound < 1e-2
    assert observed.mean_rate(found) == pytest.approx(rate, rel=bound)


@given(
    subclasses=st.integers(2, 5),
    share=st.floats(0.05, 0.95),
    norm=st.floats(0.2, 3),
    seed=seeds,
)
def test_the_residual_at_rest_fixes_every_growth(subclasses, share, norm, seed):
    """At the rest of the full neurons the field moves patterns of size q at lambda (sqrt(q/S) - 1), any ||t||."""
    S, C = subclasses, 2 * subclasses
    mixture = Mixture.orthonormal(2, S)
    targets = norm * signs(mixture.coarse_map)
    weight_decay = share * critical(S, C, norm)
    tiny = 1e-9
    u = np.sqrt((norm - C * weight_decay / np.sqrt(S)) / np.sqrt(S))
    W, A = patterns(2, targets, np.append(np.full(S - 1, tiny), u))
    _, dW, dA = population_loss(mixture, targets=targets, weight_decay=weight_decay)(W, A)
    q = (W > 0).sum(axis=1)
    rates = weight_decay * (np.sqrt(q / S) - 1)
    # tiny^2 neurons change the residual by 2^S tiny^2; the rest is rounding of sums of order norm.
    allowed = 200 * EPS * (1 + norm)
    assert np.abs(-dW - rates[:, None] * W).max() <= allowed
    assert np.abs(-dA - rates * A).max() <= allowed
    assert rates[q == S - 1] == pytest.approx(-law.predict_rate(weight_decay, S, C, target_norm=norm))


@given(share=st.one_of(st.floats(0.2, 0.8), st.floats(1.3, 3)), seed=seeds)
def test_a_linear_network_erodes_at_weight_decay_itself(share, seed):
    weight_decay = share * critical(2, 4)
    assume(abs(weight_decay - 0.5) > 0.1)
    rate, found = observed.from_random_start(share, seed, activation="identity")
    # The visible mode's transient is e^-9 of its start or less, 40 times its final size at most.
    assert observed.mean_rate(found) == pytest.approx(rate, rel=40 * np.exp(-9))
    assert rate > 2 * law.predict_rate(weight_decay, 2, 4)


@settings(max_examples=12)
@given(
    weights=st.sampled_from([(0.35, 0.15), (0.3, 0.2), (0.4, 0.1), (0.2, 0.18, 0.12), (0.25, 0.15, 0.1)]),
    share=st.floats(0.1, 0.8),
    seed=seeds,
)
def test_unequal_probabilities_leave_the_predicted_limit(weights, share, seed):
    """From patterns of random amplitude; `verify` has a random start."""
    pi = np.array(weights)
    predicted, found = observed.unequal_limit(pi, share * np.linalg.norm(pi), seed, width=0)
    # sep^2 - limit^2 falls from order 1 to e^-18; its transient is e^-9.
    assert found == pytest.approx(predicted, rel=1e-3 + np.exp(-18) / predicted**2)


@given(
    pi=st.lists(st.floats(0.01, 0.5), min_size=2, max_size=5),
    share=st.floats(0.01, 3),
    norm=st.floats(0.3, 3),
)
def test_rest_forces_balance_weight_decay_and_are_continuous_at_critical(pi, share, norm):
    top = norm * np.linalg.norm(pi)
    d = law.rest_forces(share * top, pi, target_norm=norm)
    assert np.linalg.norm(d) == pytest.approx(min(share, 1) * top, rel=1e-9)
    near = law.rest_forces(top * (1 - 1e-9), pi, target_norm=norm)
    np.testing.assert_allclose(near, norm * np.array(pi), rtol=1e-6)
    assert np.diag(law.predict_limit(share * top, pi)) == pytest.approx(0)


def test_the_trials_number_for_unequal_probabilities():
    """(.35, .15), lambda = .1: .26477; equal ones merge."""
    assert law.predict_limit(0.1, [0.35, 0.15])[0, 1] == pytest.approx(0.26477, abs=5e-6)
    assert law.predict_limit(0.1, [0.25, 0.25])[0, 1] == pytest.approx(0, abs=1e-12)


def test_above_critical_the_rate_carries_the_norm_of_the_targets():
    """The correction: K = 3 centred targets have ||t|| = .816; the rate is that times (sqrt S - sqrt(S-1))/C."""
    rate, found = observed.eroded(3, 2, 2.0, 0)
    without_norm = (np.sqrt(2) - 1) / 6
    assert observed.mean_rate(found) == pytest.approx(np.sqrt(2 / 3) * without_norm, rel=1e-3)
    assert observed.mean_rate(found) < 0.9 * without_norm
    assert rate == pytest.approx(law.predict_rate(10.0, 2, 6, target_norm=np.sqrt(2 / 3)))


@pytest.mark.parametrize("share", [0.3, 0.6, 1.5])
def test_the_transient_dies_at_twice_the_distance_from_critical(share):
    """Full neurons alone: the output settles at 2 |lambda_c - lambda|."""
    mixture = Mixture.orthonormal(2, 3)
    targets, weight_decay = signs(mixture.coarse_map), share * critical(3, 6)
    W, A = patterns(2, targets, np.array([0, 0, 0.3]))
    rate = law.predict_transient(weight_decay, 3, 6)
    found = course(mixture, targets, W, A, weight_decay, np.array([5.0, 6.0]) / rate, rtol=1e-11)
    gap = np.abs(found.output - max(0, 1 - share))
    # The next order of the gap is the gap itself, of order e^-5 with a prefactor below 10.
    assert np.log(gap[0] / gap[1]) == pytest.approx(1, rel=10 * np.exp(-5))


def random_rate(mixture, weight_decay, times, *, targets=None, **network):
    t = signs(mixture.coarse_map) if targets is None else targets
    W, A = balanced(40, mixture.dim, 0.05, np.random.default_rng(0))
    found = course(mixture, t, W, A, weight_decay, np.array(times), **network)
    return observed.mean_rate(found)


def test_necessary_relu():
    """A linear network: more than three times as fast. Leaky of slope .3: faster than ReLU by half at least (T16)."""
    mixture, claimed = Mixture.orthonormal(2, 2), 0.1 * (1 - np.sqrt(1 / 2))
    assert random_rate(mixture, 0.1, [60.0, 80.0], activation="identity") > 3 * claimed
    leaky = random_rate(mixture, 0.1, [60.0, 80.0], activation="leaky_relu", slope=0.3)
    assert leaky > 1.5 * claimed


def test_necessary_orthogonal_noise_free_inputs():
    mixture = Mixture.orthonormal(2, 2, noise=0.5)
    W, A = balanced(8, 4, 0.1, np.random.default_rng(0))
    found = course(mixture, signs(mixture.coarse_map), W, A, 0.1, np.array([40.0, 60.0]), rtol=1e-4)
    assert abs(observed.mean_rate(found) / (0.1 * (1 - np.sqrt(1 / 2))) - 1) > 0.2


def test_necessary_squared_loss():
    """Above the squared loss's lambda_c = .354 the logistic loss, whose residual is half, erodes at half the rate."""
    mixture = Mixture.orthonormal(2, 2)
    W, A = patterns(2, signs(mixture.coarse_map), np.array([0.01, 0.3]))
    flow = population_flow(
        mixture,
        W,
        A,
        targets=signs(mixture.coarse_map),
        loss="logistic",
        weight_decay=0.4,
        times=[5.0, 10.0, 15.0, 20.0, 25.0, 30.0],
    )
    sep = [observables.separation(m, mixture.coarse_map) for m in flow.moments]
    rate = np.log(sep[-2] / sep[-1]) / 5
    assert rate == pytest.approx(0.5 * (np.sqrt(2) - 1) / 4, rel=0.01)


def test_necessary_a_full_neuron():
    mixture = Mixture.orthonormal(2, 2)
    targets = signs(mixture.coarse_map)
    W, A = patterns(2, targets, np.array([0.3, 0.0]))
    found = course(mixture, targets, W, A, 0.1, np.array([50.0, 100.0]))
    assert found.separation == pytest.approx(np.sqrt(2), rel=1e-9)


def test_necessary_neurons_on_all_but_one():
    """The correction: S = 3, full neurons and those on one subclass, by plain RK45: .0610, not .0265."""
    weight_decay = 0.5 * np.sqrt(3) / 6
    rates, errors = observed.plain_rates(observed.PARTIAL[0], weight_decay, seed=0)
    assert rates[0, 1] == pytest.approx(weight_decay * (1 - np.sqrt(1 / 3)), rel=errors[0, 1])
    assert errors[0, 1] < 1e-3
    assert rates[0, 1] == pytest.approx(0.0610, abs=5e-5)
    assert rates[0, 1] > 2 * 0.0265


def test_the_rate_without_neurons_on_all_but_one_is_predicted():
    weight_decay = 0.5 * np.sqrt(3) / 6
    assert law.predict_rate(weight_decay, 3, 6, patterns=observed.PARTIAL[0]) == pytest.approx(
        0.0610, abs=5e-5
    )


@pytest.mark.parametrize(
    "patterns", [((0, 1), (2,), (0,)), ((0, 1, 2), (0, 1), (0,)), ((0, 1), (1, 2), (0,))]
)
def test_pairs_merge_or_not_as_the_living_patterns_say(patterns):
    """Plain RK45, lambda = .05, late: the rate of each pair, 0 for those that living patterns part."""
    problem = plain.Problem(np.eye(6), np.repeat([[1.0], [-1.0]], 3, axis=0), weight_decay=0.05)
    W, A = plain.flow(
        problem, served(patterns, [0.3] * len(patterns), 3), np.arange(1, 9) * 100.0, rtol=1e-10
    )
    first, last = (plain.separations(problem, [W[i], A[i]])[:3, :3] + np.eye(3) for i in (-2, -1))
    predicted = law.predict_pair_rates(0.05, patterns, np.full(3, 1 / 6))
    np.testing.assert_allclose(np.log(first / last) / 100, predicted, atol=1e-5)


def test_above_critical_and_without_a_common_pattern_separation_can_grow():
    """lambda = 1: {1,2} dies slower than {3}, so h_3 vanishes relative to h_1."""
    rates = law.predict_pair_rates(1.0, [{0, 1}, {2}], np.full(3, 1 / 6))
    assert rates[0, 2] == pytest.approx((np.sqrt(2) + 1) / 12 - np.sqrt(2) / 6)
    assert rates[0, 2] < 0 < rates[0, 1]


@given(subclasses=st.integers(2, 5), share=st.floats(0.05, 3))
def test_every_set_of_subclasses_gives_the_closed_form(subclasses, share):
    """Two ways to one rate: the closed form, and the rest state of all sets."""
    every = [Q for q in range(1, subclasses + 1) for Q in combinations(range(subclasses), q)]
    weight_decay = share * critical(subclasses, 2 * subclasses)
    expected = law.predict_rate(weight_decay, subclasses, 2 * subclasses)
    assert law.predict_rate(weight_decay, subclasses, 2 * subclasses, patterns=every) == pytest.approx(
        expected
    )


def test_necessary_equal_probabilities():
    """At (.35, .15) the rate is 0 in the end, and separation stays above a quarter."""
    _, separation = observed.unequal_limit(np.array([0.35, 0.15]), 0.1, 0)
    assert separation > 0.25


def test_necessary_after_the_transient():
    """From f = 0, where r = ||t||, erosion runs at lambda_c (1 - rho), ten times the late rate at .1 lambda_c."""
    mixture, weight_decay = Mixture.orthonormal(2, 2), 0.1 * np.sqrt(2) / 4
    targets = signs(mixture.coarse_map)
    W, A = patterns(2, targets, np.array([1e-4, 1e-4]))
    found = course(mixture, targets, W, A, weight_decay, np.array([10.0, 15.0]))
    assert observed.mean_rate(found) > 5 * weight_decay * (1 - np.sqrt(1 / 2))


def test_centred_targets_from_random_vector_outputs():
    """K = 3, outputs in random directions: the same rate once the directions have aligned."""
    mixture = Mixture.orthonormal(3, 2)
    targets = centred_one_hot(mixture.coarse_map)
    norm = np.sqrt(2 / 3)
    weight_decay = 0.5 * critical(2, 6, norm)
    rng = np.random.default_rng(0)
    W, A = 0.05 * rng.standard_normal((90, 6)), 0.1 * rng.standard_normal((3, 90))
    found = course(mixture, targets, W, A, weight_decay, np.array([250.0, 300.0]), rtol=1e-7)
    assert observed.mean_rate(found) == pytest.approx(
        law.predict_rate(weight_decay, 2, 6, target_norm=norm), rel=1e-3
    )


BAD_CALLS = [
    (lambda: law.predict_rate(0.1, 1, 4), "subclasses must be a finite number >= 2, got 1"),
    (
        lambda: law.predict_rate(0.1, 3, 6, patterns=[{0, 1}]),
        r"patterns must hold every subclass 0..2, got \[\[0, 1\]\]",
    ),
    (lambda: law.predict_limit(0.0, [0.3, 0.2]), "weight_decay must be a finite number > 0, got 0.0"),
    (lambda: law.predict_limit(0.1, [0.5, 0.0]), "weights must be > 0, got 0.0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def number(name, *arguments):
    return law.THEOREM.formulas[name].number(*arguments)


# By hand: S = 4, C = 8, ||t|| = 3 have lambda_c = .75; at pi = (.3, .3) sum d^2 = lambda^2 has d = lambda/sqrt 2.
VALUES = {
    "rate": [
        (lambda: law.predict_rate(0.1, 4, 8, target_norm=3.0), 0.1 - 0.05 * np.sqrt(3)),
        (lambda: law.predict_rate(9.0, 4, 8, target_norm=3.0), 0.75 - 0.375 * np.sqrt(3)),
    ],
    "critical": [(lambda: number("critical", 4, 8, 3.0), 0.75)],
    "merging": [
        (lambda: number("merging", 0.5, 0.2), 0.3),
        (
            lambda: law.predict_pair_rates(0.05, [range(3), [0], [1], [2]], np.full(3, 1 / 6))[0, 1],
            0.05 * (1 - np.sqrt(1 / 3)),
        ),
    ],
    "transient": [
        (lambda: law.predict_transient(0.25, 4, 8, target_norm=3.0), 1.0),
        (lambda: law.predict_transient(1.0, 4, 8, target_norm=3.0), 0.5),
    ],
    "pull": [(lambda: number("pull", 0.25, 2.0, 3.0, 0.5), 0.2)],
    "limit": [(lambda: number("limit", 1.0, 4.0), 1.5)],
    "linear_rate": [
        (lambda: law.predict_linear_rate(0.1, 4), 0.1),
        (lambda: law.predict_linear_rate(0.9, 4), 0.5),
    ],
}


def test_pulls_and_limit_by_hand():
    """pi = (.6, .3), ||t|| = 1 and P = lambda: d = (.6/1.6, .3/1.3) at lambda^2 = their squares' sum."""
    d = np.array([0.6 / 1.6, 0.3 / 1.3])
    weight_decay = float(np.linalg.norm(d))
    np.testing.assert_allclose(law.rest_forces(weight_decay, [0.6, 0.3]), d, rtol=1e-12)
    limit = (d[0] - d[1]) / np.sqrt(d[0] * d[1])
    assert law.predict_limit(weight_decay, [0.6, 0.3])[0, 1] == pytest.approx(limit, rel=1e-12)
