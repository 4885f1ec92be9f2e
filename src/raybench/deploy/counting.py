"""What a forward does, counted: operations dispatched, floating-point operations, bytes moved. The same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
import torch

_LOOK_UPS = {
    torch.ops.aten.embedding,
    torch.ops.aten.index_select,
    torch.ops.aten.index,
    torch.ops.aten.gather,
}
"""Operations that read of a table the rows that they return, and not all of it."""


class Counts(NamedTuple):
    """Of one call. ``operations``: what PyTorch dispatched to the device, views and what has no kernel apart.

    ``flops``: of matrix products, convolutions and attention, a multiplication and an addition counted apart, as
    `torch.utils.flop_counter` does. ``moved_bytes``: of the tensors that operations read and wrote, once for each
    operation, as if nothing stayed in a cache; of a table that is looked up the rows that were.
    """

    operations: int
    flops: int
    moved_bytes: int


def count(call: Callable[[], Any]) -> Counts:
    """Count what ``call`` does on this thread. What is compiled or captured dispatches nothing that could be counted."""
    with FlopCounterMode(display=False) as flops, _Dispatched() as seen:
        call()
    return Counts(seen.operations, flops.get_total_flops(), seen.moved_bytes)


class _Dispatched(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations = self.moved_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # What is made of other operations is not dispatched itself; they come by here.
        result = func.decompose(*args, **kwargs) if func._can_decompose() else NotImplemented
        if result is not NotImplemented:
            return result
        result = func(*args, **kwargs)
        written = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if func.is_view or not written:
            return result
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if func.overloadpacket in _LOOK_UPS:
            read = [*read[1:], *written]
        self.operations += 1
        self.moved_bytes += sum(tensor.numel() * tensor.element_size() for tensor in [*read, *written])
        return result
