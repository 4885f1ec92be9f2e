"""A server as it is asked, whoever started it: where it is, what a request must say, and what it says of itself."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from raybench.model import is_unicode
from raybench.records import RaybenchError
from raybench.serve.connection import fetch
from raybench.serve.endpoint import Endpoint, endpoint_of
from raybench.serve.engine_python import versions_in
from raybench.serve.exchange import Limits, Received
from raybench.serve.faults import one_line, status_fault
from raybench.serve.ports import LOOPBACK
from raybench.serve.presets import RunningServer
from raybench.serve.server_errors import without_secrets
from raybench.serve.server_process import ServerProcess

_LIMITS: Final = Limits(connect_s=10.0, first_byte_s=20.0, between_bytes_s=20.0, whole_s=30.0, most_bytes=4 << 20)
_SHOWN: Final = 8
_TELLS_IDS: Final = frozenset({"vllm", "sglang"})
"""Whose models' owner says that a request may ask for the ids of its tokens."""
_TELLS_LOGPROBS: Final = frozenset({"vllm", "llamacpp"})
_CLOSES: Final = frozenset({"llamacpp"})
"""Whose servers close a connection after a stream, whatever they say (`LlamaPreset.keeps_connections`)."""

_METRIC: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^\n]*\})?[ \t]+([0-9.eE+-]{1,40})(?:[ \t]+\d+)?")
_LEFT_OUT: Final = ("_bucket", "_created")
_MOST_METRICS: Final = 400
_LONGEST_METRIC: Final = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Reached:
    """A server that answers.

    ``fields``: what a request must say to be answered by an adapter, or by the base alone where that is None.
    ``tells_logprobs``: whether one may ask for log probabilities. ``process``: None where raybench did not start it.
    ``base``: of such a one what it calls what is asked where no adapter is.
    """

    name: str
    endpoint: Endpoint
    fields: Callable[[str | None], dict[str, Any]]
    tells_logprobs: bool = False
    process: ServerProcess | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    base: str | None = None

    def hide_key(self, text: str) -> str:
        """``text`` without the API key, which a server may repeat where it refuses it."""
        return _without_key(text, self.endpoint)

    def describe(self) -> dict[str, Any]:
        """What is kept of it with a run, as JSON values; it is asked for its metrics."""
        command = None if self.process is None else self.process.command.told()
        where = None if self.process is not None else str(self.endpoint)
        return {
            "name": self.name,
            "command": command,
            "url": where,
            "base": self.base,
            "versions": dict(self.versions),
            "metrics": metrics_of(self.endpoint),
        }


def reach(server: RunningServer) -> Reached:
    """One that raybench has started. Raises InputError where its engine's Python cannot be asked for versions."""
    packages = server.preset.packages
    python = server.process.command.words[0]
    return Reached(
        server.process.name,
        Endpoint(LOOPBACK, server.port, api_key=server.key, keep_alive=server.preset.keeps_connections),
        server.request_fields,
        server.preset.tells_logprobs,
        server.process,
        _versions(python, packages) if packages else {},
    )


def reach_at(name: str, url: str, key: str | None, model: str | None, adapters: Collection[str]) -> Reached:
    """One that runs already at ``url``. ``model``: what it calls its base; None: the first that it names.

    Raises RaybenchError where it cannot be reached, refuses the key, or knows no such model or adapter.
    """
    endpoint = endpoint_of(url, key)
    models = _models(name, endpoint)
    ids = [one["id"] for one in models]
    own = model if model is not None else next((one for one in ids if one not in adapters), ids[0])
    if missing := [one for one in (own, *adapters) if one not in ids]:
        there = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
        said = f"{name}: it serves no model {', '.join(missing)}; there are {one_line(there)}"
        raise RaybenchError(_without_key(said, endpoint))
    owners = {str(one.get("owned_by", "")).lower() for one in models}
    more = {"return_token_ids": True} if owners & _TELLS_IDS else {}

    def fields(adapter: str | None) -> dict[str, Any]:
        return {"model": own if adapter is None else adapter, **more}

    if owners & _CLOSES:
        endpoint = dataclasses.replace(endpoint, keep_alive=False)
    return Reached(name, endpoint, fields, bool(owners & _TELLS_LOGPROBS), None, _version(endpoint, owners), own)


def metrics_of(endpoint: Endpoint) -> dict[str, float]:
    """What the server's ``/metrics`` say, by name and labels, without histograms' buckets; empty where it has none.

    In the text format of Prometheus. At most 400.
    """
    received = _fetched(endpoint, endpoint.beside_api("metrics"))
    if received.error is not None or received.status != 200:
        return {}
    found: dict[str, float] = {}
    for line in received.body.decode("utf-8", "replace").splitlines():
        matched = _METRIC.fullmatch(line.strip())
        if matched is None or matched[1].endswith(_LEFT_OUT) or len(found) == _MOST_METRICS:
            continue
        name = f"{matched[1]}{matched[2] or ''}"
        try:
            value = float(matched[3])
        except ValueError:
            continue
        if len(name) <= _LONGEST_METRIC and name.isprintable() and abs(value) < 1e300:
            found[name] = value
    return found


@functools.cache
def _versions(python: str, packages: tuple[str, ...]) -> Mapping[str, str]:
    """Asked for once, of the servers of a visit."""
    return versions_in(python, packages)


def _without_key(text: str, endpoint: Endpoint) -> str:
    return without_secrets(text, [endpoint.api_key or ""])


def _models(name: str, endpoint: Endpoint) -> list[dict[str, Any]]:
    received = _fetched(endpoint, endpoint.api("models"))
    if received.error is not None:
        raise RaybenchError(f"{name} at {endpoint}: {received.error}")
    if received.status != 200:
        fault = _without_key(status_fault(received.status or 0, received.body), endpoint)
        raise RaybenchError(f"{name} at {endpoint}: {fault}")
    try:
        told = json.loads(received.body)
    except (ValueError, RecursionError):
        told = None
    listed = told.get("data") if isinstance(told, dict) else None
    found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    models = [one for one in found if isinstance(one.get("id"), str) and one["id"] and is_unicode(one["id"])]
    if not models:
        raise RaybenchError(f"{name} at {endpoint}: it names no model at {endpoint.api('models')}")
    return models


def _version(endpoint: Endpoint, owners: Collection[str]) -> dict[str, str]:
    """As vLLM tells it; of others whose server it is, as far as they say."""
    received = _fetched(endpoint, endpoint.beside_api("version"))
    said = {"owned_by": ", ".join(sorted(filter(None, owners)))[:_LONGEST_METRIC]} if any(owners) else {}
    if received.error is not None or received.status != 200:
        return said
    try:
        told = json.loads(received.body)
    except (ValueError, RecursionError):
        return said
    version = told.get("version") if isinstance(told, dict) else None
    return said | ({"version": version[:_LONGEST_METRIC]} if isinstance(version, str) else {})


def _fetched(endpoint: Endpoint, path: str) -> Received:
    return asyncio.run(fetch(endpoint, path, _LIMITS))
