"""The form lean: an adapter beside its base without PEFT's forward, in as few operations as two products take."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from raybench.deploy.linear_layers import Beside, down, frozen, is_plain, rows, up
from raybench.deploy.lora_layers import LowRank, Parts, active_adapter, put_in_place, take_apart


def lean(model: Any) -> Any:
    """The active adapter of a PeftModel beside its base, computed without PEFT's forward.

    Each adapted layer is its own product, the down-projection, and the up-projection added in place; the scaling is in
    B, the adapter in the data type of the base: no casts, no dropout, no hooks. Also on quantized layers, whose own
    forward is called. What an adapter brings whole (``modules_to_save``) takes its place. Returns the plain model,
    in evaluation mode; ``model`` is used up, as by ``merge_and_unload``.

    Raises RaybenchError where none or several adapters are active, or where one is more than plain LoRA.
    """
    with torch.inference_mode(False), torch.no_grad():
        parts = take_apart_active(model)
        dtype = next(weight.dtype for weight in parts.model.parameters() if weight.is_floating_point())
        while parts.low_rank:
            base, pairs = parts.low_rank.popitem()
            (pair,) = pairs.values()
            put_in_place(parts.model, {base: lean_layer(base, pair, dtype)})
    return parts.model


def take_apart_active(model: Any) -> Parts:
    """A PeftModel taken apart into its base and its active adapter, whose whole modules are already in their places."""
    name = active_adapter(model)
    parts = take_apart(model, [name])
    put_in_place(parts.model, {original: saved[name] for original, saved in parts.saved.items()})
    parts.saved.clear()
    parts.model.requires_grad_(False).eval()
    return parts


def lean_layer(base: Any, pair: LowRank, dtype: torch.dtype) -> nn.Module:
    """What takes the place of ``base``. ``dtype``: that of the products of a base which is quantized."""
    if is_plain(base):
        return LeanLinear(base, pair)
    return LeanBeside(base, pair, torch.empty(0, dtype=dtype, device=base.weight.device))


class LeanLinear(nn.Module):  # type: ignore[misc]
    """A linear layer with an adapter; its weight is the base's own, shared with whatever shares it."""

    def __init__(self, base: Any, pair: LowRank) -> None:
        super().__init__()
        self.weight = base.weight if isinstance(base, nn.Linear) else frozen(rows(base))
        self.bias = base.bias
        self.down, self.up = frozen(down(pair, rows(base))), frozen(up(pair, rows(base)))
        self.rank, self.out_features = self.up.shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., in) to (..., out)."""
        y = functional.linear(x, self.weight, self.bias)
        low = functional.linear(x, self.down)
        y.view(-1, self.out_features).addmm_(low.view(-1, self.rank), self.up)
        return y


class LeanBeside(Beside):
    """An adapter beside a layer that computes in a way of its own, as a quantized one does."""

    def __init__(self, base: Any, pair: LowRank, like: torch.Tensor) -> None:
        super().__init__(base)
        self.down, self.up = frozen(down(pair, like)), frozen(up(pair, like))
        self.rank, self.out_features = self.up.shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., in) to (..., out)."""
        y: torch.Tensor = self.base(x)
        low = functional.linear(x, self.down)
        y.view(-1, self.out_features).addmm_(low.view(-1, self.rank), self.up)
        return y
