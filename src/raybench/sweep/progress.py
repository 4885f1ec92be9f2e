"""Showing a run while it goes on: a bar on a terminal, plain lines in a job's log."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from raybench.report import Screen, duration, harmless, print_line

_LINE_EVERY_S = 10.0


class RunProgress:
    """Counts samples towards ``total``. Use as a context manager."""

    def __init__(
        self,
        console: Screen,
        total: int,
        rounds: int,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._total, self._rounds, self._clock = console, total, rounds, clock
        self._done = done
        self._first: tuple[float, int] | None = None
        """When the first samples were there, and how many: what came before them, as compiling, comes but once."""
        self._started = self._line_at = clock()
        self._noted: set[str] = set()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} samples, left"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=total, completed=done)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def samples(self, count: int, block: str, round_index: int, configuration: str) -> None:
        """``count`` more timed samples of ``block``'s round, the last of ``configuration``."""
        self._done += count
        if self._first is None and count:
            self._first = self._clock(), self._done
        where = harmless(f"round {round_index + 1}/{self._rounds} {block}")
        if self._bar:
            self._bar.update(self._task, completed=self._done, description=f"{where} {harmless(configuration)}")
        elif self._clock() - self._line_at >= _LINE_EVERY_S:
            self._line_at = self._clock()
            self.note(f"{where}: {self._done:,} of {self._total:,} samples, {self._left()}")

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

    def _left(self) -> str:
        began, had = self._first or (self._clock(), self._done)
        if self._done == had:
            return "end unknown"
        seconds = (self._clock() - began) * (self._total - self._done) / (self._done - had)
        return f"about {duration(seconds)} left"
