"""A process without torch reads configurations as this one does, in which torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from raybench.model import config_reader
from raybench.model.config_reader import ConfigReader, read_config

TYPES = [
    "llama",
    "bert",
    "distilbert",
    "roberta",
    "deberta-v2",
    "gpt2",
    "qwen3",
    "gemma3_text",
    "mixtral",
    "t5",
    "bart",
]
ODD: dict[str, dict[str, Any]] = {
    "no such type": {"model_type": "nothing-of-the-kind"},
    "code of its own": {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.MineConfig"}},
    "text for a number": {"model_type": "llama", "hidden_size": "many"},
    "a list": {"model_type": "llama", "vocab_size": [1]},
    "no type": {"hidden_size": 8},
    "heads that do not divide": {"model_type": "llama", "hidden_size": 30, "num_attention_heads": 7},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("configs")
    for name in TYPES:
        AutoConfig.for_model(name).save_pretrained(root / name)
    for name, content in ODD.items():
        (root / name).mkdir()
        (root / name / "config.json").write_text(json.dumps(content))
    return [*(str(root / name) for name in (*TYPES, *ODD)), str(root / "absent")]


def test_the_other_process_says_what_this_one_does(places: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [read_config(place) for place in places]
    assert [one.get("model_type") for one in expected] == [*TYPES, *[None] * (len(ODD) + 1)]
    assert [one["model_type"] for one in expected if one.get("is_encoder_decoder")] == ["t5", "bart"]
    with monkeypatch.context() as patched:
        patched.delitem(sys.modules, "torch")
        with ConfigReader() as reader:
            found = [reader.read(place) for place in places]
            child = reader._child
            assert child is not None
    assert found == expected
    assert child.poll() is not None


def test_a_process_that_ends_is_no_answer(places: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ends = tmp_path / "ends.py"
    ends.write_text("print('nothing')\n")
    monkeypatch.setattr(config_reader, "__file__", str(ends))
    monkeypatch.setattr(config_reader, "read_config", lambda location: {"error": f"asked here: {location}"})
    monkeypatch.delitem(sys.modules, "torch")
    with ConfigReader() as reader:
        assert reader.read(places[0]) == {"error": f"asked here: {places[0]}"}


def test_torch_is_not_imported_to_check_a_model(places: list[str]) -> None:
    code = """
import sys
from raybench.model.architecture import check_architecture
from raybench.model.config_reader import ConfigReader
with ConfigReader() as configs:
    check_architecture(sys.argv[1], "CAUSAL_LM", configs)
print("torch" in sys.modules, "transformers" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code, places[0]], capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\n"
    assert ran.stderr == ""
