"""A small plan of three blocks, as text."""

from __future__ import annotations

SMALL_PLAN = """
name = "small"
rounds = 2
requests = 4
warmups = 1

[[adapters]]
name = "{task}_seed{seed}"
tasks = ["mrpc", "sst2"]
seeds = [42]
alpha = 8

[[matrix]]
name = "fullft_{task}_seed{seed}"
strategy = "full_ft"
tasks = ["mrpc", "sst2"]
seeds = [42]

[[matrix]]
name = "lora_{task}_seed{seed}"
strategy = "lora_separate"
tasks = ["mrpc", "sst2"]
seeds = [42]
adapters = ["{task}_seed{seed}"]

[[matrix]]
name = "lora_merged_{task}_seed{seed}"
strategy = "lora_merged"
tasks = ["mrpc", "sst2"]
seeds = [42]
adapters = ["{task}_seed{seed}"]

[[configurations]]
name = "multi_lora_2_adapters"
strategy = "multi_lora"
seed = 42
adapters = ["mrpc_seed42", "sst2_seed42"]
"""


def small_plan(rounds: int = 2, requests: int = 4) -> str:
    """`SMALL_PLAN` of another length: three blocks, so three visits a round."""
    return SMALL_PLAN.replace("rounds = 2", f"rounds = {rounds}").replace("requests = 4", f"requests = {requests}")
