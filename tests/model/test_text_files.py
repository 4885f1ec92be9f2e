"""Files of texts and chats: what is in them is read alike from each kind, what is wrong is told with file and row."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.text_rows import ROWS, SUFFIXES, write
from raybench.model.text_files import Column, column_names, read_rows
from raybench.records import InputError

TEXT, CHAT = Column("text"), Column("chat", "chat")
ASK = [{"role": "system", "content": "be brief"}, {"role": "user", "content": 'why, "now"?\n'}]


def refused(path: Path, column: Column = TEXT, task_column: str | None = "kind") -> str:
    with pytest.raises(InputError) as caught:
        read_rows(str(path), column, task_column)
    assert caught.value.exit_code == 2
    (line,) = caught.value.lines
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_are_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t.{suffix}", ROWS)
    assert read_rows(path, TEXT, "kind") == ROWS
    assert read_rows(path, TEXT, None) == [{"text": row["text"]} for row in ROWS]
    assert read_rows(path, Column("kind"), None) == [{"kind": row["kind"]} for row in ROWS]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_says_its_columns(tmp_path: Path, suffix: str) -> None:
    assert column_names(write(tmp_path / f"t.{suffix}", ROWS)) == ("text", "kind")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_has_no_columns_is_told_or_has_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(b"")
    if suffix == "parquet":
        with pytest.raises(InputError, match="cannot be read"):
            column_names(str(path))
    else:
        assert column_names(str(path)) == ()
    path.write_bytes(b"\xff\xfe[1]")
    with pytest.raises(InputError, match="cannot be read"):
        column_names(str(path))
    with pytest.raises(InputError, match="no such file"):
        column_names(str(tmp_path / f"none.{suffix}"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("t.jsonl", None, "no such file", id="jsonl-missing"),
        pytest.param("t.parquet", None, "no such file", id="parquet-missing"),
        pytest.param("t.csv", None, "no such file", id="csv-missing"),
        pytest.param(
            "t.jsonl", b'{"text": "a", "kind": "b"}\n\n{', "line 3: no JSON: Expecting property name", id="jsonl-broken"
        ),
        pytest.param("t.jsonl", b"\xff", "cannot be read as JSON lines: 'utf-8' codec", id="jsonl-not-utf8"),
        pytest.param("t.jsonl", b"[" * 200_000, "line 1: cannot be read as JSON lines: ", id="jsonl-nested"),
        pytest.param("t.jsonl", b"9" * 5000, "line 1: cannot be read as JSON lines: ", id="jsonl-endless-number"),
        pytest.param("t.parquet", b"junk", "cannot be read as Parquet", id="parquet-broken"),
        pytest.param("t.parquet", b"", "cannot be read as Parquet", id="parquet-empty"),
        pytest.param("t.jsonl", [{"text": "a"}], "no column 'kind' of its own; it has text", id="jsonl-no-task"),
        pytest.param(
            "t.jsonl", [ROWS[1], {"kind": "news"}], "row 2: expected a text in column 'text'", id="jsonl-no-text"
        ),
        pytest.param(
            "t.jsonl", [{"text": 3, "kind": "n"}], "row 1: expected a text in column 'text'", id="jsonl-number"
        ),
        pytest.param("t.jsonl", [["text"]], "row 1: expected an object with 'text', 'kind'", id="jsonl-list"),
        pytest.param("t.parquet", [{"text": "a"}], "no column 'kind' of its own; it has text", id="parquet-no-column"),
        pytest.param(
            "t.parquet", [{"text": 3, "kind": "n"}], "column 'text' holds int64, not text", id="parquet-number"
        ),
        pytest.param(
            "t.parquet",
            [ROWS[1], {"text": None, "kind": "n"}],
            "row 2: expected a text in column 'text'",
            id="parquet-null",
        ),
        pytest.param("t.csv", b"", "it is empty; its first row names the columns", id="csv-empty"),
        pytest.param("t.csv", b"\n\n", "it is empty; its first row names the columns", id="csv-blank"),
        pytest.param(
            "t.csv", b"text,sort\na,b\n", "no column 'kind' of its own; it has text, sort", id="csv-no-column"
        ),
        pytest.param(
            "t.csv", b"text;kind\na;b\n", "no column 'text' of its own; it has text;kind", id="csv-semicolons"
        ),
        pytest.param(
            "t.csv", b"text,kind,text\n", "no column 'text' of its own; it has text, kind, text", id="csv-twice"
        ),
        pytest.param(
            "t.csv", b'text,kind\n"a\nb",c\na\n', "row 2 (line 4): 1 values, the first row names 2", id="csv-short"
        ),
        pytest.param("t.csv", b"text,kind\na,b,c\n", "row 1 (line 2): 3 values, the first row names 2", id="csv-long"),
        pytest.param(
            "t.csv",
            b'text,kind\na,b\n"a,b\n',
            "cannot be read as CSV after line 2: unexpected end of data",
            id="csv-open-quote",
        ),
        pytest.param(
            "t.csv",
            b'text,kind\n"a" b,c\n',
            "cannot be read as CSV after line 0: ',' expected after '\"'",
            id="csv-quote",
        ),
        pytest.param(
            "t.csv", b"text,kind\n\xff,b\n", "cannot be read as CSV after line 0: 'utf-8' codec", id="csv-bytes"
        ),
        pytest.param("t.csv", "text,kind\na,b\n".encode("utf-16"), "cannot be read as CSV", id="csv-utf16"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(tmp_path: Path, name: str, content: Any, said: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write(path, content)
    assert refused(path).startswith(said)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbftext,kind\r\na,b\r\n")
    (tmp_path / "t.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a", "kind": "b"}\n')
    for name in ("t.csv", "t.jsonl"):
        assert read_rows(str(tmp_path / name), TEXT, "kind") == [{"text": "a", "kind": "b"}]


def test_a_field_of_csv_may_be_long_and_the_limit_of_the_process_is_left_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [{"text": "word " * 100_000, "kind": "news"}])
    before = csv.field_size_limit()
    assert len(read_rows(path, TEXT, "kind")[0]["text"]) == 500_000
    assert csv.field_size_limit() == before
    (tmp_path / "t.csv").write_text("text")
    refused(tmp_path / "t.csv")
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("column", ["text", "kind"])
def test_half_a_surrogate_pair_is_no_text(tmp_path: Path, column: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": "a", "kind": "news"} | {column: "news\ud800"}) + "\n")
    assert refused(path) == f"row 1: column {column!r} holds half a surrogate pair, which is no text"


def test_a_whole_surrogate_pair_is_the_character_that_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "\\ud83d\\ude42", "kind": "news"}\n')
    assert read_rows(str(path), TEXT, None) == [{"text": "🙂"}]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([2**62], pa.timestamp("us")), "timestamp[us]"),
        (pa.array([10**17], pa.duration("s")), "duration[s]"),
        (pa.array([b"a"]), "binary"),
        (pa.array([["a"]]), "list<element: string>"),
    ],
)
def test_a_column_that_holds_no_text_is_refused_unread(tmp_path: Path, values: Any, kind: str) -> None:
    """Times that Python has no date for cannot even be looked at."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": values, "kind": ["news"]}), path)
    assert refused(path) == f"column 'text' holds {kind}, not text"


