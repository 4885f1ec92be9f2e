"""All that files tell before anything is started: of each thing that cannot be the exact line, and what is read."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    MixtralConfig,
    MixtralForSequenceClassification,
)

from model.small_checkpoints import (
    adapter_at,
    bert_config,
    deploying,
    gpt2_config,
    llama_config,
    plan_of,
    save_adapter,
    save_model,
)
from raybench.model.lengths import Lengths
from raybench.model.problems import FileCheck, check_files
from raybench.model.texts import Texts
from raybench.model.weights import ModelSpec, resolve_model
from raybench.model.workload import GlueLengths, Workload
from raybench.plan.plan import Adapter, Configuration, Plan

AGREE = ": make them agree, or leave out of the plan what is read from the adapter"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def llama(folder: Path) -> str:
    return save_model(LlamaForSequenceClassification, llama_config(), folder / "llama")


@pytest.fixture(scope="module")
def bert(folder: Path) -> str:
    return save_model(BertForSequenceClassification, bert_config(max_position_embeddings=32), folder / "bert")


@pytest.fixture(scope="module")
def plain(llama: str, folder: Path) -> str:
    """An adapter of r 4, alpha 8 on q_proj and v_proj, with a head of two labels."""
    return save_adapter(llama, folder / "plain")


def unstated(path: str, name: str = "mine", **changes: Any) -> Adapter:
    """An adapter of which the plan says no more than where it is."""
    return adapter_at(path, name, **{"r": None, "alpha": None, "target_modules": None} | changes)


def check(base: str | None, *adapters: Adapter, **changes: Any) -> FileCheck:
    """Each adapter in a configuration of its own."""
    made = [deploying(adapter, **changes) for adapter in adapters]
    plan = plan_of(*(Configuration(f"c{i}", c.strategy, 0, c.tasks, c.adapters) for i, c in enumerate(made)))
    return check_files(plan, None if base is None else resolve_model(base), None)


def problems(base: str | None, *adapters: Adapter) -> tuple[str, ...]:
    return check(base, *adapters).problems


def changed(path: str, to: Path, **values: Any) -> str:
    """A copy of an adapter or model whose configuration says ``values``."""
    shutil.copytree(path, to)
    file = next(f for f in (to / "adapter_config.json", to / "config.json") if f.is_file())
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return str(to)


# What is read of an adapter


def test_what_the_plan_leaves_out_is_read_from_the_adapter(llama: str, plain: str) -> None:
    found = check(llama, unstated(plain))
    assert (found.problems, found.notes) == ((), ())
    (configuration,) = found.plan.configurations
    (adapter,) = configuration.adapters
    assert (adapter.r, adapter.alpha, adapter.target_modules) == (4, 8.0, ("q_proj", "v_proj"))
    assert (adapter.path, configuration.num_labels) == (plain, 2)
    assert found.plan.blocks[0].members == found.plan.configurations


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_that_was_never_trained_is_refused_by_its_file(
    dtype: torch.dtype, llama: str, plain: str, tmp_path: Path
) -> None:
    weights = Path(shutil.copytree(plain, tmp_path / "fresh"), "adapter_model.safetensors")
    tensors = {name: one.to(dtype) for name, one in load_file(weights).items()}
    fresh = {name: torch.zeros_like(one) if ".lora_B." in name else one for name, one in tensors.items()}
    save_file(fresh, weights)
    assert problems(llama, unstated(str(tmp_path / "fresh"))) == (
        f"adapter mine: {tmp_path}/fresh: changes nothing, since its LoRA weights are 0, as before any training; give "
        "one that was trained (or, for times alone, one made with init_lora_weights=False)",
    )
    last = sorted(name for name in fresh if ".lora_B." in name)[-1]
    fresh[last][-1, -1] = 1e-6
    save_file(fresh, weights)
    assert problems(llama, unstated(str(tmp_path / "fresh"))) == ()


ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("saved", "stated"),
    [
        ({"target_modules": "all-linear"}, ALL_LINEAR),
        ({"target_modules": r".*\.(q|v)_proj"}, ("q_proj", "v_proj")),
        ({"target_modules": r".*\.(q|v)_proj"}, r".*[qv]_proj"),
        ({"target_modules": r".*\.(q|v)_proj"}, r".*\.(q|v)_proj"),
        ({"target_modules": ["v_proj", "q_proj"]}, ("q_proj", "v_proj")),
        ({"target_modules": ["q_proj"]}, ("self_attn.q_proj",)),
        ({"target_modules": ["q_proj"]}, tuple(f"model.layers.{i}.self_attn.q_proj" for i in (0, 1))),
        ({"target_modules": ["q_proj"], "layers_to_transform": [1]}, ("model.layers.1.self_attn.q_proj",)),
    ],
)
def test_targets_that_mean_the_same_modules_are_the_same(
    llama: str, tmp_path: Path, saved: dict[str, Any], stated: tuple[str, ...] | str
) -> None:
    path = save_adapter(llama, tmp_path / "a", **saved)
    assert problems(llama, unstated(path, target_modules=stated)) == ()


@pytest.mark.parametrize(
    ("stated", "written"),
    [
        (("q_proj",), "q_proj"),
        (("q_proj", "v_proj", "k_proj"), "q_proj, v_proj, k_proj"),
        (("q_proj", "v_proj", "nope"), "q_proj, v_proj, nope"),
        (r".*_proj", "'.*_proj'"),
        ("(", "'('"),
        ("(([a-z._0-9]+)*)*!", "'(([a-z._0-9]+)*)*!'"),  # takes for ever where it does not match
    ],
)
def test_targets_that_mean_other_modules_are_refused(
    llama: str, plain: str, stated: tuple[str, ...] | str, written: str
) -> None:
    assert problems(llama, unstated(plain, target_modules=stated)) == (
        f"adapter mine: {plain}: target_modules are q_proj, v_proj, the plan says {written}{AGREE}",
    )


def test_an_alpha_of_a_half_can_be_stated_and_is_read(llama: str, tmp_path: Path) -> None:
    path = save_adapter(llama, tmp_path / "a", lora_alpha=0.5)
    assert check(llama, unstated(path)).plan.adapters()[0].alpha == 0.5
    assert problems(llama, unstated(path, alpha=0.5)) == ()
    assert problems(llama, unstated(path, alpha=1.0)) == (
        f"adapter mine: {path}: alpha is 0.5, the plan says 1{AGREE}",
    )


def test_all_that_is_stated_otherwise_is_one_line(llama: str, plain: str) -> None:
    assert problems(llama, adapter_at(plain, r=8, alpha=16.0, target_modules=("q_proj",))) == (
        f"adapter mine: {plain}: r is 4, the plan says 8; alpha is 8, the plan says 16; target_modules are q_proj, "
        f"v_proj, the plan says q_proj{AGREE}",
    )


def test_ranks_and_alphas_of_single_modules_count(llama: str, tmp_path: Path) -> None:
    path = save_adapter(llama, tmp_path / "a", rank_pattern={"v_proj": 2}, alpha_pattern={"v_proj": 3})
    assert problems(llama, unstated(path)) == ()
    assert problems(llama, unstated(path, r=4, alpha=8.0)) == (
        f"adapter mine: {path}: r is 2 and 4, the plan says 4; alpha is 3 and 8, the plan says 8{AGREE}",
    )


def test_an_adapter_of_parameters_only_is_read(tmp_path: Path) -> None:
    config = MixtralConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
        pad_token_id=0,
    )
    base = save_model(MixtralForSequenceClassification, config, tmp_path / "mixtral")
    parameters = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    path = save_adapter(base, tmp_path / "a", target_modules=[], target_parameters=parameters)
    found = check(base, unstated(path, r=4))
    assert found.problems == ()
    (adapter,) = found.plan.adapters()
    assert (adapter.r, adapter.target_modules, adapter.target_parameters) == (4, (), tuple(sorted(parameters)))
    assert problems(base, unstated(path, target_modules=("q_proj",))) == (
        f"adapter mine: {path}: target_modules are (target_parameters) mlp.experts.down_proj, "
        f"mlp.experts.gate_up_proj, the plan says q_proj{AGREE}",
    )


# Adapters of another kind, of another base


def test_an_adapter_that_is_no_lora_is_refused(llama: str, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(llama)
    kind = peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[], task_type="SEQ_CLS")
    peft.get_peft_model(model, kind).save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    assert problems(llama, unstated(str(tmp_path))) == (
        f"adapter mine: {file}: peft_type is IA3; only LoRA adapters (LORA) are measured",
    )


@pytest.mark.parametrize("task", ["SEQ_2_SEQ_LM", "TOKEN_CLS", "FEATURE_EXTRACTION"])
def test_an_adapter_for_another_task_is_refused(llama: str, plain: str, tmp_path: Path, task: str) -> None:
    path = changed(plain, tmp_path / "a", task_type=task)
    assert problems(llama, unstated(path)) == (
        f"adapter mine: {path}/adapter_config.json: task_type is {task}; only adapters of sequence classifiers "
        "(SEQ_CLS) and causal language models (CAUSAL_LM) are measured",
    )


def test_an_adapter_of_a_language_model_is_refused_for_a_classifier_with_both_remedies(
    llama: str, plain: str, tmp_path: Path
) -> None:
    path = changed(plain, tmp_path / "a", task_type="CAUSAL_LM")
    assert problems(llama, unstated(path)) == (
        f"adapter mine: {path}/adapter_config.json: task_type is CAUSAL_LM, the plan measures a sequence classifier "
        '(SEQ_CLS): set task_type = "CAUSAL_LM" in the plan, or give another adapter',
    )


def test_an_adapter_saved_from_a_bare_model_is_refused(llama: str, tmp_path: Path) -> None:
    path = save_adapter(llama, tmp_path / "a", AutoModel)
    assert problems(llama, unstated(path)) == (
        f"adapter mine: {path}/adapter_config.json: it was made on a LlamaModel, in which modules have other names "
        "than in a sequence classifier; make it on one from AutoModelForSequenceClassification",
    )


def test_an_adapter_of_more_fewer_or_wider_layers_is_refused(llama: str, tmp_path: Path) -> None:
    bases = {
        name: save_model(LlamaForSequenceClassification, llama_config(**sizes), tmp_path / name)
        for name, sizes in {
            "more": {"num_hidden_layers": 3},
            "fewer": {"num_hidden_layers": 1},
            "wide": {"hidden_size": 32},
        }.items()
    }
    paths = {name: save_adapter(base, tmp_path / f"a_{name}") for name, base in bases.items()}
    where = {name: f"adapter {name}: {path}: made for another base than {llama}" for name, path in paths.items()}
    found = check(llama, *(unstated(path, name) for name, path in paths.items()))
    assert found.problems == (
        f"{where['more']}: it has weights for model.layers.2.self_attn.q_proj and 1 more, which the base has not",
        f"{where['fewer']}: it has no weights for model.layers.1.self_attn.q_proj and 1 more, which its target_modules "
        "name",
        f"{where['wide']}: its model.layers.0.self_attn.q_proj has 32 inputs and 32 outputs, the base's weight is "
        "16 x 16",
    )


def test_an_adapter_of_another_architecture_is_refused(bert: str, plain: str) -> None:
    assert problems(bert, unstated(plain)) == (
        f"adapter mine: {plain}: made for another base than {bert}, which has no model.layers.0.self_attn.q_proj and 3 "
        "more",
    )


def test_a_base_saved_without_its_head_has_the_same_modules(llama: str, plain: str, tmp_path: Path) -> None:
    AutoModel.from_pretrained(llama).save_pretrained(tmp_path / "llama")
    assert problems(str(tmp_path / "llama"), unstated(plain, target_modules=("q_proj", "v_proj"))) == ()
    assert LlamaModel.from_pretrained(tmp_path / "llama").config.num_hidden_layers == 2


def test_the_weights_of_a_gpt2_lie_the_other_way(folder: Path, tmp_path: Path) -> None:
    base = save_model(GPT2ForSequenceClassification, gpt2_config(), tmp_path / "gpt2")
    assert problems(base, unstated(save_adapter(base, tmp_path / "a", target_modules=["c_attn"]))) == ()


def test_a_base_of_another_name_is_a_caution(llama: str, plain: str, tmp_path: Path) -> None:
    path = changed(plain, tmp_path / "a", base_model_name_or_path="org/Other-1B")
    found = check(llama, unstated(path), unstated(plain, "same"))
    assert found.problems == ()
    assert found.notes == (
        f"adapter mine: {path}: made for the base org/Other-1B, as its adapter_config.json says; it is measured on "
        f"{llama}",
    )
    assert check(llama, unstated(changed(plain, tmp_path / "b", base_model_name_or_path="org/Llama"))).notes == ()


# Labels


def test_labels_are_those_of_the_adapters_head(llama: str, tmp_path: Path) -> None:
    three = save_model(LlamaForSequenceClassification, llama_config(num_labels=3), tmp_path / "three")
    with_head = save_adapter(three, tmp_path / "head")
    without = save_adapter(llama, tmp_path / "without", task_type=None)
    configurations = (
        Configuration("a", "lora_separate", 0, ("mrpc",), (unstated(with_head, "a"),)),
        Configuration("b", "lora_separate", 0, ("sst2",), (unstated(without, "b", task="sst2"),)),
        Configuration("full", "full_ft", 0, ("mrpc",)),
        Configuration("own", "full_ft", 0, ("mrpc",), checkpoint=llama),
        Configuration("other", "full_ft", 0, ("sst2",)),
    )
    found = check_files(plan_of(*configurations), resolve_model(llama), None)
    assert found.problems == ()
    assert {c.name: c.num_labels for c in found.plan.configurations} == {
        "a": 3,
        "b": None,
        "full": 3,
        "own": None,
        "other": None,
    }


def test_adapters_of_other_numbers_of_labels_cannot_be_resident_together(llama: str, tmp_path: Path) -> None:
    three = save_model(LlamaForSequenceClassification, llama_config(num_labels=3), tmp_path / "three")
    a = unstated(save_adapter(three, tmp_path / "head"), "a")
    b = unstated(save_adapter(llama, tmp_path / "without", task_type=None), "b", task="sst2")
    plan = plan_of(Configuration("both", "multi_lora", 0, ("mrpc", "sst2"), (a, b)))
    assert check_files(plan, resolve_model(llama), None).problems == (
        "configuration both: its adapters have other numbers of labels (a 3, b 2); PEFT cannot hold them on one base: "
        "measure them apart",
    )


def test_an_adapter_with_biases_cannot_be_resident_with_another(plain: str, llama: str, tmp_path: Path) -> None:
    b = unstated(save_adapter(llama, tmp_path / "b", bias="lora_only"), "b", task="sst2")
    plan = plan_of(Configuration("both", "multi_lora", 0, ("mrpc", "sst2"), (unstated(plain, "a"), b)))
    assert check_files(plan, resolve_model(llama), None).problems == (
        "configuration both: adapter b (lora_only) has trained biases; PEFT holds such an adapter on a base alone: "
        "measure it apart",
    )


def test_a_classifier_that_is_not_as_its_configuration_says_is_refused(llama: str, tmp_path: Path) -> None:
    labels = {str(i): f"LABEL_{i}" for i in range(3)}
    base = changed(llama, tmp_path / "base", id2label=labels)
    assert problems(base) == (
        f"the base: {base}: its classifier has 2 labels, its config.json says 3: make them agree",
    )


# Requests


def requests(base: str, tokens: int, largest: int | None = None) -> FileCheck:
    """Requests of ``tokens``; where ids are known, up to ``largest``."""
    workload: Workload = Lengths(tokens, None, 0)
    if largest is not None:
        workload = Texts("/t.jsonl", {"mrpc": [[largest] * tokens]}, 0)
    plan = plan_of(Configuration("full", "full_ft", 0, ("mrpc",)))
    return check_files(plan, resolve_model(base), workload)


def test_requests_longer_than_the_models_positions_are_refused(bert: str, llama: str) -> None:
    assert requests(bert, 32).problems == ()
    assert requests(bert, 33).problems == (
        f"{bert}: task mrpc has a request of 33 tokens, the model has positions for 32: bring texts in [workload] with "
        "max_tokens = 32, or ask for prompt_tokens of 32 at most, or take another model",
    )
    positions = llama_config().max_position_embeddings
    assert requests(llama, positions).notes == ()
    assert requests(llama, positions + 1).notes == (
        f"{llama}: task mrpc has a request of {positions + 1} tokens, the model has {positions} in its config.json: it "
        "computes what it never learned",
    )
    assert requests(llama, positions + 1).problems == ()


def test_what_is_generated_takes_positions_too(tmp_path: Path) -> None:
    base = save_model(GPT2LMHeadModel, gpt2_config(n_positions=32), tmp_path / "gpt2")
    one = Configuration("one", "full_ft", 0, ("mrpc",))
    plan = dataclasses.replace(plan_of(one), task_type="CAUSAL_LM")

    def told(prompt: int, output: int) -> tuple[str, ...]:
        return check_files(plan, resolve_model(base, "CAUSAL_LM"), Lengths(prompt, output, 0)).problems

    assert told(20, 12) == ()
    assert told(20, 13) == (
        f"{base}: task mrpc has a request of 20 tokens and 13 to generate, the model has positions for 32: bring texts "
        "in [workload] with max_tokens = 19, or ask for prompt_tokens of 19 at most, or take another model",
    )
    assert told(1, 32) == (
        f"{base}: task mrpc has a request of 1 tokens and 32 to generate, the model has positions for 32: ask for "
        "fewer output_tokens, or take another model",
    )


def test_each_model_is_held_against_the_requests_that_it_is_given(bert: str, llama: str, tmp_path: Path) -> None:
    """A batch is as long as the longest of its prompts; the base does not see those of a checkpoint."""
    drawn = Lengths([8, 40], None, 0)

    def of_requests(plan: Plan, base: str) -> tuple[str, ...]:
        problems = check_files(plan, resolve_model(base), drawn).problems
        return tuple(line for line in problems if "model_type" not in line)  # that the two are other models

    first = drawn.prompt_tokens("sst2", 20).tolist().index(40)
    assert first > 0
    full = Configuration("full", "full_ft", 0, ("sst2",), checkpoint=bert)
    plan = dataclasses.replace(plan_of(full), rounds=1, requests=first)
    assert of_requests(plan, llama) == ()
    batched = Configuration("full", "full_ft", 0, ("sst2",), checkpoint=bert, batch=2)
    assert of_requests(plan.replaced([batched]), llama) == (
        f"{bert}: task sst2 has a request of 40 tokens, the model has positions for 32: bring texts in [workload] with "
        "max_tokens = 32, or ask for prompt_tokens of 32 at most, or take another model",
    )
    other = Configuration("full", "full_ft", 0, ("sst2",), checkpoint=llama, batch=2)
    assert of_requests(plan.replaced([other]), bert) == ()


def test_only_requests_that_are_sent_count(bert: str) -> None:
    drawn = GlueLengths(0)
    plan = plan_of(Configuration("full", "full_ft", 0, ("sst2",)))
    longest = max(drawn.request("sst2", i).tokens for i in range(20))
    found = check_files(plan, resolve_model(bert), drawn).problems
    assert len(found) == (longest > 32)
    assert all(f"a request of {longest} tokens" in problem for problem in found)


def test_token_ids_outside_of_the_vocabulary_are_refused(llama: str) -> None:
    assert requests(llama, 5, 63).problems == ()
    assert requests(llama, 5, 64).problems == (
        f"{llama}: a text has token id 64, the model's vocabulary has 64: the tokenizer is another model's; set "
        "workload.tokenizer",
    )


@pytest.mark.parametrize(
    "kind",
    ["roberta", "xlm-roberta", "camembert", "data2vec-text", "mpnet", "ibert", "bert", "distilbert", "opt", "gpt2"],
)
def test_the_positions_told_are_all_that_a_model_takes(kind: str, tmp_path: Path) -> None:
    shape = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "dim": 16}
    more = {"intermediate_size": 16, "max_position_embeddings": 20, "n_heads": 2, "n_layers": 1, "hidden_dim": 16}
    opt = {"ffn_dim": 16, "word_embed_proj_dim": 16} if kind == "opt" else {}
    config = AutoConfig.for_model(kind, **shape, **more, **opt)
    config.pad_token_id = 0 if kind == "gpt2" else config.pad_token_id
    base = save_model(AutoModelForSequenceClassification.from_config, config, tmp_path / "base")
    model: Any = AutoModelForSequenceClassification.from_pretrained(base).eval()
    takes = 0
    for tokens in range(15, 25):
        try:
            with torch.inference_mode():
                model(input_ids=torch.full((1, tokens), 7))
        except (IndexError, RuntimeError):
            break
        takes = tokens
    assert requests(base, takes).problems == ()
    assert len(requests(base, takes + 1).problems) == 1


# Vocabularies and heads of language models


def lm_problems(base: str, *paths: str) -> tuple[str, ...]:
    adapters = [unstated(path, f"a{place}", task=f"t{place}") for place, path in enumerate(paths)]
    made = deploying(*adapters) if adapters else deploying(strategy="full_ft")
    return check_files(plan_of(made, task_type="CAUSAL_LM"), resolve_model(base, "CAUSAL_LM"), None).problems


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("settings", "module"),
    [
        ({"save_embedding_layers": "auto"}, "lm_head"),
        ({"modules_to_save": ["lm_head", "embed_tokens"]}, "lm_head"),
        ({"target_modules": ["lm_head"]}, "lm_head"),
        ({"target_modules": ["embed_tokens"]}, "model.embed_tokens"),
        ({"target_modules": ["embed_tokens"], "save_embedding_layers": True}, "model.embed_tokens"),
    ],
)
def test_an_adapter_trained_after_tokens_were_added_is_refused_for_the_base_without_them(
    settings: dict[str, Any], module: str, tied: bool, tmp_path: Path
) -> None:
    base = save_model(LlamaForCausalLM, llama_config(tie_word_embeddings=tied), tmp_path / "base")

    class Grown:
        @staticmethod
        def from_pretrained(location: str) -> Any:
            model = AutoModelForCausalLM.from_pretrained(location)
            model.resize_token_embeddings(70)
            return model

    path = save_adapter(base, tmp_path / "a", Grown, **{"task_type": "CAUSAL_LM"} | settings)
    assert lm_problems(base, path) == (
        f"adapter a0: {path}: its {module} has 70 tokens, the base {base} has 64: it was trained on a base of another "
        "vocabulary; give that one, or save this one after resize_token_embeddings(70)",
    )
    Grown.from_pretrained(base).save_pretrained(tmp_path / "grown")
    assert lm_problems(str(tmp_path / "grown"), path) == ()


def test_a_base_whose_files_have_another_vocabulary_than_its_configuration_is_refused(tmp_path: Path) -> None:
    base = save_model(LlamaForCausalLM, llama_config(), tmp_path / "base")
    llama_config(vocab_size=60).save_pretrained(base)
    assert lm_problems(base) == (
        f"the base: {base}: its lm_head.weight has 64 tokens, its config.json says 60: make them agree",
        f"the base: {base}: its model.embed_tokens.weight has 64 tokens, its config.json says 60: make them agree",
    )


@pytest.mark.parametrize("made", [LlamaModel, LlamaForSequenceClassification])
def test_a_base_without_a_language_models_head_is_refused_unless_it_is_tied(made: Any, tmp_path: Path) -> None:
    base = save_model(made, llama_config(), tmp_path / "base")
    embedding = "embed_tokens.weight" if made is LlamaModel else "model.embed_tokens.weight"
    assert lm_problems(base) == (
        f"the base: {base}: its weights have no head for a language model, only {embedding}, and its config.json does "
        "not tie the two; give one saved from AutoModelForCausalLM",
    )
    assert lm_problems(save_model(made, llama_config(tie_word_embeddings=True), tmp_path / "tied")) == ()


@pytest.mark.parametrize(
    ("made", "config"),
    [
        (LlamaForSequenceClassification, llama_config(pad_token_id=None)),
        (GPT2ForSequenceClassification, gpt2_config(pad_token_id=None)),
    ],
)
def test_a_classifier_that_tells_prompts_by_padding_needs_a_token_for_it_in_batches(
    made: Any, config: Any, bert: str, tmp_path: Path
) -> None:
    base = save_model(made, config, tmp_path / "base")
    told = (
        f"the base: {base}: its config.json has no pad_token_id, by which a classifier of its kind finds the end of "
        "each prompt in a batch: set it there, or measure batch = 1"
    )
    encoder = changed(bert, tmp_path / "bert", pad_token_id=None)
    for batch, expected in ((1, ()), (2, (told,))):
        plan = plan_of(deploying(strategy="full_ft", batch=batch))
        assert check_files(plan, resolve_model(base), None).problems == expected
        assert check_files(plan, resolve_model(encoder), None).problems == ()
    model: Any = AutoModelForSequenceClassification.from_pretrained(base)
    with pytest.raises(ValueError, match="Cannot handle batch sizes > 1 if no padding token is defined"):
        model(input_ids=torch.ones(2, 3, dtype=torch.int64))


# Files that are not there, or not what they seem


def test_paths_that_are_nowhere_are_told_each_and_soon(llama: str) -> None:
    full = Configuration("full", "full_ft", 0, ("mrpc",), checkpoint="/nowhere/full")
    one = Configuration("one", "lora_separate", 0, ("mrpc",), (unstated("/nowhere/a", "one"),))
    hub = Configuration("hub", "lora_separate", 0, ("mrpc",), (unstated("adapters/mine", "hub"),))
    assert check_files(plan_of(full, one, hub), resolve_model(llama), None).problems == (
        "configuration full: /nowhere/full: no such folder",
        "adapter one: /nowhere/a: no such folder",
        "adapter hub: adapters/mine: no such folder, and as a hub id: it is not in the cache, and HF_HUB_OFFLINE is "
        "set",
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[1]", "expected a JSON object, got '[1]'"),
        ("[" * 100_000, "not JSON: maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
        ("{}", "peft_type: field required"),
        ('{"peft_type": 3}', "peft_type: input should be a valid string, got '3'"),
        ('{"peft_type": "LORA", "r": 0}', "r: input should be greater than or equal to 1, got '0'"),
        ('{"peft_type": "LORA", "lora_alpha": NaN}', "lora_alpha: input should be a finite number, got 'nan'"),
        ('{"peft_type": "LORA", "target_modules": 3}', "target_modules: input should be a valid list, got '3'"),
        ('{"peft_type": "LORA", "bias": []}', "bias: input should be a valid string, got '[]'"),
    ],
)
def test_whatever_an_adapters_configuration_holds_the_answer_is_a_line(
    llama: str, plain: str, tmp_path: Path, content: str, told: str
) -> None:
    path = changed(plain, tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text(content)
    assert problems(llama, unstated(path)) == (f"adapter mine: {path}/adapter_config.json: {told}",)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def removed(file: Path) -> None:
    file.unlink()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "/{name}: not a whole safetensors file: Error while deserializing header: incomplete metadata, file not "
              "fully covered"),
        (emptied, "/{name}: not a whole safetensors file: Error while deserializing header: header too small"),
        (removed, ": no adapter_model.safetensors; only safetensors adapters are loaded"),
        (a_folder, ": no adapter_model.safetensors; only safetensors adapters are loaded"),
    ],
)  # fmt: skip
def test_weights_that_are_damaged_are_refused(
    llama: str, plain: str, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    path = changed(plain, tmp_path / "a")
    damage(tmp_path / "a" / "adapter_model.safetensors")
    expected = f"adapter mine: {path}{told.format(name='adapter_model.safetensors')}"
    assert problems(llama, unstated(path)) == (expected,)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"model_type": None}, "/config.json: model_type: input should be a valid string, got 'None'"),
        ({"model_type": "vit"}, ": transformers has no sequence classifier of the model type vit; take another base"),
        ({"vocab_size": "many"}, "/config.json: vocab_size: input should be a valid integer, got 'many'"),
        ({"id2label": {}}, "/config.json: id2label: dictionary should have at least 1 item after validation, not 0, "
                           "got '{}'"),
    ],
)  # fmt: skip
def test_a_model_whose_configuration_cannot_be_is_refused(
    llama: str, tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    base = changed(llama, tmp_path / "base", **values)
    assert problems(base) == (f"the base: {base}{told}",)


def test_a_model_in_several_files_is_read_and_one_that_lacks_a_file_refused(tmp_path: Path, plain: str) -> None:
    torch.manual_seed(0)
    base = tmp_path / "base"
    LlamaForSequenceClassification(llama_config()).save_pretrained(base, max_shard_size="8KB")
    shards = sorted(base.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert problems(str(base), unstated(plain, target_modules=("q_proj", "v_proj"))) == ()
    shards[0].unlink()
    assert problems(str(base)) == (f"the base: {shards[0]}: no such file",)


def test_a_prepared_model_must_hold_what_the_plan_needs(tmp_path: Path, llama: str) -> None:
    shutil.copytree(llama, tmp_path / "base")
    plan = plan_of(
        Configuration("full", "full_ft", 0, ("mrpc",)),
        Configuration("a", "lora_separate", 0, ("mrpc",), (adapter_at(None, "a"),)),
    )
    assert check_files(plan, ModelSpec("mine", "prepared", str(tmp_path)), None).problems == (
        f"{tmp_path}/full_ft/full: not in this prepared model; run `raybench prepare` for this plan",
        f"{tmp_path}/adapters/a: not in this prepared model; run `raybench prepare` for this plan",
    )


def test_seeded_adapters_on_a_preset_need_no_files() -> None:
    plan = plan_of(Configuration("a", "lora_separate", 0, ("mrpc",), (adapter_at(None, "a"),)))
    for model in (None, resolve_model("micro"), resolve_model("tinyllama-1.1b")):
        assert check_files(plan, model, GlueLengths(0)) == FileCheck(plan, (), ())


def test_problems_of_files_that_several_use_are_told_once(llama: str) -> None:
    adapters: Sequence[Adapter] = [unstated("/nowhere/a", f"a{i}") for i in range(3)]
    assert problems(llama, *adapters) == ("adapter a0: /nowhere/a: no such folder",)


# Full fine-tunes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"hidden_size": 24}, r"its layers\.0\.mlp\.down_proj\.weight is 24 x 32, .* 16 x 32", id="width"),
        pytest.param(
            {"num_hidden_layers": 1}, r"it has no layers\.1\.mlp\.down_proj\.weight and 6 more, as the base", id="fewer"
        ),
        pytest.param(
            {"num_hidden_layers": 3},
            r"it has layers\.2\.mlp\.down_proj\.weight and 6 more, the base .* has not",
            id="more",
        ),
    ],
)
def test_a_full_fine_tune_of_another_model_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    base = save_model(LlamaForSequenceClassification, llama_config(**shape), tmp_path / "base")
    other = save_model(LlamaForSequenceClassification, llama_config(**{**shape, **changes}), tmp_path / "other")
    plan = plan_of(Configuration("full", "full_ft", 0, ("mrpc",), checkpoint=other))
    (problem,) = check_files(plan, resolve_model(base), None).problems
    remedy = "a full fine-tune is measured beside its own base; give one of this base"
    assert re.fullmatch(f"configuration full: {other}: {told}.*: {remedy}", problem)


def test_a_full_fine_tune_of_another_kind_is_refused_and_one_with_more_labels_is_not(tmp_path: Path) -> None:
    base = save_model(LlamaForSequenceClassification, llama_config(), tmp_path / "base")
    wider = save_model(LlamaForSequenceClassification, llama_config(num_labels=5), tmp_path / "wider")
    bert = save_model(BertForSequenceClassification, bert_config(), tmp_path / "bert")
    full = [Configuration(n, "full_ft", 0, ("mrpc",), checkpoint=c) for n, c in (("a", wider), ("b", bert))]
    assert check_files(plan_of(*full), resolve_model(base), None).problems == (
        f"configuration b: {bert}: its model_type is bert, that of the base {base} is llama: a full fine-tune is "
        "measured beside its own base; give one of this base",
    )


def test_a_full_fine_tune_that_another_version_saved_under_other_names_is_not_refused(tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MixtralConfig(**shape, num_key_value_heads=2, num_local_experts=2, vocab_size=32)
    base = save_model(MixtralForSequenceClassification, config, tmp_path / "base")
    tuned = tmp_path / "tuned"
    MixtralForSequenceClassification(config).save_pretrained(tuned, save_original_format=False)
    own = {name for folder in (Path(base), tuned) for name in load_file(folder / "model.safetensors")}
    assert {name.split("layers.0.")[-1] for name in own} >= {"block_sparse_moe.gate.weight", "mlp.gate.weight"}
    plan = plan_of(Configuration("full", "full_ft", 0, ("mrpc",), checkpoint=str(tuned)))
    assert check_files(plan, resolve_model(base), None).problems == ()


def test_an_adapter_of_a_classifier_without_its_head_is_refused(tmp_path: Path) -> None:
    base = save_model(LlamaForSequenceClassification, llama_config(), tmp_path / "base")
    path = Path(save_adapter(base, tmp_path / "adapter"))
    weights = load_file(path / "adapter_model.safetensors")
    save_file({n: w for n, w in weights.items() if "score" not in n}, path / "adapter_model.safetensors")
    problems = check_files(plan_of(deploying(adapter_at(str(path)))), resolve_model(base), None).problems
    assert problems == (
        f"adapter mine: {path}: no weights of a head in it, which task_type SEQ_CLS says it has; save it anew by "
        "save_pretrained, which keeps the head",
    )
