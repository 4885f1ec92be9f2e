"""Any other server that has OpenAI's interface, started by a command of the plan's with places to fill in."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

from raybench.records import InputError
from raybench.serve.served import BASE_NAME, EngineSettings, Launch, Served, check_known
from raybench.serve.server_process import Command

_ADAPTERS: Final = "{adapters}"
_KEY_FILE: Final = "key"
_PLACES: Final = ("model", "port", "key", "key_file")


@dataclasses.dataclass(frozen=True, slots=True)
class CommandPreset:
    """`Preset` of a command: its words, and an environment.

    In both ``{model}`` is the folder that is served, ``{port}`` the port of the loopback interface to listen on,
    ``{key}`` the API key and ``{key_file}`` a file that holds it and that only this user can read; every user of the
    machine can read a command's words. The word ``{adapters}`` becomes ``NAME=FOLDER`` for each adapter, or nothing.
    Braces are written twice. The command must be the server itself, not a client that has another process start it.
    """

    words: tuple[str, ...]
    health: str = "/health"
    name: str = "command"
    packages: tuple[str, ...] = ()
    tells_logprobs: bool = False
    keeps_connections: bool = True
    ignores: tuple[str, ...] = (
        *("python", "kv_cache_gib", "eager", "streams", "max_loras", "memory_share"),
        "load_adapters",
    )

    def __post_init__(self) -> None:
        if not self.words:
            raise InputError("servers.command: it has no words")
        if not self.health.startswith("/") or any(c.isspace() or not c.isprintable() for c in self.health):
            raise InputError(f"servers.ready: {self.health!r} is not a path, as /health is")
        for word in self.words:
            if "\0" in word:
                raise InputError(f"servers.command: {word!r} cannot be a word of a command")
            if word != _ADAPTERS:
                _fields("servers.command", word)

    def check(self, settings: EngineSettings, adapters: bool) -> None:
        if adapters and _ADAPTERS not in self.words:
            raise InputError("servers.command: adapters are to be served, and it has no word {adapters}")
        told = [*(_fields("servers.command", word) for word in self.words if word != _ADAPTERS)]
        told += [_fields(f"servers.environment.{name}", text) for name, text in settings.environment.items()]
        if not any(name == "port" for fields in told for _, name in fields):
            raise InputError("servers.command: it is not told the {port} to listen on; put that into one of its words")

    def launch(self, served: Served, settings: EngineSettings, port: int, key: str) -> Launch:
        self.check(settings, bool(served.adapters))
        values = {"model": str(served.model), "port": str(port), "key": key, "key_file": _KEY_FILE}
        words = [filled for word in self.words for filled in _filled(word, served, values)]
        environment = {
            name: _fill(f"servers.environment.{name}", text, values) for name, text in settings.environment.items()
        }
        command = Command((*words, *settings.options), environment, settings.cores, {_KEY_FILE: key}, hidden=(key,))
        return Launch(command, self.health)

    def request_fields(self, served: Served, settings: EngineSettings, adapter: str | None) -> dict[str, Any]:
        check_known(served, adapter)
        return {"model": BASE_NAME if adapter is None else adapter}


def _filled(word: str, served: Served, values: Mapping[str, str]) -> Sequence[str]:
    if word == _ADAPTERS:
        return [f"{name}={path}" for name, path in served.adapters.items()]
    return [_fill("servers.command", word, values)]


def _fill(where: str, text: str, values: Mapping[str, str]) -> str:
    return "".join(literal + (values[name] if name is not None else "") for literal, name in _fields(where, text))


def _fields(where: str, text: str) -> list[tuple[str, str | None]]:
    """The text as pieces, each with the place that follows it. Raises InputError for one that is not known."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise InputError(f"{where}: {text!r}: {error}; write braces that are meant as such twice") from None
    for _, name, form, conversion in parsed:
        if name is not None and (name not in _PLACES or form or conversion):
            known = ", ".join(f"{{{place}}}" for place in _PLACES)
            alone = "; {adapters} must be a word of its own" if name == "adapters" else ""
            raise InputError(f"{where}: {text!r}: {{{name}}} is not known; there are {known} and {{adapters}}{alone}")
    return [(literal, name) for literal, name, _, _ in parsed]
