"""Which run --resume goes on with where none is named: the newest of the plan, whatever lies beside it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raybench.store import Location
from raybench.store.store import RunStore
from raybench.sweep import command
from raybench.sweep.run_choice import _newest_run
from store.stored_runs import Hands

RUN = json.loads((Path(__file__).parents[1] / "analysis" / "version2" / "run" / "run.json").read_text())


def begin(results: Location, run_id: str, created_at: datetime | str, plan: str = "smoke") -> None:
    document = {**RUN, "run_id": run_id, "created_at": str(created_at), "plan": {**RUN["plan"], "name": plan}}
    RunStore.create(results, run_id, document).close()


def test_it_is_the_one_of_the_plan_that_was_begun_last(results: Location) -> None:
    assert _newest_run(results, "smoke") == (None, [])
    begin(results, "a-mine", "2026-01-02T00:00:00+02:00")
    begin(results, "smoke-later-by-its-text", "2026-01-01T23:00:00-02:00")
    begin(results, "smoke-z", "2026-01-01T21:59:59+00:00")
    begin(results, "smoke-other", "2026-01-03T00:00:00+00:00", "smoke-other")
    assert _newest_run(results, "smoke") == ("smoke-later-by-its-text", [])


def test_one_that_is_dated_in_the_future_is_passed_over_and_named(results: Location) -> None:
    now = datetime.now(UTC)
    begin(results, "mine", now - timedelta(hours=1))
    begin(results, "another-clock", now + timedelta(hours=20))
    begin(results, "far", "9999-12-31T23:59:59+00:00")
    chosen, (notice,) = _newest_run(results, "smoke")
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
    chosen, (notice,) = _newest_run(results, "smoke")
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
    chosen, (notice,) = _newest_run(tmp_path, "smoke")
    assert chosen == "mine"
    assert notice == (
        f"Not looked at for the newest run (and 3 more): {tmp_path}/endless/run.json: cannot be read: no regular file; "
        "restore it from a copy, or measure again under another --run-id"
    )


def test_the_command_says_what_was_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/run.json").write_text("{")
    sweep = ["--plan", "smoke", "--results", str(tmp_path), "--resume"]
    assert command.main(sweep) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}: no run of plan smoke to resume; name one by --run-id; Not looked at" in said
    begin(tmp_path, "a-mine", "2026-01-02T00:00:00+00:00")
    assert command.main(sweep) == 2
    assert f"{tmp_path}/a-mine: cannot be resumed" in capsys.readouterr().err
