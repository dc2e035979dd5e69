"""What is told of a trained run: every way beside the others, labels used only where they may be."""

import json
import shutil
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny_images import tiny_images

from finegrain.empirical.hidden_classes import cluster, score, study
from finegrain.empirical.hidden_classes import report as file
from finegrain.empirical.hidden_classes.cluster import METHODS
from finegrain.empirical.hidden_classes.look import VIEWS, views
from finegrain.empirical.hidden_classes.report import glance, summary, together, whole
from finegrain.empirical.hidden_classes.study import Representation, predicted, score_rows
from finegrain.empirical.networks.recipe import Recipe
from finegrain.empirical.networks.representation import represent
from finegrain.empirical.networks.training import train
from finegrain.theory.moments import Moments
from finegrain.theory.theorems.where_to_look import project

DATA = tiny_images()
RECIPE = Recipe(
    network="speed", width=16, epochs=2, batch=32, learning_rate=0.1, shift_rate=8, lookahead=True, crop=1, measured=80,
    precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_starts():
    """Two of ten starts: what is asked here is how the rows stand together, not how good a maximum is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "STARTS", 2)
        yield


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return whole(RECIPE, DATA, folder, device="cpu"), folder


def test_every_way_stands_beside_the_others(reported):
    report, _ = reported
    ways = [(row["view"], row["stages"], row["method"]) for row in report["by_view"]]
    assert ways == list(product(VIEWS, ("last", "last two"), METHODS))
    places = [
        "stage 1",
        "stage 2",
        "stage 3",
        "stage 4",
        "raw pixels",
        "64 principal components",
        "untrained network",
    ]
    assert [row["place"] for row in report["by_place"]] == [p for p in places for _ in METHODS]
    epochs = [(row["epoch"], row["method"]) for row in report["by_epoch"]]
    assert epochs == [(epoch, method) for epoch in (0, 1, 2) for method in METHODS]


def test_hidden_classes_are_found_where_the_network_keeps_them(reported):
    """The hue, which no label asks for, is still there behind the first stages."""
    report, _ = reported
    rows = [row for row in report["by_place"] if row["place"] == "stage 2"]
    assert min(min(row["share"], row["clp"], row["oracle"]) for row in rows) > 0.95


def test_the_file_holds_the_report(reported):
    report, folder = reported
    assert json.loads((folder / "recovery.json").read_text())["by_view"] == report["by_view"]


def test_the_images_drawn_show_every_hidden_class_of_one_coarse_class(reported):
    report, _ = reported
    assert set(report["drawn"]["fine"]) == {0, 2}
    assert np.isfinite(report["drawn"]["points"]).all()


def test_more_images_than_can_be_drawn_are_thinned_across_classes(monkeypatch):
    monkeypatch.setattr(file, "DRAWN", 20)
    fine = np.repeat([0, 1], 50)  # in the order of their classes, as a folder gives them
    features = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    drawn = file._drawn(features, fine, np.zeros(2, dtype=int), seed=0)
    assert len(drawn["points"]) == 20
    assert set(drawn["fine"]) == {0, 1}


def test_accuracy_is_that_of_the_network(reported):
    report, folder = reported
    arrays = load_file(folder / "representation.safetensors")
    guess = (arrays["test.as is"] @ arrays["classifier"].T).argmax(1)
    expected = np.mean(guess == arrays["coarse_map"][arrays["fine.test"]])
    assert report["accuracy"]["as is"] == pytest.approx(expected, abs=1e-12)
    assert report["accuracy"]["as is"] == pytest.approx(report["metrics"][-1]["test.accuracy"], abs=1e-12)


def test_committed_moments_are_those_of_the_test_images(reported):
    _, folder = reported
    arrays = load_file(folder / "representation.safetensors")
    stored = Moments(**load_file(folder / "moments.safetensors"))
    exact = Moments.from_samples(arrays["test.as is"], arrays["fine.test"], 4)
    scale = np.abs(exact.covariances).max()
    np.testing.assert_allclose(stored.covariances, exact.covariances, atol=1e-6 * scale, rtol=0)
    np.testing.assert_allclose(stored.means, exact.means, rtol=1e-6)


def test_the_report_says_what_it_was_computed_in(reported):
    report, _ = reported
    assert report["precision"] == {"training": "float32", "representation": "float32"}
    assert report["recipe"]["precision"] == "float32"
    assert report["environment"]["processor"]["torch"] == torch.backends.cpu.get_cpu_capability()


def test_the_precision_of_a_report_is_the_one_that_was_used(tmp_path):
    report = glance(replace(RECIPE, epochs=1, precision="auto", labels="fine"), DATA, tmp_path, device="cpu")
    assert report["recipe"]["precision"] == report["precision"]["training"] == "float32"


def test_no_fine_label_changes_a_cluster(reported, monkeypatch):
    """Fine labels permuted within coarse classes: other scores, the same clusters."""
    _, folder = reported
    arrays = load_file(folder / "representation.safetensors")
    x, fine, coarse_map = arrays["train.as is"], arrays["fine.train"], arrays["coarse_map"]
    seen = []
    genuine = score.match
    monkeypatch.setattr(score, "match", lambda c, *rest: seen.append(c.copy()) or genuine(c, *rest))
    swapped = fine.copy()
    for k in range(coarse_map.max() + 1):
        members = np.flatnonzero(coarse_map[fine] == k)
        swapped[members] = np.random.default_rng(0).permutation(fine[members])
    test = arrays["test.as is"], arrays["fine.test"]
    for labels in (fine, swapped):
        score_rows(Representation((x, labels), test, arrays["classifier"]), coarse_map, seed=0)
    for first, second in zip(seen[: len(METHODS)], seen[len(METHODS) :], strict=True):
        np.testing.assert_array_equal(first, second)


def test_prediction_off_the_classifier_is_that_of_projected_moments():
    rng = np.random.default_rng(0)
    moments = Moments.from_samples(rng.normal(size=(400, 5)), np.arange(400) % 4)
    classifier, coarse_map = rng.normal(size=(2, 5)), np.array([0, 1, 0, 1])
    values = predicted(moments, coarse_map, classifier)
    projected = predicted(project(moments, classifier), coarse_map, classifier)
    np.testing.assert_allclose(values["two_means_off_classifier"], projected["two_means"], rtol=1e-9)


def test_a_run_on_fine_labels_is_a_baseline(tmp_path):
    report = whole(replace(RECIPE, labels="fine", epochs=1), DATA, tmp_path, device="cpu")
    assert "by_view" not in report
    assert set(report["accuracy"]) == set(VIEWS)


def test_a_glance_at_all_images_has_the_rows_by_view_of_the_whole(reported):
    report, folder = reported
    seen = glance(RECIPE, DATA, folder, device="cpu")
    assert seen["by_view"] == report["by_view"]
    assert seen["accuracy"] == report["accuracy"]
    assert json.loads((folder / "glance.json").read_text())["by_view"] == report["by_view"]
    fewer = glance(RECIPE, DATA, folder, images=100, device="cpu")
    assert {row["images"] for row in fewer["by_view"]} == {100}


def test_networks_see_images_at_the_resolution_they_were_last_trained_on(tmp_path):
    recipe = replace(RECIPE, epochs=1, sizes=[[0, 20]])
    seen = glance(recipe, DATA, tmp_path, device="cpu")
    assert seen["accuracy"]["as is"] == pytest.approx(seen["metrics"][-1]["test.accuracy"], abs=1e-12)


def test_a_view_is_the_mean_over_mirror_images_and_shifts(reported):
    trained = train(RECIPE, DATA, reported[1], device="cpu")
    seen = views(trained.network, trained.images["test"], np.arange(8))
    one = [
        represent(trained.network, trained.images["test"], np.arange(8), flipped=flipped, shift=shift)
        for shift in (0, -1, 1)
        for flipped in (False, True)
    ]
    for place in (0, 1):
        stages = [stage[-1 - place] for stage in one]
        bound = (
            6 * np.finfo(np.float32).eps * np.abs(stages).max()
        )  # of a float32 mean over six, in any order
        for view, members in (("mirrored and shifted", stages), ("mirrored", stages[:2])):
            np.testing.assert_allclose(seen[view][place], np.mean(members, axis=0), atol=bound, rtol=0)
        np.testing.assert_array_equal(seen["as is"][place], stages[0])


def test_runs_together_hold_what_figures_of_grids_draw(reported):
    report, _ = reported
    (run,) = together([report])["runs"]
    assert run["by_view"] == report["by_view"]
    assert run["last"] == report["metrics"][-1]
    assert set(run) == {"recipe", "coarse_map", "accuracy", "by_view", "last"}


def row(clp, view="as is", method="k-means"):
    scores = {"share": 0.9, "clp": clp, "oracle": 0.95, "clp_in_class": clp, "oracle_in_class": 0.95}
    return {"view": view, "stages": "last", "method": method} | scores


def test_summary_gives_means_intervals_and_the_ratio_to_the_baseline():
    coarse = [{"recipe": {"labels": "coarse", "map": "mod"}, "by_view": [row(v)]} for v in (0.8, 0.84, 0.88)]
    fine = [{"recipe": {"labels": "fine", "map": "mod"}, "accuracy": {"as is": v}} for v in (0.9, 0.92)]
    (found,) = summary([*coarse, *fine])
    assert found["runs"] == 3
    assert found["clp"] == pytest.approx(0.84)
    assert found["clp ±"] == pytest.approx(4.302653 * 0.04 / np.sqrt(3), rel=1e-6)  # Student's t, 2 degrees
    assert found["ratio"] == pytest.approx(0.84 / 0.91)


def test_summary_of_one_run_has_no_interval_and_no_ratio_without_a_baseline():
    (found,) = summary([{"recipe": {"labels": "coarse", "map": "mod"}, "by_view": [row(0.8)]}])
    assert np.isnan(found["clp ±"])
    assert found["ratio"] is None


def test_two_processes_find_what_one_does(monkeypatch):
    # The others load the module anew.
    monkeypatch.setattr(cluster, "STARTS", 10)
    rng = np.random.default_rng(0)
    fine, trained = np.arange(120) % 4, SimpleNamespace(coarse_map=np.array([0, 1, 0, 1]), recipe=RECIPE)
    shown = {}
    for place in ("one", "another"):
        x = rng.standard_normal((120, 6)) + 3 * rng.standard_normal((4, 6))[fine]
        shown[place] = Representation((x[:80], fine[:80]), (x[80:], fine[80:]), rng.standard_normal((2, 6)))
    assert study._side_by_side(shown, trained, 2) == study._side_by_side(shown, trained, 1)


def test_a_study_hands_its_processes_to_all_that_clusters_side_by_side(reported, tmp_path, monkeypatch):
    jobs = []
    shutil.copytree(reported[1], tmp_path / "run")
    monkeypatch.setattr(study, "_side_by_side", lambda shown, trained, count: jobs.append(count) or {})
    monkeypatch.setattr(study, "by_epoch", lambda *_: [])
    monkeypatch.setattr(file, "_drawn", lambda *_: {})
    whole(RECIPE, DATA, tmp_path / "run", device="cpu", jobs=2)
    glance(RECIPE, DATA, tmp_path / "run", device="cpu", jobs=3)
    assert jobs == [2, 2, 3]


def test_too_few_images_for_a_glance_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="images must be so many that every class is among them, got 3: "):
        glance(RECIPE, DATA, tmp_path / "run", images=3, device="cpu")
    assert not (tmp_path / "run").exists()
