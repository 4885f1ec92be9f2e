"""Visits in processes of their own: forked, killed for real, watched."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from raybench.cluster.agenda import Agenda, Job
from raybench.model.prepare import Recipe
from raybench.model.weights import ModelSpec, resolve_model
from raybench.model.workload import GlueLengths
from raybench.plan.builder import Overrides
from raybench.plan.plan import Plan
from raybench.records import RaybenchError
from raybench.visit.messages import Died, Finished, Loaded, Message, Samples
from raybench.visit.process import ProcessHost, in_parcels
from raybench.visit.spec import VisitSpec
from visit import in_fork


@pytest.fixture(scope="module")
def host() -> ProcessHost:
    host = ProcessHost("cpu")
    assert host.describe()["device"].startswith("cpu@")
    return host


@pytest.fixture
def spec(load_plan: Callable[..., Plan]) -> VisitSpec:
    plan = load_plan(rounds=1, requests=200)
    recipe = Recipe.of("micro", plan)
    spec = Agenda(Job(plan, GlueLengths(0), resolve_model("micro"), recipe, "cpu")).next()
    assert spec is not None
    return spec


def children() -> Iterator[psutil.Process]:
    """Processes that this test's fork server has forked."""
    for process in psutil.Process().children(recursive=True):
        try:
            if (
                process.parent()
                and process.parent().ppid() == os.getpid()
                and "forkserver" in " ".join(process.cmdline())
            ):
                yield process
        except psutil.Error:
            continue


def test_a_visit_runs_in_a_fresh_process_that_has_no_ray_and_one_thread(host: ProcessHost, spec: VisitSpec) -> None:
    small = dataclasses.replace(spec, requests=tuple(r[:3] for r in spec.requests))
    ends = [list(host.visit(small))[-1] for _ in range(2)]
    assert all(isinstance(end, Finished) for end in ends)
    pids = {end.row["pid"] for end in ends}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert host._ask(in_fork.modules) == (False, True, 1)


def test_all_that_is_to_be_imported_once_is(host: ProcessHost) -> None:
    """multiprocessing says nothing of a module that its fork server did not find."""
    missing, frozen = host._ask(in_fork.preloaded)
    assert missing == []
    assert frozen > 100_000


def test_samples_stream_back_while_the_visit_runs(host: ProcessHost, spec: VisitSpec) -> None:
    messages = list(host.visit(spec))
    assert sum(isinstance(m, Samples) for m in messages) >= 2
    assert isinstance(messages[-1], Finished)
    timed = sum(m.batch.column("phase").to_pylist().count("timed") for m in messages if isinstance(m, Samples))
    assert timed == 600


@pytest.mark.parametrize(("signum", "kind"), [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "crashed")])
def test_a_killed_visit_is_told_with_what_it_was_busy_with_and_the_host_lives(
    host: ProcessHost, spec: VisitSpec, signum: signal.Signals, kind: str
) -> None:
    messages = []
    for message in host.visit(spec):
        messages.append(message)
        for child in children() if isinstance(message, Samples) and message.batch.num_rows else ():
            child.send_signal(signum)  # more may have been sent before it died
    died = messages[-1]
    assert isinstance(died, Died)
    assert (died.kind, died.message) == (kind, f"signal {signum.name}")
    assert (died.host, died.device) == (socket.gethostname(), f"cpu@{socket.gethostname()}")
    assert died.configuration in {c.name for c in spec.configurations}
    assert isinstance(list(host.visit(spec))[-1], Finished)


def test_a_visit_that_dies_with_its_fork_server_was_killed_and_the_host_lives(
    host: ProcessHost, spec: VisitSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No configuration of it has crashed: it is measured again. The new fork server leaves no folder of its own."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    messages = []
    for message in host.visit(spec):
        messages.append(message)
        if isinstance(message, Samples) and message.batch.num_rows and len(messages) < 6:
            for child in list(children()):
                fork_server = child.parent()
                assert fork_server is not None
                fork_server.kill()
    died = messages[-1]
    assert isinstance(died, Died)
    assert died.kind == "killed"
    assert isinstance(list(host.visit(spec))[-1], Finished)
    assert list(temporary.iterdir()) == []


def test_a_visit_past_its_deadline_is_killed(host: ProcessHost, spec: VisitSpec) -> None:
    messages = []
    for message in host.visit(dataclasses.replace(spec, timeout_s=1.5)):
        messages.append(message)
        for child in children() if len(messages) == 1 else ():
            child.suspend()
    died = messages[-1]
    assert isinstance(died, Died)
    assert (died.kind, died.message) == ("timeout", "not done in 1.5 s")
    assert not list(children())
    # The device was looked at and answers: the next visit is measured.
    assert isinstance(list(host.visit(spec))[-1], Finished)


def test_a_device_that_does_not_answer_after_a_hang_ends_its_worker(host: ProcessHost, spec: VisitSpec) -> None:
    assert host.check_device() is None
    with pytest.raises(RaybenchError, match=r"use device: no answer in 0\.001 s"):
        host.check_device(limit_s=0.001)


def test_what_a_visit_ran_on_is_kept_with_it(host: ProcessHost, spec: VisitSpec) -> None:
    small = dataclasses.replace(spec, requests=tuple(r[:3] for r in spec.requests))
    end = list(host.visit(small))[-1]
    assert isinstance(end, Finished)
    kept = json.loads(end.row["environment"])
    assert kept["machine"]["host"] == socket.gethostname()
    assert {"torch", "peft", "transformers", "raybench"} <= kept["versions"].keys()
    assert kept["gpu"] == {}


def test_who_stops_listening_ends_the_visit(host: ProcessHost, spec: VisitSpec) -> None:
    visit = host.visit(spec)
    next(visit)
    assert list(children())
    visit.close()
    assert not list(children())


def test_what_goes_wrong_in_preparing_is_told_in_one_line(host: ProcessHost, tmp_path: os.PathLike) -> None:
    with pytest.raises(RaybenchError, match="prepare failed") as caught:
        host.prepare(ModelSpec("micro", "preset_files"), Recipe("no-such-preset", (), ()))
    assert "\n" not in str(caught.value)


def test_a_process_that_dies_while_looking_is_told(host: ProcessHost) -> None:
    with pytest.raises(RaybenchError, match="SIGKILL"):
        host._ask(in_fork.kill_me)


def test_overrides_reach_the_visit(load_plan: Callable[..., Plan]) -> None:
    assert load_plan(order_seed=9).order_seed == 9
    assert Overrides().order_seed is None


def test_messages_travel_together_for_a_quarter_of_a_second_and_the_last_at_once() -> None:
    now = iter([0.0, 0.1, 0.2, 0.3, 0.3, 0.4, 0.5])
    died = Died(None, "killed", "gone", "a", "GPU-0")
    messages: list[Message] = [Loaded({}), Loaded({}), Loaded({}), Loaded({}), died]
    parcels = list(in_parcels(iter(messages), lambda: next(now)))
    assert [len(parcel) for parcel in parcels] == [3, 2]
    assert parcels[0] + parcels[1] == messages
