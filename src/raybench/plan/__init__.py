"""What is compared with what, on which requests: a plan's file, its schema, and what is worked out from it."""

from raybench.plan.builder import Overrides
from raybench.plan.file import load_plan, shipped_plans
from raybench.plan.plan import Adapter, Block, Configuration, Design, Plan, Visit, homes
from raybench.plan.schema import WorkloadFile

__all__ = [
    "Adapter",
    "Block",
    "Configuration",
    "Design",
    "Overrides",
    "Plan",
    "Visit",
    "WorkloadFile",
    "homes",
    "load_plan",
    "shipped_plans",
]
