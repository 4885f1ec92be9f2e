"""A run's tables of which each question is asked once, however many parts of a page ask it."""

from __future__ import annotations

from typing import Any, Final

from raybench.analysis import Tables

_LONG: Final = ("predictions", "attribution")
"""Views over views over views, which several questions are of: a third of the time of all questions of a page."""


class AskedOnce(Tables):
    """The same run, connection and views as ``tables``; nothing may change meanwhile."""

    def __init__(self, tables: Tables) -> None:
        self.__dict__.update(vars(tables))
        self._answers: dict[str, list[dict[str, Any]]] = {}
        for view in _LONG:
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {view} AS FROM memory.main.{view}")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        if sql not in self._answers:
            self._answers[sql] = super().rows(sql)
        return [dict(row) for row in self._answers[sql]]  # readers may change theirs
