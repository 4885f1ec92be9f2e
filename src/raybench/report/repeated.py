"""Words of a command line that are the same whichever of a run's plan is asked for again."""

from __future__ import annotations

from typing import Final

from raybench.plan import shipped_plans
from raybench.store import PlanOfRun

FILE: Final = "FILE.toml"
"""Instead of the file of a plan that somebody wrote: where that is now a run does not know."""


def plan_word(plan: PlanOfRun) -> str:
    """What follows ``--plan``: the name of a shipped plan, or `FILE`."""
    return plan.name if plan.name in shipped_plans() else FILE


def order_options(plan: PlanOfRun) -> list[str]:
    """The options by which visits come in the same order, on GPUs of the same type; none where that is as usual."""
    words: list[str] = []
    if plan.design != "paired":
        words += ["--design", plan.design]
    if plan.order_seed:
        words += ["--order-seed", str(plan.order_seed)]
    if plan.accelerator_type is not None:
        words += ["--accelerator-type", plan.accelerator_type]
    return words
