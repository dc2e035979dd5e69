"""The gallery: nothing current is computed twice, nothing changed is passed over, and the report holds what it says."""

import json
import re
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from finegrain.paper_figs.gallery import build, changes, inputs, report
from finegrain.paper_figs.gallery.order import NAMES, PROOFS
from finegrain.paper_figs.program import main
from finegrain.sims.run_folder import hold


def test_the_sources_of_a_figure_are_those_it_imports_directly_and_through_others():
    names = {"/".join(file.parts[-3:]) for file in inputs.sources("finegrain.paper_figs.specialisation")}
    names |= {name.partition("/")[2] for name in names}
    assert {
        "paper_figs/specialisation.py",
        "sims/theorems/specialisation.py",
        "sims/population/flow.py",
        "theory/moments.py",
    } <= names
    assert not any("empirical/" in name for name in names)
    assert "theory/theorems/specialisation.py" in names


def test_a_recorded_run_is_among_the_sources_of_the_figure_drawn_from_it():
    names = {file.name for file in inputs.sources("finegrain.paper_figs.prediction_fashion_mnist")}
    assert "prediction_fashion_mnist.json" in names


def test_the_digest_follows_the_settings_and_the_content_of_every_source(tmp_path, monkeypatch):
    file = tmp_path / "code.py"
    file.write_text("a = 1")
    monkeypatch.setattr(inputs, "sources", lambda module: {file})
    first = inputs.digest("any", {"seed": 0})
    assert inputs.digest("any", {"seed": 0}) == first
    assert inputs.digest("any", {"seed": 1}) != first
    file.write_text("a = 2")
    assert inputs.digest("any", {"seed": 0}) != first


@pytest.fixture
def counted(monkeypatch):
    """A figure that counts how often it is computed."""
    calls = []

    def compute(jobs, seed):
        calls.append(seed)
        return {"slope": 0.25 + seed, "missing": float("nan"), "array": np.arange(3.0).tolist()}

    module = SimpleNamespace(CLAIM="a claim <of> a test", compute=compute, draw=lambda numbers: Figure())
    monkeypatch.setattr(build, "import_module", lambda name: module)
    monkeypatch.setattr(inputs, "digest", lambda name, settings: json.dumps([name, settings]))
    return calls


def test_a_figure_is_computed_again_only_when_its_inputs_or_files_have_changed(counted, tmp_path):
    record, computed = build.figure("toy", tmp_path, seed=0)
    assert computed
    assert record["numbers"]["missing"] is None  # what is drawn is what the file holds
    assert build.figure("toy", tmp_path, seed=0) == (record, False)
    assert build.figure("toy", tmp_path, seed=1)[1]
    (tmp_path / "toy.pdf").unlink()
    assert build.figure("toy", tmp_path, seed=1)[1]
    assert counted == [0, 1, 1]


def test_a_damaged_record_is_computed_again(counted, tmp_path):
    build.figure("toy", tmp_path, seed=0)
    file = tmp_path / "toy.json"
    file.write_text(file.read_text()[:40])
    assert build.figure("toy", tmp_path, seed=0)[1]
    assert json.loads(file.read_text())["numbers"]["slope"] == 0.25


def test_a_picture_of_other_numbers_is_drawn_anew(counted, tmp_path):
    """As a run of another seed leaves it that was killed before it wrote its record."""
    build.figure("toy", tmp_path, seed=0)
    whole = {kind: (tmp_path / f"toy.{kind}").read_bytes() for kind in ("pdf", "png")}
    (tmp_path / "toy.png").write_bytes(b"the picture of seed 3")
    assert build.figure("toy", tmp_path, seed=0)[1]
    assert whole == {kind: (tmp_path / f"toy.{kind}").read_bytes() for kind in ("pdf", "png")}
    assert not build.figure("toy", tmp_path, seed=0)[1]


def test_of_two_processes_on_one_folder_the_second_is_refused(counted, tmp_path):
    with hold(tmp_path), pytest.raises(OSError, match="is in use by another process"):
        main(["depth"], out=tmp_path, jobs=1)
    assert counted == []


def test_a_curve_is_summed_up_by_its_mean_and_last_value_and_a_number_by_itself():
    numbers = {
        "a": {"b": 2},
        "curve": [[1.0, 2.0], [6.0]],
        "seconds": 3.0,
        "name": "x",
        "flag": True,
        "gap": None,
    }
    assert changes.summary(numbers) == {"a / b": 2.0, "curve, mean": 3.0, "curve, last": 6.0}


