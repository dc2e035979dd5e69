"""Recipes: the learning rate's course, files that vary one, and errors that name what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from finegrain.empirical.networks.recipe import Recipe, one_recipe, read_recipes

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.toml"))


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


def test_an_mlp_has_one_size_of_image():
    """Else it would end in the epoch in which the size changes."""
    with pytest.raises(ValueError, match="sizes must be empty for an mlp, which has weights for each pixel"):
        Recipe(network="mlp", sizes=((2, 24),))


def test_a_file_gives_every_combination(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('grid = {map = ["mod", "random:1"], seed = [0, 1]}\n[recipe]\nwidth = 8\n')
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
    runs = read_recipes(file)
    assert len({name for name, _ in runs}) == len(runs) > 0
    assert len({recipe for _, recipe in runs}) == len(runs)


def test_an_empty_table_is_the_default_recipe(tmp_path):
    file = tmp_path / "plain.toml"
    file.write_text("[recipe]\n")
    assert read_recipes(file) == [("plain", Recipe())]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must have a table \[recipe\], empty for all defaults, or \[grid\]; got neither"),
        ("name = 'mine'\n", "got neither"),
        ("[recipe]\nwidht = 8\n", r"unknown key 'widht'; did you mean 'width'"),
        ("[recip]\nwidth = 8\n", r"unknown key 'recip'; did you mean 'recipe'"),
        ("width = \n", "must be a TOML file"),
        ("[recipe]\nloss = 'hinge'\n", "loss must be one of"),
        ("[recipe]\nprecision = 'off'\n", "precision must be one of auto, bf16, float32; got 'off'"),
        ("[recipe]\nepochs = 0\n", "epochs must be an integer >= 1, got 0"),
        ("[recipe]\nmomentum = 1.0\n", "momentum must be below 1, got 1.0"),
        ("[recipe]\nlearning_rate = -0.1\n", "learning_rate"),
        ("[recipe]\nsizes = [[0, 4]]\n", "sizes: pixels must be an integer >= 8, got 4"),
        ("[recipe]\nsizes = [8]\n", r"sizes must be a list of pairs \[epoch, pixels\], got \[8\]"),
        ("[recipe]\nsizes = 8\n", r"sizes must be a list of pairs \[epoch, pixels\], got 8"),
        ("[recipe]\nwidth = '8'\n", "width must be an integer, got '8'"),
        ("[recipe]\nwidth = true\n", "width must be an integer, got True"),
        ("[recipe]\nscale = 'big'\n", "scale must be a number, got 'big'"),
        ("[recipe]\nnetwork = ['mlp']\n", r"network must be text, got \['mlp'\]"),
        ("[recipe]\ncompile = 1\n", "compile must be true or false, got 1"),
        ("[recipe]\nmap = [0, 0.5]\n", r"map must be a name or a list of integers, got \[0, 0.5\]"),
        (f"[recipe]\nseed = {10**30}\n", r"seed must be below 2\^63, got a number of 100 bits"),
        ("vary = {seed = [0, 1]}\n", r"vary must be written as a table \[grid\] of the lists to cross"),
        ("recipe = 1\n", "recipe must be a table, got 1"),
        ("grid = ['seed']\n", r"\[grid\] must be a table of lists, got \['seed'\]"),
        ("grid = {seed = 1}\n", r"\[grid\]: seed must be a non-empty list, got 1"),
        ("grid = {seed = []}\n", r"\[grid\]: seed must be a non-empty list, got \[\]"),
        ("grid = {seed = [0, 0]}\n", "runs must have names of their own, got 'recipe_seed-0' twice"),
        ("name = '../elsewhere'\n[recipe]\n", "each run must have a name of letters, .* got '../elsewhere'"),
        ("name = '..'\n[recipe]\n", "each run must have a name of letters"),
        ("grid = {network = ['/../mlp']}\n", "each run must have a name of letters"),
        (
            f"grid = {{seed = {[*range(101)]}, width = {[*range(1, 101)]}}}\n",
            "must cross its lists to at most 10000 points, got 10100",
        ),
        ("a = " + "[" * 5000, "must be a TOML file"),
    ],
)
def test_bad_files(tmp_path, text, message):
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"recipe\.toml[:,]? .*{message}"):
        read_recipes(file)


def test_text_that_is_not_utf_8_is_named(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_bytes(b"name = 'caf\xe9'\n")
    with pytest.raises(ValueError, match=r"recipe\.toml must be a TOML file: .*can't decode byte 0xe9"):
        read_recipes(file)


def test_points_give_one_run_each(tmp_path):
    file = tmp_path / "two.toml"
    file.write_text("[recipe]\nwidth = 8\n[[points]]\nseed = 3\n[[points]]\nwidth = 16\nepochs = 2\n")
    assert read_recipes(file) == [
        ("two_seed-3", Recipe(width=8, seed=3)),
        ("two_width-16_epochs-2", Recipe(width=16, epochs=2)),
    ]


def test_a_map_may_be_given_by_its_entries(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text("[recipe]\nmap = [0, 0, 1, 1]\n")
    ((name, recipe),) = read_recipes(file)
    assert (name, recipe.map) == ("recipe", (0, 0, 1, 1))


def test_a_recipe_of_the_package_goes_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in CONFIGS:
        assert read_recipes(Path(file.stem)) == read_recipes(file)
    with pytest.raises(
        FileNotFoundError, match="no file cifr, and no recipe of that name in the package: cifar, "
    ):
        read_recipes(Path("cifr"))


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cifar").write_text("[recipe]\nwidth = 7")
    assert [recipe.width for _, recipe in read_recipes(Path("cifar"))] == [7]


def test_one_recipe_may_be_given_as_itself_a_mapping_or_a_file(tmp_path):
    recipe = Recipe(width=7)
    (tmp_path / "mine.toml").write_text("[recipe]\nwidth = 7")
    assert one_recipe(recipe) == one_recipe({"width": 7})
    assert one_recipe(tmp_path / "mine.toml") == ("mine", recipe)
    assert one_recipe(recipe)[0] != one_recipe({"width": 8})[0]


def test_a_recipe_with_an_unknown_entry_or_of_several_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"recipe: unknown key 'widht'; did you mean 'width'\?"):
        one_recipe({"widht": 7})
    (tmp_path / "two.toml").write_text("[grid]\nwidth = [7, 8]")
    with pytest.raises(
        ValueError, match=r"recipe must be a file of one run, got 2 in .*two_width-7, two_width-8; take one"
    ):
        one_recipe(tmp_path / "two.toml")
