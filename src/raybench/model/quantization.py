"""Bases whose linear layers hold their weights in 8 or 4 bits, made so as they are loaded (QLoRA, LLM.int8())."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from raybench.plan import Configuration, first_of
from raybench.records import InputError, TaskType

PACKAGES: Final[Mapping[str, str]] = {"bnb-nf4": "bitsandbytes", "bnb-int8": "bitsandbytes", "torchao-int8": "torchao"}
"""By the way to quantize what must be installed."""

_HEADS = [r"(?:.*\.)?(?:score|(?:pre_)?classifier|classification_head|logits_proj|sequence_summary|pooler)"]
"""What transformers leaves unquantized of a classifier, told as it wants it: a pattern for the start of a name."""


def quantization_problems(
    configuration: Configuration,
    kind: Literal["preset_files", "preset_device", "prepared", "checkpoint", "served"] | None,
) -> Iterator[str]:
    """What keeps ``configuration`` from having its base quantized, a line each. ``kind``: of the model, if known."""
    way = configuration.quantization
    if way is None:
        return
    said = f"configuration {configuration.name}: quantization {way}"
    if importlib.util.find_spec(PACKAGES[way]) is None:
        yield (
            f"quantization {way} takes the package {PACKAGES[way]}, which is not installed: install "
            "raybench[quantization]"
        )
    if kind == "preset_device":
        yield f"{said} takes a model that has files: this one is filled on the device; name a checkpoint"
    seeded = [adapter.name for adapter in configuration.adapters if adapter.path is None]
    if kind == "checkpoint" and seeded:
        yield (
            f"{said} takes adapters that have files: {first_of(seeded, 1)} is drawn by the size of the weights that it "
            "changes; give it a path"
        )


def loading_options(way: str | None, dtype: Any, device_kind: str, task_type: TaskType) -> dict[str, Any]:
    """What ``from_pretrained`` is told to quantize a model; nothing where it is not to.

    ``bnb-nf4``: 4-bit NF4, its scales quantized as well, as QLoRA has it (Dettmers et al., arXiv 2305.14314), computed
    in ``dtype``. ``bnb-int8``: LLM.int8() (arXiv 2208.07339). ``torchao-int8``: weights only, a scale for each output.
    Heads are not quantized: adapters bring theirs as they were trained, and what is drawn is drawn.
    """
    if way is None:
        return {}
    import transformers

    # To each forward on a CPU it says that it computes in float16; in a visit nobody reads that.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    kept = _HEADS if task_type == "SEQ_CLS" else None  # None: transformers leaves out a language model's head itself
    config: Any
    if way == "bnb-nf4":
        config = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=kept,
        )
    elif way == "bnb-int8":
        config = transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    else:
        from torchao.quantization import Int8WeightOnlyConfig

        config = transformers.TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=kept)
    return {"quantization_config": config, "device_map": {"": device_kind}}


def check_quantized(model: Any, missing: Iterable[str], location: str, way: str) -> None:
    """Raises InputError where nothing of ``model`` is quantized, or what its files lack would be.

    ``missing``: names of parameters that the files of ``location`` lack, and that are to be drawn.
    """
    packed = {name for name, parameter in model.named_parameters() if is_packed(parameter)}
    if not packed:
        raise InputError(
            f"{location}: quantization {way} finds no linear layer in it; measure it without, or by bnb-nf4"
        )
    if drawn := sorted(packed.intersection(missing)):
        raise InputError(
            f"{location}: the weights have no {first_of(drawn, 3)}, which would be drawn, and cannot be in quantized "
            "layers; measure it without quantization"
        )


def is_packed(parameter: Any) -> bool:
    """Whether a parameter holds its values in another form than one number after the other."""
    return not parameter.is_floating_point() or hasattr(parameter, "__tensor_flatten__")


def stored_bytes(parameter: Any) -> int:
    """What a parameter takes: of a quantized one its packed values and the scales that go with them."""
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in _tensors(parameter)}.values())


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if not isinstance(value, torch.Tensor):  # bitsandbytes' quantization state, which may have one of its own
        for inner in vars(value).values() if hasattr(value, "absmax") else ():
            yield from _tensors(inner) if isinstance(inner, torch.Tensor) or hasattr(inner, "absmax") else ()
    elif hasattr(value, "__tensor_flatten__"):
        for name in value.__tensor_flatten__()[0]:
            yield from _tensors(getattr(value, name))
    else:
        yield value
        for name in ("quant_state", "SCB"):
            if (scales := getattr(value, name, None)) is not None:
                yield from _tensors(scales)
