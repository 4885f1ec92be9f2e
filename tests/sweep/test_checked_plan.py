"""``raybench plan FILE --model M``: what is read of the files, and all that is wrong with them in one go."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from model.small_checkpoints import llama_config, save_adapter, save_model
from raybench.cli import main
from raybench.model.prepare import make_tokenizer
from raybench.model.workload import GlueLengths, Request
from raybench.plan.builder import Overrides
from raybench.records import InputError, Problems
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
    assert lines[-1].rstrip() == f"Run it: raybench sweep --plan {plan} --model {base}"


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
    assert checked(plan, bare)[1] == [
        f"{bare}: it has no tokenizer, which texts need: save one into it, or set workload.tokenizer in a plan"
    ]
    plan.write_text(plan.read_text().replace("[[conf", f'tokenizer = "{base}"\n[[conf'))
    assert checked(plan, bare)[1] == [
        f"{bare}: a text has token id 302, the model's vocabulary has 64: the tokenizer is another model's; set "
        "workload.tokenizer"
    ]


# Requests

GENERATING = 'task_type = "CAUSAL_LM"\n'
FULL = '[[configurations]]\nname = "full"\nstrategy = "full_ft"\nseed = 1\ntask = "{task}"\n'


def requests_of(folder: Path, workload: str, model: str | None, *, generates: bool, task: str = "a") -> CheckedPlan:
    plan = folder / "requests.toml"
    head = 'name = "requests"\n' + (GENERATING if generates else "")
    plan.write_text(head + workload + FULL.format(task=task))
    found, problems = checked(plan, model)
    assert problems == []
    assert found is not None
    return found


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of 64 positions, with a tokenizer that has a chat template."""
    folder = tmp_path_factory.mktemp("lm") / "base"
    save_model(LlamaForCausalLM, llama_config(vocab_size=1024, max_position_embeddings=64), folder)
    tokenizer = make_tokenizer("micro")
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}"
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("workload", "task", "described", "tokens", "output"),
    [
        (
            "[workload]\nprompt_tokens = 12\noutput_tokens = 3\n",
            "a",
            {"source": "lengths", "seed": 0, "prompt_tokens": 12, "output_tokens": 3},
            12,
            3,
        ),
        (
            "[workload]\noutput_tokens = [4]\n",
            "mrpc",
            {"source": "glue_token_lengths", "seed": 0, "output_tokens": [4]},
            GlueLengths(0).request("mrpc", 0).tokens,
            4,
        ),
    ],
)
def test_a_language_models_requests_are_of_the_lengths_that_the_plan_says(
    tmp_path: Path, workload: str, task: str, described: dict[str, Any], tokens: int, output: int
) -> None:
    found = requests_of(tmp_path, workload, "micro-lm", generates=True, task=task)
    requests = found.workload(found.model_on("cpu"))
    assert requests.describe() == described
    assert requests.request(task, 0) == Request(task, 0, tokens, None, output)


def test_a_classifiers_requests_may_be_of_stated_lengths(tmp_path: Path) -> None:
    drawn = "[workload]\nprompt_tokens = {median = 20, sigma = 0.5, max = 64}\n"
    found = requests_of(tmp_path, drawn, "micro", generates=False)
    described = {"median": 20, "sigma": 0.5, "max": 64}
    requests = found.workload(found.model_on("cpu"))
    assert requests.describe() == {"source": "lengths", "seed": 0, "prompt_tokens": described}
    assert requests.request("a", 7).output_tokens == 0


def test_cuda_graphs_are_refused_where_there_is_no_gpu(tmp_path: Path) -> None:
    plan = tmp_path / "graphs.toml"
    plan.write_text('name = "graphs"\n' + FULL.format(task="mrpc") + 'execution = "cudagraph"\n')
    found, problems = checked(plan, "micro")
    assert problems == []
    assert found is not None
    found.check_device("cuda")
    with pytest.raises(InputError) as refused:
        found.check_device("cpu")
    name = found.plan.configurations[0].name
    assert refused.value.lines == (
        f"{found.plan.name}: {name} of execution cudagraph, which is for CUDA GPUs, and there is none: run it where "
        "there is one, or have them eager or compiled",
    )


