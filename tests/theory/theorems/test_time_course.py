"""T5: the closed form errs by eta^2 over its whole range, and each assumption is needed."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems import time_course as observed
from finegrain.theory import kinematics, observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import signs
from finegrain.theory.theorems import time_course as law

pytestmark = pytest.mark.T5
EPS = np.finfo(float).eps
seeds = st.integers(0, 2**32 - 1)


@st.composite
def problems(draw):
    coarse = draw(st.integers(2, 6))
    subclasses = draw(st.integers(1, min(5, 12 // coarse)))
    invisible = draw(st.integers(1, 40 - coarse))
    return observed.draw(
        np.random.default_rng(draw(seeds)),
        coarse=coarse,
        subclasses=subclasses,
        invisible=invisible,
        width=draw(st.integers(coarse, 64)),
        noise=draw(st.sampled_from([0.0, 0.1, 0.5])),
        rank=draw(st.integers(0, invisible)),
    )


# The largest sigma_k drawn is below 1.5: the decay goes past critical.
@given(problem=problems(), weight_decay=st.one_of(st.just(0.0), st.floats(0, 2)))
def test_the_error_is_of_second_order_in_eta(problem, weight_decay):
    etas, times = np.array([3e-2, 3e-3]), np.array([0.5, 3.0])
    found = [observed.errors(problem, eta, weight_decay, times) for eta in etas]
    for quantity in ("A", "W_v"):
        coarse, fine = (e[quantity].max() for e in found)
        # W_v is eta of its neurons' weights, each held to 1e-12 a step: the error must stand clear of that.
        assume(fine > 300 * observed.RTOL / etas[1])
        # Next order: eta^2 of the error itself, hence 1e-3 of the slope times the same constant.
        assert np.log10(coarse / fine) == pytest.approx(2, abs=0.1), quantity


@given(
    seed=seeds,
    coarse=st.integers(2, 4),
    subclasses=st.integers(2, 3),
    invisible=st.integers(1, 8),
    weight_decay=st.floats(0, 0.2),
)
def test_nc1_and_fine_share_follow_their_closed_form(seed, coarse, subclasses, invisible, weight_decay):
    rng = np.random.default_rng(seed)
    problem = observed.draw(rng, coarse=coarse, subclasses=subclasses, invisible=invisible, width=coarse + 3)
    found = observed.courses(problem, 1e-3, weight_decay, np.array([0.0, 1.0, 6.0]))
    for course in found.values():
        assert course.bound.max() < 1e-3
        assert (np.abs(course.observed / course.predicted - 1) <= course.bound).all()


@given(
    seed=seeds,
    subclasses=st.integers(1, 5),
    width=st.integers(1, 64),
    noise=st.floats(0.01, 1),
    t=st.floats(0, 30),
    weight_decay=st.floats(0, 0.5),
)
def test_the_printed_ratios_for_orthonormal_means_are_the_general_ones(
    seed, subclasses, width, noise, t, weight_decay
):
    """The traces that the ledger prints for this mixture, at every C, against moments of W(t) x."""
    rng = np.random.default_rng(seed)
    mixture = Mixture.orthonormal(2, subclasses, noise=noise)
    C, m, eta = mixture.num_fine, width, 0.1
    v = signs(mixture.coarse_map)[:, 0] / np.sqrt(C)
    E = np.linalg.svd(v[None])[2][1:].T
    s = 1 / C + noise**2
    x = rng.standard_normal((m, C - 1))
    start = law.Start(
        left=np.ones((1, 1)),
        neurons=np.linalg.qr(rng.standard_normal((m, m)))[0],
        right=v[:, None],
        amplitudes=np.array([0.05]),
        singular=np.array([1 / np.sqrt(C)]),
        visible=np.array([s]),
        basis=E,
        invisible=np.full(C - 1, s),
        remainder=eta * x,
    )
    h = kinematics.propagate(mixture.moments, law.predict_weights(start, weight_decay, t)[0], "identity")
    coarse = h.pool(mixture.coarse_map)

    kappa = 1 / np.sqrt(C) - weight_decay
    G = 1 + s * 0.05 * (2 * t if kappa == 0 else np.expm1(2 * kappa * t) / kappa)
    b = 0.05 * np.exp(2 * kappa * t) / G
    mu = eta * np.exp(-weight_decay * t)
    offsets = (
        np.eye(C)
        - Mixture.orthonormal(2, subclasses).moments.pool(mixture.coarse_map).means[mixture.coarse_map]
    )
    p = np.sum((x @ E.T @ offsets.T) ** 2, axis=1) / C
    q = p + noise**2 * np.sum(x**2, axis=1)
    f = law.THEOREM.formulas
    total = f.within.number(noise**2, b, mu, G, q[0], q[1:].sum())
    between = f.between.number(b, C)
    # Rounding of means, which dominate where b is large; and of centring, relative to what is left.
    size = float(np.sum(h.means**2)) + float(np.sum(h.traces))
    rounding = 1e3 * EPS * C * size
    expected = {
        "NC1": total / between,
        "pinv": f.along.number(noise**2, b, mu, G, q[0]) / between / 2,
        "fine_share": f.subclass.number(mu, G, p[0], p[1:].sum()) / total,
    }
    assert observables.nc1_trace_ratio(coarse) == pytest.approx(
        expected["NC1"], rel=rounding / min(b / C, total)
    )
    assert observables.nc1(coarse) == pytest.approx(expected["pinv"], rel=rounding / min(b / C, noise**2 * b))
    assert observables.fine_share(h, mixture.coarse_map) == pytest.approx(
        expected["fine_share"], abs=rounding / total
    )


rates = st.one_of(st.just(0.0), st.floats(-3, 3))


@given(
    b0=st.floats(1e-12, 10), kappa=rates, s=st.floats(0.01, 10), t1=st.floats(0, 100), t2=st.floats(0, 100)
)
def test_two_steps_in_time_are_one(b0, kappa, s, t1, t2):
    sigma = max(kappa, 0.0)
    lam = sigma - kappa
    middle = law.predict_amplitude(b0, sigma, s, lam, t1)
    twice, once = (
        law.predict_amplitude(middle, sigma, s, lam, t2),
        law.predict_amplitude(b0, sigma, s, lam, t1 + t2),
    )
    assume(once > 1e-250)
    rounding = 64 * EPS * (1 + 2 * abs(kappa) * (t1 + t2))
    assert float(twice) == pytest.approx(float(once), rel=rounding)
    # ln G adds up too: it is 2 s int b dt.
    parts = law.predict_log_growth(b0, kappa, s, t1) + law.predict_log_growth(middle, kappa, s, t2)
    assert float(parts) == pytest.approx(
        float(law.predict_log_growth(b0, kappa, s, t1 + t2)), rel=rounding, abs=rounding
    )


@given(b0=st.floats(1e-6, 10), s=st.floats(0.01, 10), kappa=st.floats(0.01, 3), t=st.floats(1e3, 1e6))
def test_the_end_is_the_rest_point_below_critical_decay_and_zero_above(b0, s, kappa, t):
    assume(2 * kappa * t > 80)
    assert law.predict_amplitude(b0, kappa, s, 0.0, t) == pytest.approx(kappa / s, rel=1e-12)
    assert law.predict_amplitude(b0, 0.0, s, kappa, t) < 1e-30
    # At critical decay it falls as a power: 1/(2 s t).
    assert law.predict_amplitude(b0, 0.3, s, 0.3, t) == pytest.approx(b0 / (1 + 2 * s * b0 * t), rel=1e-12)


@given(problem=problems(), weight_decay=st.floats(0, 1))
def test_the_start_is_the_closed_form_at_time_zero(problem, weight_decay):
    start = problem.at(0.1)
    W, A = law.predict_weights(start, weight_decay, 0.0)
    bound = 64 * EPS * start.neurons.shape[0]
    np.testing.assert_allclose(start.neurons.T @ W @ start.basis, start.remainder, atol=bound)
    np.testing.assert_allclose(np.sum((W @ start.right) ** 2, axis=0), start.amplitudes, atol=bound)
    np.testing.assert_allclose(A.T @ start.left, W @ start.right, atol=bound)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(2))
def test_a_random_small_start_follows_up_to_eps_squared_over_five_decades(weight_decay, seed):
    eps = 10.0 ** np.arange(-1, -6, -1)
    error = np.array([observed.random_start_error(2, 8, e, weight_decay, seed) for e in eps])
    # Next order: eps^2 ln(1/eps), its constant read at 1e-1; a factor 10 for the changing cosine of the transient.
    scale = eps**2 * (1 + np.log(1 / eps))
    rounding = 1e3 * 1e-11
    assert (error <= 10 * error[0] * scale / scale[0] + rounding).all(), error
    assert error[0] / error[2] > 1e3


def test_two_modes_from_a_random_start_err_by_an_amount_that_falls_with_width_not_with_eps():
    error = {
        (m, eps): np.mean([observed.random_start_error(3, m, eps, 0.02, s, 1e-9) for s in range(4)])
        for m in (8, 128)
        for eps in (1e-2, 1e-4)
    }
    assert error[8, 1e-4] == pytest.approx(error[8, 1e-2], rel=0.02)
    assert error[8, 1e-4] > 0.01
    assert error[128, 1e-4] < error[8, 1e-4] / 4


def test_the_remainder_along_the_classifier_ends_at_six_lambda_not_at_the_closed_forms_rate():
    """(eta^3 e^{-3 lambda t})^2: what the turn of r_1 leaves, against 2 sigma = 20 lambda where s_j = s."""
    mixture, start = orthonormal_start(0.5)
    weight_decay = 0.05
    W0, A0 = observed.aligned(start)
    times = np.array([80.0, 100.0])
    path = population_flow(
        mixture,
        W0,
        A0,
        targets=signs(mixture.coarse_map),
        activation="identity",
        weight_decay=weight_decay,
        times=times,
        rtol=1e-13,
    )
    found = [observables.nc1(h.pool(mixture.coarse_map)) for h in path.moments]
    rate = -np.log(found[1] / found[0]) / (times[1] - times[0])
    # Its own correction is eta^2 e^{-2 lambda t} = 1e-4 of it.
    assert rate / weight_decay == pytest.approx(6, abs=0.01)


def orthonormal_start(eta):
    """C = 4 orthonormal means without noise, targets +-1, two neurons, the mode on the first."""
    mixture = Mixture.orthonormal(2, 2)
    v = signs(mixture.coarse_map) / 2
    E = np.linalg.svd(v.T)[2][1:].T
    remainder = eta * np.array([[0.5, 1.0, -0.5], [1.0, 0.2, 0.7]])
    quarter, half = np.array([0.25]), np.array([0.5])
    start = law.Start(
        np.ones((1, 1)), np.eye(2), v, np.array([0.1]), half, quarter, E, np.full(3, 0.25), remainder
    )
    return mixture, start


def amplitude_error(eta, t=6.0, **options):
    """Relative error of b(t) = ||A||^2 in the setting of orthonormal_start."""
    mixture, start = orthonormal_start(eta)
    W0, A0 = observed.aligned(start)
    A0 = A0 * options.pop("unequal", 1.0)
    path = population_flow(mixture, W0, A0, targets=signs(mixture.coarse_map), times=[t], **options)
    return abs(np.sum(path.A[0] ** 2) / law.predict_amplitude(0.1, 0.5, 0.25, 0.0, t)[()] - 1)


def test_the_setting_of_the_necessity_tests_obeys_the_law():
    assert amplitude_error(1e-3, activation="identity") < 1e-5


def test_necessary_linear_network():
    assert amplitude_error(1e-3, activation="relu") > 0.1


def test_necessary_squared_loss():
    assert amplitude_error(1e-3, activation="identity", loss="logistic") > 0.1


def test_necessary_shared_eigenvectors():
    """Sigma = [[1, .5], [.5, 1]], M = (1, 0): A W e_2 ends at -2/3 and not at 0, for any small eta."""
    second, cross = np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 0.0]])
    means = np.vstack([-cross, cross]) / 2
    noise = second - means[:1].T @ means[:1]
    mixture = Mixture(Moments(np.full(2, 0.5), means, np.stack([noise] * 2)), np.array([0, 1]))
    for eta in (1e-2, 1e-4):
        W0 = np.array([[0.3, 0.1 * eta], [0.0, eta]])
        path = population_flow(
            mixture,
            W0,
            np.array([[0.3, 0.0]]),
            targets=2 * signs(mixture.coarse_map),
            activation="identity",
            times=[100.0],
        )
        assert (path.A[0] @ path.W[0])[0, 1] == pytest.approx(-2 / 3, abs=1e-3)


def test_necessary_equal_amplitudes_in_both_layers():
    assert amplitude_error(1e-3, activation="identity", unequal=2.0) > 0.1


def test_necessary_orthonormal_neurons():
    """Two modes whose neurons have cosine .6: an error that stays as eta goes to 0."""
    problem = observed.draw(np.random.default_rng(3), coarse=3, subclasses=1, invisible=1, width=2)
    tilted = problem.start.neurons @ np.array([[1.0, 0.6], [0.0, 0.8]])
    root = np.diag(np.sqrt(problem.start.amplitudes))

    def outputs(neurons):
        start = neurons @ root @ problem.start.right.T, problem.start.left @ root @ neurons.T
        path = population_flow(
            problem.mixture, *start, targets=problem.targets, activation="identity", times=[1.5]
        )
        return path.A[0] @ path.W[0]

    claimed = outputs(problem.start.neurons)
    assert np.linalg.norm(outputs(tilted) - claimed) > 0.1 * np.linalg.norm(claimed)


def test_necessary_small_remainder():
    assert amplitude_error(1.0, activation="identity") > 0.1


def test_b_of_a_random_start_is_its_growing_part():
    """q = (A^T u - W v)/2 does not count: a start along q alone has b(0) = 0."""
    W, A = gaussian(5, 3, 1, 1.0, np.random.default_rng(0))
    v = np.array([1.0, 0, 0])
    assert law.predict_start_amplitude(W, -(W @ v)[None], np.ones(1), v) == 0
    assert law.predict_start_amplitude(W, (W @ v)[None], np.ones(1), v) == pytest.approx(np.sum((W @ v) ** 2))
    assert A.shape == (1, 5)


def test_a_negative_time_is_named():
    with pytest.raises(ValueError, match=r"t must be a finite number >= 0, got -1"):
        law.predict_amplitude(0.1, 1.0, 1.0, 0.0, -1.0)


@given(
    b0=st.floats(1e-6, 10),
    kappa=st.floats(0.01, 3) | st.floats(-3, -0.01),
    s=st.floats(0.01, 10),
    weight_decay=st.floats(0, 1),
    t=st.floats(0, 30),
)
def test_the_stable_twins_are_the_formulas(b0, kappa, s, weight_decay, t):
    f = law.THEOREM.formulas
    G = f.growth.number(b0, kappa, s, t)
    # The formula itself subtracts two numbers near 1 where kappa t is small.
    rounding = 64 * EPS * (1 + (1 + s * b0 / abs(kappa)) / min(G, 1.0) + 2 * abs(kappa) * t)
    assert float(law.predict_log_growth(b0, kappa, s, t)) == pytest.approx(np.log(G), abs=rounding)
    b = law.predict_amplitude(b0, kappa + weight_decay, s, weight_decay, t)
    assert float(b) == pytest.approx(f.amplitude.number(b0, kappa, t, G), rel=rounding)
    start = one_mode(b0, kappa + weight_decay, s)
    found = law.predict_remainder(start, weight_decay, t)
    expected = [f.factor.number(g, s, 0.7, weight_decay, t) for g in (G, 1.0)]
    np.testing.assert_allclose(found[:, 0], expected, rtol=rounding * (1 + 0.7 / s))


def one_mode(b0, sigma, s):
    """Two neurons, the mode on the first; one direction of V, s_j = .7, with remainder 1 on both."""
    axes, one = np.eye(2), np.ones(1)
    return law.Start(
        np.ones((1, 1)),
        axes,
        axes[:, :1],
        b0 * one,
        sigma * one,
        s * one,
        axes[:, 1:],
        0.7 * one,
        np.ones((2, 1)),
    )


def one(*numbers):
    """Each as a 1 x 1 matrix."""
    return [np.array([[float(x)]]) for x in numbers]


def number(name, matrices, numbers=()):
    """A formula at 1 x 1 matrices and numbers."""
    return law.THEOREM.formulas[name].number(*one(*matrices), *numbers).item()


LN2 = np.log(2)
VALUES = {
    "mode": [(lambda: number("mode", (2, 3, 0.5), (0.25,)), 1.5)],
    "remainder": [(lambda: number("remainder", (2, 3, 0.5), (0.25,)), -3.5)],
    "source": [(lambda: number("source", (2, 3, 0.5)), -9.0)],
    # e^{2 kappa t} = 4.
    "growth": [
        (lambda: law.THEOREM.formulas.growth.number(0.1, 0.5, 2.0, 2 * LN2), 2.2),
        (lambda: np.exp(law.predict_log_growth(0.1, 0.5, 2.0, 2 * LN2)), 2.2),
    ],
    "amplitude": [
        (lambda: law.THEOREM.formulas.amplitude.number(0.1, 0.5, 2 * LN2, 2.2), 0.4 / 2.2),
        (lambda: law.predict_amplitude(0.1, 0.75, 2.0, 0.25, 2 * LN2), 0.4 / 2.2),
    ],
    "critical": [
        (lambda: law.THEOREM.formulas.critical.number(0.1, 2.0, 5.0), 0.1 / 3),
        (lambda: law.predict_amplitude(0.1, 0.25, 2.0, 0.25, 5.0), 0.1 / 3),
    ],
    "factor": [
        (lambda: law.THEOREM.formulas.factor.number(4.0, 0.5, 1.0, 1.0, LN2), 1 / 8),
        (lambda: law.predict_remainder(one_mode(1.0, 1.5, 0.7), 1.0, LN2)[0, 0], 0.5 * 2.4**-0.5),
        (lambda: law.predict_weights(one_mode(1.0, 1.5, 0.7), 1.0, LN2)[0][1, 1], 0.5),
    ],
    "within": [(lambda: law.THEOREM.formulas.within.number(0.5, 4.0, 3.0, 2.0, 6.0, 1.0), 38.0)],
    "between": [(lambda: law.THEOREM.formulas.between.number(3.0, 4.0), 0.75)],
    "subclass": [(lambda: law.THEOREM.formulas.subclass.number(3.0, 2.0, 6.0, 1.0), 36.0)],
    "along": [(lambda: law.THEOREM.formulas.along.number(0.5, 4.0, 3.0, 2.0, 6.0), 29.0)],
    "start": [(lambda: law.predict_start_amplitude(*one(3, 5), np.ones(1), np.ones(1)), 16.0)],
    "growing": [(lambda: number("growing", (2, 3), (1.5, 0.5, 0.25)), 0.5)],
    "decaying": [(lambda: number("decaying", (2, 3), (1.5, 0.5, 0.25)), -2.5)],
    "output": [(lambda: number("output", (3, 2)), 5.0)],
}
