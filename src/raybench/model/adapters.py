"""LoRA adapters on a model: loaded from files with every weight accounted for, and computed without."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from raybench.model.adapter_kinds import changes_base, check_kind, why_alone, without_changing_base
from raybench.model.families import family
from raybench.plan import Adapter, first_of
from raybench.records import InputError, TaskType

WEIGHTS = "adapter_model.safetensors"

_SHOWN = 3
_NO_PRODUCT = 1e-6
"""Of float32 weights whose product should be 0, its share of the product of their sizes: what rounding leaves."""


@cache
def peft_name(name: str) -> str:
    """What PEFT calls the adapter ``name``: the same, unless torch or PEFT would not take that.

    It becomes a key of ``nn.ModuleDict`` and ``nn.ParameterDict``, which refuse a dot and the names of their own
    attributes (``keys``, ``training``), and PEFT takes a part of a weight's name that is called as a head for the head.
    """
    import torch
    from peft.utils.constants import EMBEDDING_LAYER_NAMES, SEQ_CLS_HEAD_NAMES

    holders = (torch.nn.ModuleDict(), torch.nn.ParameterDict())
    heads = (*SEQ_CLS_HEAD_NAMES, *EMBEDDING_LAYER_NAMES)
    if "." not in name and name not in heads and not any(hasattr(holder, name) for holder in holders):
        return name
    return f"adapter_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def load_adapter(
    model: Any,
    adapter: Adapter,
    path: str,
    task_type: TaskType = "SEQ_CLS",
    *,
    autocast_adapter_dtype: bool,
    alone: bool = True,
    keep_base: bool = False,
    key: str | None = None,
    device: str | None = None,
) -> Any:
    """Put the LoRA adapter at ``path``, a folder or hub id, on ``model``, plain or a PeftModel. Returns a PeftModel.

    Raises InputError where it is no LoRA adapter for ``task_type`` or not what ``adapter`` says, where a weight that
    the model needs is not in its file, and where one of its file has no place in the model: PEFT would go on without.
    Not ``alone``, others are to share the base, so one that would change the base's own weights is refused as well.
    ``keep_base``: one that would take its first weights out of the base is put on without that. ``key``: what PEFT
    calls it; None: as `peft_name` has it. ``device``: of its weights, where the base has none (torch's "meta").
    """
    import peft

    config = peft.PeftConfig.from_pretrained(path)
    where, key = f"adapter {adapter.name} in {path}", peft_name(adapter.name) if key is None else key
    if config.peft_type != peft.PeftType.LORA:
        raise InputError(f"{where} is {_word(config.peft_type)}, not LORA; only LoRA adapters are measured")
    if config.task_type not in (None, peft.TaskType(task_type)):
        raise InputError(
            f"{where} is for {_word(config.task_type)}, not {task_type}; give one of a {family(task_type).noun}"
        )
    check_kind(where, config)
    if not alone and (why := why_alone(where, config)) is not None:
        raise InputError(why)
    if keep_base and changes_base(config):
        without_changing_base(config)
    check_stated(where, config, adapter)  # as it is read: PEFT rewrites long lists of target_modules
    config.inference_mode = True
    bare, device = device is not None, device or str(next(model.parameters()).device)
    try:
        if not isinstance(model, peft.PeftModel):
            model = peft.get_peft_model(model, config, key, autocast_adapter_dtype=autocast_adapter_dtype)
        elif key in model.peft_config:  # its weights would be replaced, and the first one's scaling kept
            raise InputError(f"{where}: the model already has an adapter of that name; name each once")
        else:
            # PeftModel's own way: a classifier's asks for a head of each adapter, which not every file has.
            peft.PeftModel.add_adapter(model, key, config, autocast_adapter_dtype=autocast_adapter_dtype)
        if bare:
            _give_memory(model, key, device)
        bases = {} if alone else _base_weights_in(path, model)
        if bases and bare:
            raise InputError(
                f"{where} brings {_some(list(bases))} of the base itself, which is not looked at where many adapters "
                "are loaded one by one; save it without (save_embedding_layers=False)"
            )
        found = model.load_adapter(path, key, torch_device=device, autocast_adapter_dtype=autocast_adapter_dtype)
    except KeyError as error:  # how PEFT meets a file without a head that its configuration says it has
        raise InputError(_misfit(where, [str(error.args[0])], ())) from None
    except (ValueError, RuntimeError) as error:  # no such module, or one of another size
        raise InputError(f"{where} does not fit the model: {error}") from None
    # PEFT counts what has the adapter's name anywhere in it: weights of "task10" too when "task1" is loaded.
    missing = [weight for weight in found.missing_keys if re.search(rf"\.lora_\w+\.{re.escape(key)}(\.|$)", weight)]
    if missing or found.unexpected_keys:
        raise InputError(_misfit(where, missing, found.unexpected_keys))
    if replaced := [name for name, weight in bases.items() if not weight.equal(model.get_parameter(name))]:
        raise InputError(
            f"{where} brings {_some(replaced)} of the base itself, other than this base's: the adapters beside it "
            "would compute with them too; measure it apart"
        )
    return model


def _give_memory(model: Any, key: str, device: str) -> None:
    """Let the weights of adapter ``key``, made beside a base that has none, have some on ``device``."""
    import torch

    for name, parameter in list(model.named_parameters()):
        if parameter.is_meta and re.search(rf"\.(lora_\w+|modules_to_save)\.{re.escape(key)}(\.|$)", name):
            holder, _, last = name.rpartition(".")
            own = torch.nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=False)
            model.get_submodule(holder).register_parameter(last, own)


def _base_weights_in(path: str, model: Any) -> dict[str, Any]:
    """Copies of the PeftModel's base weights that the adapter's file holds as well, by name.

    PEFT saves embeddings with an adapter on them, and those of a vocabulary that has grown.
    """
    from huggingface_hub import hf_hub_download
    from safetensors import safe_open

    file = Path(path, WEIGHTS)
    with safe_open(file if file.is_file() else hf_hub_download(path, WEIGHTS), framework="pt") as tensors:
        stored = set(tensors.keys())
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if name in stored}


def check_stated(where: str, found: Any, adapter: Adapter) -> None:
    """Raises InputError unless the run's description says of an adapter what is loaded; None stands for whatever."""
    targets = sorted(_names(found.target_modules))
    said = (
        found.r if adapter.r is None else adapter.r,
        found.lora_alpha if adapter.alpha is None else adapter.alpha,
        targets if adapter.target_modules is None else sorted(_names(adapter.target_modules)),
    )
    if (found.r, found.lora_alpha, targets) != said:
        raise InputError(
            f"{where} has r={found.r}, alpha={found.lora_alpha}, targets {targets}; "
            f"the plan says r={said[0]}, alpha={said[1]}, targets {said[2]}: make them agree"
        )


def _names(targets: Iterable[str] | str | None) -> tuple[str, ...]:
    """Target modules as names; a pattern is one."""
    return (targets,) if isinstance(targets, str) else tuple(targets or ())


def drop_dropout(model: Any) -> None:
    """Dropout does nothing in evaluation, but a Dropout module would still be called and timed."""
    import torch

    for module in model.modules():
        for name in getattr(module, "lora_dropout", {}):
            module.lora_dropout[name] = torch.nn.Identity()


@contextlib.contextmanager
def without_low_rank(model: Any) -> Iterator[None]:
    """In it, a PeftModel computes without any LoRA layer, but with the head that its active adapter brought."""
    layers = lora_layers(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        model.requires_grad_(False)  # which enabling turned on
        for parameter in trained:
            parameter.requires_grad_(True)


def is_zero(model: Any, name: str) -> bool:
    """Whether adapter ``name`` of a PeftModel is as a freshly made one: in every layer its change of the weight is 0.

    By its weights, since by rounding a fresh DoRA or orthogonal adapter changes the logits.
    """
    key = peft_name(name)
    factors = [pair for layer in lora_layers(model) if (pair := low_rank_factors(layer, key)) is not None]
    return all(_product_is_zero(a, b) for a, b in factors)


def _product_is_zero(a: Any, b: Any) -> bool:
    import torch

    if not int(torch.count_nonzero(a)) or not int(torch.count_nonzero(b)):
        return True
    a, b = a.flatten(1).double(), b.flatten(1).double()
    if a.shape[0] != b.shape[1]:
        return False  # a grouped convolution, each group of which has a part of A
    # The squared size of B @ A, of matrices as small as the rank.
    size = float(((b.T @ b) * (a @ a.T)).sum().clamp(min=0)) ** 0.5
    return bool(size <= _NO_PRODUCT * float(a.norm() * b.norm()))


def lora_layers(model: Any) -> list[Any]:
    """Every module of ``model`` that PEFT gave LoRA adapters."""
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def low_rank_factors(layer: Any, key: str) -> tuple[Any, Any] | None:
    """A and B of the adapter that PEFT calls ``key`` in a LoRA layer; None where it has nothing of that adapter.

    The change of the layer's weight is made of products of B and A, whatever their shapes.
    """
    if key in layer.lora_A:
        return layer.lora_A[key].weight, layer.lora_B[key].weight
    if key in layer.lora_embedding_A:
        return layer.lora_embedding_A[key], layer.lora_embedding_B[key]
    return None


def _misfit(where: str, missing: Sequence[str], unexpected: Sequence[str]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} that the model needs are not in its file ({_some(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} of its file have no place in the model ({_some(unexpected)})")
    return (
        f"{where} does not fit the model: of its weights {' and '.join(parts)}; "
        "it must be saved from a model of the same class, layers and sizes"
    )


def _some(keys: Sequence[str]) -> str:
    return first_of(sorted(key.removeprefix("base_model.model.") for key in keys), _SHOWN)


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))