def test_a_classifiers_texts_are_cut_at_384_tokens_and_a_language_models_are_whole(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\n" + "word " * 500 + "\n")
    workload = '[workload]\ntexts = "t.csv"\n'
    cut = requests_of(tmp_path, workload, "micro", generates=False)
    assert cut.workload(cut.model_on("cpu")).request("a", 0).tokens == 384
    assert cut.notes == (f"{tmp_path}/t.csv: 1 of 1 texts are longer than 384 tokens and were cut to that length",)
    whole = requests_of(tmp_path, workload + "output_tokens = 2\n", "micro-lm", generates=True)
    assert whole.workload(whole.model_on("cpu")).request("a", 0).tokens > 500
    assert whole.notes == ()


def test_chats_are_shown_with_what_was_left_out_of_them(language_model: str, tmp_path: Path, capsys: Any) -> None:
    chats = [
        [{"role": "user", "content": "a film " * 30 + "that never ends"}],
        [{"role": "user", "content": "a film"}, {"role": "assistant", "content": "yes"}],
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    workload = '[workload]\ntexts = "t.jsonl"\nchat_column = "messages"\noutput_tokens = 8\nmax_tokens = 24\n'
    found = requests_of(tmp_path, workload, language_model, generates=True)
    requests = found.workload(found.model_on("cpu"))
    decode = make_tokenizer("micro").decode
    prompts = {decode(requests.request("a", i).token_ids).replace("  ", " ") for i in range(2)}
    assert "<s> a film</s>" in prompts
    (long,) = prompts - {"<s> a film</s>"}
    assert long.endswith("a film that never ends</s>")
    assert not long.startswith("<s>")
    told = requests.describe()
    assert (told["cut_texts"], told["answers_left_out"], told["output_tokens"]) == ({"a": 1}, {"a": 1}, 8)
    assert main(["plan", str(tmp_path / "requests.toml"), "--model", language_model]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Caution: {tmp_path}/t.jsonl: 1 of 2 chats are longer than 24 tokens and were cut to that length" in shown
    assert "1 of 2 chats end in an answer, which is left out: the model is to give it" in shown


def test_a_prompt_and_its_answer_are_held_against_the_models_positions(language_model: str, tmp_path: Path) -> None:
    workload = "[workload]\nprompt_tokens = 60\noutput_tokens = {}\n"
    fits = requests_of(tmp_path, workload.format(4), language_model, generates=True)
    assert fits.notes[1:] == ()
    found = requests_of(tmp_path, workload.format(5), language_model, generates=True)
    assert found.notes[0] == (
        f"{language_model}: task a has a request of 60 tokens and 5 to generate, the model has 64 in its config.json: "
        "it computes what it never learned"
    )


def test_what_is_wrong_with_a_chat_is_one_line_with_its_row(language_model: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"messages": [{"from": "human", "value": "why?"}]}\n')
    plan = tmp_path / "chat.toml"
    workload = '[workload]\ntexts = "t.jsonl"\nchat_column = "messages"\noutput_tokens = 8\n'
    plan.write_text('name = "chat"\n' + GENERATING + workload + FULL.format(task="a"))
    assert checked(plan, language_model)[1] == [
        f"{tmp_path}/t.jsonl: row 1: column 'messages': message 1: no role; it has from, value"
    ]
    (tmp_path / "t.jsonl").write_text('{"messages": [{"role": "user", "content": "why?"}]}\n')
    assert checked(plan, "micro-lm")[1] == [
        "micro-lm: its tokenizer has no chat template; give texts by workload.text_column, or set workload.tokenizer "
        "to one that has a chat template"
    ]
