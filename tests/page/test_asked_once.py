"""A question that several parts of a page ask is answered once, and no part changes another's answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from page.reading import opened
from raybench.analysis.tables import Tables, Views
from raybench.page.asked_once import AskedOnce


def test_a_question_is_asked_once(of_classifiers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = AskedOnce(opened(of_classifiers))
    first = tables.rows("FROM run")
    assert first == opened(of_classifiers).rows("FROM run")
    first[0]["plan"] = "another"
    monkeypatch.setattr(Views, "rows", None)
    assert tables.rows("FROM run")[0]["plan"] != "another"


@pytest.mark.parametrize("view", ["predictions", "attribution"])
def test_what_takes_long_is_made_once_and_is_the_same(view: str, of_classifiers: Path) -> None:
    tables = Tables(of_classifiers)
    before = tables.rows(f"FROM {view} ORDER BY ALL")
    assert str(AskedOnce(tables).rows(f"FROM {view} ORDER BY ALL")) == str(before)
    assert str(AskedOnce(tables).rows(f"FROM {view} ORDER BY ALL")) == str(before)
    assert tables.rows(f"SELECT count(*) AS n FROM temp.main.{view}") == [{"n": len(before)}]
