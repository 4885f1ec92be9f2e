"""Which kinds of LoRA adapters are measured, by what adapter_config.json says, and which only alone on their base."""

from __future__ import annotations

from typing import Any

from raybench.records import InputError

_CHANGED_BASE = ("pissa", "olora")
"""Initializations that take the adapter's first weights out of the base, the same ones wherever it is loaded."""
_OTHER_BASE_EACH_TIME = ("pissa_niter", "corda", "loftq", "lora_ga")
"""Those that take other ones out of it than in training: by chance, or by data that is not there."""
_CONVERT = "convert it to plain LoRA, as PEFT's save_pretrained does with path_initial_model_for_weight_conversion"
_NOT_MEASURED = {
    "alora_invocation_tokens": "it changes only what comes after those tokens, so that it cannot be merged",
    "arrow_config": "it chooses among other adapters for each token",
    "kasa_config": "it takes the base's weights apart",
}
"""By their keys in the configuration, kinds that raybench could not hold against their base."""


def check_kind(where: str, config: Any) -> None:
    """Raises InputError, beginning with ``where``, for a kind that is not measured. ``config``: like a LoraConfig."""
    init = str(config.init_lora_weights)
    if init.lower().startswith(_OTHER_BASE_EACH_TIME):
        raise InputError(
            f"{where} has init_lora_weights {init[:40]!r}: loaded, it changes the base otherwise than when it was "
            f"trained; {_CONVERT}"
        )
    for key, why in _NOT_MEASURED.items():
        if getattr(config, key, None):
            raise InputError(f"{where} has {key}: {why}; such adapters are not measured")


def changes_base(config: Any) -> bool:
    """Whether PEFT, loading the adapter, takes its first weights out of the base, for all that use it."""
    return str(config.init_lora_weights).lower() in _CHANGED_BASE


def of_its_own_base(config: Any) -> str | None:
    """What of an adapter lies in the base that PEFT loaded it onto, as ``bias='all'``; None where nothing does."""
    init, bias = str(config.init_lora_weights), config.bias
    if init.lower().startswith((*_CHANGED_BASE, *_OTHER_BASE_EACH_TIME)):
        return f"init_lora_weights {init[:40]!r}"
    if bias != "none":
        return f"bias {bias!r}"
    return "layer_replication" if getattr(config, "layer_replication", None) else None


def why_alone(where: str, config: Any) -> str | None:
    """In one line, beginning with ``where``, why no other adapter can share its base; None where any can."""
    if changes_base(config):
        return (
            f"{where} has init_lora_weights {str(config.init_lora_weights)[:40]!r}: it changes the base itself, for "
            f"all that use it: measure it apart, or {_CONVERT}"
        )
    if getattr(config, "layer_replication", None):
        return f"{where} has layer_replication: it makes the base itself deeper, for all that use it: measure it apart"
    return None


def without_changing_base(config: Any) -> None:
    """Make a LoraConfig one that leaves the base as it is. The adapter then computes something else."""
    config.init_lora_weights = True
