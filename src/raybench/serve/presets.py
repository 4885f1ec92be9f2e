"""The engines that raybench knows how to start, and a server of one of them while it runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from raybench.plan import Servers
from raybench.records import InputError
from raybench.serve.command_preset import CommandPreset
from raybench.serve.llama_preset import LlamaPreset
from raybench.serve.ports import LOOPBACK, answers, new_key, on_free_port
from raybench.serve.served import EngineSettings, Preset, Served
from raybench.serve.server_process import ServerProcess
from raybench.serve.vllm_preset import VllmPreset

_OWN: Final[tuple[Preset, ...]] = (VllmPreset(), LlamaPreset())
PRESETS: Final[Mapping[str, Preset]] = {preset.name: preset for preset in _OWN}
"""By the name that plans give. A command of the plan's own is a `CommandPreset`."""


def preset_of(name: str) -> Preset:
    """Raises InputError where there is none of that name."""
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise InputError(f"servers.preset: {name!r} is none; there are {known}, or give a command of your own")
    return PRESETS[name]


def preset_for(table: Servers) -> Preset:
    """That of servers which raybench starts. Raises InputError where there is none, or a command cannot be one."""
    return CommandPreset(table.command, table.ready) if table.preset is None else preset_of(table.preset)


def settings_for(table: Servers) -> EngineSettings:
    """What the plan says of them, of the first of their cores; the rest is known in a visit. Raises InputError."""
    return EngineSettings(
        python=table.python,
        options=table.options,
        environment=dict(table.environment),
        cores=table.cores[0] if table.cores else (),
        kv_cache_gib=table.kv_cache_gib,
        prefix_caching=table.prefix_caching,
        eager=table.eager,
        streams=table.streams,
        max_loras=table.max_loras,
        memory_share=table.memory_share,
    )


def check_started(table: Servers, adapters: bool) -> None:
    """Whether servers can be started as a plan says; ``adapters``: whether any are to be served beside the base.

    Raises InputError also where it says what the engine is not told, of which nothing would come.
    """
    preset, usual = preset_for(table), Servers()
    if ignored := [key for key in preset.ignores if getattr(table, key) != getattr(usual, key)]:
        whose, instead = preset.name, ""
        if table.preset is None:
            whose, instead = "a command of your own", ", and say in its words what it can be told"
        raise InputError(
            f"{', '.join(f'servers.{key}' for key in ignored)}: nothing of that is told to {whose}; leave it "
            f"out{instead}"
        )
    most = 1 if table.prompts_as == "token_ids" else None  # as where raybench counts tokens and sets the most itself
    preset.check(dataclasses.replace(settings_for(table), max_tokens=most), adapters)


@dataclasses.dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is ready. ``key``: what its requests are authorized by, as a bearer token."""

    process: ServerProcess
    port: int
    key: str = dataclasses.field(repr=False)
    preset: Preset
    served: Served
    settings: EngineSettings

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def request_fields(self, adapter: str | None = None) -> dict[str, Any]:
        """What a request must say to be answered by ``adapter``, or by the base alone where that is None."""
        return self.preset.request_fields(self.served, self.settings, adapter)


@contextlib.contextmanager
def running(
    name: str,
    preset: Preset,
    served: Served,
    settings: EngineSettings,
    *,
    ready_within_s: float = 600.0,
    grace_s: float = 10.0,
) -> Iterator[RunningServer]:
    """Start a server and wait until it is ready; afterwards nothing of it is left. ``name``: what messages call it.

    Raises InputError where the engine cannot serve that, `ServerError` where its server fails.
    """
    key = new_key()

    def make(port: int) -> ServerProcess:
        command, health = preset.launch(served, settings, port, key)
        return ServerProcess(
            name, command, lambda: answers(port, health), ready_within_s=ready_within_s, grace_s=grace_s
        )

    with on_free_port(make) as (process, port):
        yield RunningServer(process, port, key, preset, served, settings)
