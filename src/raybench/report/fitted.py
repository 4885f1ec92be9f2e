"""Tables on a narrow terminal: cells are broken at blanks, and where words do not fit a table is a list of its rows.

An interval is a word, and so is a number with its unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

from raybench.report.terminal import harmless
from raybench.report.wrapping import JOINT, joined

_LONGEST_WORD: Final = 24
"""A longer one may be broken: it is a name, which anyone may have made."""


def fit_columns(table: Table, width: int) -> bool:
    """Set the columns' widths so that words stay whole where ``width`` allows it; False where it does not."""
    columns = table.columns
    room = width - 3 * len(columns) - 1  # beside a blank at either side of each, and what is between them
    least = [_longest_word(column) for column in columns]
    if sum(least) > room:
        return False
    natural = [max(least[place], max(map(cell_len, _texts(column)))) for place, column in enumerate(columns)]
    if sum(natural) <= room:
        return True
    widths = list(least)
    for _ in range(room - sum(widths)):
        place = max(range(len(columns)), key=lambda one: natural[one] - widths[one])
        widths[place] += natural[place] > widths[place]
    for column, given in zip(columns, widths, strict=True):
        column.width = given
    return True


def listed(table: Table) -> Table:
    """``table`` with a line for each cell: its column's header, then what stands there; blank lines around rows."""
    found = Table.grid(padding=(0, 2, 0, 0))
    found.title, found.title_justify, found.title_style = table.title, table.title_justify, table.title_style
    found.add_column(no_wrap=False, overflow="fold", max_width=_LONGEST_WORD)
    found.add_column(overflow="fold")
    cells = [list(_texts(column))[1:] for column in table.columns]
    for row in range(table.row_count):
        found.add_row("", "")
        for column, of in zip(table.columns, cells, strict=True):
            found.add_row(Text(_text(column.header)), Text(of[row]))
    found.add_row("", "")
    return found


def _longest_word(column: Column) -> int:
    if column.no_wrap:
        return max(map(cell_len, _texts(column)))
    words = [word for text in _texts(column) for word in text.split()]
    return max((cell_len(word) if JOINT in word else min(_LONGEST_WORD, cell_len(word)) for word in words), default=1)


def _texts(column: Column) -> Sequence[str]:
    """Header and cells."""
    return [_text(column.header), *map(_text, column.cells)]


def _text(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else joined(harmless(str(cell)))
