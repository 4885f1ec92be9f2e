"""How large a model's parameters are, adapters' apart."""

from __future__ import annotations

from typing import Any

from raybench.model import stored_bytes


def parameter_bytes(model: Any) -> tuple[int, int]:
    """Bytes of the adapters' parameters in PEFT's layers (LoRA matrices, heads saved with them), and of all others."""
    adapters = others = 0
    for name, parameter in model.named_parameters():
        size = stored_bytes(parameter)
        if ".lora_" in name or ".modules_to_save." in name:
            adapters += size
        else:
            others += size
    return adapters, others
