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


LENGTHS = [
    ('"many"', "", "expected a whole number, a list of them, or {median, sigma, max}, got 'many'"),
    ("true", "", "expected a whole number, a list of them, or {median, sigma, max}, got 'True'"),
    ("1.5", "", "expected a whole number, a list of them, or {median, sigma, max}, got '1.5'"),
    ("0", "", "input should be greater than or equal to 1, got '0'"),
    ("10000001", "", "input should be less than or equal to 10000000, got '10000001'"),
    ("[]", "", "list should have at least 1 item after validation, not 0, got '[]'"),
    ("[8, 0]", "[1]", "input should be greater than or equal to 1, got '0'"),
    ("[8, true]", "[1]", "input should be a valid integer, got 'True'"),
    ("{median = 9, sigma = 1, max = 8}", "", "median is 9, above max 8"),
    ("{median = 9, sigma = 0, max = 9}", ".sigma", "input should be greater than 0, got '0'"),
    ("{median = 9, sigma = nan, max = 9}", ".sigma", "input should be less than or equal to 5, got 'nan'"),
    ("{median = 0, sigma = 1, max = 9}", ".median", "input should be greater than or equal to 1, got '0'"),
    ("{median = 9, sigma = 1}", ".max", "field required"),
    (
        "{median = 9, sigma = 1, max = 9, mex = 2}",
        ".mex",
        "unknown key 'mex'; expected one of max, median, sigma; did you mean 'max'?",
    ),
]


@pytest.mark.parametrize(("value", "place", "said"), LENGTHS, ids=[value for value, *_ in LENGTHS])
def test_lengths_are_told_as_what_they_were_meant_as_in_one_line(path: Path, value: str, place: str, said: str) -> None:
    text = GOOD + f"[workload]\nprompt_tokens = {value}\n"
    assert refusal(path, text) == f"workload.prompt_tokens{place}: {said}"


BATCHES = [
    ('"8"', "", "expected a whole number or a list of them, got '8'"),
    ("0", "", "input should be greater than or equal to 1, got '0'"),
    ("4097", "", "input should be less than or equal to 4096, got '4097'"),
    ("[]", "", "list should have at least 1 item after validation, not 0, got '[]'"),
    ("[1, 0]", "[1]", "input should be greater than or equal to 1, got '0'"),
]


@pytest.mark.parametrize(("value", "place", "said"), BATCHES, ids=[value for value, *_ in BATCHES])
def test_a_batch_is_a_number_or_several_and_told_in_one_line(path: Path, value: str, place: str, said: str) -> None:
    assert refusal(path, GOOD + f"batch = {value}\n") == f"configurations[0].batch{place}: {said}"
