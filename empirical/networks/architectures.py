"""Networks for small images, one shape for all: stages, a pool, a linear classifier.

    representation  h = pool(stages(x))              (N, d)
    logits          f = scale * classifier(h)        (N, K)

resnet18   the CIFAR form of He et al. (2016): 3x3 stem, no first pool, four stages of two blocks; mean pool
resnet9    a stem, three stages that halve the image, residuals in the first and last (Page 2018); max pool
vgg11      Simonyan & Zisserman (2015) with batch normalisation, no hidden linear layer; mean pool
mlp        three hidden layers
speed      few operations an image, after Jordan (2024, "94 % on CIFAR-10 in 3.29 seconds"): frozen whitening of
           2x2 patches, pool early, normalisation without a scale, identity at the start; max pool

`width` is the number of channels of the first stage (of each hidden layer in an MLP).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from finegrain.theory.tools import checks

WHITENING_FLOOR = 5e-4  # added to the variances of patches of normalised pixels


class Network(nn.Module):
    """Stages, a pool, and a linear classifier; `scale` multiplies the logits.

    Args:
        stages: applied in turn to images (N, channels, H, W).
        dim: d, entries of the pooled output of the last stage.
        classes: K.
        pool: "max" or "mean", over the pixels that are left.
    """

    def __init__(
        self, stages: Sequence[nn.Module], dim: int, classes: int, pool: str = "max", scale: float = 1.0
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(dim, classes, bias=False)
        self.pool, self.scale = pool, scale

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        return self.scale * self.classifier(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """The representation h, (N, d)."""
        x = images
        for stage in self.stages:
            x = stage(x)
        return self._pooled(x)

    def stage_features(self, images: Tensor) -> list[Tensor]:
        """The pooled output of every stage, (N, d_i); the last is the representation."""
        outputs, x = [], images
        for stage in self.stages:
            x = stage(x)
            outputs.append(self._pooled(x))
        return outputs

    def _pooled(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return x
        return x.amax((2, 3)) if self.pool == "max" else x.mean((2, 3))


def build(
    name: str, classes: int, *, width: int | None = None, scale: float = 1.0, sample: Tensor | None = None
) -> Network:
    """A network by name, with weights from torch's generator.

    Args:
        name: one of the module's table.
        classes: K.
        width: channels of the first stage; default: that of the publication (mlp: 512, resnet9 and speed: 64).
        scale: multiplies the logits.
        sample: normalised training images (N, channels, H, W): their shape is the
            input's, their patches give the whitening.
    """
    checks.one_of("network", name, NETWORKS)
    checks.integer("classes", classes, 2)
    width = 512 if width is None and name == "mlp" else 64 if width is None else width
    checks.integer("width", width, 1)
    if sample is None:
        sample = torch.randn(512, 3, 32, 32)
    return NETWORKS[name](classes, width, scale, sample)


def _resnet18(classes: int, width: int, scale: float, sample: Tensor) -> Network:
    stages: list[nn.Module] = [_convolution(sample.shape[1], width)]
    channels = width
    for i in range(4):
        out, stride = width * 2**i, 1 if i == 0 else 2
        stages.append(nn.Sequential(_Block(channels, out, stride), _Block(out, out)))
        channels = out
    return Network(stages, channels, classes, "mean", scale)


def _resnet9(classes: int, width: int, scale: float, sample: Tensor) -> Network:
    a, b, c, d = (width * 2**i for i in range(4))
    stages = [
        _convolution(sample.shape[1], a),
        nn.Sequential(_convolution(a, b, pool=True), _Residual(_convolution(b, b), _convolution(b, b))),
        _convolution(b, c, pool=True),
        nn.Sequential(_convolution(c, d, pool=True), _Residual(_convolution(d, d), _convolution(d, d))),
    ]
    return Network(stages, d, classes, "max", scale)


def _vgg11(classes: int, width: int, scale: float, sample: Tensor) -> Network:
    stages: list[nn.Module] = []
    channels = sample.shape[1]
    for multiples in ((1,), (2,), (4, 4), (8, 8), (8, 8)):
        layers = []
        for multiple in multiples:
            layers.append(_convolution(channels, multiple * width))
            channels = multiple * width
        stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
    return Network(stages, channels, classes, "mean", scale)


def _mlp(classes: int, width: int, scale: float, sample: Tensor) -> Network:
    inputs = sample[0].numel()
    first = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU())
    rest = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(2)]
    return Network([first, *rest], width, classes, "max", scale)


def _speed(classes: int, width: int, scale: float, sample: Tensor) -> Network:
    stages: list[nn.Module] = [nn.Sequential(_whitening(sample), nn.GELU())]
    channels = stages[0][0].out_channels  # type: ignore[index]
    for out in (width, 4 * width, 4 * width):
        first = (_identity_convolution(channels, out), nn.MaxPool2d(2), _shift_norm(out), nn.GELU())
        second = (_identity_convolution(out, out), _shift_norm(out), nn.GELU())
        stages.append(nn.Sequential(*first, *second))
        channels = out
    return Network(stages, channels, classes, "max", scale)


NETWORKS: dict[str, Callable[[int, int, float, Tensor], Network]] = {
    "resnet18": _resnet18,
    "resnet9": _resnet9,
    "vgg11": _vgg11,
    "mlp": _mlp,
    "speed": _speed,
}


class _Residual(nn.Sequential):
    """x + layers(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        second = (nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))
        self.layers = nn.Sequential(_convolution(channels, out, stride=stride), *second)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out:
            self.shortcut.extend([nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


def _convolution(channels: int, out: int, stride: int = 1, pool: bool = False) -> nn.Sequential:
    """3x3 convolution, normalisation, rectifier, and a pool that halves the image if asked for."""
    layers = [nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


def _identity_convolution(channels: int, out: int) -> nn.Conv2d:
    """3x3 convolution whose first `channels` outputs start as its inputs (Zagoruyko & Komodakis 2017)."""
    convolution = nn.Conv2d(channels, out, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:channels])
    return convolution


def _shift_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with a trained shift and no scale; its averages follow within a few steps."""
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def _whitening(sample: Tensor) -> nn.Conv2d:
    """2x2 convolution, frozen: principal components of the patches at unit variance, then all with the other sign.

    Smallest variance first; a network that is to start from all of them has a width of at least their number, 12.
    """
    x = sample[:5000].float()
    patches = x.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 4 * x.shape[1])
    values, vectors = torch.linalg.eigh((patches.T @ patches / len(patches)).double())
    rows = (vectors / (values + WHITENING_FLOOR).sqrt()).T.float().reshape(-1, x.shape[1], 2, 2)
    convolution = nn.Conv2d(x.shape[1], 2 * len(rows), 2, bias=False)
    convolution.weight = nn.Parameter(torch.cat([rows, -rows]), requires_grad=False)
    return convolution
