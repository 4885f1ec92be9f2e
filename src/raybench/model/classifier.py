"""Whether transformers can make a sequence classifier of a checkpoint's configuration."""

from __future__ import annotations

from pathlib import Path

from raybench.records import InputError


def check_classifier(location: str) -> None:
    """Raises InputError where transformers cannot read the configuration at ``location``, or knows no classifier."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    try:
        model_type = AutoConfig.from_pretrained(location, trust_remote_code=False).model_type
    except Exception as error:  # noqa: BLE001  odd values make it raise anything
        raise InputError(f"{location}: {_why_unreadable(location, error)}") from None
    if model_type not in KNOWN:
        raise InputError(
            f"{location}: transformers has no sequence classifier of the model type {model_type}; take another base"
        )


def _why_unreadable(location: str, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "it brings code of its own, which is not run; use a model that transformers knows"
    reason = " ".join(str(error).split())[:300]
    if Path(location).is_dir():
        return f"not readable by transformers: {reason}"
    return f"no such folder here, nor a model of that hub id: {reason}"
