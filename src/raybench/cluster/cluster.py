"""Ray: a worker on each device, and a device-pinned task of it for each visit."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import ray
import ray.exceptions
from ray.util.metrics import Counter, Gauge
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raybench
from raybench.cluster.agenda import Agenda
from raybench.cluster.connect import connect
from raybench.cluster.metrics import RunMetrics
from raybench.cluster.nodes import describe_nodes, gpu_count
from raybench.model import ModelSpec, Recipe
from raybench.records import InputError, RaybenchError
from raybench.visit import Died, Finished, Message, ProcessHost, VisitSpec, in_parcels

JOINED_WAIT_S: Final = 900.0
"""How long to wait for a first worker on a cluster that may be starting machines."""

_LOCAL_WAIT_S = 120.0
_TELL_EVERY_S = 60.0
_LOOK_EVERY_S = 5.0

_ASKED_FOR = 8
"""Workers that may wait for a device at once, unless a number is asked for: the demand that an autoscaler sees."""

_START_FAILURES = 3
"""Workers in a row that may fail to start before no more are tried."""

_OVERDUE_S = 180.0
"""A worker enforces its visit's deadline itself; this much later it is taken for lost."""


@ray.remote(max_restarts=0, max_task_retries=0)
class _Worker:
    """Holds a device and forks a process for each visit. Ray's retries are off: attempts are numbered by us."""

    def __init__(self, device_kind: Literal["cpu", "cuda"]) -> None:
        self._host = ProcessHost(device_kind)

    def start(self, model: ModelSpec, recipe: Recipe) -> dict[str, Any]:
        self._host.prepare(model, recipe)
        return self._host.describe()

    def visit(self, spec: VisitSpec) -> Iterator[list[Message]]:
        yield from in_parcels(self._host.visit(spec))


@dataclasses.dataclass(eq=False, slots=True)
class _Held:
    """A worker as the driver sees it. ``waits_for``: its start, then the messages of its visit; None when idle.

    ``over``: its visit has died and said so; what follows is the end, or an error of the worker's own.
    """

    actor: Any
    node: str | None
    waits_for: Any
    described: dict[str, Any] | None = None
    spec: VisitSpec | None = None
    began_at: float = 0.0
    overdue_at: float = math.inf
    over: bool = False


def _nothing() -> None:
    """Nobody asks to stop."""


def _silent(text: str) -> None:
    """Nobody reads."""


