"""Chats become prompts by the tokenizer's own template, as transformers makes them; one that fails is one line."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from raybench.model.chat_template import chat_tokenizer
from raybench.model.prepare import make_tokenizer
from raybench.model.texts import Tokens
from raybench.model.weights import ModelSpec
from raybench.records import InputError

PRESET = ModelSpec("micro", "preset_files")
CHATML = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
ASK = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why does a film end?"}]
ANSWER = {"role": "assistant", "content": "it never finds its voice"}

Save = Callable[..., str]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a tokenizer with a chat template; gives its folder."""

    def saved(template: Any, name: str = "t") -> str:
        tokenizer = make_tokenizer("micro")
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return saved


def ids_of(location: str, messages: Any, *, generates: bool = True, most: int | None = None) -> Tokens:
    return chat_tokenizer(location, PRESET, most, generates=generates)(messages)


def refused(location: str, messages: Any = ASK) -> str:
    with pytest.raises(InputError) as caught:
        ids_of(location, messages)
    (line,) = caught.value.lines
    assert len(line.splitlines()) == 1
    return line


def by_transformers(location: str, messages: Any, *, prompt: bool) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(location)
    ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt)["input_ids"]
    return ids


def test_a_chat_is_the_prompt_that_transformers_makes_with_no_token_of_its_own_before_it(save: Save) -> None:
    location = save(CHATML)
    found = ids_of(location, ASK)
    assert found == Tokens(by_transformers(location, ASK, prompt=True))
    text = "<s>system\nbe brief</s>\n<s>user\nwhy does a film end?</s>\n<s>assistant\n"
    tokenizer = make_tokenizer("micro")
    assert found.ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert list(found.ids).count(1) == 3  # one start token a message


def test_an_answer_at_the_end_is_left_out_of_what_a_language_model_is_asked(save: Save) -> None:
    location = save(CHATML)
    assert ids_of(location, [*ASK, ANSWER]) == Tokens(ids_of(location, ASK).ids, answer_left_out=True)
    assert refused(location, [ANSWER]) == "a chat in which nothing is asked: all of its messages are the assistant's"


def test_a_classifier_is_given_the_whole_chat_and_no_generation_prompt(save: Save) -> None:
    location = save(CHATML)
    chat = [*ASK, ANSWER]
    assert ids_of(location, chat, generates=False) == Tokens(by_transformers(location, chat, prompt=False))


def test_a_longer_chat_loses_its_beginning(save: Save) -> None:
    location = save(CHATML)
    whole = ids_of(location, ASK).ids
    for most in (1, 7, len(whole) - 1):
        assert ids_of(location, ASK, most=most) == Tokens(whole[-most:], cut=True)
    assert ids_of(location, ASK, most=len(whole)) == Tokens(whole)
    assert ids_of(location, [*ASK, ANSWER], most=3) == Tokens(whole[-3:], cut=True, answer_left_out=True)


def test_a_tokenizer_without_a_chat_template_is_refused_with_two_remedies(save: Save) -> None:
    line = (
        "its tokenizer has no chat template; give texts by workload.text_column, or set workload.tokenizer to one that "
        "has a chat template"
    )
    assert refused(location := save(None)) == f"{location}: {line}"
    with pytest.raises(InputError) as caught:
        chat_tokenizer(None, PRESET, generates=True)
    assert str(caught.value) == f"micro: {line}"


def test_of_several_templates_the_default_is_taken(save: Save) -> None:
    location = save({"default": CHATML, "tool_use": "x"})
    assert ids_of(location, ASK) == ids_of(save(CHATML, "one"), ASK)
    assert refused(save({"a": CHATML, "b": "x"}, "none")).partition(": its tokenizer has no one chat template: ")[2][
        :60
    ] == ("This model has multiple chat templates with no default speci")


@pytest.mark.parametrize("template", [3, ["x"], {"default": 3}])
def test_a_template_that_is_no_text_is_one_line(save: Save, template: Any) -> None:
    location = save(CHATML)
    config = json.loads(Path(location, "tokenizer_config.json").read_text())
    Path(location, "chat_template.jinja").unlink()
    Path(location, "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    assert refused(location).startswith(f"{location}: ")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('Only user\nand assistant roles') }}", "Only user and assistant roles"),
        ("{{ messages[5].content }}", "list object has no element 5"),
        ("{{ messages[0].content + 3 }}", 'can only concatenate str (not "int") to str'),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for %}", "Expected an expression, got 'end of statement block'"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
        ("{% include 'x' %}", "no loader for this environment specified"),
        ("{{ range(1000000) }}", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000)."),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "maximum recursion depth exceeded"),
    ],
)
def test_what_a_template_raises_is_one_line(save: Save, template: str, said: str) -> None:
    location = save(template)
    assert refused(location).startswith(f"the chat template of {location} makes no prompt of it: {said}")


def test_a_template_without_a_word_gives_no_tokens(save: Save) -> None:
    assert ids_of(save("{# nothing #}"), ASK) == Tokens([])


CLOCKS = [
    "{{ strftime_now('%d %B %Y') }}",
    '   {%- if strftime_now is defined %}\n  Today: {{ strftime_now("%Y-%m-%d") }}\n{%- endif %}\n',
    "\n\n  {% set today = strftime_now( '%d %b %Y \"é' ) %}{{ today }}\n",
    "{% set f = '%d %b %Y' %}\n  {{ strftime_now(f) }}\n{% for m in messages %}\n{{ strftime_now('%H') }}{% endfor %}",
]


@pytest.mark.parametrize("template", CLOCKS)
def test_a_template_is_told_the_same_day_on_every_day_and_is_else_what_it_was(
    save: Save, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ThatDay(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> ThatDay:
            return cls(2024, 7, 26)

    location = save(template + CHATML)
    found = ids_of(location, ASK)
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", ThatDay)
    assert found.ids == by_transformers(location, ASK, prompt=True)
    assert time.strftime("%Y-%m-%d") not in make_tokenizer("micro").decode(found.ids)
