"""The servers of a visit: those that it starts, on its own cores, with what they load, and those that run already."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from raybench.machine import dtype_name
from raybench.model import prepared
from raybench.plan import ALONE, Adapter, Configuration, ServerKey, Servers, adapters_beside, servers_needed
from raybench.records import RaybenchError
from raybench.serve import (
    Checkpoints,
    Limits,
    Preset,
    Reached,
    RunningServer,
    Served,
    ServerProcess,
    gguf_adapter,
    gguf_model,
    preset_for,
    reach,
    reach_at,
    running,
    settings_for,
)
from raybench.visit.engine_server import Line
from raybench.visit.inputs import longest_row
from raybench.visit.spec import VisitSpec

_ALL: Final = 0.9
"""Of a GPU's memory, for all servers of a visit, where the plan does not say: what vLLM takes for one."""
_WHOLE: Final = 10.0
"""Times as long as an answer may take to begin it may take in all: one without end does not take the visit with it."""
_AT_A_RATE: Final = 8
_KV_SHARE: Final = 0.25
_LEAST_KV_GIB, _MOST_KV_GIB = 1, 4
_VLLM: Final = "vllm"
_GGUF: Final = "llama.cpp"
"""The engine that reads no files of PEFT's and transformers'."""


class Started(NamedTuple):
    """A server that answers, and a line to it. ``server``: None of one that raybench did not start.

    ``deployed``: the first of the configurations that it serves, whose model it loaded.
    """

    line: Line
    server: RunningServer | None
    prefix_caching: bool
    deployed: Configuration


class ServerStart:
    """Brings up the servers of one visit. What it starts ends with ``stack``."""

    def __init__(self, spec: VisitSpec, device_kind: str, stack: contextlib.ExitStack) -> None:
        self.spec, self._device_kind, self._stack = spec, device_kind, stack
        self.tables = {table.name: table for table in spec.servers}
        self.reached: list[Reached] = []
        started = {table.name for table in spec.servers if table.url is None}
        needed = servers_needed(spec.configurations, spec.servers)
        self._count = max(1, sum(key.servers in started for key in needed))

    @property
    def processes(self) -> list[ServerProcess]:
        """Of those that were started here."""
        return [found.process for found in self.reached if found.process is not None]

    def start(self, key: ServerKey, members: Sequence[Configuration], place: int) -> Started:
        """The server of ``members``, which are served by one; ``place``: which of the visit's it is, from 0.

        Raises RaybenchError where it does not start, cannot be reached, or cannot serve that.
        """
        table = self.tables[key.servers]
        # An answer may wait in the server's queue, and no visit waits longer than it may take.
        whole_s = min(self.spec.timeout_s, table.answer_within_s * _WHOLE)
        limits = Limits(first_byte_s=table.answer_within_s, whole_s=whole_s)
        server: RunningServer | None = None
        if table.url is not None:
            found = reach_at(f"server {table.name}", table.url, _key(table), table.model, adapters_beside(members))
        else:
            server = self._started(table, members[0], place)
            found = reach(server)
        self.reached.append(found)
        line = Line(found, limits)
        self._stack.callback(line.close)
        return Started(line, server, table.prefix_caching, members[0])

    def _started(self, table: Servers, configuration: Configuration, place: int) -> RunningServer:
        _check_cores(table)
        longest = max(longest_row(r) for requests in self.spec.requests for r in requests)
        settings = dataclasses.replace(
            settings_for(table),
            device=self.spec.device_kind,
            cores=table.cores[place % len(table.cores)] if table.cores else (),
            # What a server makes of a text or a chat only it knows: its own limit then.
            max_tokens=longest if table.prompts_as == "token_ids" else None,
            streams=table.streams or self._streams(table),
            memory_share=table.memory_share or _ALL / self._count,
            kv_cache_gib=table.kv_cache_gib or self._kv_cache_gib(table),
            runtime_adapters=table.load_adapters and configuration.strategy not in ALONE,
        )
        preset = preset_for(table)
        name = f"server of {configuration.name}"
        served = self._files(configuration, preset)
        return self._stack.enter_context(running(name, preset, served, settings, ready_within_s=table.ready_within_s))

    def _kv_cache_gib(self, table: Servers) -> int | None:
        """GiB for keys and values of each server on a CPU where the plan does not say.

        vLLM takes nine tenths of the machine's memory for one, so that servers beside each other, or anything else that
        holds memory, keep it from starting. None where no engine is told it.
        """
        if table.preset != _VLLM or self.spec.device_kind != "cpu":
            return None
        free_gib = psutil.virtual_memory().available / 2**30
        return max(_LEAST_KV_GIB, min(_MOST_KV_GIB, int(free_gib * _KV_SHARE / self._count)))

    def _streams(self, table: Servers) -> int | None:
        """Requests worked on at once where the plan does not say.

        Of llama.cpp, which has a place for one by itself, as many as a load has under way at once, at a rate 8; None of
        others: their own number.
        """
        if table.preset != _GGUF:
            return None
        loads = [c.load for c in self.spec.configurations if c.servers == table.name and c.load is not None]
        return max((load.concurrency or _AT_A_RATE for load in loads), default=None)

    def _files(self, configuration: Configuration, preset: Preset) -> Served:
        """What its server loads, written to the cache where it is not there."""
        dtype: Any = dtype_name(configuration.dtype, self._device_kind)
        files = Checkpoints(prepared(self.spec.model, self.spec.recipe), dtype)
        if configuration.strategy == "full_ft":
            model, beside = files.fine_tuned(configuration), tuple[Adapter, ...]()
        elif configuration.strategy == "lora_merged":
            model, beside = files.merged(configuration.adapters[0]), ()
        else:
            model, beside = files.base(), configuration.adapters
        adapters: dict[str, Path] = {adapter.name: files.adapter(adapter) for adapter in beside}
        if preset.name == _GGUF:
            adapters = {name: gguf_adapter(folder, model) for name, folder in adapters.items()}
            model = gguf_model(model, dtype)
        return Served(model, dtype, adapters)


def _check_cores(table: Servers) -> None:
    """Raises RaybenchError where the machine lacks some of the plan's; of these the kernel would say nothing."""
    count = os.cpu_count() or 1
    if lacking := sorted({core for cores in table.cores for core in cores if core >= count}):
        raise RaybenchError(
            f"servers {table.name}: cores {', '.join(map(str, lacking))} are none of this machine's, 0 to {count - 1}; "
            "change servers.cores"
        )


def _key(table: Servers) -> str | None:
    """The API key of a server that runs already. Raises RaybenchError where its variable is not set here."""
    if table.api_key_variable is None:
        return None
    key = os.environ.get(table.api_key_variable)
    if not key:
        raise RaybenchError(
            f"servers {table.name}: the environment variable {table.api_key_variable} is not set where the visit runs; "
            "set it on the machine of each worker, or for a job in its runtime environment"
        )
    return key
