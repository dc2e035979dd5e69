"""What training changes: weights, momenta and slow weights, and how they go into a checkpoint and come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finegrain.empirical.networks.architectures import Network, build
from finegrain.empirical.networks.augment import Images
from finegrain.empirical.networks.recipe import Recipe
from finegrain.sims.run_folder import Arrays


@dataclass
class State:
    """What training changes: weights, momenta, slow weights."""

    network: Network
    optimizer: torch.optim.SGD
    slow: dict[str, Tensor]

    @classmethod
    def start(cls, recipe: Recipe, images: Images, fine_to_coarse: NDArray[np.int64]) -> State:
        classes = fine_to_coarse.size if recipe.labels == "fine" else int(fine_to_coarse.max()) + 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            network = build(
                recipe.network,
                classes,
                width=recipe.width,
                scale=recipe.scale,
                sample=images.plain(slice(5000)).cpu(),
            )
        network.to(images.labels.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        slow = {n: t.clone() for n, t in _floats(network)} if recipe.lookahead else {}
        return cls(network, _optimizer(network, recipe), slow)

    def look_ahead(self, decay: float) -> None:
        """Slow weights move towards the network's by 1 - decay; the network goes on from there."""
        for name, tensor in _floats(self.network):
            if name in self.slow:
                self.slow[name].lerp_(tensor, 1 - decay)
                tensor.copy_(self.slow[name])

    def arrays(self) -> Arrays:
        """All of the state, by name."""
        momenta = {
            f"momentum.{name}": self.optimizer.state[p]["momentum_buffer"]
            for name, p in self.network.named_parameters()
            if "momentum_buffer" in self.optimizer.state.get(p, {})
        }
        slow = {f"slow.{name}": t for name, t in self.slow.items()}
        weights = {f"network.{name}": t for name, t in self.network.state_dict().items()}
        return {name: t.detach().cpu().numpy() for name, t in (weights | momenta | slow).items()}

    def load(self, arrays: Arrays) -> None:
        """The state that `arrays` gave."""
        restored = {name: torch.from_numpy(a.copy()) for name, a in arrays.items()}
        self.network.load_state_dict(weights_of(arrays))
        for name, p in self.network.named_parameters():
            if f"momentum.{name}" in restored:
                buffer = torch.empty_like(p).copy_(restored[f"momentum.{name}"])
                self.optimizer.state[p]["momentum_buffer"] = buffer
        for name, tensor in self.slow.items():
            tensor.copy_(restored[f"slow.{name}"])


def weights_of(arrays: Arrays) -> dict[str, Tensor]:
    """The network's part of a checkpoint."""
    prefix = "network."
    return {n.removeprefix(prefix): torch.from_numpy(a) for n, a in arrays.items() if n.startswith(prefix)}


def _optimizer(network: Network, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov's step; shifts of normalisation layers in a group of their own."""
    shifts: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for module in network.modules():
        for name, p in module.named_parameters(recurse=False):
            is_shift = isinstance(module, torch.nn.BatchNorm2d) and name == "bias"
            if p.requires_grad:
                (shifts if is_shift else rest).append(p)
    decay = recipe.weight_decay
    groups = [
        {"params": rest, "rate": 1.0, "weight_decay": decay},
        {"params": shifts, "rate": recipe.shift_rate, "weight_decay": decay / recipe.shift_rate},
    ]
    groups = [group for group in groups if group["params"]]
    nesterov = recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov)


def _floats(network: Network) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            yield name, tensor
