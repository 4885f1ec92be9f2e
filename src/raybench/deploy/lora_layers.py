"""What the adapters of a PeftModel add to which layers, as matrices; what is more than plain LoRA is refused.

A form that leaves PEFT's forward computes what it knows: ``y = W x + scaling B A x`` on linear layers, and modules that
an adapter brings whole (``modules_to_save``). Of anything else it would compute something else, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from raybench.model import of_its_own_base
from raybench.records import RaybenchError

_REMEDY = "which PEFT's own forward alone computes: use form peft"
_QUANTIZED = frozenset(
    {
        ("peft.tuners.lora.bnb", "Linear4bit"),
        ("peft.tuners.lora.bnb", "Linear8bitLt"),
        ("peft.tuners.lora.torchao", "TorchaoLoraLinear"),
    }
)
"""PEFT's layers on quantized ones that add the same two products, by module and class: the libraries may be absent."""


class LowRank(NamedTuple):
    """An adapter in one layer: ``down`` of shape (rank, in), ``up`` of shape (out, rank), as PEFT holds them."""

    down: Any
    up: Any
    scaling: float


class Parts(NamedTuple):
    """A PeftModel taken apart.

    ``model``: its base, plain, with no module of PEFT in it. ``low_rank``: by layer of the base, in the model's order,
    what each adapter adds to it, by its name; an adapter that leaves a layer alone is not in there. ``saved``: by
    module of the base the one that each adapter brings in its place, by its name.
    """

    model: Any
    low_rank: dict[Any, dict[str, LowRank]]
    saved: dict[Any, dict[str, Any]]


def active_adapter(adapted: Any) -> str:
    """PEFT's name of the one adapter that a PeftModel computes with.

    Raises RaybenchError where the model is no PeftModel, or where none, several, or not everywhere the same are active.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    _check_model(adapted)
    names = list(adapted.active_adapters)
    if len(names) != 1:
        raise RaybenchError(
            f"the model has {len(names)} active adapters ({', '.join(names)}); activate one by set_adapter, or use "
            "form peft"
        )
    for path, layer in adapted.get_base_model().named_modules():
        if isinstance(layer, BaseTunerLayer):
            if layer.disable_adapters:
                raise RaybenchError(f"{path}: its adapters are disabled; enable them (enable_adapter_layers)")
            if list(layer.active_adapters) != names:
                raise RaybenchError(
                    f"{path}: active there is {', '.join(layer.active_adapters) or 'no adapter'}, in the model "
                    f"{names[0]}; activate one everywhere by set_adapter"
                )
    return str(names[0])


def take_apart(adapted: Any, names: Sequence[str]) -> Parts:
    """Take the adapters ``names``, as PEFT calls them, out of a PeftModel, which is used up.

    What an adapter changed in the base itself (trained biases, first weights taken out of it, layers replicated) stays
    there, as it does for PEFT. Raises RaybenchError, before anything is changed, where the model has no such adapter,
    or where one of them is more than plain LoRA on linear layers and whole modules.
    """
    from peft.utils.other import AuxiliaryTrainingWrapper

    _check_model(adapted)
    if len(set(names)) != len(names) or not names:
        raise RaybenchError(f"adapters {', '.join(names) or 'none'}: name one or more, each once")
    for name in names:
        if name not in adapted.peft_config:
            raise RaybenchError(f"the model has no adapter {name}; it has {', '.join(adapted.peft_config)}")
    model = adapted.get_base_model()
    parts = Parts(model, {}, {})
    plain: dict[Any, Any] = {}
    for path, module in _outermost(model):
        if isinstance(module, AuxiliaryTrainingWrapper):
            plain[module] = module.original_module
            saved = _saved(path, module, names)
            if saved:
                parts.saved[module.original_module] = saved
        else:
            plain[module] = module.get_base_layer()
            if low_rank := _low_rank(path, module, names):
                parts.low_rank[plain[module]] = low_rank
    put_in_place(model, plain)
    if hasattr(model, "peft_config"):
        del model.peft_config
    model.requires_grad_(False)
    return Parts(model.eval(), parts.low_rank, parts.saved)


def brought_by(adapted: Any, name: str) -> tuple[dict[str, LowRank], dict[str, Any]]:
    """What the adapter ``name`` of a PeftModel adds to which layers, and the modules that it brings whole, by path.

    The model stays as it is. Raises RaybenchError as `take_apart`, and where a part of the adapter is in the model's
    base, which is not brought.
    """
    from peft.utils.other import AuxiliaryTrainingWrapper

    _check_model(adapted)
    if name not in adapted.peft_config:
        raise RaybenchError(f"the model has no adapter {name}; it has {', '.join(adapted.peft_config)}")
    check_shares_base(name, adapted.peft_config[name])
    pairs: dict[str, LowRank] = {}
    saved: dict[str, Any] = {}
    for path, module in _outermost(adapted.get_base_model()):
        if isinstance(module, AuxiliaryTrainingWrapper):
            if (own := _saved(path, module, [name]).get(name)) is not None:
                saved[path] = own
        elif (pair := _low_rank(path, module, [name]).get(name)) is not None:
            pairs[path] = pair
    return pairs, saved


def check_shares_base(name: str, config: Any) -> None:
    """Raises RaybenchError where a part of the adapter ``name`` is in the base that PEFT put it on."""
    if (part := of_its_own_base(config)) is not None:
        raise RaybenchError(
            f"adapter {name} has {part}: it changes the base itself, which others cannot share: stack it alone, "
            "without room for more, or use form peft"
        )


def put_in_place(model: Any, new: Mapping[Any, Any]) -> None:
    """Put modules in the place of others, wherever in ``model`` those are."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in new:
                parent.register_module(name, new[child])


