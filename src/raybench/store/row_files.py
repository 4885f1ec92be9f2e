"""The rows of a table as the bytes of a Parquet file, and back, with every check of what was committed."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.records import SCHEMA_VERSION, SCHEMAS
from raybench.store.manifest import Entry, FileEntry
from raybench.store.rows import check_columns, check_rows
from raybench.store.storage import RESTORE, StoreError

_VERSION_KEY: Final = b"raybench.schema_version"


def encode_rows(name: str, rows: pa.Table, sequence: int) -> tuple[FileEntry, bytes]:
    """A file of table ``name`` for entry number ``sequence``, under a name that no other writer takes."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata({_VERSION_KEY: str(SCHEMA_VERSION)}), sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    return FileEntry(
        table=name,
        path=f"{name}/{sequence:08d}-{secrets.token_hex(4)}.parquet",
        sha256=hashlib.sha256(data).hexdigest(),
        rows=rows.num_rows,
        bytes=len(data),
    ), data


def decode_rows(entry: Entry, file: FileEntry, data: bytes, where: str) -> pa.Table:
    """The rows in ``data``, if it is what was committed; columns that its schema version lacks are null.

    Raises `StoreError`, beginning with ``where``.
    """
    if len(data) != file.bytes:
        raise StoreError(f"{where}: {len(data)} bytes, {file.bytes} were committed; {RESTORE}")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise StoreError(f"{where}: not the bytes that were committed (SHA-256 differs); {RESTORE}")
    try:
        parquet = pq.ParquetFile(pa.BufferReader(data))
        version = (parquet.schema_arrow.metadata or {}).get(_VERSION_KEY, b"none").decode(errors="replace")
        if version != str(entry.schema_version):
            raise StoreError(f"{where}: schema version {version}, its entry says {entry.schema_version}; {RESTORE}")
        if parquet.metadata.num_rows != file.rows:  # before they are unpacked
            raise StoreError(f"{where}: {parquet.metadata.num_rows} rows, {file.rows} were committed; {RESTORE}")
        table = parquet.read()
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{where}: not readable as Parquet ({error}); {RESTORE}") from error
    check_columns(file.table, table, where, entry.schema_version)
    for index, field in enumerate(SCHEMAS[file.table]):
        if field.name not in table.schema.names:
            table = table.add_column(index, field, pa.nulls(table.num_rows, field.type))
    check_rows(file.table, table, entry.visits, where)
    return table.replace_schema_metadata(None)
