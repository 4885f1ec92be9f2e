"""Files of texts and chats: Parquet, JSONL and CSV, each row checked before any is used."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from raybench.model.chats import messages_of
from raybench.model.files import check_regular, no_column
from raybench.records import InputError

_LONGEST_CSV_FIELD = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """The column that requests are made of: texts, or chats (lists of messages, or the JSON of one)."""

    name: str
    kind: Literal["text", "chat"] = "text"


def read_rows(path: str, column: Column, task_column: str | None) -> list[dict[str, Any]]:
    """Each row's text or list of messages, and its task where ``task_column`` says it.

    Raises InputError with the file, and the row where it is a row's fault.
    """
    columns = [column.name] if task_column is None else [column.name, task_column]
    check_regular(Path(path))
    if path.endswith(".parquet"):
        # Imports PyArrow, which a plan without texts does not need.
        from raybench.model.parquet_texts import read_parquet

        rows = read_parquet(path, columns, column.name if column.kind == "chat" else None)
    elif path.endswith(".csv"):
        rows = _read_csv(path, columns)
    else:
        rows = _read_jsonl(path, columns)
    checked = []
    for number, row in enumerate(rows, 1):
        try:
            if not isinstance(row, dict):
                raise InputError(f"expected an object with {', '.join(map(repr, columns))}")
            checked.append({name: _value(row.get(name), name, column) for name in columns})
        except InputError as error:
            raise InputError(f"{path}: row {number}: {error}") from None
    return checked


def column_names(path: str) -> tuple[str, ...]:
    """Names of the columns of a file of texts, by its first row where it is JSONL. Raises InputError."""
    check_regular(Path(path))
    if path.endswith(".parquet"):
        from raybench.model.parquet_texts import parquet_columns  # imports PyArrow

        return parquet_columns(path)
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as lines:
            if path.endswith(".csv"):
                return tuple(next(csv.reader(lines, strict=True), ()))
            first = json.loads(next((line for line in lines if line.strip()), "null"))
            return tuple(first) if isinstance(first, dict) else ()
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def _value(value: Any, name: str, column: Column) -> Any:
    if column.kind == "chat" and name == column.name:
        try:
            return messages_of(value)
        except InputError as error:
            raise InputError(f"column {name!r}: {error}") from None
    if not isinstance(value, str):
        raise InputError(f"expected a text in column {name!r}")
    if not is_unicode(value):
        raise InputError(f"column {name!r} holds half a surrogate pair, which is no text")
    return value


def _read_jsonl(path: str, columns: list[str]) -> list[Any]:
    rows: list[Any] = []
    number = 0
    try:
        for number, line in enumerate(Path(path).read_text("utf-8-sig").split("\n"), 1):  # noqa: B007  told below
            if line.strip():
                rows.append(json.loads(line))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {number}: no JSON: {error.msg}, at character {error.colno}") from None
    except (ValueError, RecursionError) as error:
        where = f"line {number}: " if number else ""
        raise InputError(f"{path}: {where}cannot be read as JSON lines: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if rows and isinstance(rows[0], dict):
        for name in columns:
            if not any(isinstance(row, dict) and name in row for row in rows):
                raise InputError(no_column(path, name, list(rows[0])))
    return rows


def _read_csv(path: str, columns: list[str]) -> list[dict[str, Any]]:
    limit = csv.field_size_limit(_LONGEST_CSV_FIELD)  # of the whole process: it is put back
    at_line = 0
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = (line for line in reader if line)
            header = next(lines, None)
            if header is None:
                raise InputError(f"{path}: it is empty; its first row names the columns")
            for name in columns:
                if header.count(name) != 1:
                    raise InputError(no_column(path, name, header))
            rows = []
            for number, line in enumerate(lines, 1):
                at_line = reader.line_num
                if len(line) != len(header):
                    raise InputError(
                        f"{path}: row {number} (line {at_line}): {len(line)} values, the first row names {len(header)}"
                    )
                values = dict(zip(header, line, strict=True))
                rows.append({name: values[name] for name in columns})
            return rows
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV after line {at_line}: {error}") from None
    finally:
        csv.field_size_limit(limit)


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
