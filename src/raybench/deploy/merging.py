"""Folding an adapter into its base, right also where weights are shared: tied embeddings, replicated layers.

PEFT adds an adapter's change to the weight that its layer holds. Where another layer holds the same weight, as the
output layer of a model with tied embeddings does, that one changes too, though its adapter, if it has any, says
otherwise. So a layer that changes is given a copy of its own first, unless all that share the weight change alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from raybench.records import RaybenchError


class Merged(NamedTuple):
    """A plain model, and the bytes of the copies that were made of shared weights; None where none was needed."""

    model: Any
    untied_bytes: int | None


class _Holder(NamedTuple):
    """A module that holds a weight as its parameter ``name``. ``layer``: of PEFT, which changes it; None: none does."""

    module: Any
    name: str
    layer: Any | None


def merge(adapted: Any) -> Merged:
    """Fold the active adapter of a PeftModel into its base, which is used up.

    Raises RaybenchError where something of the adapter is still there afterwards.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    untied_bytes = _untie(adapted)
    model = adapted.merge_and_unload().eval()
    left = [name for name, m in model.named_modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    if left:
        raise RaybenchError(
            f"PEFT merged {left[0]} in part only: layers of the adapter are still there, and what it computes now is "
            "neither; measure this adapter by lora_separate"
        )
    keep_untied(model)
    return Merged(model, untied_bytes or None)


def _untie(adapted: Any) -> int:
    """Give each layer that changes a weight of its own, where another layer must keep it; bytes of the copies."""
    import torch

    copied = 0
    for holders in _shared(adapted):
        changing = [holder for holder in holders if holder.layer is not None]
        if not changing:
            continue
        if len(changing) == len(holders):
            if _change_alike(changing):
                _change_once(adapted, changing)
                continue
            del changing[0]  # may have the weight that all others leave
        for module, name, _ in changing:
            shared = getattr(module, name)
            own = torch.nn.Parameter(shared.detach().clone(), requires_grad=shared.requires_grad)
            setattr(module, name, own)
            copied += own.numel() * own.element_size()
    return copied


def _shared(adapted: Any) -> list[list[_Holder]]:
    """Of each weight of the base that several modules hold those that do, in the model's order."""
    from peft.utils.other import ModulesToSaveWrapper

    changes = _changing_layers(adapted)
    dropped = {
        id(inner)
        for wrapper in adapted.modules()
        if isinstance(wrapper, ModulesToSaveWrapper) and wrapper.active_adapters[0] in wrapper.modules_to_save
        for inner in wrapper.original_module.modules()
    }
    held: dict[tuple[int, int], list[_Holder]] = {}
    for module in adapted.modules():
        if id(module) in dropped:  # the adapter brings a module of its own in its place
            continue
        for name, parameter in module.named_parameters(recurse=False):
            held.setdefault((parameter.data_ptr(), parameter.numel()), []).append(
                _Holder(module, name, changes.get(id(module)))
            )
    return [holders for (pointer, _), holders in held.items() if len(holders) > 1 and pointer]


def _changing_layers(adapted: Any) -> dict[int, Any]:
    """By the identity of the module in the base the layer of PEFT that the merge folds into it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {
        id(layer.get_base_layer()): layer
        for layer in adapted.modules()
        if isinstance(layer, BaseTunerLayer) and any(_has(layer, name) for name in layer.active_adapters)
    }


def _has(layer: Any, adapter: str) -> bool:
    return any(adapter in getattr(layer, name, ()) for name in layer.adapter_layer_names)


def _change_alike(holders: Sequence[_Holder]) -> bool:
    """Whether each changes the weight as the others do: with PEFT's ``ensure_weight_tying``, or the same tokens."""
    import torch

    changes = list(_changes(holders))
    return all(
        change is not None and len(change) == len(changes[0] or ()) and all(map(torch.equal, change, changes[0] or ()))
        for change in changes
    )


def _changes(holders: Sequence[_Holder]) -> Iterator[tuple[Any, ...] | None]:
    """What each adds to the weight; None where that cannot be compared."""
    import torch
    from peft.tuners.lora import LoraLayer
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    for _, name, layer in holders:
        assert layer is not None
        (key,) = layer.active_adapters
        if isinstance(layer, TrainableTokensLayer):
            yield torch.tensor(layer.token_indices[key]), layer.trainable_tokens_delta[key]
        elif isinstance(layer, LoraLayer) and name == "weight" and key not in layer.lora_variant:
            scaling = torch.tensor(layer.scaling[key])
            if key in layer.lora_embedding_A:
                yield scaling, layer.lora_embedding_A[key], layer.lora_embedding_B[key]
            elif not layer.lora_bias[key]:
                yield scaling, layer.lora_B[key].weight.T, layer.lora_A[key].weight.T
            else:
                yield None
        else:
            yield None


def _change_once(adapted: Any, holders: Sequence[_Holder]) -> None:
    """Put the bare modules in the place of all layers but the first, which merges for all of them."""
    from peft.tuners.lora import LoraLayer

    names = {id(module): name for name, module in adapted.named_modules()}
    for module, _, layer in holders[1:]:
        if isinstance(layer, LoraLayer):  # tokens are put in their places, which may be done twice
            adapted.set_submodule(names[id(layer)], module)


def keep_untied(model: Any) -> None:
    """Let nothing tie again what is no longer the same weight: not ``tie_weights``, not a later save and load."""
    tied = dict(getattr(model, "all_tied_weights_keys", None) or {})
    still = {a: b for a, b in tied.items() if _tensor(model, a) is _tensor(model, b)}
    if len(still) == len(tied):
        return
    model.all_tied_weights_keys = still
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False


def _tensor(model: Any, name: str) -> Any:
    try:
        return model.get_parameter(name)
    except AttributeError:
        return None
