"""The lock of a run in a folder: who holds it, and what becomes of it when he dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from raybench.records import InputError
from raybench.store.store import RunStore
from store.stored_runs import commit, key

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Only folders."""
    return tmp_path / "results"


def hold(root: Path, pipe: Connection, child_outlives: bool) -> None:
    with RunStore.resume(root):
        child = os.fork() if child_outlives else 0
        if child_outlives and child == 0:
            pipe.close()
            time.sleep(60)
            os._exit(0)
        pipe.send(child)
        time.sleep(60)


@pytest.mark.parametrize("child_outlives", [False, True])
def test_a_live_driver_is_named_and_a_killed_one_replaced(three: RunStore, child_outlives: bool) -> None:
    three.close()
    ours, theirs = SPAWN.Pipe()
    holder = SPAWN.Process(target=hold, args=(three.root, theirs, child_outlives))
    holder.start()
    child = 0
    try:
        assert ours.poll(30)
        child = ours.recv()
        lock = json.loads((three.root / "driver.lock").read_text())
        assert set(lock) == {"host", "pid", "started_at"}
        assert lock["pid"] == holder.pid
        with pytest.raises(InputError, match=f"process {holder.pid} on {socket.gethostname()} .*--run-id"):
            RunStore.resume(three.root)
        RunStore.open(three.root).verify()  # reading asks no lock
        holder.kill()
        holder.join()
        with RunStore.resume(three.root) as store:
            assert json.loads((three.root / "driver.lock").read_text())["pid"] == os.getpid()
            said = f"process {holder.pid} on {socket.gethostname()} is gone and did not release this run: taken over."
            assert store.notice == said
            commit(store, key("c", 0))
    finally:
        holder.kill()
        holder.join()
        if child:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_closes_the_store_releases_nothing(three: RunStore) -> None:
    if (pid := os.fork()) == 0:
        three.close()
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(InputError, match=f"process {os.getpid()} on "):
        RunStore.resume(three.root)
    commit(three, key("c", 0))


def test_a_released_lock_names_nobody(three: RunStore) -> None:
    three.close()
    assert (three.root / "driver.lock").read_bytes() == b""
    with RunStore.resume(three.root) as store:
        assert store.notice is None


@pytest.mark.parametrize("left", ["{", "[]", '{"pid": 1}', "\0"])
def test_what_is_no_name_in_a_lock_is_taken_without_a_word(three: RunStore, left: str) -> None:
    three.close()
    (three.root / "driver.lock").write_text(left)
    with RunStore.resume(three.root) as store:
        assert store.notice is None


def test_a_program_that_the_driver_starts_does_not_inherit_the_lock(three: RunStore) -> None:
    look = "import os; print([os.readlink(entry.path) for entry in os.scandir('/proc/self/fd')])"
    listed = subprocess.run([sys.executable, "-c", look], close_fds=False, capture_output=True, text=True, check=True)
    assert "driver.lock" not in listed.stdout
    assert "pipe" in listed.stdout
