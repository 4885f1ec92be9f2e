"""Which run was begun last, whatever lies beside it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raybench.store import Location
from raybench.store.run_list import listed_runs, newest_run
from raybench.store.store import RunStore
from store.stored_runs import Hands

RUN = json.loads((Path(__file__).parents[1] / "analysis" / "version2" / "run" / "run.json").read_text())


def begin(results: Location, run_id: str, created_at: datetime | str, plan: str = "smoke") -> None:
    document = {**RUN, "run_id": run_id, "created_at": str(created_at), "plan": {**RUN["plan"], "name": plan}}
    RunStore.create(results, run_id, document).close()


def newest(results: Location, plan: str | None = "smoke") -> tuple[str | None, list[str]]:
    run, notices = newest_run(results, plan)
    return None if run is None else run.run_id, notices


def test_it_is_the_one_of_the_plan_that_was_begun_last(results: Location) -> None:
    assert newest(results, "smoke") == (None, [])
    begin(results, "a-mine", "2026-01-02T00:00:00+02:00")
    begin(results, "smoke-later-by-its-text", "2026-01-01T23:00:00-02:00")
    begin(results, "smoke-z", "2026-01-01T21:59:59+00:00")
    begin(results, "smoke-other", "2026-01-03T00:00:00+00:00", "smoke-other")
    assert newest(results, "smoke") == ("smoke-later-by-its-text", [])


def test_one_that_is_dated_in_the_future_is_passed_over_and_named(results: Location) -> None:
    now = datetime.now(UTC)
    begin(results, "mine", now - timedelta(hours=1))
    begin(results, "another-clock", now + timedelta(hours=20))
    begin(results, "far", "9999-12-31T23:59:59+00:00")
    chosen, (notice,) = newest(results, "smoke")
    assert chosen == "another-clock"
    assert notice.startswith(f"Not looked at for the newest run: {results / 'far'}: begun at 9999-12-31 23:59:59+00:00")


@pytest.mark.parametrize(
    "text",
    ["{", "[" * 100_000, "\x00", "[]", '{"schema_version": 1}', '{"schema_version": 3, "plan": [], "created_at": 7}'],
)
def test_a_damaged_neighbour_is_passed_over_and_named(results: Location, text: str) -> None:
    begin(results, "mine", "2026-01-01T00:00:00+00:00")
    Hands(results).write("bad/run.json", text.encode())
    Hands(results).write("bad2/run.json", text.encode())
    chosen, (notice,) = newest(results, "smoke")
    assert chosen == "mine"
    assert notice.startswith(f"Not looked at for the newest run (and 1 more): {results / 'bad'}/run.json: ")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    begin(tmp_path, "mine", "2026-01-01T00:00:00+00:00")
    for name in ("endless", "folder", "huge"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "endless/run.json")
    (tmp_path / "folder/run.json").mkdir()
    with (tmp_path / "huge/run.json").open("wb") as file:
        file.truncate(2**40)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero/run.json").symlink_to("/dev/zero")
    (tmp_path / "elsewhere").symlink_to("/proc")
    chosen, (notice,) = newest(tmp_path, "smoke")
    assert chosen == "mine"
    assert notice == (
        f"Not looked at for the newest run (and 3 more): {tmp_path}/endless/run.json: cannot be read: no regular file; "
        "restore it from a copy, or measure again under another --run-id"
    )


def test_without_a_plan_it_is_the_newest_of_all(results: Location) -> None:
    begin(results, "a", "2026-01-02T00:00:00+00:00")
    begin(results, "b", "2026-01-03T00:00:00+00:00", "another")
    assert newest(results, None) == ("b", [])


def test_runs_are_listed_newest_first_and_last_what_cannot_be_read(results: Location) -> None:
    begin(results, "old", "2026-01-01T00:00:00+00:00")
    begin(results, "new", "2026-01-03T00:00:00+00:00", "another")
    begin(results, "far", "9999-12-31T23:59:59+00:00")
    Hands(results).write("bad/run.json", b"{")
    found = listed_runs(results)
    assert [run.run_id for run in found] == ["far", "new", "old", "bad"]
    assert [run.root for run in found] == [results / run.run_id for run in found]
    assert [run.description.plan.name for run in found if run.description] == ["smoke", "another", "smoke"]
    assert found[-1].description is None
    assert found[-1].problem.startswith(f"{results / 'bad'}/run.json: ")
