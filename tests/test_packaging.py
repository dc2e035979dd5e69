"""The package as one installs it: one name, whatever else lies around, and imports that load no more than they need."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import finegrain as fg

ROOT = Path(__file__).parents[1]
TOPS = ("theory", "sims", "empirical", "paper_figs")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HELP = """
import sys
from finegrain.cli import main
sys.argv = ["finegrain", *{0}]
try:
    main()
except SystemExit:
    pass
"""
LOADED = "\nprint('LOADED', *sorted({m.partition('.')[0] for m in sys.modules}))"
PUBLIC = "import sys, finegrain as fg\nfg.Mixture, fg.Moments, fg.MomentsAccumulator, fg.kinematics, fg.observables"
HEAVY = {"torch", "sklearn", "matplotlib", "sympy", "PIL"}

BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({out!r}))"


def python(*arguments, cwd=None, path=(ROOT,)):
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    environment |= {"COLUMNS": "200", "TERM": "dumb"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import sys, finegrain", HEAVY | {"numpy", "scipy", "typer", "rich"}),
        ("import sys, finegrain.theory", HEAVY | {"numpy", "scipy", "typer", "rich"}),
        (PUBLIC, HEAVY | {"typer", "rich"}),
        (HELP.format(["--help"]), HEAVY | {"scipy"}),
        (HELP.format(["predict", "--help"]), HEAVY | {"scipy"}),
    ],
    ids=["finegrain", "theory", "the public names", "finegrain --help", "predict --help"],
)
def test_nothing_is_loaded_before_it_is_needed(code, unwanted):
    """What makes an import slow, rather than a time, which would depend on the machine."""
    result = python("-c", code + LOADED)
    assert result.returncode == 0, result.stderr
    loaded = result.stdout.splitlines()[-1].split()
    assert loaded[0] == "LOADED" and not unwanted & set(loaded)


@pytest.mark.parametrize("name", fg.__all__)
def test_every_public_name_is_listed_and_loads(name):
    assert name in dir(fg)
    assert getattr(fg, name) is not None


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Moment"):
        fg.Moment  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "discover"),
        (["theory", "--theorem", "T3"], 0, "steps and their twins in"),
        (["theroy"], 2, "No such command 'theroy'"),
    ],
)
def test_one_command_runs_the_programs(arguments, code, text):
    result = python("-m", "finegrain", *arguments)
    assert result.returncode == code, result.stderr
    assert text in result.stdout + result.stderr


def test_what_is_installed_is_what_is_here():
    project = PYPROJECT["project"]
    assert project["scripts"] == {"finegrain": "finegrain.cli:main"}
    assert project["version"] == fg.__version__
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_packages_listed_are_the_folders():
    found = {"finegrain", "finegrain.configs"}
    for top in TOPS:
        files = (ROOT / top).rglob("__init__.py")
        found |= {f"finegrain.{'.'.join(file.parent.relative_to(ROOT).parts)}" for file in files}
    assert sorted(found) == sorted(PYPROJECT["tool"]["setuptools"]["packages"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and a source archive of the tree, and a wheel and an archive of what is in that archive."""
    folder = tmp_path_factory.mktemp("built")
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "tree" / name).write_bytes((ROOT / name).read_bytes())
    first = {kind: _build(kind, folder / "tree", folder / "first") for kind in ("sdist", "wheel")}
    with tarfile.open(first["sdist"]) as archive:
        archive.extractall(folder / "again", filter="data")
    (source,) = (folder / "again").iterdir()
    second = {kind: _build(kind, source, folder / "second") for kind in ("sdist", "wheel")}
    return first, second


def _build(kind, source, out):
    out.mkdir(exist_ok=True)
    result = python("-c", BUILD.format(kind=kind, out=str(out)), cwd=source, path=())
    assert result.returncode == 0, result.stderr
    return out / result.stdout.splitlines()[-1]


def contents(file):
    """Digest of each member, by name."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    with tarfile.open(file) as archive:
        members = [member for member in archive if member.isfile()]
        return {m.name: hashlib.sha256(archive.extractfile(m).read()).hexdigest() for m in members}


def test_a_wheel_holds_finegrain_alone(built):
    names = contents(built[0]["wheel"])
    assert {name.partition("/")[0] for name in names} == {
        "finegrain",
        f"finegrain-{fg.__version__}.dist-info",
    }
    assert {"finegrain/py.typed", "finegrain/__init__.pyi", "finegrain/configs/cifar.toml"} <= set(names)
    assert "finegrain/paper_figs/gallery/report.html.j2" in names


def test_a_wheel_holds_every_module(built):
    modules = {
        str(f.relative_to(ROOT))
        for top in ("theory", "sims", "empirical", "paper_figs")
        for f in (ROOT / top).rglob("*.py")
    }
    assert {f"finegrain/{name}" for name in modules} <= set(contents(built[0]["wheel"]))


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_what_is_built_from_the_source_archive_is_what_is_built_from_the_tree(built, kind):
    first, second = built
    assert contents(first[kind]) == contents(second[kind])


def test_an_installed_wheel_works_in_a_folder_with_names_like_ours_and_beside_such_a_package(built, tmp_path):
    """Folders theory/, sims/, tests/ of the user's own, and an installed package that is called empirical."""
    site, work = tmp_path / "site", tmp_path / "work"
    with zipfile.ZipFile(built[0]["wheel"]) as archive:
        archive.extractall(site)
    for folder in (work / "theory", work / "sims", work / "tests", site / "empirical", site / "paper_figs"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('not ours')")
    (work / "use.py").write_text(
        "import runpy, sys, finegrain as fg\n"
        "for name in fg.__all__: getattr(fg, name)\n"
        "files = {m.__file__ for n, m in sys.modules.items() if n.startswith('finegrain') and m.__file__}\n"
        "print(all(file.startswith(sys.argv[1]) for file in files), len(files))\n"
        # As `python -m finegrain` does, without the seconds of another interpreter.
        "sys.argv = ['finegrain', 'theory', '--theorem', 'T3']\n"
        "runpy.run_module('finegrain', run_name='__main__', alter_sys=True)"
    )
    result = python("use.py", site, cwd=work, path=(site,))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("True ")
    assert "steps and their twins in" in result.stdout, result.stderr


def test_the_oldest_versions_that_are_tested_are_those_allowed():
    allowed = PYPROJECT["project"]["dependencies"]
    tested = (ROOT / "tests" / "oldest.txt").read_text()
    for library in ("numpy", "scipy"):
        (least,) = [d.removeprefix(f"{library}>=") for d in allowed if d.startswith(f"{library}>=")]
        assert f"{library}=={least}\n" in tested
