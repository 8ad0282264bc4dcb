"""A report as Markdown, set between markers into a page whose own text is kept."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from napari_medmeta.bench.document import Block, Bullets, Code, Document, Photo, Picture, Section, Table, Text

__all__ = ["set_section", "write_markdown"]

_HAND = "(written by `napari-medmeta bench`, not by hand)"
SUMMARY = (f"<!-- summary: begin {_HAND} -->", "<!-- summary: end -->")
TABLES = (f"<!-- tables: begin {_HAND} -->", "<!-- tables: end -->")
IMAGES = "images"


def write_markdown(path: Path, document: Document) -> Path:
    """Write the report into ``path`` between its markers, and its drawings into ``images`` beside it.

    Text outside of the markers is kept. A page without the markers of the summary gets it above the tables; one
    without any gets all of it at its end.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    summary, tables = (_sections(part, path.parent) for part in (document.summary, document.sections))
    if SUMMARY[0] in old and SUMMARY[1] in old:
        page = _between(_between(old, SUMMARY, summary), TABLES, tables)
    else:
        page = _between(old, TABLES, f"{summary}\n\n{tables}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def set_section(path: Path, name: str, section: Section) -> Path:
    """Write one section into ``path`` between the markers ``<!-- name: begin ... -->`` and ``<!-- name: end -->``.

    All other text is kept; only what stands between the markers is replaced. A page without these markers gets
    them, below the section's title, at its end.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    begin, end = f"<!-- {name}: begin (written by `napari-medmeta evaluate`, not by hand) -->", f"<!-- {name}: end -->"
    if not re.search(rf"<!-- {re.escape(name)}: begin\b.*?-->", old):
        old = f"{old.rstrip()}\n\n## {_plain(section.title)}\n\n{begin}\n{end}\n"
    # The opening line may have been written by hand, without the words in brackets.
    page = re.sub(rf"<!-- {re.escape(name)}: begin\b.*?-->", lambda _: begin, old, count=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "\n\n".join(_blocks(section.blocks, path.parent))
    path.write_text(_between(page, (begin, end), body), encoding="utf-8")
    return path


def _between(page: str, markers: tuple[str, str], body: str) -> str:
    begin, end = markers
    block = f"{begin}\n\n{body}\n\n{end}"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    return f"{before}{block}{after}" if found and closed else f"{page.rstrip()}\n\n{block}\n"


def _sections(sections: Sequence[Section], folder: Path) -> str:
    shown = [s for s in sections if not s.detail]
    return "\n\n".join("\n\n".join([f"## {_plain(s.title)}", *_blocks(s.blocks, folder)]) for s in shown)


def _blocks(blocks: Sequence[Block], folder: Path) -> list[str]:
    return [text for block in blocks if (text := _block(block, folder))]


def _block(block: Block, folder: Path) -> str:
    match block:
        case Text(text):
            return _plain(text)
        case Code(text):
            return f"    {text}"
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Table():
            return _table(block)
        case Picture():
            return _picture(block, folder)
        case Photo():
            # A picture of a patient: not for a page that is published.
            return ""


def _picture(picture: Picture, folder: Path) -> str:
    images = folder / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    file = images / f"{picture.name}.svg"
    file.write_text(picture.svg, encoding="utf-8")
    return f"![{_plain(picture.caption)}]({os.path.relpath(file, folder)})"


def _table(table: Table) -> str:
    lines = [_row(table.header), "|" + "---|" * len(table.header)]
    for i, row in enumerate(table.rows):
        cells = [_plain(cell) for cell in row]
        lines.append(_row([f"**{c}**" if (i, j) in table.bold and c else c for j, c in enumerate(cells)]))
    text = "\n".join(lines)
    return f"<details><summary>{_plain(table.folded)}</summary>\n\n{text}\n\n</details>" if table.folded else text


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    # A case may be named like a tag, and Markdown lets HTML through.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
