"""What a server serves, and how a plan wants it served: what every preset makes a command of."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from raybench.records import InputError
from raybench.serve.server_process import Command

ServedDtype = Literal["float32", "bfloat16", "float16"]

BASE_NAME: Final = "base"
"""What requests call the model that is served, where no adapter is asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """One model, and the adapters beside it, as files that the engine reads.

    ``model``: a folder, or a GGUF file. ``adapters``: by the name that requests give, in the order that numbers them.
    """

    model: Path
    dtype: ServedDtype
    adapters: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.adapters:
            if not name or not name.isprintable() or name == BASE_NAME:
                raise InputError(f"an adapter is named {name!r}, by which a server cannot tell it; rename it")


@dataclasses.dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a plan says of an engine.

    ``python``: of the environment that has it; None: raybench's own. ``options``: words after all others.
    ``cores``: those that it runs on; none: all. ``kv_cache_gib``: memory for keys and values, on a CPU.
    ``prefix_caching``: whether what one prompt computed may serve another; said to the engine either way.
    ``eager``: operation by operation, nothing compiled or captured. ``max_loras``: adapters that a batch may have;
    None: as many as there are. ``memory_share``: of the GPU's memory, for weights, keys and values; None: the engine's
    own default. ``max_tokens``: of a prompt with its answer. ``streams``: requests worked on at once.
    ``runtime_adapters``: whether adapters may be loaded while it runs.
    """

    python: str | None = None
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    device: Literal["cpu", "cuda"] = "cpu"
    cores: tuple[int, ...] = ()
    kv_cache_gib: int | None = None
    prefix_caching: bool = False
    eager: bool = False
    max_loras: int | None = None
    memory_share: float | None = None
    max_tokens: int | None = None
    streams: int | None = None
    runtime_adapters: bool = False

    def __post_init__(self) -> None:
        # From a plan, which is a file that somebody wrote.
        for option in self.options:
            if not isinstance(option, str) or "\0" in option:
                raise InputError(f"servers.options: {option!r} is not a string that can be a word of a command")
        for name, value in self.environment.items():
            if not name or "=" in name or "\0" in name:
                raise InputError(f"servers.environment: {name!r} can be no variable's name")
            if "\0" in value:
                raise InputError(f"servers.environment.{name}: a value cannot have the character of code 0")


class Launch(NamedTuple):
    """``health``: the path that answers with status 200 once the server is ready."""

    command: Command
    health: str = "/health"


class Preset(Protocol):
    """How one engine is started and asked."""

    @property
    def name(self) -> str:
        """In plans."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Whose versions, in the engine's environment, say which engine it was; none where that is not known."""

    @property
    def tells_logprobs(self) -> bool:
        """Whether a request may ask for log probabilities, of one token beside the chosen."""

    @property
    def keeps_connections(self) -> bool:
        """Whether a connection may have several requests, one after the other."""

    @property
    def ignores(self) -> Collection[str]:
        """Keys of a plan's servers of which nothing would come."""

    def check(self, settings: EngineSettings, adapters: bool) -> None:
        """Raises InputError for what a plan says and no visit could do; of a device nothing is known yet.

        ``adapters``: whether any are to be served beside the base.
        """

    def launch(self, served: Served, settings: EngineSettings, port: int, key: str) -> Launch:
        """The command that serves ``served`` on ``port`` to who has ``key``. Raises InputError where it cannot."""

    def request_fields(self, served: Served, settings: EngineSettings, adapter: str | None) -> dict[str, Any]:
        """What a request must say to be answered by ``adapter``, or by the base alone where that is None."""


def check_known(served: Served, adapter: str | None) -> None:
    """Raises InputError where ``adapter`` is none of those that are served."""
    if adapter is not None and adapter not in served.adapters:
        raise InputError(f"no adapter {adapter!r} is served; there are {', '.join(served.adapters) or 'none'}")


def check_options(options: Iterable[str], reserved: Mapping[str, str]) -> None:
    """Raises InputError where an option is one that raybench itself gives; ``reserved`` has what to set instead.

    As argparse reads them: with underscores too, shortened, and with the value after a '='.
    """
    for option in options:
        flag = option.partition("=")[0].replace("_", "-")
        if not flag.startswith("--") or len(flag) < 5:
            continue
        for own, instead in reserved.items():
            if own.startswith(flag):
                raise InputError(f"servers.options: {option!r} is what raybench says to the server; {instead}")
