"""Whether transformers can make a model of the wanted kind of a checkpoint's configuration."""

from __future__ import annotations

from pathlib import Path

from raybench.model.families import family
from raybench.records import InputError, TaskType


def check_architecture(location: str, task_type: TaskType) -> None:
    """Raises InputError where transformers cannot read the configuration at ``location``, or knows no such model."""
    from transformers import AutoConfig

    try:
        model_type = AutoConfig.from_pretrained(location, trust_remote_code=False).model_type
    except Exception as error:  # noqa: BLE001  odd values make it raise anything
        raise InputError(f"{location}: {_why_unreadable(location, error)}") from None
    wanted = family(task_type)
    if wanted.class_of(model_type) is None:
        raise InputError(
            f"{location}: transformers has no {wanted.noun} of the model type {model_type}; take another base"
        )


def _why_unreadable(location: str, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "it brings code of its own, which is not run; use a model that transformers knows"
    reason = " ".join(str(error).split())[:300]
    if Path(location).is_dir():
        return f"not readable by transformers: {reason}"
    return f"no such folder here, nor a model of that hub id: {reason}"
