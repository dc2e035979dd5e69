"""Documentation that cannot drift: code blocks run, links lead somewhere, every theorem has its section."""

import ast
import io
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from finegrain.theory.theorems import THEOREMS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_to_a_file(page):
    prose = re.sub(r"`[^`]*`", "", page.read_text())
    missing = [link for link in LINK.findall(prose) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_blocks_run_in_order(page, tmp_path, monkeypatch):
    """In names of their own, but in this interpreter, which spares each page the seconds of its imports."""
    blocks = python_blocks(page)
    if not blocks:
        pytest.skip("no code on this page")
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    said = io.StringIO()
    with redirect_stdout(said), torch.random.fork_rng(devices=[]):
        runpy.run_path(str(script), run_name="__main__")
    for shown in re.findall(r"```python\n.*?```\n+```text\n(.*?)```", page.read_text(), re.DOTALL):
        assert shown in said.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_pages_import_what_they_use_by_name(page):
    """So a page runs in a new interpreter too: no block lives on a module that another test has imported."""
    for node in ast.walk(ast.parse("\n".join(python_blocks(page)))):
        if isinstance(node, ast.Import):
            assert [a.name for a in node.names if "." in a.name] == []


def test_the_theory_page_has_a_section_a_figure_and_the_files_of_every_theorem():
    page = (ROOT / "docs" / "theory.md").read_text()
    sections = dict(re.findall(r"^## (T\d+) (.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    assert list(sections) == [m.THEOREM.id for m in THEOREMS]
    for module in THEOREMS:
        name = module.__name__.rsplit(".", 1)[1]
        section = sections[module.THEOREM.id]
        for wanted in (
            f"theorems/{name}.py",
            f"sims/theorems/{name}.py",
            f"test_{name}.py",
            f"figures/{name}.png",
        ):
            assert wanted in section, f"{module.THEOREM.id} lacks {wanted}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name != "results"], ids=lambda p: p.name)
def test_the_reference_has_every_name_that_the_page_imports(page):
    reference = re.findall(r"^::: (\S+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert len(set(reference)) == len(reference)
    for node in ast.walk(ast.parse("\n".join(python_blocks(page)))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "finegrain":
            names = {}
            exec(ast.unparse(node), names)
            for name in (alias.name for alias in node.names):
                module = getattr(names[name], "__module__", None) or getattr(
                    names[name], "__name__", node.module
                )
                assert {module, f"{module}.{name}"} & set(reference), f"{name} of {module}"
