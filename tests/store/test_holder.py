"""What driver.lock says, which anyone may have written."""

from __future__ import annotations

import json

import pytest

from raybench.store.holder import Holder
from raybench.store.object_lock import _Leaseholder

HOLDER = {"host": "a", "pid": 7, "started_at": "2026-01-01T00:00:00+00:00"}


def test_a_holder_is_read_as_it_was_written() -> None:
    found = Holder.parse(Holder(**HOLDER).encode())
    assert found == Holder(**HOLDER)
    assert str(found) == "process 7 on a"
    lease = _Leaseholder(**HOLDER, token="t", machine="m", process="12", renewed=3, released=True)
    assert _Leaseholder.parse(lease.encode()) == lease


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 4096,
        json.dumps({**HOLDER, "pid": "../../etc"}).encode(),
        json.dumps({**HOLDER, "pid": -1}).encode(),
        json.dumps({**HOLDER, "pid": 10**30}).encode(),
        json.dumps({**HOLDER, "host": None}).encode(),
        json.dumps({**HOLDER, "started_at": 7}).encode(),
        json.dumps({**HOLDER, "host": "\ud800"}).encode(),
        json.dumps({**HOLDER, "host": "a" * 1001}).encode(),
        json.dumps({"host": "a", "pid": 7}).encode(),
    ],
)
def test_what_cannot_be_a_holder_names_nobody(data: bytes) -> None:
    assert Holder.parse(data) is None
    assert _Leaseholder.parse(data) is None


@pytest.mark.parametrize("change", [{"renewed": "1"}, {"released": "yes"}, {"machine": 1}, {"token": None}, {"x": 1}])
def test_a_lease_of_other_types_names_nobody(change: dict[str, object]) -> None:
    assert _Leaseholder.parse(json.dumps({**HOLDER, "token": "t"}).encode()) is not None
    assert _Leaseholder.parse(json.dumps({**HOLDER, "token": "t", **change}).encode()) is None
