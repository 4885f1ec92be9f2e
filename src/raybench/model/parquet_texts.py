"""Texts and chats in a Parquet file, whose columns are checked before they are read."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.model.files import no_column
from raybench.records import InputError


def parquet_columns(path: str) -> tuple[str, ...]:
    """Names of the columns of ``path``. Raises InputError."""
    try:
        with pq.ParquetFile(path) as file:
            return tuple(file.schema_arrow.names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def read_parquet(path: str, columns: list[str], chat_column: str | None) -> list[dict[str, Any]]:
    """Its rows in ``columns``, which hold texts, or messages in ``chat_column``. Raises InputError."""
    try:
        # Of this file alone: read_table would take columns from folders named key=value above it.
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            for name in columns:
                if schema.get_field_index(name) < 0:  # absent, or there twice
                    raise InputError(no_column(path, name, schema.names))
                kind = schema.field(name).type
                chats = name == chat_column
                if not _holds_text(kind) and not (chats and _holds_messages(kind)):
                    wanted = "messages of role and content" if chats else "text"
                    raise InputError(f"{path}: column {name!r} holds {str(kind)[:200]}, not {wanted}")
            rows: list[dict[str, Any]] = file.read(columns=columns).to_pylist()
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"{path}: cannot be read as Parquet with columns {columns}: {error}") from None
    return rows


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _holds_messages(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_list_view, pa.types.is_large_list_view)
    if not any(is_a(kind) for is_a in (*lists, pa.types.is_fixed_size_list)):
        return False
    message = kind.value_type
    if not pa.types.is_struct(message):
        return False
    places = [message.get_field_index(key) for key in ("role", "content")]
    return all(place >= 0 and _holds_text(message.field(place).type) for place in places)
