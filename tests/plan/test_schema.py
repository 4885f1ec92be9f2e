"""Types, bounds and defaults of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan.plan_texts import ADAPTERS, GOOD, HEAD, MATRIX, refusal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


VALUES = [
    ("rounds = 0", "rounds", "greater than or equal to 1"),
    ("rounds = -3", "rounds", "'-3'"),
    ("requests = 0", "requests", "greater than or equal to 1"),
    ("turn_requests = -1", "turn_requests", "greater than or equal to 1"),
    ("warmups = -1", "warmups", "greater than or equal to 0"),
    ("requests = 3.0", "requests", "integer"),
    ("requests = true", "requests", "integer"),
    ('requests = "3"', "requests", "integer"),
    ('requests = "3\\n4"', "requests", "integer"),
    ("rounds = 1000001", "rounds", "less than or equal to 1000000"),
    ("margin = 0.0", "margin", "greater than 0"),
    ("margin = 1.0", "margin", "less than 1"),
    ("margin = nan", "margin", "got 'nan'"),
    ("visit_timeout_s = inf", "visit_timeout_s", "86400"),
    ("description = 3", "description", "string"),
    ("references = []", "references", "at least 1"),
    ("workload_seed = -1", "workload_seed", "greater than or equal to 0"),
    ("order_seed = -1", "order_seed", "greater than or equal to 0"),
    ("adapters = 3", "adapters", "list"),
]


@pytest.mark.parametrize(("line", "key", "expected"), VALUES, ids=[line for line, _, _ in VALUES])
def test_a_value_of_the_wrong_type_or_size_is_refused(path: Path, line: str, key: str, expected: str) -> None:
    text = HEAD + line + ("\n" if line.startswith("adapters") else ADAPTERS + MATRIX)
    message = refusal(path, text)
    assert message.startswith(f"{key}: ")
    assert expected in message


NESTED_VALUES = [
    ("alpha = 8", "alpha = 0", "adapters[0].alpha"),
    ("alpha = 8", "alpha = -8", "adapters[0].alpha"),
    ("alpha = 8", "alpha = 8\nr = 0", "adapters[0].r"),
    ("alpha = 8", "alpha = 8\ntarget_modules = []", "adapters[0].target_modules"),
    ("seeds = [1]", 'seeds = ["1"]', "adapters[0].seeds[0]"),
    ("seeds = [1]", "seeds = []", "adapters[0].seeds"),
    ("seeds = [1]", "seeds = [-1]", "adapters[0].seeds[0]"),
    ("seed = 1", "seed = -1", "configurations[0].seed"),
]


@pytest.mark.parametrize(("old", "new", "key"), NESTED_VALUES, ids=[new for _, new, _ in NESTED_VALUES])
def test_a_value_inside_a_table_is_refused_with_the_tables_place(path: Path, old: str, new: str, key: str) -> None:
    assert old in GOOD
    assert refusal(path, GOOD.replace(old, new, 1)).startswith(f"{key}: ")
