"""TOML of a plan in which every key has a comment: what it is for, in a few words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from raybench.report import harmless

_LINE = 34
_COMMENT_WIDTH = 116


def comment_lines(lines: Iterable[str]) -> str:
    """Each as a comment of one or more lines."""
    wrapped = (
        textwrap.wrap(
            harmless(line),
            _COMMENT_WIDTH,
            subsequent_indent="  ",
            break_long_words=False,  # those are paths
            break_on_hyphens=False,
        )
        for line in lines
    )
    return "".join(f"# {part}\n" for parts in wrapped for part in parts)


_NAMED = {
    "": "in its runs' names",
    "[[adapters]]": "as the tables call it",
    "[[matrix]]": "of each configuration, with its task, seed, batch and load filled in",
    "[[configurations]]": "of the configuration",
    "[[servers]]": "as configurations call them, where there are several",
}
_OF_SERVERS: Mapping[str, str] = {
    "preset": "the engine: vllm or llama.cpp",
    "url": "where one runs already: raybench starts nothing, so its launches are not new for each visit",
    "model": "what the server calls its base; left out: the first that it names",
    "api_key_variable": "the environment variable that holds its key, on the worker",
    "prompts_as": "how a prompt is told: token_ids, text or chat",
    "python": "of the environment that has the engine; --engine-python overrides it",
    "options": "further words of the command",
    "max_loras": "adapters that a batch may have; left out: all that are served",
    "memory_share": "of a GPU's memory that each server takes; left out: nine tenths, evenly over those of a visit",
    "environment": "variables that the servers get",
    "cores": "of each server in turn",
    "kv_cache_gib": "for keys and values, on a CPU, in each server",
    "prefix_caching": "false: a token out of a cache is a failure",
    "eager": "true: nothing compiled or captured; starts sooner, answers later",
    "streams": "requests that a server works on at once, at most",
    "load_adapters": "also: how long it takes to load one more adapter while the server runs",
    "ready_within_s": "seconds that a server may take to be ready",
    "answer_within_s": "seconds that a server may take to begin an answer",
}
_COMMENTS: Mapping[str, str] = {
    "description": "above its tables",
    "model": "the base: a preset, a folder or a hub id; --model overrides it",
    "task_type": "SEQ_CLS: sequence classification, CAUSAL_LM: text generation",
    "rounds": "visits of each block, each in a fresh process; more make intervals narrower",
    "requests": "timed requests of a configuration in a round",
    "warmups": "untimed requests of a configuration before those",
    "turn_requests": "requests of a configuration before it is another's turn",
    "workload_seed": "draws the requests",
    "order_seed": "draws the order of turns",
    "margin": "differences within this share count as none: equivalent",
    "references": "what the others are compared with",
    "visit_timeout_s": "seconds after which a visit is given up; a slow machine takes a third of that",
    "until_halfwidth": "go on until the claims' intervals are this narrow; rounds is then the most",
    "accelerator_type": "only on GPUs of this type, as Ray names it",
    "prompt_tokens": "of each request: a number, a list to draw from, or a lognormal distribution",
    "output_tokens": "to generate for each prompt: a number, a list or a distribution",
    "texts": "instead of prompt_tokens: a .parquet, .jsonl or .csv file of your own texts",
    "text_column": "its column of texts",
    "chat_column": "or its column of chats, for the tokenizer's template",
    "task_column": "its column of the adapter that a text is for; without it all are for each",
    "tokenizer": "a folder or hub id, where the model has none of its own",
    "max_tokens": "longer texts are cut",
    "reference": "what it is claimed to differ from",
    "path": "its folder or hub id; rank, alpha and targets are read there",
    "tasks": "whose requests are served",
    "seeds": "of its training, where several runs are compared",
    "seed": "of its training, where several runs are compared",
    "task": "whose requests it serves",
    "adapters": "what it deploys",
    "checkpoint": "the fully fine-tuned model",
    "dtype": "of the weights: auto is bfloat16 on a GPU, float32 on a CPU",
    "adapter_dtype": "of the adapter: float32, or same as the base",
    "batch": "prompts that are served together: a number, or a list for one configuration each",
    "kv_cache": "of keys and values: dynamic or static",
    "ttft_ms": "what counts as good: the most until the first token, in milliseconds",
    "tpot_ms": "and the most for each further token",
    "concurrency": "requests under way at all times: a number, or a list for one configuration each",
    "rate_per_s": "requests a second, whether others are answered or not: a number, or a list",
    "quantization": "of the base as it is loaded: bnb-nf4, bnb-int8 or torchao-int8; the same in all that is compared",
    "routing": "requests of several adapters come in turn (round_robin), one's after another's (blocked), or mixed",
}
_OF_STRATEGY = {
    "full_ft": "a model of its own, all weights fine-tuned",
    "lora_separate": "the adapter beside the base",
    "lora_merged": "the adapter merged into the base",
    "multi_lora": "several adapters beside one base",
    "base_beside_lora": "requests for the base, on the server that has adapters beside it",
}


def table_text(header: str, keys: Mapping[str, object]) -> str:
    """A table with its header, such as ``[workload]``."""
    return f"{header}\n{keys_text(keys, header)}"


def measured_text(header: str, keys: Mapping[str, object]) -> str:
    """The table of what is measured, with what may be said besides."""
    return table_text(header, keys) + keys_text({"quantization": "bnb-nf4"}, commented=True)


def keys_text(keys: Mapping[str, object], header: str = "", *, commented: bool = False) -> str:
    """A line for each key, with its comment; ``commented``: the line is itself one, as of a key that may be set."""
    special = {"name": _NAMED.get(header), "strategy": _OF_STRATEGY.get(str(keys.get("strategy")))}
    if header == "[[servers]]":
        special |= _OF_SERVERS
    lines = []
    for key, value in keys.items():
        comment = special.get(key) or _COMMENTS[key]
        line = ("# " if commented else "") + f"{key} = {toml(value)}"
        lines.append(f"{line.ljust(_LINE)}  # {comment}\n")
    return "".join(lines)


def toml(value: object) -> str:
    """A value in TOML. Text may hold anything but half a surrogate pair, which TOML has no form for."""
    if isinstance(value, str):
        return '"' + "".join(map(_in_quotes, value)) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _in_quotes(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
