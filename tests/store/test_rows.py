"""Rows of many files looked at together are refused as those of each alone are."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.store.rows import Committed, _are_sound, _are_unique, _distinct, _numbers, check_all_rows, check_rows
from raybench.store.storage import StoreError
from store.stored_runs import key, rows_of

_SMALL = st.sampled_from([-3, 0, 1, 2**31 - 1])
_LARGE = st.sampled_from([-(2**63), 0, 2**63 - 1])
_ROWS = st.lists(st.tuples(st.sampled_from(["", "a", "b"]), _SMALL, st.sampled_from(["a", "z"]), _LARGE), max_size=12)
_COLUMNS = ("text", "small", "other", "large")


def chunked(rows: list[tuple[Any, ...]], cuts: list[int]) -> pa.Table:
    """The rows in chunks that end at ``cuts``: each chunk's texts are its own."""
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    types = pa.schema([("text", pa.string()), ("small", pa.int32()), ("other", pa.string()), ("large", pa.int64())])
    parts = [
        pa.Table.from_pylist([dict(zip(_COLUMNS, row, strict=True)) for row in rows[a:b]], types)
        for a, b in itertools.pairwise(edges)
    ]
    return pa.concat_tables(parts)


@given(_ROWS, st.lists(st.integers(0, 12), max_size=3), st.sampled_from([_COLUMNS, _COLUMNS[:3], ("text",)]))
def test_rows_have_one_number_where_their_values_are_the_same(
    rows: list[tuple[Any, ...]], cuts: list[int], columns: tuple[str, ...]
) -> None:
    table, values = chunked(rows, cuts), [row[: len(columns)] for row in rows]
    numbers = _numbers(table, columns)
    assert _distinct(table, columns) == set(values)
    if numbers is None:  # the largest and the smallest are 2^64 apart
        assert len({row[3] for row in rows}) > 1
        assert "large" in columns
    else:
        assert len(set(zip(numbers.tolist(), values, strict=True))) == len(set(values)) == len(set(numbers.tolist()))
        assert _are_unique(table, columns) == (max(Counter(values).values(), default=1) == 1)


@pytest.mark.parametrize("apart", [1, 3, 10**6])
@pytest.mark.parametrize("mixed", [False, True])
def test_one_that_is_there_twice_is_found_among_many(apart: int, mixed: bool) -> None:
    numbers = np.arange(5000) * apart
    if mixed:
        np.random.default_rng(0).shuffle(numbers)
    assert _are_unique(pa.table({"number": numbers}), ["number"])
    numbers[4999] = numbers[17]
    assert not _are_unique(pa.table({"number": numbers}), ["number"])


def test_a_null_is_left_to_counting() -> None:
    table = pa.table({"text": pa.array(["a", None]), "small": [1, 1]})
    assert _numbers(table, ("text", "small")) is None
    assert _distinct(table, ("text", "small")) == {("a", 1), (None, 1)}


def committed(number: int, table: pa.Table) -> Committed:
    return Committed("samples", table, [key("a", number)], f"file {number}")


@pytest.fixture
def files() -> list[Committed]:
    """Three visits' samples, sound."""
    return [committed(number, rows_of(key("a", number))["samples"]) for number in range(3)]


def test_sound_files_are_sound_together(files: list[Committed]) -> None:
    assert _are_sound("samples", files)
    check_all_rows(files)
    check_all_rows([])


def with_value(table: pa.Table, column: str, value: Any) -> pa.Table:
    """With ``value`` in its first row."""
    index = table.schema.get_field_index(column)
    field, mask = table.schema.field(index), [True] + [False] * (table.num_rows - 1)
    array = pc.if_else(pa.array(mask), pa.scalar(value, field.type), table[column])
    return table.set_column(index, field, array)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("wall_ns", 0, "wall_ns is 0, should be at least 1"),
        ("phase", "other", "phase is other, should be one of"),
        ("visit", "a/r02", "visit a/r02 (block a, round 1) is not in its commit"),
        ("request", 1, "2 rows for block a, configuration"),
        ("output_tokens", 2, "prefill_host_ns is null and output_tokens is 2, should go together"),
    ],
)
def test_a_fault_in_one_of_several_is_told_as_if_it_were_alone(
    files: list[Committed], column: str, value: Any, told: str
) -> None:
    wrong = committed(1, with_value(files[1].table, column, value))
    for check in (lambda: check_rows(*wrong), lambda: check_all_rows([files[0], wrong, files[2]])):
        with pytest.raises(StoreError, match=rf"^file 1: .*{re.escape(told)}"):
            check()


def test_a_visit_of_another_files_entry_is_refused(files: list[Committed]) -> None:
    swapped = [committed(0, files[1].table), committed(1, files[0].table)]
    with pytest.raises(StoreError, match=r"^file 0: visit a/r01 \(block a, round 1\) is not in its commit"):
        check_all_rows(swapped)


def test_of_several_faults_the_first_is_told(files: list[Committed]) -> None:
    wrong = [committed(n, with_value(file.table, "wall_ns", -n)) for n, file in enumerate(files)]
    with pytest.raises(StoreError, match=r"^file 1: "):
        check_all_rows([files[0], *wrong[1:]])


def test_the_same_request_in_two_files_is_none_of_their_faults(files: list[Committed]) -> None:
    check_all_rows([files[0], files[0]])
    assert not _are_sound("samples", [files[0], files[0]])
