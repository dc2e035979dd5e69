"""Hidden classes along the training of a ResNet-18 on coarse CIFAR-10, drawn from a recorded run.

Record again:  finegrain train configs/gpu_resnet18.toml --data images:PATH --device cuda
               finegrain recover configs/gpu_resnet18.toml --data images:PATH --device cuda
               cp runs/gpu_resnet18_labels-coarse_seed-0/recovery.json paper_figs/gallery/recorded/cifar_resnet18.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finegrain.paper_figs.cifar_course import course, draw

__all__ = ["draw"]  # a figure has TITLE, CLAIM, compute and draw

TITLE = "CIFAR-10 along training, ResNet-18"
CLAIM = "what plain k-means recovers of a ResNet-18 along its training is what T10 says of its means and covariances"
RECORD = Path(__file__).parent / "gallery" / "recorded" / "cifar_resnet18.json"


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """The recorded run's course, whatever the seed asked for; its own seed is in its recipe."""
    return course(RECORD)
