"""Every command with every option at its least usual value, on small sets: what it wrote is read, none is left out.

Names of classes and folders are such as a terminal, rich or matplotlib would interpret.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from programs import program
from safetensors import safe_open
from tiny_images import tiny_images

from finegrain.cli import app

CLASSES = ["[/x]", "$\\frac$", "c\x1b[2Jd", 'Grün, "q"']
FOLDERS = ["[red]x", "$\\frac$", "c", "Grün"]
RECIPE = """
name = "least"
[recipe]
network = "resnet9"
width = 4
scale = 1.0
map = {map}
labels = "{labels}"
loss = "squared"
epochs = 2
batch = 16
learning_rate = 0.05
schedule = "cosine"
momentum = 0.0
weight_decay = 0.0
shift_rate = 8
lookahead = true
crop = 0
flip = "none"
sizes = [[1, 12]]
precision = "bf16"
seed = 3
measure_every = 2
measured = 24
"""
MODEL = """
import torch
def build():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 2), torch.nn.ReLU(inplace=True))
    x = torch.randn(80, 1, 6)
    return torch.nn.Sequential(model, model), [(x[i::4], torch.arange(80)[i::4] % 4) for i in range(4)]
"""
COMMANDS = ("train", "predict", "measure", "discover", "recover", "terms")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images, features of every format, a model, a map and a classifier."""
    folder = tmp_path_factory.mktemp("inputs")
    data = tiny_images(48, 24)
    for split, x, y in (("train", data.train_x, data.train_y), ("test", data.test_x, data.test_y)):
        for i, (image, label) in enumerate(zip(x, y, strict=True)):
            file = folder / "[b] images" / split / FOLDERS[label] / f"{i:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    rng, y = np.random.default_rng(0), np.arange(120) % 4
    x = rng.standard_normal((120, 5)) + 8 * np.eye(4, 5)[y]
    (folder / "x[").mkdir()
    np.save(folder / "x[/b].npy", x)
    np.save(folder / "y.npy", np.array(CLASSES)[y])
    np.savez(folder / "head.npz", weight=np.eye(2, 5), bias=np.zeros(2))
    np.save(folder / "pictures.npy", rng.random((120, 4, 4)))
    np.savez(folder / "split.npz", features=x[:80], labels=y[:80], test_features=x[80:], test_labels=y[80:])
    (folder / "model.py").write_text(MODEL)
    (folder / "map.json").write_text(
        json.dumps(dict(zip(CLASSES, ["[/k]", "$k$", "[/k]", "$k$"], strict=True)))
    )
    return folder


def run(place, command, *arguments):
    result = program(command, *arguments, cwd=place)
    assert result.returncode == 0, result.stderr
    assert not any(c in result.stdout + result.stderr for c in "\x1b\x07")
    return result.stdout


def read(file: Path):
    assert file.is_file()
    return json.loads(file.read_text())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("form", ["mod", "halves", "random:7", [0, 1, 1, 0], "0,1,1,0"])
def test_train_and_recover_with_every_form_of_the_map(place, tmp_path, form):
    (tmp_path / "least.toml").write_text(RECIPE.format(map=json.dumps(form), labels="coarse"))
    out = tmp_path / "out [/a]"
    asked = (
        tmp_path / "least.toml",
        "--data",
        "images:[b] images",
        "--root",
        ".",
        "--out",
        out,
        "--device",
        "cpu",
    )
    run(place, "train", *asked)
    assert len((out / "least" / "metrics.jsonl").read_text().splitlines()) == 2
    file = tmp_path / "all.json"
    shown = run(place, "recover", *asked, "--glance", "--images", 32, "--jobs", 1, "--json", file)
    assert "out [/a]/least/glance.json" in shown
    (report,) = read(file)["runs"]
    assert report["recipe"]["map"] == (form if isinstance(form, str) else list(form))
    assert report["recipe"] == read(out / "least" / "glance.json")["recipe"]


