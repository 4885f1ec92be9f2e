"""The requests: real lengths, every example once before any again, and the same for whoever asks."""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.model.prepare import make_tokenizer
from raybench.model.tokenizer import text_tokenizer
from raybench.model.weights import ModelSpec, preset_shape
from raybench.model.workload import (
    Extent,
    GlueLengths,
    Request,
    Texts,
    draw_token_ids,
    glue_lengths,
    glue_tasks,
    read_texts,
)
from raybench.records import InputError

# Labelled examples, mean and median token count of each task under the Llama-2 tokenizer.
GLUE = {"sst2": (872, 28.1, 27), "mrpc": (408, 63.9, 63), "rte": (2767, 85.0, 68)}


def lengths(workload: GlueLengths, task: str, first: int, count: int) -> list[int]:
    return [workload.request(task, i).tokens for i in range(first, first + count)]


@pytest.mark.parametrize("task", GLUE)
def test_requests_have_the_token_lengths_of_the_tasks_examples(task: str) -> None:
    count, mean, median = GLUE[task]
    drawn = lengths(GlueLengths(0), task, 0, count)
    assert round(statistics.mean(drawn), 1) == mean
    assert statistics.median(drawn) == median
    assert Counter(drawn) == dict(glue_lengths()[task])
    assert max(drawn) <= 384


def test_exactly_these_tasks_ship() -> None:
    assert sorted(glue_tasks()) == sorted(GLUE)


@pytest.mark.parametrize("task", GLUE)
def test_every_example_comes_once_before_any_comes_again(task: str) -> None:
    count = GLUE[task][0]
    workload = GlueLengths(3)
    first, second = lengths(workload, task, 0, count), lengths(workload, task, count, count)
    assert first == second
    assert workload.request(task, count).index == count
    # One fewer leaves one example out: none has come twice.
    assert sum((Counter(dict(glue_lengths()[task])) - Counter(first[:-1])).values()) == 1


def test_the_order_is_drawn_from_the_seed() -> None:
    drawn = {seed: lengths(GlueLengths(seed), "sst2", 0, 200) for seed in (0, 1)}
    assert drawn[0] == lengths(GlueLengths(0), "sst2", 0, 200)
    assert drawn[0] != drawn[1]
    assert any(a > b for a, b in pairwise(drawn[0]))
    assert any(a < b for a, b in pairwise(drawn[0]))


def test_a_task_is_drawn_apart_from_the_others() -> None:
    alone = lengths(GlueLengths(0), "rte", 0, 100)
    workload = GlueLengths(0)
    for i in range(100):
        workload.request("mrpc", i)
        assert workload.request("rte", i).tokens == alone[i]


def test_a_request_is_the_same_in_whatever_order_it_is_asked_for() -> None:
    forwards, backwards = GlueLengths(5), GlueLengths(5)
    expected = [forwards.request("mrpc", i) for i in range(60)]
    assert [backwards.request("mrpc", i) for i in reversed(range(60))] == expected[::-1]


@given(
    task=st.sampled_from(sorted(GLUE)),
    index=st.integers(0, 10**6),
    tokens=st.integers(1, 384),
    vocabulary=st.integers(4, 40_000),
)
def test_drawn_token_ids_are_words_of_the_vocabulary_and_always_the_same(
    task: str, index: int, tokens: int, vocabulary: int
) -> None:
    request = Request(task, index, tokens)
    ids = draw_token_ids(request, vocabulary)
    assert len(ids) == tokens
    assert all(3 <= i < vocabulary for i in ids)
    assert ids == draw_token_ids(Request(task, index, tokens), vocabulary)


def test_other_requests_have_other_token_ids_and_all_of_the_vocabulary_comes() -> None:
    drawn = [draw_token_ids(Request("mrpc", i, 64), 1024) for i in range(100)]
    assert len(set(drawn)) == 100
    assert drawn[0] != draw_token_ids(Request("sst2", 0, 64), 1024)
    seen = {i for ids in drawn for i in ids}
    assert min(seen) == 3
    assert max(seen) == 1023
    assert len(seen) > 1000


def test_a_vocabulary_of_almost_nothing_still_gives_valid_ids() -> None:
    assert set(draw_token_ids(Request("mrpc", 0, 5), 1)) == {0}
    assert set(draw_token_ids(Request("mrpc", 0, 50), 3)) == {2}


def test_a_request_with_token_ids_of_its_own_keeps_them() -> None:
    assert draw_token_ids(Request("mrpc", 0, 3, (7, 8, 9)), 5, avoid=(8,)) == (7, 8, 9)


@given(vocabulary=st.integers(1, 40), avoid=st.sets(st.integers(-1, 40), max_size=12), index=st.integers(0, 1000))
def test_special_tokens_are_drawn_only_where_there_are_no_others(vocabulary: int, avoid: set[int], index: int) -> None:
    drawn = set(draw_token_ids(Request("mrpc", index, 400), vocabulary, avoid))
    words, any_but = (set(range(first, vocabulary)) - avoid for first in (3, 0))
    assert drawn <= (words or any_but or set(range(vocabulary)))


