"""The requests: real lengths, every example once before any again, and the same for whoever asks."""

from __future__ import annotations

import statistics
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.model.workload import GlueLengths, Request, draw_token_ids, glue_lengths, glue_tasks, request_of

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


# Batches


def test_a_batch_has_the_next_prompts_of_its_task_and_generates_what_its_own_request_does() -> None:
    workload = GlueLengths(0, [3, 5, 9])
    batch = request_of(workload, "mrpc", 7, batch=4)
    assert batch.prompts == tuple(workload.request("mrpc", i) for i in (28, 29, 30, 31))
    assert (batch.task, batch.index, batch.token_ids) == ("mrpc", 7, None)
    assert batch.tokens == sum(prompt.tokens for prompt in batch.prompts)
    assert batch.output_tokens == workload.request("mrpc", 7).output_tokens
    assert request_of(workload, "mrpc", 7) == workload.request("mrpc", 7)


def test_no_prompt_is_in_two_batches_and_none_is_left_out() -> None:
    workload = GlueLengths(0)
    prompts = [prompt.index for i in range(6) for prompt in request_of(workload, "rte", i, batch=5).prompts]
    assert prompts == list(range(30))


def test_the_tasks_of_a_mixed_batch_take_turns_from_that_which_it_is_called_by() -> None:
    tasks = ("mrpc", "sst2", "rte")
    batch = request_of(GlueLengths(0), "sst2", 2, batch=5, mixed_tasks=tasks)
    assert [(p.task, p.index) for p in batch.prompts] == [
        ("sst2", 10),
        ("rte", 11),
        ("mrpc", 12),
        ("sst2", 13),
        ("rte", 14),
    ]


def test_what_is_generated_is_drawn_for_each_request_and_no_classifier_generates() -> None:
    assert {GlueLengths(0).request("mrpc", i).output_tokens for i in range(50)} == {0}
    workload = GlueLengths(0, 32)
    assert [workload.request("mrpc", i).tokens for i in range(50)] == lengths(GlueLengths(0), "mrpc", 0, 50)
    assert {workload.request("mrpc", i).output_tokens for i in range(50)} == {32}
    assert workload.describe() == {"source": "glue_token_lengths", "seed": 0, "output_tokens": 32}
    assert GlueLengths(0).describe() == {"source": "glue_token_lengths", "seed": 0}


@pytest.mark.parametrize("count", [1, 7, 5_000])
def test_counts_are_those_of_the_requests(count: int) -> None:
    workload = GlueLengths(1, [1, 2, 3])
    asked = [workload.request("mrpc", i) for i in range(count)]
    assert workload.prompt_tokens("mrpc", count).tolist() == [r.tokens for r in asked]
    assert workload.output_tokens("mrpc", count).tolist() == [r.output_tokens for r in asked]
