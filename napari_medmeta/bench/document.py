"""A report before it is HTML or Markdown: sections of tables, sentences, lists and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Block", "Bullets", "Code", "Document", "Photo", "Picture", "Section", "Table", "Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph of plain words."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Words to be typed, on a line of their own."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of plain words below a header.

    Parameters
    ----------
    rows
        Each as long as ``header``; the first cell names the row.
    bold
        Cells to be set off, as (row, column) from 0.
    folded
        The words under which the table is folded away; empty to show it.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()
    folded: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing in SVG that holds no patient's data, so it may stand in a public page.

    Parameters
    ----------
    name
        File name without folder and suffix.
    """

    name: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture of a scan as PNG; it goes into the page beside the runs only, never into a public one."""

    png: bytes
    caption: str


Block: TypeAlias = Text | Code | Bullets | Table | Picture | Photo


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks below a title.

    Parameters
    ----------
    detail
        Whether only the full page shows it, not the short one.
    """

    title: str
    blocks: tuple[Block, ...]
    detail: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """The whole report: what a newcomer must see first, and everything else."""

    summary: tuple[Section, ...]
    sections: tuple[Section, ...]
