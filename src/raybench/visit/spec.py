"""What a visit is told: the block, its configurations and requests, and all else that it needs to know."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from raybench.model import ModelSpec, Recipe, Request
from raybench.plan import Configuration, Servers


@dataclasses.dataclass(frozen=True, slots=True)
class VisitSpec:
    """All that a visit needs to know. ``requests`` are those of each configuration, in the same order.

    ``places``: of each configuration, as its `Configuration.adapter_places` for these requests. ``calibrates``: whether
    it also finds out how fast the device is. ``servers``: which serve; none: this process does.
    """

    visit: str
    block: str
    round: int
    attempt: int
    configurations: tuple[Configuration, ...]
    requests: tuple[tuple[Request, ...], ...]
    model: ModelSpec
    recipe: Recipe
    warmups: int
    turn_requests: int
    order_seed: tuple[int, ...]
    timeout_s: float
    device_kind: Literal["cpu", "cuda"]
    places: tuple[tuple[int, ...], ...]
    calibrates: bool
    servers: tuple[Servers, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        # Requests as plain tuples, and once where configurations share them: as objects they are most of what
        # sending a visit costs its driver.
        unique = {id(requests): requests for requests in self.requests}
        rows = [[_packed(r) for r in requests] for requests in unique.values()]
        numbered = {identity: place for place, identity in enumerate(unique)}
        places = [numbered[id(requests)] for requests in self.requests]
        others = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "requests"}
        return _unpacked, (others, rows, places)


def _packed(request: Request) -> tuple[Any, ...]:
    prompts = tuple(_packed(prompt) for prompt in request.batch)
    r = request
    return r.task, r.index, r.tokens, r.token_ids, r.output_tokens, prompts, r.messages


def _unpacked_request(row: tuple[Any, ...]) -> Request:
    task, index, tokens, token_ids, output_tokens, prompts, messages = row
    batch = tuple(map(_unpacked_request, prompts))
    return Request(task, index, tokens, token_ids, output_tokens, batch, messages)


def _unpacked(others: dict[str, Any], rows: list[list[tuple[Any, ...]]], places: list[int]) -> VisitSpec:
    unique = [tuple(map(_unpacked_request, requests)) for requests in rows]
    return VisitSpec(**others, requests=tuple(unique[place] for place in places))
