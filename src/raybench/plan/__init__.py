"""What is compared with what, on which requests: a plan's file, its schema, and what is worked out from it."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.plan.builder import HUB_ID, Overrides
    from raybench.plan.choices import did_you_mean, first_of, nearest, one_of
    from raybench.plan.file import load_plan, parse_plan
    from raybench.plan.load import ONE_AT_A_TIME, Goodput, Load
    from raybench.plan.plan import (
        BY_BUCKET,
        COMPILED,
        TEXT_FILES,
        Adapter,
        Block,
        Configuration,
        Design,
        Execution,
        Form,
        KvCache,
        Plan,
        Visit,
        homes,
        own_role,
    )
    from raybench.plan.routing import DRAWN, Routing, places
    from raybench.plan.schema import Lognormal, WorkloadTable
    from raybench.plan.servers import ALONE, SERVED, PromptsAs, ServerKey, Servers, adapters_beside, servers_needed
    from raybench.plan.source import PlanSource, read_plan, shipped_plans
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "ALONE",
    "BY_BUCKET",
    "COMPILED",
    "DRAWN",
    "HUB_ID",
    "ONE_AT_A_TIME",
    "SERVED",
    "TEXT_FILES",
    "Adapter",
    "Block",
    "Configuration",
    "Design",
    "Execution",
    "Form",
    "Goodput",
    "KvCache",
    "Load",
    "Lognormal",
    "Overrides",
    "Plan",
    "PlanSource",
    "PromptsAs",
    "Routing",
    "ServerKey",
    "Servers",
    "Visit",
    "WorkloadTable",
    "adapters_beside",
    "did_you_mean",
    "first_of",
    "homes",
    "load_plan",
    "nearest",
    "one_of",
    "own_role",
    "parse_plan",
    "places",
    "read_plan",
    "servers_needed",
    "shipped_plans",
]
