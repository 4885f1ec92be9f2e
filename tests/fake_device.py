"""A device whose time is known, and strategies that cost it a known time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from raybench.deploy import strategies
from raybench.machine.device import Times


@dataclasses.dataclass(frozen=True)
class Output:
    """What a forward of known cost returns: (host, wall, device) nanoseconds, and logits for the gate."""

    cost: tuple[int, int, int | None]
    logits: Any = None


class FakeDevice:
    """A device whose clock moves only when something that costs time is called: by the ``cost`` of its `Output`."""

    kind = "cpu"
    identity = "fake-0"
    name = "fake device"

    def __init__(self) -> None:
        self.now_ns = 1_000
        self.used_bytes = 100

    def clock(self) -> int:
        return self.now_ns

    def time(self, call: Callable[..., object], inputs: Mapping[str, Any]) -> Times:
        started = self.now_ns
        host_ns, wall_ns, device_ns = call(**inputs).cost  # type: ignore[attr-defined]
        self.now_ns += wall_ns
        return Times(started, host_ns, wall_ns, device_ns)

    def synchronize(self) -> None:
        pass

    def memory_bytes(self) -> int:
        return self.used_bytes

    def kept_bytes(self) -> int:
        return self.used_bytes

    def reset_peak(self) -> None:
        pass

    def peak_bytes(self) -> int:
        return self.used_bytes + 7

    def process_peak_bytes(self) -> int:
        return 4096


class KnownWeights:
    """Stands where a model would: its vocabulary is all that a visit asks of it, and it has no weights."""

    class config:  # noqa: N801
        vocab_size = 50

        @classmethod
        def get_text_config(cls) -> Any:
            return cls

    @staticmethod
    def named_parameters() -> list[tuple[str, Any]]:
        return []

    @staticmethod
    def parameters() -> list[Any]:
        return []

    buffers = parameters


def known_strategy(
    traits: Any, cost: Callable[..., tuple[int, int, int | None]], switch_ns: int
) -> type[strategies.Strategy]:
    """A strategy whose forwards take what ``cost`` says, and its switches ``switch_ns``."""
    import torch

    class Known(strategies.Strategy):
        def load(self, configuration: Any, weights: Any, costs: Any) -> strategies.Deployment:
            calls = iter(range(10**9))

            def forward(input_ids: Any, attention_mask: Any) -> Output:
                return Output(cost(input_ids.shape[1], next(calls)), torch.ones(1, 2))

            def switch(adapter: str) -> None:
                weights.device.now_ns += switch_ns

            with costs.time("load"):
                weights.device.now_ns += 500
            multi = len(configuration.adapters) > 1
            return strategies.Deployment(forward, KnownWeights(), switch if multi else None)

    Known.traits = traits
    return Known


def make_known(
    patch: pytest.MonkeyPatch, costs: Mapping[str, Callable[..., tuple[int, int, int | None]]], switch_ns: int = 0
) -> None:
    """Give strategies, by name, known costs, while ``patch`` lasts."""
    for name, cost in costs.items():
        traits = strategies.STRATEGIES[name].traits
        patch.setitem(strategies.STRATEGIES, name, known_strategy(traits, cost, switch_ns))


def uneven(cost: Callable[..., tuple[int, int, int | None]]) -> Callable[..., tuple[int, int, int | None]]:
    """``cost``, but for a few nanoseconds by visit: of visits that are equal to the last digit nothing can be said."""
    visits = itertools.count()
    short = 0

    def of(tokens: int, calls: int) -> tuple[int, int, int | None]:
        nonlocal short
        if calls == 0:
            short = 1 + next(visits) % 5
        host_ns, wall_ns, device_ns = cost(tokens, calls)
        if 5 <= calls < 9:  # a few requests of each visit, so that percentiles stay what they are
            return host_ns - short, wall_ns - short, device_ns if device_ns is None else device_ns - short
        return host_ns, wall_ns, device_ns

    return of
