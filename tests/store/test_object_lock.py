"""The lease of a run on an object store: live, released, stale, taken over, lost."""

from __future__ import annotations

import datetime
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from raybench.records import InputError
from raybench.store.location import ObjectUri
from raybench.store.object_client import ObjectClient
from raybench.store.object_lock import ObjectLock
from raybench.store.storage import StoreError
from raybench.store.store import RunStore
from store.object_server import QUICK, ObjectServer, race
from store.stored_runs import Hands, commit, key


@pytest.fixture
def results(bucket: ObjectUri) -> ObjectUri:
    """Only object stores."""
    return bucket


@pytest.fixture
def client(bucket: ObjectUri) -> ObjectClient:
    return ObjectClient(bucket / "run", QUICK)


@pytest.fixture
def locks(client: ObjectClient) -> Iterator[list[ObjectLock]]:
    """Locks to release at the end."""
    taken: list[ObjectLock] = []
    yield taken
    for lock in taken:
        lock.release()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass by the store's clock, and by the one that a holder counts by."""
    store_now, monotonic = ObjectClient.now, time.monotonic

    def pass_by(seconds: float) -> None:
        monkeypatch.setattr(ObjectClient, "now", lambda self: store_now(self) + datetime.timedelta(seconds=seconds))
        monkeypatch.setattr("raybench.store.object_lock.time.monotonic", lambda: monotonic() + seconds)

    return pass_by


def take(client: ObjectClient, renew_s: float = 60.0) -> ObjectLock:
    return ObjectLock(client, "driver.lock", renew_s=renew_s)


def abandon(lock: ObjectLock) -> None:
    """As if its process had died, on another machine: it is not renewed, and it cannot be known to be dead."""
    lock._stop.set()
    lock._thread.join()


def content(bucket: ObjectUri) -> dict:
    return json.loads(Hands(bucket / "run").read("driver.lock"))


def test_a_live_driver_is_named(client: ObjectClient, bucket: ObjectUri, locks: list[ObjectLock]) -> None:
    locks.append(take(client))
    assert (locks[0].held, locks[0].notice) == (True, None)
    holder = content(bucket)
    assert (holder["pid"], holder["host"], holder["released"]) == (os.getpid(), socket.gethostname(), False)
    who = rf"^{bucket}/run: process {os.getpid()} on {socket.gethostname()} drives this run since "
    when = rf"{holder['started_at'][:10]}.*, seen \d s ago; wait.*--run-id. If it is dead, its lock ends in 1[12]\d s$"
    with pytest.raises(InputError, match=who + when):
        take(client)
    locks[0].check()


def test_a_released_lock_is_taken_without_waiting(client: ObjectClient, bucket: ObjectUri) -> None:
    for _ in range(3):
        lock = take(client)
        assert lock.notice is None
        lock.release()
        lock.release()
        assert not lock.held
        assert content(bucket)["released"] is True


def test_a_lock_is_renewed_while_its_driver_lives(
    client: ObjectClient, bucket: ObjectUri, locks: list[ObjectLock], later: Callable[[float], None]
) -> None:
    locks.append(take(client, renew_s=0.05))
    deadline = time.monotonic() + 120
    while content(bucket)["renewed"] < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert content(bucket)["renewed"] >= 3
    assert content(bucket)["token"] == locks[0]._holder.token
    later(100)
    with pytest.raises(InputError, match=r"seen 10[0-9] s ago.* its lock ends in [12]?[0-9] s"):
        take(client)
    locks[0].check()


