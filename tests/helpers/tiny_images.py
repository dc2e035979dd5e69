"""A data set small enough to train on in a test: four classes of 16 x 16 images, two coarse labels."""

import numpy as np

from finegrain.empirical.readers.data import Dataset

SIDE, CLASSES = 16, 4


def tiny_images(train=160, test=80, seed=0):
    """Coloured stripes: the hue tells class c from c + 2, the direction tells 0 from 1; noise on top."""
    rng = np.random.default_rng(seed)

    def split(count):
        y = np.arange(count) % CLASSES
        wave = np.sin(np.arange(SIDE) * 1.5 + rng.uniform(0, 6, count)[:, None])
        stripes = np.where((y % 2 == 0)[:, None, None], wave[:, :, None], wave[:, None, :])
        stripes = np.broadcast_to(stripes, (count, SIDE, SIDE))
        hue = np.array([[1.0, 0.6, 0.2], [0.2, 0.6, 1.0]])[y // 2]
        colour = 60 * (hue - 0.6)[:, None, None]
        x = 128 + 60 * stripes[..., None] + colour + rng.normal(0, 20, (count, SIDE, SIDE, 3))
        return x.clip(0, 255).astype(np.uint8), y.astype(np.int64)

    return Dataset("tiny", *split(train), *split(test), tuple("abcd"))
