"""Token ids of chats, by the chat template of a tokenizer."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from raybench.model.chats import without_answer
from raybench.model.texts import Tokenize, Tokens
from raybench.model.tokenizer import open_tokenizer, told
from raybench.model.weights import ModelSpec
from raybench.records import InputError

_DAY = datetime.date(2024, 7, 26)
"""What a chat template is told is today; Llama 3's own takes this one where there is no clock."""


def chat_tokenizer(
    location: str | None, model: ModelSpec, max_tokens: int | None = None, *, generates: bool
) -> Tokenize:
    """What makes token ids of a list of messages, by the chat template of the tokenizer at ``location`` or the model's.

    A language model (``generates``) is asked: an answer at the end is left out, and the template's generation prompt
    comes last. A classifier is given the messages as they are. Longer chats are cut at their beginning. A template that
    asks for the date is told the same one every day. Raises InputError where there is no tokenizer or no chat template.
    """
    tokenizer, location = open_tokenizer(location, model)
    template = _chat_template(tokenizer, location)

    def tokenize(messages: list[dict[str, Any]]) -> Tokens:
        asked = without_answer(messages) if generates else messages
        with told(f"the chat template of {location} makes no prompt of it"):
            # Special tokens are the template's: the tokenizer adds none.
            encoded = tokenizer.apply_chat_template(
                asked,
                chat_template=template,
                add_generation_prompt=generates,
                tokenize=True,
                return_dict=True,
                tokenizer_kwargs={"verbose": False},
            )
            ids = encoded["input_ids"]
        if max_tokens is None or len(ids) <= max_tokens:
            return Tokens(ids, answer_left_out=len(asked) < len(messages))
        return Tokens(ids[-max_tokens:], cut=True, answer_left_out=len(asked) < len(messages))

    return tokenize


def _chat_template(tokenizer: Any, location: str) -> str:
    remedy = "give texts by workload.text_column, or set workload.tokenizer to one that has a chat template"
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(f"{location}: its tokenizer has no chat template; {remedy}")
    with told(f"{location}: its tokenizer has no one chat template", remedy):
        template = tokenizer.get_chat_template()
        if not isinstance(template, str):
            raise TypeError(f"it is {str(template)[:60]!r}")
        return template if "strftime_now" not in template else _without_a_clock(template)


def _without_a_clock(template: str) -> str:
    """The template with the date of one day, so that requests are the same on all days and a run can be resumed.

    What stands before it ends with a line of its own, which Jinja drops, so that all else is as it was.
    """
    formats = {found["format"] for found in re.finditer(r"""strftime_now\(\s*(["'])(?P<format>.*?)\1""", template)}
    dates = {format_: _DAY.strftime(format_) for format_ in sorted(formats)}
    found = f"{json.dumps(dates)}.get(format, {json.dumps(_DAY.strftime('%d %b %Y'))})"
    return "{%- macro strftime_now(format) -%}{{ " + found + " }}{%- endmacro %}\n" + template
