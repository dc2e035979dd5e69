"""T7: growth, separation and exponent as claimed; each assumption dropped in turn."""

from itertools import combinations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from finegrain.sims import plain
from finegrain.sims.initial_weights import served
from finegrain.sims.population.flow import population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import specialisation as observed
from finegrain.sims.theorems.end_state import patterns
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, signs
from finegrain.theory.theorems import specialisation as law
from finegrain.theory.theorems.loss_universality import residual as residual_of

pytestmark = pytest.mark.T7


def aligned(S, amplitudes, coarse=2):
    """One neuron for each subset of each coarse class, at w = u_q 1_Q, |a| = sqrt(q) u_q; scalar targets."""
    subsets = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
    W = np.zeros((coarse * len(subsets), coarse * S))
    A = np.zeros((1, len(W)))
    for k in range(coarse):
        for i, Q in enumerate(subsets):
            u = amplitudes[len(Q) - 1]
            W[k * len(subsets) + i, [k * S + c for c in Q]] = u
            A[0, k * len(subsets) + i] = (1 if k else -1) * np.sqrt(len(Q)) * u
    return W, A


# Five decades, S to 5.
amplitude = st.floats(-5.5, -0.5).map(lambda x: 10.0**x)
amplitude_lists = st.integers(2, 5).flatmap(lambda S: st.lists(amplitude, min_size=S, max_size=S))


@given(amplitudes=amplitude_lists, weight_decay=st.floats(0, 0.1))
def test_aligned_neurons_grow_at_the_claimed_rate(amplitudes, weight_decay):
    S = len(amplitudes)
    mixture = Mixture.orthonormal(2, S)
    W, A = aligned(S, amplitudes)
    loss = population_loss(mixture, targets=signs(mixture.coarse_map), weight_decay=weight_decay)
    _, dW, dA = loss(W, A)
    residual = 1 - abs(float((A @ np.maximum(W, 0))[0, 0]))
    sizes = (W > 0).sum(axis=1)
    rate = residual * np.sqrt(sizes) / (2 * S) - weight_decay
    np.testing.assert_allclose(-dW, rate[:, None] * W, atol=1e-14)
    np.testing.assert_allclose(-dA, rate * A, atol=1e-14)


