"""Runs to store: rows, commits, and hands that reach into a run behind raybench's back."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from obstore.store import S3Store

from raybench.records import visit_name
from raybench.schemas import SCHEMAS
from raybench.store.location import Location, ObjectUri
from raybench.store.store import RunStore, StoreError, VisitKey

REQUESTS = 20
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
LOCK_FILES = ("driver.lock", "driver.clock")


def key(block: str, round_index: int, attempt: int = 0) -> VisitKey:
    name = visit_name(block, round_index, attempt)
    return VisitKey(visit=name, block=block, round=round_index, attempt=attempt)


def rows_of(visit: VisitKey, changes: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, pa.Table]:
    """What one visit of two configurations leaves; ``changes`` replaces values in the last row of a table."""
    draw = random.Random(visit.visit)
    place = {"visit": visit.visit, "block": visit.block, "round": visit.round}
    samples = [
        place
        | {"configuration": configuration, "task": "mrpc", "adapter": None, "request": request, "phase": "timed"}
        | {"turn": request, "sequence": 2 * request + offset, "tokens": 64, "started_ns": 1000 * request}
        | {"host_ns": draw.randint(1, 10**7), "wall_ns": draw.randint(10**7, 10**8)}
        | {"device_ns": None, "switch_ns": None}
        for request in range(REQUESTS // 2)
        for offset, configuration in enumerate(("full_ft", "lora_merged"))
    ]
    visits = [
        place
        | {"attempt": visit.attempt, "host": "node", "device": "cpu", "device_name": "CPU", "pid": 7}
        | {"started_at": NOW, "fork_ns": 1, "load_ns": 2, "warmup_ns": 0, "timing_ns": 4, "total_ns": 9}
        | {"process_peak_bytes": 1 << 20, "environment": "{}"}
    ]
    loads = [
        place
        | {"configuration": configuration, "load_ns": 5, "adapter_load_ns": None, "merge_ns": None}
        | {"weight_bytes": 10, "adapter_bytes": 0, "resident_bytes": 10, "load_peak_bytes": 12}
        | {"forward_peak_bytes": 3, "gate_error": 1e-7, "gate_tolerance": 1e-4}
        | {"adapter_effect": 0.2}
        for configuration in ("full_ft", "lora_merged")
    ]
    rows: dict[str, list[dict[str, Any]]] = {"samples": samples, "visits": visits, "loads": loads}
    for table, values in (changes or {}).items():
        rows[table][-1].update(values)
    return {table: pa.Table.from_pylist(found, schema=SCHEMAS[table]) for table, found in rows.items()}


def failure_of(visit: VisitKey, kind: str = "worker_lost") -> dict[str, pa.Table]:
    row = dataclasses.asdict(visit) | {"configuration": "full_ft", "kind": kind, "message": "gone", "failed_at": NOW}
    return {"failures": pa.Table.from_pylist([row], schema=SCHEMAS["failures"])}


def commit(store: RunStore, *visits: VisitKey) -> None:
    parts = [rows_of(visit) for visit in visits]
    store.commit({table: pa.concat_tables([part[table] for part in parts]) for table in parts[0]}, visits)


def problem_of(action: Callable[..., object], *args: Any) -> str | None:
    try:
        action(*args)
    except StoreError as error:
        return str(error)
    return None


class Hands:
    """A run's files, or a results place's, by names below ``root``: what no reader of them goes through."""

    def __init__(self, root: Location) -> None:
        self.root = root
        self._objects = None if isinstance(root, Path) else _objects(root)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes() if self._objects is None else bytes(self._objects.get(name).bytes())

    def write(self, name: str, data: bytes) -> None:
        if self._objects is None:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(data)
        else:
            self._objects.put(name, data, use_multipart=False)

    def remove(self, name: str) -> None:
        if self._objects is None:
            (self.root / name).unlink()
        else:
            self._objects.delete(name)

    def names(self) -> set[str]:
        """Every file but those of the lock."""
        if self._objects is None:
            found = {str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()}
        else:
            found = {meta["path"] for chunk in self._objects.list() for meta in chunk}
        return {name for name in found if name.rpartition("/")[2] not in LOCK_FILES}

    def digests(self) -> dict[str, str]:
        return {name: hashlib.sha256(self.read(name)).hexdigest() for name in self.names()}


def _objects(root: ObjectUri) -> S3Store:
    return S3Store(root.bucket, prefix=root.key, client_options={"allow_http": True})


def copy_run(source: Path, root: Location) -> Location:
    """The committed files of a run in a folder, elsewhere."""
    for name in Hands(source).names():
        Hands(root).write(name, (source / name).read_bytes())
    return root


@pytest.fixture(params=["folder", "s3"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where runs are kept: a folder and, in another test of the same, an object store."""
    return tmp_path / "results" if request.param == "folder" else request.getfixturevalue("bucket")


@pytest.fixture
def run(results: Location) -> Iterator[RunStore]:
    with RunStore.create(results, "first", {"plan": "rq2"}) as store:
        yield store


@pytest.fixture(scope="session")
def three_commits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with RunStore.create(tmp_path_factory.mktemp("template"), "first", {"plan": "rq2"}) as store:
        commit(store, key("a", 0))
        commit(store, key("b", 0), key("a", 1))
        commit(store, key("b", 1))
        store.verify()
    return store.root


@pytest.fixture
def three(three_commits: Path, results: Location) -> Iterator[RunStore]:
    """A run of three commits, the second of two visits."""
    with RunStore.resume(copy_run(three_commits, results / "first")) as store:
        yield store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
