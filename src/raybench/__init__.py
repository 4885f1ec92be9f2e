"""How to deploy a LoRA fine-tune, answered with evidence.

``lean``, ``fused``, ``stacked`` and ``remerge`` make a PeftModel a plain one that computes the same with less,
``captured`` has a classifier's forward run as CUDA graphs: they are those of `raybench.deploy`, imported when they are
asked for.
"""

import importlib
from typing import Any

__all__ = ["captured", "fused", "lean", "remerge", "stacked"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # By name, not by an import statement: every room imports this package, and deploy is above some of them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("raybench.deploy"), name)
