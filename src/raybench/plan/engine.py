"""The engine whose servers a plan's deployments run on, as its table ``[engine]`` says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

from raybench.plan.plan import Configuration

SERVED: Final = ("full_ft", "lora_merged", "lora_separate", "multi_lora", "base_beside_lora")
"""The strategies that a server can be of."""


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """How each server is started. ``preset``: an engine that raybench knows; ``command``: words of one's own instead.

    ``python``: of the environment that has the engine; None: raybench's own. ``cores``: those of each server in turn;
    none: all. ``kv_cache_gib``: memory for keys and values, on a CPU. ``prefix_caching``: whether what one prompt
    computed may serve another. ``eager``: operation by operation. ``ready_within_s``: how long a start may take.
    """

    preset: str | None = None
    command: tuple[str, ...] = ()
    python: str | None = None
    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    cores: tuple[tuple[int, ...], ...] = ()
    kv_cache_gib: int | None = None
    prefix_caching: bool = False
    eager: bool = False
    streams: int | None = None
    ready_within_s: float = 600.0

    def describe(self) -> dict[str, object]:
        """As JSON values. Of its environment the names alone: a value may be a secret."""
        return {
            "preset": self.preset,
            "command": list(self.command),
            "options": list(self.options),
            "environment": sorted(name for name, _ in self.environment),
            "cores": [list(cores) for cores in self.cores],
            "kv_cache_gib": self.kv_cache_gib,
            "prefix_caching": self.prefix_caching,
            "eager": self.eager,
            "streams": self.streams,
        }


def server_of(configuration: Configuration) -> tuple[str, tuple[str, ...]]:
    """What tells the server of one configuration from others: those with the same are served by one.

    What it loads, ``full_ft``, ``lora_merged`` or ``base``, and of which fine-tune or with which adapters.
    """
    if configuration.strategy == "full_ft":
        return "full_ft", (configuration.name,)
    kind = "lora_merged" if configuration.strategy == "lora_merged" else "base"
    return kind, tuple(adapter.name for adapter in configuration.adapters)


def servers(configurations: Iterable[Configuration]) -> Mapping[tuple[str, tuple[str, ...]], list[Configuration]]:
    """The servers that configurations need, each with those that it serves, in their order."""
    found: dict[tuple[str, tuple[str, ...]], list[Configuration]] = {}
    for configuration in configurations:
        found.setdefault(server_of(configuration), []).append(configuration)
    return found
