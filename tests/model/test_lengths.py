"""Requests of stated lengths."""

from __future__ import annotations

from raybench.model.lengths import Lengths
from raybench.model.workload import Request, request_of
from raybench.plan.schema import Lognormal


def test_fixed_lengths_are_those_of_every_request() -> None:
    workload = Lengths(512, 128, 0)
    assert [workload.request("support", i) for i in (0, 999_999)] == [
        Request("support", 0, 512, None, 128),
        Request("support", 999_999, 512, None, 128),
    ]
    assert Lengths(512, None, 0).request("support", 0).output_tokens == 0
    assert workload.describe() == {"source": "lengths", "seed": 0, "prompt_tokens": 512, "output_tokens": 128}
    assert Lengths(512, None, 3).describe() == {"source": "lengths", "seed": 3, "prompt_tokens": 512}


def test_drawn_lengths_are_those_of_the_counts_and_prompts_are_drawn_apart_from_outputs() -> None:
    spread = Lognormal(median=64, sigma=0.7, max=512)
    workload = Lengths(spread, spread, 1)
    asked = [workload.request("support", i) for i in range(500)]
    assert [r.tokens for r in asked] == workload.prompt_tokens("support", 500).tolist()
    assert [r.output_tokens for r in asked] == workload.output_tokens("support", 500).tolist()
    assert [r.tokens for r in asked] != [r.output_tokens for r in asked]
    assert workload.largest_token_id("support", 500) is None
    assert workload.notes == ()


def test_a_batch_is_of_drawn_prompts() -> None:
    workload = Lengths([8, 16, 32], [4, 6], 0)
    batch = request_of(workload, "support", 3, batch=3)
    assert [p.tokens for p in batch.prompts] == workload.prompt_tokens("support", 12)[9:].tolist()
    assert batch.output_tokens == workload.output_tokens("support", 4)[3]
