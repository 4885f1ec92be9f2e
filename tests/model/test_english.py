"""Text of a stated length: words that depend on task and index alone."""

from __future__ import annotations

from raybench.model.english import words


def test_as_many_words_as_tokens_are_drawn_from_task_and_index() -> None:
    text = words("support", 3, 12)
    assert text == "once every start go people these some would how school most before"
    assert words("support", 3, 12) == text
    assert [len(words("sales", 0, tokens).split(" ")) for tokens in (1, 7, 4096)] == [1, 7, 4096]
    assert len({words(task, index, 12) for task in ("support", "sales") for index in range(50)}) == 100


def test_words_are_many_different_ones_in_lower_case() -> None:
    found = set(words("support", 0, 20_000).split())
    assert len(found) == 207
    assert all(word.isascii() and word.isalpha() and word.islower() for word in found)
