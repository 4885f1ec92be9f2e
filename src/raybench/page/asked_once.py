"""A run's tables of which each question is asked once, however many parts of a page ask it."""

from __future__ import annotations

from typing import Any

from raybench.analysis import Tables


class AskedOnce(Tables):
    """The same run, connection and views as ``tables``; nothing is made anew, and nothing may change meanwhile."""

    def __init__(self, tables: Tables) -> None:
        self.__dict__.update(vars(tables))
        self._answers: dict[str, list[dict[str, Any]]] = {}

    def rows(self, sql: str) -> list[dict[str, Any]]:
        if sql not in self._answers:
            self._answers[sql] = super().rows(sql)
        return [dict(row) for row in self._answers[sql]]  # readers may change theirs