class Cluster:
    """Workers on this machine or on a Ray cluster, which may gain and lose machines. Use as a context manager.

    With GPUs a worker holds one; without any it holds a core of a node, one worker a node unless more are asked for,
    because two on one machine would disturb each other's timing. Workers that wait for a device are what an
    autoscaler sees of the demand.
    """

    def __init__(
        self,
        address: str | None,
        accelerator_type: str | None = None,
        *,
        workers: int | None = None,
        workers_per_node: int = 1,
        wait_s: float | None = None,
    ) -> None:
        """Start Ray here, or join the cluster at ``address`` (or that of the Ray job this process is).

        ``workers``: how many at most, and to be asked for. ``wait_s``: how long to be without any worker before giving
        up. Raises InputError where no cluster answers, or where Ray was started here and has no such GPU.
        """
        joined = connect(address)
        self._accelerator_type, self._per_node = accelerator_type, workers_per_node
        self._wait_s = wait_s if wait_s is not None else JOINED_WAIT_S if joined else _LOCAL_WAIT_S
        self._workers: list[_Held] = []
        self._failed_starts, self._start_error = 0, RaybenchError("no worker was started")
        self._up_at = self._looked_at = time.monotonic()
        self._told_at = -math.inf
        self._model: tuple[ModelSpec, Recipe] | None = None
        self._metrics = RunMetrics(Counter, Gauge)
        nodes = _nodes()
        gpus = gpu_count(nodes, accelerator_type)
        if accelerator_type is not None and not gpus and not joined:
            raise InputError(f"no GPU of type {accelerator_type!r}: {describe_nodes(nodes)}; choose another")
        # A cluster that has neither yet starts GPU machines when they are asked for.
        cores = any(node["Resources"].get("CPU", 0) >= 1 for node in nodes)
        self.device_kind: Literal["cpu", "cuda"] = "cuda" if gpus or accelerator_type or not cores else "cpu"
        self._most = workers if workers is not None else (gpus or None) if not joined else None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            ray.kill(worker.actor)
        ray.shutdown()

    def start(
        self,
        model: ModelSpec,
        recipe: Recipe,
        wanted: int = 1,
        check: Callable[[], None] = _nothing,
        note: Callable[[str], None] = _silent,
    ) -> list[dict[str, Any]]:
        """Start up to ``wanted`` workers, wait for those that have a device, and return their `ProcessHost.describe`.

        ``check`` is called about every second, here and in `run`: what it raises ends the wait. ``note`` is told what
        a person should know.

        Raises RaybenchError where none comes up, InputError where one has another version of raybench.
        """
        self._model = model, recipe
        self._up_at = time.monotonic()
        while True:
            self._grow(wanted)
            for worker in self._ready(check):
                if error := self._settle(worker):
                    if isinstance(error, InputError):
                        raise error
                    note(f"{error}; it is tried {_START_FAILURES} times")
            up = [worker.described for worker in self._workers if worker.described is not None]
            # Those that Ray has placed are nearly there too; those that wait for a machine are not waited for.
            if up and (len(up) == len(self._workers) or time.monotonic() - self._up_at > _LOOK_EVERY_S):
                return up
            if not up:
                self._tell_waiting(note)

    def run(
        self,
        agenda: Agenda,
        check: Callable[[], None] = _nothing,
        note: Callable[[str], None] = _silent,
    ) -> Iterator[tuple[VisitSpec, Message]]:
        """Keep every worker busy with visits and yield what they find, as it comes.

        The agenda is asked whenever a worker is free, so what was learned from earlier messages decides what comes
        next. An attempt whose worker is lost ends in a `Died` of kind ``worker_lost``; another worker takes its
        place. Raises RaybenchError after ``wait_s`` without any worker.
        """
        self._up_at = time.monotonic()
        while True:
            busy = sum(worker.spec is not None for worker in self._workers)
            self._grow(agenda.waiting() + busy)
            for worker in self._workers:
                if worker.described is not None and worker.spec is None:
                    if (spec := agenda.next(worker.described["device"])) is None:
                        break
                    self._begin(worker, spec)
            up = sum(worker.described is not None for worker in self._workers)
            busy = sum(worker.spec is not None for worker in self._workers)
            self._metrics.show(waiting=agenda.waiting(), busy=busy, idle=up - busy, starting=len(self._workers) - up)
            if not busy and not agenda.waiting():
                if not len(agenda):
                    self._release(self._workers)
                return
            for worker in self._ready(check):
                if worker.described is None:
                    if error := self._settle(worker):
                        note(f"a worker did not start: {error}")
                    continue
                spec = worker.spec
                if spec is not None:
                    for message in self._messages(worker, note):
                        self._metrics.count(message)
                        yield spec, message
            if any(worker.described for worker in self._workers):
                self._up_at = time.monotonic()
            else:
                self._tell_waiting(note)

    def state(self) -> list[dict[str, Any]]:
        """What each worker is doing, as JSON values."""
        now = time.monotonic()
        found: list[dict[str, Any]] = []
        for worker in self._workers:
            described = worker.described
            state = "starting" if described is None else "idle" if worker.spec is None else "busy"
            row: dict[str, Any] = {"state": state}
            if described is not None:
                row |= {"host": described["machine"]["host"]}
                row |= {key: described[key] for key in ("device", "device_name")}
            if worker.spec is not None:
                row |= {"visit": worker.spec.visit, "for_s": round(now - worker.began_at, 1)}
            found.append(row)
        return found

    def _grow(self, demand: int) -> None:
        """Ask for workers as long as there is work for them; let those go that still wait for a device without it."""
        starting = [worker for worker in self._workers if worker.described is None]
        surplus = len(self._workers) - demand
        if surplus > 0 and self.device_kind == "cuda":
            self._release(starting[-surplus:])
        if self._failed_starts >= _START_FAILURES:
            return
        if self.device_kind == "cuda":
            most = demand if self._most is None else min(demand, self._most)
            at_once = _ASKED_FOR if self._most is None else self._most
            while len(self._workers) < most and len(starting) < at_once:
                starting.append(self._new_worker(None))
            return
        if self._workers and time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        for node in _nodes():
            if node["Resources"].get("CPU", 0) >= 1:
                here = sum(worker.node == node["NodeID"] for worker in self._workers)
                for _ in range(self._per_node - here):
                    if self._most is None or len(self._workers) < self._most:
                        self._new_worker(node["NodeID"])

    def _new_worker(self, node: str | None) -> _Held:
        assert self._model is not None
        options: dict[str, Any] = {"num_cpus": 1}
        if node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
        else:
            options["num_gpus"] = 1
            if self._accelerator_type is not None:
                options["accelerator_type"] = self._accelerator_type
        actor = _Worker.options(**options).remote(self.device_kind)  # type: ignore[attr-defined]
        worker = _Held(actor, node, actor.start.remote(*self._model))
        self._workers.append(worker)
        return worker

    def _ready(self, check: Callable[[], None]) -> list[_Held]:
        """The workers that have something to say; after a second at most, whether there are any or not."""
        waiting = {worker.waits_for: worker for worker in self._workers if worker.waits_for is not None}
        if waiting:
            ready, rest = ray.wait(list(waiting), num_returns=1, timeout=1.0, fetch_local=False)
            if ready and rest:
                ready += ray.wait(rest, num_returns=len(rest), timeout=0, fetch_local=False)[0]
        else:
            ready = []
            time.sleep(1.0)
        check()
        now = time.monotonic()
        late = [w for w in waiting.values() if w.spec is not None and now > w.overdue_at and w.waits_for not in ready]
        return [waiting[reference] for reference in ready] + late

    def _settle(self, worker: _Held) -> RaybenchError | None:
        """A worker has started, or not: then it is let go, and why is returned; not if its machine was lost."""
        error: RaybenchError
        try:
            described: dict[str, Any] = ray.get(worker.waits_for)
        except ray.exceptions.RayTaskError as failure:
            error = failure.cause if isinstance(failure.cause, RaybenchError) else _worker_error(failure)
        except ray.exceptions.RayError as failure:
            if "its node has died" in str(failure):  # a machine that is taken away says nothing about the next
                self._release([worker])
                return None
            error = _worker_error(failure)
        else:
            if (version := described["versions"]["raybench"]) == raybench.__version__:
                worker.described, worker.waits_for = described, None
                self._failed_starts, self._up_at = 0, time.monotonic()
                return None
            error = InputError(
                f"worker on {described['machine']['host']} has raybench {version}, this is {raybench.__version__}; "
                "install the same version on every node"
            )
        self._failed_starts += 1
        self._start_error = error
        self._release([worker])
        return error

    def _begin(self, worker: _Held, spec: VisitSpec) -> None:
        worker.spec = spec
        # Named by its block: each name of a task is some series in Ray's metrics, and a driver grew with each of them.
        worker.waits_for = worker.actor.visit.options(num_returns="streaming", name=spec.block).remote(spec)
        worker.began_at, worker.over = time.monotonic(), False
        worker.overdue_at = worker.began_at + spec.timeout_s + _OVERDUE_S

    def _messages(self, worker: _Held, note: Callable[[str], None]) -> list[Message]:
        """The next messages of a worker's visit; none where the visit is over."""
        spec = worker.spec
        assert spec is not None
        reason = f"no sign of life {_OVERDUE_S:g} s after its deadline"
        if time.monotonic() <= worker.overdue_at:
            try:
                messages: list[Message] = ray.get(next(worker.waits_for))
            except StopIteration:
                worker.spec = worker.waits_for = None
                return []
            except ray.exceptions.RayError as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            else:
                if isinstance(messages[-1], Finished):
                    # All that follows is the end of the stream: what comes next need not wait for it.
                    worker.spec = worker.waits_for = None
                worker.over = isinstance(messages[-1], Died)
                return messages
        described = worker.described or {}
        self._release([worker])
        if worker.over:
            note(f"worker on {described['machine']['host']} was let go after {spec.visit}: {reason}")
            return []
        return [Died(None, "worker_lost", reason, described["machine"]["host"], described["device"])]

    def _release(self, workers: list[_Held]) -> None:
        for worker in list(workers):
            with contextlib.suppress(ValueError, ray.exceptions.RayError):
                ray.kill(worker.actor)
            self._workers.remove(worker)

    def _tell_waiting(self, note: Callable[[str], None]) -> None:
        """No worker is up: say from time to time what is missing, and give up in the end."""
        if self._failed_starts >= _START_FAILURES:
            raise self._start_error
        now = time.monotonic()
        waited_s = now - self._up_at
        if waited_s <= self._wait_s and now - self._told_at <= _TELL_EVERY_S:
            return
        nodes = _nodes()
        wanted = "a CPU"
        if self.device_kind == "cuda":
            wanted = f"a GPU of type {self._accelerator_type}" if self._accelerator_type else "a GPU"
        if waited_s > self._wait_s:
            raise RaybenchError(
                f"no worker on {wanted} came up within {self._wait_s:g} s: {describe_nodes(nodes)}; is something else "
                "using it, and can it grow such machines? (--wait waits longer)"
            )
        if waited_s > _TELL_EVERY_S or (self.device_kind == "cuda" and not gpu_count(nodes, self._accelerator_type)):
            self._told_at = now
            note(f"waiting for {wanted}: {describe_nodes(nodes)}; giving up after {self._wait_s:g} s (--wait)")


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _worker_error(error: Exception) -> RaybenchError:
    return RaybenchError(f"a worker did not start: {' '.join(str(error).split())[-400:]}")
