"""What ``raybench plan`` can be told."""

from __future__ import annotations

import argparse

from raybench.plan import shipped_plans
from raybench.report import completed
from raybench.sweep.model_argument import add_model_argument


def add_plan_arguments(p: argparse.ArgumentParser) -> None:
    """The options of ``raybench plan``."""
    plan = p.add_argument("plan", metavar="NAME|FILE.toml", help=f"shipped: {', '.join(shipped_plans())}")
    completed(plan, lambda _: shipped_plans(), (".toml",))
    p.add_argument("--design", choices=("paired", "independent"), default="paired", help="default: paired")
    add_model_argument(p, "hold the plan against this model's files, too")
    instead = p.add_mutually_exclusive_group()
    instead.add_argument("--toml", action="store_true", help="print the text of a shipped plan instead")
    instead.add_argument("--json", action="store_true", help="everything as JSON")
