"""The strategies: one class each, and nothing else to change to add one."""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from raybench.machine import Device
from raybench.model import Weights, peft_name
from raybench.plan import Configuration
from raybench.records import StrategyTraits


@dataclasses.dataclass(slots=True)
class Deployment:
    """A configuration brought up: what is called for each request.

    ``switch`` makes an adapter the active one before a request; None for a strategy that never switches.
    ``opener`` is called for the opener of a turn instead of ``forward``; None where it is a request like any other.
    ``mixed`` makes rows of a batch go through adapters of their own, named one a row, while what it returns is entered;
    None where a batch is of one adapter.
    """

    forward: Callable[..., Any]
    model: Any
    switch: Callable[[str], None] | None = None
    opener: Callable[..., Any] | None = None
    mixed: Callable[[Sequence[str]], AbstractContextManager[Any]] | None = None


class LoadCosts:
    """How long each step of bringing a configuration up took, in nanoseconds of the device's clock."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.load_ns = 0
        self.adapter_load_ns: int | None = None
        self.merge_ns: int | None = None
        self.untied_bytes: int | None = None

    @contextlib.contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Time a step (``load``, ``adapter_load`` or ``merge``) until the device has finished it."""
        started = self._device.clock()
        yield
        self._device.synchronize()
        setattr(self, f"{step}_ns", self._device.clock() - started)


class Strategy(ABC):
    """A way to deploy fine-tuned weights."""

    traits: ClassVar[StrategyTraits]
    reproduces_adapters: ClassVar[bool] = False
    """Whether its logits must be those of each of its adapters alone, which the correctness gate then checks."""
    adapter_alone: ClassVar[bool] = False
    """Whether it computes one adapter beside its base, by which the others are checked."""

    @classmethod
    def is_exact(cls, configuration: Configuration) -> bool:
        """Whether its logits must be its adapters' own, but for rounding; where not, by how much is told only."""
        return True

    @abstractmethod
    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        """Bring ``configuration`` up on the device that ``weights`` loads onto."""


STRATEGIES: dict[str, type[Strategy]] = {}


def strategy(cls: type[Strategy]) -> type[Strategy]:
    """Make a strategy known under its name, to plans and to workers."""
    STRATEGIES[cls.traits.name] = cls
    return cls


def all_traits() -> dict[str, StrategyTraits]:
    """What plans are checked against."""
    return {name: cls.traits for name, cls in STRATEGIES.items()}


def deploy(configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
    """Bring ``configuration`` up by its strategy."""
    return STRATEGIES[configuration.strategy]().load(configuration, weights, costs)


def _base_with_adapters(configuration: Configuration, weights: Weights, costs: LoadCosts) -> Any:
    """The base with all of the configuration's adapters beside it, a PeftModel."""
    with costs.time("load"):
        model: Any = weights.base(configuration)
    with costs.time("adapter_load"):
        for adapter in configuration.adapters:
            model = weights.attach(model, adapter, configuration)
    return model


@strategy
class FullFineTune(Strategy):
    """All weights were fine-tuned: a model of its own for each task."""

    traits = StrategyTraits("full_ft", "Full FT", 0, 0)

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        with costs.time("load"):
            model = weights.fine_tuned(configuration)
        return Deployment(model, model)


@strategy
class LoraMerged(Strategy):
    """The adapter is folded into the base weights before serving."""

    traits = StrategyTraits("lora_merged", "LoRA Merged", 1, 1)
    reproduces_adapters = True

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        adapted = _base_with_adapters(configuration, weights, costs)
        with costs.time("merge"):
            model = adapted.merge_and_unload().eval()
        return Deployment(model, model)


@strategy
class LoraSeparate(Strategy):
    """The adapter stays beside the base and is computed in every request."""

    traits = StrategyTraits("lora_separate", "LoRA Separate", 1, 1)
    adapter_alone = True

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        adapted = _base_with_adapters(configuration, weights, costs)
        return Deployment(adapted, adapted)


@strategy
class Delay(FullFineTune):
    """A full fine-tune that takes a known share longer: what a verdict must find. For checks of raybench itself.

    The opener of a turn does not wait: caches cool in a wait, and the forward after it would take longer than its
    reference's (6 % on a shared machine), which is no part of what was put in. It holds for turns of one request.
    A share of 0 is a full fine-tune and nothing more: to look at the clock alone takes 0.3 % of a request of 2 ms.
    """

    traits = StrategyTraits("delay", "Delay", 0, 0)

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        undelayed = super().load(configuration, weights, costs)
        clock, synchronize, share = weights.device.clock, weights.device.synchronize, configuration.delay_share
        if not share:
            return undelayed
        model = undelayed.model

        def forward(**inputs: Any) -> Any:
            started = clock()
            result = model(**inputs)
            synchronize()
            now = clock()
            until = now + int((now - started) * share)
            while now < until:  # sleeping would be late by more than the smallest delay
                now = clock()
            return result

        return Deployment(forward, model, opener=model)


@strategy
class MultiLora(Strategy):
    """Several adapters resident on one base; each request makes its own the active one."""

    traits = StrategyTraits("multi_lora", "Multi-adapter", 2, 64)
    reproduces_adapters = True

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        adapted = _base_with_adapters(configuration, weights, costs)
        names = {a.name: peft_name(a.name) for a in configuration.adapters}

        if configuration.routing == "mixed":

            def mixed(of_rows: Sequence[str]) -> AbstractContextManager[Any]:
                # As generate(adapter_names=...) does: once around all of its steps.
                hooks: AbstractContextManager[Any] = adapted._enable_peft_forward_hooks(
                    adapter_names=[names[name] for name in of_rows]
                )
                return hooks

            return Deployment(adapted, adapted, mixed=mixed)

        def switch(name: str) -> None:
            adapted.set_adapter(names[name], inference_mode=True)

        return Deployment(adapted, adapted, switch)
