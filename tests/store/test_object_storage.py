"""Commits to an object store that fails: once or not at all, whatever becomes of the answers."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import threading
from collections.abc import Callable

import pytest

from raybench.records import InputError
from raybench.store.location import Location, ObjectUri
from raybench.store.object_storage import ObjectStorage
from raybench.store.storage import AlreadyThereError, StoreError
from raybench.store.store import RunStore
from store.object_server import HASTY, LATE_S, ObjectServer, race
from store.stored_runs import REQUESTS, Hands, commit, key, problem_of

SPAWN = multiprocessing.get_context("spawn")
ALWAYS = 10**6


@pytest.fixture
def results(bucket: ObjectUri) -> ObjectUri:
    """Only object stores."""
    return bucket


@pytest.fixture(autouse=True)
def _quick(quick: object) -> None:
    """All of these stores are near."""


def check_whole(root: Location, visits: set[tuple[str, int]]) -> None:
    """Exactly ``visits`` are committed, each with its rows, once."""
    reader = RunStore.open(root)
    reader.verify()
    assert reader.committed() == visits
    assert reader.read("visits").num_rows == len(visits)
    assert reader.read("samples").num_rows == REQUESTS * len(visits)


# ---- what is created


def test_a_name_is_given_once(bucket: ObjectUri) -> None:
    storage = ObjectStorage(bucket / "run")
    storage.create("x", b"1")
    storage.create("x", b"1")  # an earlier try of it, whose answer was lost
    for other in (b"2", b""):
        with pytest.raises(AlreadyThereError, match=rf"^{bucket}/run/x: already there; another driver wrote"):
            storage.create("x", other)
    assert storage.read("x") == b"1"


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_answer_of_a_write_is_no_error(drop: str, run: RunStore, s3: ObjectServer) -> None:
    for part in ("samples/", "visits/", "loads/", "manifest/00000001.json"):
        s3.inject(drop=drop, method="PUT", part=part)
    commit(run, key("a", 0))
    assert all(fault.met for fault in s3.faults)
    commit(run, key("a", 1))
    check_whole(run.root, {("a", 0), ("a", 1)})
    assert len([name for name in Hands(run.root).names() if name.startswith("samples/")]) == 2


def test_a_write_that_another_write_at_that_moment_refuses_is_tried_again(run: RunStore, s3: ObjectServer) -> None:
    fault = s3.inject(refuse="409 Conflict:ConditionalRequestConflict", method="PUT", times=2)
    commit(run, key("a", 0))
    assert fault.met == 2
    check_whole(run.root, {("a", 0)})


def test_of_several_that_begin_one_run_one_succeeds(results: ObjectUri) -> None:
    for attempt in range(3):
        found = race([functools.partial(begin, results / f"r{attempt}") for _ in range(4)])
        assert found.count("begun") == 1
        assert all("drives this run" in said or "exists already" in said for said in found if said != "begun")


def begin(root: ObjectUri) -> str:
    try:
        with RunStore.create(root, "first", {"plan": "rq2"}):
            return "begun"
    except InputError as error:
        return str(error)


# ---- a store that fails


FAULTS = [
    {"refuse": "500 Internal Server Error"},
    {"refuse": "503 Slow Down:SlowDown"},
    {"refuse": "403 Forbidden:AccessDenied"},
    {"drop": "before"},
    {"drop": "after"},
    {"delay_s": LATE_S},
]


@pytest.mark.parametrize("part", ["samples/", "loads/", "manifest/"])
@pytest.mark.parametrize("fault", FAULTS, ids=["500", "throttled", "denied", "dropped", "answer lost", "slow"])
def test_a_store_that_fails_shows_nothing_or_all_of_a_commit_which_can_be_tried_again(
    fault: dict, part: str, run: RunStore, s3: ObjectServer
) -> None:
    commit(run, key("a", 0))
    injected = s3.inject(**fault, part=part, method="PUT", times=ALWAYS)
    patient = run._storage
    if "delay_s" in fault:
        run._storage = ObjectStorage(run.root, dataclasses.replace(HASTY, retries=1))
    problem = problem_of(commit, run, key("a", 1))
    assert injected.met
    injected.times = 0
    run._storage = patient
    if problem is None:  # arrived, and its answer was lost or late: it was found by its bytes
        assert "drop" in fault or "delay_s" in fault
    else:
        assert f"{run.root}/{part}" in problem
        assert "\n" not in problem
        check_whole(run.root, {("a", 0)} | ({("a", 1)} if ("a", 1) in run.committed() else set()))
    commit(run, key("a", 1))
    commit(run, key("a", 2))
    check_whole(run.root, {("a", 0), ("a", 1), ("a", 2)})


def test_an_outage_of_everything_is_one_line_and_is_got_over(run: RunStore, s3: ObjectServer) -> None:
    commit(run, key("a", 0))
    outage = s3.inject(refuse="503 Service Unavailable", times=ALWAYS)
    actions: list[Callable[[], object]] = [
        lambda: commit(run, key("a", 1)),
        run.verify,
        lambda: run.read("samples"),
        lambda: RunStore.open(run.root),
        lambda: RunStore.resume(run.root),
        lambda: RunStore.create(run.root / "below", "x", {}),
        lambda: run.replace_live({}),
    ]
    for act in actions:
        with pytest.raises(StoreError, match=rf"^{run.root}.*: cannot be .*: 503 Service Unavailable, after 2 retries"):
            act()
    outage.times = 0
    commit(run, key("a", 1))
    check_whole(run.root, {("a", 0), ("a", 1)})


def test_whether_an_entry_is_there_that_could_not_be_asked_is_found_out_before_the_next_commit(
    run: RunStore, s3: ObjectServer
) -> None:
    s3.inject(drop="after", part="manifest/", method="PUT", times=ALWAYS)
    blind = s3.inject(refuse="503 Service Unavailable", times=ALWAYS, method="HEAD")
    with pytest.raises(StoreError, match=r"manifest/00000001\.json: cannot be"):
        commit(run, key("a", 0))
    assert blind.met
    assert run.committed() == set()
    s3.reset()
    commit(run, key("a", 0))  # committed since the first time: a duplicate, which loses
    commit(run, key("a", 1))
    check_whole(run.root, {("a", 0), ("a", 1)})


def test_what_a_failed_commit_wrote_is_left_since_its_entry_may_yet_arrive(run: RunStore, s3: ObjectServer) -> None:
    s3.inject(refuse="503 Service Unavailable", part="manifest/", method="PUT", times=3)
    with pytest.raises(StoreError, match="503"):
        commit(run, key("a", 0))
    assert {name.partition("/")[0] for name in Hands(run.root).names()} == {"run.json", "samples", "visits", "loads"}
    assert RunStore.open(run.root).entries() == []


def test_an_entry_that_arrives_late_is_not_doubled(run: RunStore, s3: ObjectServer) -> None:
    """Sent, not answered in time, thought lost, tried again in another commit: and then the first arrives."""
    hands, late = Hands(run.root), "manifest/00000001.json"
    s3.inject(drop="after", part=late, method="PUT", times=ALWAYS)
    s3.inject(refuse="503 Service Unavailable", part=late, method="GET", times=ALWAYS)
    with pytest.raises(StoreError):
        commit(run, key("a", 0))
    s3.reset()
    first = hands.read(late)
    hands.remove(late)
    run._take([])  # so it looked to the driver
    s3.inject(before=lambda: hands.write(late, first), part=late, method="PUT")
    with pytest.raises(StoreError, match="another driver wrote to this run, --resume it"):
        commit(run, key("a", 0))
    check_whole(run.root, {("a", 0)})
    run.close()
    with RunStore.resume(run.root) as store:
        commit(store, key("a", 0), key("a", 1))
    check_whole(run.root, {("a", 0), ("a", 1)})


# ---- two drivers, their lock broken


def drive(root: ObjectUri, block: str, commits: int) -> tuple[list[tuple[str, int]], str | None]:
    """Commit until another driver gets in between."""
    done = []
    try:
        with RunStore.resume(root) as store:
            for number in range(commits):
                commit(store, key(block, number))
                done.append((block, number))
    except StoreError as error:
        return done, str(error)
    return done, None


def test_two_drivers_without_a_lock_cannot_corrupt_a_run(run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run.close()
    monkeypatch.setattr("raybench.store.object_lock.ObjectLock._refuse_if_live", lambda self, holder, found: None)
    monkeypatch.setattr("raybench.store.object_lock.ObjectLock.check", lambda self: None)
    found = race([functools.partial(drive, run.root, block, 12) for block in ("a", "b", "c")])
    check_whole(run.root, {visit for done, _ in found for visit in done})
    problems = [problem for _, problem in found if problem is not None]
    assert len(problems) >= 2 - sum(len(done) == 12 for done, _ in found)
    assert all("already there; another driver wrote to this run, --resume it" in problem for problem in problems)


def test_once_another_driver_got_in_between_nothing_more_is_committed(run: RunStore) -> None:
    other = RunStore.open(run.root)
    commit(run, key("a", 0))
    other._lock = run._lock
    other._take([])
    for number in (1, 2):
        with pytest.raises(StoreError, match="another driver wrote to this run"):
            commit(other, key("b", number))
    check_whole(run.root, {("a", 0)})


def test_a_reader_follows_a_run_that_is_committed_to(run: RunStore) -> None:
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            reader = RunStore.open(run.root)
            reader.verify()
            seen.append(len(reader.committed()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(15):
        commit(run, key("a", number))
    done.set()
    watcher.join()
    assert seen == sorted(seen)
    check_whole(run.root, {("a", number) for number in range(15)})


# ---- SIGKILL


def keep_committing(root: ObjectUri) -> None:
    with RunStore.resume(root) as store:
        for number in range(len(store.committed()), 10**6):
            commit(store, key("a", number))


def test_a_driver_that_is_killed_leaves_whole_commits(run: RunStore, s3: ObjectServer) -> None:
    run.close()
    for kill in range(2):
        driver = SPAWN.Process(target=keep_committing, args=(run.root,))
        # Killed by the server, as it is given its own choice of a request: after data, before or after the entry.
        s3.inject(
            part=f"manifest/{2 * kill + 2:08d}.json", method="PUT", before=driver.kill, drop=("before", "after")[kill]
        )
        driver.start()
        driver.join(60)
        assert driver.exitcode == -9
        committed = RunStore.open(run.root).committed()
        check_whole(run.root, committed)
    with RunStore.resume(run.root) as store:  # at once: its holder is known to be dead on this machine
        assert store.notice is not None
        assert f"process {driver.pid} on " in store.notice
        assert "is gone and did not release this run" in store.notice
        commit(store, key("last", 0))
    check_whole(run.root, committed | {("last", 0)})