@given(amplitudes=amplitude_lists, weight_decay=st.floats(0, 0.2), t=st.floats(0.1, 40))
def test_the_separation_follows_the_exact_law_for_every_weight_decay_and_time(amplitudes, weight_decay, t):
    S = len(amplitudes)
    mixture = Mixture.orthonormal(2, S)
    W, A = aligned(S, amplitudes)
    rtol = 1e-9
    end = population_flow(
        mixture,
        W,
        A,
        targets=signs(mixture.coarse_map),
        weight_decay=weight_decay,
        times=[t],
        rtol=rtol,
    )
    # ln G from one neuron: the largest, active on all S.
    full = (W[: len(W) // 2] > 0).sum(axis=1).argmax()
    log_growth = (np.log(end.A[0, 0, full] / A[0, full]) + weight_decay * t) / np.sqrt(S)
    predicted = law.predict_separation(np.square(amplitudes), float(log_growth))
    found = observables.separation(end.moments[0])[0, 1]
    # Weights err by rtol a step, relative to each neuron: some hundred steps.
    assert found == pytest.approx(predicted, rel=300 * rtol)


@given(amplitudes=amplitude_lists, growth=st.floats(5, 40))
def test_the_master_law_is_the_exact_law_where_growth_is_large(amplitudes, growth):
    S = len(amplitudes)
    energies = np.square(amplitudes)
    start, end = (law.predict_separation(energies, g) for g in (growth, growth + 1))
    ratio = law.predict_master(start, S, 2 * S, 2 * S) / end
    # Next terms of both sums, relative to the first: derived in the module.
    q = np.arange(1, S + 1)
    denominator = np.sum(
        np.exp(2 * (np.sqrt(q[:-1]) - np.sqrt(S)) * growth) * energies[:-1] / energies[-1] * 2.0**S
    )
    numerator = np.sum(
        np.exp(2 * (np.sqrt(q[:-2]) - np.sqrt(S - 1)) * growth) * energies[:-2] / energies[-2] * 2.0**S
    )
    assert abs(np.log(ratio)) <= denominator + numerator + 1e-12


def test_the_fitted_exponent_is_that_of_the_finite_law_of_the_start():
    slope = observed.measure(2, seeds=2, points=2)
    predicted = np.polyfit(np.log(slope.eps), np.log(slope.predicted_ends), 1)[0]
    assert slope.value == pytest.approx(predicted, rel=0.01)


@pytest.mark.parametrize("S", [2, 3, 4, 5])
def test_the_exponent_for_up_to_five_subclasses_is_within_the_derived_correction(S):
    """0.3 % (the aim is 1.5 %), and the exact law sees what flow finds."""
    eps, ends = observed.from_patterns(S, seed=0)
    assert observed.fitted(eps, ends) == pytest.approx(law.predict(S), rel=3e-3)
    amplitudes = np.random.default_rng([0, 7, S]).uniform(0.5, 2, S)
    predicted = [law.predict_end(amplitudes**2, e) for e in eps]
    # e^-24 of the residual is left, and some hundred steps of 1e-6.
    np.testing.assert_allclose(ends, predicted, rtol=300e-6)


@pytest.mark.parametrize("S", [2, 3, 4, 5])
@pytest.mark.parametrize(("loss", "weight_decay"), [("squared", 0.0), ("logistic", 0.05)])
def test_the_master_law_holds_to_1e_5_along_a_flow(S, loss, weight_decay):
    """From neurons on all and on all but one, the latter 1e-4 of them: next term S 1e-8 of sep."""
    mixture = Mixture.orthonormal(2, S)
    W, A = patterns(2, signs(mixture.coarse_map), np.append(np.zeros(S - 2), [1e-6, 1e-2]))
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(0, 40, 21)
    times = np.concatenate([low + (nodes + 1) for low in edges[:-1]])  # Gauss-Legendre on pieces of length 2
    flow = population_flow(
        mixture, W, A, targets=signs(mixture.coarse_map), loss=loss, weight_decay=weight_decay,
        times=np.concatenate([[0.0], times, [40.0]]), rtol=1e-9,
    )  # fmt: skip
    outputs = np.array([float((a @ h.means.T)[0, -1]) for a, h in zip(flow.A, flow.moments, strict=True)])
    residual = [residual_of(loss, f) for f in outputs[1:-1]]
    start, end = (observables.separation(flow.moments[i])[0, 1] for i in (0, -1))
    predicted = law.predict_master(start, S, 2 * S, float(np.tile(weights, 20) @ residual))
    assert end == pytest.approx(predicted, rel=1e-5)
    assert end < 0.7 * start  # it says something


def test_finite_eps_corrections_shrink_at_the_derived_rate():
    """The local exponent's error falls as eps^(2 (1 - rho_S)): the denominator's next term."""
    for S in (2, 3, 4):
        energies = np.ones(S)
        eps = np.array([1e-24, 1e-26])
        errors = [law.predict(S) - law.local_exponent(energies, e) for e in eps]
        if min(errors) < 1e-9:  # below the difference quotient's own rounding
            eps = np.array([1e-10, 1e-12])
            errors = [law.predict(S) - law.local_exponent(energies, e) for e in eps]
        rate = np.log(errors[0] / errors[1]) / np.log(eps[0] / eps[1])
        assert rate == pytest.approx(2 * law.predict(S), rel=0.05)


def test_largest_eps_is_where_the_correction_meets_the_tolerance():
    for S in (2, 3, 4, 5):
        eps = law.largest_eps(np.ones(S), 0.01)
        assert abs(law.local_exponent(np.ones(S), eps / 1.01) / law.predict(S) - 1) <= 0.01
        assert abs(law.local_exponent(np.ones(S), 2 * eps) / law.predict(S) - 1) > 0.01
    assert law.largest_eps(np.ones(3), 0.01) <= 1.3e-6


def test_known_exponents():
    """S = 2: 1 - 1/sqrt 2; weights (.3, .2): 1 - sqrt(1 - .04/.13)."""
    assert law.predict(2) == pytest.approx(1 - 1 / np.sqrt(2), rel=1e-15)
    assert law.predict_unequal([0.3, 0.2]) == pytest.approx(1 - np.sqrt(9 / 13), rel=1e-15)
    assert law.predict_unequal([0.3, 0.2]) < law.predict(2)


def slope_of(end_separation, eps):
    return float(np.polyfit(np.log(eps), np.log([end_separation(e) for e in eps]), 1)[0])


def test_three_coarse_classes_with_centred_targets_have_the_same_exponent():
    """K = 3, S = 2; a neuron serves one class at most if its output weights start along one target."""
    mixture = Mixture.orthonormal(3, 2)
    targets = centred_one_hot(mixture.coarse_map)
    rng = np.random.default_rng(0)
    W = rng.standard_normal((240, 6))
    direction = targets[::2] / np.linalg.norm(targets[0])
    A = (direction[np.arange(240) % 3] * np.linalg.norm(W, axis=1)[:, None]).T

    def end(eps):
        t = 6 / np.sqrt(2) / np.linalg.norm(targets[0]) * (np.log(1 / eps) + 12)
        flow = population_flow(mixture, eps * W, eps * A, targets=targets, times=[t], rtol=1e-6)
        return observables.separation(flow.moments[0], mixture.coarse_map)

    assert slope_of(end, np.array([1e-5, 1e-6])) == pytest.approx(law.predict(2), rel=0.02)


def test_necessary_relu():
    """A linear network's exponent is 1."""
    eps = np.array([1e-3, 1e-4])
    slope = slope_of(lambda e: observed.final_separation(2, 40, e, 0, activation="identity"), eps)
    assert slope == pytest.approx(1.0, abs=0.02)


def test_necessary_noise_free_inputs():
    """Noise of order one blurs the gates: the exponent moves far from the noise-free one."""
    mixture = Mixture.orthonormal(2, 2, noise=0.5)
    rng = np.random.default_rng(0)
    W = rng.standard_normal((12, 4))
    A = rng.choice([-1, 1], 12) * np.linalg.norm(W, axis=1)

    def end(eps):
        t = 4 / np.sqrt(2) * (np.log(1 / eps) + 8)
        flow = population_flow(
            mixture, eps * W, eps * A[None], targets=signs(mixture.coarse_map), times=[t], rtol=1e-5
        )
        return observables.separation(flow.moments[0], mixture.coarse_map)

    assert slope_of(end, np.array([1e-3, 1e-4])) > 1 - np.sqrt(1 / 2) + 0.1


def test_necessary_orthogonal_means():
    """Same-class cosine .3: growing on one subclass opens the gate of the other, and the exponent passes .8."""
    gram = np.kron(np.eye(2), [[1, 0.3], [0.3, 1]])
    mixture = Mixture.from_means(np.linalg.cholesky(gram), np.repeat([0, 1], 2))
    W, A = patterns(2, signs(mixture.coarse_map), np.array([1.0, 0.6]))
    W = np.linalg.solve(np.linalg.cholesky(gram), W.T).T  # the same gates: w . mu_c is as before

    def end(eps):
        t = 4 / np.sqrt(2) * (np.log(1 / eps) + 12)
        flow = population_flow(
            mixture, eps * W, eps * A, targets=signs(mixture.coarse_map), times=[t], rtol=1e-6
        )
        return observables.separation(flow.moments[0], mixture.coarse_map)

    assert slope_of(end, np.array([1e-4, 1e-5])) > 1 - np.sqrt(1 / 2) + 0.5


def test_necessary_a_neuron_on_all_subclasses():
    """Without one, sep stays sqrt 2 at every eps."""
    mixture = Mixture.orthonormal(2, 2)
    for eps in (1e-2, 1e-5):
        W, A = eps * np.eye(4), eps * np.array([[-1.0, -1, 1, 1]])
        flow = population_flow(mixture, W, A, targets=signs(mixture.coarse_map), times=[100.0], rtol=1e-6)
        assert observables.separation(flow.moments[0])[0, 1] == pytest.approx(np.sqrt(2), rel=1e-12)


def test_necessary_neurons_on_all_but_one():
    """The correction: S = 3, full neurons and those on one subclass, by plain RK45: .4226, not .1835."""
    exponents, errors = observed.plain_exponents(observed.PARTIAL[0], seed=0)
    assert exponents[0, 1] == pytest.approx(1 - np.sqrt(1 / 3), abs=errors[0, 1])
    assert errors[0, 1] < 1e-3
    assert exponents[0, 1] > 2 * (1 - np.sqrt(2 / 3))


def test_the_exponent_without_neurons_on_all_but_one_is_predicted():
    assert law.predict(3, patterns=observed.PARTIAL[0]) == pytest.approx(0.4226, abs=5e-5)
    assert law.local_exponent([1.0, 0.0, 1.0], 1e-8) == pytest.approx(1 - np.sqrt(1 / 3), abs=1e-4)


def test_the_exponent_of_each_pair_is_set_by_the_largest_pattern_that_separates_it():
    """Full, {1,2} and {1}: pair 1,2 by {1}; the others by {1,2}. Blocks {1,2} and {3}: apart for good."""
    pairs = law.predict_pairs(3, [{0, 1, 2}, {0, 1}, {0}])
    np.testing.assert_allclose(pairs[[0, 0, 1], [1, 2, 2]], 1 - np.sqrt([1 / 3, 2 / 3, 2 / 3]))
    np.testing.assert_allclose(
        law.predict_pairs(3, [{0, 1}, {2}, {0}])[[0, 0, 1], [1, 2, 2]], [1 - np.sqrt(1 / 2), 0, 0]
    )
    assert law.predict_pairs(2, [{0, 1}])[0, 1] == 1
    for S in (2, 3, 4, 5):
        every = [Q for q in range(1, S + 1) for Q in combinations(range(S), q)]
        assert law.predict(S, patterns=every) == pytest.approx(law.predict(S), rel=1e-14)


def test_blocks_by_plain_flow():
    """Patterns {1,2}, {1}, {3}: exponent 1 - sqrt(1/2) inside the block, and sep_13 stays of order one."""
    problem, ends = plain.Problem(np.eye(6), np.repeat([[1.0], [-1.0]], 3, axis=0)), []
    for eps in (1e-4, 1e-6):
        start = served([(0, 1), (0,), (2,)], [eps] * 3, 3)
        W, A = plain.flow(problem, start, [6 * (np.log(1 / eps) + 12)])
        ends.append(plain.separations(problem, [W[0], A[0]]))
    slope = np.log(ends[0] / (ends[1] + np.eye(6)) + np.eye(6)) / np.log(100)
    assert slope[0, 1] == pytest.approx(1 - np.sqrt(1 / 2), abs=ends[0][0, 1] ** 2)
    assert slope[0, 2] == pytest.approx(0, abs=ends[0][0, 1] ** 2)
    assert ends[1][0, 2] > 1


def test_the_end_is_finite_at_every_scale():
    """eps^2 underflows at 1e-200: sep is a power of eps, the same exponent throughout."""
    for energies in ([1.0, 2.0], [0.5, 1.0, 2.0], [1.0, 0.0, 1.0]):
        ends = [law.predict_end(energies, e) for e in (1e-150, 1e-200, 1e-300)]
        assert np.isfinite(ends).all()
        exponent = law.local_exponent(energies, 1e-300)
        np.testing.assert_allclose(np.log10(ends[0] / ends[1]), 50 * exponent, rtol=1e-9)
        np.testing.assert_allclose(np.log10(ends[1] / ends[2]), 100 * exponent, rtol=1e-9)


def test_necessary_equal_probabilities_and_the_exponent_that_holds_without():
    weights = np.array([0.3, 0.2, 0.3, 0.2])
    mixture = Mixture.orthonormal(2, 2, weights=weights)
    rng = np.random.default_rng(0)
    W = rng.standard_normal((120, 4))
    A = rng.choice([-1, 1], 120) * np.linalg.norm(W, axis=1)

    def end(eps):
        t = (np.log(1 / eps) + 30) / np.sqrt(np.sum(weights[:2] ** 2))
        flow = population_flow(
            mixture, eps * W, eps * A[None], targets=signs(mixture.coarse_map), times=[t], rtol=1e-6
        )
        return observables.separation(flow.moments[0], mixture.coarse_map)

    slope = slope_of(end, np.array([1e-8, 1e-10]))
    assert slope == pytest.approx(1 - np.sqrt(1 - 0.2**2 / (0.3**2 + 0.2**2)), rel=0.02)
    assert abs(slope / (1 - np.sqrt(1 / 2)) - 1) > 0.3


def test_necessary_no_weight_decay_for_the_exponent():
    """With weight decay sep goes on falling after convergence: no exponent at the end of training."""
    mixture = Mixture.orthonormal(2, 2)
    rng = np.random.default_rng(0)
    W = 1e-2 * rng.standard_normal((60, 4))
    A = rng.choice([-1, 1], 60) * np.linalg.norm(W, axis=1)
    flow = population_flow(
        mixture,
        W,
        A[None],
        targets=signs(mixture.coarse_map),
        weight_decay=0.1,
        times=[60.0, 120.0],
        rtol=1e-6,
    )
    sep = [observables.separation(m, mixture.coarse_map) for m in flow.moments]
    assert sep[1] < 0.5 * sep[0]


BAD_CALLS = [
    (lambda: law.predict(1), "subclasses must be >= 2"),
    (lambda: law.predict_unequal([0.5, 0.0]), "weights must be > 0, got 0.0"),
    (lambda: law.largest_eps(np.ones(4), 1e-30), "tolerance must be reachable"),
    (lambda: law.predict_end([1.0, 0.0], 0.1), r"energies must be >= 0, the last > 0, got \[1.0, 0.0\]"),
    (lambda: law.predict_end([1.0, 1.0], 0.0), "eps must be a finite number > 0, got 0.0"),
    (
        lambda: law.predict(3, patterns=[{0, 1}, {1, 2}]),
        r"patterns must have maximal ones that hold each subclass once, got \[\[0, 1\], \[1, 2\]\]",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def number(name, *arguments):
    return law.THEOREM.formulas[name].number(*arguments)


def summed(name, energies, growth):
    """A formula with a sum over sizes, from numbers."""
    numbers = {sp.IndexedBase("e")[q + 1]: e for q, e in enumerate(energies)}
    value = law.THEOREM.formulas[name](len(energies), sp.Float(np.exp(growth), 30)).doit().subs(numbers)
    return float(value)


# S = 2, e = (3, 5), G = 1: sep^2 = 2 * 3/(3 + 5), f = 3 + 5 sqrt 2.
VALUES = {
    "growth": [(lambda: number("growth", 4, 3.0, 2.0, 0.5), 2.5)],
    "separation": [(lambda: summed("separation", [3, 5], 0.0), 0.75)],
    "output": [(lambda: summed("output", [3, 5], 0.0), 3 + 5 * np.sqrt(2))],
    "master": [
        (lambda: law.predict_master(1.5, 4, 2, 6.0), 1.5 * np.exp(-3 * (2 - np.sqrt(3)))),
        (lambda: law.predict_master(1.5, 4, 2, 6.0, served=1), 1.5 * np.exp(-3)),
    ],
    "exponent": [
        (lambda: law.predict(4), 1 - np.sqrt(3) / 2),
        (lambda: law.predict_pairs(4, [range(4), [0], [1], [2]])[0, 1], 0.5),
        (lambda: law.predict_pairs(2, [range(2)])[0, 1], 1.0),
    ],
    "unequal_growth": [(lambda: number("unequal_growth", 3.0, 0.25), 1.5)],
    "unequal_exponent": [(lambda: law.predict_unequal([0.3, 0.2]), 1 - np.sqrt(9 / 13))],
}


@settings(max_examples=20)
@given(energies=amplitude_lists, growth=st.floats(0, 30))
def test_the_stable_sums_are_the_formulas(energies, growth):
    """sep at any growth, and ln G where f = 1."""
    # Rounding of 2 sqrt(q) ln G in the exponent.
    rounding = 32 * np.finfo(float).eps * (1 + 2 * np.sqrt(5) * growth)
    assert law.predict_separation(energies, growth) ** 2 == pytest.approx(
        summed("separation", energies, growth), rel=rounding
    )
    # Divided by the output at this growth, the energies give f = 1 there.
    end = law.predict_end(np.array(energies) / summed("output", energies, growth), 1.0)
    # brentq's tolerance of ln G, times the slope of ln sep, below 2 sqrt 5.
    assert end == pytest.approx(law.predict_separation(energies, growth), rel=rounding + 1e-9)
