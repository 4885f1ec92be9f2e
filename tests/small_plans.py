"""A small plan of three blocks, as text and as it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raybench.deploy import strategies
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import Plan


def deployments(full_ft: str, separate: str, merged: str, together: str) -> str:
    """Every way to deploy two adapters, as tables of a plan, under these names."""
    return f"""
[[adapters]]
name = "{{task}}_seed{{seed}}"
tasks = ["mrpc", "sst2"]
seeds = [42]
alpha = 8

[[matrix]]
name = "{full_ft}"
strategy = "full_ft"
tasks = ["mrpc", "sst2"]
seeds = [42]

[[matrix]]
name = "{separate}"
strategy = "lora_separate"
tasks = ["mrpc", "sst2"]
seeds = [42]
adapters = ["{{task}}_seed{{seed}}"]

[[matrix]]
name = "{merged}"
strategy = "lora_merged"
tasks = ["mrpc", "sst2"]
seeds = [42]
adapters = ["{{task}}_seed{{seed}}"]

[[configurations]]
name = "{together}"
strategy = "multi_lora"
seed = 42
adapters = ["mrpc_seed42", "sst2_seed42"]
"""


_HEAD = """
name = "small"
rounds = 2
requests = 4
warmups = 1
"""
SMALL_PLAN = _HEAD + deployments(
    "fullft_{task}_seed{seed}", "lora_{task}_seed{seed}", "lora_merged_{task}_seed{seed}", "multi_lora_2_adapters"
)


def small_plan(rounds: int = 2, requests: int = 4) -> str:
    """`SMALL_PLAN` of another length: three blocks, so three visits a round."""
    return SMALL_PLAN.replace("rounds = 2", f"rounds = {rounds}").replace("requests = 4", f"requests = {requests}")


def loaded_plan(path: Path, **overrides: Any) -> Plan:
    """The plan of a file."""
    plan, _ = plan_file.load_plan(str(path), strategies.all_traits(), glue_tasks(), Overrides(**overrides))
    return plan


def load_small(folder: Path, **overrides: Any) -> Plan:
    """`SMALL_PLAN`, by a file in ``folder``."""
    path = folder / "small.toml"
    path.write_text(SMALL_PLAN)
    return loaded_plan(path, **overrides)