def test_a_stale_lock_is_explained_and_taken_over_by_one_of_several(
    client: ObjectClient, locks: list[ObjectLock], later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    abandon(take(client))
    later(110)
    with pytest.raises(InputError, match="If it is dead, its lock ends in"):
        take(client)
    later(125)

    def enter() -> str:
        try:
            locks.append(take(client))
        except InputError as error:
            return str(error)
        return "taken"

    all_found_it_stale, looked = threading.Barrier(4), threading.local()
    late = ObjectClient.now

    def now(self: ObjectClient) -> datetime.datetime:
        if getattr(looked, "once", False):  # after it lost: the lock that it then finds is new
            return late(self) - datetime.timedelta(seconds=125)
        looked.once = True
        all_found_it_stale.wait()
        return late(self)

    monkeypatch.setattr(ObjectClient, "now", now)
    said = race([enter] * 4)
    assert said.count("taken") == 1
    assert sum("drives this run" in message for message in said) == 3
    (winner,) = locks
    assert winner.notice is not None
    assert f"process {os.getpid()} on {socket.gethostname()} has not renewed its lock for 12" in winner.notice
    winner.check()


def test_a_holder_that_renews_while_it_is_being_taken_over_keeps_it(
    client: ObjectClient, locks: list[ObjectLock], s3: ObjectServer, later: Callable[[float], None]
) -> None:
    locks.append(take(client))
    renewed = threading.Event()

    def renew() -> None:
        locks[0].renew()
        later(0)
        renewed.set()

    later(125)
    s3.inject(part="driver.clock", method="HEAD", before=renew)  # after it was read, before it is written
    with pytest.raises(InputError, match="drives this run"):
        take(client)
    assert renewed.is_set()
    locks[0].check()


def test_a_lock_that_was_lost_stops_the_driver(
    client: ObjectClient, locks: list[ObjectLock], later: Callable[[float], None]
) -> None:
    asleep = take(client)
    later(125)
    locks.append(take(client))
    with pytest.raises(StoreError, match=rf"process {os.getpid()} on .* took it over; this driver commits no more"):
        asleep.check()  # it has not renewed lately, so it asks
    with pytest.raises(StoreError, match="took it over"):
        asleep.check()
    asleep.release()  # which leaves the other's alone
    locks[0].renew()
    locks[0].check()


def test_a_lock_that_is_removed_is_lost(client: ObjectClient, bucket: ObjectUri, locks: list[ObjectLock]) -> None:
    locks.append(take(client))
    Hands(bucket / "run").remove("driver.lock")
    locks[0].renew()
    with pytest.raises(StoreError, match="its lock was removed; this driver commits no more"):
        locks[0].check()


def test_answers_that_are_lost_lose_no_lock(client: ObjectClient, locks: list[ObjectLock], s3: ObjectServer) -> None:
    fault = s3.inject(drop="after", part="driver.lock", method="PUT")
    locks.append(take(client))  # created
    assert fault.met == 1
    fault.times = 2
    locks[0].renew()
    assert fault.met == 2
    locks[0].check()
    locks[0].renew()
    locks[0].release()
    fault.times = 3
    locks.append(take(client))  # in the place of a released one
    assert fault.met == 3
    locks[1].check()


def test_a_store_out_of_reach_loses_no_lock(
    client: ObjectClient, locks: list[ObjectLock], s3: ObjectServer, later: Callable[[float], None]
) -> None:
    locks.append(take(client, renew_s=0.05))
    outage = s3.inject(refuse="503 Service Unavailable", times=10**6)
    while outage.met < 4:
        time.sleep(0.02)
    later(125)
    with pytest.raises(StoreError, match="503"):
        locks[0].check()
    outage.times = 0
    locks[0].check()


def test_a_process_that_is_gone_from_this_machine_needs_no_waiting_for(
    client: ObjectClient, bucket: ObjectUri, locks: list[ObjectLock]
) -> None:
    dead = take(client)
    abandon(dead)
    here = content(bucket)
    for changes, gone in [
        ({"process": "1"}, True),  # its number was given to another
        ({"pid": 2**22 + 1}, True),
        ({"pid": 2**22 + 1, "machine": "another"}, False),
        ({"pid": 2**22 + 1, "machine": ""}, False),
        ({}, False),
    ]:
        Hands(bucket / "run").write("driver.lock", json.dumps({**here, **changes}).encode())
        if gone:
            lock = take(client)
            assert lock.notice is not None
            assert "is gone and did not release this run: taken over" in lock.notice
            lock.release()
        else:
            with pytest.raises(InputError, match="drives this run"):
                take(client)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"host": 1}', b"\xff"])
def test_what_is_no_lock_is_respected_until_it_is_stale(
    data: bytes, client: ObjectClient, bucket: ObjectUri, locks: list[ObjectLock], later: Callable[[float], None]
) -> None:
    Hands(bucket / "run").write("driver.lock", data)
    with pytest.raises(InputError, match="a driver that left no name drives this run, seen"):
        take(client)
    later(121)
    locks.append(take(client))
    assert locks[0].notice is not None
    assert locks[0].notice.startswith("a driver that left no name has not renewed its lock for ")


def test_a_forked_child_holds_nothing(client: ObjectClient, locks: list[ObjectLock]) -> None:
    locks.append(take(client))
    if (pid := os.fork()) == 0:
        locks[0].release()
        os._exit(locks[0].held)
    assert os.waitpid(pid, 0)[1] == 0
    with pytest.raises(InputError, match="drives this run"):
        take(client)


def test_a_driver_whose_run_was_taken_over_commits_no_more(results: ObjectUri, later: Callable[[float], None]) -> None:
    with RunStore.create(results, "run", {}) as first:
        commit(first, key("a", 0))
        later(125)
        with RunStore.resume(results / "run") as second:
            assert second.notice is not None
            later(0)
            commit(second, key("b", 0))
            later(125)
            for _ in range(2):
                with pytest.raises(StoreError, match=r"run: process .* took it over; this driver commits no more"):
                    commit(first, key("a", 1))
            assert RunStore.open(results / "run").committed() == {("a", 0), ("b", 0)}
            commit(second, key("b", 1))