def test_train_stops_after_steps_and_a_run_on_fine_labels_is_the_baseline(place, tmp_path):
    (tmp_path / "least.toml").write_text(RECIPE.format(map='"mod"', labels="fine"))
    asked = (tmp_path / "least.toml", "--data", "images:[b] images", "--out", tmp_path, "--device", "cpu")
    run(place, "train", *asked, "--steps", 1)
    assert len((tmp_path / "least" / "metrics.jsonl").read_text().splitlines()) == 1
    shown = run(place, "recover", *asked)
    assert "least" in shown and read(tmp_path / "least" / "recovery.json")["recipe"]["labels"] == "fine"


PREDICT = ("--dim", 6, "--width", 5, "--steps", 12, "--records", 1, "--device", "cpu")
LEAST = {
    "batches and momentum": (
        "--batch-size",
        7,
        "--momentum",
        0.5,
        "--learning-rate",
        0.02,
        "--components",
        1,
    ),
    "the flow": ("--dynamics", "flow", "--weight-decay", 0, "--scale", 0.1, "--seed", 9, "--components", 2),
    "spheres in all of the inputs": ("--shape", "spherical", "--fit-in", "all", "--components", "auto"),
}


@pytest.mark.parametrize("name", LEAST)
def test_predict(place, tmp_path, name):
    asked = ("--data", "images:[b] images", "--root", ".", "--cache", tmp_path / "c", "--map", "0,1,1,0")
    shown = run(place, "predict", *asked, *PREDICT, *LEAST[name], "--out", tmp_path / "[/p]")
    assert "[b] images: predicted against observed" in shown and "[/p]/prediction.json" in shown
    report = read(tmp_path / "[/p]" / "prediction.json")
    assert {row["step"] for row in report["rows"]} == {0, 12} and report["coarse_map"] == [0, 1, 1, 0]


def test_predict_of_features(place, tmp_path):
    run(place, "predict", "--data", "features:split.npz", *PREDICT, "--components", 1, "--out", tmp_path)
    assert read(tmp_path / "prediction.json")["config"]["width"] == 5


def test_measure_of_files(place, tmp_path):
    asked = ("x[/b].npy", "--labels", "y.npy", "--coarse-map", "map.json", "--classifier", "head.npz")
    shown = run(
        place, "measure", *asked, "--covariance", "pooled", "--groups", 5, "--level", 0.5, "--out", tmp_path
    )
    report = read(tmp_path / "measure.json")
    assert sorted(entry["name"] for entry in report["classes"]) == sorted(CLASSES)
    assert {entry["coarse"] for entry in report["classes"]} == {"[/k]", "$k$"}
    assert report["confidence"]["level"] == 0.5 and "nc4" in report["scalars"] and "nc4" in shown
    assert (tmp_path / "measure.pdf").stat().st_size > 1000


@pytest.mark.parametrize("options", [
    ("--layer", "0.0", "--call", 1, "--of", "input", "--axes", "NCL", "--reduce", "max", "--num-classes", 4),
    ("--layer", "0.1", "--call", -1, "--axes", "NTC", "--reduce", "last", "--coarse-map", "0,0,1,1"),
])  # fmt: skip
def test_measure_of_a_model(place, tmp_path, options):
    text = (place / "model.py").read_text().replace("Conv1d(1, 4, 2)", "Conv1d(1, 1, 2)")
    (place / "model.py").write_text(text)
    run(place, "measure", "--model", "model.py:build", *options, "--groups", 1, "--out", tmp_path)
    assert len(read(tmp_path / "measure.json")["classes"]) == 4


