"""A small plan as text, and what texts made from it are refused with."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.deploy.strategies import all_traits
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.plan import Plan
from raybench.plan.schema import WorkloadTable
from raybench.records import InputError

HEAD = 'name = "mine"\n'
ADAPTERS = """
[[adapters]]
name = "{task}_s{seed}"
tasks = ["mrpc", "sst2"]
seeds = [1]
alpha = 8
"""
MATRIX = """
[[matrix]]
name = "x_{task}_{seed}"
strategy = "lora_separate"
tasks = ["mrpc", "sst2"]
seeds = [1]
adapters = ["{task}_s{seed}"]
"""
MULTI = """
[[configurations]]
name = "both"
strategy = "multi_lora"
seed = 1
adapters = ["mrpc_s1", "sst2_s1"]
"""
GOOD = HEAD + ADAPTERS + MATRIX + MULTI


def read(path: Path, text: str | bytes) -> tuple[Plan, WorkloadTable | None]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return plan_file.load_plan(str(path), all_traits(), glue_tasks())


def refusals(path: Path, text: str | bytes) -> list[str]:
    """The lines that ``text`` is refused with, each of which begins with the file."""
    with pytest.raises(InputError) as caught:
        read(path, text)
    assert caught.value.exit_code == 2
    lines = caught.value.lines
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert [line for line in lines if not line.startswith(f"{path}: ")] == []
    return [line.removeprefix(f"{path}: ") for line in lines]


def refusal(path: Path, text: str | bytes) -> str:
    """The only line that ``text`` is refused with."""
    (line,) = refusals(path, text)
    return line
