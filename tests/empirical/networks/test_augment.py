"""Batches: each image once, views that are crops and mirrors of it, the same for the same (seed, epoch)."""

import numpy as np
import pytest
import torch

from finegrain.empirical.networks.augment import Images, batches, pixel_stats, scaled

CPU = torch.device("cpu")


def images(count=12, side=6, crop=2, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return x, Images.on(CPU, x, np.arange(count), crop, pixel_stats(x))


def epoch(data, number, **options):
    return list(batches(data, 4, number, 0, **{"flip": "random", "pixels": 6} | options))


def test_plain_images_have_mean_0_and_variance_1():
    _, data = images(count=50)
    x = data.plain(slice(None)).double()
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        x.var((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shift", [(0, 0), (2, 2), (4, 1)])
def test_a_view_is_a_crop_of_the_reflected_image(shift, mirrored):
    x, data = images()
    padded = np.pad(x[3], ((2, 2), (2, 2), (0, 0)), mode="reflect")
    expected = padded[shift[0] : shift[0] + 6, shift[1] : shift[1] + 6]
    expected = expected[:, ::-1] if mirrored else expected
    view = data.view(torch.tensor([3]), torch.tensor([shift]), torch.tensor([mirrored]))[0]
    pixels = (view.permute(1, 2, 0) * data.std + data.mean) * 255
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-3)


def test_every_image_comes_once():
    _, data = images()
    assert sorted(torch.cat([y for _, y in epoch(data, 0)]).tolist()) == list(range(12))


def test_ranks_share_every_batch():
    _, data = images()
    whole = epoch(data, 3)
    halves = [epoch(data, 3, rank=r, ranks=2) for r in range(2)]
    for (x, y), (x0, y0), (x1, y1) in zip(whole, *halves, strict=True):
        assert y.tolist() == torch.stack([y0, y1], 1).flatten().tolist()
        torch.testing.assert_close(x[::2], x0, atol=0, rtol=0)
        torch.testing.assert_close(x[1::2], x1, atol=0, rtol=0)


def test_an_epoch_is_a_function_of_seed_and_epoch():
    _, data = images()
    for (x, y), (again, labels) in zip(epoch(data, 5), epoch(data, 5), strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, labels)
    assert not torch.equal(epoch(data, 5)[0][1], epoch(data, 6)[0][1])


def test_alternating_shows_both_sides_in_two_epochs():
    x, data = images(crop=0)
    shown = []
    for number in (0, 1):
        pairs = epoch(data, number, flip="alternating")
        order = torch.cat([y for _, y in pairs]).argsort()
        shown.append(torch.cat([v for v, _ in pairs])[order])
    assert torch.equal(shown[0], shown[1].flip(-1))
    plain = data.plain(slice(None))
    asis = (shown[0] == plain).flatten(1).all(1)
    assert 0 < asis.sum() < len(x)


def test_no_flip_leaves_images_as_they_are():
    _, data = images(crop=0)
    for view, labels in epoch(data, 1, flip="none"):
        assert torch.equal(view, data.plain(labels))


def test_scaled_keeps_constants_and_leaves_the_right_size_alone():
    x = torch.full((2, 3, 8, 8), 0.7)
    torch.testing.assert_close(scaled(x, 5), torch.full((2, 3, 5, 5), 0.7))
    assert scaled(x, 8) is x
    assert scaled(x, None) is x
