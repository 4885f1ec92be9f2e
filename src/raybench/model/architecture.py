"""What transformers makes of a checkpoint's configuration, and whether that is a model of the wanted kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from raybench.model.config_reader import ConfigReader
from raybench.model.families import family
from raybench.records import InputError, TaskType

_DECODERS = frozenset({"gpt_neox", "gpt_neox_japanese", "trocr"})
"""Model types with an ``is_decoder`` in their configuration that read from left to right whatever it says."""


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """``is_tied``: whether its head is its embedding.

    ``needs_padding_id``: whether it has no padding token, and is a classifier that reads from left to right, which
    finds the ends of the prompts of a batch by that.
    """

    is_tied: bool
    needs_padding_id: bool


def check_architecture(location: str, task_type: TaskType, configs: ConfigReader) -> Architecture:
    """Raises InputError where transformers cannot read the configuration at ``location``, or has no model for the task.

    Neither is one that goes both ways over its text, as BERT does, a language model, though transformers would open it.
    """
    config = configs.read(location)
    if "error" in config:
        raise InputError(f"{location}: {_why_unreadable(location, config['error'])}")
    wanted, model_type = family(task_type), config["model_type"]
    if config["is_encoder_decoder"]:
        raise InputError(not_supported(location, model_type))
    if wanted.class_of(model_type) is None:
        raise InputError(
            f"{location}: transformers has no {wanted.noun} of the model type {model_type}; take another base"
        )
    both_ways = config["is_decoder"] is False and model_type not in _DECODERS
    if task_type == "CAUSAL_LM" and both_ways:
        raise InputError(
            f"{location}: {model_type} is an encoder, which generates nothing, unless its config.json sets is_decoder; "
            'take a decoder, or set task_type = "SEQ_CLS" in the plan'
        )
    generates = not both_ways and family("CAUSAL_LM").class_of(model_type) is not None
    return Architecture(
        is_tied=config["is_tied"],
        needs_padding_id=generates and task_type == "SEQ_CLS" and not config["has_padding_id"],
    )


def not_supported(location: str, model_type: str) -> str:
    """What there is to say of an encoder-decoder."""
    return f"{location}: {model_type} is an encoder-decoder; encoder-decoder models are not supported"


def _why_unreadable(location: str, error: str) -> str:
    if "trust_remote_code" in error:
        return "it brings code of its own, which is not run; use a model that transformers knows"
    reason = " ".join(error.split())[:300]
    if Path(location).is_dir():
        return f"not readable by transformers: {reason}"
    return f"no such folder here, nor a model of that hub id: {reason}"
