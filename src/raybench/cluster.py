"""Ray: one worker for each GPU, and a GPU-pinned task of it for each visit. The only module that imports ray."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raybench
from raybench.models import ModelSpec
from raybench.prepare import Recipe
from raybench.records import InputError, RaybenchError
from raybench.visit import Died, Message, VisitSpec
from raybench.worker import ProcessHost

_SILENCE_S = 120.0
"""How long a person waits for a worker to start before being told what is missing."""

_CONNECT_S = 10.0


@ray.remote(max_restarts=0, max_task_retries=0)
class _Worker:
    """Holds a device and forks a process for each visit. Ray's retries are off: attempts are numbered by us."""

    def __init__(self, device_kind: Literal["cpu", "cuda"]) -> None:
        self._host = ProcessHost(device_kind)

    def start(self, model: ModelSpec, recipe: Recipe) -> dict[str, Any]:
        self._host.prepare(model, recipe)
        return self._host.describe()

    def visit(self, spec: VisitSpec) -> Iterator[Message]:
        yield from self._host.visit(spec)


def _nothing() -> None:
    """Nobody asks to stop."""


@dataclasses.dataclass(slots=True)
class _Running:
    worker: Any
    spec: VisitSpec


class Cluster:
    """Workers on this machine or on a Ray cluster. Use as a context manager."""

    def __init__(self, address: str | None, accelerator_type: str | None = None) -> None:
        """Start Ray here, or join the cluster at ``address`` (or that of the Ray job this process is).

        Raises InputError where no cluster answers, or where none of its GPUs is an ``accelerator_type``.
        """
        self._accelerator_type = accelerator_type
        self._workers: list[Any] = []
        _connect(address)
        alive = [node for node in ray.nodes() if node["Alive"]]
        nodes = [node["Resources"] for node in alive]
        gpus = int(sum(n.get("GPU", 0) for n in nodes))
        if accelerator_type is not None:
            wanted = int(sum(n.get("GPU", 0) for n in nodes if f"accelerator_type:{accelerator_type}" in n))
            if not wanted:
                have = {r.partition(":")[2] for n in nodes for r in n if r.startswith("accelerator_type:")}
                raise InputError(
                    f"no GPU of type {accelerator_type!r} in the cluster; it has {gpus} GPU(s) of "
                    f"{', '.join(sorted(have)) or 'no named type'}; choose another --accelerator-type"
                )
            gpus = wanted
        self.device_kind: Literal["cpu", "cuda"] = "cuda" if gpus else "cpu"
        # Without a GPU, one worker a node: two on one machine would disturb each other's timing.
        cpu_nodes = [node["NodeID"] for node in alive if node["Resources"].get("CPU", 0) >= 1]
        self._slots: list[str | None] = [None] * gpus or cpu_nodes
        if not self._slots:
            raise InputError("the cluster has neither a GPU nor a free CPU; add a node")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            ray.kill(worker)
        ray.shutdown()

    def start(self, model: ModelSpec, recipe: Recipe, check: Callable[[], None] = _nothing) -> list[dict[str, Any]]:
        """Start a worker on each device and describe them (`ProcessHost.describe`).

        ``check`` is called about every second, here and in `run`: what it raises ends the wait.

        Raises RaybenchError where a worker does not come up or has another version of raybench.
        """
        self._workers = [self._new_worker(node) for node in self._slots]
        starting = [worker.start.remote(model, recipe) for worker in self._workers]
        deadline = time.monotonic() + _SILENCE_S
        while len(ray.wait(starting, num_returns=len(starting), timeout=1.0)[0]) < len(starting):
            check()
            if time.monotonic() < deadline:
                continue
            raise RaybenchError(
                f"workers did not start within {_SILENCE_S:g} s; the cluster has {_resources()}; is something else "
                "using it?"
            )
        try:
            described: list[dict[str, Any]] = ray.get(starting)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, RaybenchError) else _worker_error(error) from None
        except ray.exceptions.RayError as error:
            raise _worker_error(error) from None
        for found in described:
            if (version := found["versions"]["raybench"]) != raybench.__version__:
                raise InputError(
                    f"worker on {found['machine']['host']} has raybench {version}, this is {raybench.__version__}; "
                    "install the same version on every node"
                )
        return described

    def run(
        self,
        next_visit: Callable[[], VisitSpec | None],
        model: ModelSpec,
        recipe: Recipe,
        check: Callable[[], None] = _nothing,
    ) -> Iterator[tuple[VisitSpec, Message]]:
        """Keep every worker busy with visits and yield what they find, as it comes.

        ``next_visit`` is asked whenever a worker is free, so what was learned from earlier messages decides what
        comes next. A worker that is lost yields a `Died` of kind ``worker_lost`` and is replaced.
        """
        idle = list(self._workers)
        running: dict[Any, _Running] = {}
        while True:
            while idle and (spec := next_visit()) is not None:
                worker = idle.pop()
                task = worker.visit.options(num_returns="streaming", name=spec.visit).remote(spec)
                running[task] = _Running(worker, spec)
            if not running:
                return
            ready, _ = ray.wait(list(running), num_returns=1, timeout=1.0, fetch_local=False)
            check()
            for task in ready:
                current = running[task]
                try:
                    message: Message = ray.get(next(task))
                except StopIteration:
                    del running[task]
                    idle.append(current.worker)
                    continue
                except ray.exceptions.RayError as error:
                    del running[task]
                    idle.append(self._replace(current.worker, model, recipe))
                    reason = " ".join(str(error).split())[:300]
                    message = Died(None, "worker_lost", f"{type(error).__name__}: {reason}")
                yield current.spec, message

    def _new_worker(self, node: str | None) -> Any:
        if node is not None:
            here = NodeAffinitySchedulingStrategy(node, soft=False)
            return _Worker.options(num_cpus=1, scheduling_strategy=here).remote("cpu")  # type: ignore[attr-defined]
        options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 1}
        if self._accelerator_type is not None:
            options["accelerator_type"] = self._accelerator_type
        return _Worker.options(**options).remote("cuda")  # type: ignore[attr-defined]

    def _replace(self, lost: Any, model: ModelSpec, recipe: Recipe) -> Any:
        with contextlib.suppress(ValueError, ray.exceptions.RayError):
            ray.kill(lost)
        at = self._workers.index(lost)
        new = self._workers[at] = self._new_worker(self._slots[at])
        new.start.remote(model, recipe)  # tasks of an actor run in order: the next visit waits for it
        return new


def in_ray_job() -> bool:
    """Whether this process was started by ``ray job submit``."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _connect(address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    if address not in (None, "local", "auto"):
        _check_reachable(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None or address == "local":
            ray.init("local", include_dashboard=False, object_store_memory=256 * 1024**2, **quiet)
        else:
            ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"Ray cluster at {address or 'this machine'} cannot be reached: {reason}; is it up, and does "
            "RAY_AUTH_MODE=token with its token apply here?"
        ) from None


def _check_reachable(address: str) -> None:
    """Ray would try a dead address for minutes."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in host:
        raise InputError(
            f"--address {address!r}: expected HOST:PORT of a cluster's GCS (6379 by default), local or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"Ray cluster at {address} cannot be reached: {error}; is it up?") from None


def _resources() -> str:
    have = ray.available_resources()
    return ", ".join(f"{have.get(r, 0):g} {r} free" for r in ("CPU", "GPU"))


def _worker_error(error: Exception) -> RaybenchError:
    return RaybenchError(f"a worker did not start: {' '.join(str(error).split())[-400:]}")
