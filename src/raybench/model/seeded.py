"""LoRA adapters with seeded weights, for models that bring none."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from raybench.model.adapters import lora_layers, low_rank_factors, peft_name
from raybench.plan import Adapter
from raybench.records import InputError, TaskType

ADAPTER_STRENGTH = 0.3
"""Seeded adapters change each weight by about this share of its spread: enough that a wrong merge shows."""


def add_seeded_adapter(
    model: Any,
    adapter: Adapter,
    task_type: TaskType = "SEQ_CLS",
    *,
    autocast_adapter_dtype: bool,
    key: str | None = None,
) -> Any:
    """Add a LoRA adapter with seeded weights, B not zero, to a plain model or a PeftModel.

    ``key``: what PEFT calls it; None: as `peft_name` has it.
    Raises InputError where the model has not all of the adapter's target modules, or one that PEFT has no LoRA for.
    """
    import peft

    targets, key = adapter.target_modules, key or peft_name(adapter.name)
    assert isinstance(targets, tuple)  # a pattern, or none, only comes with a path
    have = [f".{name}" for name, _ in model.named_modules()]
    if absent := sorted(t for t in targets if not any(name.endswith(f".{t}") for name in have)):
        raise InputError(f"adapter {adapter.name}: the model has no module {', '.join(absent)}; mend target_modules")
    config = peft.LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        target_modules=list(targets),
        lora_dropout=0.0,
        task_type=task_type,
        inference_mode=True,
    )
    try:
        if isinstance(model, peft.PeftModel):
            model.add_adapter(key, config, autocast_adapter_dtype=autocast_adapter_dtype)
        else:
            model = peft.get_peft_model(model, config, key, autocast_adapter_dtype=autocast_adapter_dtype)
    except ValueError as error:
        raise InputError(f"adapter {adapter.name}: {error}; mend target_modules") from None
    seed_weights(model, adapter.name, adapter_seed(adapter), key)
    return model


def reseed(model: Any, key: str, adapter: Adapter, spreads: Mapping[Any, float] | None = None) -> None:
    """Give what PEFT calls ``key`` in a PeftModel, an adapter of its shape, the weights that ``adapter`` is drawn.

    ``spreads``: as `spreads_of` has found them, where the base has its weights no more.
    """
    from peft.utils.other import ModulesToSaveWrapper

    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):  # seeded weights are added to a head as the base has it
            module.modules_to_save[key].load_state_dict(module.original_module.state_dict())
    seed_weights(model, adapter.name, adapter_seed(adapter), key, spreads)


def spreads_of(model: Any, key: str) -> dict[Any, float]:
    """By LoRA layer with an adapter ``key`` the standard deviation of the weight that it changes."""
    return {
        layer: float(weight.float().std())
        for layer in lora_layers(model)
        if key in layer.r and (weight := _changed_weight(layer)) is not None
    }


def seed_weights(
    model: Any, name: str, seed: int, key: str | None = None, spreads: Mapping[Any, float] | None = None
) -> None:
    """Give adapter ``name`` of a PeftModel seeded weights: its LoRA layers, of whatever kind, and its copy of the head.

    ``key``: what PEFT calls it; None: as `peft_name` has it. ``spreads``: as `reseed`.
    Raises InputError with the name and kind of a layer that cannot be given any.
    """
    import torch

    key, generator = key or peft_name(name), torch.Generator().manual_seed(seed)
    places = {layer: place for place, layer in model.named_modules()}
    with torch.no_grad():
        for layer in lora_layers(model):
            if key not in layer.r:
                continue
            factors, changed = low_rank_factors(layer, key), _changed_weight(layer)
            if factors is None or changed is None:
                place = places[layer].removeprefix("base_model.model.")
                kind = type(layer.get_base_layer()).__name__
                raise InputError(
                    f"adapter {name}: {place} is a {kind}, whose LoRA layer raybench cannot fill; leave it out of "
                    "target_modules, or give the adapter a path"
                )
            a, b = factors
            # Each entry of scaling * B @ A then has ADAPTER_STRENGTH times the spread of the weight it changes. It is
            # a sum over the rank; B is as wide, but wider over several experts, and narrower in a grouped convolution.
            summed = min(layer.r[key], b.shape[1])
            scale = layer.scaling[key] * summed**0.5
            spread = float(changed.float().std()) if spreads is None else spreads[layer]
            a.copy_(torch.randn(a.shape, generator=generator))
            b.copy_(torch.randn(b.shape, generator=generator) * (ADAPTER_STRENGTH * spread / scale))
        for parameter_name, head in model.named_parameters():
            if f".modules_to_save.{key}." in parameter_name:
                spread = ADAPTER_STRENGTH * float(head.float().std()) if head.numel() > 1 else 0.0
                head.add_((torch.randn(head.shape, generator=generator) * spread).to(head))


def adapter_seed(adapter: Adapter) -> int:
    return zlib.crc32(adapter.name.encode()) + adapter.seed


def _changed_weight(layer: Any) -> Any:
    """The weight that a LoRA layer changes; None for one that has none of its own, or a quantized one."""
    target = layer.parameter_name if hasattr(layer, "parameter_name") else "weight"
    weight = getattr(layer.get_base_layer(), target, None)
    return weight if weight is not None and weight.is_floating_point() else None
