"""What a trained run tells, asked as a user would: from what `train` returned, and from its folder alone."""

import pytest
from tiny_images import tiny_images

import finegrain as fg
from finegrain.empirical.hidden_classes import recover as module
from finegrain.empirical.readers import data

RECIPE = {
    "network": "mlp", "width": 16, "epochs": 1, "batch": 32, "crop": 1, "scale": 1.0, "measured": 80,
    "precision": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return fg.train(RECIPE, tiny_images(), tmp_path_factory.mktemp("run"), device="cpu")


@pytest.fixture(scope="module")
def found(trained):
    return fg.recover(trained, device="cpu")


def test_a_run_and_its_folder_tell_the_same(trained, found, monkeypatch):
    images = tiny_images()
    monkeypatch.setattr(module, "load", lambda name, root, **_: images if name == images.name else None)
    one, other = found, fg.recover(trained.record.path, device="cpu")
    assert one.by_view == other.by_view
    assert one.by_place == other.by_place
    assert (one.folder / "recovery.json").exists()
    assert {row["epoch"] for row in one.by_epoch} == {0, 1}


def test_results_are_told_in_one_line(trained, found):
    best = max(row["share"] for row in found.by_view)
    assert f"share={best:.3f}" in repr(found)
    assert "\n" not in repr(trained) + repr(found)


def test_a_baseline_has_no_rows(tmp_path):
    trained = fg.train(RECIPE | {"labels": "fine"}, tiny_images(), tmp_path, device="cpu")
    found = fg.recover(trained, device="cpu")
    assert found.by_view == found.by_place == found.by_epoch == []
    assert "a baseline on fine labels" in repr(found)


def test_other_images_and_no_run_are_refused(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*config\.json"):
        fg.recover(tmp_path)
    with pytest.raises(ValueError, match=r"holds a run of another config \(images differs"):
        fg.recover(trained, data.load("digits"), device="cpu")
