"""A visit whose configurations are served by servers of an engine, started for it and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from raybench.deploy import strategy_class
from raybench.machine import Device, dtype_name, open_device
from raybench.model import Weights, prepared
from raybench.plan import Adapter, Configuration, servers_needed
from raybench.serve import (
    Checkpoints,
    CommandPreset,
    EngineSettings,
    Limits,
    Preset,
    RunningServer,
    Served,
    gguf_adapter,
    gguf_model,
    preset_of,
    running,
)
from raybench.visit.engine_server import EngineServer, Line
from raybench.visit.inputs import longest_row, make_inputs
from raybench.visit.messages import Loaded, Message
from raybench.visit.served_gate import ServedGate
from raybench.visit.serving import served_by
from raybench.visit.spec import VisitSpec
from raybench.visit.turns import Subject
from raybench.visit.visit import BusyWith, Visit, failure

_GGUF = "llama.cpp"
"""The engine that reads no files of PEFT's and transformers'."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Up:
    """A configuration whose server is ready."""

    configuration: Configuration
    server: EngineServer


class ServedVisit(Visit):
    """As `Visit`, of servers."""

    def __init__(self, spec: VisitSpec, device: Device, busy_with: BusyWith) -> None:
        super().__init__(spec, device, busy_with)
        self.engine = engine = spec.servers[0]
        self.preset: Preset = CommandPreset(engine.command) if engine.preset is None else preset_of(engine.preset)
        self.up: dict[str, _Up] = {}
        self.loop = asyncio.new_event_loop()
        self._stack = contextlib.ExitStack()
        self._started: list[RunningServer] = []
        self._peak_bytes = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        try:
            with self._stack:
                yield
        finally:
            self.loop.close()

    def peak_bytes(self) -> int:
        return sum(server.process.memory().peak_bytes for server in self._started)

    def environment(self, told: str) -> str:
        commands = [" ".join(server.process.command.words) for server in self._started]
        return json.dumps(json.loads(told) | {"engine": {"commands": commands}})

    def load(self) -> Iterator[Message]:
        """Start a server for each of what the configurations deploy, one after the other."""
        index_of = {c.name: index for index, c in self.order}
        groups = servers_needed((c for _, c in self.order), self.spec.servers)
        for place, members in enumerate(groups.values()):
            self.busy_with(index_of[members[0].name])
            try:
                server, line = self._server(members[0], place)
            except Exception as error:  # noqa: BLE001  whatever it is, it ends what this server would serve
                yield from (failure(member, error) for member in members)
                continue
            for member in members:
                self.up[member.name] = _Up(member, self._of(member, index_of[member.name], line))
                self.rows[member.name] = self._row(member, server)
        if self.up:
            requests = (request for requests in self.spec.requests for request in requests)
            self.inputs = make_inputs(requests, self.spec.model.task_type, [self._model()], self.device)

    def _server(self, configuration: Configuration, place: int) -> tuple[RunningServer, Line]:
        engine = self.engine
        name = f"server of {configuration.name}"
        cores = engine.cores[place % len(engine.cores)] if engine.cores else ()
        settings = EngineSettings(
            python=engine.python,
            options=engine.options,
            environment=dict(engine.environment),
            device=self.spec.device_kind,
            cores=cores,
            kv_cache_gib=engine.kv_cache_gib,
            prefix_caching=engine.prefix_caching,
            eager=engine.eager,
            max_tokens=max(longest_row(r) for requests in self.spec.requests for r in requests),
            streams=engine.streams,
        )
        served = self._files(configuration)
        server = self._stack.enter_context(
            running(name, self.preset, served, settings, ready_within_s=engine.ready_within_s)
        )
        self._started.append(server)
        line = Line(server, self.loop, Limits(whole_s=self.spec.timeout_s))
        self._stack.callback(line.close)
        return server, line

    def _files(self, configuration: Configuration) -> Served:
        """What its server loads, written to the cache where it is not there."""
        dtype: Any = dtype_name(configuration.dtype, self.device.kind)
        files = Checkpoints(prepared(self.spec.model, self.spec.recipe), dtype)
        if configuration.strategy == "full_ft":
            model, beside = files.fine_tuned(configuration), tuple[Adapter, ...]()
        elif configuration.strategy == "lora_merged":
            model, beside = files.merged(configuration.adapters[0]), ()
        else:
            model, beside = files.base(), configuration.adapters
        adapters: dict[str, Path] = {adapter.name: files.adapter(adapter) for adapter in beside}
        if self.preset.name == _GGUF:
            adapters = {name: gguf_adapter(folder, model) for name, folder in adapters.items()}
            model = gguf_model(model, dtype)
        return Served(model, dtype, adapters)

    def _of(self, configuration: Configuration, index: int, line: Line) -> EngineServer:
        beside = configuration.strategy not in ("full_ft", "lora_merged")
        by_base = strategy_class(configuration.strategy).traits.answers_by_base
        if by_base or not beside:
            return EngineServer(line, {}, {}, self.engine.prefix_caching)
        adapters = {adapter.task: adapter.name for adapter in configuration.adapters}
        by_request = served_by(configuration, self.spec.requests[index], self.spec.places[index])
        return EngineServer(line, adapters, by_request, self.engine.prefix_caching)

    def _row(self, configuration: Configuration, server: RunningServer) -> dict[str, Any]:
        memory, served = server.process.memory(), server.served
        return dict.fromkeys(
            ("adapter_load_ns", "merge_ns", "form_ns", "untied_bytes", "adapter_add_ns", "adapter_remove_ns")
        ) | {
            "visit": self.spec.visit,
            "block": self.spec.block,
            "configuration": configuration.name,
            "round": self.spec.round,
            "load_ns": server.process.startup_ns,
            "weight_bytes": _size(served.model),
            "adapter_bytes": sum(map(_size, served.adapters.values())),
            "resident_bytes": memory.resident_bytes,
            "load_peak_bytes": memory.peak_bytes,
            "random_weights": None,
            "unused_adapter": None,
        }

    def check(self) -> Iterator[Message]:
        # Beside the servers: on a GPU they have the memory.
        weights = Weights(prepared(self.spec.model, self.spec.recipe), open_device("cpu"))
        gate = ServedGate(weights, self.inputs, self.spec.round)
        for index, configuration in self.order:
            if configuration.name not in self.up:
                continue
            self.busy_with(index)
            row, server = self.rows[configuration.name], self.up[configuration.name].server
            try:
                row |= gate.check(configuration, server)
                row["forward_peak_bytes"] = server.line.server.process.memory().resident_bytes - row["resident_bytes"]
            except Exception as error:  # noqa: BLE001
                del self.up[configuration.name]
                yield failure(configuration, error)
                continue
            yield Loaded(row)

    def subjects(self) -> dict[int, Subject]:
        names = {c.name: index for index, c in enumerate(self.spec.configurations)}
        return {
            names[name]: Subject(name, up.server, self.spec.requests[names[name]])
            for name, up in sorted(self.up.items(), key=lambda item: names[item[0]])
        }

    def calibrate(self, place: Any) -> Iterator[Message]:
        yield from ()

    def count(self) -> Iterator[Message]:
        yield from ()

    def _model(self) -> Any:
        """What `make_inputs` asks of a model: its configuration."""
        from transformers import AutoConfig

        location = prepared(self.spec.model, self.spec.recipe).base_location
        return SimpleNamespace(config=AutoConfig.from_pretrained(location))


def _size(path: Path) -> int:
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
