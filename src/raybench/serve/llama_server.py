"""llama.cpp's HTTP server in a process of its own, by the package xllamacpp.

A script for the Python that has it, which need not have raybench: ``python llama_server.py settings.json``. It ends by
SIGTERM.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def main(path: str) -> int:
    """Serve what the settings at ``path`` say, until the process is asked to end."""
    import xllamacpp  # type: ignore[import-not-found,unused-ignore]

    told = json.loads(Path(path).read_text("utf-8"))
    signal.signal(signal.SIGTERM, _end)
    server = xllamacpp.Server(_parameters(xllamacpp, told))
    try:
        while True:
            time.sleep(3600)
    finally:
        del server  # ends its threads, and with them what they serve


def _end(*_: object) -> None:
    sys.exit(0)


def _parameters(xllamacpp: Any, told: Mapping[str, Any]) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = told["model"]
    parameters.model_alias = {told["alias"]}
    parameters.port = told["port"]
    if hasattr(parameters, "hostnames"):  # since October 2026
        parameters.hostnames = ["127.0.0.1"]
    else:
        parameters.hostname = "127.0.0.1"
    parameters.api_keys = [told["key"]]
    parameters.endpoint_metrics = True
    parameters.cache_type_k = parameters.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{told['cache_type']}")
    # A scale of 0 until a request says another one: by itself it adds up all that are loaded.
    parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in told["adapters"]]
    for name, value in told["parameters"].items():
        *parts, last = name.split(".")
        holder = parameters
        try:
            for part in parts:
                holder = getattr(holder, part)
            getattr(holder, last)  # one that is not there must not be made
            setattr(holder, last, value)
        except (AttributeError, TypeError, ValueError) as error:
            sys.exit(f"servers.options: {name}={json.dumps(value)}: {error}; they are parameters of CommonParams")
    return parameters


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
