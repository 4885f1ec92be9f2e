"""From a run's measurements to advice: how to deploy, on how many GPUs, at what cost."""

from raybench.decide.command import add_arguments, run

__all__ = [
    "add_arguments",
    "run",
]
