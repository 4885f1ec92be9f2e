"""A request as tensors on the device: its prompts padded to one length, on the side that the model wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from raybench.model.workload import Request, draw_token_ids
from raybench.records import TaskType


@dataclasses.dataclass(frozen=True, slots=True)
class Prompts:
    """The tensors of one request, and the task of each of its rows.

    ``values``, integers on the device: of a classifier the keyword arguments of its forward, each of shape (batch,
    tokens). Of a language model ``input_ids`` of shape (batch, tokens), and ``attention_mask`` and ``position_ids``
    of shape (batch, tokens + output_tokens), of which each step takes a part.
    """

    values: Mapping[str, Any]
    tasks: tuple[str, ...]
    output_tokens: int


def as_tensors(
    request: Request,
    task_type: TaskType,
    device_kind: str,
    *,
    vocabulary_size: int,
    pad_token_id: int | None,
    avoid: Collection[int] = (),
) -> Prompts:
    """``request`` on the device. A language model is padded on the left, so that what it goes on from is a token.

    A classifier is padded on the right: an encoder counts its positions from there, a decoder finds the last token that
    is not padding. ``pad_token_id``: None where the model has none, which leaves 0 to stand under the mask.
    """
    import torch

    rows = [draw_token_ids(prompt, vocabulary_size, avoid) for prompt in request.prompts]
    longest = max(map(len, rows))
    on_the_left = task_type == "CAUSAL_LM"
    ids = torch.full((len(rows), longest), pad_token_id or 0, dtype=torch.int64)
    mask = torch.zeros((len(rows), longest + request.output_tokens), dtype=torch.int64)
    for place, row in enumerate(rows):
        first = longest - len(row) if on_the_left else 0
        ids[place, first : first + len(row)] = torch.tensor(row)
        mask[place, first : first + len(row)] = 1
    mask[:, longest:] = 1  # what will have been generated
    values = {"input_ids": ids, "attention_mask": mask}
    if on_the_left:
        values["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    on_device = {name: value.to(device_kind) for name, value in values.items()}
    return Prompts(on_device, tuple(prompt.task for prompt in request.prompts), request.output_tokens)
