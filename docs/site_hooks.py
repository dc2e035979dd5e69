"""What the site has besides the pages of docs/: the README as its home, and each source file that a page links to.

Pages link to sources and to the README as files of the repository, where such links work without a site.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the home page, and a page for each source that is linked to."""
    readme = (ROOT / "README.md").read_text()
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    linked = {
        path for page in files.documentation_pages() for path in _sources(page.src_uri, page.content_string)
    }
    for path in sorted(linked):
        text = (ROOT / path).read_text()
        content = f"# {path}\n\n````{_language(path)}\n{text}\n````\n"
        files.append(File.generated(config, _page_of(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to sources to their pages."""
    uri = page.file.src_uri
    if uri.startswith("source/"):
        return markdown

    def relinked(match: re.Match[str]) -> str:
        path = _outside(uri, match[1])
        return match[1] if path is None else os.path.relpath(_page_of(path), os.path.dirname(uri) or ".")

    return LINK.sub(relinked, markdown)


def _sources(uri: str, markdown: str) -> Iterator[str]:
    for match in LINK.finditer(markdown):
        path = _outside(uri, match[1])
        if path is not None:
            yield path


def _outside(uri: str, link: str) -> str | None:
    """The file of the repository, outside docs/, that a link of page docs/`uri` leads to; None for other links."""
    path = os.path.normpath(os.path.join("docs", os.path.dirname(uri), link))
    return None if path.startswith(("docs/", "..")) or not (ROOT / path).is_file() else path


def _page_of(path: str) -> str:
    return f"source/{path}.md"


def _language(path: str) -> str:
    return {".py": "python", ".toml": "toml", ".json": "json"}.get(Path(path).suffix, "text")
