"""Many adapters that share a task, resident on one base: how they come there, and one more of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from raybench.deploy.parameters import parameter_bytes
from raybench.deploy.strategy import Deployment, LoadCosts
from raybench.model import AdapterSlot, Weights, adapter_shape, peft_name
from raybench.plan import Adapter, Configuration

ONE_MORE: Final = "raybench_one_more"
"""What the adapter is called that is added to those of a configuration, and removed."""


def by_switch(configuration: Configuration, model: Any, chosen: Any, names: Mapping[str, str]) -> Deployment:
    """``model`` with the switch of its form. ``names``: of each adapter that which the switch knows it by."""

    place = getattr(chosen, "place", None)  # of a stack alone

    def handle(name: str) -> Any:
        return names[name] if place is None else place(names[name])

    def mixed(of_rows: Sequence[str]) -> AbstractContextManager[None]:
        found: AbstractContextManager[None] = chosen.mixed([names[name] for name in of_rows])
        return found

    if configuration.routing == "mixed":
        return Deployment(model, model, mixed=mixed)
    return Deployment(model, model, chosen, handle=handle)


def many_stacked(configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
    """The configuration's adapters in form stacked, with room for one more.

    PEFT loads the first of each shape, by which the stack knows how large it must be; the others come one at a time
    through a slot: to load all of them beside each other takes PEFT longer with each.
    """
    from raybench.deploy.stacked_form import stacked

    adapters, slot = configuration.adapters, AdapterSlot(weights, configuration)
    first = _first_of_each_shape(adapters, weights)
    with costs.time("load"):
        base: Any = weights.base(configuration)
    with costs.time("adapter_load"):
        base = weights.attach_all(base, first, configuration)
    adapter_bytes, _ = parameter_bytes(base)
    with costs.time("form"):
        model, chosen = stacked(base, [peft_name(a.name) for a in first], capacity=len(adapters) + 1)
    loaded: Any = None
    with costs.time("adapter_load"):
        for adapter in adapters:
            if adapter not in first:
                before, loaded = loaded, slot.load(adapter)
                chosen.add(peft_name(adapter.name), loaded, slot.name)
                if loaded is not before:  # all that one model takes in turn are of one size
                    each = parameter_bytes(loaded)[0]
                adapter_bytes += each
    costs.adapter_bytes = adapter_bytes
    deployment = by_switch(configuration, model, chosen, {a.name: peft_name(a.name) for a in adapters})

    def add() -> None:
        chosen.add(ONE_MORE, slot.load(adapters[-1]), slot.name)

    def remove() -> None:
        chosen.remove(ONE_MORE)

    return dataclasses.replace(deployment, add=add, remove=remove)


def one_more_by_peft(deployment: Deployment, configuration: Configuration, weights: Weights) -> Deployment:
    """``deployment``, of a PeftModel, with PEFT's own ways to load an adapter beside others and to delete it."""
    last = configuration.adapters[-1]
    again = dataclasses.replace(last, name=ONE_MORE, path=weights.adapter_path(last))

    def add() -> None:
        weights.put_beside(deployment.model, again, configuration)

    def remove() -> None:
        deployment.model.delete_adapter(peft_name(ONE_MORE))

    return dataclasses.replace(deployment, add=add, remove=remove)


def _first_of_each_shape(adapters: Sequence[Adapter], weights: Weights) -> list[Adapter]:
    found: dict[str, Adapter] = {}
    for adapter in adapters:
        found.setdefault(adapter_shape(weights, adapter), adapter)
    return list(found.values())