def test_every_id_that_is_no_special_token_is_drawn() -> None:
    assert set(draw_token_ids(Request("mrpc", 0, 2000), 20, avoid=(0, 3, 7, 8, 19))) == {*range(4, 19)} - {7, 8}


def test_special_tokens_below_the_words_change_no_draw() -> None:
    """What the presets have: padding, start and end are ids 0 to 2."""
    request = Request("mrpc", 5, 8)
    assert draw_token_ids(request, 1024, avoid=(0, 1, 2)) == draw_token_ids(request, 1024)
    assert draw_token_ids(request, 1024) == (497, 794, 959, 798, 432, 653, 407, 799)


# Texts of one's own

ROWS = [
    {"text": "a film that someone wanted to make", "kind": "films"},
    {"text": "the company bought the smaller firm", "kind": "news"},
    {"text": "Ünïcode \u2028 and \u0085 are no line ends", "kind": "news"},
    {"text": "rain is expected in the north \U0001f327", "kind": "news"},
]
Tokenize = Callable[[str, int], list[int]]


@pytest.fixture(scope="module")
def tokenize() -> Tokenize:
    return text_tokenizer(None, ModelSpec("micro", "preset_files"))


def write(path: Path, rows: Sequence[Any]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return str(path)


def texts(path: str, tokenize: Tokenize, tasks: Sequence[str] = ("news",), **options: Any) -> Texts:
    values = {"text_column": "text", "task_column": "kind", "max_tokens": 384, "seed": 0} | options
    return read_texts(path, tasks, tokenize, **values)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_texts_become_requests_with_the_tokenizers_ids(tmp_path: Path, tokenize: Tokenize, suffix: str) -> None:
    found = texts(write(tmp_path / f"t.{suffix}", ROWS), tokenize, ("films", "news"))
    expected = {tuple(tokenize(row["text"], 384)) for row in ROWS if row["kind"] == "news"}
    first = [found.request("news", i) for i in range(3)]
    assert {r.token_ids for r in first} == expected
    assert [r.tokens for r in first] == [len(r.token_ids or ()) for r in first]
    again = [found.request("news", i) for i in range(3, 6)]
    assert [r.token_ids for r in again] == [r.token_ids for r in first]
    assert [r.index for r in again] == [3, 4, 5]
    assert found.request("films", 0).token_ids == tuple(tokenize(ROWS[0]["text"], 384))
    decode = make_tokenizer("micro").decode
    assert {decode(ids, skip_special_tokens=True).strip() for ids in expected} == {
        row["text"] for row in ROWS if row["kind"] == "news"
    }


def test_parquet_and_jsonl_of_the_same_rows_give_the_same_requests(tmp_path: Path, tokenize: Tokenize) -> None:
    both = [texts(write(tmp_path / name, ROWS), tokenize) for name in ("t.parquet", "t.jsonl")]
    assert [both[0].request("news", i) for i in range(9)] == [both[1].request("news", i) for i in range(9)]


def test_the_order_of_texts_is_drawn_from_the_seed_and_does_not_depend_on_other_tasks(
    tmp_path: Path, tokenize: Tokenize
) -> None:
    rows = [{"text": f"text number {i}", "kind": ("news", "films")[i % 2]} for i in range(80)]
    path = write(tmp_path / "t.jsonl", rows)
    drawn = {
        (seed, tasks): [texts(path, tokenize, tasks, seed=seed).request("news", i).token_ids for i in range(40)]
        for seed in (0, 1)
        for tasks in (("news",), ("films", "news"))
    }
    assert drawn[0, ("news",)] == drawn[0, ("films", "news")]
    assert drawn[0, ("news",)] != drawn[1, ("news",)]
    in_file_order = [tuple(tokenize(row["text"], 384)) for row in rows if row["kind"] == "news"]
    assert drawn[0, ("news",)] != in_file_order
    assert sorted(drawn[0, ("news",)]) == sorted(in_file_order)


def test_without_a_task_column_every_task_draws_from_the_whole_file(tmp_path: Path, tokenize: Tokenize) -> None:
    found = texts(write(tmp_path / "t.jsonl", ROWS), tokenize, ("mrpc", "sst2"), task_column=None)
    told = found.describe()
    assert len(told.pop("token_ids_sha256")) == 64
    assert told == {"source": str(tmp_path / "t.jsonl"), "seed": 0, "texts": {"mrpc": 4, "sst2": 4}}


def test_texts_are_cut_at_the_most_tokens(tmp_path: Path, tokenize: Tokenize) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": "word " * 100, "kind": "news"}])
    assert texts(path, tokenize).request("news", 0).tokens > 100
    assert texts(path, tokenize, max_tokens=12).request("news", 0).tokens == 12


def test_ids_of_texts_are_within_the_models_vocabulary(tmp_path: Path, tokenize: Tokenize) -> None:
    every_byte = "".join(chr(i) for i in range(0x250)) + "日本語 🙂 \x00"
    path = write(tmp_path / "t.jsonl", [{"text": every_byte, "kind": "news"}])
    ids = texts(path, tokenize, max_tokens=10_000).request("news", 0).token_ids or ()
    assert len(ids) > 500
    assert max(ids) < preset_shape("micro")["config"]["vocab_size"]


@pytest.mark.parametrize(
    ("name", "content", "options", "parts"),
    [
        pytest.param("t.jsonl", None, {}, ["no such file"], id="jsonl-missing"),
        pytest.param("t.parquet", None, {}, ["no such file"], id="parquet-missing"),
        pytest.param("t.jsonl", b"{", {}, ["cannot be read as JSON lines"], id="jsonl-broken"),
        pytest.param("t.jsonl", b"\xff", {}, ["cannot be read as JSON lines"], id="jsonl-not-utf8"),
        pytest.param("t.jsonl", b"[" * 200_000, {}, ["cannot be read as JSON lines"], id="jsonl-nested"),
        pytest.param("t.parquet", b"junk", {}, ["cannot be read as Parquet"], id="parquet-broken"),
        pytest.param("t.jsonl", [{"text": "a"}], {}, ["row 1", "'kind'"], id="jsonl-no-task"),
        pytest.param("t.jsonl", [ROWS[1], {"kind": "news"}], {}, ["row 2", "'text'"], id="jsonl-no-text"),
        pytest.param("t.jsonl", [{"text": 3, "kind": "news"}], {}, ["row 1", "'text'"], id="jsonl-number"),
        pytest.param("t.jsonl", [["text", "kind"]], {}, ["row 1"], id="jsonl-list"),
        pytest.param("t.parquet", [{"text": "a"}], {}, ["'kind'"], id="parquet-no-column"),
        pytest.param(
            "t.parquet", [{"text": 3, "kind": "news"}], {}, ["'text' holds int64, not text"], id="parquet-number"
        ),
        pytest.param(
            "t.parquet", [ROWS[1], {"text": None, "kind": "news"}], {}, ["row 2", "'text'"], id="parquet-null"
        ),
        pytest.param("t.jsonl", [ROWS[0]], {}, ["kind", "'news'", "take the task out"], id="no-text-of-task"),
        pytest.param("t.jsonl", b"\n\n", {"task_column": None}, ["no texts"], id="empty"),
    ],
)
def test_what_is_wrong_with_a_file_of_texts_is_told_in_one_line(
    tmp_path: Path, tokenize: Tokenize, name: str, content: Any, options: dict[str, Any], parts: list[str]
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write(path, content)
    with pytest.raises(InputError) as caught:
        texts(str(path), tokenize, **options)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1, message
    assert [part for part in parts if part not in message] == []


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        texts(str(path), lambda text, most: list(text.encode())[:most])
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("column", ["text", "kind"])
def test_half_a_surrogate_pair_is_no_text(tmp_path: Path, column: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": "a", "kind": "news"} | {column: "news\ud800"}) + "\n")
    assert refused(path) == f"row 1: column {column!r} holds half a surrogate pair, which is no text"


def test_a_whole_surrogate_pair_is_the_character_that_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "\\ud83d\\ude42", "kind": "news"}\n')
    found = texts(str(path), lambda text, most: list(text.encode())[:most]).request("news", 0)
    assert found.token_ids == tuple("🙂".encode())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([2**62], pa.timestamp("us")), "timestamp[us]"),
        (pa.array([10**17], pa.duration("s")), "duration[s]"),
        (pa.array([b"a"]), "binary"),
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
    assert texts(str(path), lambda text, most: list(text.encode())).request("news", 0).token_ids == (97, 98)


def test_a_folder_named_like_a_column_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "text=other"
    folder.mkdir()
    path = folder / "t.parquet"
    pq.write_table(pa.table({"text": ["ab"], "kind": ["news"]}), path)
    assert texts(str(path), lambda text, most: list(text.encode())).request("news", 0).token_ids == (97, 98)
    pq.write_table(pa.table({"kind": ["news"]}), path)
    assert refused(path) == "no column 'text' of its own; it has kind"


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert refused(tmp_path / name) == "not a regular file"


def test_the_extent_is_that_of_the_requests_that_are_sent(tmp_path: Path) -> None:
    drawn = GlueLengths(0)
    for count in (1, 7, 5_000):
        assert drawn.extent("mrpc", count) == Extent(max(drawn.request("mrpc", i).tokens for i in range(count)))
    path = write(tmp_path / "t.jsonl", [{"text": "a" * n, "kind": "news"} for n in range(1, 40)])
    mine = texts(path, lambda text, most: list(range(100, 100 + len(text))))
    for count in (1, 5, 100):
        longest = max(mine.request("news", i).tokens for i in range(count))
        assert mine.extent("news", count) == Extent(longest, 99 + longest)


def test_a_text_without_tokens_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": "", "kind": "news"}])
    with pytest.raises(InputError, match="'news' has no tokens"):
        texts(path, lambda text, most: list(text.encode())[:most])


def test_a_tokenizer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer can be read there.*set workload\.tokenizer") as caught:
        text_tokenizer(str(tmp_path), ModelSpec("micro", "preset_files"))
    assert len(str(caught.value).splitlines()) == 1
