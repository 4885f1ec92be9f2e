"""The ways to deploy a fine-tune, and the proof that each computes what it claims."""

from raybench.deploy.gate import Gate, GateError
from raybench.deploy.generation import Generator, generate, within_peft
from raybench.deploy.strategies import Deployment, LoadCosts, all_traits, deploy

__all__ = [
    "Deployment",
    "Gate",
    "GateError",
    "Generator",
    "LoadCosts",
    "all_traits",
    "deploy",
    "generate",
    "within_peft",
]
