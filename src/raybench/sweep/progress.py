"""Showing a run while it goes on: a table of its ratios and a bar on a terminal, plain lines in a job's log."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import Progress

from raybench.records import RaybenchError
from raybench.report import Screen, duration, harmless, print_line
from raybench.sweep.live_table import LiveTable
from raybench.sweep.progress_line import ProgressLine

_LINE_EVERY_S = 10.0
_DRAWN_A_SECOND: Final = 0.5
"""Times that a terminal is drawn anew: each takes some milliseconds of a core beside what is measured."""


def can_be_drawn(console: Screen) -> bool:
    """Whether lines that are there can be drawn over: on a terminal that moves its cursor."""
    return console.is_terminal and not console.is_dumb_terminal


class RunProgress:
    """Counts timed samples towards ``total``. Use as a context manager.

    ``table``: what a terminal shows above its bar. It is a courtesy: where it cannot be made, that is said once, and
    the run goes on.
    """

    def __init__(
        self,
        console: Screen,
        total: int,
        rounds: int,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
        table: LiveTable | None = None,
    ) -> None:
        self._console, self._total, self._rounds, self._clock = console, total, rounds, clock
        self._done = done
        self._first: tuple[float, int] | None = None
        """When the first samples were there, and how many: what came before them, as compiling, comes but once."""
        self._started = self._line_at = clock()
        self._noted: set[str] = set()
        self._table = table
        self._live: Live | None = None
        if can_be_drawn(console):
            self._bar = Progress(console=console, auto_refresh=False)
            self._task = self._bar.add_task("starting", total=total, completed=done, names=())
            self._live = Live(
                console=console,
                get_renderable=self._drawn,
                refresh_per_second=_DRAWN_A_SECOND,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def samples(self, count: int, block: str, round_index: int, configuration: str) -> None:
        """``count`` more timed samples of ``block``'s round, the last of ``configuration``."""
        self._done += count
        if self._first is None and count:
            self._first = self._clock(), self._done
        where = f"round {round_index + 1}/{self._rounds}"
        if self._live:
            names = harmless(block), harmless(configuration)
            self._bar.update(self._task, completed=self._done, description=where, names=names)
        elif self._clock() - self._line_at >= _LINE_EVERY_S:
            self._line_at = self._clock()
            self.note(f"{where} {harmless(block)}: {self._done:,} of {self._total:,} samples, {self._left()}")

    def visit(self, samples: pa.Table, device: str) -> None:
        """A visit is over: its samples, and where it ran."""
        if self._table is not None:
            self._table.visit(samples, device)

    def beat(self) -> None:
        """Look at the ratios again, if that is due."""
        if self._table is None:
            return
        try:
            self._table.beat()
        except (RaybenchError, ValueError) as error:
            self._table = None
            self.note(f"Ratios are not shown while the run goes on, which loses nothing: {error}")

    def note(self, text: str) -> None:
        """A line of its own, with the time since the start."""
        seconds = int(self._clock() - self._started)
        print_line(self._console, f"[{seconds // 60:02d}:{seconds % 60:02d}] {text}")

    def note_once(self, text: str) -> None:
        """`note` it, unless it was."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)

    def once(self, text: str) -> str:
        """``text``; where it was said before, that it was."""
        if text in self._noted:
            return "as said above"
        self._noted.add(text)
        return text

    def _drawn(self) -> RenderableType:
        watched = self._table  # which the other thread may take away
        table = None if watched is None else watched.table(self._console.width, self._console.height)
        task = self._bar.tasks[0]
        line = ProgressLine(task, task.fields["names"])
        return line if table is None else Group(table, line)

    def _left(self) -> str:
        began, had = self._first or (self._clock(), self._done)
        if self._done == had:
            return "end unknown"
        seconds = (self._clock() - began) * (self._total - self._done) / (self._done - had)
        return f"about {duration(seconds)} left"
