"""What a call has PyTorch do: operations dispatched, their FLOPs and the bytes that they move.

By a `TorchDispatchMode`, which sees every operation below autograd, and the formulas of `torch.utils.flop_counter`.
A dispatch mode does not see into what torch.compile has generated: `compiled_operations_of` says what is done then.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from raybench.machine.moved import moved, read_tensors, tensors

_aten: Final = torch.ops.aten
_SAME_FLOPS: Final[Mapping[Any, Any]] = {
    _aten.addmm_: _aten.addmm,
    _aten.baddbmm_: _aten.baddbmm,
    _aten._scaled_dot_product_flash_attention_for_cpu: _aten._scaled_dot_product_flash_attention,
    _aten._scaled_dot_product_fused_attention_overrideable: _aten._scaled_dot_product_flash_attention,
}
"""Operations for which torch 2.13 has no formula, and those whose formula is theirs too."""
_DROPOUTS: Final = (_aten.dropout, _aten.alpha_dropout, _aten.feature_dropout, _aten.feature_alpha_dropout)
_KNOWN: Final = ("aten", "prim", "prims")
"""Namespaces of operations that compute no product unless there is a formula for it."""
_KERNEL: Final = re.compile(r"^ +cpp_fused_\w+\(", re.MULTILINE)
_SHIM: Final = re.compile(r"^ +AOTI_TORCH_ERROR_CODE_CHECK\(aoti_torch_cpu_\w+\(", re.MULTILINE)
"""How generated C++ calls a kernel of its own, and an operation of PyTorch's."""


@dataclasses.dataclass(slots=True)
class Operations:
    """Of one call. ``operations`` are all but ``views``: calls from Python that give a tensor another shape
    or nothing new at all.

    ``flops``: two for each multiplication with an addition, of ``products`` of matrices and of ``attention``, whose
    share is ``attention_flops``; what is masked is counted too. ``weight_bytes`` and ``activation_bytes``: what
    operations read and write, of the model's own tensors and of others; ``product_bytes``: what of both products do.
    ``generated``: kernels that a compiler has written, among ``operations``. ``unknown``: operations of which nobody
    says whether they compute products.
    """

    flops: int = 0
    attention_flops: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    product_bytes: int = 0
    operations: int = 0
    views: int = 0
    products: int = 0
    attention: int = 0
    generated: int = 0
    unknown: list[str] = dataclasses.field(default_factory=list)


def operations_of(call: Callable[[], object], weights: Iterable[torch.Tensor] = ()) -> Operations:
    """What one ``call`` has PyTorch do. ``weights``: the model's own tensors. Raises what ``call`` raises."""
    counting = _Counting(weights)
    with counting:
        call()
    return counting.found


def compiled_operations_of(
    step: Callable[[], AbstractContextManager[Callable[[], object]]], weights: Iterable[torch.Tensor] = ()
) -> Operations:
    """What one ``step`` of a model that torch.compile has compiled for a CPU, with its ``cpp_wrapper``, does.

    ``step`` is entered twice, and what it gives is called once each time: as a decoding step it may be ready once only.
    FLOPs and bytes are those of the same model uncompiled, which does the same products and attention: what generated
    kernels move is not seen, and is less. Operations are those that the generated C++ calls, by its text. Raises
    RuntimeError where no such code was called.
    """
    with step() as call, torch.compiler.set_stance("force_eager"):
        found = operations_of(call, weights)
    with step() as call:
        found.generated, others = _called_by_generated_code(call)
    found.operations, found.views = found.generated + others, 0
    return found


def _called_by_generated_code(call: Callable[[], object]) -> tuple[int, int]:
    """How many generated kernels, and how many of PyTorch's own operations, the generated C++ calls in one ``call``.

    It has no loops and no branches. The Python function beside it that enters it is called ``g``.
    """
    texts: list[str] = []

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_name == "g" and "cpp_wrapper_src" in frame.f_globals:
            texts.append(frame.f_globals["cpp_wrapper_src"])

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
    if not texts:
        raise RuntimeError("no code that torch.compile generated was called")
    return tuple(sum(len(kind.findall(text)) for text in texts) for kind in (_KERNEL, _SHIM))  # type: ignore[return-value]


class _Counting(TorchDispatchMode):  # type: ignore[misc]
    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.found, self._depth = Operations(), 0
        self._weights = {_storage(weight) for weight in weights}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, packet = kwargs or {}, func._overloadpacket
        formula = flop_registry.get(_SAME_FLOPS.get(packet, packet))
        if packet in _DROPOUTS and not args[2]:
            # Outside of training it is its input; in a dispatch mode, and there only, torch makes a copy of that.
            self.found.views += not self._depth
            return args[0]
        if formula is None and func is not torch.ops.prim.device.default:
            made = self._composite(func, args, kwargs)
            if made is not NotImplemented:
                return made
        made = func(*args, **kwargs)
        read, written = read_tensors(func, args, kwargs), tensors(made)
        if written or read:
            if written and not func._schema.is_mutable and {*map(_storage, written)} <= {*map(_storage, read)}:
                self.found.views += 1
            else:
                flops = formula and formula(*args, **kwargs, out_val=made)
                self._count(func, self._move(moved(func, args, kwargs, made)), flops)
        return made

    def _composite(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Of an operation that stands for others these are counted; NotImplemented where it stands for none.

        Views within it are a part of it: from C++ they cost a fraction of what one from Python does. Where there is
        nothing else in it, as in a cast to the type that it has, it counts as one view itself.
        """
        found, self._depth = self.found, self._depth + 1
        operations, views = found.operations, found.views
        try:
            with self:
                made = func.decompose(*args, **kwargs)
        finally:
            self._depth -= 1
        if made is not NotImplemented and not self._depth:
            found.views = views + (found.operations == operations)
        return made

    def _count(self, func: Any, bytes_moved: int, flops: int | None) -> None:
        found = self.found
        found.operations += 1
        if flops is not None:
            found.flops += flops
            if "attention" in func._schema.name:
                found.attention += 1
                found.attention_flops += flops
            else:
                found.products += 1
                found.product_bytes += bytes_moved
        elif func.namespace not in _KNOWN and func._schema.name not in found.unknown:
            found.unknown.append(func._schema.name)

    def _move(self, parts: Iterable[tuple[torch.Tensor, int]]) -> int:
        total = 0
        for tensor, size in parts:
            total += size
            if _storage(tensor) in self._weights:
                self.found.weight_bytes += size
            else:
                self.found.activation_bytes += size
        return total


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())
