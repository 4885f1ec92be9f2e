"""The bytes that one of PyTorch's operations reads and writes, of each tensor that it is given or makes.

Most read all that they are given and write all that they make. A lookup reads of its table the rows that it looks up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch.utils._pytree import tree_leaves

_aten: Final = torch.ops.aten
_UNWRITTEN: Final = frozenset(
    (_aten.empty, _aten.empty_like, _aten.empty_permuted, _aten.empty_strided, _aten.new_empty, _aten.new_empty_strided)
)
"""What they make is memory as it was."""
_LIKE: Final = (_aten.zeros_like, _aten.ones_like, _aten.full_like, _aten.rand_like, _aten.randn_like)
_SHAPE_ALONE: Final = frozenset((*_LIKE, _aten.new_zeros, _aten.new_ones, _aten.new_full))
"""Of what they are given they take the shape or the type."""
_WRITTEN_OVER: Final = frozenset((_aten.copy_, _aten.fill_, _aten.zero_, _aten.normal_, _aten.uniform_))
"""In place, and what was there is not read."""
_LOOKUPS: Final = frozenset(
    (_aten.embedding, _aten.gather, _aten.index, _aten._unsafe_index, _aten.index_select, _aten.take)
)
"""Of their first argument they read as much as they write."""
_INDEXED_PUTS: Final = frozenset((_aten.index_put_, _aten._index_put_impl_))
_SOURCE_PUTS: Final = frozenset((_aten.index_add_, _aten.index_copy_))
_SCATTERS: Final = frozenset((_aten.scatter_, _aten.scatter_add_))
_PUTS: Final = _INDEXED_PUTS | _SOURCE_PUTS | _SCATTERS
"""They write a part of their first argument."""
_ADDING: Final = frozenset((_aten.index_add_, _aten.scatter_add_))


def moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> Iterator[tuple[torch.Tensor, int]]:
    """What ``func`` reads and writes by a call that returned ``made``: tensors, and bytes of each."""
    packet = func._overloadpacket
    if packet in _UNWRITTEN:
        return
    if packet not in _SHAPE_ALONE:
        whole = args[1:] if packet in _LOOKUPS or packet in _PUTS or packet in _WRITTEN_OVER else args
        for tensor in read_tensors(func, whole, kwargs):
            yield tensor, _bytes(tensor)
    if packet in _PUTS:
        target = args[0]
        size = _elements_put(packet, args) * target.element_size()
        yield target, size * (2 if _adds(packet, args, kwargs) else 1)
        return
    for tensor in tensors(made):
        yield tensor, _bytes(tensor)
    if packet in _LOOKUPS:
        yield args[0], made.numel() * made.element_size()


def read_tensors(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors among these arguments, but those into which ``func`` is told to write alone."""
    return tensors((args, [value for name, value in kwargs.items() if name not in _written_only(func)]))


def tensors(values: Any) -> list[torch.Tensor]:
    """Those within nested ``values``."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _bytes(tensor: torch.Tensor) -> int:
    """An expanded one has in memory what it is expanded from."""
    if not tensor.numel():
        return 0
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    elements: int = math.prod(size for size, stride in strides if stride)
    return elements * int(tensor.element_size())


def _elements_put(packet: Any, args: tuple[Any, ...]) -> int:
    """How many elements are written. What is put may be smaller than its place: it is broadcast."""
    if packet in _INDEXED_PUTS:
        return int(_aten.index.Tensor(args[0], args[1]).numel())
    return int(args[3 if packet in _SOURCE_PUTS else 2].numel())


def _adds(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether what was there is read, too."""
    accumulates = packet in _INDEXED_PUTS and len(args) > 3 and args[3]
    return packet in _ADDING or "reduce" in kwargs or bool(accumulates)


@functools.cache
def _written_only(func: Any) -> frozenset[str]:
    """Keywords of an operation by which it is told where to write."""
    return frozenset(argument.name for argument in func._schema.arguments if argument.is_out)
