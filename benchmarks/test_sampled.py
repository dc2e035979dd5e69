"""SGD of 64 seeds in one array beside one seed at a time, and beside torch.optim.SGD on autograd's gradients."""

import numpy as np
import pytest
import torch

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.samples.flow import sampled_descent
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot

SEEDS, STEPS, BATCH, RATE = 64, 50, 32, 0.1


@pytest.mark.benchmark(group="seeds")
def test_many_seeds_at_once(contest):
    rng = np.random.default_rng(0)
    mixture = Mixture.orthonormal(2, 2, dim=16, noise=0.3)
    x, fine = mixture.sample(1000, rng)
    targets = centred_one_hot(mixture.coarse_map)
    W0, A0 = zip(*(gaussian(32, 16, 2, 0.5, rng) for _ in range(SEEDS)), strict=True)
    options = {"targets": targets, "learning_rate": RATE, "steps": [STEPS], "batch_size": BATCH}

    def in_torch():
        X, T = torch.tensor(x), torch.tensor(targets[fine])
        for seed in range(SEEDS):
            W, A = (torch.tensor(w[seed], requires_grad=True) for w in (W0, A0))
            optimiser = torch.optim.SGD([W, A], lr=RATE)
            for _ in range(STEPS):
                batch = torch.randint(len(X), (BATCH,))
                optimiser.zero_grad()
                residual = torch.relu(X[batch] @ W.T) @ A.T - T[batch]
                (0.5 * residual.square().sum(1).mean()).backward()
                optimiser.step()

    contest(
        f"{SEEDS} seeds, {STEPS} steps of {BATCH} samples",
        {
            "in one array": lambda: sampled_descent(x, fine, W0, A0, **options),
            "one by one": lambda: [
                sampled_descent(x, fine, [W0[s]], [A0[s]], seeds=[s], **options) for s in range(SEEDS)
            ],
            "torch.optim.SGD, one by one, nothing recorded": in_torch,
        },
        rounds=5,
    )
