"""The form remerge: one adapter folded into the weights, and a switch that folds in another from the kept base."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers.pytorch_utils import Conv1D

from raybench.deploy.linear_layers import check_unquantized, down, frozen, is_plain, up
from raybench.deploy.lora_layers import LowRank, put_in_place, take_apart
from raybench.deploy.merging import keep_untied
from raybench.records import RaybenchError


class _Product(NamedTuple):
    """What a layer's weight is with one adapter: the base's and a product, written in one operation."""

    left: torch.Tensor
    right: torch.Tensor


class _Layer(NamedTuple):
    """``weight``, the model's parameter, ``kept`` as the base has it, and the product of each adapter.

    The parameter itself, of which another may have moved the values by then.
    """

    weight: torch.Tensor
    kept: torch.Tensor
    products: Mapping[str, _Product]


class _Whole(NamedTuple):
    """Tensors of a module that adapters bring, and by adapter those that are copied there."""

    tensors: Sequence[torch.Tensor]
    brought: Mapping[str, Sequence[torch.Tensor]]


class Remerge:
    """Called with a name it writes the weights of that adapter, merged, over those that are there.

    Always from the base's own, which are kept: the same name gives the same weights, bit for bit, whatever came before.
    """

    def __init__(self, names: Sequence[str], layers: Sequence[_Layer], whole: Sequence[_Whole]) -> None:
        self.names = tuple(names)
        self._layers, self._whole = layers, whole

    @property
    def kept_bytes(self) -> int:
        """What is held beside the model: the base's weights where adapters change them, and the adapters."""
        tensors = {layer.kept for layer in self._layers}
        tensors |= {factor for layer in self._layers for product in layer.products.values() for factor in product}
        tensors |= {tensor for one in self._whole for brought in one.brought.values() for tensor in brought}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def __call__(self, name: str) -> None:
        """From now on the model computes by adapter ``name``. Raises RaybenchError where it is none of them."""
        if name not in self.names:
            raise RaybenchError(f"no adapter {name} is kept; there are {', '.join(self.names)}")
        with torch.no_grad():
            for weight, kept, products in self._layers:
                if name in products:
                    torch.addmm(kept, *products[name], out=weight)
                else:
                    weight.copy_(kept)
            for tensors, brought in self._whole:
                for tensor, own in zip(tensors, brought[name], strict=True):
                    tensor.copy_(own)


def remerge(model: Any, names: Sequence[str]) -> tuple[Any, Callable[[str], None]]:
    """The first of the adapters ``names`` of a PeftModel, merged, with a switch that merges another in its place.

    The model computes as a merged one does. Returns it, plain and in evaluation mode, and the `Remerge`, which writes
    ``W = base + scaling B A`` for each layer that any of ``names`` changes, and copies the modules that an adapter
    brings whole. A weight that another module shares, as with tied embeddings, becomes the layer's own. ``model`` is
    used up.

    Raises RaybenchError where a name is no adapter of the model or twice there, where an adapter is more than plain
    LoRA, and where the base is quantized.
    """
    with torch.inference_mode(False), torch.no_grad():
        check_unquantized(model, "an adapter cannot be merged into it: use form lean or stacked")
        parts = take_apart(model, names)
        places = {id(module): name for name, module in parts.model.named_modules()}
        layers = []
        for base, pairs in parts.low_rank.items():
            if not is_plain(base):
                raise RaybenchError(f"{places[id(base)]} has a forward or hooks of its own: use form lean or stacked")
            layers.append(_layer(base, pairs))
        whole = [_whole(parts.model, original, saved, names) for original, saved in parts.saved.items()]
        keep_untied(parts.model)
        switch = Remerge(names, layers, whole)
        switch(names[0])
        parts.model.requires_grad_(False).eval()
    return parts.model, switch


def _layer(base: Any, pairs: Mapping[str, LowRank]) -> _Layer:
    """Give ``base`` a weight of its own to write to, shared with nothing; what it had is kept."""
    kept = base.weight.detach()
    base.weight = frozen(kept.clone())
    products = {}
    for name, pair in pairs.items():
        low, high = down(pair, kept), up(pair, kept)
        # B A of shape (out, in), which Conv1D holds as (in, out).
        products[name] = _Product(low.t(), high) if isinstance(base, Conv1D) else _Product(high.t(), low)
    return _Layer(base.weight, kept, products)


def _whole(model: Any, original: Any, saved: Mapping[str, Any], names: Sequence[str]) -> _Whole:
    """Put a module for whichever adapter is merged in the place of ``original``."""
    module = copy.deepcopy(original)
    put_in_place(model, {original: module})
    brought = {name: _tensors(saved.get(name, original)) for name in names}
    tensors = _tensors(module)
    for name, others in brought.items():
        if [tensor.shape for tensor in others] != [tensor.shape for tensor in tensors]:
            raise RaybenchError(f"the module that adapter {name} brings is of another shape: load it by itself")
    return _Whole(tensors, brought)


def _tensors(module: Any) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]
