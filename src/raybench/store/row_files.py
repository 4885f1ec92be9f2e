"""The rows of a table as the bytes of a Parquet file, and back, with every check of what was committed."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raybench.schemas import SCHEMA_VERSION, SCHEMAS
from raybench.store.manifest import Entry, FileEntry
from raybench.store.rows import Committed, check_all_rows, check_columns, check_nulls
from raybench.store.storage import RESTORE, StoreError
from raybench.store.texts import number_texts

_VERSION_KEY: Final = b"raybench.schema_version"
_FEW: Final = frozenset({"round", "tokens", "batch", "output_tokens"})
"""Columns of the samples that have few different numbers in a file."""
_TEXTS: Final = [field.name for field in SCHEMAS["samples"] if pa.types.is_string(field.type)]
_LAYOUT: Final[dict[str, Any]] = {"compression": "zstd", "write_batch_size": 1 << 14, "max_rows_per_page": 1 << 20}
"""Numbers into a dictionary are written faster so many at a time than 1024. Pages end at a mebibyte only, where PyArrow
would begin one each 20,000 rows: columns of few bits a row are packed better."""
_THREADS: Final = 4
_MERGED_ROWS: Final = 122_880
"""Rows of a file of merged rows: DuckDB's own measure of a group."""
_FILES_AT_ONCE, _BYTES_AT_ONCE, _ROWS_AT_ONCE = 256, 1 << 22, _MERGED_ROWS
"""Files that are unpacked and checked together, their bytes, which unpacked are some ten times as many, and rows."""


def encode_rows(name: str, rows: pa.Table, sequence: int) -> tuple[FileEntry, bytes]:
    """A file of table ``name`` for entry number ``sequence``, under a name that no other writer takes."""
    sink = pa.BufferOutputStream()
    numbered = number_texts(rows)
    # Without Arrow's schema beside Parquet's own: texts that were written as numbers are texts to who reads them.
    options = _LAYOUT | _encodings(name, rows.schema)
    with pq.ParquetWriter(sink, numbered.schema, store_schema=False, **options) as writer:
        writer.write_table(numbered)
        writer.add_key_value_metadata({_VERSION_KEY: str(SCHEMA_VERSION)})
    data = sink.getvalue().to_pybytes()
    return FileEntry(
        table=name,
        path=f"{name}/{sequence:08d}-{secrets.token_hex(4)}.parquet",
        sha256=hashlib.sha256(data).hexdigest(),
        rows=rows.num_rows,
        bytes=len(data),
    ), data


def encode_merged(name: str, parts: list[pa.Table], sequence: int) -> Iterator[tuple[FileEntry, bytes]]:
    """Files of the rows of many, as they were decoded; samples are sorted by block and round, else in their order.

    ``parts`` is emptied. So a reader of some blocks or rounds need not unpack all groups of rows: DuckDB asks each for
    its least and largest.
    """
    rows = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    parts.clear()  # what was decoded is in memory once
    order = None
    if name == "samples":
        keys = pa.table({"block": rows["block"].cast(pa.string()), "round": rows["round"]})
        order = pc.sort_indices(keys, [("block", "ascending"), ("round", "ascending")])  # stable
    for start in range(0, rows.num_rows, _MERGED_ROWS):
        part = rows.slice(start, _MERGED_ROWS) if order is None else rows.take(order[start : start + _MERGED_ROWS])
        yield encode_rows(name, part.cast(SCHEMAS[name]), sequence)


def _encodings(name: str, schema: pa.Schema) -> dict[str, Any]:
    """How the columns of a table are written: what counts up, and times, as differences; few values by a dictionary.

    A dictionary of times, which PyArrow would make, is as long as they are. With it a classifier's sample takes 26.7
    bytes, without 10.0, is written in half the time and read by DuckDB in half the time (PyArrow 26.0.1, DuckDB 2.0.0).
    """
    if name != "samples":
        return {}
    numbers = [field for field in schema if field.name not in _FEW and _is_of_integers(field.type)]
    paths = [f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name for f in numbers]
    return {
        "column_encoding": dict.fromkeys(paths, "DELTA_BINARY_PACKED"),
        "use_dictionary": [field.name for field in schema if field not in numbers],
    }


