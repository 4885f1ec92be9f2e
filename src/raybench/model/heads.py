"""What a checkpoint lacks of its class: a head or pooler is drawn, alike in every load; anything else is refused."""

from __future__ import annotations

import copy
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from raybench.model.families import family
from raybench.plan import first_of
from raybench.records import InputError, TaskType

_SHOWN = 3
_NUMBER = re.compile(r"\.\d+\.")


def draw_missing(model: Any, missing: Iterable[str], location: str, task_type: TaskType = "SEQ_CLS") -> tuple[str, ...]:
    """Draw the parameters ``missing`` of a model from transformers anew, by its class's own rule, from a fixed seed.

    transformers has drawn them already, other ones in each load. The same parameter gets the same values in every
    process, on every device and, rounded, in every data type. Returns the names of those that were drawn, sorted.

    Raises InputError where the weights of ``location`` lack anything but a head or a pooler, and of a language model,
    whose head is no task's, where they lack anything.
    """
    names = sorted(set(missing) & {name for name, _ in model.named_parameters()})
    if task_type == "CAUSAL_LM" and names and all(_is_head(model, name) for name in names):
        raise InputError(
            f"{location}: the weights have no {first_of(names, _SHOWN)}, without which a language model says nothing; "
            f"give one saved from {family(task_type).auto_name}"
        )
    if body := [name for name in names if not _is_head(model, name)]:
        raise InputError(
            f"{location}: the weights have no {first_of(body, _SHOWN)}, which config.json asks for; "
            "the files are incomplete, or of another model"
        )
    modules: dict[str, list[str]] = {}
    for name in names:
        module, _, parameter = name.rpartition(".")
        modules.setdefault(module, []).append(parameter)
    for module, parameters in modules.items():
        _draw(model, module, parameters, location)
    return tuple(names)


def check_sizes(
    model: Any, mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]], location: str, *, other_head: bool
) -> None:
    """Raises InputError where weights of ``location`` have other sizes than the model's.

    ``mismatched``: name, shape in the file and in the model. ``other_head``: a head of other sizes is drawn anew.
    """
    for name, found, asked in sorted(mismatched):
        if not (other_head and _is_head(model, name)):
            sizes = [" x ".join(map(str, shape)) for shape in (found, asked)]
            raise InputError(
                f"{location}: its {name} is {sizes[0]}, its config.json asks for {sizes[1]}: make them agree"
            )


def check_layers(model: Any, unexpected: Iterable[str], location: str) -> None:
    """Raises InputError where the weights of ``location`` are of more layers than the model has.

    ``unexpected``: names in its files that the model has no place for. transformers leaves them out; others, as the
    head of a language model, are left out rightly.
    """
    known = {_NUMBER.sub(".*.", name) for name, _ in model.named_parameters()}
    prefix = f"{model.base_model_prefix}."  # which a base that was saved without a head does not have
    further = sorted(n for n in unexpected if known & {_NUMBER.sub(".*.", n), _NUMBER.sub(".*.", prefix + n)})
    if further:
        raise InputError(
            f"{location}: the weights have {first_of(further, _SHOWN)}, further layers than config.json asks for; "
            "the files are not of one model"
        )


def _is_head(model: Any, name: str) -> bool:
    """Outside of the encoder, where every class puts its head, or a pooler, which many language models leave out."""
    return not name.startswith(f"{model.base_model_prefix}.") or "pooler" in name.split(".")


def _draw(model: Any, place: str, parameters: Sequence[str], location: str) -> None:
    import torch

    module = model.get_submodule(place)
    # Drawn in float32 in a shallow copy of the module: drawn in a short type, other values would come.
    drawn = {name: torch.nn.Parameter(torch.full(module.get_parameter(name).shape, torch.nan)) for name in parameters}
    twin = copy.copy(module)
    twin._parameters = {**module._parameters, **drawn}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(zlib.crc32(place.encode()))
        _rule(model, place)(twin)
        for name, values in drawn.items():
            if not bool(values.isfinite().all()):
                raise InputError(f"{location}: the weights have no {place}.{name}, nor its class a rule to draw it")
            module.get_parameter(name).copy_(values)


def _rule(model: Any, place: str) -> Any:
    """How the innermost pretrained model around ``place`` draws a module's parameters, those it has loaded excepted."""
    from transformers import PreTrainedModel

    around = model
    parts = place.split(".") if place else []
    for end in range(1, len(parts) + 1):
        module = model.get_submodule(".".join(parts[:end]))
        if isinstance(module, PreTrainedModel):
            around = module
    return around._init_weights
