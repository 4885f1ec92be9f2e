"""What a driver says of itself: when it writes, what, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raybench.store.store import RunStore, StoreError
from raybench.sweep.live import Live, LiveReport, read_report

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUSY = {"state": "busy", "host": "a", "device": "GPU-1", "device_name": "NVIDIA L4", "visit": "b/0", "for_s": 2.5}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.create(tmp_path, "run", {"plan": {}}) as found:
        yield found


def report(store: RunStore) -> LiveReport:
    found = read_report(store)
    assert found is not None
    return found


def test_it_writes_at_once_then_every_five_seconds_and_at_the_end(store: RunStore) -> None:
    seconds = [0.0]
    live = Live(store, lambda: seconds[0], lambda: BEGAN + timedelta(seconds=seconds[0]))
    assert read_report(store) is None
    live.beat([], 7)
    assert (report(store).state, report(store).waiting, report(store).updated_at) == ("running", 7, BEGAN)
    seconds[0] = 4.9
    live.beat([], 6)
    assert report(store).waiting == 7
    seconds[0] = 5.0
    live.beat([BUSY, {"state": "starting"}], 5)
    assert report(store).waiting == 5
    assert [worker.model_dump(exclude_none=True) for worker in report(store).workers] == [BUSY, {"state": "starting"}]
    seconds[0] = 6.0
    live.end("stopped")
    assert (report(store).state, report(store).workers) == ("stopped", ())
    assert report(store).began_at == BEGAN


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"state": "asleep"}'])
def test_what_cannot_be_right_is_explained(store: RunStore, text: str) -> None:
    (store.root / "live.json").write_text(text)
    with pytest.raises(StoreError, match=r"live\.json"):
        read_report(store)


def test_a_later_raybench_may_say_more(store: RunStore) -> None:
    Live(store).beat([BUSY], 1)
    path = store.root / "live.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mood": "good"}))
    assert report(store).waiting == 1
