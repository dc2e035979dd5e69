"""T9: the end state, that nothing lies below it, how the gap closes, and that each assumption is needed."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given
from hypothesis import strategies as st

from finegrain.sims.initial_weights import balanced
from finegrain.sims.population.flow import population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import end_state as observed
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, one_hot, signs
from finegrain.theory.theorems import end_state as law
from finegrain.theory.theorems.symbolic import ProofFailed

pytestmark = pytest.mark.T9
EPS = np.finfo(float).eps
seeds = st.integers(0, 2**32 - 1)
shares = st.one_of(st.floats(0.05, 0.7), st.floats(1.2, 3))
sizes = st.sampled_from([(2, S) for S in range(2, 6)] + [(3, 2), (3, 3), (4, 2), (4, 3), (5, 2), (6, 2)])


@given(size=sizes, share=shares, seed=seeds)
def test_flow_ends_where_the_law_says_on_both_sides_of_critical(size, share, seed):
    predicted, _, found = observed.arrival(*size, share, seed, digits=9)
    # e^-9 is left of the transient and of the next patterns: 1.2e-4 (the requirement is 1e-3).
    assert found.output[-1] == pytest.approx(predicted, rel=np.exp(-9), abs=0 if predicted else np.exp(-9))


@given(share=st.one_of(st.floats(0.1, 0.7), st.floats(1.2, 2)), seed=seeds)
def test_random_starts_end_there_too(share, seed):
    weight_decay, found = observed.from_random_start(share, seed, width=24, digits=8)
    assume((found.W[-1] > 0).reshape(24, 2, 2).all(axis=2).any(axis=0).all())  # a full neuron for each class
    expected = law.predict(weight_decay, 2, 4)
    gap = 0.0
    if expected:
        gap = law.predict_gap(float(found.separation[-1]), weight_decay, 2, 4)
    assert found.output[-1] == pytest.approx(expected - gap, abs=1e-3 * (expected or 1))
    assert found.loss[-1] == pytest.approx(law.predict_loss(weight_decay, 2, 4), rel=1e-3)


@given(
    size=st.sampled_from([(2, 1), (2, 2), (2, 3), (2, 5), (3, 1), (3, 2), (4, 3), (12, 1)]),
    kind=st.sampled_from([signs, one_hot, centred_one_hot]),
    width=st.integers(1, 64),
    share=st.floats(0, 3),
    near=st.booleans(),
    seed=seeds,
)
def test_no_network_lies_below_the_minimum(size, kind, width, share, near, seed):
    """Random networks, and the end state with random perturbations of every size."""
    assume(kind is not signs or size[0] == 2)
    mixture = Mixture.orthonormal(*size, dim=size[0] * size[1] + 1)
    targets = kind(mixture.coarse_map)
    C, S, norm = mixture.num_fine, size[1], float(np.linalg.norm(targets[0]))
    weight_decay = share * law.critical(S, C, norm)
    rng = np.random.default_rng(seed)
    scale = 10 ** rng.uniform(-4, 1)
    W, A = scale * rng.standard_normal((width, C + 1)), scale * rng.standard_normal((targets.shape[1], width))
    if near:
        u = np.sqrt(law.predict(weight_decay, S, C, target_norm=norm) * norm / np.sqrt(S))
        W_end, A_end = observed.patterns(size[0], targets, np.append(np.zeros(S - 1), max(u, 1e-12)))
        W, A = np.vstack([W, np.hstack([W_end, np.zeros((len(W_end), 1))])]), np.hstack([A, A_end])
    value, _, _ = population_loss(mixture, targets=targets, weight_decay=weight_decay)(W, A)
    lowest = law.predict_loss(weight_decay, S, C, target_norm=norm)
    assert value >= lowest - 100 * EPS * max(1, value)


@given(
    slope=st.floats(0, 1),
    S=st.integers(1, 5),
    share=st.floats(0, 3),
    width=st.integers(1, 16),
    seed=seeds,
)
def test_no_leaky_network_lies_below_its_minimum(slope, S, share, width, seed):
    mixture = Mixture.orthonormal(2, S)
    weight_decay = share * law.critical(S, 2 * S, slope=slope)
    rng = np.random.default_rng(seed)
    scale = 10 ** rng.uniform(-2, 0.5)
    W, A = scale * rng.standard_normal((width, 2 * S)), scale * rng.standard_normal((1, width))
    loss = population_loss(
        mixture,
        targets=signs(mixture.coarse_map),
        activation="leaky_relu",
        slope=slope,
        weight_decay=weight_decay,
    )
    value, _, _ = loss(W, A)
    assert value >= law.predict_loss(weight_decay, S, 2 * S, slope=slope) - 100 * EPS * max(1, value)


@given(
    size=st.sampled_from([(2, 2), (2, 5), (3, 2), (4, 3)]),
    share=st.floats(0.01, 0.99),
)
def test_the_end_state_has_no_velocity_and_the_predicted_loss(size, share):
    mixture = Mixture.orthonormal(*size)
    targets = centred_one_hot(mixture.coarse_map)
    C, S, norm = mixture.num_fine, size[1], float(np.linalg.norm(targets[0]))
    weight_decay = share * law.critical(S, C, norm)
    u = np.sqrt(law.predict(weight_decay, S, C, target_norm=norm) * norm / np.sqrt(S))
    W, A = observed.patterns(size[0], targets, np.append(np.zeros(S - 1), u))
    value, dW, dA = population_loss(mixture, targets=targets, weight_decay=weight_decay)(W, A)
    assert max(np.abs(dW).max(), np.abs(dA).max()) < 20 * EPS
    assert value == pytest.approx(law.predict_loss(weight_decay, S, C, target_norm=norm), rel=50 * EPS)


@pytest.mark.parametrize("slope", [0.05, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("share", [0.2, 0.6, 1.5])
def test_leaky_and_linear_networks_end_at_their_own_constants(slope, share):
    weight_decay, found = observed.from_random_start(share, 0, slope=slope, digits=11)
    expected = law.predict(weight_decay, 2, 4, slope=slope)
    assert found.output[-1] == pytest.approx(expected, abs=1e-3 * (expected or 1))
    if slope == 1:
        assert expected == pytest.approx(max(0, 1 - weight_decay * np.sqrt(4)))


def gap_course(S, share, times):
    """Gaps and separations at times in units of 1/mu after the transient, from patterns of equal amplitude."""
    mixture = Mixture.orthonormal(2, S)
    targets, C = signs(mixture.coarse_map), 2 * S
    weight_decay = share * law.critical(S, C)
    W, A = observed.patterns(2, targets, np.append(np.zeros(S - 2), [0.1, 0.3]))
    mu = weight_decay * (1 - np.sqrt((S - 1) / S))
    found = observed.course(mixture, targets, W, A, weight_decay, np.array(times) / mu, rtol=1e-12)
    return law.predict(weight_decay, S, C) - found.output, found, weight_decay, mu


@pytest.mark.parametrize("S", [2, 3, 4, 5])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_gap_closes_as_predicted_from_the_separation(S, share):
    gap, found, weight_decay, mu = gap_course(S, share, [4.0, 5.0])
    kappa = law.critical(S, 2 * S) - weight_decay
    for g, sep in zip(gap, found.separation, strict=True):
        predicted = law.predict_gap(float(sep), weight_decay, S, 2 * S)
        # Next orders: S sep^2, the transient, and the integrator relative to the gap.
        transient = 10 * np.exp(-2 * (kappa - mu) / mu * 4)
        assert g == pytest.approx(predicted, rel=2 * S * sep**2 + transient + 1e-9 / predicted)
    rate = -np.diff(np.log(gap))[0] * mu
    assert rate == pytest.approx(law.predict_gap_rate(weight_decay, S, 2 * S), rel=0.05)


def test_near_critical_the_gap_closes_at_the_transient_rate_instead():
    """The correction: at .9 lambda_c, S = 2, twice the separation's rate is .1864, the gap's .0707."""
    weight_decay = 0.9 * law.critical(2, 4)
    mu = weight_decay * (1 - np.sqrt(0.5))
    gap, _, _, _ = gap_course(2, 0.9, [12.0, 14.0])
    rate = -np.diff(np.log(np.abs(gap)))[0] * mu / 2
    assert rate == pytest.approx(law.predict_gap_rate(weight_decay, 2, 4), rel=1e-2)
    assert rate < 0.5 * 2 * mu


@pytest.mark.parametrize("seed", range(2))
def test_predicted_against_observed(seed):
    for row in observed.verify(seed):
        assert row.holds, row


def end(mixture, targets, W, A, weight_decay, **network):
    found = observed.course(mixture, targets, W, A, weight_decay, np.array([300.0]), **network)
    return found.output[-1], found.separation[-1]


def start(eps=0.05, width=40, dim=4):
    return balanced(width, dim, eps, np.random.default_rng(0))


def test_necessary_relu():
    """erf, of another shape and slope at 0, ends elsewhere: off by more than 5 %."""
    mixture = Mixture.orthonormal(2, 2)
    output, _ = end(mixture, signs(mixture.coarse_map), *start(), 0.1, activation="erf")
    assert abs(output / law.predict(0.1, 2, 4) - 1) > 0.05


def test_necessary_orthonormal_noise_free_inputs():
    """Means of norm 2, cosine .3 inside a class, noise: the loss ends more than 5 % off the claimed minimum."""
    gram = np.kron(np.eye(2), [[1.0, 0.3], [0.3, 1.0]])
    for mixture in (
        Mixture.from_means(2 * np.eye(4), [0, 0, 1, 1]),
        Mixture.from_means(np.linalg.cholesky(gram), [0, 0, 1, 1]),
        Mixture.orthonormal(2, 2, noise=0.5),
    ):
        found = observed.course(
            mixture, signs(mixture.coarse_map), *start(width=8), 0.1, np.array([60.0]), rtol=1e-3
        )
        assert abs(found.loss[-1] / law.predict_loss(0.1, 2, 4) - 1) > 0.05


def test_necessary_squared_loss():
    """Logistic loss: f goes to ln(sqrt S/(C lambda) - 1) (T15), here .93 against .72."""
    mixture = Mixture.orthonormal(2, 2)
    targets = signs(mixture.coarse_map)
    flow = population_flow(
        mixture, *start(), targets=targets, loss="logistic", weight_decay=0.1, times=[300.0]
    )
    f = float(flow.moments[0].means[3] @ flow.A[0, 0])
    assert f == pytest.approx(np.log(np.sqrt(2) / 0.4 - 1), rel=1e-2)
    assert f > law.predict(0.1, 2, 4) + 0.1


def test_necessary_equal_probabilities_for_full_collapse():
    mixture = Mixture.orthonormal(2, 2, weights=[0.35, 0.15, 0.35, 0.15])
    _, separation = end(mixture, signs(mixture.coarse_map), *start(), 0.1)
    assert separation > 0.25


def test_necessary_targets_without_positive_products():
    """t = (1, .2) and (1, -.2) up to norm: one neuron for both classes beats the claimed minimum by 15 %."""
    mixture = Mixture.orthonormal(2, 2)
    targets = np.array([[1, 0.2], [1, 0.2], [1, -0.2], [1, -0.2]]) / np.sqrt(1.04)
    weight_decay = 0.1
    found = observed.course(
        mixture,
        targets,
        np.full((1, 4), 0.5),
        np.array([[1.0], [0.0]]),
        weight_decay,
        np.array([200.0]),
    )
    assert found.loss[-1] < 0.85 * law.predict_loss(weight_decay, 2, 4)


def test_necessary_one_norm_of_targets():
    """Norms 1 and 2: no common constant; the class of norm 2 ends at 1 - C lambda/(sqrt S 2)."""
    mixture = Mixture.orthonormal(2, 2)
    output, _ = end(mixture, np.array([[-1.0], [-1], [2], [2]]), *start(), 0.1)
    assert abs(output - law.predict(0.1, 2, 4)) > 0.05


def test_necessary_a_full_neuron():
    """None on both subclasses, S = 2: f = 1 - C lambda, sep stays sqrt 2, and the loss stays above the minimum."""
    mixture = Mixture.orthonormal(2, 2)
    targets = signs(mixture.coarse_map)
    W, A = observed.patterns(2, targets, np.array([0.3, 0.0]))
    found = observed.course(mixture, targets, W, A, 0.1, np.array([300.0]))
    assert found.output[-1] == pytest.approx(1 - 4 * 0.1, rel=1e-6)
    assert found.output[-1] == pytest.approx(law.predict(0.1, 1, 4), rel=1e-6)
    assert found.separation[-1] == pytest.approx(np.sqrt(2), rel=1e-9)
    assert found.loss[-1] > law.predict_loss(0.1, 2, 4) * 1.2


def test_necessary_weight_decay_off_critical_for_the_gap():
    with pytest.raises(ValueError, match=r"weight_decay must lie in \(0, lambda_c/\(2 - rho\)\)"):
        law.predict_gap(0.1, 0.9 * law.critical(2, 4), 2, 4)


BAD_CALLS = [
    (lambda: law.critical(2, 5), "classes must be a multiple of subclasses = 2, got 5"),
    (lambda: law.critical(2, 6, slope=0.5), r"classes must be 2 \* subclasses = 4 for slope > 0, got 6"),
    (lambda: law.critical(2, 4, slope=2.0), r"slope must lie in \[0, 1\], got 2.0"),
    (lambda: law.predict(-1.0, 2, 4), "weight_decay must be a finite number >= 0"),
    (lambda: law.predict_gap_rate(1.0, 2, 4), r"weight_decay must lie in \(0, lambda_c\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


FALSE_CLAIMS = {
    "S for its root": lambda lam, S, C, norm: C * lam / (S * norm),
    "norm squared": lambda lam, S, C, norm: C * lam / (sp.sqrt(S) * norm**2),
    "twice the shrinkage": lambda lam, S, C, norm: 2 * C * lam / (sp.sqrt(S) * norm),
}


@pytest.mark.parametrize("claim", FALSE_CLAIMS.values(), ids=FALSE_CLAIMS.keys())
def test_a_false_claim_is_not_proved(claim):
    with pytest.raises(ProofFailed, match=rf"^{law.THEOREM.id}.* is not 0"):
        law.prove(claim)
