"""The answer of few-shot diagnosis, to be read: probabilities, nearest cases, and what speaks for it."""

from __future__ import annotations

import html
from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QLabel, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_medmeta.ui.diagnosis import Compared

__all__ = ["AnswerBox"]

COLUMNS = ("Finding", "Among these", "Kept cases")
COLUMN_TIPS = (
    "As you typed it",
    "Probability among the kept findings; they add up to 100 % whatever the patient has",
    "How many cases of it were compared",
)
MOST_ROWS = 6


class AnswerBox(QWidget):
    """Show one answer, or nothing."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value: Compared | None = None
        self._headline, self._near, self._clues, self._check = (_label() for _ in range(4))
        self._headline.setAccessibleName("Answer")
        self._clues.setAccessibleName("What speaks for it")
        self._table = _table()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self._headline, self._table, self._clues, self._near, self._check):
            layout.addWidget(widget)
        self.set_value(None)

    def value(self) -> Compared | None:
        """Return what is shown."""
        return self._value

    def set_value(self, value: Compared | None) -> None:
        """Show ``value``."""
        self._value = value
        self.setVisible(value is not None)
        if value is None:
            return
        from napari_medmeta.tasks.diagnosis import percent

        answer = value.diagnosis
        self._headline.setText(f"<b>{html.escape(answer.headline)}</b>")
        self._table.setRowCount(len(answer.likely))
        for row, likely in enumerate(answer.likely):
            for column, text in enumerate((likely.finding, percent(likely.probability), str(likely.cases))):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self._table.setItem(row, column, item)
        _fit(self._table)
        speaks = _listed("Speaks for it", [c.words for c in answer.speaks_for])
        self._clues.setText(speaks + _listed("Speaks against it", [c.words for c in answer.speaks_against]))
        near = ", ".join(f"{html.escape(n.finding)} ({n.distance:.1f})" for n in answer.nearest)
        self._near.setText(f"Nearest kept cases: {near}. A distance of 1 is usual between two people of one finding.")
        self._check.setText(value.check)

    def text(self) -> str:
        """Return all that is said, without markup."""
        return "\n".join(w.text() for w in (self._headline, self._clues, self._near, self._check))


def _listed(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"{title}:<ul style='margin:2px 0 4px -24px'>{items}</ul>" if items else ""


def _label() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _table() -> QTableWidget:
    table = QTableWidget(0, len(COLUMNS))
    table.setHorizontalHeaderLabels(list(COLUMNS))
    for column, tip in enumerate(COLUMN_TIPS):
        item = table.horizontalHeaderItem(column)
        if item is not None:
            item.setToolTip(tip)
    table.setAccessibleName("Probability of each finding")
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setShowGrid(False)
    table.setWordWrap(False)
    header, rows = table.horizontalHeader(), table.verticalHeader()
    if header is not None:
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    if rows is not None:
        rows.setVisible(False)
    return table


def _fit(table: QTableWidget) -> None:
    header, rows = table.horizontalHeader(), table.verticalHeader()
    if header is not None and rows is not None:
        count = min(table.rowCount(), MOST_ROWS)
        table.setFixedHeight(header.sizeHint().height() + rows.defaultSectionSize() * count + 2 * table.frameWidth())
