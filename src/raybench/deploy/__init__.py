"""The ways to deploy a fine-tune, and the proof that each computes what it claims.

A strategy of one's own, from outside of raybench, imports what it needs from here.
"""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.deploy.buckets import bucket_of
    from raybench.deploy.capturing import captured
    from raybench.deploy.compiling import as_it_is, compiled, own_cache, try_instruction_sets
    from raybench.deploy.counting import Prepared, count
    from raybench.deploy.fused_form import fused
    from raybench.deploy.gate import CHECKED_ADAPTERS, Gate, GateError, checked_adapters
    from raybench.deploy.generation import Generator, generate, logits_after, within_peft
    from raybench.deploy.lean_form import lean
    from raybench.deploy.merging import merge
    from raybench.deploy.mixing import rows_of
    from raybench.deploy.parameters import parameter_bytes
    from raybench.deploy.remerge_form import Remerge, remerge
    from raybench.deploy.stacked_form import stacked
    from raybench.deploy.strategies import all_traits, deploy, strategy_class, strategy_source
    from raybench.deploy.strategy import Deployment, LoadCosts, Strategy
    from raybench.deploy.switch import Switch
    from raybench.model import Weights, peft_name
    from raybench.plan import Adapter, Configuration
    from raybench.records import InputError, StrategyTraits
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "CHECKED_ADAPTERS",
    "Adapter",
    "Configuration",
    "Deployment",
    "Gate",
    "GateError",
    "Generator",
    "InputError",
    "LoadCosts",
    "Prepared",
    "Remerge",
    "Strategy",
    "StrategyTraits",
    "Switch",
    "Weights",
    "all_traits",
    "as_it_is",
    "bucket_of",
    "captured",
    "checked_adapters",
    "compiled",
    "count",
    "deploy",
    "fused",
    "generate",
    "lean",
    "logits_after",
    "merge",
    "own_cache",
    "parameter_bytes",
    "peft_name",
    "remerge",
    "rows_of",
    "stacked",
    "strategy_class",
    "strategy_source",
    "try_instruction_sets",
    "within_peft",
]
