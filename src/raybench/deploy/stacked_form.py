"""The form stacked: all resident adapters as tensors, of which one integer chooses, or one for each row of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from raybench.deploy.fused_layers import Group
from raybench.deploy.linear_layers import is_plain
from raybench.deploy.lora_layers import LowRank, check_shares_base, put_in_place, take_apart
from raybench.deploy.shared_inputs import fellows
from raybench.deploy.stacked_layers import StackedBeside, StackedLinear
from raybench.deploy.stacked_modules import stack_modules
from raybench.deploy.switch import Switch
from raybench.records import RaybenchError


def stacked(
    model: Any, names: Sequence[str], inputs: Mapping[str, Any] | None = None, *, capacity: int | None = None
) -> tuple[Any, Switch]:
    """The adapters ``names`` of a PeftModel beside its base, with a switch that chooses one of them.

    In each layer they are two tensors, of as many ranks as the largest has; layers that are given the same input are
    fused as by `fused`, whose ``inputs`` these are. Modules that adapters bring whole are chosen with them. Returns the
    plain model, in evaluation mode, and the `Switch`: ``switch(name)`` writes one integer, however many adapters there
    are; in ``with switch.mixed(names)`` row i of each batch is computed by ``names[i]``. The first of ``names`` is
    chosen. With a ``capacity`` there is room for so many: ``switch.add(name, peft_model)`` makes another resident, of
    no other layers and no larger ranks than ``names`` have, and ``switch.remove(name)`` gives its place back. ``model``
    is used up.

    Raises RaybenchError where a name is no adapter of the model or twice there, where an adapter is more than plain
    LoRA, where their own modules differ in shape, where there is no room for them, where one that changes the base
    itself is to have room for others beside it, and where the forward that finds fellows fails.
    """
    if capacity is not None and capacity < len(names):
        raise RaybenchError(f"capacity {capacity} is too small for {len(names)} adapters")
    with torch.inference_mode(False), torch.no_grad():
        if capacity is not None and capacity > len(names):
            for name, config in getattr(model, "peft_config", {}).items():
                check_shares_base(name, config)
        parts = take_apart(model, names)
        plain, layers = parts.model, parts.low_rank
        dtype = next(weight.dtype for weight in plain.parameters() if weight.is_floating_point())
        switch = Switch(names, len(names) if capacity is None else capacity, next(plain.parameters()).device)
        places = {id(module): name for name, module in plain.named_modules()}
        groups = fellows(plain, inputs)
        grouped = {member for group in groups for member in group}
        groups += [[base] for base in layers if base not in grouped]
        del grouped
        for original, saved in parts.saved.items():
            put_in_place(plain, {original: stack_modules(original, saved, switch, places[id(original)])})
        while groups:
            _stack(plain, groups.pop(), layers, switch, places, dtype)
        plain.requires_grad_(False).eval()
    return plain, switch


def _stack(
    model: Any,
    members: list[Any],
    layers: dict[Any, dict[str, LowRank]],
    switch: Switch,
    places: Mapping[int, str],
    dtype: torch.dtype,
) -> None:
    """Put the layers of one group in place; nothing of the weights that they were is left here afterwards."""
    first = members[0]
    if is_plain(first):
        group = Group(members, layers)
        put_in_place(model, group.places(StackedLinear(group, layers, switch, places), places))
    else:
        like = torch.empty(0, dtype=dtype, device=first.weight.device)
        put_in_place(model, {first: StackedBeside(first, layers[first], like, switch, places[id(first)])})
    for member in members:
        layers.pop(member, None)