def _check_model(adapted: Any) -> None:
    import peft

    if not isinstance(adapted, peft.PeftModel):
        raise RaybenchError(f"{type(adapted).__name__} is no PeftModel; give the model with its adapters on it")
    for name, config in adapted.peft_config.items():
        if config.peft_type != peft.PeftType.LORA:
            raise RaybenchError(
                f"adapter {name} is {getattr(config.peft_type, 'value', config.peft_type)}, not LORA, {_REMEDY}"
            )


def _outermost(model: Any) -> Iterator[tuple[str, Any]]:
    """PEFT's modules in ``model`` that stand in the place of one of its own, with their paths."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    inside: set[Any] = set()
    for path, module in model.named_modules():
        if module not in inside and isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            inside.update(module.modules())
            yield path, module


def _saved(path: str, wrapper: Any, names: Sequence[str]) -> dict[str, Any]:
    from peft.utils.other import ModulesToSaveWrapper

    if isinstance(wrapper, ModulesToSaveWrapper):
        found = {name: wrapper.modules_to_save[name] for name in names if name in wrapper.modules_to_save}
        for name, module in found.items():
            if next(_outermost(module), None) is not None:
                raise _refused(path, name, "a module of its own with adapters in it (modules_to_save)")
        return found
    for name in names:
        if name in wrapper._adapters:
            raise _refused(path, name, "tokens of its own (trainable_token_indices)")
    return {}


def _low_rank(path: str, layer: Any, names: Sequence[str]) -> dict[str, LowRank]:
    found = {}
    for name in names:
        if not any(name in getattr(layer, kind, ()) for kind in layer.adapter_layer_names):
            continue
        if (more := _more_than_plain(layer, name)) is not None:
            raise _refused(path, name, more)
        if name in layer.merged_adapters:
            raise RaybenchError(f"{path}: adapter {name} is merged into its base already; undo it (unmerge_adapter)")
        down, up = layer.lora_A[name].weight.detach(), layer.lora_B[name].weight.detach()
        found[name] = LowRank(down, up, float(layer.scaling[name]))
    return found


def _more_than_plain(layer: Any, name: str) -> str | None:
    """What an adapter is in a layer if it is not plain LoRA on a linear one."""
    from peft.tuners import lora
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    kind, base = type(layer), layer.get_base_layer()
    if (kind.__module__, kind.__name__) not in _QUANTIZED and not (
        kind is lora.Linear and isinstance(base, Linear | Conv1D)
    ):
        return f"a layer of kind {kind.__name__} on {type(base).__name__}"
    if name in layer.lora_variant:
        return f"a variant of LoRA ({type(layer.lora_variant[name]).__name__})"
    if layer.lora_bias[name]:
        return "a bias of its own (lora_bias)"
    if bool(getattr(layer, "fan_in_fan_out", False)) != isinstance(base, Conv1D):
        return f"fan_in_fan_out={layer.fan_in_fan_out} on {type(base).__name__}"
    if layer._forward_hooks or layer._forward_pre_hooks:
        return "hooks on its layer"
    return None


def _refused(path: str, name: str, more: str) -> RaybenchError:
    return RaybenchError(f"{path}: adapter {name} has {more}, {_REMEDY}")
