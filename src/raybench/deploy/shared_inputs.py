"""Which linear layers of a model are given the same input, found by letting it compute once: no list of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from raybench.deploy.linear_layers import is_plain
from raybench.records import RaybenchError

_TOKENS = 4


class _Call(NamedTuple):
    module: Any
    argument: Any
    version: int


def fellows(model: Any, inputs: Mapping[str, Any] | None) -> list[list[Any]]:
    """Groups of two and more plain linear layers of one parent that are called with the same tensor, as called.

    Each is called once in a forward, with its input and nothing else, which no one writes to in between; all of a group
    have their weights in one data type, on one device, and to themselves. ``inputs``: keyword arguments of a forward;
    None: a few token ids. Raises RaybenchError where the forward fails.
    """
    parents, own = dict(_only_parents(model)), weights_to_themselves(model)
    once = [module for module in parents if module in own]
    calls = _calls(model, once, _few_tokens(model) if inputs is None else inputs)
    times: dict[Any, int] = {}
    for call in calls:
        times[call.module] = times.get(call.module, 0) + 1
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for module, argument, version in calls:
        if times[module] == 1 and isinstance(argument, torch.Tensor):
            weight = module.weight
            key = (parents[module], id(argument), version, weight.dtype, weight.device)  # calls keep arguments alive
            groups.setdefault(key, []).append(module)
    return [group for group in groups.values() if len(group) > 1]


def weights_to_themselves(model: Any) -> set[Any]:
    """Plain linear layers whose weight and bias no other module holds; a copy of any other's would be a second one."""
    holders: dict[tuple[int, int], int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                key = (parameter.data_ptr(), parameter.numel())
                holders[key] = holders.get(key, 0) + 1
    return {
        module
        for module in model.modules()
        if is_plain(module)
        and all(holders[p.data_ptr(), p.numel()] == 1 for p in module._parameters.values() if p is not None)
    }


def _only_parents(model: Any) -> Iterator[tuple[Any, Any]]:
    """Modules that have one place in the model, with the module that holds them."""
    held: dict[Any, list[Any]] = {}
    for parent in model.modules():
        for child in parent._modules.values():
            if child is not None:
                held.setdefault(child, []).append(parent)
    yield from ((child, parents[0]) for child, parents in held.items() if len(parents) == 1)


def _calls(model: Any, modules: list[Any], inputs: Mapping[str, Any]) -> list[_Call]:
    calls: list[_Call] = []

    def note(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        argument: Any = arguments[0] if len(arguments) == 1 and not named else None
        counted = isinstance(argument, torch.Tensor) and not argument.is_inference()
        calls.append(_Call(module, argument, argument._version if counted else 0))

    hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in modules]
    try:
        model(**inputs)
    except Exception as error:
        raise RaybenchError(
            f"a forward to find which layers share an input failed ({type(error).__name__}: {error}); give inputs that "
            f"{type(model).__name__} takes"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _few_tokens(model: Any) -> dict[str, Any]:
    """Ids from the middle of the vocabulary: special ones are at its ends."""
    config = getattr(model, "config", None)
    vocabulary = getattr(config.get_text_config(), "vocab_size", None) if config is not None else None
    if not vocabulary:
        raise RaybenchError(f"{type(model).__name__} says nothing of a vocabulary; give inputs that it takes")
    ids = (vocabulary // 2 + torch.arange(_TOKENS)) % vocabulary
    return {"input_ids": ids[None].to(next(model.parameters()).device)}