def _is_of_integers(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind.value_type if pa.types.is_list(kind) else kind))


class Found(NamedTuple):
    """A file's bytes, where they were found, and the entry that lists it."""

    entry: Entry
    file: FileEntry
    data: bytes
    where: str


_Decoding = Sequence[tuple[Found, Future[pa.Table]]]


def decode_files(found: Iterable[Found]) -> Iterator[tuple[FileEntry, bytes, pa.Table]]:
    """Each file with its bytes and rows, if it is what was committed; columns that its schema version lacks are null.

    Some files at a time, by threads. Raises `StoreError` for the first that is not, beginning with where it is.
    """
    before: _Decoding = ()
    with ThreadPoolExecutor(_THREADS) as threads:
        unread: StoreError | None = None
        for few, unread in _few(found):  # noqa: B007  that of the last
            decoding = [(one, threads.submit(_decode, one)) for one in few]
            yield from _checked(before)  # while the next are unpacked
            before = decoding
        yield from _checked(before)
        if unread is not None:
            raise unread


def _checked(decoding: _Decoding) -> Iterator[tuple[FileEntry, bytes, pa.Table]]:
    whole: list[tuple[Found, pa.Table]] = []
    failure: StoreError | None = None
    for one, table in decoding:
        try:
            whole.append((one, table.result()))
        except StoreError as error:  # what is wrong with files before it comes first
            failure = error
            break
    check_all_rows([Committed(one.file.table, table, one.entry.visits, one.where) for one, table in whole])
    yield from ((one.file, one.data, table) for one, table in whole)
    if failure is not None:
        raise failure


def _few(found: Iterable[Found]) -> Iterator[tuple[Sequence[Found], StoreError | None]]:
    """Files that are looked at together, and of the last of them why the next could not be read."""
    few: list[Found] = []
    held = rows = 0
    unread: StoreError | None = None
    try:
        for one in found:
            few.append(one)
            held, rows = held + len(one.data), rows + one.file.rows
            if held >= _BYTES_AT_ONCE or rows >= _ROWS_AT_ONCE or len(few) == _FILES_AT_ONCE:
                yield few, None
                few, held, rows = [], 0, 0
    except StoreError as error:
        unread = error
    yield few, unread


def _decode(found: Found) -> pa.Table:
    entry, file, data, where = found
    if len(data) != file.bytes:
        raise StoreError(f"{where}: {len(data)} bytes, {file.bytes} were committed; {RESTORE}")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise StoreError(f"{where}: not the bytes that were committed (SHA-256 differs); {RESTORE}")
    try:
        parquet = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)  # it is in memory
        version = (parquet.schema_arrow.metadata or {}).get(_VERSION_KEY, b"none").decode(errors="replace")
        if version != str(entry.schema_version):
            raise StoreError(f"{where}: schema version {version}, its entry says {entry.schema_version}; {RESTORE}")
        if parquet.metadata.num_rows != file.rows:  # before they are unpacked
            raise StoreError(f"{where}: {parquet.metadata.num_rows} rows, {file.rows} were committed; {RESTORE}")
        check_columns(file.table, parquet.schema_arrow, where, entry.schema_version)
        # Files are read side by side.
        table = _read_samples(data, parquet) if file.table == "samples" else parquet.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{where}: not readable as Parquet ({error}); {RESTORE}") from error
    for index, field in enumerate(SCHEMAS[file.table]):
        if field.name not in table.schema.names:
            table = table.add_column(index, field, pa.nulls(table.num_rows, field.type))
    check_nulls(file.table, table, where)
    return table.replace_schema_metadata(None)


def _read_samples(data: bytes, plain: pq.ParquetFile) -> pa.Table:
    """With texts as numbers into a dictionary, which takes half the time and a few bytes a row."""
    parquet = pq.ParquetFile(pa.BufferReader(data), metadata=plain.metadata, read_dictionary=_TEXTS, pre_buffer=False)
    table = parquet.read(use_threads=False)
    for name in _TEXTS:
        table[name].validate(full=True)  # PyArrow does not ask whether a number is one of the dictionary's
    return table
