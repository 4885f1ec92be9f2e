"""The servers that a plan's deployments run on, as its tables ``[[servers]]`` say."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from raybench.plan.plan import Configuration

SERVED: Final = ("full_ft", "lora_merged", "lora_separate", "multi_lora", "base_beside_lora")
"""The strategies that a server can be of."""

_DIGEST: Final = 8
"""Hexadecimal digits: enough to tell that values are others, and too few to find a secret by."""

ALONE: Final = ("full_ft", "lora_merged")
"""Those of servers that have no adapters beside their model."""

PromptsAs = Literal["token_ids", "text", "chat"]
"""How a prompt is told: the ids of its tokens or text, to be completed, or a chat, of which the server makes one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Servers:
    """How servers are started, or where one runs: exactly one of ``preset``, ``command`` and ``url``.

    ``preset``: an engine that raybench knows; ``command``: words of one's own; ``url``: of one that runs already.
    ``model``, ``api_key_variable``: of such a one what requests call its base or its only model (None: the first
    that it names), and the environment variable that holds its key. ``python``: of the environment that has the
    engine; None: raybench's own. ``cores``: those of each server in turn; none: all. ``kv_cache_gib``: memory for
    keys and values, on a CPU. ``prefix_caching``: whether what one prompt computed may serve another. ``eager``:
    operation by operation. ``max_loras``: adapters that a batch may have (None: all that are served).
    ``memory_share``: of a GPU's memory that each server takes (None: nine tenths, evenly). ``ready``: the path that
    answers once a command's server is ready, within ``ready_within_s``. ``load_adapters``: whether it is timed how
    one more adapter is loaded while the server runs. ``answer_within_s``: how long a request may wait for the first
    bytes of its answer.
    """

    name: str = "servers"
    preset: str | None = None
    command: tuple[str, ...] = ()
    url: str | None = None
    model: str | None = None
    api_key_variable: str | None = None
    prompts_as: PromptsAs = "token_ids"
    python: str | None = None
    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    cores: tuple[tuple[int, ...], ...] = ()
    kv_cache_gib: int | None = None
    prefix_caching: bool = False
    eager: bool = False
    streams: int | None = None
    max_loras: int | None = None
    memory_share: float | None = None
    load_adapters: bool = False
    ready: str = "/health"
    ready_within_s: float = 600.0
    answer_within_s: float = 120.0

    def describe(self) -> dict[str, object]:
        """As JSON values. Of its environment the names, and a digest that tells other values: one may be a secret."""
        return {
            "name": self.name,
            "preset": self.preset,
            "command": list(self.command),
            "url": self.url,
            "model": self.model,
            "prompts_as": self.prompts_as,
            "options": list(self.options),
            "environment": sorted(name for name, _ in self.environment),
            "environment_digest": self._environment_digest(),
            "cores": [list(cores) for cores in self.cores],
            "kv_cache_gib": self.kv_cache_gib,
            "prefix_caching": self.prefix_caching,
            "eager": self.eager,
            "streams": self.streams,
            "max_loras": self.max_loras,
            "memory_share": self.memory_share,
            "load_adapters": self.load_adapters,
        }

    def _environment_digest(self) -> str | None:
        """None where the plan sets nothing."""
        lines = "\n".join(sorted(f"{name}={value}" for name, value in self.environment))
        return hashlib.sha256(lines.encode()).hexdigest()[:_DIGEST] if self.environment else None


def adapters_beside(configurations: Iterable[Configuration]) -> list[str]:
    """The adapters that the server of configurations must know, also where only its base is asked beside them."""
    beside = [c for c in configurations if c.strategy not in ALONE]
    return list(dict.fromkeys(adapter.name for c in beside for adapter in c.adapters))


class ServerKey(NamedTuple):
    """What tells one server from others: which table starts it, or says where it runs, and what it loads.

    ``loads``: ``full_ft``, ``lora_merged`` or ``base``, of which fine-tune or with which adapters, in which data type;
    of one that runs already ``url``, of nothing.
    """

    servers: str
    loads: Literal["full_ft", "lora_merged", "base", "url"]
    names: tuple[str, ...] = ()
    dtype: str = ""


def server_of(configuration: Configuration, runs_already: bool = False) -> ServerKey:
    """The server of a configuration: those with the same are served by one."""
    c = configuration
    if runs_already:
        return ServerKey(c.servers, "url")
    if c.strategy == "full_ft":
        return ServerKey(c.servers, "full_ft", (c.checkpoint or "", *c.tasks, str(c.seed)), c.dtype)
    names = tuple(adapter.name for adapter in c.adapters)
    return ServerKey(c.servers, "lora_merged" if c.strategy == "lora_merged" else "base", names, c.dtype)


def servers_needed(
    configurations: Iterable[Configuration], tables: Iterable[Servers]
) -> Mapping[ServerKey, list[Configuration]]:
    """The servers that configurations need, each with those that it serves, in their order."""
    runs = {table.name: table.url is not None for table in tables}
    found: dict[ServerKey, list[Configuration]] = {}
    for configuration in configurations:
        found.setdefault(server_of(configuration, runs[configuration.servers]), []).append(configuration)
    return found
