"""``raybench plan FILE --model M``: what is read of the files, and all that is wrong with them in one go."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForSequenceClassification

from model.small_checkpoints import llama_config, save_adapter, save_model
from raybench.cli import main
from raybench.model.prepare import make_tokenizer
from raybench.plan.builder import Overrides
from raybench.records import Problems
from raybench.sweep.checked_plan import CheckedPlan, check_plan


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = save_model(
        LlamaForSequenceClassification, llama_config(vocab_size=1024), tmp_path_factory.mktemp("b") / "base"
    )
    make_tokenizer("micro").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_adapter(base, tmp_path_factory.mktemp("a") / "mine", lora_alpha=0.5)


def of_adapter(name: str, path: str, task: str, more: str = "") -> str:
    return f"""
[[adapters]]
name = "{name}"
tasks = ["{task}"]
seeds = [1]
path = "{path}"
{more}

[[configurations]]
name = "x_{name}"
strategy = "lora_separate"
seed = 1
adapters = ["{name}"]
"""


def checked(path: Path, model: str | None) -> tuple[CheckedPlan | None, list[str]]:
    problems = Problems()
    return check_plan(str(path), Overrides(), model, problems), problems.found


WITHOUT_RAY = """
import sys
from raybench.cli import main
code = main(sys.argv[1:])
print(code, "ray" in sys.modules)
"""


def test_five_faults_of_different_files_are_five_lines_before_ray_is_even_imported(
    base: str, adapter: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    (tmp_path / "t.jsonl").write_text('{"text": "half of it: \\ud83d"}\n')
    plan = tmp_path / "five.toml"
    plan.write_text(
        'name = "five"\n[workload]\ntexts = "t.jsonl"\n'
        + of_adapter("ia3", "other", "a")
        + of_adapter("gone", "adapters/gone", "b")
        + of_adapter("stated", adapter, "c", "r = 8\nalpha = 0.5")
        + '[[configurations]]\nname = "full"\nstrategy = "full_ft"\nseed = 1\ntask = "a"\ncheckpoint = "./full"\n'
    )
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, "plan", str(plan), "--model", base],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "2 False\n"
    assert ran.stderr.splitlines() == [
        f"raybench: {tmp_path}/t.jsonl: row 1: column 'text' holds half a surrogate pair, which is no text",
        f"raybench: configuration full: {tmp_path}/full: no such folder",
        f"raybench: adapter ia3: {other}/adapter_config.json: peft_type is IA3; only LoRA adapters (LORA) are measured",
        "raybench: adapter gone: adapters/gone: no such folder, and as a hub id: it is not in the cache, and "
        "HF_HUB_OFFLINE is set",
        f"raybench: adapter stated: {adapter}: r is 4, the plan says 8: make them agree, or leave out of the plan what "
        "is read from the adapter",
    ]


def test_a_plan_without_faults_shows_what_was_read(base: str, adapter: str, tmp_path: Path, capsys: Any) -> None:
    plan = tmp_path / "good.toml"
    plan.write_text('name = "good"\n' + of_adapter("mine", adapter, "mrpc"))
    assert main(["plan", str(plan), "--model", base]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  adapter mine: r 4, alpha 0.5, on q_proj, v_proj; {adapter}" in [line.rstrip() for line in lines]
    assert lines[-1].rstrip() == f"Run it: python -m raybench.sweep --plan {plan} --model {base}"


def test_the_adapters_base_is_a_caution_of_the_plan_and_of_the_sweep(
    base: str, adapter: str, tmp_path: Path, capsys: Any
) -> None:
    config = json.loads((Path(adapter) / "adapter_config.json").read_text())
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "org/Other-1B"}))
    (mine / "adapter_model.safetensors").write_bytes((Path(adapter) / "adapter_model.safetensors").read_bytes())
    plan = tmp_path / "other.toml"
    plan.write_text('name = "other"\n' + of_adapter("mine", "mine", "mrpc"))
    note = f"adapter mine: {mine}: made for the base org/Other-1B, as its adapter_config.json says; it is measured on "
    found, problems = checked(plan, base)
    assert found is not None
    assert problems == []
    assert [text.removesuffix(base) for text in found.notes] == [note]
    assert main(["plan", str(plan), "--model", base]) == 0
    assert note[:60] in capsys.readouterr().out


def test_texts_are_read_where_the_device_decides_on_the_model(tmp_path: Path) -> None:
    plan = tmp_path / "texts.toml"
    full = '[[configurations]]\nname = "full"\nstrategy = "full_ft"\nseed = 1\ntask = "a"\n'
    plan.write_text('name = "texts"\n[workload]\ntexts = "t.jsonl"\n' + full)
    assert checked(plan, None)[1] == [f"{tmp_path}/t.jsonl: no such file"]
    (tmp_path / "t.jsonl").write_text('{"text": "a film"}\n')
    found, problems = checked(plan, None)
    assert problems == []
    assert found is not None
    assert found.workload(found.model_on("cpu")).request("a", 0).token_ids


def test_texts_are_read_once_for_the_model_that_was_asked_for(base: str, tmp_path: Path) -> None:
    plan = tmp_path / "texts.toml"
    full = '[[configurations]]\nname = "full"\nstrategy = "full_ft"\nseed = 1\ntask = "a"\n'
    plan.write_text('name = "texts"\n[workload]\ntexts = "t.jsonl"\n' + full)
    (tmp_path / "t.jsonl").write_text('{"text": "a film"}\n')
    found, _ = checked(plan, base)
    assert found is not None
    assert found.model is not None
    assert found.workload(found.model) is found.requests


def test_a_base_without_a_tokenizer_is_told_where_texts_need_one(base: str, tmp_path: Path) -> None:
    bare = save_model(LlamaForSequenceClassification, llama_config(), tmp_path / "bare")
    plan = tmp_path / "texts.toml"
    full = '[[configurations]]\nname = "full"\nstrategy = "full_ft"\nseed = 1\ntask = "a"\n'
    plan.write_text('name = "texts"\n[workload]\ntexts = "t.jsonl"\n' + full)
    (tmp_path / "t.jsonl").write_text('{"text": "a film"}\n')
    (line,) = checked(plan, bare)[1]
    assert line.startswith(f"{bare}: no tokenizer can be read there: ")
    assert line.endswith("; set workload.tokenizer")
    plan.write_text(plan.read_text().replace("[[conf", f'tokenizer = "{base}"\n[[conf'))
    assert checked(plan, bare)[1] == [
        f"{bare}: a text has token id 302, the model's vocabulary has 64: the tokenizer is another model's; set "
        "workload.tokenizer"
    ]
