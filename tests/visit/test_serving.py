"""A request served and timed, on a device whose time is known."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from fake_device import FakeDevice
from raybench.deploy.generation import Generator
from raybench.deploy.strategies import Deployment
from raybench.machine.device import CpuDevice, Times
from raybench.model.prompts import Prompts
from raybench.visit.serving import OPENER_TOKENS, Server

PREFILL = (30, 50, 20)
STEPS = [(3, 5, 2), (4, 7, 3), (5, 11, 4)]


@dataclasses.dataclass
class Costly:
    """What a forward of known cost returns."""

    cost: tuple[int, int, int | None]
    logits: Any
    past_key_values: Any = "a cache"


class KnownModel:
    """Takes the time of `PREFILL`, then that of one of `STEPS` after the other."""

    def __init__(self, on_a_gpu: bool = True) -> None:
        self.calls: list[dict[str, Any]] = []
        self.on_a_gpu = on_a_gpu

    def forward(self, input_ids: Any, attention_mask: Any, **values: Any) -> Costly:
        place = len(self.calls)
        self.calls.append({"input_ids": input_ids, "attention_mask": attention_mask, **values})
        host_ns, wall_ns, device_ns = PREFILL if place == 0 else STEPS[(place - 1) % len(STEPS)]
        cost = (host_ns, wall_ns, device_ns) if self.on_a_gpu else (wall_ns, wall_ns, None)
        logits = torch.zeros(len(input_ids), input_ids.shape[1], 9)
        logits[:, :, 4] = 1
        return Costly(cost, logits)

    __call__ = forward


def prompts(output_tokens: int, tasks: tuple[str, ...] = ("a",)) -> Prompts:
    count = len(tasks)
    mask = torch.ones(count, 6 + output_tokens, dtype=torch.int64)
    ids = torch.full((count, 6), 7)
    return Prompts(
        {"input_ids": ids, "attention_mask": mask, "position_ids": mask.cumsum(-1) - 1}, tasks, output_tokens
    )


def server(model: Any, **extra: Any) -> Server:
    return Server.of(
        Deployment(model, model, **extra), {"a": "x", "b": "y"}, Generator(Deployment(model, model, **extra))
    )


def test_prefill_and_each_step_are_timed_apart_and_add_up() -> None:
    served = server(KnownModel()).serve(prompts(4), FakeDevice())
    assert served.prefill == Times(1_000, *PREFILL)
    assert served.decode == (Times(1_050, 3, 5, 2), Times(1_055, 4, 7, 3), Times(1_062, 5, 11, 4))
    assert served.whole == Times(1_000, 30 + 3 + 4 + 5, 50 + 5 + 7 + 11, 20 + 2 + 3 + 4)


def test_on_a_cpu_host_and_wall_are_one_reading() -> None:
    served = server(KnownModel(on_a_gpu=False)).serve(prompts(4), FakeDevice())
    assert served.whole == Times(1_000, 73, 73, None)
    assert all(step.host_ns == step.wall_ns and step.device_ns is None for step in served.decode)


def test_of_one_token_there_is_the_prefill_alone() -> None:
    served = server(KnownModel()).serve(prompts(1), FakeDevice())
    assert served.decode == ()
    assert served.whole == served.prefill == Times(1_000, *PREFILL)


def test_each_step_takes_the_token_before_and_sees_all_that_went_before() -> None:
    model = KnownModel()
    server(model).serve(prompts(3), FakeDevice())
    assert [call["input_ids"].tolist() for call in model.calls] == [[[7] * 6], [[4]], [[4]]]
    assert [call["attention_mask"].shape[1] for call in model.calls] == [6, 7, 8]
    assert [call["past_key_values"] for call in model.calls] == [None, "a cache", "a cache"]
    assert all(call["use_cache"] is True for call in model.calls)


@pytest.mark.parametrize(("asked", "generated"), [(4, 4), (OPENER_TOKENS, OPENER_TOKENS), (100, OPENER_TOKENS)])
def test_an_opener_generates_no_more_than_warms_up(asked: int, generated: int) -> None:
    served = server(KnownModel()).serve(prompts(asked), FakeDevice(), opener=True)
    assert 1 + len(served.decode) == generated


def test_a_mixed_batch_is_told_the_adapter_of_each_row_once_for_all_steps() -> None:
    told: list[Any] = []

    @contextlib.contextmanager
    def mixed(names: Sequence[str]) -> Iterator[None]:
        told.append(list(names))
        yield
        told.append("over")

    model = KnownModel()
    server(model, mixed=mixed).serve(prompts(3, ("a", "b", "a")), FakeDevice(), names=("x", "y", "x"))
    assert told == [["x", "y", "x"], "over"]
    assert len(model.calls) == 3
    # A classifier's is of one forward.
    classifier = KnownModel()
    Server.of(Deployment(classifier, classifier, mixed=mixed), {"a": "x", "b": "y"}, None).serve(
        Prompts(prompts(0, ("b", "a")).values, ("b", "a"), 0), FakeDevice(), names=("y", "x")
    )
    assert told[2:] == [["y", "x"], "over"]
    assert len(classifier.calls) == 1


def test_steps_follow_each_other_on_a_real_clock() -> None:
    served = server(KnownModel()).serve(prompts(6), CpuDevice())
    steps = (served.prefill, *served.decode)
    for step, following in itertools.pairwise(steps):
        assert step is not None
        assert following is not None
        assert step.started_ns + step.wall_ns <= following.started_ns
    assert served.whole.wall_ns == steps[-1].started_ns + steps[-1].wall_ns - served.whole.started_ns
