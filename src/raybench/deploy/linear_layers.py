"""Weights of linear layers and of adapters, in the shapes in which the forms use them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from raybench.deploy.lora_layers import LowRank
from raybench.model import is_packed
from raybench.records import RaybenchError


def is_plain(module: Any) -> bool:
    """Whether a module is ``y = W x + b`` of numbers as they are, and its call nothing else: it can be computed apart.

    Not a class derived from one of the two, not quantized, and with no hooks or forward of its own, which a model that
    is spread over devices has.
    """
    return (
        type(module) in (nn.Linear, Conv1D)
        and not is_packed(module.weight)
        and type(module.weight) in (nn.Parameter, torch.Tensor)
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and "forward" not in vars(module)
    )


def rows(module: Any) -> torch.Tensor:
    """The weight of a plain linear module, shape (out, in), whichever way it holds it: no copy."""
    weight: torch.Tensor = module.weight.detach()
    return weight.t() if isinstance(module, Conv1D) else weight


def down(pair: LowRank, like: torch.Tensor) -> torch.Tensor:
    """A of an adapter in the data type and on the device of ``like``, shape (rank, in)."""
    return pair.down.to(like)


def up(pair: LowRank, like: torch.Tensor) -> torch.Tensor:
    """B of an adapter with its scaling in it, as the second factor of a product of rows, shape (rank, out).

    Scaled in float32 at least, and rounded once. In memory it lies as (out, rank), as the base's weights lie, so that
    one and the same kernel computes with both: on a CPU another one took 1 % of a small model's time.
    """
    wide = pair.up if pair.up.dtype == torch.float64 else pair.up.float()
    return (wide * pair.scaling).to(like).t()


def frozen(values: torch.Tensor) -> nn.Parameter:
    """A parameter that is never trained: it moves with its model, and is counted as its weight."""
    return nn.Parameter(values, requires_grad=False)


def check_unquantized(model: Any, why: str) -> None:
    """Raises RaybenchError, with ``why`` not and the remedy, where a weight of ``model`` is quantized."""
    for name, parameter in model.named_parameters():
        if is_packed(parameter):
            raise RaybenchError(f"{name} is quantized, and {why}")


class Beside(nn.Module):  # type: ignore[misc]
    """What adds to a layer that computes in a way of its own, as a quantized one does. ``base``: that layer."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base = base

    @property
    def weight(self) -> Any:
        """The base's, which some models look at."""
        return self.base.weight

    @property
    def bias(self) -> Any:
        """The base's."""
        return self.base.bias
