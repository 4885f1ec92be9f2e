"""Checkpoints as engines load them, held against transformers and PEFT themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from model.small_checkpoints import adapter_at, llama_config, save_adapter, save_model
from raybench.deploy.gate import TOLERANCE
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import ModelSpec, resolve_model
from raybench.plan.plan import Configuration
from raybench.records import InputError
from raybench.serve.checkpoints import Checkpoints, stored_kinds, weight_files

IDS = torch.tensor([[3, 5, 7, 11, 13, 17, 19, 23]])
SEEDED = adapter_at(None, "drawn", r=4, alpha=8)


@pytest.fixture
def base(tmp_path: Path) -> str:
    config = llama_config(bos_token_id=1, eos_token_id=2, initializer_range=0.2)
    return save_model(AutoModelForCausalLM.from_config, config, tmp_path / "base")


def checkpoints(base: str, dtype: str = "float32") -> Checkpoints:
    return Checkpoints(ModelSpec("mine", "checkpoint", base, "CAUSAL_LM"), dtype)


def logits(folder: Path | str, adapter: Path | str | None = None, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        return model.eval()(IDS).logits.float()


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_merged_checkpoint_has_the_logits_of_pefts_adapter(tmp_path: Path, dtype: str, tied: bool) -> None:
    config = llama_config(tie_word_embeddings=tied, initializer_range=0.2)
    base = save_model(AutoModelForCausalLM.from_config, config, tmp_path / "base")
    targets = ["q_proj", "v_proj", "down_proj", *(["lm_head"] if tied else [])]
    path = save_adapter(base, tmp_path / "adapter", AutoModelForCausalLM, target_modules=targets)
    folder = checkpoints(base, dtype).merged(adapter_at(path, target_modules=None))
    expected = logits(base, path, getattr(torch, dtype))
    assert error(logits(folder, dtype=getattr(torch, dtype)), expected) < TOLERANCE[dtype]
    assert error(logits(base), expected) > 0.1
    assert all(
        stored_kinds(file) == {{"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[dtype]}
        for file in weight_files(folder)
    )


def test_a_drawn_adapter_is_written_as_peft_reads_it_and_is_what_is_merged(base: str) -> None:
    made = checkpoints(base)
    folder = made.adapter(SEEDED)
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".md") == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "raybench-served.json",
    ]
    separate = logits(base, folder)
    assert error(logits(made.merged(SEEDED)), separate) < TOLERANCE["float32"]
    assert error(logits(base), separate) > 0.01
    assert made.adapter(SEEDED) == folder
    assert made.adapter(adapter_at(None, "drawn", r=4, alpha=8, seed=1)) != folder


def test_an_adapter_with_files_is_served_from_them(base: str, tmp_path: Path) -> None:
    path = save_adapter(base, tmp_path / "adapter", AutoModelForCausalLM)
    assert checkpoints(base).adapter(adapter_at(path)) == Path(path)


def test_nothing_is_written_twice_and_all_that_it_is_made_from_counts(base: str, tmp_path: Path) -> None:
    path = save_adapter(base, tmp_path / "adapter", AutoModelForCausalLM)
    first = checkpoints(base).merged(adapter_at(path))
    before = written(first)
    assert checkpoints(base).merged(adapter_at(path)) == first
    assert written(first) == before
    assert checkpoints(base, "bfloat16").merged(adapter_at(path)) != first
    save_adapter(base, tmp_path / "adapter", AutoModelForCausalLM, seed=5)
    second = checkpoints(base).merged(adapter_at(path))
    assert second != first
    assert error(logits(second), logits(base, path)) < TOLERANCE["float32"]
    save_model(AutoModelForCausalLM.from_config, llama_config(initializer_range=0.1), Path(base))
    third = checkpoints(base).merged(adapter_at(path))
    assert third not in (first, second)
    assert error(logits(third), logits(base, path)) < TOLERANCE["float32"]


def test_the_base_gets_a_tokenizer_of_ascii_words_where_it_has_none(base: str) -> None:
    folder = checkpoints(base).base()
    assert folder != Path(base)
    assert torch.equal(logits(folder), logits(base))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 64
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
    assert tokenizer("t3 t63 t5")["input_ids"] == [3, 63, 5]
    texts = [tokenizer.decode([token]) for token in range(3, 64)]
    assert texts == [f"t{token}" for token in range(3, 64)]
    assert all(tokenizer.decode([token]).isascii() for token in range(64))


def test_a_base_that_has_all_is_served_from_its_own_folder(base: str) -> None:
    shutil.copytree(checkpoints(base).base(), Path(base).with_name("whole"))
    whole = str(Path(base).with_name("whole"))
    assert checkpoints(whole).base() == Path(whole)
    other = checkpoints(whole, "bfloat16").base()
    assert other != Path(whole)
    assert stored_kinds(other / "model.safetensors") == {"BF16"}
    # The tokenizer is carried along, byte for byte.
    assert (other / "tokenizer.json").read_bytes() == (Path(whole) / "tokenizer.json").read_bytes()
    Path(whole, "adapter_config.json").write_text("{}")
    assert checkpoints(whole).base() != Path(whole)


def test_a_full_fine_tune_is_its_checkpoint_or_what_stands_for_one(base: str, tmp_path: Path) -> None:
    tuned = save_model(AutoModelForCausalLM.from_config, llama_config(initializer_range=0.3), tmp_path / "tuned")
    own = Configuration("mine", "full_ft", 0, ("a",), checkpoint=tuned)
    assert torch.equal(logits(checkpoints(base).fine_tuned(own)), logits(tuned))
    stands = checkpoints(base).fine_tuned(Configuration("mine", "full_ft", 0, ("a",)))
    assert torch.equal(logits(stands), logits(base))


def test_a_prepared_preset_keeps_its_tokenizer_and_its_adapters() -> None:
    recipe = Recipe("micro-lm", (SEEDED,), ("full",), "CAUSAL_LM")
    spec = resolve_model("micro-lm", "CAUSAL_LM")
    with pytest.raises(InputError, match="prepare it first"):
        Checkpoints(spec, "float32")
    made = Checkpoints(prepared(spec, recipe), "float32")
    location = Path(str(made.spec.location))
    assert made.base() == location / "base"
    assert made.adapter(SEEDED) == location / "adapters" / "drawn"
    merged = made.merged(SEEDED)
    assert error(logits(merged), logits(location / "base", location / "adapters" / "drawn")) < TOLERANCE["float32"]
    assert (merged / "tokenizer.json").read_bytes() == (location / "base" / "tokenizer.json").read_bytes()
    # Of a checkpoint without a tokenizer: the base's.
    tuned = made.fine_tuned(Configuration("full", "full_ft", 0, ("mrpc",)))
    assert (tuned / "tokenizer.json").is_file()
    assert torch.equal(logits(tuned), logits(location / "full_ft" / "full"))


def test_a_classifier_is_refused(base: str) -> None:
    with pytest.raises(InputError, match="serves language models; this one is a SEQ_CLS"):
        Checkpoints(ModelSpec("mine", "checkpoint", base), "float32")


def test_an_index_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../b.safetensors"}}))
    with pytest.raises(InputError, match="in which files of its folder"):
        weight_files(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "2", "b": "1", "c": "2"}}))
    assert [path.name for path in weight_files(tmp_path)] == ["1", "2"]


def test_stored_kinds_are_those_of_floating_point_numbers(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int64), "c": torch.ones(2, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "some.safetensors")
    assert stored_kinds(tmp_path / "some.safetensors") == {"F32", "BF16"}