def test_only_numbers_beyond_rounding_count_as_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(changes, "COMMITTED", tmp_path / "numbers.json")
    record = {"name": "toy", "seed": 0, "numbers": {"a": 1.0, "b": 2.0, "c": 3.0}}
    changes.accept([record])
    assert changes.changes(record) == []
    moved = record | {"numbers": {"a": 1.0 + 1e-8, "b": 2.1, "d": 4.0}}
    assert changes.changes(moved) == [("b", 2.0, 2.1), ("c", 3.0, None), ("d", None, 4.0)]
    assert changes.changes(moved | {"seed": 1}) == []


def test_a_number_in_which_rounding_is_amplified_has_a_tolerance_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(changes, "COMMITTED", tmp_path / "numbers.json")
    records = [{"name": name, "seed": 0, "numbers": {"a": 1.0, "b": 1.0}} for name in ("toy", "trained")]
    changes.accept(records)
    monkeypatch.setattr(changes, "AMPLIFIED", {("trained", "a"): (1e-4, 0.0)})
    moved = [record | {"numbers": {"a": 1.0 + 1e-5, "b": 1.0 + 1e-5}} for record in records]
    found = {record["name"]: [change.key for change in changes.changes(record)] for record in moved}
    assert found == {"toy": ["a", "b"], "trained": ["b"]}
    beyond = records[1] | {"numbers": {"a": 1.0 + 1e-3, "b": 1.0}}
    assert [change.key for change in changes.changes(beyond)] == ["a"]


def test_every_tolerance_is_of_numbers_that_a_figure_has():
    known = changes.committed()
    for name, path in changes.AMPLIFIED:
        assert any(key.startswith(path) for key in known[name])


def test_accepting_some_figures_keeps_the_numbers_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(changes, "COMMITTED", tmp_path / "numbers.json")
    changes.accept([{"name": "one", "seed": 0, "numbers": {"a": 1.0}}])
    changes.accept([{"name": "two", "seed": 0, "numbers": {"a": 2.0}}])
    assert changes.committed() == {"one": {"a": 1.0}, "two": {"a": 2.0}}


def test_the_report_is_one_file_with_every_claim_image_and_theorem_and_names_no_other_server(
    counted, tmp_path
):
    record, _ = build.figure("toy", tmp_path, seed=0)
    row = {
        "name": "toy",
        "id": "T99",
        "subject": "a <subject>",
        "statement": "s",
        "assumptions": ["one", "two"],
    }
    row |= {"seconds": 0.1, "failure": "", "sizes": "all"}
    page = report.write(tmp_path, [record], [row]).read_text()
    assert "T99 a &lt;subject&gt;" in page
    assert "A claim &lt;of&gt; a test." in page
    assert len(re.findall(r'<img src="data:image/png;base64,[A-Za-z0-9+/=]{100,}" alt="[^"]+">', page)) == 1
    assert "<li>two</li>" in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert 'id="view"' not in page  # the figure it shows was not asked for


def test_a_figure_of_no_theorem_has_a_title_of_its_own():
    for name in set(NAMES) - set(PROOFS):
        assert import_module(f"finegrain.paper_figs.{name}").TITLE


def test_the_data_of_the_view_cannot_end_its_script_element(tmp_path, counted):
    record, _ = build.figure("toy", tmp_path, seed=0)
    row = {"observable": "fine_share", "time": 0.0, "predicted": 0.5, "observed": 0.5}
    distances = {
        "predicted": [[[0.0, 1.0], [1.0, 0.0]]],
        "observed": [[[0.0, 1.0], [1.0, 0.0]]],
        "x": "</script>",
    }
    numbers = {"rows": [row], "class_distances": distances, "coarse_map": [0, 1]}
    (tmp_path / "prediction.png").write_bytes((tmp_path / "toy.png").read_bytes())
    page = report.write(tmp_path, [record | {"name": "prediction", "numbers": numbers}], []).read_text()
    data = page.split('id="view-data">')[1].split("</script>")[0]
    assert json.loads(data)["fineShare"] == [[0.5, 0.5]]
    assert json.loads(data)["x"] == "</script>"
