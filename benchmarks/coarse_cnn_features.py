"""Train a small convolutional network on coarse labels and write its last features, for docs/results/recoverability.md.

    python benchmarks/coarse_cnn_features.py --data fashion-mnist --map mod --epochs 3 --out features.safetensors

The file holds "features" (N, 64), the rectified last hidden layer on the training images, the fine "labels" (N,),
"test_features" and "test_labels", the coarse map, and the classifier; `finegrain measure` reads it, and so
does `predict --data features:FILE`. Minutes on one core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import nn

from finegrain.empirical.readers.coarse_maps import coarse_map
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.hooks import layer_batches
from finegrain.theory.tools.console import run, tracked
from finegrain.theory.tools.files import writable_folder

BATCH = 128


def network(channels: int, num_coarse: int) -> nn.Sequential:
    """Three convolutions, a hidden layer of 64, and the classifier; images of any size."""
    layers: list[nn.Module] = []
    for before, after in ((channels, 24), (24, 48), (48, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(64 * 9, 64),
        nn.ReLU(),
        nn.Linear(64, num_coarse),
    ]
    return nn.Sequential(*layers)


def main(
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    data: Annotated[str, typer.Option(help="As in finegrain predict.")] = "fashion-mnist",
    map_: Annotated[str, typer.Option("--map", help="Coarse map.")] = "mod",
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    weight_decay: Annotated[float, typer.Option(min=0)] = 5e-4,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Adam at a learning rate of 1e-3 that falls to 0 along a cosine; no augmentation."""
    writable_folder(out.parent)
    torch.manual_seed(seed)
    images = load(data, progress=True)
    coarse = coarse_map(map_, images.num_fine)
    x, fine = _inputs(images.train_x), torch.from_numpy(images.train_y)
    y = torch.from_numpy(coarse)[fine]
    model = network(x.shape[1], int(coarse.max()) + 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * (len(x) // BATCH))
    for epoch in range(epochs):
        order = torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH)
        for chosen in tracked(order, f"epoch {epoch + 1} of {epochs}", total=len(order)):
            loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    test_fine = torch.from_numpy(images.test_y)
    features, test_features = (
        _features(model, part, labels) for part, labels in ((x, fine), (_inputs(images.test_x), test_fine))
    )
    last = model[-1]
    with torch.inference_mode():
        right = (last(features).argmax(1) == y).float().mean()
        accuracy = (last(test_features).argmax(1) == torch.from_numpy(coarse)[test_fine]).float().mean()
    print(
        f"coarse accuracy: {right:.4f} on training images, {accuracy:.4f} on test images; last loss {loss:.4f}"
    )
    arrays = {"features": features, "labels": fine, "coarse_map": torch.from_numpy(coarse)}
    arrays |= {"test_features": test_features, "test_labels": test_fine}
    save_file(arrays | {"weight": last.weight.detach(), "bias": last.bias.detach()}, out)


def _features(model: nn.Sequential, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The input of the classifier, (N, 64)."""
    batches = zip(x.split(1000), labels.split(1000), strict=True)
    return torch.cat([h for h, _ in layer_batches(model, batches, str(len(model) - 2))])


def _inputs(images: np.ndarray) -> torch.Tensor:
    """(N, channels, H, W) in [-1, 1]."""
    x = torch.from_numpy(images).float() / 127.5 - 1
    return x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
