"""What is known of a LoRA adapter from its files alone: adapter_config.json and the header of its weights."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from raybench.model.adapter_kinds import check_kind
from raybench.model.adapters import WEIGHTS
from raybench.model.checkpoint_files import is_vocabulary, labels_in
from raybench.model.families import FAMILIES, family
from raybench.model.files import FromFile, holds_only_zeros, read_json, read_json_object, tensor_shapes
from raybench.model.hub import ModelFiles
from raybench.plan import first_of
from raybench.records import InputError, TaskType

CONFIG = "adapter_config.json"

_Names = Annotated[list[str], Field(max_length=1_000_000)]
_PREFIX = "base_model.model."
_TOKENS = ".token_adapter.trainable_tokens_delta"
_LORA = re.compile(r"\.lora_(?:embedding_)?([AB])(?:\.weight)?$|\.lora_magnitude_vector(?:\.weight)?$|\.lora_B\.bias$")
_MADE_ZERO = re.compile(r"\.lora_(?:B|embedding_A)(?:\.weight)?$")
"""The matrix of each module that is 0 before any training, unless ``init_lora_weights`` says otherwise."""

_KNOWN_KEYS = frozenset(
    """
    alora_invocation_tokens alpha_pattern arrow_config auto_mapping base_model_name_or_path bias corda_config
    ensure_weight_tying eva_config exclude_modules fan_in_fan_out inference_mode init_lora_weights kasa_config
    layer_replication layers_pattern layers_to_transform loftq_config lora_alpha lora_bias lora_dropout lora_ga_config
    megatron_config megatron_core modules_to_save monteclora_config peft_type peft_version qalora_group_size r
    rank_pattern revision runtime_config target_modules target_parameters task_type trainable_token_indices use_bdlora
    use_dora use_qalora use_rslora velora_config
    """.split()  # noqa: SIM905
)
"""What PEFT 0.21.2 reads of a LoRA adapter's configuration: its LoraConfig's fields. Others it leaves out."""


class _Kind(FromFile):
    peft_type: str


class AdapterConfig(FromFile):
    """What is needed of an adapter_config.json."""

    peft_type: str
    task_type: str | None = None
    auto_mapping: dict[str, Any] | None = None
    base_model_name_or_path: str | None = None
    r: Annotated[int, Field(ge=1, le=1_000_000)] = 8
    lora_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    target_modules: _Names | str | None = None
    target_parameters: _Names | None = None
    exclude_modules: _Names | str | None = None
    layers_to_transform: list[int] | int | None = None
    alpha_pattern: dict[str, float] | None = None
    modules_to_save: _Names | None = None
    bias: str = "none"
    ensure_weight_tying: bool | None = False
    init_lora_weights: bool | str | None = True
    use_dora: bool | None = False
    alora_invocation_tokens: Any = None
    arrow_config: Any = None
    kasa_config: Any = None
    layer_replication: Any = None

    @property
    def targets(self) -> tuple[str, ...] | str:
        """``target_modules``, in order; empty where it has only ``target_parameters``."""
        chosen = self.target_modules or ()
        return chosen if isinstance(chosen, str) else tuple(sorted(chosen))

    @property
    def parameters(self) -> tuple[str, ...]:
        """``target_parameters``, in order."""
        return tuple(sorted(self.target_parameters or ()))


@dataclasses.dataclass(frozen=True)
class AdapterFiles:
    """An adapter's configuration, and its tensors' shapes by name.

    ``unknown``: keys of the configuration that say something and that PEFT did not have when this was written.
    ``is_zero``: whether of each module one LoRA matrix is 0, as PEFT makes them before any training.
    """

    location: str
    config: AdapterConfig
    shapes: Mapping[str, tuple[int, ...]]
    unknown: tuple[str, ...] = ()
    task_type: TaskType = "SEQ_CLS"
    is_zero: bool = False

    @classmethod
    def read(cls, location: str, files: ModelFiles, task_type: TaskType = "SEQ_CLS") -> AdapterFiles:
        """A folder's or hub repository's. Raises InputError where it is no LoRA adapter for ``task_type``."""
        path = files.path(location, CONFIG)
        _check_place(path)
        kind = read_json(path, _Kind).peft_type
        if kind != "LORA":
            raise InputError(f"{path}: peft_type is {kind[:40]}; only LoRA adapters (LORA) are measured")
        config = read_json(path, AdapterConfig)
        if config.task_type not in (None, task_type):
            raise InputError(f"{path}: task_type is {config.task_type[:40]}{_remedy(config.task_type, task_type)}")
        check_kind(str(path), config)
        model_class = (config.auto_mapping or {}).get("base_model_class")
        wanted = family(task_type)
        if config.task_type is None and model_class and not wanted.has_class(str(model_class)):
            raise InputError(
                f"{path}: it was made on a {str(model_class)[:60]}, in which modules have other names than in a "
                f"{wanted.noun}; make it on one from {wanted.auto_name}"
            )
        weights = files.path(location, WEIGHTS)
        if Path(location).is_dir() and not weights.is_file():
            raise InputError(f"{location}: no {WEIGHTS}; only safetensors adapters are loaded")
        found = cls(location, config, tensor_shapes(weights), _unknown(path), task_type)
        if not found.ranks and not config.target_parameters:
            raise InputError(f"{weights}: no LoRA weights in it; save the adapter anew by save_pretrained")
        made_zero = [name for name in found.shapes if _MADE_ZERO.search(name)]
        return dataclasses.replace(found, is_zero=bool(made_zero) and holds_only_zeros(weights, made_zero))

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The rank of each module that has LoRA weights, by the module's name in the model."""
        found: dict[str, int] = {}
        for name, shape in self.shapes.items():
            match = _LORA.search(name)
            if match and match[1] == "A" and len(shape) > 0:
                found[name[: match.start()].removeprefix(_PREFIX)] = shape[0]
        return found

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Of each module with LoRA matrices its inputs and outputs."""
        inputs: dict[str, int] = {}
        outputs: dict[str, int] = {}
        for name, shape in self.shapes.items():
            match = _LORA.search(name)
            if match and len(shape) == 2 and "embedding" not in match[0]:
                module = name[: match.start()].removeprefix(_PREFIX)
                if match[1] == "A":
                    inputs[module] = shape[1]
                elif match[1] == "B":
                    outputs[module] = shape[0]
        return {module: (inputs[module], outputs[module]) for module in inputs if module in outputs}

    @cached_property
    def own_modules(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Whole modules that it brings (``modules_to_save``) and embeddings of single tokens, by name their tensors."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, shape in self.shapes.items():
            inner = name.removeprefix(_PREFIX)
            if inner.endswith(_TOKENS):
                found.setdefault(inner.removesuffix(_TOKENS), {})["weight"] = shape
            elif ".lora_" not in name:
                for module in self.config.modules_to_save or ():
                    before, there, tensor = f".{inner}".partition(f".{module}.")
                    if there:
                        found.setdefault(f"{before}.{module}".removeprefix("."), {})[tensor] = shape
                        break
        return found

    @cached_property
    def biased(self) -> tuple[str, ...]:
        """Modules whose LoRA weights have a bias (``lora_bias``), by their names in the model."""
        end = ".lora_B.bias"
        return tuple(sorted(n.removeprefix(_PREFIX).removesuffix(end) for n in self.shapes if n.endswith(end)))

    @property
    def labels(self) -> int | None:
        """Labels of the classifier that it brings; None where it brings none."""
        return labels_in(self.others) if self.task_type == "SEQ_CLS" else None

    @cached_property
    def others(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it brings besides LoRA weights, by names in the model: heads, embeddings, single tokens."""
        return {n.removeprefix(_PREFIX): shape for n, shape in self.shapes.items() if ".lora_" not in n}

    @property
    def trains_tokens(self) -> bool:
        """Whether it has embeddings of single tokens (``trainable_token_indices``)."""
        return any(name.endswith(_TOKENS) for name in self.shapes)

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Tokens of each embedding and language model's head that it changes or brings, by the module's name."""
        matrices = {name: shape for name, shape in self.shapes.items() if len(shape) == 2}
        found: dict[str, int] = {}
        for end, side in (("lora_B.weight", 0), ("lora_embedding_A", 1), ("base_layer.weight", 0), ("weight", 0)):
            for name, shape in matrices.items():
                module = name.removeprefix(_PREFIX).removesuffix(f".{end}")
                if name.endswith(f".{end}") and is_vocabulary(module):
                    found.setdefault(module, shape[side])
        return found


def _check_place(config: Path) -> None:
    """Raises InputError where an adapter lies a folder deeper, as PEFT saves all that are not called "default"."""
    if config.is_file() or not config.parent.is_dir():
        return
    inner = sorted(str(found.parent) for found in config.parent.glob(f"*/{CONFIG}"))
    if inner:
        raise InputError(f"{config.parent}: no {CONFIG} there, but in {first_of(inner, 3)}: give that folder")


def _unknown(config: Path) -> tuple[str, ...]:
    """Keys that say something, and that PEFT did not have when this was written."""
    return tuple(sorted(key for key, value in read_json_object(config).items() if value and key not in _KNOWN_KEYS))


def _remedy(found: str, wanted: TaskType) -> str:
    if found in FAMILIES:
        return (
            f', the plan measures a {family(wanted).noun} ({wanted}): set task_type = "{found}" in the plan, or give '
            "another adapter"
        )
    measured = " and ".join(f"{known.noun}s ({known.task_type})" for known in FAMILIES.values())
    return f"; only adapters of {measured} are measured"
