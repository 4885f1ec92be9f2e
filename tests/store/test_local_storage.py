"""What only a run in a folder has: links, temporary names, sync, SIGKILL at any moment, and disks that refuse."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raybench.records import InputError
from raybench.schemas import SCHEMAS
from raybench.store import local_storage
from raybench.store.store import RunStore, StoreError
from store.stored_runs import REQUESTS, commit, failure_of, key, problem_of, rows_of

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Only folders."""
    return tmp_path / "results"


def digests(root: Path) -> dict[Path, str]:
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "driver.lock"]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_a_driver_left_that_died_creating_a_run_is_cleaned_up(tmp_path: Path) -> None:
    (tmp_path / "a/samples").mkdir(parents=True)
    (tmp_path / "a/driver.lock").touch()
    (tmp_path / "a/.run.json.0.tmp").write_text("{")
    with pytest.raises(InputError, match="no run here"):
        RunStore.resume(tmp_path / "a")
    RunStore.create(tmp_path, "a", {}).close()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        ["run.json", "driver.lock", "manifest", "compacted", *SCHEMAS]
    )


def test_a_link_out_of_the_results_directory_is_refused(run: RunStore, tmp_path: Path) -> None:
    run.close()
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere/first"
    link.symlink_to(run.root)
    (tmp_path / "elsewhere/dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "elsewhere/to-empty").symlink_to(tmp_path / "empty")
    for enter in (RunStore.open, RunStore.resume):
        with pytest.raises(InputError, match="leads outside"):
            enter(link)
    for name in ("first", "dangling", "to-empty"):
        with pytest.raises(InputError, match="exists"):
            RunStore.create(tmp_path / "elsewhere", name, {})
    (run.root.parent / "alias").symlink_to("first")
    assert RunStore.open(run.root.parent / "alias").root == run.root


def test_a_listed_file_that_a_link_leads_out_of_the_run_is_refused(three: RunStore, tmp_path: Path) -> None:
    path = three.files("samples")[0]
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    for look in (three.verify, lambda: three.files("samples"), lambda: three.read("samples")):
        with pytest.raises(StoreError, match="a link leads out of the run"):
            look()


def test_empty_folders_that_a_copy_lost_are_made_again(three: RunStore) -> None:
    three.close()
    (three.root / "failures").rmdir()
    RunStore.open(three.root).verify()
    with RunStore.resume(three.root) as store:
        store.commit(failure_of(key("c", 0)), [])
        store.verify()


def test_a_manifest_folder_that_is_gone_is_named(three: RunStore) -> None:
    shutil.rmtree(three.root / "manifest")
    three.close()
    for enter in (RunStore.open, RunStore.resume):
        with pytest.raises(StoreError, match=rf"^{three.root}/manifest: .*restore"):
            enter(three.root)


def test_a_folder_where_a_file_should_be_is_named(three: RunStore) -> None:
    path = three.files("samples")[1]
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=rf"^{path}: cannot be read: Is a directory; restore"):
        three.verify()


@pytest.mark.parametrize("name", ["run.json", "manifest/00000002.json", "samples", "live.json"])
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(three: RunStore, name: str) -> None:
    path = three.files("samples")[1] if name == "samples" else three.root / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(StoreError, match=rf"^{path}: cannot be read: no regular file; restore"):
        RunStore.open(three.root).live() if name == "live.json" else RunStore.open(three.root).verify()


def test_a_pipe_in_the_place_of_the_lock_is_no_lock(three: RunStore) -> None:
    three.close()
    (three.root / "driver.lock").unlink()
    os.mkfifo(three.root / "driver.lock")
    with pytest.raises(StoreError, match=rf"^{three.root}/driver.lock: cannot be read: no regular file"):
        RunStore.resume(three.root)


@pytest.mark.parametrize("name", ["run.json", "manifest/00000002.json", "samples"])
def test_a_file_of_terabytes_is_refused_unread(three: RunStore, name: str) -> None:
    path = three.files("samples")[1] if name == "samples" else three.root / name
    os.truncate(path, 2**40)
    with pytest.raises(StoreError, match=rf"^{path}: 1099511627776 bytes, [0-9]+ are the most it can have; restore"):
        RunStore.open(three.root).verify()


