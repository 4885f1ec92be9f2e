"""The tokenizer of one's own texts: read whole, or refused in one line whatever its files hold."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertForSequenceClassification, GPT2ForSequenceClassification, PreTrainedTokenizerFast

from model.small_checkpoints import bert_config, gpt2_config, save_model
from raybench.model.prepare import make_tokenizer
from raybench.model.texts import Tokens
from raybench.model.tokenizer import text_tokenizer
from raybench.model.weights import ModelSpec
from raybench.records import InputError

PRESET = ModelSpec("micro", "preset_files")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer("micro").save_pretrained(folder)
    return folder


def refused(location: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        text_tokenizer(str(location), PRESET)
    (line,) = caught.value.lines
    return line.removeprefix(f"{location}: ")


NONE = "it has no tokenizer, which texts need: save one into it, or set workload.tokenizer in a plan"


@pytest.mark.parametrize(
    ("made", "config"),
    [(BertForSequenceClassification, bert_config()), (GPT2ForSequenceClassification, gpt2_config())],
)
def test_a_model_without_a_tokenizers_files_has_none(made: Any, config: Any, tmp_path: Path) -> None:
    """transformers makes one of special tokens only, which reads any text as no tokens or as unknown ones."""
    save_model(made, config, tmp_path)
    (tmp_path / "special_tokens_map.json").write_text("{}")
    assert refused(tmp_path) == NONE


ODD: list[Any] = [[], 3, {}, None, "x", {"model": None}, {"added_tokens": [{"id": 5}]}]


@pytest.mark.parametrize("content", ODD, ids=repr)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_odd_json_in_a_tokenizers_file_is_one_line(good: Path, tmp_path: Path, name: str, content: Any) -> None:
    shutil.copytree(good, tmp_path / "odd")
    (tmp_path / "odd" / name).write_text(json.dumps(content))
    if name == "tokenizer_config.json" and isinstance(content, dict):
        assert text_tokenizer(str(tmp_path / "odd"), PRESET, 8)("a film").ids
        return
    line = refused(tmp_path / "odd")
    assert line.startswith("no tokenizer can be read there: ")
    assert line.endswith("; set workload.tokenizer")


@pytest.mark.parametrize("content", [b"\xff", b"", b"[" * 100_000])
def test_what_is_no_json_in_a_tokenizers_file_is_one_line(good: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(good, tmp_path / "odd")
    (tmp_path / "odd" / "tokenizer.json").write_bytes(content)
    assert refused(tmp_path / "odd").startswith("no tokenizer can be read there: ")


def test_a_folder_without_a_tokenizers_files_is_told_before_anything_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # to import it would be an error
    assert refused(tmp_path) == NONE


def test_a_tokenizer_that_is_nowhere_is_told_at_once() -> None:
    assert refused("/nowhere/tokens") == "no such folder"
    assert refused("owner/tokens") == (
        "no such folder, and as a hub id: it is not in the cache, and HF_HUB_OFFLINE is set"
    )


# Cutting

FILM = "a film that never finds its voice is still a film"
FILM_IDS = [1, 277, 302, 269, 415, 400, 303, 407, 300, 423, 277, 302]


def tokens(location: Path | None, most: int | None, **options: Any) -> Tokens:
    return text_tokenizer(None if location is None else str(location), PRESET, most, **options)(FILM)


def with_ends(folder: Path) -> Path:
    """A tokenizer that puts a token before a text and one after it, as BERT's does."""
    words = {word: place for place, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(FILM.split())])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)
    return folder


def test_a_text_that_is_not_too_long_is_whole() -> None:
    for most in (None, 12, 384):
        assert tokens(None, most) == tokens(None, most, keep_end=True) == Tokens(FILM_IDS)


def test_a_classifiers_text_loses_its_end_and_a_language_models_its_beginning() -> None:
    """The start token stays: the tokenizer puts it before what is left."""
    assert tokens(None, 5) == Tokens(FILM_IDS[:5], cut=True)
    assert tokens(None, 5, keep_end=True) == Tokens([1, *FILM_IDS[-4:]], cut=True)


def test_special_tokens_at_both_ends_stay(tmp_path: Path) -> None:
    folder = with_ends(tmp_path)
    assert tokens(folder, None) == Tokens([1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 3, 4, 2])
    assert tokens(folder, 5) == Tokens([1, 3, 4, 5, 2], cut=True)
    assert tokens(folder, 5, keep_end=True) == Tokens([1, 11, 3, 4, 2], cut=True)


def test_a_tokenizer_that_cannot_cut_so_short_is_not_believed(tmp_path: Path) -> None:
    """Below its two special tokens it gives the text whole."""
    with pytest.raises(InputError) as caught:
        tokens(with_ends(tmp_path), 1)
    assert caught.value.lines == ("the tokenizer cannot cut it at 1 tokens; set a larger workload.max_tokens",)


def test_nothing_is_said_of_a_text_longer_than_the_tokenizers_own_limit(
    good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(good, tmp_path / "short")
    config = json.loads((good / "tokenizer_config.json").read_text())
    (tmp_path / "short" / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": 4}))
    assert tokens(tmp_path / "short", None) == Tokens(FILM_IDS)
    assert capfd.readouterr() == ("", "")
