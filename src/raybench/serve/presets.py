"""The engines that raybench knows how to start, and a server of one of them while it runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from raybench.records import InputError
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
