"""Training: it learns, resumes bit for bit, and measures what it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from short_training import SHORT, weights
from tiny_images import tiny_images

from finegrain.empirical.networks import training
from finegrain.empirical.networks.recipe import Recipe, read_recipes
from finegrain.empirical.networks.training import objective, precision_on, train
from finegrain.empirical.readers.changed_sets import halved
from finegrain.empirical.readers.image_names import Names
from finegrain.sims.run_folder import RunFolder
from finegrain.theory import observables
from finegrain.theory.moments import Moments

ROOT = Path(__file__).parents[3]
DATA = tiny_images()
SPEED = Recipe(
    network="speed", width=16, epochs=2, batch=32, learning_rate=0.1, shift_rate=8, lookahead=True, crop=2,
    sizes=((0, 16), (1, 20)), measured=80, precision="float32",
)  # fmt: skip


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_learns_the_coarse_labels(tmp_path):
    trained = train(replace(SPEED, epochs=4), DATA, tmp_path, device="cpu")
    assert trained.metrics[-1]["test.accuracy"] > 0.9 > trained.metrics[0]["test.accuracy"]


class Killed(BaseException):
    pass


@pytest.fixture(
    scope="module", params=[SPEED, replace(SHORT, loss="squared", flip="random")], ids=["speed", "mlp"]
)
def whole(request, tmp_path_factory):
    return request.param, train(request.param, DATA, tmp_path_factory.mktemp("whole"), device="cpu")


@pytest.mark.parametrize("step", [3, 7])
def test_killed_at_any_step_it_ends_with_the_same_weights(tmp_path, monkeypatch, whole, step):
    recipe, expected = whole
    left = [step]

    def dying(*args, **options):
        for batch in genuine(*args, **options):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            yield batch

    genuine = training.batches
    monkeypatch.setattr(training, "batches", dying)
    with pytest.raises(Killed):
        train(recipe, DATA, tmp_path / "killed", device="cpu")
    monkeypatch.setattr(training, "batches", genuine)
    assert_same(weights(train(recipe, DATA, tmp_path / "killed", device="cpu")), weights(expected))


def test_of_two_processes_on_one_run_the_second_is_refused(tmp_path):
    with RunFolder(tmp_path, {}), pytest.raises(OSError, match="in use by another process"):
        train(SHORT, DATA, tmp_path, device="cpu")


def test_a_finished_run_is_read_back(tmp_path, monkeypatch):
    first = train(SHORT, DATA, tmp_path, device="cpu")
    monkeypatch.setattr(training, "batches", None)
    again = train(SHORT, DATA, tmp_path, device="cpu")
    assert_same(weights(again), weights(first))
    assert again.metrics == first.metrics


def test_observables_are_those_of_the_measured_representation(tmp_path):
    trained = train(SHORT, DATA, tmp_path, device="cpu")
    last = trained.checkpoint(SHORT.epochs)
    moments = Moments.from_samples(last["features.test"], last["fine.test"], 4)
    expected = observables.fine_share(moments, trained.coarse_map)
    assert trained.metrics[-1]["test.fine_share"] == pytest.approx(expected, rel=1e-12)
    named = {"train.nc3", "test.nc4", "test.two_means_accuracy", "images_per_second"}
    assert named <= trained.metrics[-1].keys()


def test_checkpoints_lie_where_they_are_due_and_change_no_weight(tmp_path, monkeypatch):
    """One every second of three epochs, killed in the last: the same weights, and means over the epochs between."""
    every = train(SHORT, DATA, tmp_path / "every", device="cpu")
    recipe = replace(SHORT, measure_every=2)
    genuine = training.batches

    def dying(*args, **options):
        if args[2] == 2:  # the epoch
            raise Killed
        return genuine(*args, **options)

    monkeypatch.setattr(training, "batches", dying)
    with pytest.raises(Killed):
        train(recipe, DATA, tmp_path / "seldom", device="cpu")
    monkeypatch.setattr(training, "batches", genuine)
    seldom = train(recipe, DATA, tmp_path / "seldom", device="cpu")
    assert [line["epoch"] for line in seldom.metrics] == [0, 2, 3]
    losses = [line["loss"] for line in every.metrics[1:]]
    assert [line["loss"] for line in seldom.metrics[1:]] == pytest.approx([np.mean(losses[:2]), losses[2]])
    for epoch in (0, 2, 3):
        assert_same(seldom.checkpoint(epoch), every.checkpoint(epoch))
    with pytest.raises(ValueError, match=r"one that has a checkpoint, \[0, 2, 3\], got 1"):
        seldom.checkpoint(1)


def test_checkpoints_of_other_epochs_are_refused_and_kept(tmp_path):
    """As earlier versions left them: one every epoch, whatever measure_every."""
    recipe = replace(SHORT, measure_every=3)
    train(recipe, DATA, tmp_path, device="cpu", steps=1)
    config = json.loads((tmp_path / "config.json").read_text())
    with RunFolder(tmp_path, config) as record:
        record.write(1, record.read(0), {"epoch": 1})
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.safetensors")}
    with pytest.raises(ValueError, match=r"must hold checkpoints of epochs \[0, 3\], got \[0, 1\]"):
        train(recipe, DATA, tmp_path, device="cpu")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.safetensors")} == before


def test_the_search_for_convolutions_leaves_the_callers_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    train(replace(SHORT, epochs=1), DATA, tmp_path, device="cpu")
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark


def test_the_untrained_network_can_be_had_back(tmp_path):
    trained = train(SHORT, DATA, tmp_path, device="cpu")
    first = trained.checkpoint(0)["network.classifier.weight"]
    np.testing.assert_array_equal(trained.network_at(0).classifier.weight.detach().numpy(), first)
    assert not np.array_equal(trained.network.classifier.weight.detach().numpy(), first)


def test_training_leaves_the_generator_of_torch_alone(tmp_path):
    before = torch.random.get_rng_state()
    train(replace(SHORT, epochs=1), DATA, tmp_path, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_squared_loss_is_half_the_squared_distance_to_centred_targets():
    logits, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
    targets = np.eye(3)[labels] - 1 / 3
    expected = 0.5 * np.mean(np.sum((logits.numpy() - targets) ** 2, axis=1))
    assert float(objective(Recipe(loss="squared"), logits, labels)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("capability", ["amx_bf16", "avx512_bf16", "avx2"])
def test_auto_is_float32_on_every_processor(monkeypatch, capability):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True}, raising=False)
    cpu = torch.device("cpu")
    asked = ("auto", "float32", "bf16")
    assert [precision_on(cpu, precision) for precision in asked] == ["float32", "float32", "bf16"]


@pytest.mark.parametrize(("has_products", "expected"), [(True, "bf16"), (False, "float32")])
def test_auto_is_bf16_on_a_gpu_that_has_its_products(monkeypatch, has_products, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_products)
    assert precision_on(torch.device("cuda"), "auto") == expected
    assert precision_on(torch.device("cuda"), "float32") == "float32"


def test_the_precision_that_was_used_stands_in_the_run_folder_and_is_not_changed_midway(tmp_path):
    train(replace(SHORT, precision="auto"), DATA, tmp_path, device="cpu", steps=1)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["recipe"]["precision"] == "float32"
    # What "auto" was is "float32" by name, and no other precision.
    train(SHORT, DATA, tmp_path, device="cpu", steps=1)
    with pytest.raises(ValueError, match=r"recipe\.precision: stored 'float32', asked 'bf16'"):
        train(replace(SHORT, precision="bf16"), DATA, tmp_path, device="cpu")


@pytest.mark.parametrize("recipe", [SHORT, replace(SPEED, lookahead=False)], ids=["mlp", "speed"])
def test_bf16_multiplies_in_bf16_and_keeps_float32_weights(tmp_path, recipe):
    """After an epoch of five steps: other weights, but nearer to float32's than either is to the start.

    bf16 rounds a factor by 2^-9 of its size at most. Gradients of several layers and five steps gather some tens of
    such roundings, at random signs a few per cent of the way.
    """
    one = replace(recipe, epochs=1)
    exact = train(one, DATA, tmp_path / "float32", device="cpu")
    rounded = train(replace(one, precision="bf16"), DATA, tmp_path / "bf16", device="cpu")
    assert (exact.recipe.precision, rounded.recipe.precision) == ("float32", "bf16")
    start = exact.network_at(0).classifier.weight.detach().numpy()
    first, second = (weights(run)["classifier.weight"] for run in (exact, rounded))
    assert second.dtype == np.float32
    assert 0 < np.linalg.norm(first - second) < 0.2 * np.linalg.norm(first - start)


NEW = ("cifar_long", "cifar_tricks", "cifar100", "cifar_halved", "cifar_paper_grid")
FILES = [*sorted((ROOT / "configs").glob("gpu_*.toml")), *(ROOT / "configs" / f"{name}.toml" for name in NEW)]


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_committed_recipes_take_two_steps_on_a_small_set(tmp_path, file):
    """Each run's recipe as committed, but for batch, width and precision, which a test has no time for."""
    data = replace(DATA, names=Names(DATA.class_names, superclasses=tuple("xyxy")))
    data = halved(data, 0) if file.stem == "cifar_halved" else data
    for name, recipe in read_recipes(file):
        small = replace(
            *(recipe,), batch=16, width=8, measured=80, compile=False, sizes=(), precision="float32"
        )
        trained = train(small, data, tmp_path / name, device="cpu", steps=2)
        assert np.isfinite(np.concatenate([w.ravel() for w in weights(trained).values()])).all()
        assert len(trained.metrics) == 1  # no epoch was completed


