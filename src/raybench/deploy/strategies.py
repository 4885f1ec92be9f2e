"""The strategies: one class each, and nothing else to change to add one; those from outside come by `plugins`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from raybench.deploy import plugins
from raybench.deploy.execution import executed
from raybench.deploy.forms import of_one, of_several
from raybench.deploy.merging import merge
from raybench.deploy.mixing import rows_of
from raybench.deploy.residents import by_switch, many_stacked, one_more_by_peft
from raybench.deploy.strategy import Deployment, LoadCosts, Strategy
from raybench.model import Weights, peft_name
from raybench.plan import Configuration
from raybench.records import InputError, StrategyTraits

__all__ = [
    "STRATEGIES",
    "Deployment",
    "LoadCosts",
    "Strategy",
    "all_traits",
    "deploy",
    "strategy",
    "strategy_class",
    "strategy_source",
]

STRATEGIES: dict[str, type[Strategy]] = {}
"""By name: raybench's own, and those from outside that have been asked for."""

_SOURCES: dict[str, str] = {}
"""The distribution and version of those from outside."""


def strategy(cls: type[Strategy]) -> type[Strategy]:
    """Make a strategy of raybench's own known under its name, to plans and to workers."""
    STRATEGIES[cls.traits.name] = cls
    return cls


def all_traits() -> Mapping[str, StrategyTraits]:
    """What plans are checked against: the traits of every strategy that there is.

    One from outside is known by its name; what it is, is imported when its traits are asked for, which raises
    InputError where it is not as it must be.
    """
    return _Traits()


def strategy_class(name: str) -> type[Strategy]:
    """Raises InputError where there is no such strategy, or one from outside is not as it must be."""
    if name not in STRATEGIES:
        _import(name, plugins.providers())
    return STRATEGIES[name]


def strategy_source(name: str) -> str | None:
    """Distribution and version of the strategy ``name``; None for raybench's own."""
    strategy_class(name)
    return _SOURCES.get(name)


def deploy(configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
    """Bring ``configuration`` up by its strategy, to be compiled or captured where it is called first, if at all."""
    return executed(strategy_class(configuration.strategy)().load(configuration, weights, costs), configuration)


class _Traits(Mapping[str, StrategyTraits]):
    @cached_property
    def _outside(self) -> plugins.Providers:
        return plugins.providers()

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*STRATEGIES, *self._outside))

    def __len__(self) -> int:
        return len(set(self))

    def __contains__(self, name: object) -> bool:
        return name in STRATEGIES or name in self._outside

    def __getitem__(self, name: str) -> StrategyTraits:
        if name not in self:
            raise KeyError(name)
        if name in STRATEGIES and name not in _SOURCES and name in self._outside:
            raise InputError(f"{plugins.told(self._outside[name][0])} has the name of raybench's own: rename it there")
        if name not in STRATEGIES:
            _import(name, self._outside)
        return STRATEGIES[name].traits


def _import(name: str, outside: plugins.Providers) -> None:
    cls, source = plugins.load(name, outside)
    alike = next((n for n, known in STRATEGIES.items() if known.traits.label == cls.traits.label), None)
    if alike is not None:
        raise InputError(
            f"{plugins.told(outside[name][0])} has the label {cls.traits.label!r}, which is that of {alike}: one row "
            "of the tables would be of both; relabel it there"
        )
    STRATEGIES[name], _SOURCES[name] = cls, source


def _base_with_adapters(configuration: Configuration, weights: Weights, costs: LoadCosts) -> Any:
    """The base with all of the configuration's adapters beside it, a PeftModel."""
    with costs.time("load"):
        model: Any = weights.base(configuration)
    with costs.time("adapter_load"):
        return weights.attach_all(model, configuration.adapters, configuration)


@strategy
class FullFineTune(Strategy):
    """All weights were fine-tuned: a model of its own for each task."""

    traits = StrategyTraits("full_ft", "Full FT", 0, 0, forms=("plain", "fused"))

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        with costs.time("load"):
            model = weights.fine_tuned(configuration)
        return of_one(model, configuration.form, costs)


@strategy
class LoraMerged(Strategy):
    """The adapter is folded into the base weights before serving.

    One that was trained on a quantized base is folded into the same base unquantized, as is done to serve it: that
    gives other answers than the adapter beside the quantized base, by as much as quantization changed them.
    """

    traits = StrategyTraits("lora_merged", "LoRA Merged", 1, 1, unquantized=True, forms=("plain", "fused"))
    reproduces_adapters = True

    @classmethod
    def is_exact(cls, configuration: Configuration) -> bool:
        return configuration.quantization is None

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        unquantized = dataclasses.replace(configuration, quantization=None)
        adapted = _base_with_adapters(unquantized, weights, costs)
        with costs.time("merge"):
            model, costs.untied_bytes = merge(adapted)
        return of_one(model, configuration.form, costs)


@strategy
class LoraSeparate(Strategy):
    """The adapter stays beside the base and is computed in every request."""

    traits = StrategyTraits("lora_separate", "LoRA Separate", 1, 1, forms=("peft", "lean", "fused"))
    adapter_alone = True

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        return of_one(_base_with_adapters(configuration, weights, costs), configuration.form, costs)


@strategy
class BaseBesideLora(Strategy):
    """Requests for the base itself where adapters are resident beside it: what these cost those that use none."""

    traits = StrategyTraits("base_beside_lora", "Base beside LoRA", 1, 4096, answers_by_base=True)

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        adapted = _base_with_adapters(configuration, weights, costs)
        adapted.base_model.disable_adapter_layers()
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
    """Several adapters resident on one base; each request makes its own the active one, or each row of a batch does."""

    traits = StrategyTraits("multi_lora", "Multi-adapter", 1, 4096, mixes=True, forms=("peft", "stacked", "remerge"))
    reproduces_adapters = True

    @classmethod
    def is_exact(cls, configuration: Configuration) -> bool:
        # LLM.int8() sets apart the inputs that are large anywhere in the batch: a row's answer depends on the others.
        return not (configuration.quantization == "bnb-int8" and configuration.routing == "mixed")

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        if configuration.form == "stacked" and len(configuration.tasks) == 1:
            return many_stacked(configuration, weights, costs)
        model = adapted = _base_with_adapters(configuration, weights, costs)
        names = {a.name: peft_name(a.name) for a in configuration.adapters}
        if configuration.form is not None:
            model, chosen = of_several(adapted, configuration.form, list(names.values()), costs)
            return by_switch(configuration, model, chosen, names)

        def switch(known: str) -> None:
            adapted.set_adapter(known, inference_mode=True)

        def mixed(of_rows: Sequence[str]) -> AbstractContextManager[None]:
            return rows_of(adapted, [names[name] for name in of_rows])

        if configuration.routing == "mixed":
            deployment = Deployment(model, model, mixed=mixed)
        else:
            deployment = Deployment(model, model, switch, handle=names.__getitem__)
        return one_more_by_peft(deployment, configuration, weights) if len(configuration.tasks) == 1 else deployment
