"""Modules that adapters bring whole, as heads, all of them as tensors of which an index chooses."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from raybench.deploy.linear_layers import frozen
from raybench.deploy.stacked_layers import Switch
from raybench.records import RaybenchError


def stack_modules(modules: Sequence[Any], switch: Switch, name: str) -> nn.Module:
    """What takes the place of ``modules``, one of each adapter. Raises RaybenchError where their shapes differ."""
    shapes = [{key: (value.shape, value.dtype) for key, value in one.state_dict().items()} for one in modules]
    if any(shape != shapes[0] for shape in shapes):
        raise RaybenchError(f"{name}: the adapters' own modules are of several shapes; load each by itself")
    if type(modules[0]) is nn.Embedding and modules[0].max_norm is None:
        return StackedEmbedding(modules, switch, name)
    return StackedModule(modules, switch, name)


class StackedEmbedding(nn.Module):  # type: ignore[misc]
    """Embeddings of several adapters as one table; a row of ids looks in its adapter's part of it."""

    def __init__(self, modules: Sequence[nn.Embedding], switch: Switch, name: str) -> None:
        super().__init__()
        self.table = frozen(torch.cat([module.weight.detach() for module in modules]))
        self.num_embeddings, self.embedding_dim = modules[0].weight.shape
        self.padding_idx = modules[0].padding_idx
        self.switch, self.name = switch, name

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Of ids of shape (batch, tokens) to (batch, tokens, embedding_dim)."""
        self.switch.check_rows(ids, self.name)
        offset = (self.switch.index * self.num_embeddings).view(-1, *[1] * (ids.dim() - 1))
        return functional.embedding(ids + offset, self.table)


class StackedModule(nn.Module):  # type: ignore[misc]
    """Modules of any kind: the chosen one's parameters are taken out of the stack in each forward."""

    def __init__(self, modules: Sequence[Any], switch: Switch, name: str) -> None:
        super().__init__()
        states = [module.state_dict() for module in modules]
        self.keys = list(states[0])
        self.values = nn.ParameterList(frozen(torch.stack([state[key] for state in states])) for key in self.keys)
        # What to do with them; no child, it has no weights of its own.
        object.__setattr__(self, "shape", copy.deepcopy(modules[0]).to("meta").eval())
        self.switch, self.name = switch, name

    def forward(self, x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        """What the module of the chosen adapter gives; in a mixed batch of each row that of its own adapter."""
        switch = self.switch
        switch.check_rows(x, self.name)
        chosen = [values.index_select(0, switch.index) for values in self.values]
        if switch.rows == 1:
            return self._one([values[0] for values in chosen], x, *arguments, **named)
        one = torch.vmap(lambda values, row: self._one(values, row, *arguments, **named))
        return one(chosen, x.unsqueeze(1)).squeeze(1)

    def _one(self, values: Sequence[torch.Tensor], *arguments: Any, **named: Any) -> Any:
        return functional_call(self.shape, dict(zip(self.keys, values, strict=True)), arguments, named)
