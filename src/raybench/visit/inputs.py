"""The inputs of a visit: every request as tensors on the device before anything is timed, and a few to check by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raybench.deploy import bucket_of
from raybench.machine import Device
from raybench.model import Prompts, Request, as_tensors
from raybench.plan import BY_BUCKET, Execution
from raybench.records import TaskType

Inputs = Mapping[tuple[str, int], Prompts]
"""By task and request index."""

_PROBES_PER_TASK = 2


def make_inputs(
    requests: Iterable[Request], task_type: TaskType, models: Iterable[Any], device: Device
) -> dict[tuple[str, int], Prompts]:
    """The tensors of ``requests``, which all of ``models`` can take: ids are within the smallest vocabulary."""
    configs = [model.config.get_text_config() for model in models]
    special = [
        token for config in configs for name in ("pad", "bos", "eos") for token in _ids(config, f"{name}_token_id")
    ]
    pads = [token for config in configs for token in _ids(config, "pad_token_id")]
    return {
        (request.task, request.index): as_tensors(
            request,
            task_type,
            device.kind,
            vocabulary_size=min(int(config.vocab_size) for config in configs),
            pad_token_id=pads[0] if pads else None,
            avoid=frozenset(special),
        )
        for request in {(r.task, r.index): r for r in requests}.values()
    }


def probes_of(inputs: Inputs) -> dict[str, list[Prompts]]:
    """The first few requests of each task."""
    probes: dict[str, list[Prompts]] = {}
    for (task, _), prompts in inputs.items():
        chosen = probes.setdefault(task, [])
        if len(chosen) < _PROBES_PER_TASK:
            chosen.append(prompts)
    return probes


def padded_tokens(request: Request) -> int:
    """Tokens of a request as the device has them: every row as long as the longest, its output included."""
    return len(request.prompts) * longest_row(request)


def shape_of(request: Request, execution: Execution) -> tuple[int, int, int]:
    """What requests have in common that one compiled or captured forward serves: rows, tokens of a row, output tokens.

    Where requests are padded to buckets of lengths, tokens are those of the bucket.
    """
    tokens = longest_row(request)
    return len(request.prompts), bucket_of(tokens) if execution in BY_BUCKET else tokens, request.output_tokens


def longest_row(request: Request) -> int:
    """Tokens of a request's longest prompt and of what is generated after it."""
    return max(prompt.tokens for prompt in request.prompts) + request.output_tokens


def _ids(config: Any, name: str) -> list[int]:
    """A special token's ids in a model's configuration: one, several, or none."""
    value = getattr(config, name, None)
    return [token for token in (value if isinstance(value, list) else [value]) if isinstance(token, int) and token >= 0]
