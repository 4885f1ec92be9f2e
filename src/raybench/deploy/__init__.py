"""The ways to deploy a fine-tune, and the proof that each computes what it claims."""

from raybench.deploy.gate import Gate, GateError
from raybench.deploy.strategies import Deployment, LoadCosts, all_traits, deploy

__all__ = [
    "Deployment",
    "Gate",
    "GateError",
    "LoadCosts",
    "all_traits",
    "deploy",
]
