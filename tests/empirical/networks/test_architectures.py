"""Networks: the shapes and parts that their descriptions promise."""

import pytest
import torch

from finegrain.empirical.networks.architectures import NETWORKS, build


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_scaled_classifier_of_the_representation(name):
    torch.manual_seed(0)
    x = torch.randn(6, 3, 32, 32)
    network = build(name, 5, width=4, scale=0.25, sample=x).eval()
    h = network.features(x)
    assert h.shape == (6, network.classifier.in_features)
    torch.testing.assert_close(network(x), 0.25 * h @ network.classifier.weight.T)


@pytest.mark.parametrize("name", NETWORKS)
def test_last_stage_is_the_representation(name):
    x = torch.randn(4, 3, 32, 32)
    network = build(name, 3, width=4, sample=x).eval()
    stages = network.stage_features(x)
    assert [s.ndim for s in stages] == [2] * len(network.stages)
    torch.testing.assert_close(stages[-1], network.features(x))


def test_resnet18_has_the_published_number_of_parameters():
    """11,173,962 with ten classes in the CIFAR form (kuangliu's count, with a bias of 10 that ours has not)."""
    network = build("resnet18", 10, width=64)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962 - 10


def test_whitening_gives_patches_of_unit_variance_with_both_signs():
    torch.manual_seed(0)
    x = torch.randn(64, 3, 16, 16) @ torch.randn(16, 16)  # correlated pixels
    out = build("speed", 2, width=4, sample=x).stages[0][0](x)
    patches = out.permute(1, 0, 2, 3).reshape(out.shape[1], -1).double()
    half = len(patches) // 2
    torch.testing.assert_close(patches[:half], -patches[half:])
    second = patches[:half] @ patches[:half].T / patches.shape[1]
    torch.testing.assert_close(second, torch.eye(half, dtype=torch.float64), atol=0.02, rtol=0)


def test_speed_starts_as_the_identity_on_its_first_channels():
    network = build("speed", 2, width=30, sample=torch.randn(8, 3, 16, 16))
    kernel = network.stages[1][0].weight
    torch.testing.assert_close(kernel[:24, :, 1, 1], torch.eye(24))


def test_whitening_is_not_trained():
    network = build("speed", 2, width=4, sample=torch.randn(8, 3, 16, 16))
    assert not network.stages[0][0].weight.requires_grad


def test_grey_images_have_a_network():
    x = torch.randn(2, 1, 28, 28)
    assert build("resnet9", 2, width=2, sample=x)(x).shape == (2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"name": "resnet"}, "network must be one of"),
        ({"classes": 1}, "classes must be an integer >= 2, got 1"),
        ({"width": 0}, "width must be an integer >= 1, got 0"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        build(**{"name": "mlp", "classes": 2} | call)
