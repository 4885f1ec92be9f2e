"""Writing a preset as ordinary Hugging Face files: whole or not at all, once, and readable by anyone."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from raybench.deploy import strategies
from raybench.machine.device import CpuDevice
from raybench.model.prepare import (
    Recipe,
    cache_folder,
    check_checkpoint,
    make_tokenizer,
    prepared,
    write_preset,
)
from raybench.model.shipped_shapes import preset_shape
from raybench.model.tokenizer import text_tokenizer
from raybench.model.weights import ModelSpec, Weights, resolve_model
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.plan import Adapter, Plan
from raybench.records import InputError
from raybench.visit.process import PRELOAD

LITTLE = Recipe("micro", (Adapter("mine", "mrpc", 1, 4, 16, ("q_proj", "v_proj")),), ("full",))
TEXTS = [
    "a film that never finds its voice",
    "Ünïcode, 日本語 and 🙂",
    "tabs\tand\nlines",
    "  spaces   kept  ",
    "\x00\x7f\x80\uffff",
    "0123456789 ~!@#$%^&*()",
]


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("little") / "models"
    assert write_preset(LITTLE, folder)
    return folder


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of change."""
    found = {p: p.stat() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {str(p.relative_to(folder)): (s.st_size, s.st_mtime_ns) for p, s in found.items()}


def test_the_folder_holds_base_tokenizer_adapters_and_fine_tunes_and_no_pickle(little: Path) -> None:
    names = set(files(little))
    assert names >= {
        "raybench.json",
        "base/config.json",
        "base/model.safetensors",
        "base/tokenizer.json",
        "adapters/mine/adapter_config.json",
        "adapters/mine/adapter_model.safetensors",
        "full_ft/full/config.json",
        "full_ft/full/model.safetensors",
    }
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert {p.name for p in little.parent.iterdir()} == {"models"}


def test_an_adapter_on_embeddings_is_written_without_the_bases(tmp_path: Path) -> None:
    """PEFT would save them too, with each adapter, and load them over the base's."""
    adapter = dataclasses.replace(LITTLE.adapters[0], target_modules=("embed_tokens",))
    write_preset(Recipe("micro", (adapter,), ()), tmp_path / "models")
    stored = load_file(tmp_path / "models" / "adapters" / "mine" / "adapter_model.safetensors")
    embedding = "base_model.model.model.embed_tokens.lora_embedding_"
    assert set(stored) == {f"{embedding}A", f"{embedding}B", "base_model.model.score.weight"}
    assert all(bool(weight.any()) for weight in stored.values())


def test_a_language_models_folder_is_known_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    write_preset(dataclasses.replace(LITTLE, preset="micro-lm", task_type="CAUSAL_LM"), folder)
    spec = resolve_model(str(folder), "CAUSAL_LM")
    assert spec == resolve_model(str(folder), None) == ModelSpec("models", "prepared", str(folder), "CAUSAL_LM")
    with pytest.raises(InputError, match=r"models: it is made as a causal language model, .* take micro or tinyllama"):
        resolve_model(str(folder))
    plain = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    theirs = peft.PeftModel.from_pretrained(plain, folder / "adapters" / "mine").eval()
    lora = strategies_configuration("lora_separate", LITTLE.adapters)
    weights = Weights(spec, CpuDevice())
    ours: Any = weights.attach(weights.base(lora), LITTLE.adapters[0], lora)
    assert isinstance(ours, peft.PeftModelForCausalLM)
    ids = torch.tensor([[1, 7, 300, 1000]])
    with torch.inference_mode():
        assert torch.equal(ours(input_ids=ids).logits, theirs(input_ids=ids).logits)
        assert ours(input_ids=ids).logits.shape == (1, 4, 1024)


def test_writing_again_does_nothing(little: Path) -> None:
    before = files(little)
    assert write_preset(LITTLE, little) is False
    assert files(little) == before


def test_the_same_recipe_gives_the_same_weights(little: Path, tmp_path: Path) -> None:
    torch.rand(3)  # whatever was drawn before
    write_preset(LITTLE, tmp_path / "again")
    stored = [name for name in files(little) if name.endswith(".safetensors")]
    assert len(stored) == 3
    assert all((little / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in stored)


def _write_at_once(barrier: Any, folder: Path, answers: Any) -> None:
    torch.set_num_threads(1)
    barrier.wait(60)
    answers.put(write_preset(LITTLE, folder))


def test_two_processes_that_write_the_same_folder_leave_one_whole_one(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "models"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    barrier, answers = context.Barrier(2), context.Queue()
    both = [context.Process(target=_write_at_once, args=(barrier, folder, answers)) for _ in range(2)]
    for process in both:
        process.start()
    assert sorted(answers.get(timeout=300) for _ in both) == [False, True]
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert [p.name for p in folder.parent.iterdir()] == ["models"]
    assert write_preset(LITTLE, folder) is False
    assert AutoModelForSequenceClassification.from_pretrained(folder / "full_ft" / "full").config.hidden_size == 64


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = Recipe("micro", (dataclasses.replace(LITTLE.adapters[0], target_modules=("no_such_module",)),), ())
    with pytest.raises(InputError, match=r"adapter mine: .*no_such_module"):
        write_preset(bad, tmp_path / "models")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mark", [None, b"{", b"\xff\xfe", b"{}", b"[]", b""])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path, mark: bytes | None) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    if mark is not None:
        (folder / "raybench.json").write_bytes(mark)
    before = files(folder)
    with pytest.raises(InputError, match="exists and is not this preset for this plan; remove it or choose") as caught:
        write_preset(LITTLE, folder)
    assert caught.value.exit_code == 2
    assert files(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["models"]


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(LITTLE, full_ft=("full", "more")),
        dataclasses.replace(LITTLE, full_ft=()),
        dataclasses.replace(LITTLE, adapters=(dataclasses.replace(LITTLE.adapters[0], alpha=8),)),
        dataclasses.replace(LITTLE, adapters=(dataclasses.replace(LITTLE.adapters[0], seed=2),)),
    ],
)
def test_another_recipe_has_another_digest_and_is_refused_in_the_same_folder(little: Path, other: Recipe) -> None:
    assert other.digest() != LITTLE.digest()
    with pytest.raises(InputError, match="is not this preset for this plan"):
        write_preset(other, little)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        write_preset(LITTLE, tmp_path / "file" / "models")
    with pytest.raises(InputError, match="exists and is not"):
        write_preset(LITTLE, tmp_path / "file")


def test_the_folder_can_be_read_by_others_on_the_machine(little: Path) -> None:
    assert little.stat().st_mode & 0o777 == 0o755


def test_transformers_and_peft_read_it_as_anyones_checkpoint(little: Path) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(little / "base").eval()
    full = AutoModelForSequenceClassification.from_pretrained(little / "full_ft" / "full").eval()
    tokenizer = AutoTokenizer.from_pretrained(little / "base")
    inputs = tokenizer("the committee said that the report was clear", return_tensors="pt")
    with torch.inference_mode():
        plain, tuned = base(**inputs).logits, full(**inputs).logits
        adapted = peft.PeftModel.from_pretrained(base, little / "adapters" / "mine").eval()
        lora = adapted(**inputs).logits
        with adapted.disable_adapter():
            without = adapted(**inputs).logits
    assert plain.shape == (1, 2)
    assert torch.equal(without, plain)
    assert not torch.allclose(tuned, plain, rtol=1e-2)
    assert not torch.allclose(lora, plain, rtol=1e-2)
    config = adapted.peft_config["default"]
    assert (config.r, config.lora_alpha, set(config.target_modules)) == (4, 16, {"q_proj", "v_proj"})


def test_the_adapters_files_give_the_logits_that_raybench_measures(little: Path) -> None:
    weights = Weights(resolve_model(str(little)), CpuDevice())
    lora: Any = strategies_configuration("lora_separate", LITTLE.adapters)
    ours = weights.attach(weights.base(lora), LITTLE.adapters[0], lora)
    base = AutoModelForSequenceClassification.from_pretrained(little / "base")
    theirs = peft.PeftModel.from_pretrained(base, little / "adapters" / "mine").eval()
    ids = torch.tensor([[1, 7, 300, 1000]])
    with torch.inference_mode():
        assert torch.equal(ours(input_ids=ids).logits, theirs(input_ids=ids).logits)


def strategies_configuration(strategy: str, adapters: tuple[Adapter, ...]) -> Any:
    from raybench.plan.plan import Configuration

    return Configuration("c", strategy, 1, tuple(a.task for a in adapters), adapters)


def test_every_adapter_matrix_b_is_filled(little: Path) -> None:
    stored = load_file(little / "adapters" / "mine" / "adapter_model.safetensors")
    matrices = [value for name, value in stored.items() if "lora_B" in name]
    assert len(matrices) == 16
    assert all(float((matrix == 0).float().mean()) < 0.01 for matrix in matrices)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_goes_to_ids_below_the_vocabulary_and_back(little: Path, text: str) -> None:
    vocabulary = preset_shape("micro")["config"]["vocab_size"]
    for tokenizer in (make_tokenizer("micro"), AutoTokenizer.from_pretrained(little / "base")):
        assert len(tokenizer) <= vocabulary
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == preset_shape("micro")["config"]["bos_token_id"]
        assert all(0 <= i < vocabulary for i in ids)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True).removeprefix(" ") == text.removeprefix(" ")


def test_common_words_are_fewer_tokens_than_letters() -> None:
    text = "the company bought the smaller firm"
    assert len(make_tokenizer("micro")(text)["input_ids"]) < len(text) / 2


def test_the_models_own_tokenizer_is_used_where_none_is_named(little: Path) -> None:
    text = "rain is expected in the north"
    built = text_tokenizer(None, ModelSpec("micro", "preset_files"))(text)
    assert text_tokenizer(None, resolve_model(str(little)))(text) == built
    assert text_tokenizer(None, resolve_model(str(little / "base")))(text) == built
    assert text_tokenizer(str(little / "base"), ModelSpec("x", "preset_device"))(text) == built
    assert text_tokenizer(None, resolve_model(str(little)), 3)(text).ids == built.ids[:3]


# The cache


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("RAYBENCH_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "raybench"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / "home" / ".cache" / "raybench"


def test_a_preset_of_files_is_written_to_the_cache_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path))
    recipe = dataclasses.replace(LITTLE, full_ft=())
    spec = prepared(ModelSpec("micro", "preset_files"), recipe)
    folder = tmp_path / f"micro-{recipe.digest()}"
    assert spec == ModelSpec("micro", "prepared", str(folder))
    before = files(folder)
    assert prepared(ModelSpec("micro", "preset_files"), recipe) == spec
    assert files(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("kind", ["preset_device", "prepared", "checkpoint"])
def test_other_models_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Any) -> None:
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "cache"))
    spec = ModelSpec("m", kind, "/somewhere")
    assert prepared(spec, LITTLE) is spec
    assert not (tmp_path / "cache").exists()


