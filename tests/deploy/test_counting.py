"""Counts of one step: equal each time, partial where something cannot be counted, and never an error."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType

from raybench.deploy.counting import count
from raybench.deploy.strategy import Deployment
from raybench.machine import instructions_of
from raybench.schemas import COUNTS


class Tiny(nn.Module):
    """One product, and a buffer that it adds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4, bias=False)
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(x) + self.shift
        return found


@pytest.fixture(autouse=True)
def without_autograd() -> Iterator[None]:
    with torch.inference_mode():
        yield


def prepared(call: Callable[[], Any], log: list[str] | None = None) -> Callable[[], Any]:
    @contextlib.contextmanager
    def step() -> Iterator[Callable[[], Any]]:
        if log is not None:
            log.append("prepared")
        yield call
        if log is not None:
            log.append("closed")

    return step


def test_parameters_and_buffers_are_weights_and_the_rest_is_activations() -> None:
    model, x = Tiny(), torch.ones(3, 6)
    found = count(prepared(lambda: model(x)), Deployment(model, model), "cpu", "eager")
    assert found.operations is not None
    assert (found.operations.flops, found.operations.operations) == (2 * 3 * 6 * 4, 2)
    assert found.operations.weight_bytes == 4 * (6 * 4 + 4)
    assert found.operations.activation_bytes == 4 * (3 * 6 + 3 * 4 + 3 * 4 + 3 * 4)
    assert found.instructions == instructions_of(lambda: model(x))
    assert (found.kernels, found.not_counted) == (None, None)


def test_it_is_the_same_each_time_and_a_step_is_prepared_for_each_count() -> None:
    model, x, log = Tiny(), torch.ones(3, 6), list[str]()
    step = prepared(lambda: model(x), log)
    assert count(step, Deployment(model, model), "cpu", "eager") == count(
        step, Deployment(model, model), "cpu", "eager"
    )
    assert log == ["prepared", "closed"] * 4


def test_a_row_has_the_columns_of_the_table_but_those_that_say_which_step_it_is() -> None:
    model, x = Tiny(), torch.ones(3, 6)
    row = count(prepared(lambda: model(x)), Deployment(model, model), "cpu", "eager").row()
    place = {"visit", "block", "configuration", "round", "task", "request", "tokens", "step", "dtype"}
    assert row.keys() | place == set(COUNTS.names)
    assert not row.keys() & place
    assert (row["flops"], row["generated"], row["not_counted"]) == (144, 0, None)


def test_what_fails_is_said_and_the_rest_is_counted() -> None:
    model, x = Tiny(), torch.ones(3, 6)
    found = count(prepared(lambda: model(x)), Deployment(model, model), "cpu", "compile")
    assert found.operations is None
    assert found.instructions is not None
    assert found.not_counted == "operations: RuntimeError: no code that torch.compile generated was called"
    row = found.row()
    assert {row[name] for name in ("flops", "weight_bytes", "operations", "views")} == {None}


def test_a_step_that_fails_is_no_error_and_says_why_in_one_line() -> None:
    def failing() -> None:
        raise ValueError("no\nsuch thing")

    model = Tiny()
    found = count(prepared(failing), Deployment(model, model), "cpu", "eager")
    assert (found.operations, found.instructions) == (None, None)
    assert found.not_counted == "operations: ValueError: no such thing; instructions: ValueError: no such thing"


def test_a_forward_that_is_more_than_its_models_is_not_counted() -> None:
    model = Tiny()
    found = count(prepared(model), Deployment(lambda x: model(x), model, opener=model), "cpu", "eager")
    assert found.not_counted == "its forward does more than its model's, and is another each time"
    assert dataclasses.replace(found, not_counted=None).row() == dict.fromkeys(found.row())


def test_an_operation_without_a_formula_is_named() -> None:
    model = Tiny()
    with torch.library._scoped_library("raybench_counting", "DEF") as library:
        library.define("secret(Tensor x) -> Tensor")
        library.impl("secret", lambda x: x * 2, "CPU")
        step = prepared(lambda: torch.ops.raybench_counting.secret(torch.ones(3)))
        found = count(step, Deployment(model, model), "cpu", "eager")
    assert found.not_counted == "FLOPs of raybench_counting::secret: no formula for them"


def test_what_is_generated_for_a_gpu_is_not_seen_and_that_is_said() -> None:
    model, x = Tiny(), torch.ones(3, 6)
    found = count(prepared(lambda: model(x)), Deployment(model, model), "cuda", "compile")
    assert (found.operations, found.kernels) == (None, None)
    assert found.instructions is not None
    assert str(found.not_counted).startswith(
        "operations: what is compiled or captured for a GPU is not seen; kernels: "
    )


def test_no_kernels_at_all_are_kernels_that_the_profiler_did_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event(NamedTuple):
        device_type: DeviceType
        name: str

    class Profiled(contextlib.nullcontext[Any]):
        def events(self) -> list[Event]:
            return events

        def __enter__(self) -> Any:
            return self

    monkeypatch.setattr("torch.profiler.profile", lambda **_: Profiled())
    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
    model, x = Tiny(), torch.ones(3, 6)
    step = prepared(lambda: model(x))
    events = [Event(DeviceType.CPU, "aten::mm"), Event(DeviceType.CUDA, "Memcpy HtoD")]
    found = count(step, Deployment(model, model), "cuda", "eager")
    assert (found.kernels, found.not_counted) == (None, "kernels: RuntimeError: torch's profiler saw none")
    events.append(Event(DeviceType.CUDA, "gemm"))
    found = count(step, Deployment(model, model), "cuda", "eager")
    assert (found.kernels, found.not_counted) == (1, None)
