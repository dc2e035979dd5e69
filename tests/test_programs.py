"""The program: help with examples, results as files, and errors in one line that say what to do."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from programs import ROOT, process, program

import finegrain as fg


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["theory"],
        ["sims"],
        ["sims", "verify"],
        ["sims", "sweep"],
        ["sims", "plot"],
        ["predict"],
        ["measure"],
        ["discover"],
        ["train"],
        ["recover"],
        ["figures"],
    ],
)
def test_help_shows_examples(arguments):
    result = program(*arguments, "--help")
    assert result.returncode == 0
    assert f"finegrain {' '.join(arguments[:1])}" in result.stdout
    assert "Examples:" in result.stdout


def test_the_help_names_every_command():
    result = program("--help")
    for command in (
        "theory",
        "sims",
        "predict",
        "measure",
        "discover",
        "train",
        "recover",
        "terms",
        "figures",
    ):
        assert re.search(rf"^\W*{command} +\w", result.stdout, re.MULTILINE), command


def test_the_version_is_that_of_the_package():
    assert program("--version").stdout == f"finegrain {fg.__version__}\n"


def test_one_theorem_is_proved_and_written(tmp_path):
    file = tmp_path / "ledger.json"
    result = program("theory", "--theorem", "t3", "--json", file)
    assert result.returncode == 0, result.stderr
    assert "steps and their twins in" in result.stdout
    assert f"ledger written to {file}" in result.stdout.replace("\n", "")
    (row,) = json.loads(file.read_text())
    assert row["id"] == "T3"
    assert row["failure"] == ""
    assert len(row["assumptions"]) == 4


@pytest.mark.parametrize("rank", [0, 1])
def test_of_processes_that_torchrun_starts_the_first_alone_speaks(rank, monkeypatch):
    monkeypatch.setenv("RANK", str(rank))
    code = "from finegrain.theory.tools.console import console, tracked; "
    code += "console.print('a word'); list(tracked([0], 'a bar'))"
    speaker = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert speaker.returncode == 0, speaker.stderr
    assert ("a word" in speaker.stdout, "a bar" in speaker.stderr) == (rank == 0, rank == 0)


def test_latex_prints_the_expressions():
    result = program("theory", "--theorem", "T7", "--latex")
    assert result.returncode == 0
    assert r"\frac{\ln \mathrm{sep}}{\ln \varepsilon} = 1 - \sqrt{\frac{q}{S}}" in result.stdout


def test_verify_compares_and_writes_its_rows(tmp_path):
    file = tmp_path / "rows.json"
    result = program("sims", "verify", "--theorem", "T4", "--seed", 1, "--json", file)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(file.read_text())
    assert report["seed"] == 1
    assert all(row["holds"] and row["error"] <= row["bound"] for row in report["rows"])


def test_predict_writes_table_figure_and_json_and_resumes(tmp_path):
    arguments = ["predict", "--steps", 30, "--dim", 6, "--width", 4, "--components", 1]
    arguments += ["--records", 4, "--device", "cpu", "--out", tmp_path / "run"]
    first = program(*arguments)
    assert first.returncode == 0, first.stderr
    assert "fine_share" in first.stdout
    report = json.loads((tmp_path / "run" / "prediction.json").read_text())
    assert report["config"]["steps"] == 30
    assert {"step", "time", "observable", "predicted", "observed", "test", "error"} <= report["rows"][
        0
    ].keys()
    for suffix in ("pdf", "png"):
        assert (tmp_path / "run" / f"prediction.{suffix}").stat().st_size > 1000
    again = program(*arguments)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "run" / "prediction.json").read_text())["rows"] == report["rows"]


def test_discover_reads_files_and_writes_what_it_found(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.array(["bird", "fish"])[np.arange(200) % 2]
    features = rng.standard_normal((200, 5)) + 4
    features[:, 0] += 20 * (labels == "bird")
    features[:, 1] += 9 * rng.integers(0, 2, 200) * (labels == "bird")
    np.savez(tmp_path / "x.npz", features=features, labels=labels)
    np.savez(tmp_path / "head.npz", weight=np.eye(1, 5), bias=np.zeros(1))
    np.save(tmp_path / "images.npy", rng.random((200, 4, 4)))
    arguments = ["--features", "x.npz", "--classifier", "head.npz", "--images", "images.npy", "--out", "out"]
    result = program("discover", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = {
        entry["class"]: entry
        for entry in json.loads((tmp_path / "out/discovery.json").read_text())["classes"]
    }
    assert {name: entry["subclasses"] for name, entry in found.items()} == {"bird": 2, "fish": 1}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"subclasses.csv", "subclasses.npz", "contact_sheet.pdf", "contact_sheet.png"}
    short = program("discover", "--features", "x.npz", "--images", "x.npz:labels", cwd=tmp_path)
    assert short.returncode == 2
    assert "images must have shape (200, H, W)" in short.stderr
    np.save(tmp_path / "flat.npy", rng.random((200, 16)))
    flat = program("discover", "--features", "x.npz", "--images", "flat.npy", cwd=tmp_path)
    assert "images must have shape (200, H, W) or (200, H, W, 3), got (200, 16)" in flat.stderr


def test_a_figure_is_written_with_its_numbers(tmp_path):
    result = program("figures", "collapse_of_scale", "--out", tmp_path, "--jobs", 1)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "collapse_of_scale.json").read_text())
    assert record["numbers"]["worst_relative_error"] < 1e-8
    assert {p.suffix for p in tmp_path.iterdir() if p.is_file() and p.name != ".lock"} == {
        ".pdf",
        ".png",
        ".json",
        ".html",
    }
    again = program("figures", "--only", "collapse_of_scale", "--out", tmp_path, "--jobs", 1)
    assert again.stdout.count("unchanged") == 2  # the figure and the theorem's proof


ERRORS = [
    (["theory", "--theorem", "T99"], "--theorem must be one of T"),
    (["sims", "verify", "--theorem", "T99"], "got 'T99'"),
    (["predict", "--data", "fashion-mnits"], "fashion-mnist"),
    (["predict", "--map", "modd"], "mod"),
    (["discover"], "discover needs --features or --data, and not both"),
    (["discover", "--features", "none.npz"], "no file none.npz"),
    (
        ["discover", "--features", "x.npz", "--root", "."],
        "discover without --data does not read --root: leave it out",
    ),
    (
        ["discover", "--data", "digits", "--labels", "y.npy", "--images", "i.npy"],
        "discover without --features does not read --labels, --images: leave it out",
    ),
    (["predict", "--map", "0,0,0,0,0,0,0,0,0,2"], "coarse_map"),
    (
        ["predict", "--components", "many"],
        "components, if not auto, must be an integer >= 1, got 'many'",
    ),
    (["predict", "--data", "features:none.npz"], "no file none.npz"),
    (["predict", "--dynamics", "jump"], "dynamics must be one of descent, flow; got 'jump'"),
    (["measure", "nothing.npz"], "no file nothing.npz"),
    (["measure"], "measure needs files of features, or --model with --layer"),
    (["train", "nothing.toml", "--data", "digits"], "no file nothing.toml, and no recipe of that name"),
    (["sims", "sweep", "nothing.toml"], "nothing.toml: No such file or directory"),
    (["figures", "nothing"], "figure names must be among prediction_fashion_mnist, prediction, "),
]


@pytest.mark.parametrize("arguments", [["sims", "verify", "--theorem", "T99"], ["measure"]])
def test_an_interpreter_of_its_own_ends_in_the_same_way(arguments, tmp_path):
    """As the other tests run the programs in theirs."""
    alone, here = process(*arguments, cwd=tmp_path), program(*arguments, cwd=tmp_path)
    assert (alone.returncode, alone.stdout, alone.stderr) == (here.returncode, here.stdout, here.stderr)
    assert alone.returncode == 2


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors_are_one_line_without_a_traceback(arguments, message, tmp_path):
    result = program(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "[Errno" not in result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    for arguments in (["predict", "--out"], ["figures", "--out"]):
        result = program(*arguments, tmp_path / "file" / "out")
        assert result.returncode == 2
        assert f"is not writable: {tmp_path / 'file'} is a file; name a folder" in result.stderr
