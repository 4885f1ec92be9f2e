"""The ratios of a run while it goes on, for whoever watches it on a terminal: provisional, and seldom worked out.

The driver shares the machine with what is measured, so a look at the ratios takes at most `SHARE` of a core: after one
that took long the next is put off. No worker has a part in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
from rich import box
from rich.table import Table

from raybench.analysis import Estimate, RunningRatios, RunningRow
from raybench.report import fit_columns, interval, label_of

EVERY_S: Final = 5.0
"""Between two looks, at least."""
SHARE: Final = 0.01
"""Of a core, over all looks."""

_BESIDE: Final = 10
"""Lines of a terminal that are left to others: titles, the bar, lines above."""
_LEAST: Final = 3
_COLUMN: Final = 34
"""Characters that a ratio with its interval takes."""
_TITLE: Final = "So far, provisional: judged when the run ends (wall time of a request, 95 % intervals over visits)"


class LiveTable:
    """What a run's visits say so far; each is taken by `visit`, and looked at by a `beat` once that is due.

    ``cpu``: seconds of processor time of who looks.
    """

    def __init__(
        self,
        ratios: RunningRatios,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._ratios, self._clock, self._cpu = ratios, clock, cpu
        self._due = clock()
        self._is_new = True
        self._rows: Sequence[RunningRow] = ()
        self.took_s = 0.0
        """Processor time of all looks."""

    def visit(self, samples: pa.Table, device: str) -> None:
        """A visit is over: its samples, and where it ran."""
        self._ratios.take(samples, device)
        self._is_new = True

    def beat(self) -> None:
        """Look, if there is something new and a look is due. Raises RaybenchError where it cannot be worked out."""
        if not self._is_new or self._clock() < self._due:
            return
        began = self._cpu()
        self._is_new = False
        try:
            self._rows = self._ratios.rows()
        finally:
            took = self._cpu() - began
            self.took_s += took
            self._due = self._clock() + max(EVERY_S, took / SHARE)

    def table(self, width: int, height: int) -> Table | None:
        """As much as such a terminal has room for; None before the first visit is over."""
        if not any(row.n for row in self._rows):
            return None
        references = self._ratios.references[: max(1, width // _COLUMN - 1)]
        labels = [{"deployment": row.deployment, "strategy": row.role} for row in self._rows]
        table = Table(title=_TITLE, box=box.SIMPLE, title_justify="left")
        table.add_column("Deployment", overflow="fold")
        table.add_column("n", justify="right")
        for reference in references:
            table.add_column(f"vs {label_of(reference, labels)}", justify="right", overflow="fold")
        shown = self._rows[: max(_LEAST, height - _BESIDE)]
        for row in shown:
            cells = [_cell(row, reference) for reference in references]
            table.add_row(row.deployment, f"{row.n:,}", *cells)
        if len(shown) < len(self._rows):
            table.caption = f"and {len(self._rows) - len(shown):,} more"
        fit_columns(table, width)
        return table


def _cell(row: RunningRow, reference: str) -> str:
    if row.role == reference:
        return "baseline"
    estimate = row.against.get(reference)
    return "-" if estimate is None else interval(_as_row(estimate))


def _as_row(estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval()
    return {"ratio": estimate.ratio, "low": low, "high": high, "unknown": estimate.unknown}
