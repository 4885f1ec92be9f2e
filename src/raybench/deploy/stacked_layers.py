"""Linear layers with all resident adapters as two tensors, of which an index chooses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from raybench.deploy.fused_layers import Computes, Group
from raybench.deploy.linear_layers import Beside, down, frozen, up
from raybench.deploy.lora_layers import LowRank
from raybench.records import RaybenchError


class Switch:
    """Chooses among resident adapters for all layers of a model at once.

    ``index``: an integer tensor that the layers read, of shape (1,), or in a mixed batch of one for each row. Called
    with a name it writes that one integer, however many adapters are resident.
    """

    def __init__(self, names: Sequence[str], device: Any) -> None:
        self._places = {name: place for place, name in enumerate(names)}
        self._one = torch.zeros(1, dtype=torch.int64, device=device)
        self._of_rows: dict[int, torch.Tensor] = {}
        self._choose(None)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the adapters, in their order."""
        return tuple(self._places)

    def __call__(self, name: str) -> None:
        """From now on the model computes by adapter ``name``. Raises RaybenchError where it is none of them."""
        self._one.fill_(self._place(name))

    @contextlib.contextmanager
    def mixed(self, names: Sequence[str]) -> Iterator[None]:
        """In it row i of each forward is computed by adapter ``names[i]``; afterwards by the one that was chosen.

        Raises RaybenchError where one is not resident, and, in a forward, where the batch has another number of rows.
        """
        places = [self._place(name) for name in names]
        if not places:
            raise RaybenchError("a mixed batch has no rows; name an adapter for each")
        before = self._of_batch
        self._choose(places)
        try:
            yield
        finally:
            self._choose(before)

    def _choose(self, of_batch: list[int] | None) -> None:
        """Let the layers read one integer for each row of a batch; None: the one of all."""
        self._of_batch, self._mixes = of_batch, of_batch is not None
        if of_batch is None:
            self.index, self.rows = self._one, 1
            return
        self.rows = len(of_batch)
        if self.rows not in self._of_rows:
            with torch.inference_mode(False):  # or it could be written to in that mode alone
                self._of_rows[self.rows] = self._one.new_empty(self.rows)
        self.index = self._of_rows[self.rows]  # one tensor for each number of rows, where a captured graph finds it
        self.index.copy_(torch.tensor(of_batch))

    def check_rows(self, x: torch.Tensor, name: str) -> None:
        """Raises RaybenchError where the first dimension of a layer's input is not that of the mixed batch."""
        if self._mixes and x.shape[0] != self.rows:
            raise RaybenchError(
                f"{name}: its input has {x.shape[0]} rows, adapters are named for {self.rows}; name one for each row "
                "of the batch"
            )

    def _place(self, name: str) -> int:
        if name not in self._places:
            raise RaybenchError(f"no adapter {name} is stacked; there are {', '.join(self._places)}")
        return self._places[name]


class Stack(nn.Module):  # type: ignore[misc]
    """All adapters in the layers of one group. An adapter that leaves a layer alone has zeros there.

    ``downs`` of shape (adapters, in, ranks) and ``ups`` of shape (adapters, ranks, out), where each layer has as
    many ranks as its largest adapter. ``out``: outputs of the whole group, the adapted layers' first; zeros for those
    of the others keep what is added to in one piece, which batched products on a CPU take apart otherwise.
    """

    def __init__(self, layers: Sequence[Mapping[str, LowRank]], out: int, like: torch.Tensor, switch: Switch) -> None:
        super().__init__()
        ranks = [max(len(pair.down) for pair in layer.values()) for layer in layers]
        sizes = [len(next(iter(layer.values())).up) for layer in layers]
        features = next(iter(layers[0].values())).down.shape[1]
        count = len(switch.names)
        downs, ups = like.new_zeros(count, features, sum(ranks)), like.new_zeros(count, sum(ranks), out)
        for place, name in enumerate(switch.names):
            rank = row = 0
            for layer, most, size in zip(layers, ranks, sizes, strict=True):
                if name in layer:
                    low, high = down(layer[name], like), up(layer[name], like)
                    downs[place, :, rank : rank + len(low)] = low.t()
                    ups[place, rank : rank + len(low), row : row + size] = high
                rank, row = rank + most, row + size
        self.downs, self.ups = frozen(downs), frozen(ups)
        self.features, self.out, self.switch = features, out, switch

    def add_to(self, y: torch.Tensor, x: torch.Tensor, name: str) -> None:
        """Add what the chosen adapters make of ``x`` to ``y``, in place."""
        switch = self.switch
        switch.check_rows(x, name)
        down, up = self.downs.index_select(0, switch.index), self.ups.index_select(0, switch.index)
        low = torch.bmm(x.reshape(switch.rows, -1, self.features), down)
        y.view(switch.rows, -1, self.out).baddbmm_(low, up)


class StackedLinear(Computes):
    """A group of linear layers: one product of their base weights, and what the chosen adapters add to it.

    A group of one keeps its weight where it is, shared with whatever shares it.
    """

    def __init__(self, group: Group, layers: Mapping[Any, Mapping[str, LowRank]], switch: Switch, name: str) -> None:
        super().__init__()
        alone = len(group.members) == 1
        (base, *_) = group.members
        held = base.weight if alone and isinstance(base, nn.Linear) else None
        weight = group.weights[0] if alone else torch.cat(group.weights)
        self.fused = held if held is not None else frozen(weight)
        bias = base.bias.detach() if alone and base.bias is not None else group.bias(0)
        self.fused_bias = None if bias is None else frozen(bias)
        adapted = [layers[member] for member in group.adapted]
        self.stack = Stack(adapted, len(weight), weight, switch) if adapted else None
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., in) to the layer's own (..., out); the fellows' are kept for them."""
        y = functional.linear(x, self.fused, self.fused_bias)
        if self.stack is not None:
            self.stack.add_to(y, x, self.name)
        if not self.fellows:
            return y
        return self.hand_out(x, y.split_with_sizes(self.sizes, -1))


class StackedBeside(Beside):
    """The adapters beside a layer that computes in a way of its own, as a quantized one does."""

    def __init__(self, base: Any, layer: Mapping[str, LowRank], like: torch.Tensor, switch: Switch, name: str) -> None:
        super().__init__(base)
        out = len(next(iter(layer.values())).up)
        self.stack, self.name = Stack([layer], out, like, switch), name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., in) to (..., out)."""
        y: torch.Tensor = self.base(x)
        self.stack.add_to(y, x, self.name)
        return y
