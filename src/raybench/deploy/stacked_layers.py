"""Linear layers with all resident adapters as two tensors, of which an index chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from raybench.deploy.fused_layers import Computes, Group
from raybench.deploy.linear_layers import Beside, down, frozen, up
from raybench.deploy.lora_layers import LowRank
from raybench.deploy.switch import Switch
from raybench.records import RaybenchError


class _Part(NamedTuple):
    """Where a layer is in the stack of its group: from ``rank`` on ``ranks`` ranks, and its rows of the outputs."""

    path: str
    rank: int
    ranks: int
    rows: slice


class Stack(nn.Module):  # type: ignore[misc]
    """All adapters in the layers of one group. An adapter that leaves a layer alone has zeros there.

    ``downs`` of shape (adapters, in, ranks) and ``ups`` of shape (adapters, ranks, out), where each layer has as
    many ranks as its largest adapter. ``out``: outputs of the whole group, the adapted layers' first; zeros for those
    of the others keep what is added to in one piece, which batched products on a CPU take apart otherwise.
    ``layers``: of each layer what every adapter adds to it, by its path.
    """

    def __init__(
        self, layers: Mapping[str, Mapping[str, LowRank]], out: int, like: torch.Tensor, switch: Switch
    ) -> None:
        super().__init__()
        self.paths = tuple(layers)
        self.features = next(iter(next(iter(layers.values())).values())).down.shape[1]
        self.parts: list[_Part] = []
        rank = row = 0
        for path, layer in layers.items():
            ranks, size = max(len(pair.down) for pair in layer.values()), len(next(iter(layer.values())).up)
            self.parts.append(_Part(path, rank, ranks, slice(row, row + size)))
            rank, row = rank + ranks, row + size
        self.downs = frozen(like.new_zeros(switch.capacity, self.features, rank))
        self.ups = frozen(like.new_zeros(switch.capacity, rank, out))
        self.out, self.chosen = out, switch.chosen
        for place, name in enumerate(switch.names):
            self.put(place, {path: layer[name] for path, layer in layers.items() if name in layer})
        switch.layers.append(self)

    def check(self, name: str, brought: Mapping[str, LowRank]) -> None:
        """As `Holder` says."""
        for part in self.parts:
            pair = brought.get(part.path)
            if pair is None:
                continue
            size = part.rows.stop - part.rows.start
            if (pair.down.shape[1], len(pair.up)) != (self.features, size):
                raise RaybenchError(
                    f"{part.path}: adapter {name} is for a layer of {pair.down.shape[1]} inputs and {len(pair.up)} "
                    f"outputs, this one has {self.features} and {size}; it is of another model"
                )
            if len(pair.down) > part.ranks:
                raise RaybenchError(
                    f"{part.path}: adapter {name} has rank {len(pair.down)}, the largest that was stacked "
                    f"{part.ranks}; stack one of its rank too"
                )

    def put(self, place: int, brought: Mapping[str, LowRank]) -> None:
        """As `Holder` says."""
        downs, ups = self.downs[place].zero_(), self.ups[place].zero_()
        for part in self.parts:
            if part.path in brought:
                low, high = down(brought[part.path], downs), up(brought[part.path], ups)
                ranks = slice(part.rank, part.rank + len(low))
                downs[:, ranks] = low.t()
                ups[ranks, part.rows] = high

    def add_to(self, y: torch.Tensor, x: torch.Tensor, name: str) -> torch.Tensor:
        """``y`` with what the chosen adapters make of ``x``: in place but for a compiler, which would copy it first."""
        chosen = self.chosen
        chosen.check_rows(x, name)
        down, up = self.downs.index_select(0, chosen.index), self.ups.index_select(0, chosen.index)
        low = torch.bmm(x.reshape(chosen.rows, -1, self.features), down)
        if torch.compiler.is_dynamo_compiling():
            return y + torch.bmm(low, up).view(y.shape)
        y.view(chosen.rows, -1, self.out).baddbmm_(low, up)
        return y


class StackedLinear(Computes):
    """A group of linear layers: one product of their base weights, and what the chosen adapters add to it.

    A group of one keeps its weight where it is, shared with whatever shares it.
    """

    def __init__(
        self, group: Group, layers: Mapping[Any, Mapping[str, LowRank]], switch: Switch, places: Mapping[int, str]
    ) -> None:
        super().__init__()
        alone = len(group.members) == 1
        (base, *_) = group.members
        held = base.weight if alone and isinstance(base, nn.Linear) else None
        weight = group.weights[0] if alone else torch.cat(group.weights)
        self.fused = held if held is not None else frozen(weight)
        bias = base.bias.detach() if alone and base.bias is not None else group.bias(0)
        self.fused_bias = None if bias is None else frozen(bias)
        adapted = {places[id(member)]: layers[member] for member in group.adapted}
        self.stack = Stack(adapted, len(weight), weight, switch) if adapted else None
        self.name = places[id(group.members[0])]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., in) to the layer's own (..., out); the fellows' are kept for them."""
        y = functional.linear(x, self.fused, self.fused_bias)
        if self.stack is not None:
            y = self.stack.add_to(y, x, self.name)
        if not self.fellows:
            return y
        return self.hand_out(x, y.split_with_sizes(self.sizes, -1))


class StackedBeside(Beside):
    """The adapters beside a layer that computes in a way of its own, as a quantized one does."""

    def __init__(self, base: Any, layer: Mapping[str, LowRank], like: torch.Tensor, switch: Switch, name: str) -> None:
        super().__init__(base)
        out = len(next(iter(layer.values())).up)
        self.stack, self.name = Stack({name: layer}, out, like, switch), name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., in) to (..., out)."""
        y: torch.Tensor = self.base(x)
        return self.stack.add_to(y, x, self.name)
