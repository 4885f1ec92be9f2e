"""A question that several parts of a page ask is answered once, and no part changes another's answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from page.reading import opened
from raybench.analysis.tables import Views
from raybench.page.asked_once import AskedOnce


def test_a_question_is_asked_once(of_classifiers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = AskedOnce(opened(of_classifiers))
    first = tables.rows("FROM run")
    assert first == opened(of_classifiers).rows("FROM run")
    first[0]["plan"] = "another"
    monkeypatch.setattr(Views, "rows", None)
    assert tables.rows("FROM run")[0]["plan"] != "another"