def test_discover_of_files(place, tmp_path):
    asked = ("--features", "x[/b].npy", "--labels", "y.npy", "--classifier", "head.npz:weight")
    asked += ("--images", "pictures.npy", "--level", 0.01, "--most", 8, "--jobs", 1, "--predictions", "y.npy")
    asked += ("--seed", 5, "--out", tmp_path / "[/d]")
    shown = run(place, "discover", *asked)
    assert "[/x]" in shown and "[/d]" in shown and "c\\x1b[2Jd" in shown
    found = read(tmp_path / "[/d]" / "discovery.json")
    assert sorted(entry["class"] for entry in found["classes"]) == sorted(CLASSES)
    with open(tmp_path / "[/d]" / "subclasses.csv", newline="") as file:
        assert set(CLASSES) <= {cell for row in csv.reader(file) for cell in row}


def test_discover_of_a_network(place, tmp_path):
    asked = ("--data", "images:[b] images", "--root", ".", "--map", "halves", "--width", 6, "--steps", 20)
    run(place, "discover", *asked, "--out", tmp_path)
    assert len(read(tmp_path / "discovery.json")["classes"]) == 2


@pytest.mark.parametrize(("command", "name", "asked"), [
    ("measure", "measure.json", ("absent.npz",)),
    ("predict", "prediction.json", ("--data", "images:absent")),
    ("recover", "all.json", ("absent.toml", "--data", "digits", "--json")),
    ("theory", "all.json", ("--theorem", "T3", "--json")),
    ("sims", "all.json", ("verify", "--theorem", "T3", "--json")),
])  # fmt: skip
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, command, name, asked):
    (tmp_path / name).mkdir()
    last = (tmp_path / name,) if asked[-1] == "--json" else ("--out", tmp_path)
    if command == "recover":
        (tmp_path / "absent.toml").write_text(RECIPE.format(map='"mod"', labels="coarse"))
    result = program(command, *asked, *last, cwd=tmp_path)
    assert result.returncode == 2 and f"{name} is a folder; name a file" in result.stderr, result.stderr


def test_terms_in_pixels_and_in_a_run(place, tmp_path):
    # At a lower rate: at the recipe's this network ends by mapping images to one point.
    recipe = RECIPE.format(map='"mod"', labels="fine").replace("rate = 0.05", "rate = 0.001")
    (tmp_path / "least.toml").write_text(recipe)
    asked = ("--data", "images:[b] images", "--root", ".")
    run(place, "recover", tmp_path / "least.toml", *asked, "--out", tmp_path / "[r]", "--device", "cpu")
    files = sorted((place / "[b] images").rglob("*.png"))
    with open(place / "terms[.csv", "w", newline="") as table:
        rows = [
            (f.relative_to(place / "[b] images"), ["[/t]", "\x1b[2Ju"][i % 2]) for i, f in enumerate(files)
        ]
        csv.writer(table).writerows([("path", "synset"), *rows])
    below = ("--terms", "subtypes:terms[.csv", "--least", 4, "--seed", 3)
    file = tmp_path / "[t].json"
    shown = run(place, "terms", *asked, *below, "--run", tmp_path / "[r]" / "least", "--json", file)
    assert "[red]x" in shown and "[t].json" in shown
    places = read(file)["places"]
    assert [len(found["classes"]) for found in places.values()] == [4, 4] and list(places)[1] == "least"


def test_no_option_of_a_command_is_left_untried():
    source = Path(__file__).read_text()
    for name, command in typer.main.get_command(app).commands.items():
        if name in COMMANDS:
            options = {o for p in command.params for o in p.opts if o.startswith("--") and o != "--help"}
            untried = sorted(o for o in options if f'"{o}"' not in source)
            assert not untried, f"{name} {', '.join(untried)}"


def test_a_checkpoint_is_read_by_another_reader(place, tmp_path):
    (tmp_path / "least.toml").write_text(RECIPE.format(map='"mod"', labels="coarse"))
    run(
        place,
        "train",
        tmp_path / "least.toml",
        "--data",
        "images:[b] images",
        "--out",
        tmp_path,
        "--device",
        "cpu",
    )
    for file in (tmp_path / "least" / "checkpoints").iterdir():
        with safe_open(file, framework="numpy") as opened:
            assert all(np.isfinite(opened.get_tensor(name)).all() for name in opened.keys())  # noqa: SIM118
