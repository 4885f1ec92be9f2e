"""Requests padded to buckets: how long those are, what stands in them, and that none is made late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from raybench.deploy.buckets import Buckets, bucket_of, no_more_buckets
from raybench.records import RaybenchError


def inputs(tokens: int, first: int = 5, rows: int = 1) -> dict[str, torch.Tensor]:
    ids = torch.arange(first, first + tokens).repeat(rows, 1)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize(
    ("tokens", "bucket"), [(1, 16), (16, 16), (17, 32), (32, 32), (33, 64), (512, 512), (513, 1024), (2048, 2048)]
)
def test_a_bucket_is_the_next_power_of_two(tokens: int, bucket: int) -> None:
    assert bucket_of(tokens) == bucket


@pytest.mark.parametrize(
    ("tokens", "most", "bucket"), [(33, 40, 40), (40, 40, 40), (9, 40, 16), (9, 12, 12), (41, 40, 41)]
)
def test_no_bucket_goes_beyond_the_positions_of_a_model(tokens: int, most: int, bucket: int) -> None:
    assert bucket_of(tokens, most) == bucket


def test_a_bucket_of_one_state_serves_no_other() -> None:
    state: list[int] = [1]
    made: list[int] = []

    def make(tensors: Mapping[str, torch.Tensor]) -> Callable[[], Any]:
        made.append(state[0])
        return lambda now=state[0]: now

    buckets = Buckets(0, make, state=lambda: state[0])
    assert buckets(**inputs(2)) == 1
    state[0] = 2
    assert [buckets(**inputs(2)), buckets(**inputs(3))] == [2, 2]
    assert made == [1, 2]


def test_a_bucket_made_in_inference_mode_serves_outside_of_it() -> None:
    buckets = Buckets(0, lambda tensors: lambda: tensors["input_ids"].sum().item())
    with torch.inference_mode():
        assert buckets(**inputs(2)) == 11
    with torch.no_grad():
        assert buckets(**inputs(3)) == 18


def test_a_request_stands_in_its_bucket_and_nothing_of_the_one_before() -> None:
    made: list[Mapping[str, torch.Tensor]] = []
    seen: list[tuple[list[int], list[int]]] = []

    def make(tensors: Mapping[str, torch.Tensor]) -> Callable[[], Any]:
        made.append(tensors)

        def serve() -> int:
            seen.append((tensors["input_ids"][0].tolist(), tensors["attention_mask"][0].tolist()))
            return len(seen)

        return serve

    buckets = Buckets(3, make)
    assert [buckets(**inputs(12)), buckets(**inputs(2, first=40)), buckets(**inputs(16))] == [1, 2, 3]
    assert seen == [
        ([*range(5, 17), 3, 3, 3, 3], [1] * 12 + [0] * 4),
        ([40, 41] + [3] * 14, [1, 1] + [0] * 14),
        ([*range(5, 21)], [1] * 16),
    ]
    assert (len(made), len(buckets)) == (1, 1)
    buckets(**inputs(17))
    buckets(**inputs(2, rows=2))
    assert [tuple(tensors["input_ids"].shape) for tensors in made] == [(1, 16), (1, 32), (2, 16)]


def test_none_is_made_once_requests_are_timed() -> None:
    buckets = Buckets(0, lambda tensors: lambda: tensors["input_ids"].sum().item())
    assert buckets(**inputs(2)) == 11
    with no_more_buckets():
        assert buckets(**inputs(3)) == 18
        with pytest.raises(RaybenchError, match="no bucket of 2 x 32 tokens was made before requests were timed"):
            buckets(**inputs(20, rows=2))
    assert buckets(**inputs(20, rows=2)) == 2 * sum(range(5, 25))
