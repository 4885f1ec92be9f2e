"""A visit whose configurations are served by servers: started for it and ended with it, or running already."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from raybench.deploy import strategy_class
from raybench.machine import Device, open_device
from raybench.model import Prompts, Request, Weights, open_tokenizer, prepared, words
from raybench.plan import ALONE, ONE_AT_A_TIME, Configuration, Load, servers_needed
from raybench.records import Phase
from raybench.schemas import LOADS
from raybench.visit.adapter_loading import one_more_adapter
from raybench.visit.engine_server import EngineServer
from raybench.visit.inputs import make_inputs
from raybench.visit.messages import Loaded, Message
from raybench.visit.rest import Rest
from raybench.visit.served_gate import TOLERANCE, ServedGate
from raybench.visit.served_load import arrivals, served_under
from raybench.visit.served_prompt import ServedPrompt, ids_of, served_prompt
from raybench.visit.server_start import ServerStart, Started
from raybench.visit.serving import Served, served_by
from raybench.visit.spec import VisitSpec
from raybench.visit.turns import Step, Subject
from raybench.visit.visit import BusyWith, Visit, failure


class ServedVisit(Visit):
    """As `Visit`, of servers."""

    def __init__(self, spec: VisitSpec, device: Device, busy_with: BusyWith) -> None:
        super().__init__(spec, device, busy_with)
        self.up: dict[str, tuple[EngineServer, Started]] = {}
        self._prompts: dict[tuple[str, str], dict[tuple[str, int], ServedPrompt]] = {}
        self._requests: dict[tuple[str, int], Request] = {}
        self._tensors: dict[tuple[str, int], Prompts] = {}
        self._stack = contextlib.ExitStack()
        self._start = ServerStart(spec, device.kind, self._stack)
        self._rest = Rest({})

    def make_weights(self) -> Weights | None:
        # Beside the servers: on a GPU they have the memory.
        if self.spec.model.kind == "served":
            return None
        return Weights(prepared(self.spec.model, self.spec.recipe), open_device("cpu"))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with self._stack:
            try:
                yield
            finally:
                for process in self._start.processes:
                    process.ask_to_end()

    def measure(self) -> Iterator[Message]:
        asked = [started.server.process for _, started in self.up.values() if started.server is not None]
        self._rest = Rest({process.name: process for process in asked})
        yield from super().measure()

    def turn_begins(self, index: int, phase: Phase) -> None:
        super().turn_begins(index, phase)
        server = self.up[self.spec.configurations[index].name][1].server
        if phase != "warmup" and server is not None:
            self._rest.before(server.process.name)

    def used_cpu_ns(self) -> int:
        return super().used_cpu_ns() + sum(process.cpu_ns() for process in self._start.processes)

    def seen(self) -> dict[str, Any]:
        return super().seen() | {"gpu_processes": None}  # they are its own servers

    def peak_bytes(self) -> int:
        return sum(process.memory().peak_bytes for process in self._start.processes)

    def environment(self, told: str) -> str:
        never_idle = self._rest.never_idle
        servers = [found.describe() | {"never_idle": found.name in never_idle} for found in self._start.reached]
        return json.dumps(json.loads(told) | {"servers": servers})

    def load(self) -> Iterator[Message]:
        """Reach the server of each of what the configurations deploy, one after the other."""
        index_of = {c.name: index for index, c in self.order}
        # Told by the plan's order, the same in each round: a server loads what the first of those it serves deploys.
        groups = servers_needed(self.spec.configurations, self.spec.servers)
        rank = {c.name: place for place, (_, c) in enumerate(self.order)}
        in_turn = sorted(groups.items(), key=lambda group: min(rank[c.name] for c in group[1]))
        for place, (key, members) in enumerate(in_turn):
            self.busy_with(index_of[members[0].name])
            try:
                started = self._start.start(key, members, place)
                row = self._row(started)
                if self._start.tables[key.servers].load_adapters:
                    row |= one_more_adapter(started)
            except Exception as error:  # noqa: BLE001  whatever it is, it ends what this server would serve
                yield from (failure(member, error) for member in members)
                continue
            for member in members:
                self.up[member.name] = self._of(member, index_of[member.name], started), started
                self.rows[member.name] = row | {"configuration": member.name}
        if self.up:
            self._make_prompts()

    def _make_prompts(self) -> None:
        self._requests = {(r.task, r.index): r for requests in self.spec.requests for r in requests}
        if self.weights is not None:
            model = SimpleNamespace(config=_config(self.weights))
            self._tensors = make_inputs(self._requests.values(), self.spec.model.task_type, [model], open_device("cpu"))

    def prompts(self, servers: str, variant: str = "") -> dict[tuple[str, int], ServedPrompt]:
        """As the servers of a table are told them.

        Of one that runs already it is not known what it keeps of prompts: there each load has a ``variant`` of its own,
        and so have warm-ups, so that no timed request is one that was asked before. The gate's are as they are.
        """
        table = self._start.tables[servers]
        variant = variant if table.url is not None else ""
        if (servers, variant) not in self._prompts:
            self._prompts[servers, variant] = {
                at: served_prompt(request, table.prompts_as, self._tensors.get(at), self._text, variant)
                for at, request in self._requests.items()
            }
        return self._prompts[servers, variant]

    def _text(self, request: Request, tensors: Prompts | None) -> str:
        """Of a request of which only the tokens are known, or only their number."""
        if tensors is None:
            return words(request.task, request.index, request.tokens)
        return str(self._tokenizer.decode(ids_of(tensors), skip_special_tokens=True))

    @cached_property
    def _tokenizer(self) -> Any:
        """The model's own, read once."""
        assert self.weights is not None
        return open_tokenizer(None, self.weights.spec)[0]

    def _of(self, configuration: Configuration, index: int, started: Started) -> EngineServer:
        by_base = strategy_class(configuration.strategy).traits.answers_by_base
        if by_base or configuration.strategy in ALONE:
            return EngineServer(started.line, {}, {}, started.prefix_caching)
        adapters = {adapter.task: adapter.name for adapter in configuration.adapters}
        by_request = served_by(configuration, self.spec.requests[index], self.spec.places[index])
        return EngineServer(started.line, adapters, by_request, started.prefix_caching)

    def _row(self, started: Started) -> dict[str, Any]:
        row = dict.fromkeys(LOADS.names) | self.place()
        if started.server is None:  # nothing was loaded, and what it holds is not to be seen
            zero = dict.fromkeys(("load_ns", "weight_bytes", "adapter_bytes", "resident_bytes", "load_peak_bytes"), 0)
            return row | zero
        memory, served = started.server.process.memory(), started.server.served
        return row | {
            "load_ns": started.server.process.startup_ns,
            "weight_bytes": _size(served.model),
            "adapter_bytes": sum(map(_size, served.adapters.values())),
            "resident_bytes": memory.resident_bytes,
            "load_peak_bytes": memory.peak_bytes,
        }

    def check(self) -> Iterator[Message]:
        gate = ServedGate(self.weights, self.spec.round)
        for index, configuration in self.order:
            if configuration.name not in self.up:
                continue
            self.busy_with(index)
            server, started = self.up[configuration.name]
            row = self.rows[configuration.name]
            try:
                served = dataclasses.replace(configuration, dtype=self.dtype(configuration))
                prompts = list(self.prompts(configuration.servers).values())
                # What a server that runs already computes in is not known unless the plan says it.
                unknown = started.server is None and configuration.dtype == "auto"
                tolerance = TOLERANCE["bfloat16" if unknown else served.dtype]
                row |= gate.check(served, server, prompts, started.deployed, tolerance)
                row["forward_peak_bytes"] = 0
                if started.server is not None:
                    held = started.server.process.memory().resident_bytes
                    row["forward_peak_bytes"] = max(0, held - row["resident_bytes"])
            except Exception as error:  # noqa: BLE001
                del self.up[configuration.name]
                yield failure(configuration, error)
                continue
            yield Loaded(row)

    def subjects(self) -> dict[int, Subject]:
        return {i: self.subject(i) for i, c in enumerate(self.spec.configurations) if c.name in self.up}

    def subject(self, index: int) -> Subject:
        configuration = self.spec.configurations[index]
        server, load = self.up[configuration.name][0], configuration.load
        return Subject(
            configuration.name,
            server,
            self.spec.requests[index],
            load=load,
            together=None if load is None else partial(self._together, configuration, server),
            inputs=self.prompts(configuration.servers, _variant(load, warmup=False)),
            warmup_inputs=self.prompts(configuration.servers, _variant(load, warmup=True)),
        )

    def _together(
        self, configuration: Configuration, server: EngineServer, steps: Sequence[Step]
    ) -> list[Served | None]:
        load, warmup = configuration.load, steps[0].phase == "warmup"
        assert load is not None
        prompts = self.prompts(configuration.servers, _variant(load, warmup=warmup))
        asked = [(prompts[s.request.task, s.request.index], server.adapter(s.request)) for s in steps]
        timed = [place for place, step in enumerate(steps) if step.phase == "timed"]
        counted = range(timed[0], timed[-1] + 1) if timed else range(len(steps))
        offsets = None
        if load.trace is not None and warmup:
            load = Load(concurrency=1)  # a trace has no moments for them, and may have fewer
        if load.concurrency is None:
            offsets = arrivals(load, len(steps), self.spec.order_seed, self.spec.round)
        return served_under(load, server, asked, offsets, counted)


def _variant(load: Load | None, *, warmup: bool) -> str:
    name = ONE_AT_A_TIME if load is None else load.words()
    return f"{name} {'warm-up' if warmup else 'timed'}"


def _config(weights: Weights) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(weights.spec.base_location, trust_remote_code=False)


def _size(path: Path) -> int:
    """Bytes of the files that are loaded: of a folder the one that has all, or those that its index names."""
    if not path.is_dir():
        return path.stat().st_size
    index, whole = path / "model.safetensors.index.json", path / "model.safetensors"
    if whole.is_file():
        return whole.stat().st_size
    if index.is_file():
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        return sum((path / name).stat().st_size for name in names)
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))
