"""A model in the form that a plan asks for, in place of PEFT's and transformers' own. Imports PyTorch when asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from raybench.deploy.parameters import parameter_bytes
from raybench.deploy.strategy import Deployment, LoadCosts
from raybench.plan import Form


def of_one(model: Any, form: Form | None, costs: LoadCosts) -> Deployment:
    """A PeftModel of one adapter, or a plain model, as ``form`` (None: as it is) has it: `lean`, `fused` say how."""
    if form is not None:
        from raybench.deploy.fused_form import fused
        from raybench.deploy.lean_form import lean

        known: dict[str, Callable[[Any], Any]] = {"lean": lean, "fused": fused}
        costs.adapter_bytes, _ = parameter_bytes(model)
        with costs.time("form"):
            model = known[form](model)
    return Deployment(model, model)


def of_several(adapted: Any, form: Form, names: Sequence[str], costs: LoadCosts) -> tuple[Any, Any]:
    """A PeftModel of several adapters as ``form`` computes it, and its switch. `stacked` and `remerge` say how."""
    from raybench.deploy.remerge_form import remerge
    from raybench.deploy.stacked_form import stacked

    known: dict[str, Callable[..., tuple[Any, Any]]] = {"stacked": stacked, "remerge": remerge}
    costs.adapter_bytes, _ = parameter_bytes(adapted)
    with costs.time("form"):
        return known[form](adapted, names)
