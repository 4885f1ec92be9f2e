"""Linear layers with the same input as one product, their adapters' down-projections in it as further rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from raybench.deploy.linear_layers import down, frozen, rows, up
from raybench.deploy.lora_layers import LowRank
from raybench.records import RaybenchError


class Group:
    """Layers that are computed as one, in the order of their rows: those with an adapter first.

    ``members``: plain linear layers in the order in which a forward calls them. Of one data type, on one device.
    """

    def __init__(self, members: Sequence[Any], adapted: Mapping[Any, Any]) -> None:
        self.members = list(members)
        self.rows = sorted(members, key=lambda member: member not in adapted)
        self.weights = [rows(member) for member in self.rows]
        self.sizes = [len(weight) for weight in self.weights]
        self.adapted = [member for member in self.rows if member in adapted]
        self.adapted_size = sum(self.sizes[: len(self.adapted)])

    def bias(self, further: int) -> torch.Tensor | None:
        """Of all rows and ``further`` ones without; None where no layer has one."""
        if all(member.bias is None for member in self.rows):
            return None
        like = self.weights[0]
        biases = [
            like.new_zeros(size) if member.bias is None else member.bias.detach()
            for member, size in zip(self.rows, self.sizes, strict=True)
        ]
        return torch.cat([*biases, like.new_zeros(further)])

    def places(self, first: Computes, names: Mapping[int, str]) -> dict[Any, nn.Module]:
        """By layer what takes its place: ``first`` of the one that is called first, which computes for its fellows."""
        leader = self.members[0]
        first.start(self, self.rows.index(leader))
        return {leader: first} | {
            member: Fellow(first, self.rows.index(member), names[id(member)]) for member in self.members[1:]
        }


class Slices:
    """What the first of a group computed for its fellows, until each has taken its own.

    ``held``: the input and what was computed of it, written and read as one, so that a second thread in the same model
    meets an error and never the slices of another input.
    """

    __slots__ = ("awaited", "held")

    def __init__(self) -> None:
        self.held: tuple[torch.Tensor | None, Sequence[torch.Tensor]] = (None, ())
        self.awaited = 0


class Computes(nn.Module):  # type: ignore[misc]
    """The first of a group, which computes for all. ``fused``: the rows of all, shape (out of all, in)."""

    fused: nn.Parameter
    fused_bias: nn.Parameter | None

    def start(self, group: Group, place: int) -> None:
        """Its place among the rows, and how many fellows wait for theirs."""
        self.sizes, self.place, self.fellows = group.sizes, place, len(group.members) - 1
        self.slices = Slices()
        self.in_features, self.out_features = self.fused.shape[1], group.sizes[place]

    def hand_out(self, x: torch.Tensor, slices: Sequence[torch.Tensor]) -> torch.Tensor:
        """Keep the fellows' slices of what was computed of ``x``, and return one's own."""
        if self.fellows:
            kept = self.slices
            kept.held, kept.awaited = (x, slices), self.fellows
        return slices[self.place]

    def rows_at(self, place: int) -> slice:
        """Where the rows of one layer are."""
        first = sum(self.sizes[:place])
        return slice(first, first + self.sizes[place])

    @property
    def weight(self) -> torch.Tensor:
        """The layer's own, shape (out, in), a view: some models look at it."""
        return self.fused[self.rows_at(self.place)]

    @property
    def bias(self) -> torch.Tensor | None:
        """The layer's own, a view."""
        return None if self.fused_bias is None else self.fused_bias[self.rows_at(self.place)]


class Fellow(nn.Module):  # type: ignore[misc]
    """A layer of a group that another one computes."""

    def __init__(self, first: Computes, place: int, name: str) -> None:
        super().__init__()
        self.place, self.name, self.slices = place, name, first.slices
        object.__setattr__(self, "first", first)  # no child of this one: it has a place of its own in the model
        self.in_features, self.out_features = first.in_features, first.sizes[place]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Its slice, shape (..., out). Raises RaybenchError where ``x`` is not what the group's first was given."""
        kept = self.slices
        given, slices = kept.held
        if x is not given:
            raise RaybenchError(
                f"{self.name} was called with another input than the layers that it is fused with, or before the first "
                "of them: this forward is not the one by which they were found; give inputs that take this way, or use "
                "form lean"
            )
        kept.awaited -= 1
        if not kept.awaited:
            kept.held = (None, ())
        return slices[self.place]

    @property
    def weight(self) -> torch.Tensor:
        """Shape (out, in), a view of the group's."""
        return self.first.fused[self.first.rows_at(self.place)]

    @property
    def bias(self) -> torch.Tensor | None:
        """A view of the group's."""
        fused = self.first.fused_bias
        return None if fused is None else fused[self.first.rows_at(self.place)]


class FusedLinear(Computes):
    """One product of all base weights and all down-projections, to which one adds all up-projections.

    A group of one, with an adapter, is fused with its own down-projection.
    """

    def __init__(self, group: Group, pairs: Mapping[Any, LowRank]) -> None:
        super().__init__()
        like = group.weights[0]
        adapters = [pairs[member] for member in group.adapted]
        lows, ups = [down(pair, like) for pair in adapters], [up(pair, like) for pair in adapters]
        rank = sum(map(len, lows))
        self.fused = frozen(torch.cat([*group.weights, *lows]))
        bias = group.bias(rank)
        self.fused_bias = None if bias is None else frozen(bias)
        self.up = frozen(torch.block_diag(*(up.t() for up in ups)).t()) if adapters else None
        self.width, self.adapted = len(self.fused), len(group.adapted)
        rest = self.width - rank - group.adapted_size
        self.parts = [group.adapted_size, *([rest] if rest else []), rank]
        self.all_sizes = [*group.sizes, *([rank] if rank else [])]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., in) to the layer's own (..., out); the fellows' are kept for them."""
        y = functional.linear(x, self.fused, self.fused_bias)
        up = self.up  # looked up once: torch looks for parameters in three places
        if up is not None:
            if torch.compiler.is_dynamo_compiling():
                return self.hand_out(x, self._apart(y, up))
            parts = y.view(-1, self.width).split_with_sizes(self.parts, 1)
            parts[0].addmm_(parts[-1], up)
        return self.hand_out(x, y.split_with_sizes(self.all_sizes, -1))

    def _apart(self, y: torch.Tensor, up: torch.Tensor) -> list[torch.Tensor]:
        """The same for a compiler, which would copy what is added to in place, and adds in kernels that it writes."""
        slices = list(y.split_with_sizes(self.all_sizes, -1))
        added = torch.mm(slices[-1].reshape(-1, self.parts[-1]), up).view(*y.shape[:-1], -1)
        adapted = self.all_sizes[: self.adapted]
        for place, part in enumerate(added.split_with_sizes(adapted, -1)):
            slices[place] = slices[place] + part
        return slices
