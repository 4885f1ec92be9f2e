"""Several adapters on one base, of which the active one is merged: no cost in a request, all of it in a switch.

``multi_lora`` computes the active adapter beside the base in each request, and switches by little more than a name. Here a
switch puts the base's own weights back, which were kept, and merges the next adapter into them. To subtract the old
adapter instead would need no copies, and drifts: after a hundred switches in bfloat16 the weights are off by a fifth.
"""

from __future__ import annotations

from typing import Any

from raybench.deploy import Configuration, Deployment, LoadCosts, Strategy, StrategyTraits, Weights, peft_name


class MergeOnSwitch(Strategy):
    """The active adapter is merged into the base, whose own weights are kept to go back to."""

    traits = StrategyTraits("merge_on_switch", "Merged on switch", min_adapters=2, max_adapters=64)
    reproduces_adapters = True  # so the gate holds it to the logits of each adapter alone, before anything is timed

    def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
        with costs.time("load"):
            model: Any = weights.base(configuration)
        with costs.time("adapter_load"):
            model = weights.attach_all(model, configuration.adapters, configuration)
        from peft.tuners.lora import LoraLayer

        layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        kept = [(p, p.detach().clone()) for layer in layers for p in layer.get_base_layer().parameters()]
        active = None

        def switch(name: str) -> None:
            nonlocal active
            if name == active:
                return
            for parameter, own in kept:
                parameter.data.copy_(own)
            for layer in layers:
                layer.merged_adapters.clear()
            model.set_adapter(peft_name(name), inference_mode=True)
            model.merge_adapter()
            active = name

        return Deployment(model, model, switch)
