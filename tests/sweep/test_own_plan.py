"""From adapter folders to a plan: what is found, what is written, what is left out and what is refused."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, T5Config, T5ForSequenceClassification

from command_lines import told
from model.small_checkpoints import llama_config, save_adapter, save_model
from raybench import cli
from raybench.analysis.tables import Tables
from raybench.deploy.strategies import all_traits
from raybench.model.prepare import make_tokenizer
from raybench.model.workload import glue_lengths
from raybench.plan import schema
from raybench.plan.file import PlanSource, load_plan, parse_plan
from raybench.plan.plan import Plan
from raybench.plan.schema import WorkloadTable
from raybench.store.store import read_description
from raybench.sweep import written_plan
from raybench.sweep.command_words import command_words
from raybench.sweep.commented_toml import toml
from raybench.sweep.describe import deployment
from raybench.sweep.own_plan import OwnPlan
from raybench.sweep.preflight import check_sweep
from raybench.sweep.written_plan import most_together, plan_name
from sweep.own_plans import own_plan, save_fine_tunes

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fine_tunes")
    save_fine_tunes(folder)
    return folder


def made(*arguments: str) -> tuple[OwnPlan, Plan, WorkloadTable | None]:
    own, problems = own_plan(*arguments)
    assert problems == []
    assert own is not None
    plan, workload = parse_plan(PlanSource("mine", own.text), all_traits(), ())
    return own, plan, workload


def words(root: Path, base: str, *adapters: str, **more: str) -> list[str]:
    found = ["--model", str(root / base)]
    for name in adapters:
        found += ["--adapter", f"{name}={root / name}"]
    for option, value in more.items():
        found += [f"--{option.replace('_', '-')}", value]
    return found


# What is written


def test_of_classifiers_every_strategy_is_compared(root: Path) -> None:
    own, plan, workload = made(*words(root, "classifier", "support", "sales"))
    assert {c.name: c.strategy for c in plan.configurations} == {
        "full_ft_support": "full_ft",
        "full_ft_sales": "full_ft",
        "separate_support": "lora_separate",
        "separate_sales": "lora_separate",
        "merged_support": "lora_merged",
        "merged_sales": "lora_merged",
        "together": "multi_lora",
    }
    assert {a.name: (a.task, a.path) for a in plan.adapters()} == {
        "support": ("support", str(root / "support")),
        "sales": ("sales", str(root / "sales")),
    }
    assert (plan.name, plan.model, plan.task_type) == ("support-sales", str(root / "classifier"), "SEQ_CLS")
    assert [(c.role, c.reference) for c in plan.claims] == [
        ("lora_separate", "full_ft"),
        ("lora_merged", "full_ft"),
        ("lora_merged", "lora_separate"),
        ("multi_lora", "lora_separate"),
    ]
    assert workload is not None
    assert workload.prompt_tokens == schema.Lognormal(median=58, sigma=0.65, max=331)
    assert own.left_out == ()
    resolved = {a.name: (a.r, a.alpha, a.target_modules) for a in own.checked.plan.adapters()}
    assert resolved == {"support": (4, 8.0, ("q_proj", "v_proj")), "sales": (2, 8.0, ("q_proj", "v_proj"))}
    assert {c.num_labels for c in own.checked.plan.configurations} == {3}


def test_the_lengths_of_a_classifiers_requests_are_fitted_to_glues() -> None:
    logs = [math.log(tokens) for rows in glue_lengths().values() for tokens, count in rows for _ in range(count)]
    mean = sum(logs) / len(logs)
    sigma = math.sqrt(sum((x - mean) ** 2 for x in logs) / len(logs))
    assert len(logs) == 4047
    assert round(math.exp(mean)) == written_plan.GLUE_MEDIAN
    assert round(sigma, 2) == written_plan.GLUE_SIGMA
    assert round(math.exp(max(logs))) == written_plan.GLUE_MAX


def test_of_language_models_lengths_are_fixed_and_a_full_fine_tune_is_taken_where_it_is_given(root: Path) -> None:
    own, plan, workload = made(*words(root, "lm", "chat", "code", full_ft=f"code={root / 'lm'}"))
    assert plan.task_type == "CAUSAL_LM"
    assert workload is not None
    assert (workload.prompt_tokens, workload.output_tokens) == (256, 64)
    assert {c.name: c.checkpoint for c in plan.configurations if c.strategy == "full_ft"} == {
        "full_ft_chat": None,
        "full_ft_code": str(root / "lm"),
    }
    assert [line for line in own.checked.notes if "shape" in line] == [
        "full_ft_chat: no checkpoint of a full fine-tune is given, so the base's shape stands for it, which takes the "
        "same time and memory and gives other answers"
    ]
    labels = {
        c.name: deployment(c, all_traits(), own.checked.model)
        for c in own.checked.plan.configurations
        if c.strategy == "full_ft"
    }
    assert labels == {"full_ft_chat": "Full FT (base's shape)", "full_ft_code": "Full FT"}


def test_one_adapter_has_nothing_to_be_together_with(root: Path) -> None:
    _, plan, _ = made(*words(root, "lm", "chat"))
    assert [c.name for c in plan.configurations] == ["full_ft_chat", "separate_chat", "merged_chat"]
    assert {c.role for c in plan.claims} == {"lora_separate", "lora_merged"}


def test_batches_are_configurations_of_their_own_and_mixed_where_there_is_something_to_mix(root: Path) -> None:
    _, plan, _ = made(*words(root, "lm", "chat", "code", batch="8,1"))
    together = {c.name: (c.batch, c.routing) for c in plan.configurations if len(c.adapters) > 1}
    assert together == {
        "together_b1": (1, "round_robin"),
        "together_b8": (8, "round_robin"),
        "together_mixed_b8": (8, "mixed"),
    }
    assert len(plan.configurations) == 3 * 2 * 2 + 3
    assert {c.batch for c in made(*words(root, "lm", "chat", batch="4"))[1].configurations} == {4}


def test_lengths_and_texts_are_as_asked(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text('{"text": "a film"}\n')
    _, _, workload = made(*words(root, "lm", "chat", prompt_tokens="12", output_tokens="3"))
    assert workload is not None
    assert (workload.prompt_tokens, workload.output_tokens) == (12, 3)
    own, _, workload = made(*words(root, "lm", "chat", texts="prompts.jsonl"))
    assert workload is not None
    assert (workload.texts, workload.text_column) == (str(tmp_path / "prompts.jsonl"), "text")
    assert (workload.max_tokens, workload.output_tokens) == (2048 - 64, 64)
    assert own.checked.requests is not None
    assert own.checked.requests.request("chat", 0).token_ids
    _, _, workload = made(*words(root, "classifier", "support", texts="prompts.jsonl"))
    assert workload is not None
    assert (workload.prompt_tokens, workload.output_tokens, workload.max_tokens) == (None, None, 384)


@pytest.mark.parametrize(("positions", "prompt", "output"), [(320, 256, 64), (300, 236, 64), (100, 75, 25), (2, 1, 1)])
def test_defaults_are_shortened_to_the_models_positions(
    tmp_path: Path, positions: int, prompt: int, output: int
) -> None:
    from transformers import LlamaForCausalLM

    base = save_model(LlamaForCausalLM, llama_config(max_position_embeddings=positions), tmp_path / "base")
    save_adapter(base, tmp_path / "mine", AutoModelForCausalLM)
    _, _, workload = made(*words(tmp_path, "base", "mine"))
    assert workload is not None
    assert (workload.prompt_tokens, workload.output_tokens) == (prompt, output)


def test_paths_are_whole_from_wherever_the_plan_is_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    own, written, _ = made("--model", "classifier", "--adapter", "support=support", "--full-ft", "support=./classifier")
    (tmp_path / "mine.toml").write_text(own.text)
    monkeypatch.chdir("/")
    plan, _ = load_plan(str(tmp_path / "mine.toml"), all_traits(), ())
    assert plan == written
    assert (plan.model, plan.adapters()[0].path) == (str(root / "classifier"), str(root / "support"))
    assert plan.configurations[-1].checkpoint == str(root / "classifier")


def test_every_key_has_a_comment_and_every_key_of_a_plan_is_there_but_those_of_tests_of_raybench(root: Path) -> None:
    own, _, _ = made(*words(root, "lm", "chat", "code", full_ft=f"code={root / 'lm'}"))
    keys = [line for line in own.text.splitlines() if " = " in line.partition("#")[0] or line.startswith("# ")]
    written = {line.removeprefix("# ").partition(" = ")[0] for line in keys if " = " in line}
    assert [line for line in own.text.splitlines() if line[:1].isalpha() and "  # " not in line] == []
    known = {key for table in (schema.PlanTable, *schema.TABLES.values()) for key in table.model_fields}
    assert known - written == {
        "alpha",
        "r",
        "target_modules",
        "role",
        "delay_share",
        "execution",
        "form",
        "count",
        "resident",
        "adapters",
        "claims",
        "configurations",
        "matrix",
        "workload",
        "servers",
        "goodput",
        "concurrency",
        "rate_per_s",
        "burstiness",
        "trace",
        *schema.ServersTable.model_fields,
        *schema.GoodputTable.model_fields,
    } - {"adapters", "name", "model"}


def test_what_was_found_is_at_the_top_of_the_plan_and_of_standard_error(root: Path, capsys: Capture) -> None:
    assert cli.main(["init", *words(root, "lm", "chat", "code")]) == 0
    said = capsys.readouterr()
    found = [
        f"base {root}/lm: llama, 2 layers, 37,968 parameters, saved in float32, 2,048 positions, an output layer of "
        "its own",
        f"adapter chat: LoRA of rank 4, alpha 8, on q_proj, v_proj; {root}/chat",
        f"adapter code: rsLoRA of rank 4, alpha 8, on q_proj, v_proj; {root}/code",
        "all for CAUSAL_LM",
    ]
    assert said.err.splitlines()[:4] == [f"raybench: {line}" for line in found]
    head = said.out.partition("\n\n")[0].replace("\n#   ", " ")  # long lines are wrapped
    assert head.splitlines()[-4:] == [f"# {line}" for line in found]
    assert tomllib.loads(said.out)["name"] == "chat-code"


def test_names_and_texts_become_toml_whatever_they_hold() -> None:
    odd = 'a "b" \\ \x00\x1b\x7f\n\u202e é \U0001f600 # {task}'
    assert tomllib.loads(f"x = {toml(odd)}")["x"] == odd
    assert toml(odd).isprintable()
    value = {"a": [1, 2.5, "x"], "b": {"c": "d"}}
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value


def test_a_path_acts_on_nothing_in_the_plan_nor_on_a_screen(root: Path, tmp_path: Path, capsys: Capture) -> None:
    odd = tmp_path / 'a"\\\n[workload]\n# [bold]\x1b[31m\u202e'
    shutil.copytree(root / "chat", odd)
    assert cli.main(["init", "--model", str(root / "lm"), "--adapter", f"mine={odd}"]) == 0
    said = capsys.readouterr()
    assert tomllib.loads(said.out)["adapters"][0]["path"] == str(odd)
    assert {c for c in said.out + said.err if not c.isprintable()} == {"\n"}
    assert len(said.err.splitlines()) == 4
    assert own_plan("--model", str(root / "lm"), "--adapter", f"mine={tmp_path}/{{task}}")[1] == [
        f"--adapter mine={tmp_path}/{{task}}: a plan fills in {{task}} in a path; rename the folder"
    ]
    assert own_plan("--model", str(root / "lm"), "--adapter", f"mine={tmp_path}/\udcff")[1] == [
        f"--adapter mine={tmp_path}/\udcff: the path is not UTF-8, which a plan has to be; rename it"
    ]


def test_a_plan_of_many_adapters_is_named_after_the_first() -> None:
    assert plan_name(["support", "sales"]) == "support-sales"
    assert plan_name([f"adapter{i}" for i in range(20)]) == "adapter0-and-19-more"
    assert plan_name(["a" * 80]) == "a" * 80
    assert plan_name(["lm"]) == "adapter-lm"  # which is not the shipped plan lm


def test_of_many_adapters_the_first_are_together_and_the_plan_says_so(root: Path) -> None:
    arguments = ["--model", str(root / "lm")]
    for i in range(10):
        arguments += ["--adapter", f"a{i}={root / 'chat'}"]
    own, plan, _ = made(*arguments)
    assert [len(c.adapters) for c in plan.configurations if c.strategy == "multi_lora"] == [8]
    (why,) = own.left_out
    assert why.startswith("Left out: a8, a9 in together: its block holds a model for each of its adapters besides")
    assert f"# {why[:100]}" in own.text


def test_on_a_large_base_fewer_are_together() -> None:
    counts = [None, 10**8, 1_100_000_000, 2_000_000_000, 3_300_000_000, 7 * 10**9, 10**12]
    assert [most_together(count) for count in counts] == [8, 8, 8, 4, 2, 2, 2]


def test_texts_without_a_column_text_and_with_messages_are_chats(root: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(root / "lm", base)
    tokenizer = make_tokenizer("micro")
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}"
    tokenizer.save_pretrained(base)
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps({"id": 1, "messages": [{"role": "user", "content": "a film"}]}) + "\n")
    arguments = ["--model", str(base), "--adapter", f"chat={root / 'chat'}", "--texts"]
    own, _, workload = made(*arguments, str(chats))
    assert workload is not None
    assert (workload.chat_column, workload.text_column, workload.max_tokens) == ("messages", None, 2048 - 64)
    assert own.checked.requests is not None
    assert own.checked.requests.describe()["texts"] == {"chat": 1}
    chats.write_text(json.dumps({"text": "a film", "messages": []}) + "\n")
    _, _, workload = made(*arguments, str(chats))
    assert workload is not None
    assert (workload.chat_column, workload.text_column) == (None, "text")
    assert own_plan(*arguments, str(tmp_path / "none.csv"))[1] == [f"{tmp_path}/none.csv: no such file"] * 2


# What is left out, and what is refused


def test_adapters_that_cannot_be_together_are_measured_apart_and_the_plan_says_why(root: Path, tmp_path: Path) -> None:
    from transformers import LlamaForSequenceClassification

    two = save_model(LlamaForSequenceClassification, llama_config(vocab_size=1024, num_labels=2), tmp_path / "two")
    save_adapter(two, tmp_path / "other")
    own, plan, _ = made(*words(root, "classifier", "support"), "--adapter", f"other={tmp_path / 'other'}")
    assert {c.strategy for c in plan.configurations} == {"full_ft", "lora_separate", "lora_merged"}
    assert {c.role for c in plan.claims} == {"lora_separate", "lora_merged"}
    first, second = own.left_out
    assert first.startswith(
        "Left out: other in together: its adapters have other numbers of labels (support 3, other 2)"
    )
    assert second == "Left out: together: no two of support, other can be together"
    assert f"# {second}\n" in own.text


def test_what_cannot_be_merged_is_measured_separate_and_the_plan_says_why(root: Path, tmp_path: Path) -> None:
    save_adapter(str(root / "lm"), tmp_path / "biased", AutoModelForCausalLM, lora_bias=True)
    own, plan, _ = made(*words(root, "lm", "chat", batch="1,2"), "--adapter", f"biased={tmp_path / 'biased'}")
    merged = [c.name for c in plan.configurations if c.strategy == "lora_merged"]
    assert merged == ["merged_chat_b1", "merged_chat_b2"]
    assert own.left_out == (
        "Left out: lora_merged of biased: adapter biased has biases (lora_bias) for model.layers.0.self_attn.q_proj "
        "and 3 more, where the base has none that they could be merged into: measure it separate",
    )
    own, plan, _ = made("--model", str(root / "lm"), "--adapter", f"biased={tmp_path / 'biased'}")
    assert {c.strategy for c in plan.configurations} == {"full_ft", "lora_separate"}
    assert [(c.role, c.reference) for c in plan.claims] == [("lora_separate", "full_ft")]
    assert own.text.endswith("where the base has none that they could be merged into: measure it separate\n")


def test_what_cannot_be_mixed_in_a_batch_comes_in_turn(root: Path, tmp_path: Path) -> None:
    save_adapter(str(root / "lm"), tmp_path / "dora", AutoModelForCausalLM, use_dora=True)
    arguments = [*words(root, "lm", "chat", batch="1,4"), "--adapter", f"dora={tmp_path / 'dora'}"]
    own, plan, _ = made(*arguments)
    assert [c.name for c in plan.configurations if len(c.adapters) > 1] == ["together_b1", "together_b4"]
    assert own.left_out == (
        "Left out: dora in together_mixed: adapter dora is a DoRA adapter (use_dora)",
        "Left out: together_mixed: no two of chat, dora can be together",
    )


def changed(adapter: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return folder


WITHOUT_RAY_AND_TORCH = """
import sys
from raybench.cli import main
print(main(sys.argv[1:]), "ray" in sys.modules, "torch" in sys.modules)
"""


def test_all_that_is_wrong_is_told_at_once_with_its_file_and_values_before_ray_and_torch(
    root: Path, tmp_path: Path
) -> None:
    ia3 = changed(root / "chat", tmp_path / "ia3", peft_type="IA3")
    odd = changed(root / "chat", tmp_path / "odd", r="many")
    arguments = [
        *words(root, "lm", "chat", "support"),
        *("--adapter", f"ia3={ia3}", "--adapter", f"odd={odd}", "--adapter", f"gone={tmp_path / 'gone'}"),
        *("--adapter", "empty=", "--adapter", "bare", "--adapter", f"chat={root / 'code'}", "--adapter", "a b=c"),
        *("--full-ft", f"nobody={root / 'lm'}", "--full-ft", f"chat={tmp_path / 'full'}"),
    ]
    expected = [
        "--adapter empty=: no folder or hub id after the =",
        "--adapter bare: expected NAME=DIR or NAME=HUB-ID, such as support=bare",
        f"--adapter chat={root}/code: chat is named twice, before for {root}/chat; rename one",
        "--adapter a b=c: 'a b' is not a name; use up to 80 letters, digits, '.', '_' and '-', starting with one of "
        "the first two",
        "--full-ft nobody=...: there is no --adapter nobody=... to compare it with; there is chat, gone, ia3, odd and "
        "1 more",
        f"adapter gone: {tmp_path}/gone: no such folder",
        f"adapter support: {root}/support: its task_type is SEQ_CLS, that of adapter chat is CAUSAL_LM: one run "
        "measures one of them; give the others to a run of their own",
        f"adapter ia3: {ia3}/adapter_config.json: peft_type is IA3; only LoRA adapters (LORA) are measured",
        f"adapter odd: {odd}/adapter_config.json: r: input should be a valid integer, got 'many'",
        f"configuration full_ft_chat: {tmp_path}/full: no such folder",
    ]
    for command in (["init"], ["sweep", "--results", str(tmp_path / "runs")]):
        ran = subprocess.run(
            [sys.executable, "-c", WITHOUT_RAY_AND_TORCH, *command, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.stdout == "2 False False\n"
        assert ran.stderr.splitlines() == [f"raybench: {line}" for line in expected]
    assert not (tmp_path / "runs" / "chat").exists()


def test_an_adapter_that_does_not_say_its_task_is_for_what_the_base_is(root: Path, tmp_path: Path) -> None:
    silent = changed(root / "chat", tmp_path / "silent", task_type=None)
    assert made("--model", str(root / "lm"), "--adapter", f"a={silent}")[1].task_type == "CAUSAL_LM"
    mapped = changed(
        root / "chat", tmp_path / "mapped", task_type=None, auto_mapping={"base_model_class": "GPT2LMHeadModel"}
    )
    assert made("--model", str(root / "lm"), "--adapter", f"a={mapped}")[1].task_type == "CAUSAL_LM"
    bare = tmp_path / "bare"
    shutil.copytree(root / "lm", bare)
    config = json.loads((bare / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaModel"]}))
    assert own_plan("--model", str(bare), "--adapter", f"a={silent}")[1] == [
        f"adapter a: {silent}: neither its adapter_config.json says its task_type, nor the base what it is ({bare}: "
        "architectures: LlamaModel): set task_type in adapter_config.json to one of SEQ_CLS, CAUSAL_LM"
    ]


def test_an_adapter_for_another_task_is_refused(root: Path, tmp_path: Path) -> None:
    tagger = changed(root / "chat", tmp_path / "tagger", task_type="TOKEN_CLS")
    assert own_plan("--model", str(root / "lm"), "--adapter", f"a={tagger}")[1] == [
        f"adapter a: {tagger}/adapter_config.json: task_type is TOKEN_CLS; only adapters of sequence classifiers "
        "(SEQ_CLS) and causal language models (CAUSAL_LM) are measured"
    ]


def test_an_encoder_decoder_is_refused_in_one_line(root: Path, tmp_path: Path) -> None:
    config = T5Config(vocab_size=64, d_model=16, d_ff=32, d_kv=8, num_layers=1, num_heads=2, pad_token_id=0)
    base = save_model(T5ForSequenceClassification, config, tmp_path / "t5")
    save_adapter(base, tmp_path / "mine", AutoModelForSequenceClassification, target_modules=["q", "v"])
    assert own_plan(*words(tmp_path, "t5", "mine"))[1] == [
        f"the base: {base}: t5 is an encoder-decoder; encoder-decoder models are not supported"
    ]


def test_an_adapter_of_another_base_is_refused_on_a_preset_too(root: Path) -> None:
    where = f"adapter a: {root}/chat: made for another base than micro-lm"
    assert own_plan("--model", "micro-lm", "--adapter", f"a={root / 'chat'}")[1] == [
        f"{where}: it has no weights for model.layers.2.self_attn.q_proj and 11 more, which its target_modules name",
        f"{where}: its model.layers.0.self_attn.q_proj has 16 inputs and 16 outputs, the base's weight is 64 x 64",
    ]


def test_options_that_cannot_be_together_are_refused(root: Path, tmp_path: Path, capsys: Capture) -> None:
    chat = ["--adapter", f"chat={root / 'chat'}"]
    asked = "--adapter: of which base? name it by --model PRESET|PATH|HUB-ID"
    assert own_plan(*chat)[1] == [f"{asked}; chat was made on --model {root / 'lm'}"]
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": null}')
    assert own_plan("--adapter", f"chat={tmp_path}")[1] == [asked]
    texts = ["--texts", str(tmp_path / "t.jsonl"), "--prompt-tokens", "8"]
    assert own_plan(*words(root, "lm", "chat"), *texts)[1][0] == (
        "--texts and --prompt-tokens: texts are as long as they are; give one of the two"
    )
    assert own_plan(*words(root, "classifier", "support", output_tokens="4"))[1] == [
        "--output-tokens: the adapters are of sequence classifiers, which generate none"
    ]
    for arguments, said in [
        (["init", "--model", "micro"], "no adapter: give one by --adapter NAME=DIR"),
        (
            ["sweep", "--plan", "lm", *words(root, "lm", "chat")],
            "--plan lm and --adapter: give one of the two; `raybench init` writes a plan to edit",
        ),
        (
            ["sweep", "--full-ft", "a=b", "--batch", "1,8"],
            "--full-ft, --batch: goes with --adapter; a plan says such things itself",
        ),
    ]:
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err == f"raybench: {said}\n"


# The same plan


def test_a_sweep_of_adapters_runs_the_plan_that_init_writes(root: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = [*words(root, "lm", "chat", "code", batch="1,4"), "--prompt-tokens", "9"]
    assert cli.main(["init", *arguments]) == 0
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    results = ["--results", str(tmp_path / "runs")]
    swept = check_sweep(told(["sweep", *arguments, *results]))
    named = check_sweep(told(["sweep", "--plan", str(tmp_path / "mine.toml"), *results]))
    assert swept.plan == named.plan
    assert swept.checked.texts == named.checked.texts
    assert swept.checked.model == named.checked.model
    assert swept.run_id.startswith("chat-code-")
    assert swept.notices == (*found_lines_of(swept.notices), *named.notices)


def found_lines_of(notices: tuple[str, ...]) -> tuple[str, ...]:
    """What was found, which a sweep of a file does not say."""
    return tuple(line for line in notices if line.startswith(("base ", "adapter ", "all for ")))


def test_the_options_of_a_plan_give_the_same_plan_from_any_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "prompts.csv").write_text("text\na film\n")
    monkeypatch.chdir(root)
    more = ["--full-ft", "code=lm", "--texts", "prompts.csv", "--output-tokens", "3", "--batch", "2,1"]
    own, plan, _ = made("--model", "lm", "--adapter", "chat=chat", "--adapter", "code=./code", *more)
    assert own.options == (
        *("--adapter", f"chat={root}/chat", "--adapter", f"code={root}/code", "--full-ft", f"code={root}/lm"),
        *("--texts", f"{root}/prompts.csv", "--output-tokens", "3", "--batch", "1,2"),
    )
    monkeypatch.chdir(tmp_path)
    again, same, _ = made("--model", str(root / "lm"), *own.options)
    assert (again.options, again.text, same) == (own.options, own.text, plan)


def test_the_command_to_go_on_says_all_that_the_plan_was_written_from(root: Path) -> None:
    arguments = [
        *words(root, "lm", "chat", "code", full_ft=f"chat={root / 'lm'}", batch="1,4", texts="my texts.jsonl"),
        *("--output-tokens", "3", "--rounds", "4"),
    ]
    options = told(["sweep", *arguments])
    again = command_words(options, root / "runs", "one")
    assert again[:7] == (
        "raybench",
        "sweep",
        "--results",
        str(root / "runs"),
        "--run-id",
        "one",
        "--resume",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
        job = ("ray", "job", "submit", "--working-dir", ".", "--", "python", "-m", "raybench.sweep")
        assert command_words(options, root / "runs", "one") == (*job, *again[2:])
    resumed = told(["sweep", *again[2:]])
    same = {key: value for key, value in vars(options).items() if key not in ("results", "run_id", "resume")}
    assert {key: vars(resumed)[key] for key in same} == same


def test_a_plan_says_its_model_and_the_command_line_may_say_another(
    root: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert cli.main(["init", *words(root, "classifier", "support")]) == 0
    mine = tmp_path / "mine.toml"
    mine.write_text(capsys.readouterr().out)
    assert cli.main(["plan", str(mine)]) == 0
    shown = capsys.readouterr().out
    assert f"  adapter support: r 4, alpha 8, on q_proj, v_proj; {root}/support" in shown
    assert shown.splitlines()[-1].rstrip() == f"Run it: raybench sweep --plan {mine}"
    assert cli.main(["plan", str(mine), "--model", str(root / "lm")]) == 0
    mine.write_text(mine.read_text().replace(f'model = "{root}/classifier"', 'model = "nothing here"'))
    assert cli.main(["plan", str(mine)]) == 2
    assert capsys.readouterr().err.startswith(f"raybench: {mine}: model: 'nothing here': no such preset (")


def test_plan_prints_a_shipped_plan_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["plan", "rq2", "--toml"]) == 0
    text = capsys.readouterr().out
    assert text == (Path(written_plan.__file__).parents[1] / "plan/shipped/rq2.toml").read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(text)
    assert load_plan(str(mine), all_traits(), glue_lengths())[0] == load_plan("rq2", all_traits(), glue_lengths())[0]
    assert cli.main(["plan", str(mine), "--toml"]) == 2
    assert capsys.readouterr().err == (
        "raybench: --toml is for shipped plans (aa, adapters, batch, delays, execution, execution-cuda, lm, mixed, "
        "rank, rq2, served, served-llama, served-load, smoke); "
        f"{mine} is a file already\n"
    )


def test_from_adapter_folders_to_the_tables_without_a_line_of_toml(root: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = [*words(root, "lm", "chat", "code"), "--prompt-tokens", "6", "--output-tokens", "3"]
    arguments += ["--rounds", "2", "--requests", "2", "--results", str(tmp_path / "runs"), "--run-id", "mine"]
    ran = subprocess.run(
        [sys.executable, "-m", "raybench.sweep", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    shown = [line.rstrip() for line in ran.stdout.splitlines()]
    assert shown[0].startswith(f"base {root}/lm: llama, 2 layers")
    assert "7 of 7 configurations complete." in shown
    rows = Tables(tmp_path / "runs" / "mine").rows("SELECT DISTINCT deployment FROM configurations ORDER BY ALL")
    assert [row["deployment"] for row in rows] == [
        "Full FT (base's shape)",
        "LoRA Merged",
        "LoRA Separate",
        "Multi-adapter (2)",
    ]
    description = read_description(tmp_path / "runs" / "mine")
    assert (description.plan.name, description.model.location) == ("chat-code", str(root / "lm"))
    assert description.written_from == (
        *("--adapter", f"chat={root}/chat", "--adapter", f"code={root}/code"),
        *("--prompt-tokens", "6", "--output-tokens", "3"),
    )
    advice = ["decide", str(tmp_path / "runs" / "mine"), "--tasks", "4", "--gpu-memory", "24GB", "--slo-p95", "1s"]
    assert cli.main([*advice, "--requests-per-second", "1"]) == 1
    next_words = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("Next: ").partition("    # ")[0])
    longer = check_sweep(told(["sweep", *next_words[2:], "--results", str(tmp_path / "runs")]))
    assert longer.plan.name == "chat-code"
    assert longer.plan.rounds * longer.plan.requests >= 130
    assert longer.written_from == description.written_from
    resumed = check_sweep(told(["sweep", *arguments, "--resume"]))
    assert resumed.resuming
    assert resumed.run_id == "mine"
