"""What a run survives, from the fault to the tables: it is gone on with, and nothing is lost, doubled or changed."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_device import FakeDevice
from invariants import committed_rows, timed_requests
from raybench import cli, sweep
from raybench.analysis.tables import Views
from raybench.deploy import strategies
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import Plan
from raybench.store.location import Location, ObjectUri
from raybench.store.store import RunStore, StoreError
from runs import go_on, measure
from store.object_server import HASTY, LATE_S, ObjectServer
from store.stored_runs import Hands, copy_run, problem_of

ALWAYS = 10**6
BEFORE = 4
"""Visits that are committed before the fault, of `VISITS`."""
COMMITS = 2
"""The first visit is one, those after it another."""
VISITS = 3 * 2
CONFIGURATIONS = 7
REQUESTS = 8 * 2 * 4
"""Seven configurations, and the guests of one of them, in two rounds of four requests."""


@pytest.fixture(autouse=True)
def _known_strategies(known_latencies: Callable[..., None]) -> None:
    names = ("full_ft", "lora_separate", "lora_merged", "multi_lora")
    known_latencies({name: lambda tokens, calls: (10, 10, None) for name in names}, switch_ns=1)


@pytest.fixture
def plan(load_plan: Callable[..., Plan]) -> Plan:
    return load_plan()


@pytest.fixture(scope="module")
def _stopped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Plan], Path]:
    @functools.cache
    def make(plan: Plan) -> Path:
        return measure(plan, tmp_path_factory.mktemp("stopped"), visits=BEFORE)

    return make


@pytest.fixture
def stopped(_stopped: Callable[[Plan], Path], plan: Plan) -> Path:
    """A run of `COMMITS` that was stopped, made once; tests copy it."""
    return _stopped(plan)


def check_incomplete(root: Location) -> None:
    """The tables say what is there, and what is not yet."""
    tables = Views(root)
    done = tables.rows("SELECT rounds_done AS n FROM completeness")
    assert len(done) == CONFIGURATIONS
    assert {row["n"] for row in done} == {1, 2}
    complete = tables.rows("SELECT count(*) AS n FROM completeness WHERE complete")
    assert complete == [{"n": sum(row["n"] == 2 for row in done)}]


def check_complete(root: Location, before: set[str]) -> None:
    """Every request once, what was committed ``before`` unchanged, and tables that say so."""
    keys = timed_requests(root)
    assert set(keys.values()) == {1}
    assert len(keys) == REQUESTS
    assert before <= committed_rows(root)
    assert Views(root).rows("SELECT rounds_done, complete, count(*) AS n FROM completeness GROUP BY ALL") == [
        {"rounds_done": 2, "complete": True, "n": CONFIGURATIONS}
    ]


class NoCluster:
    def __init__(self, *arguments: object, **options: object) -> None:
        raise AssertionError("Ray would have been started")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Start a sweep that is refused before Ray is started: its exit code, and its one line."""
    monkeypatch.setattr("raybench.sweep.sweep.Cluster", NoCluster)

    def start(results: Location, *options: str) -> tuple[int, str]:
        code = sweep.main(["--results", str(results), "--plan", "smoke", *options])
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        return code, said.err

    return start


# ---- the disk


def test_a_disk_that_is_full_and_then_is_not(plan: Plan, small_disk: Path) -> None:
    ballast, begun = small_disk / "ballast", iter(range(VISITS))

    def device() -> FakeDevice:
        if next(begun) == BEFORE:
            disk = os.statvfs(small_disk)
            ballast.write_bytes(bytes(disk.f_bavail * disk.f_bsize))
        return FakeDevice()

    with pytest.raises(StoreError, match=r"No space left on device; free some space and start again \(--resume keeps"):
        measure(plan, small_disk, new_device=device, interval_s=0)
    root = small_disk / "run"
    before = committed_rows(root)
    check_incomplete(root)
    with pytest.raises(StoreError, match="No space left on device"):
        go_on(plan, root)
    ballast.unlink()
    go_on(plan, root)
    check_complete(root, before)