def test_the_long_recipe_killed_in_an_epoch_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    """make cifar-long again after a kill: every part of its recipe but the sizes of network, images and batch."""
    recipe = dict(read_recipes(ROOT / "configs" / "cifar_long.toml"))["cifar_long_labels-coarse_seed-0"]
    recipe = replace(recipe, width=12, epochs=3, batch=32, sizes=((0, 12), (1, 16)), measured=80)
    expected = train(recipe, DATA, tmp_path / "whole", device="cpu")
    genuine = training.batches

    def dying(*args, **options):
        for i, batch in enumerate(genuine(*args, **options)):
            if (args[2], i) == (2, 3):  # epoch and step
                raise Killed
            yield batch

    monkeypatch.setattr(training, "batches", dying)
    with pytest.raises(Killed):
        train(recipe, DATA, tmp_path / "killed", device="cpu")
    monkeypatch.setattr(training, "batches", genuine)
    again = train(recipe, DATA, tmp_path / "killed", device="cpu")
    assert_same(weights(again), weights(expected))
    assert [line["epoch"] for line in again.metrics] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 200}, "batch must be at most the 160 training images, got 200"),
        ({"map": "0,0,0,0"}, "map must have at least 2 coarse classes"),
        ({"network": "resnet"}, "network must be one of"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        train(replace(SHORT, **change), DATA, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_network_is_refused_and_kept(tmp_path):
    train(replace(SHORT, epochs=1), DATA, tmp_path, device="cpu")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.safetensors")}
    with pytest.raises(ValueError, match="holds a run of another config"):
        train(replace(SHORT, epochs=1, width=8), DATA, tmp_path, device="cpu")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.safetensors")} == before


def test_a_run_on_superclasses_that_the_data_tell_is_refused_with_others(tmp_path):
    """The recipe names the map, and the images are the same."""
    one, other = (replace(DATA, names=Names(DATA.class_names, tuple(told))) for told in ("xxyy", "xyxy"))
    recipe = replace(SHORT, epochs=1, map="superclasses")
    assert train(recipe, one, tmp_path, device="cpu").coarse_map.tolist() == [0, 0, 1, 1]
    assert len(train(recipe, one, tmp_path, device="cpu").metrics) == 2
    with pytest.raises(ValueError, match="holds a run of another config"):
        train(recipe, other, tmp_path, device="cpu")


def test_a_diverging_run_says_so(tmp_path):
    with pytest.raises(RuntimeError, match="stopped being finite in epoch 1; lower learning_rate"):
        train(replace(SHORT, learning_rate=1e20, loss="squared"), DATA, tmp_path, device="cpu")