def test_bytes_that_are_no_utf8_in_a_column_of_texts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    raw = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": raw, "kind": ["news"]}), path)
    assert refused(path).startswith("cannot be read as Parquet with columns ['text', 'kind']: 'utf-8' codec")


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_text_column_is_read(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": pa.array(["ab"]).cast(kind), "kind": ["news"]}), path)
    assert read_rows(str(path), TEXT, "kind") == [{"text": "ab", "kind": "news"}]


def test_a_folder_named_like_a_column_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "text=other"
    folder.mkdir()
    path = folder / "t.parquet"
    pq.write_table(pa.table({"text": ["ab"], "kind": ["news"]}), path)
    assert read_rows(str(path), TEXT, None) == [{"text": "ab"}]
    pq.write_table(pa.table({"kind": ["news"]}), path)
    assert refused(path) == "no column 'text' of its own; it has kind"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"t.{suffix}")
    assert refused(tmp_path / f"t.{suffix}") == "not a regular file"


# Chats


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_chat_may_be_the_json_of_one(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t.{suffix}", [{"chat": json.dumps(ASK), "kind": "news"}])
    assert read_rows(path, CHAT, "kind") == [{"chat": ASK, "kind": "news"}]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_chat_is_a_list_of_messages(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t.{suffix}", [{"chat": ASK, "kind": "news"}, {"chat": ASK[1:], "kind": "films"}])
    assert [row["chat"] for row in read_rows(path, CHAT, "kind")] == [ASK, ASK[1:]]


MESSAGE = pa.struct([("role", pa.string()), ("content", pa.large_string()), ("name", pa.string())])


@pytest.mark.parametrize("kind", [pa.list_(MESSAGE), pa.large_list(MESSAGE), pa.list_(MESSAGE, 2)])
def test_lists_of_every_kind_are_read_and_what_is_null_in_them_is_not_there(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"chat": pa.array([ASK], kind)}), path)
    assert read_rows(str(path), CHAT, None) == [{"chat": ASK}]


@pytest.mark.parametrize(
    "kind",
    [
        pa.int64(),
        pa.list_(pa.string()),
        pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])),
        pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(pa.string()))])),
        MESSAGE,
    ],
)
def test_a_column_that_holds_no_messages_is_refused_unread(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"chat": pa.array([None], kind)}), path)
    line = refused(path, CHAT, None)
    assert line.startswith("column 'chat' holds ")
    assert line.endswith(", not messages of role and content")


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_what_is_wrong_with_a_chat_is_told_with_its_row(tmp_path: Path, suffix: str) -> None:
    rows = [{"chat": ASK}, {"chat": [{"role": "usr", "content": "a"}]}]
    write(tmp_path / f"t.{suffix}", rows)
    assert refused(tmp_path / f"t.{suffix}", CHAT, None) == (
        "row 2: column 'chat': message 1: unknown role 'usr'; expected one of system, developer, user, assistant, tool"
    )
