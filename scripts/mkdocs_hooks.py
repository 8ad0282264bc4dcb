"""Bring files of the repository that the pages link to, such as the changelog, into the site."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

REPO = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file outside of docs/ that a page links to, under its path in the repository."""
    waiting = list(files.documentation_pages())
    while waiting:
        source = Path(str(waiting.pop().abs_src_path))
        for target, _ in LINK.findall(source.read_text(encoding="utf-8")):
            place = _place(source, target, config)
            if place is None or files.get_file_from_path(place) is not None or not (REPO / place).is_file():
                continue
            added = File.generated(config, place, abs_src_path=str(REPO / place), inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(added)
            waiting += [added] if added.is_documentation_page() else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to such files to where they lie in the site."""
    source = Path(str(page.file.abs_src_path))
    here = PurePosixPath(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        place = _place(source, link[1], config)
        if place is None or files.get_file_from_path(place) is None:
            return link[0]
        return f"]({Path(os.path.relpath(place, here)).as_posix()}{link[2] or ''})"

    return LINK.sub(moved, markdown)


def _place(source: Path, target: str, config: MkDocsConfig) -> str | None:
    """Return where in the site ``target`` lies; None when it is no file of this repository."""
    path = (source.parent / target).resolve()
    if path.is_relative_to(config.docs_dir):
        return path.relative_to(config.docs_dir).as_posix()
    return path.relative_to(REPO).as_posix() if path.is_relative_to(REPO) else None
