"""Numbered adapters, which share a task, and how many of them are resident."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan.plan_texts import HEAD, read, refusals
from raybench.deploy.strategies import all_traits
from raybench.sweep.describe import deployment

NUMBERED = """
[[adapters]]
name = "{task}_{number}"
tasks = ["mrpc"]
seeds = [1]
alpha = 8
count = 5
"""
MERGED = """
[[configurations]]
name = "merged"
strategy = "lora_merged"
seed = 1
adapters = ["mrpc_1"]
"""
STACKED = """
[[matrix]]
name = "stacked_{resident}"
strategy = "multi_lora"
form = "stacked"
tasks = ["mrpc"]
seeds = [1]
adapters = ["{task}_{number}"]
resident = [1, 2, 5]
"""
PEFT = """
[[configurations]]
name = "peft_{resident}"
strategy = "multi_lora"
seed = 1
adapters = ["mrpc_{number}"]
resident = 2
"""
REFERENCES = 'references = ["lora_merged", "multi_lora_stacked"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.toml"


def test_each_number_of_resident_adapters_is_a_configuration_in_the_block_of_its_task(path: Path) -> None:
    plan, _ = read(path, HEAD + NUMBERED + MERGED + STACKED + PEFT)
    found = {c.name: [a.name for a in c.adapters] for c in plan.configurations}
    assert found == {
        "stacked_1": ["mrpc_1"],
        "stacked_2": ["mrpc_1", "mrpc_2"],
        "stacked_5": [f"mrpc_{number}" for number in range(1, 6)],
        "merged": ["mrpc_1"],
        "peft_2": ["mrpc_1", "mrpc_2"],
    }
    (block,) = plan.blocks
    assert block.name == "mrpc_seed1"
    assert len(block.members) == 5
    assert {c.tasks for c in plan.configurations} == {("mrpc",)}
    assert {tuple(block.requests(c, 3, 2)) for c in block.members} == {(("mrpc", 3), ("mrpc", 4))}
    assert [deployment(c, all_traits()) for c in plan.configurations if c.form] == [
        "Multi-adapter (1, stacked)",
        "Multi-adapter (2, stacked)",
        "Multi-adapter (5, stacked)",
    ]


def test_as_many_adapters_are_compared_with_each_other_and_all_with_the_merged_one(path: Path) -> None:
    plan, _ = read(path, HEAD + REFERENCES + NUMBERED + MERGED + STACKED + PEFT)
    compared = {
        (c.configuration, c.reference_strategy): [r.configuration for r in c.references] for c in plan.comparisons
    }
    assert compared == {
        ("stacked_1", "lora_merged"): ["merged"],
        ("stacked_2", "lora_merged"): ["merged"],
        ("stacked_5", "lora_merged"): ["merged"],
        ("peft_2", "lora_merged"): ["merged"],
        ("peft_2", "multi_lora_stacked"): ["stacked_2"],
        ("merged", "multi_lora_stacked"): ["stacked_1"],
    }


def test_without_a_number_all_of_them_are_resident(path: Path) -> None:
    plan, _ = read(path, HEAD + NUMBERED + PEFT.replace("resident = 2", "").replace("_{resident}", ""))
    (c,) = plan.configurations
    assert [a.name for a in c.adapters] == [f"mrpc_{number}" for number in range(1, 6)]


def test_each_has_a_path_of_its_own(path: Path) -> None:
    plan, _ = read(path, HEAD + NUMBERED.replace("alpha = 8", 'path = "/many/{task}/{number}"') + PEFT)
    assert [a.path for a in plan.adapters()] == ["/many/mrpc/1", "/many/mrpc/2"]


@pytest.mark.parametrize(
    ("routing", "places"),
    [
        ("round_robin", (3, 4, 0, 1)),
        ("blocked", (0, 1, 2, 3)),
        ("uniform", None),
        ("geometric", None),
    ],
)
def test_the_routing_says_which_adapter_serves_a_request(
    path: Path, routing: str, places: tuple[int, ...] | None
) -> None:
    plan, _ = read(path, HEAD + NUMBERED + STACKED + f'routing = "{routing}"\n')
    one, two, five = plan.configurations
    assert (one.shares_task, one.adapter_places(3, 4)) == (False, ())
    assert five.shares_task
    found = five.adapter_places(3, 4)
    assert set(two.adapter_places(3, 4)) <= {0, 1}
    assert found == (places or five.adapter_places(3, 4))
    assert set(five.adapter_places(3, 200)) <= set(range(5))


def test_rows_of_a_mixed_batch_are_of_one_adapter_after_the_other(path: Path) -> None:
    text = STACKED.replace("[1, 2, 5]", "5") + 'routing = "mixed"\nbatch = 4\n'
    (c,) = read(path, HEAD + NUMBERED + text)[0].configurations
    assert c.adapter_places(2, 3) == (3, 2, 1)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "resident = [1, 2, 5]",
            "resident = 6",
            "resident: 6 of '{task}_{number}', of which there are 5; raise their count",
        ),
        ("[1, 2, 5]", "[1, 0]", "resident[1]: input should be greater than or equal to 1, got '0'"),
        (
            '["{task}_{number}"]',
            '["{task}_1"]',
            "resident: goes with numbered adapters; name them in adapters once, with {number}",
        ),
        ("multi_lora", "lora_separate", "adapters: lora_separate takes 1 adapter, got 2"),
        (
            '["{task}_{number}"]',
            '["many_{number}"]',
            "adapters: unknown adapter 'many_1'; expected one of mrpc_1",
        ),
    ],
)
def test_what_cannot_be_resident_is_told(path: Path, old: str, new: str, line: str) -> None:
    text = STACKED.replace('form = "stacked"\n', "").replace(old, new)
    assert refusals(path, HEAD + NUMBERED + text)[0].startswith(f"matrix[0].{line}")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"{task}_{number}"', '"{task}"', "adapters[0].name: count makes numbered adapters; put {number} in it"),
        ("alpha = 8", 'path = "/many"', "adapters[0].path: count makes numbered adapters; put {number} in it"),
        ("count = 5", "count = 5000", "adapters[0].count: input should be less than or equal to 4096, got '5000'"),
        ("count = 5\n", "", "adapters[0].name: 'mrpc_{number}' is not a name; use letters"),
    ],
)
def test_what_cannot_be_numbered_is_told(path: Path, old: str, new: str, line: str) -> None:
    assert refusals(path, HEAD + NUMBERED.replace(old, new, 1) + MERGED)[0].startswith(line)


def test_a_role_is_filled_in_too(path: Path) -> None:
    plan, _ = read(path, HEAD + NUMBERED + STACKED + 'role = "stacked_of_{resident}"\n')
    assert [c.role for c in plan.configurations] == ["stacked_of_1", "stacked_of_2", "stacked_of_5"]
    assert refusals(path, HEAD + NUMBERED + STACKED + 'role = "of {resident}"\n')[0].startswith(
        "matrix[0].role: 'of 1'"
    )
