"""Texts as numbers into a dictionary are the same texts, in memory of their own."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.schemas import SCHEMAS
from raybench.store.texts import number_texts, schema_with_texts

_FIELD = pa.field("text", pa.string())


def buffers_of(column: pa.ChunkedArray) -> set[int]:
    parts = itertools.chain.from_iterable((c.indices, c.dictionary) for c in column.chunks)
    return {buffer.address for part in parts for buffer in part.buffers() if buffer is not None and buffer.size}


@given(st.lists(st.lists(st.sampled_from(["", "a", "aa", None]), max_size=4), max_size=4))
def test_they_are_the_texts_that_they_were(chunks: list[list[str | None]]) -> None:
    table = pa.table([pa.chunked_array(chunks, pa.string())], schema=pa.schema([_FIELD]))
    numbered = number_texts(table)
    numbered.validate(full=True)
    assert numbered["text"].to_pylist() == list(itertools.chain.from_iterable(chunks))
    assert schema_with_texts(numbered.schema) == table.schema
    assert len({str(chunk.dictionary) for chunk in numbered["text"].chunks}) <= 1
    assert number_texts(numbered).equals(numbered)


@pytest.mark.parametrize("texts", [["same text"] * 3, ["one text", "other text", "one text"]])
def test_they_share_no_memory_with_what_they_were_made_of(texts: list[str]) -> None:
    table = pa.table({"text": texts})
    before = {buffer.address for buffer in table["text"].chunk(0).buffers() if buffer is not None}
    assert not buffers_of(number_texts(table)["text"]) & before


@pytest.mark.parametrize("name", SCHEMAS)
def test_which_columns_may_be_null_stays_known(name: str) -> None:
    schema = SCHEMAS[name]
    numbered = number_texts(schema.empty_table()).schema
    assert [field.nullable for field in numbered] == [field.nullable for field in schema]
    assert {field.name for field in numbered if pa.types.is_dictionary(field.type)} == {
        field.name for field in schema if pa.types.is_string(field.type)
    }
    assert schema_with_texts(numbered) == schema
