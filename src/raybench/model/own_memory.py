"""Weights in memory of the model's own, one after the other, whatever way they were loaded.

On a CPU transformers leaves weights where the file is mapped, and a merge puts those that it changes elsewhere. The two
kinds of memory are not equally fast to read, and two models of one file share its pages: a merged adapter and a full
fine-tune, which compute the same, differed by 0.4 to 1.4 %, either way. Nobody deploys that difference.
"""

from __future__ import annotations

import mmap
from typing import Any, Final

_ALIGNED_BYTES: Final = 64
"""As torch aligns what it allocates."""


def take_own_memory(model: Any) -> None:
    """Copy every plain parameter and buffer of a module on a CPU, in the model's order; what is shared stays shared.

    All of them into one piece of fresh memory, each behind the one before: an allocator would fill the holes that
    loading left, which a merge leaves others of. Weights of a quantizing library's own types stay where they are, and
    so does everything on another device, where loading copies it.
    """
    import torch

    found: dict[tuple[object, ...], list[torch.Tensor]] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        plain = type(tensor) in (torch.nn.Parameter, torch.Tensor) and tensor.layout == torch.strided
        if plain and tensor.device.type == "cpu" and tensor.numel():
            key = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            found.setdefault(key, []).append(tensor)
    if not found:
        return
    size = sum(_room(same[0]) for same in found.values())
    memory, place = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 0
    for same in found.values():
        old = same[0]
        flat = torch.frombuffer(memory, dtype=old.dtype, count=old.numel(), offset=place)
        new = flat.as_strided(old.shape, torch.empty_like(old, device="meta").stride())
        new.copy_(old.data)
        for tensor in same:
            tensor.data = new
        place += _room(old)


def _room(tensor: Any) -> int:
    size = int(tensor.numel()) * int(tensor.element_size())
    return -(-size // _ALIGNED_BYTES) * _ALIGNED_BYTES
