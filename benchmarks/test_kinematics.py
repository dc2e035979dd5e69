"""Exact kinematics: the bivariate orthant beside SciPy's, and a population gradient beside one over 60,000 images."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.samples.loss import SampleLoss, Samples
from finegrain.sims.setting import Setting
from finegrain.theory.gaussian import bivariate_normal_cdf
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot


@pytest.mark.benchmark(group="orthant")
def test_bivariate_orthant(contest):
    """Pairs each of its own correlation, as neurons have: a million, and a thousand for SciPy, one a call."""
    rng = np.random.default_rng(0)
    h, k = rng.standard_normal((2, 1_000_000))
    r = np.tanh(rng.standard_normal(1_000_000))
    few = 1000

    def scipys():
        return [multivariate_normal.cdf([h[i], k[i]], cov=[[1, r[i]], [r[i], 1]]) for i in range(few)]

    gap = np.abs(bivariate_normal_cdf(h[:few], k[:few], r[:few]) - scipys()).max()
    ratios = contest(
        f"orthant (largest difference {gap:.0e})",
        {"1,000,000 pairs": lambda: bivariate_normal_cdf(h, k, r), "SciPy, 1,000 pairs": scipys},
    )
    assert gap < 1e-14
    assert 1000 * ratios["SciPy, 1,000 pairs"] >= 300


@pytest.fixture(scope="module")
def problem():
    """Width 64, 40 Gaussians in 64 dimensions (10 classes of 4), 60,000 images."""
    rng = np.random.default_rng(0)
    m, d, J, N, K = 64, 64, 40, 60_000, 5
    roots = rng.standard_normal((J, d, d)) / np.sqrt(d)
    moments = Moments(np.full(J, 1 / J), rng.standard_normal((J, d)), roots @ roots.transpose(0, 2, 1))
    mixture = Mixture(moments, np.arange(10) % 5, np.arange(J) % 10)
    x, fine = mixture.sample(N, rng)
    return mixture, x, fine, centred_one_hot(mixture.coarse_map), *gaussian(m, d, K, 0.5, rng)


@pytest.mark.benchmark(group="gradient")
@pytest.mark.parametrize("time", [0.0, 20.0], ids=["at the start", "trained"])
def test_population_gradient(contest, problem, time):
    mixture, x, fine, targets, W0, A0 = problem
    if time:  # trained neurons are more correlated, and strong correlations cost more
        end = population_flow(mixture, W0, A0, targets=targets, weight_decay=1e-3, times=[time], rtol=1e-3)
        W0, A0 = end.W[0], end.A[0]
    field = population_loss(mixture, targets=targets)
    single = population_loss(mixture, targets=targets, precision="single")
    where = {"dtype": torch.float32, "device": torch.device("cpu")}
    samples = Samples.checked("", x, fine, targets, 1, x.shape[1], where)
    W, A = torch.tensor(W0[None], **where), torch.tensor(A0[None], **where)
    objective = SampleLoss(Setting())

    def autograd():
        w, a = W[0].clone().requires_grad_(), A[0].clone().requires_grad_()
        residual = torch.relu(samples.x[0] @ w.T) @ a.T - samples.targets[0]
        (0.5 * residual.square().sum(1).mean()).backward()

    contest(
        f"gradient, t = {time:g}",
        {
            "population, 40 Gaussians, float64": lambda: field(W0, A0),
            "population, 40 Gaussians, pairs in float32": lambda: single(W0, A0),
            "60,000 images, torch autograd, float32": autograd,
            "60,000 images, written out in blocks, float32": lambda: objective(W, A, samples),
        },
        rounds=25,
    )
