"""Token ids of one's own texts, by the tokenizer that a plan names or the model's own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raybench.model.hub import ModelFiles, NoSuchFileError
from raybench.model.prepare import make_tokenizer
from raybench.model.weights import ModelSpec
from raybench.model.workload import Tokenize
from raybench.records import InputError


def text_tokenizer(location: str | None, model: ModelSpec) -> Tokenize:
    """What makes token ids of a text: the tokenizer at ``location``, else the model's own.

    Raises InputError where there is none, or its files are damaged.
    """
    if location is None and model.kind in ("preset_files", "preset_device"):
        tokenizer = make_tokenizer(model.name)
    else:
        if location is None:
            assert model.location is not None
            location = str(Path(model.location, "base")) if model.kind == "prepared" else model.location
        tokenizer = _read(location)

    def tokenize(text: str, max_tokens: int) -> list[int]:
        ids: list[int] = tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
        return ids

    return tokenize


def _read(location: str) -> Any:
    from transformers import AutoTokenizer

    with contextlib.suppress(NoSuchFileError):
        ModelFiles().path(location, "tokenizer_config.json")  # of no folder and no repository: said at once
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
            tokenizer("a text", truncation=True, max_length=8)
            # Of a folder without a tokenizer's files transformers makes one that knows its special tokens only.
            words = len(tokenizer) - len(set(tokenizer.all_special_ids))
    except BaseException as error:
        # Odd files make the libraries raise anything; a panic of their Rust code is not even an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{location}: no tokenizer can be read there: {reason}; set workload.tokenizer") from None
    if words < 1:
        raise InputError(f"{location}: it has no tokenizer, and the plan's texts need one; set workload.tokenizer")
    return tokenizer


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
