"""The page that a run keeps with its samples, in a folder and on an object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from decide.advising import LATENCIES_MS, make_run
from page.reading import check
from raybench.analysis.tables import Tables
from raybench.page import keep_page
from raybench.store.location import ObjectUri
from raybench.store.removal import Removal
from raybench.store.store import RunStore
from raybench.sweep.sweep import _page_line
from store.stored_runs import Hands, copy_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", LATENCIES_MS, rounds=2)


def test_a_run_keeps_its_page_and_is_a_run_as_before(run: Path) -> None:
    (run / "report.html").write_text("that of an earlier end")
    assert keep_page(Tables(run)) == run / "report.html"
    check((run / "report.html").read_text())
    RunStore.open(run).verify()
    with Removal(run) as removal:
        assert removal.remove() == []
    assert not run.exists()


def test_it_is_kept_on_an_object_store_too(run: Path, bucket: ObjectUri) -> None:
    root = copy_run(run, bucket / "run")
    assert keep_page(Tables(root)) == root / "report.html"
    check(Hands(root).read("report.html").decode())


def test_a_page_that_cannot_be_written_is_a_line_and_no_more(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    tables = Tables(run)
    (run / "report.html").mkdir()
    line = _page_line(tables, keep=True)
    assert line.startswith("The page of the run could not be written: ")
    assert line.endswith(". raybench report ./run tries it again.")
    assert "\n" not in line
    (run / "report.html").rmdir()
    assert _page_line(tables, keep=True) == "  run/report.html        all of it on one page, for a browser"
    assert _page_line(tables, keep=False) == "  raybench report ./run        all of it on one page, for a browser"
