"""Texts of rows as numbers into a dictionary: copied, compared and written in a fraction of the time of texts."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

_NUMBERED: Final = pa.dictionary(pa.int32(), pa.string())


def number_texts(table: pa.Table) -> pa.Table:
    """``table`` with each column of texts as numbers into a dictionary, the same one for all of its chunks.

    Texts that are numbers already are left so. What is numbered here shares no memory with ``table``.
    """
    columns = dict(zip(table.schema.names, table.columns, strict=True))
    texts = [field for field in table.schema if pa.types.is_string(field.type)]
    if texts:
        columns |= {f.name: _numbered(columns[f.name]) for f in texts}
        fields = [field.with_type(columns[field.name].type) for field in table.schema]
        table = pa.table(list(columns.values()), schema=pa.schema(fields, table.schema.metadata))
    return table.unify_dictionaries()


def schema_with_texts(schema: pa.Schema) -> pa.Schema:
    """``schema`` as it was before `number_texts`."""
    return pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema])


def _numbered(texts: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    if texts.null_count == len(texts):
        return pa.chunked_array([pa.nulls(len(texts), _NUMBERED)])
    # One visit's have one text in most columns, which is found out in a fifth of the time of encoding it.
    if texts.null_count == 0 and texts.slice(1).equals(texts.slice(0, len(texts) - 1)):
        one = texts.slice(0, 1).combine_chunks().dictionary_encode().dictionary
        first = pa.array(np.zeros(len(texts), dtype=np.int32))
        return pa.chunked_array([pa.DictionaryArray.from_arrays(first, one, safe=False)])  # which would look at each
    return texts.dictionary_encode()