def test_a_folder_that_a_link_leads_out_of_the_run_is_not_tidied(three: RunStore, tmp_path: Path) -> None:
    three.close()
    (tmp_path / "else").mkdir()
    kept = tmp_path / "else/.work.tmp"
    kept.write_text("mine")
    (three.root / "failures").rmdir()
    (three.root / "failures").symlink_to(tmp_path / "else")
    with pytest.raises(StoreError, match=rf"^{three.root}/failures: a link leads out of the run"):
        RunStore.resume(three.root)
    assert kept.read_text() == "mine"


def test_a_file_in_the_place_of_a_run_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("thesis")
    with pytest.raises(InputError, match="exists"):
        RunStore.create(tmp_path, "file", {})
    assert (tmp_path / "file").read_text() == "thesis"


# ---- SIGKILL at any moment


def keep_committing(root: Path, acknowledge: int, before: Callable[[], None]) -> None:
    before()
    with RunStore.resume(root) as store:
        while True:
            done = store.committed()
            fresh = [key(f"b{number}", 0) for number in range(len(done), len(done) + 2)]
            commit(store, *fresh)
            os.write(acknowledge, b"".join(f"{visit.block} ".encode() for visit in fresh))


def in_a_killed_child(
    root: Path, before: Callable[[], None], live_s: float | None = None, from_first_commit: bool = False
) -> set[tuple[str, int]]:
    """Commit in a forked child until it kills itself or ``live_s`` is over; returns the visits it was told are safe.

    ``live_s`` counts from the fork, or from the child's first commit.
    """
    readable, writable = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.close(readable)
            keep_committing(root, writable, before)
        finally:
            os._exit(1)
    os.close(writable)
    first = os.read(readable, 1) if from_first_commit else b""
    if live_s is not None:
        time.sleep(live_s)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the child failed instead of being killed"
    with os.fdopen(readable, "rb") as told:
        return {(block, 0) for block in (first + told.read()).decode().split()}


def check_after_kill(root: Path, safe: set[tuple[str, int]], before: dict[Path, str]) -> dict[Path, str]:
    store = RunStore.open(root)
    store.verify()
    committed = store.committed()
    assert safe <= committed, f"lost {safe - committed}"
    assert len(committed) % 2 == 0, "half a commit is visible"
    visits = [row for path in store.files("visits") for row in pq.read_table(path).to_pylist()]
    assert len(visits) == len(committed), "a visit is doubled or without its row"
    assert sum(file.rows for entry in store.entries() for file in entry.files if file.table == "samples") == (
        REQUESTS * len(committed)
    )
    after = digests(root)
    changed = [path for path in before if after.get(path) != before[path] and path.suffix != ".tmp"]
    assert not changed, f"committed bytes changed: {changed}"
    return after


def kill_at_every_step(root: Path) -> int:
    """Kill before the nth durable operation of a driver's life, for every n of its first commit and a half."""
    rows_of(key("warm", 0))  # imports what pyarrow loads late, once for all children
    safe: set[tuple[str, int]] = set()
    files = digests(root)
    for step in range(24):
        left = step

        def armed() -> None:
            def wrapped(operation: Callable[..., Any]) -> Callable[..., Any]:
                def call(*args: Any, **options: Any) -> Any:
                    nonlocal left
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                    return operation(*args, **options)

                return call

            for name in ("fsync", "link", "unlink"):
                setattr(local_storage.os, name, wrapped(getattr(os, name)))

        safe |= in_a_killed_child(root, armed)
        files = check_after_kill(root, safe, files)
    return len(safe)


def kill_at_random(root: Path, kills: int, seed: int) -> int:
    draw = random.Random(seed)
    rows_of(key("warm", 0))  # imports what pyarrow loads late, once for all children
    safe: set[tuple[str, int]] = set()
    files = digests(root)
    for kill in range(kills):
        safe |= in_a_killed_child(root, lambda: None, draw.uniform(0.0, 0.03), from_first_commit=kill % 2 == 0)
        files = check_after_kill(root, safe, files)
    return len(safe)


@pytest.mark.parametrize(("kill", "options"), [(kill_at_every_step, ()), (kill_at_random, (30, 20250601))])
def test_no_kill_loses_doubles_or_tears_a_commit(
    run: RunStore, kill: Callable[..., int], options: tuple[int, ...]
) -> None:
    run.close()
    # In a process of its own, which has no threads: only such a one is safe to fork.
    with ProcessPoolExecutor(1, mp_context=SPAWN) as clean:
        assert clean.submit(kill, run.root, *options).result(timeout=300) > 0
    with RunStore.resume(run.root) as store:
        commit(store, key("last", 0))
        store.verify()
    assert list(run.root.rglob("*.tmp")) == []


