"""How long it takes to bring one more adapter to a server while it runs, and to take it away."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any, Final

from raybench.records import RaybenchError
from raybench.serve import Limits, fetch
from raybench.visit.served_prompt import ServedPrompt
from raybench.visit.server_start import Started

_TIMES: Final = 5
_NAME: Final = "raybench-one-more"
_SHOWN: Final = 200


def one_more_adapter(started: Started) -> dict[str, Any]:
    """Columns of the loads table: medians of a few times, of the first adapter under a further name.

    As vLLM has it (``/v1/load_lora_adapter``); the server reads the adapter's files each time. None of them for a
    server that has no adapters. Raises RaybenchError where the server refuses.
    """
    server = started.server
    if server is None or not server.served.adapters:
        return {}
    folder = str(next(iter(server.served.adapters.values())))
    taken: dict[str, list[int]] = {"load": [], "unload": []}
    for _ in range(_TIMES):
        for what, body in (("load", {"lora_name": _NAME, "lora_path": folder}), ("unload", {"lora_name": _NAME})):
            began = time.perf_counter_ns()
            _post(started, f"{what}_lora_adapter", body)
            taken[what].append(time.perf_counter_ns() - began)
    for name in server.served.adapters:  # one that made room for the further one is brought back
        _ask(started, name)
    return {
        "adapter_add_ns": statistics.median_low(taken["load"]),
        "adapter_remove_ns": statistics.median_low(taken["unload"]),
    }


def _ask(started: Started, adapter: str) -> None:
    started.line.ask(ServedPrompt(1, token_ids=(1,)), 1, adapter)


def _post(started: Started, path: str, body: dict[str, str]) -> None:
    endpoint = started.line.server.endpoint
    received = asyncio.run(fetch(endpoint, endpoint.api(path), Limits(), json.dumps(body).encode()))
    if received.error is not None or received.status != 200:
        said = received.error or f"status {received.status}: {received.body[:_SHOWN].decode('utf-8', 'replace')}"
        said = started.line.server.hide_key(" ".join(said.split()))
        raise RaybenchError(
            f"{started.line.server.name}: {path}: {said}; leave load_adapters out where the engine "
            "loads adapters at its start only"
        )
