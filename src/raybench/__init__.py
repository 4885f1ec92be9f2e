"""How to deploy a LoRA fine-tune, answered with evidence.

``lean``, ``fused``, ``stacked`` and ``remerge`` make a PeftModel a plain one that computes the same with less.
"""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.deploy import fused, lean, remerge, stacked
else:
    __getattr__ = names_of(__name__)

__all__ = ["fused", "lean", "remerge", "stacked"]

__version__ = "0.1.0"
