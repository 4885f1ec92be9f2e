"""What stands under an answer: cautions that belong to it, each with its place, and words that it uses."""

from __future__ import annotations

from collections.abc import Iterable

from raybench.page.answer import Answer
from raybench.page.gaps import caution_key
from raybench.page.parts import Note, Section
from raybench.report import explained


def notes_of(answer: Answer, sections: Iterable[Section]) -> tuple[Note, ...]:
    """Each with a link to its caution among ``sections``, or to the section of cautions that has no room for it."""
    there = {item.key for section in sections for item in section.items}
    found = []
    for one in answer.cautions:
        key = caution_key(one.code, one.of)
        words = one.words if one.of is None else f"{one.of}: {one.words}"
        found.append(Note(words, one.code, key if key in there else "cautions"))
    return tuple(found)


def words_of(answer: Answer) -> str:
    """What a visit is, where it is spoken of."""
    return explained("visit", "block") if "visit" in answer.certainty else ""
