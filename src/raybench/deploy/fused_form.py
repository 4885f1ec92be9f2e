"""The form fused: linear layers with one input, and their adapter, in one product and one addition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from raybench.deploy.fused_layers import FusedLinear, Group
from raybench.deploy.lean_form import lean_layer, take_apart_active
from raybench.deploy.linear_layers import check_unquantized
from raybench.deploy.lora_layers import LowRank, put_in_place
from raybench.deploy.shared_inputs import fellows, weights_to_themselves


def fused(model: Any, inputs: Mapping[str, Any] | None = None) -> Any:
    """A model whose linear layers that are given the same input, as query, key and value, are one product.

    ``model``: a PeftModel with one active adapter, whose down-projections are further rows of that product and whose
    up-projections one product adds in place; or a plain model, merged or fine-tuned whole, for the same fusion without.
    Which layers they are is found by one forward of ``inputs``, its keyword arguments (None: a few token ids). An
    adapted layer that has no fellow is fused with its own down-projection; one that shares its weight with another
    module, as an output layer does with tied embeddings, becomes a layer of `lean`, which leaves it shared. Returns the
    plain model, in evaluation mode; ``model`` is used up, and its weights are freed group by group.

    Raises RaybenchError where the base is quantized, where `lean` would raise, and where the forward fails. In the
    model's own forward a layer that is given another input than its fellows raises RaybenchError: never a wrong number.
    """
    with torch.inference_mode(False), torch.no_grad():
        check_unquantized(model, "its rows cannot be put beside others: use form lean")
        plain, pairs = model, dict[Any, LowRank]()
        if hasattr(model, "peft_config"):
            parts = take_apart_active(model)
            plain, pairs = parts.model, {base: pair for base, of in parts.low_rank.items() for pair in of.values()}
            del parts
        plain.requires_grad_(False).eval()
        names = {id(module): name for name, module in plain.named_modules()}
        groups = fellows(plain, inputs)
        own = weights_to_themselves(plain) - {member for group in groups for member in group}
        groups += [[base] for base in pairs if base in own]
        del own
        while groups:
            _fuse(plain, groups.pop(), pairs, names)
        while pairs:
            base, pair = pairs.popitem()
            put_in_place(plain, {base: lean_layer(base, pair, base.weight.dtype)})
    return plain


def _fuse(model: Any, members: list[Any], pairs: dict[Any, LowRank], names: Mapping[int, str]) -> None:
    """Put the layers of one group in place; nothing of the weights that they were is left here afterwards."""
    group = Group(members, pairs)
    put_in_place(model, group.places(FusedLinear(group, pairs), names))
    for member in members:
        pairs.pop(member, None)
