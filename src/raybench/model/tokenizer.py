"""Token ids of one's own texts, by the tokenizer that a plan names or the model's own."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raybench.model.hub import ModelFiles, NoSuchFileError
from raybench.model.prepare import make_tokenizer
from raybench.model.texts import Tokenize, Tokens
from raybench.model.weights import ModelSpec
from raybench.records import InputError

_OF_TOKENIZERS = re.compile(r"token|vocab|merges|bpe|\.model$")
"""In the names of tokenizers' files, whatever library made them."""


def text_tokenizer(
    location: str | None, model: ModelSpec, max_tokens: int | None = None, *, keep_end: bool = False
) -> Tokenize:
    """What makes token ids of a text: the tokenizer at ``location``, else the model's own.

    Longer texts are cut at ``max_tokens``: where the tokenizer itself cuts, which is the end unless its files say
    otherwise, or with ``keep_end`` at the beginning, as the engines that serve language models do, so that the question
    stays. Special tokens that the tokenizer puts around a text stay. Raises InputError where there is no tokenizer, or
    its files are damaged.
    """
    tokenizer, _ = open_tokenizer(location, model)
    if keep_end:
        tokenizer.truncation_side = "left"

    def tokenize(text: str) -> Tokens:
        with told("the tokenizer cannot read it"):
            ids = tokenizer(text, verbose=False)["input_ids"]
            if max_tokens is None or len(ids) <= max_tokens:
                return Tokens(ids)
            ids = tokenizer(text, truncation=True, max_length=max_tokens, verbose=False)["input_ids"]
        if len(ids) > max_tokens:  # it does so, in silence, where its special tokens alone are more
            raise InputError(f"the tokenizer cannot cut it at {max_tokens} tokens; set a larger workload.max_tokens")
        return Tokens(ids, cut=True)

    return tokenize


def open_tokenizer(location: str | None, model: ModelSpec) -> tuple[Any, str]:
    """The tokenizer at ``location``, else the model's own, and where it is. Raises InputError where there is none."""
    if location is None and model.is_preset:
        return make_tokenizer(model.name), model.name
    location = model.base_location if location is None else location
    return _read(location), location


def _read(location: str) -> Any:
    with contextlib.suppress(NoSuchFileError):
        ModelFiles().path(location, "tokenizer_config.json")  # of no folder and no repository: said at once
    none = f"{location}: it has no tokenizer, which texts need: save one into it, or set workload.tokenizer in a plan"
    if Path(location).is_dir() and not any(_OF_TOKENIZERS.search(file.name) for file in Path(location).iterdir()):
        raise InputError(none)  # before libraries are imported for it
    from transformers import AutoTokenizer

    with told(f"{location}: no tokenizer can be read there", "set workload.tokenizer"), _quiet():
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        tokenizer("a text", truncation=True, max_length=8)
        # Of a folder without a tokenizer's files transformers makes one that knows its special tokens only.
        words = len(tokenizer) - len(set(tokenizer.all_special_ids))
    if words < 1:
        raise InputError(none)
    return tokenizer


@contextlib.contextmanager
def told(what: str, remedy: str | None = None) -> Iterator[None]:
    """Whatever odd files make the libraries raise, as an InputError of one line."""
    try:
        yield
    except BaseException as error:
        # A panic of their Rust code is not even an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{what}: {reason}" + (f"; {remedy}" if remedy else "")) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what a library's Rust code writes to standard error when it panics."""
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
