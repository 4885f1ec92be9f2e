"""What a visit does: load the block's configurations, check them, warm them up, take turns.

`run_visit` knows of no process and no cluster; what it finds it yields as messages.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from collections.abc import Generator as Yields
from functools import partial
from typing import Any, Final

import pyarrow as pa

from raybench.deploy import (
    Deployment,
    Gate,
    GateError,
    Generator,
    Prepared,
    as_it_is,
    compiled,
    count,
    own_cache,
    strategy_class,
    try_instruction_sets,
)
from raybench.machine import Calibration, Device, Watch, calibrate, dtype_name, examine_steady, kept, torch_dtype
from raybench.model import (
    Prompts,
    Request,
    Weights,
    cache_folder,
    prepared,
)
from raybench.plan import COMPILED, Configuration
from raybench.records import FailureKind, Phase, Place
from raybench.schemas import CALIBRATIONS
from raybench.serve import ServerError
from raybench.visit.inputs import longest_row, make_inputs, padded_tokens, probes_of, shape_of
from raybench.visit.loading import load
from raybench.visit.messages import Calibrated, Counted, Failed, Finished, Loaded, Message, Samples
from raybench.visit.orders import balanced_order
from raybench.visit.serving import Server, served_by
from raybench.visit.spec import VisitSpec
from raybench.visit.turns import Identity, Subject, schedule, take_turns

_MESSAGE_LIMIT: Final = 2000
_LOAD_ORDER: Final = 1  # keeps the order of loading apart from that of turns, which the same seed draws


BusyWith = Callable[[int], None]
"""Told the index of the configuration that is worked on (-1: none): whoever watches knows what killed a visit."""


def run_visit(
    spec: VisitSpec, device: Device, busy_with: BusyWith, fork_ns: int = 0, environment: str = "{}"
) -> Iterator[Message]:
    """Measure one block in one round on ``device``; the last message is `Finished`. ``environment`` is kept with it.

    A configuration that fails is reported and takes no further part; the others go on.
    """
    started_at, started = datetime.datetime.now(datetime.UTC), device.clock()
    visit: Visit
    if not spec.servers:
        visit = Visit(spec, device, busy_with)
    else:
        from raybench.visit.served_visit import ServedVisit

        visit = ServedVisit(spec, device, busy_with)
    with visit.running():
        yield from visit.load()
        row = yield from _measured(visit, device, fork_ns, environment, started_at, started)
    # Not before all that was started for it has ended: the next visit may begin once this is told.
    yield Finished(row)


def _measured(
    visit: Visit, device: Device, fork_ns: int, environment: str, started_at: datetime.datetime, started: int
) -> Yields[Message, None, dict[str, Any]]:
    """Returns the visit's row of the visits table."""
    import torch

    spec = visit.spec
    with torch.inference_mode(), visit.watch:
        yield from visit.check()
        ready = device.clock()
        yield from visit.calibrate("before")
        visit.watch.begin()
        began = device.clock()
        yield from visit.measure()
        done = device.clock()
        seen = visit.seen()
        peak_bytes = visit.peak_bytes()
        yield from visit.calibrate("after")
        yield from visit.count()
    return {
        "visit": spec.visit,
        "block": spec.block,
        "round": spec.round,
        "attempt": spec.attempt,
        "host": socket.gethostname(),
        "device": device.identity,
        "device_name": device.name,
        "pid": os.getpid(),
        "started_at": started_at,
        "fork_ns": fork_ns,
        "load_ns": ready - started,
        "warmup_ns": visit.warmup_ns,
        "timing_ns": done - began - visit.warmup_ns,
        "total_ns": device.clock() - started + fork_ns,
        "process_peak_bytes": peak_bytes,
        "environment": visit.environment(environment),
        **seen,
        "findings": json.dumps(kept(examine_steady(device.identity))),
    }


