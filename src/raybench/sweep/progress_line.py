"""The line of a run that goes on: where it is, a bar, its samples and the time left, in as much room as there is."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, Task, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_BAR: Final = 40
_LEAST_BAR: Final = 10
"""Names are given no more than leaves that; only the round, counts and the time left may take of it."""
_SHORTEST_BAR: Final = 4
_SHORTEST_NAME: Final = 6
"""A name that is cut shorter tells nobody anything."""


class ProgressLine:
    """``task``: its description is the round; ``names``, harmless: the block and the configuration, in this order.

    Where the line is too narrow the names are cut, the last first, then left out; counts and time left stay whole.
    """

    def __init__(self, task: Task, names: tuple[str, ...]) -> None:
        self._task, self._names = task, names

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        task = self._task
        counts = Text.assemble(
            (f"{task.percentage:>3.0f} %", "progress.percentage"),
            f" {task.completed:,.0f} of {task.total or 0:,.0f} samples, left ",
            TimeRemainingColumn().render(task),
        )
        room = options.max_width - counts.cell_len - 1
        where = _where(task.description, self._names, room - _LEAST_BAR - 1)
        if cell_len(where) > room:
            where = ""
        bar = min(_BAR, room - (cell_len(where) + 1 if where else 0))
        line = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        shown: list[RenderableType] = []
        if where:
            line.add_column(width=cell_len(where), no_wrap=True)
            shown.append(Text(where))
        if bar >= _SHORTEST_BAR:
            line.add_column(width=bar)
            shown.append(BarColumn(bar_width=bar).render(task))
        line.add_column(width=counts.cell_len, no_wrap=True)
        line.add_row(*shown, counts)
        yield line


def _where(where: str, names: tuple[str, ...], room: int) -> str:
    """``where``, and of ``names`` what there is room for."""
    for name in names:
        left = room - cell_len(where) - 1
        if cell_len(name) <= left:
            where = f"{where} {name}"
            continue
        if left >= _SHORTEST_NAME:
            cut = Text(name)
            cut.truncate(left, overflow="ellipsis")
            where = f"{where} {cut.plain}"
        break
    return where