def test_a_recipe_is_all_that_the_plan_does_not_bring_itself(load_plan: Callable[..., Plan], tmp_path: Path) -> None:
    rq2 = Recipe.of("micro", plan_file.load_plan("rq2", strategies.all_traits(), glue_tasks())[0])
    pairs = {f"{task}_seed{seed}" for task in ("mrpc", "sst2", "rte") for seed in (42, 1337, 2024)}
    assert {a.name for a in rq2.adapters} == pairs
    assert len(rq2.adapters) == 9
    assert {(a.task, a.alpha) for a in rq2.adapters} == {("mrpc", 64), ("sst2", 8), ("rte", 8)}
    assert set(rq2.full_ft) == {f"fullft_{pair}" for pair in pairs}
    plan = load_plan()
    own = tuple(
        dataclasses.replace(
            c,
            adapters=tuple(dataclasses.replace(a, path="/mine") if a.task == "mrpc" else a for a in c.adapters),
            checkpoint="/mine" if c.name == "fullft_sst2_seed42" else None,
        )
        for c in plan.configurations
    )
    recipe = Recipe.of("micro", dataclasses.replace(plan, configurations=own))
    assert [a.name for a in recipe.adapters] == ["sst2_seed42"]
    assert recipe.full_ft == ("fullft_mrpc_seed42",)


def test_the_mark_says_what_the_folder_holds(little: Path) -> None:
    mark = json.loads((little / "raybench.json").read_text())
    assert mark["preset"] == "micro"
    assert mark["full_ft"] == ["full"]
    assert [(a["name"], a["r"], a["alpha"]) for a in mark["adapters"]] == [("mine", 4, 16)]


def test_a_checkpoint_that_is_nowhere_is_bad_input_before_any_visit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nor a model of that hub id"):
        check_checkpoint(ModelSpec("typo", "checkpoint", "nobody/typo"))
    check_checkpoint(ModelSpec("micro", "preset_files"))


def test_a_checkpoint_that_brings_code_of_its_own_is_refused_unrun(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    of_its_own = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
    (mine / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": of_its_own}))
    (mine / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    with pytest.raises(InputError, match="it brings code of its own, which is not run") as refused:
        check_checkpoint(ModelSpec("mine", "checkpoint", str(mine)))
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError):
        text_tokenizer(str(mine), ModelSpec("micro", "preset_files"))
    assert not (tmp_path / "ran").exists()
