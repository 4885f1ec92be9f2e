"""Faults made for real: a busy process, a quota, a mask of one core, no rights, a full disk."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from machine.machine_trees import machine_tree
from machine.test_priority import _no_rights, needs_root
from raybench.machine import load_checks
from raybench.machine.findings import Tree, finding_of
from raybench.machine.memory_checks import disk

SCRIPT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from raybench.machine import examine_steady
print(json.dumps([one.as_json() for one in examine_steady()]))
"""
WATCHED = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
from raybench.machine import Watch, open_device
with Watch(open_device("cpu")) as watch:
    watch.begin()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    print(json.dumps(watch.end()))
"""
GROUPS = Path("/sys/fs/cgroup/cpu")


def found_there(script: str = SCRIPT, **options: Any) -> Any:
    """What a process finds that is started so."""
    command = [sys.executable, "-c", script, json.dumps(sys.path)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120, **options)
    return json.loads(done.stdout)


def state_of(findings: list[dict[str, str]], name: str) -> tuple[str, str]:
    (one,) = [one for one in findings if one["name"] == name]
    return one["state"], one["found"]


@pytest.fixture
def busy() -> Iterator[int]:
    """A process that computes."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    yield process.pid
    process.kill()
    process.wait()


def test_a_process_that_computes_is_found_and_named(busy: int) -> None:
    seen = load_checks._watch(Tree(), 0.5, time.sleep)
    used = {pid: (name, ns) for (name, pid), ns in seen.used_ns.items()}
    assert used[busy][0].startswith("python")
    assert used[busy][1] > 0
    assert os.getpid() not in used
    found = finding_of("load", load_checks.load_checks(Tree(), 0.5)["load"])
    assert found.state == "caution"
    assert found.found.startswith("others compute on ")


@contextlib.contextmanager
def quota_group(cores: float) -> Iterator[Path]:
    """A control group of version 1 with so many cores' time."""
    group = GROUPS / f"raybench-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        (group / "cpu.cfs_quota_us").write_text(str(int(cores * 100_000)))
        yield group
    finally:
        group.rmdir()


def into(group: Path) -> Callable[[], None]:
    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    return enter


@pytest.mark.skipif(not (GROUPS / "cpu.cfs_quota_us").exists(), reason="control groups of version 1 only")
def test_a_quota_is_found_and_what_it_costs_is_counted() -> None:
    with quota_group(0.25) as group:
        state, found = state_of(found_there(preexec_fn=into(group)), "quota")
        assert state == "caution"
        assert found.startswith(f"0.25 cores' time a period, by {group}; ")
        assert found_there(WATCHED, preexec_fn=into(group))["throttled_ns"] > 0


def test_a_mask_of_one_core_is_found() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one core")
    one = min(os.sched_getaffinity(0))
    state, found = state_of(found_there(preexec_fn=lambda: os.sched_setaffinity(0, {one})), "cores")
    assert state == "caution"
    assert found.startswith("1 of ")


@needs_root
def test_who_may_raise_no_priority_is_found() -> None:
    assert state_of(found_there(), "priority")[0] == "ok"
    assert state_of(found_there(preexec_fn=_no_rights), "priority")[0] == "caution"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte, three quarters of it full."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted")
    (folder / "full").write_bytes(bytes(3 * 2**18))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_nearly_full_is_found(small_disk: Path) -> None:
    places = {"results": small_disk / "not" / "yet", "temporary files": Path("/")}
    found, remedy = disk(places, 2**20)
    assert found == f"0.0 GB free for results ({small_disk}/not/yet)"
    assert remedy == "free 0.0 GB there, or choose another disk by --results DIR"
    assert disk(places, 2**18).remedy == ""


def test_time_that_a_hypervisor_takes_is_found(tmp_path: Path) -> None:
    """A second of two cores, 0.3 s of which were taken, and 0.5 used by one process."""
    before = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1\ncpu1 1\n"
    after = "cpu  150 0 50 900 70 0 0 30 0 0\ncpu0 1\ncpu1 1\n"
    one = "7 (a) b) R " + " ".join(["0"] * 10) + " 20 5 0 0"
    tree = machine_tree(tmp_path, {"proc/stat": before, "proc/7/stat": one, "proc/8/stat": "odd"})

    def meanwhile(seconds: float) -> None:
        (tmp_path / "proc/stat").write_text(after)
        (tmp_path / "proc/7/stat").write_text(one.replace(" 20 5 ", " 60 15 "))

    checks = load_checks.load_checks(tree, 0.5, meanwhile)
    load, steal = (finding_of(name, check) for name, check in checks.items())
    assert (load.state, steal.state) == ("caution", "caution")
    assert load.found.startswith("others compute on 0.5")
    assert load.found.endswith(" of 2 cores: a) b (7) 0.50")
    assert steal.found == "15.0 % of the processor time over 1.0 s, 2.5 % since the machine started"
    assert finding_of("load", load_checks.load_checks(tree, 0.5, lambda _: None)["load"]).found == (
        "/proc/stat stood still for 0.5 s"
    )
