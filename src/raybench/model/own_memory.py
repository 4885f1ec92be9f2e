"""Weights in memory of the model's own, one after the other, whatever way they were loaded.

On a CPU transformers leaves weights where the file is mapped, and a merge puts those that it changes elsewhere. The two
kinds of memory are not equally fast to read, and two models of one file share its pages: a merged adapter and a full
fine-tune, which compute the same, differed by 0.4 to 1.4 %, either way. Nobody deploys that difference.
"""

from __future__ import annotations

from typing import Any


def take_own_memory(model: Any) -> None:
    """Copy every plain parameter and buffer of a module on a CPU, in the model's order; what is shared stays shared.

    Weights of a quantizing library's own types stay where they are, and so does everything on another device, where
    loading copies it.
    """
    import torch

    copies: dict[tuple[object, ...], torch.Tensor] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        plain = type(tensor) in (torch.nn.Parameter, torch.Tensor) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu":
            continue
        key = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if key not in copies:
            copies[key] = tensor.data.clone()
        tensor.data = copies[key]