def test_a_read_only_place_is_refused_before_ray_is_started(
    stopped: Path, small_disk: Path, refused: Callable[..., tuple[int, str]], plan: Plan
) -> None:
    root = copy_run(stopped, small_disk / "run")
    before = committed_rows(root)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for options in ([], ["--run-id", "run", "--resume"], ["--resume"], ["--run-id", "another"]):
        code, said = refused(small_disk, *options)
        assert code == 2
        assert f"--results {small_disk}: cannot be written: Read-only file system; choose another folder" in said
    check_incomplete(root)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    go_on(plan, root)
    check_complete(root, before)


# ---- damage


def _flip_a_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "torn": ("samples", lambda data: data[: len(data) // 2], "bytes, [0-9]+ were committed"),
    "empty": ("visits", lambda data: b"", "0 bytes, [0-9]+ were committed"),
    "missing": ("loads", lambda data: None, "cannot be read: (No such file|.*404 Not Found)"),
    "one flipped bit": ("samples", _flip_a_bit, "SHA-256 differs"),
    "torn entry": ("manifest", lambda data: data[:-9], "damaged JSON"),
    "missing entry": ("manifest", lambda data: None, "cannot be read: (No such file|.*404 Not Found)"),
    "unknown schema version": (
        "manifest",
        lambda data: data.replace(b'"schema_version": 10', b'"schema_version": 99'),
        "schema version 99, and this raybench reads 2, 3, 4, 5, 6, 7, 8, 9 and 10; read it with the raybench that",
    ),
}


ON_BOTH = ("missing", "one flipped bit", "unknown schema version")
"""Of the damage; the rest is refused on an object store in `test_store`."""


@pytest.mark.parametrize(
    ("results", "kind"),
    [("folder", kind) for kind in DAMAGE] + [("s3", kind) for kind in ON_BOTH],
    indirect=["results"],
)
def test_damage_is_refused_and_what_is_restored_is_gone_on_with(
    kind: str,
    stopped: Path,
    results: Location,
    plan: Plan,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, damage, message = DAMAGE[kind]
    root = copy_run(stopped, results / "run")
    before, hands = committed_rows(root), Hands(root)
    name = min(name for name in hands.names() if name.startswith(folder))
    intact = hands.read(name)
    damaged = damage(intact)
    if damaged is None:
        hands.remove(name)
    else:
        hands.write(name, damaged)
    with pytest.raises(StoreError, match=rf"^{root}/{name}: .*{message}"):
        go_on(plan, root)
    assert cli.main(["tables", str(root)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"raybench: {root}/{name}: ")
    assert said.err.count("\n") == 1
    hands.write(name, intact)
    check_incomplete(root)
    go_on(plan, root)
    check_complete(root, before)


def test_a_copied_file_is_refused_and_one_that_no_entry_lists_does_not_count(
    stopped: Path, results: Location, plan: Plan
) -> None:
    root = copy_run(stopped, results / "run")
    before, hands = committed_rows(root), Hands(root)
    first, second = sorted(name for name in hands.names() if name.startswith("samples/"))[:2]
    hands.write("samples/00000001-0123abcd.parquet", hands.read(first))
    hands.write("samples/notes.txt", b"mine")
    intact = hands.read(second)
    hands.write(second, hands.read(first))
    with pytest.raises(StoreError, match=rf"^{root}/{second}: "):
        go_on(plan, root)
    hands.write(second, intact)
    go_on(plan, root)
    check_complete(root, before)
    assert hands.read("samples/notes.txt") == b"mine"


def test_a_damaged_run_is_refused_before_ray_is_started(
    known_smoke_run: Location, refused: Callable[..., tuple[int, str]]
) -> None:
    (file,) = RunStore.open(known_smoke_run).files("samples")
    name = str(file).removeprefix(f"{known_smoke_run}/")
    hands = Hands(known_smoke_run)
    hands.write(name, _flip_a_bit(hands.read(name)))
    code, said = refused(known_smoke_run.parent, "--resume", "--run-id", "run")
    assert code == 1
    assert f"{file}: not the bytes that were committed (SHA-256 differs); restore it from a copy" in said


@pytest.fixture
def known_smoke_run(tmp_path: Path) -> Path:
    shipped, _ = plan_file.load_plan("smoke", strategies.all_traits(), glue_tasks(), Overrides())
    return measure(shipped, tmp_path / "results", visits=1)


# ---- the object store


FAULTS: dict[str, dict[str, Any]] = {
    "storm of 503": {"refuse": "503 Slow Down:SlowDown"},
    "storm of 500": {"refuse": "500 Internal Server Error"},
    "denied": {"refuse": "403 Forbidden:AccessDenied"},
    "hangs up": {"drop": "before"},
    "answers lost": {"drop": "after"},
    "answers too late": {"delay_s": LATE_S},
}


@pytest.mark.parametrize(
    ("fault", "folder"),
    [(fault, "manifest") for fault in FAULTS] + [("storm of 503", "samples"), ("answers too late", "samples")],
)
def test_a_store_that_fails_for_a_while(
    fault: str, folder: str, stopped: Path, plan: Plan, bucket: ObjectUri, s3: ObjectServer, quick: object
) -> None:
    root = copy_run(stopped, bucket / "run")
    before = committed_rows(root)
    failing = f"{root}/{folder}/{COMMITS + 1:08d}"
    injected = s3.inject(**FAULTS[fault], part=failing.removeprefix("s3:/"), method="PUT", times=ALWAYS)
    with pytest.MonkeyPatch.context() as patch:
        if fault == "answers too late":
            patch.setattr("raybench.store.object_storage.PATIENT", dataclasses.replace(HASTY, retries=1))
        problem = problem_of(go_on, plan, root)
    if problem is None:  # what arrived, though its answer did not
        assert fault in ("answers lost", "answers too late")
    else:
        assert re.fullmatch(rf"{failing}\S+: cannot be written: .*", problem)
    assert injected.met
    s3.reset()
    s3.settle()
    before |= committed_rows(root)
    go_on(plan, root)
    check_complete(root, before)


def test_an_outage_in_the_midst_and_one_while_going_on(
    plan: Plan, stopped: Path, bucket: ObjectUri, s3: ObjectServer, quick: object
) -> None:
    root = copy_run(stopped, bucket / "run")
    before = committed_rows(root)
    outage = s3.inject(refuse="503 Service Unavailable", times=ALWAYS)
    for look in (lambda: go_on(plan, root), lambda: Views(root)):
        with pytest.raises(StoreError, match=rf"^{root}: cannot be listed: 503 Service Unavailable"):
            look()
    outage.part, outage.met = f"/manifest/{COMMITS + 2:08d}", 0
    with pytest.raises(StoreError, match=rf"{root}/manifest/{COMMITS + 2:08d}.json: cannot be written: 503"):
        go_on(plan, root)
    assert len(RunStore.open(root).committed()) == BEFORE + 1
    outage.times = 0
    check_incomplete(root)
    go_on(plan, root)
    check_complete(root, before)


def test_a_store_that_is_slow_and_stumbles_is_not_noticed(
    plan: Plan, bucket: ObjectUri, s3: ObjectServer, quick: object
) -> None:
    for number in range(1, VISITS + 1):
        s3.inject(refuse="503 Slow Down:SlowDown", part=f"/loads/{number:08d}", times=2)
        s3.inject(drop="after", part=f"/samples/{number:08d}", method="PUT")
        s3.inject(drop="before", part=f"/visits/{number:08d}")
        s3.inject(drop="after", part=f"/manifest/{number:08d}", method="PUT")
        s3.inject(drop="within", part=f"/samples/{number:08d}", method="GET", times=2)
    s3.inject(delay_s=0.01, times=ALWAYS)
    root = measure(plan, bucket, interval_s=0)
    check_complete(root, set())
    assert all(fault.met for fault in s3.faults)
