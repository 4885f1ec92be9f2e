"""Modules that adapters bring whole, as heads, all of them as tensors of which an index chooses."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from raybench.deploy.linear_layers import frozen
from raybench.deploy.switch import Switch
from raybench.records import RaybenchError


def stack_modules(original: Any, brought: Mapping[str, Any], switch: Switch, name: str) -> nn.Module:
    """What takes the place of ``original``: the module that each adapter brings, by its name, or else ``original``.

    Raises RaybenchError where their shapes differ.
    """
    modules = [brought.get(adapter, original) for adapter in switch.names]
    if any(_shapes(module) != _shapes(modules[0]) for module in modules):
        raise RaybenchError(f"{name}: the adapters' own modules are of several shapes; load each by itself")
    kind = StackedModule
    if type(original) is nn.Embedding and original.max_norm is None:
        kind = StackedEmbedding
    return kind(original, brought, switch, name)


class StackedModule(nn.Module):  # type: ignore[misc]
    """Modules of any kind: the chosen one's parameters are taken out of the stack in each forward.

    The last place, after those of all adapters, has the base's own module, for adapters that bring none.
    """

    def __init__(self, original: Any, brought: Mapping[str, Any], switch: Switch, name: str) -> None:
        super().__init__()
        first = next(iter(brought.values()))
        state = first.state_dict()
        self.keys, self.shapes = list(state), _shapes(first)
        self.values = nn.ParameterList(
            frozen(value.new_zeros(switch.capacity + 1, *value.shape)) for value in state.values()
        )
        # What to do with them; no child, it has no weights of its own.
        object.__setattr__(self, "shape", copy.deepcopy(original).to("meta").eval())
        self.chosen, self.name, self.paths = switch.chosen, name, (name,)
        self._write(switch.capacity, original)
        for place, adapter in enumerate(switch.names):
            self.put(place, {name: brought[adapter]} if adapter in brought else {})
        switch.modules.append(self)

    def check(self, name: str, brought: Mapping[str, Any]) -> None:
        """As `Holder` says."""
        if self.name in brought and _shapes(brought[self.name]) != self.shapes:
            raise RaybenchError(f"{self.name}: that of adapter {name} is of another shape than those that are stacked")

    def put(self, place: int, brought: Mapping[str, Any]) -> None:
        """As `Holder` says."""
        if self.name in brought:
            self._write(place, brought[self.name])
        else:
            for values in self.values:
                values[place] = values[-1]

    def _write(self, place: int, module: Any) -> None:
        for values, value in zip(self.values, module.state_dict().values(), strict=True):
            values[place] = value

    def forward(self, x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        """What the module of the chosen adapter gives; in a mixed batch of each row that of its own adapter."""
        chosen = self.chosen
        chosen.check_rows(x, self.name)
        weights = [values.index_select(0, chosen.index) for values in self.values]
        if chosen.rows == 1:
            return self._one([values[0] for values in weights], x, *arguments, **named)
        one = torch.vmap(lambda values, row: self._one(values, row, *arguments, **named))
        return one(weights, x.unsqueeze(1)).squeeze(1)

    def _one(self, values: Sequence[torch.Tensor], *arguments: Any, **named: Any) -> Any:
        return functional_call(self.shape, dict(zip(self.keys, values, strict=True)), arguments, named)


class StackedEmbedding(StackedModule):
    """Embeddings of several adapters as one table; a row of ids looks in its adapter's part of it."""

    def forward(self, x: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        """Of ids of shape (batch, tokens) to (batch, tokens, size)."""
        self.chosen.check_rows(x, self.name)
        tables = self.values[0]
        offset = (self.chosen.index * tables.shape[1]).view(-1, *[1] * (x.dim() - 1))
        return functional.embedding(x + offset, tables.view(-1, tables.shape[2]))


def _shapes(module: Any) -> dict[str, tuple[Any, Any]]:
    return {key: (value.shape, value.dtype) for key, value in module.state_dict().items()}
