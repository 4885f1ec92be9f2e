"""llama.cpp's server, from the wheel xllamacpp, run by `llama_server`. Models and adapters are GGUF files.

Its default is to apply all adapters to a request that names none, so that each request says a scale for each. Its
prompt caches bring the state of a prompt back under another adapter, so that they are off unless the plan has them on.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Final

from raybench.records import InputError
from raybench.serve import llama_server
from raybench.serve.engine_python import find_python
from raybench.serve.served import BASE_NAME, EngineSettings, Launch, Served, ServedDtype, check_known
from raybench.serve.server_process import Command

PACKAGES: Final = ("xllamacpp",)
"""Whose version says which engine it was."""

_SETTINGS: Final = "settings.json"
_NO_FLASH_ATTENTION: Final = 0  # LLAMA_FLASH_ATTN_TYPE_DISABLED; -1 lets it decide
_RESERVED: Final = frozenset(
    {"api_keys", "hostname", "hostnames", "lora_adapters", "model", "model_alias", "port", "ssl_file_key"}
)
_THREADS: Final = ("cpuparams.n_threads", "cpuparams_batch.n_threads")
_CACHE_TYPES: Final = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""Of keys and values: as the model is. In float16 beside a float32 model answers of equal models differ."""


class LlamaPreset:
    """`Preset` of llama.cpp. Options are ``NAME=VALUE`` for parameters of xllamacpp's ``CommonParams``."""

    name = "llama.cpp"
    packages = PACKAGES
    tells_logprobs = True
    # Its head says Keep-Alive, and it closes the connection a moment after a stream has ended: a request that is sent
    # in that moment is lost.
    keeps_connections = False
    ignores = ("kv_cache_gib", "eager", "max_loras", "memory_share", "load_adapters")

    def check(self, settings: EngineSettings, adapters: bool) -> None:
        # As of a GPU, and of a model in bfloat16: of others raybench sets more itself.
        _parameters(dataclasses.replace(settings, device="cuda"), "bfloat16")

    def launch(self, served: Served, settings: EngineSettings, port: int, key: str) -> Launch:
        if settings.runtime_adapters:
            raise InputError("servers.runtime_adapters: llama.cpp's server loads adapters at its start only")
        if served.model.suffix != ".gguf" or any(path.suffix != ".gguf" for path in served.adapters.values()):
            raise InputError(f"{served.model}: llama.cpp serves GGUF files; write the model and its adapters as such")
        python = find_python(settings.python, "xllamacpp", "xllamacpp")
        told = {
            "model": str(served.model),
            "adapters": [str(path) for path in served.adapters.values()],
            "alias": BASE_NAME,
            "port": port,
            "key": key,  # in a file for this user only, where a command line is for all to read
            "cache_type": _CACHE_TYPES[served.dtype],
            "parameters": _parameters(settings, served.dtype),
        }
        words = (python, "-I", str(llama_server.__file__), _SETTINGS)
        files = {_SETTINGS: json.dumps(told)}
        return Launch(Command(words, settings.environment, settings.cores, files, hidden=(key,)))

    def request_fields(self, served: Served, settings: EngineSettings, adapter: str | None) -> dict[str, Any]:
        check_known(served, adapter)
        scales = [{"id": i, "scale": float(name == adapter)} for i, name in enumerate(served.adapters)]
        return {"model": BASE_NAME, "cache_prompt": settings.prefix_caching, **({"lora": scales} if scales else {})}


def _parameters(settings: EngineSettings, dtype: ServedDtype) -> dict[str, Any]:
    """By name those of ``CommonParams``; a dot leads into one of its parts."""
    made: dict[str, Any] = {"cache_prompt": settings.prefix_caching}
    if not settings.prefix_caching:
        made["cache_ram_mib"] = 0
    if dtype == "float32":
        # Its flash attention is no float32: log probabilities of a model of two layers were 0.03 off, without it 3e-6.
        made["flash_attn_type"] = _NO_FLASH_ATTENTION
    threads = len(settings.cores)
    if not threads and settings.device == "cpu" and not any(o.startswith(_THREADS) for o in settings.options):
        # They spin: on a machine's last core the client would have to wait, and read many tokens at once.
        threads = max(1, len(os.sched_getaffinity(0)) - 1)
    if threads:
        made.update(dict.fromkeys(_THREADS, threads))
    if settings.streams is not None:
        made["n_parallel"] = settings.streams
    if settings.max_tokens is not None:
        made["n_ctx"] = settings.max_tokens * (settings.streams or 1)  # shared out among the streams
    if settings.device == "cpu":
        made["n_gpu_layers"] = 0
    for option in settings.options:
        name, equals, value = option.partition("=")
        if not equals or not all(part.isidentifier() and not part.startswith("_") for part in name.split(".")):
            raise InputError(f"servers.options: {option!r} is not NAME=VALUE, a parameter of xllamacpp's CommonParams")
        if name.split(".")[0] in _RESERVED or name in made:
            raise InputError(f"servers.options: {name} is what raybench itself sets; leave it out")
        try:
            made[name] = json.loads(value)
        except ValueError:
            made[name] = value
    return made