class Visit:
    """A visit whose configurations this process serves itself."""

    def __init__(self, spec: VisitSpec, device: Device, busy_with: BusyWith) -> None:
        self.spec, self.device, self.busy_with = spec, device, busy_with
        self.weights = self.make_weights()
        self.loaded: dict[str, tuple[Configuration, Deployment]] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.servers: dict[str, Server] = {}
        self.inputs: dict[tuple[str, int], Prompts] = {}
        self.failed: set[str] = set()
        self.warmup_ns = 0
        self.watch = Watch(device, self.used_cpu_ns)
        # What comes first pays for what others find ready (lazy imports, contexts): another order in each round.
        order = balanced_order(len(spec.configurations), spec.round, [*spec.order_seed, _LOAD_ORDER])
        self.order = [(i, spec.configurations[i]) for i in order]

    def make_weights(self) -> Any:
        """Where weights come from; None where none are known."""
        return Weights(prepared(self.spec.model, self.spec.recipe), self.device)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Around all of it; what was started for it has ended afterwards."""
        yield

    def peak_bytes(self) -> int:
        """The most memory that what serves has held."""
        return self.device.process_peak_bytes()

    def used_cpu_ns(self) -> int:
        """Processor time that what serves, and asks, has used up to now."""
        return time.process_time_ns()

    def seen(self) -> dict[str, Any]:
        """What happened to the machine while requests were served: columns of the visits table."""
        return self.watch.end()

    def environment(self, told: str) -> str:
        """What is kept of the environment, as JSON; ``told``: of this machine."""
        return told

    def load(self) -> Iterator[Message]:
        for index, configuration in self.order:
            self.busy_with(index)
            try:
                deployment, row = load(self.spec, configuration, self.weights, self.device)
            except Exception as error:  # noqa: BLE001  whatever it is, it ends this configuration only
                yield failure(configuration, error)
                continue
            self.loaded[configuration.name] = (configuration, deployment)
            self.rows[configuration.name] = row
        if self.loaded:
            requests = (request for requests in self.spec.requests for request in requests)
            models = [deployment.model for _, deployment in self.loaded.values()]
            self.inputs = make_inputs(requests, self.spec.model.task_type, models, self.device)

    def check(self) -> Iterator[Message]:
        gate = Gate(self.weights, probes_of(self.inputs), self.loaded, self.spec.round)
        for index, configuration in self.order:
            if configuration.name not in self.loaded:
                continue
            self.busy_with(index)
            deployment, row = self.loaded[configuration.name][1], self.rows[configuration.name]
            try:
                self.servers[configuration.name] = self.server(index, deployment)
                with self.compiling(index, row):
                    result = gate.check(configuration, deployment)
                row["gate_error"], row["gate_tolerance"] = result.error, result.tolerance
                row["adapter_effect"] = result.effect
                row["argmax_agreement"], row["kl_divergence"] = result.agreement, result.divergence
                row["forward_peak_bytes"] = self.forward_peak_bytes(index)
            except Exception as error:  # noqa: BLE001
                del self.loaded[configuration.name]
                yield failure(configuration, error)
                continue
            yield Loaded(row)

    def server(self, index: int, deployment: Deployment) -> Server:
        configuration = self.spec.configurations[index]
        by_base = strategy_class(configuration.strategy).traits.answers_by_base
        adapters = {} if by_base else {a.task: a.name for a in configuration.adapters}
        generator = None
        if self.spec.model.task_type == "CAUSAL_LM":
            longest = max(longest_row(request) for request in self.spec.requests[index])
            generator = Generator(deployment, configuration.kv_cache, longest)
        places = () if by_base else self.spec.places[index]
        by_request = served_by(configuration, self.spec.requests[index], places)
        return Server.of(deployment, adapters, generator, by_request)

    @contextlib.contextmanager
    def compiling(self, index: int, row: dict[str, Any]) -> Iterator[None]:
        """Where a configuration is compiled or captured, let one request of each shape do it, with its cache within.

        So nothing is compiled while requests are timed.
        """
        configuration = self.spec.configurations[index]
        row["compile_ns"] = row["compile_bytes"] = row["compiled_shapes"] = None
        if configuration.execution == "eager":
            yield
            return
        server, deployment = self.servers[configuration.name], self.loaded[configuration.name][1]
        shapes = {(r.task, shape_of(r, configuration.execution)): r for r in self.spec.requests[index]}
        row["compiled_shapes"] = len({shape for _, shape in shapes})
        if self.device.kind == "cpu":
            try_instruction_sets(cache_folder())
        with own_cache(cache_folder(), configuration.name):
            before, started = self.device.kept_bytes(), self.device.clock()
            for request in shapes.values():
                if (adapter := server.adapter(request)) is not None:
                    deployment.switch_to(adapter)
                self.serve(server, request)
            row["compile_ns"] = self.device.clock() - started
            row["compile_bytes"] = self.device.kept_bytes() - before
            yield

    def forward_peak_bytes(self, index: int) -> int:
        """Bytes that serving the configuration's largest request adds at its peak."""
        largest = max(self.spec.requests[index], key=padded_tokens)
        self.device.reset_peak()
        before = self.device.memory_bytes()
        self.serve(self.servers[self.spec.configurations[index].name], largest)
        self.device.synchronize()
        return max(0, self.device.peak_bytes() - before)

    def serve(self, server: Server, request: Request) -> None:
        server.serve(self.inputs[request.task, request.index], self.device, names=server.rows(request))

    def measure(self) -> Iterator[Message]:
        spec = self.spec
        found = self.subjects()
        positions, subjects = list(found), list(found.values())
        failures: list[Failed] = []
        batches = take_turns(
            subjects,
            schedule(subjects, spec.warmups, spec.turn_requests, spec.order_seed, spec.round),
            self.inputs,
            self.device,
            Identity(spec.visit, spec.block, spec.round),
            on_turn=lambda step: self.turn_begins(positions[step.subject], step.phase),
            on_error=lambda s, error: failures.append(failure(spec.configurations[positions[s]], error)),
        )
        with as_it_is() if any(c.execution != "eager" for c in spec.configurations) else contextlib.nullcontext():
            for batch in batches:
                yield from failures
                self.failed.update(failure.configuration for failure in failures)
                failures.clear()
                if batch.num_rows:
                    self.warmup_ns += _warmup_ns(batch)
                    yield Samples(batch)
        self.busy_with(-1)

    def turn_begins(self, index: int, phase: Phase) -> None:
        """Before the turn of a configuration, or its warm-ups."""
        self.busy_with(index)
        self.watch.between()

    def calibrate(self, place: Place) -> Iterator[Message]:
        """How fast the device is at what forwards are made of, in the data type of the block's first configuration.

        Of those that are loaded, in the plan's order: that in which they are loaded is another in each round.
        """
        loaded = [configuration for configuration in self.spec.configurations if configuration.name in self.loaded]
        if not loaded or not self.spec.calibrates:
            return
        row = dict.fromkeys(CALIBRATIONS.names) | self.place() | {"place": place, "dtype": self.dtype(loaded[0])}
        try:
            row |= dataclasses.asdict(self.calibration(loaded[0].dtype, place))
        except Exception as error:  # noqa: BLE001  what is measured stands without it
            row["not_calibrated"] = " ".join(f"{type(error).__name__}: {error}".split())[:_MESSAGE_LIMIT]
        yield Calibrated(row)

    def calibration(self, dtype: str, place: Place) -> Calibration:
        # What it takes to find out about memory and about compiling, which is done once, is no part of a visit's peak.
        after = place == "after"
        compiles = any(c.execution in COMPILED for c, _ in self.loaded.values())
        once = after and compiles and not self.spec.round and self.device.kind == "cpu"
        with own_cache(cache_folder(), ".calibration") if once else contextlib.nullcontext():
            kind = torch_dtype(dtype, self.device.kind)
            return calibrate(
                self.device, kind, memory=after, compile_model=partial(compiled, fixed=True) if once else None
            )

    def count(self) -> Iterator[Message]:
        """What each configuration does in its shortest, a middle and its longest request; once in a run."""
        if self.spec.round:
            return
        for index, configuration in enumerate(self.spec.configurations):
            if configuration.name in self.loaded and configuration.name not in self.failed:
                self.busy_with(index)
                yield Counted([row for request in self.some_lengths(index) for row in self.counted(index, request)])
        self.busy_with(-1)

    def some_lengths(self, index: int) -> list[Request]:
        by_length = {request.tokens: request for request in self.spec.requests[index]}
        lengths = sorted(by_length)
        return [by_length[tokens] for tokens in sorted({lengths[0], lengths[len(lengths) // 2], lengths[-1]})]

    def counted(self, index: int, request: Request) -> Iterator[dict[str, Any]]:
        configuration = self.spec.configurations[index]
        deployment, server = self.loaded[configuration.name][1], self.servers[configuration.name]
        steps = server.steps(self.inputs[request.task, request.index], server.rows(request))
        adapter = server.adapter(request)
        if deployment.switch is not None and adapter is not None:
            steps = {name: partial(_switched, step, deployment, adapter) for name, step in steps.items()}
        with as_it_is() if configuration.execution != "eager" else contextlib.nullcontext():
            for name, step in steps.items():
                yield {
                    **self.place(),
                    "configuration": configuration.name,
                    "task": request.task,
                    "request": request.index,
                    "tokens": request.tokens,
                    "step": name,
                    "dtype": self.dtype(configuration),
                    **count(step, deployment, self.device.kind, configuration.execution).row(),
                }

    def dtype(self, configuration: Configuration) -> str:
        """The name of the data type that it has on this device, which ``auto`` is not."""
        return dtype_name(configuration.dtype, self.device.kind)

    def place(self) -> dict[str, Any]:
        return {"visit": self.spec.visit, "block": self.spec.block, "round": self.spec.round}

    def subjects(self) -> dict[int, Subject]:
        """What is measured, by its place in the visit."""
        return {i: self.subject(i) for i, c in enumerate(self.spec.configurations) if c.name in self.loaded}

    def subject(self, index: int) -> Subject:
        configuration = self.spec.configurations[index]
        deployment, requests = self.loaded[configuration.name][1], self.spec.requests[index]
        server = self.servers[configuration.name]
        return Subject(configuration.name, server, requests, deployment.switch, deployment.handle)


@contextlib.contextmanager
def _switched(step: Prepared, deployment: Deployment, adapter: str) -> Iterator[Callable[[], object]]:
    """A step of a deployment of several adapters, ready by one of them."""
    deployment.switch_to(adapter)
    with step() as call:
        yield call


def _warmup_ns(batch: pa.RecordBatch) -> int:
    """How long warm-ups took: under a load several are under way at once, whose time is counted once."""
    columns = (batch.column(name).to_pylist() for name in ("started_ns", "wall_ns", "phase"))
    spent = until = 0
    for started, wall, phase in sorted(zip(*columns, strict=True)):
        if phase == "warmup":
            spent += max(0, started + wall - max(started, until))
            until = max(until, started + wall)
    return spent


def failure(configuration: Configuration, error: Exception) -> Failed:
    import torch

    kind: FailureKind = "error"
    if isinstance(error, ServerError):
        kind = error.kind
    elif isinstance(error, GateError):
        kind = "gate"
    elif isinstance(error, MemoryError | torch.OutOfMemoryError):
        kind = "out_of_memory"
    where = traceback.extract_tb(error.__traceback__)
    last = f" ({where[-1].filename.rpartition('/')[2]}:{where[-1].lineno})" if where and kind == "error" else ""
    text = " ".join(f"{type(error).__name__}: {error}".split()) if kind != "gate" else str(error)
    return Failed(configuration.name, kind, text[: _MESSAGE_LIMIT - len(last)] + last)