def test_what_an_entry_lists_is_durable_before_the_entry_is_visible(
    run: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    fsync, link = os.fsync, os.link

    def traced_fsync(fd: int) -> None:
        fsync(fd)
        done.append(("fsync", str(Path(f"/proc/self/fd/{fd}").readlink())))

    def traced_link(source: Path, target: Path) -> None:
        link(source, target)
        assert ("fsync", str(source)) in done, f"{target} is visible before its bytes are durable"
        done.append(("link", str(target)))

    monkeypatch.setattr(local_storage.os, "fsync", traced_fsync)
    monkeypatch.setattr(local_storage.os, "link", traced_link)
    commit(run, key("a", 0))
    entry = ("link", str(run.root / "manifest/00000001.json"))
    for table in ("samples", "visits", "loads"):
        (path,) = run.files(table)
        named = done.index(("fsync", str(path.parent)))
        assert done.index(("link", str(path))) < named < done.index(entry)
    assert done[-2:] == [entry, ("fsync", str(run.root / "manifest"))]


# ---- disks that refuse


def test_a_full_disk_leaves_what_is_committed(small_disk: Path) -> None:
    with RunStore.create(small_disk, "first", {}) as store:
        commit(store, key("a", 0))
        refused = 0
        for pages in range(16):  # so that each of the files in turn is the one that does not fit
            visit = key("a", 1 + pages)
            disk = os.statvfs(small_disk)
            ballast = small_disk / "ballast"
            ballast.write_bytes(bytes((disk.f_bavail - pages) * disk.f_bsize))
            before = digests(store.root)
            if (problem := problem_of(commit, store, visit)) is not None:
                refused += 1
                assert "No space left on device; free some space" in problem
                assert str(store.root) in problem
                assert digests(store.root) == before
                RunStore.open(store.root).verify()
                ballast.unlink()
                commit(store, visit)
            ballast.unlink(missing_ok=True)
            assert (visit.block, visit.round) in RunStore.open(store.root).committed()
        assert 3 <= refused < 16
        RunStore.open(store.root).verify()


def test_a_disk_that_turns_read_only_is_named_and_can_be_read(small_disk: Path) -> None:
    with RunStore.create(small_disk, "first", {}) as store:
        commit(store, key("a", 0))
        store.close()  # no file is open for writing, or the kernel refuses to remount
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        reader = RunStore.open(store.root)
        reader.verify()
        assert reader.read("samples").num_rows == REQUESTS
        for enter in (lambda: RunStore.resume(store.root), lambda: RunStore.create(small_disk, "b", {})):
            with pytest.raises(StoreError, match="Read-only file system; choose a results directory that is writable"):
                enter()


def test_a_write_that_the_kernel_cuts_short_leaves_what_is_committed(three: RunStore) -> None:
    before = digests(three.root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            StoreError, match=rf"samples/00000004-.*parquet: cannot be written: {os.strerror(errno.EFBIG)}"
        ):
            commit(three, key("c", 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert digests(three.root) == before
    three.verify()
    commit(three, key("c", 0))
    three.verify()


@pytest.mark.parametrize("call", range(1, 21))
def test_an_error_of_any_durable_operation_hides_the_commit_or_keeps_all_of_it(
    three: RunStore, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    before, left = digests(three.root), call

    def failing(operation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return operation(*args, **options)

        return wrapped

    monkeypatch.setattr(local_storage.os, "fsync", failing(os.fsync))
    monkeypatch.setattr(local_storage.os, "link", failing(os.link))
    visit = key("c", 0)
    assert "Input/output error" in (problem_of(commit, three, visit) or "Input/output error")
    monkeypatch.undo()
    if ("c", 0) not in three.committed():
        assert digests(three.root) == before
    commit(three, visit)  # again: a duplicate that loses, or the first
    reader = RunStore.open(three.root)
    reader.verify()
    assert reader.entries() == three.entries()
    assert reader.read("visits")["visit"].to_pylist().count(visit.visit) == 1
