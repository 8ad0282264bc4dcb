"""A report as one HTML page that needs nothing else: no network, no scripts, no files beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from napari_medmeta.bench.document import Block, Bullets, Code, Document, Photo, Picture, Section, Table, Text
from napari_medmeta.bench.figures import INK

__all__ = ["write_html"]

STYLE = """
:root { color-scheme: light dark;
  --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --ground: #ffffff; --shade: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --ground: #0d1117; --shade: #151b23; } }
@media print { :root { --ink: #000; --soft: #444; --line: #bbb; --ground: #fff; --shade: #f4f4f4; }
  nav { display: none; } section, figure, tr { break-inside: avoid-page; } .wide { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: .1rem .3rem; } }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
a { color: inherit; } nav { columns: 15rem; font-size: .9rem; } nav a { display: block; }
code { font: .85em ui-monospace, monospace; } pre { white-space: pre-wrap; background: var(--shade); padding: .7rem; }
.wide { overflow-x: auto; margin-bottom: 1.2rem; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { background: var(--shade); vertical-align: bottom; white-space: normal; min-width: 3.5rem; }
th:first-child, td:first-child { text-align: left; }
td.words { text-align: left; white-space: normal; min-width: 16rem; }
td.best { font-weight: 700; } summary { cursor: pointer; color: var(--soft); }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; color: var(--soft); }
figure img { max-width: 100%; } figcaption { color: var(--soft); font-size: .87rem; }
"""
_WORDS_FROM = 40
"""Characters from which the cells of a column are prose, to be wrapped and set from the left."""


def write_html(path: Path, document: Document, *, title: str) -> Path:
    """Write the whole report, details and pictures of cases included."""
    sections = (*document.summary, *document.sections)
    links = "".join(f'<a href="#s{i}">{escape(s.title)}</a>' for i, s in enumerate(sections))
    body = "\n".join(_section(i, s) for i, s in enumerate(sections))
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body>\n</html>\n"
    )
    path.write_text(page, encoding="utf-8")
    return path


def _section(number: int, section: Section) -> str:
    blocks = "\n".join(_block(b) for b in section.blocks)
    return f'<section id="s{number}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Table():
            return _table(block)
        case Picture():
            return _figure(_inline(block.svg), block.caption)
        case Photo():
            data = base64.b64encode(block.png).decode("ascii")
            alt = escape(block.caption, quote=True)
            return _figure(f'<img alt="{alt}" src="data:image/png;base64,{data}">', block.caption)


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _inline(svg: str) -> str:
    # The words of a drawing take the page's colour, light or dark; what stands before the element is for files.
    return re.sub(r"^.*?(?=<svg)", "", svg, count=1, flags=re.DOTALL).replace(INK, "currentColor")


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    words = _prose(table)
    rows = "\n".join(f"<tr>{_row(table, i, row, words)}</tr>" for i, row in enumerate(table.rows))
    text = f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    return f"<details><summary>{escape(table.folded)}</summary>{text}</details>" if table.folded else text


def _row(table: Table, number: int, cells: Sequence[str], words: frozenset[int]) -> str:
    def style(column: int) -> str:
        if (number, column) in table.bold:
            return ' class="best"'
        return ' class="words"' if column in words else ""

    return "".join(f"<td{style(j)}>{escape(cell)}</td>" for j, cell in enumerate(cells))


def _prose(table: Table) -> frozenset[int]:
    columns = enumerate(zip(*table.rows, strict=True))
    return frozenset(j for j, cells in columns if j and max(map(len, cells)) > _WORDS_FROM)
