"""The tokenizer of one's own texts: read whole, or refused in one line whatever its files hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import BertForSequenceClassification, GPT2ForSequenceClassification

from model.small_checkpoints import bert_config, gpt2_config, save_model
from raybench.model.prepare import make_tokenizer
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


@pytest.mark.parametrize(
    ("made", "config"),
    [(BertForSequenceClassification, bert_config()), (GPT2ForSequenceClassification, gpt2_config())],
)
def test_a_model_without_a_tokenizers_files_has_none(made: Any, config: Any, tmp_path: Path) -> None:
    """transformers makes one of special tokens only, which reads any text as no tokens or as unknown ones."""
    save_model(made, config, tmp_path)
    assert refused(tmp_path) == "it has no tokenizer, and the plan's texts need one; set workload.tokenizer"


ODD: list[Any] = [[], 3, {}, None, "x", {"model": None}, {"added_tokens": [{"id": 5}]}]


@pytest.mark.parametrize("content", ODD, ids=repr)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_odd_json_in_a_tokenizers_file_is_one_line(good: Path, tmp_path: Path, name: str, content: Any) -> None:
    shutil.copytree(good, tmp_path / "odd")
    (tmp_path / "odd" / name).write_text(json.dumps(content))
    if name == "tokenizer_config.json" and isinstance(content, dict):
        assert text_tokenizer(str(tmp_path / "odd"), PRESET)("a film", 8)
        return
    line = refused(tmp_path / "odd")
    assert line.startswith("no tokenizer can be read there: ")
    assert line.endswith("; set workload.tokenizer")


@pytest.mark.parametrize("content", [b"\xff", b"", b"[" * 100_000])
def test_what_is_no_json_in_a_tokenizers_file_is_one_line(good: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(good, tmp_path / "odd")
    (tmp_path / "odd" / "tokenizer.json").write_bytes(content)
    assert refused(tmp_path / "odd").startswith("no tokenizer can be read there: ")


def test_a_tokenizer_that_is_nowhere_is_told_at_once() -> None:
    assert refused("/nowhere/tokens") == "no such folder"
    assert refused("owner/tokens") == (
        "no such folder, and as a hub id: it is not in the cache, and HF_HUB_OFFLINE is set"
    )
