"""Recipes: the learning rate's course, files that vary one, and errors that name what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from empirical.recipe import Recipe, read_recipes

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


def test_one_cycle_rises_to_its_peak_and_falls_to_zero():
    recipe = Recipe(peak_at=0.25)
    assert [recipe.rate(p) for p in (0, 0.125, 0.25, 0.625, 1)] == [0, 0.5, 1, 0.5, 0]


def test_one_cycle_without_a_rise_starts_at_its_peak():
    assert [Recipe(peak_at=0).rate(p) for p in (0, 0.5, 1)] == [1, 0.5, 0]


def test_cosine_falls_from_its_peak_to_zero():
    values = [Recipe(schedule="cosine").rate(p) for p in (0, 0.5, 1)]
    np.testing.assert_allclose(values, [1, 0.5, 0], atol=1e-15)


def test_sizes_hold_from_their_epoch_on():
    recipe = Recipe(sizes=((0, 20), (4, 24), (6, 32)))
    assert [recipe.pixels(e, 32) for e in (0, 3, 4, 5, 6, 9)] == [20, 20, 24, 24, 32, 32]
    assert Recipe(sizes=((2, 24),)).pixels(1, 28) == 28


def test_a_file_gives_every_combination(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('vary = {map = ["mod", "random:1"], seed = [0, 1]}\n[recipe]\nwidth = 8\n')
    runs = dict(read_recipes(file))
    assert list(runs) == [
        *(
            "grid_map-mod_seed-0",
            "grid_map-mod_seed-1",
            "grid_map-random-1_seed-0",
            "grid_map-random-1_seed-1",
        ),
    ]
    assert runs["grid_map-random-1_seed-0"] == Recipe(width=8, map="random:1", seed=0)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda p: p.stem)
def test_committed_recipes_are_valid_and_named_apart(file):
    runs = list(read_recipes(file))
    assert len({name for name, _ in runs}) == len(runs) > 0
    assert len({recipe for _, recipe in runs}) == len(runs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[recipe]\nwidht = 8\n", r"unknown entry 'widht' \(nearest: width\)"),
        ("[recip]\nwidth = 8\n", r"unknown entry 'recip' \(nearest: recipe\)"),
        ("width = \n", "is not TOML"),
        ("[recipe]\nloss = 'hinge'\n", "loss must be one of"),
        ("[recipe]\nepochs = 0\n", "epochs must be an integer >= 1, got 0"),
        ("[recipe]\nmomentum = 1.0\n", "momentum must be below 1, got 1.0"),
        ("[recipe]\nlearning_rate = -0.1\n", "learning_rate"),
        ("[recipe]\nsizes = [[0, 4]]\n", "sizes: pixels must be an integer >= 8, got 4"),
    ],
)
def test_bad_files(tmp_path, text, message):
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        list(read_recipes(file))
