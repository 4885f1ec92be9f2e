"""A merged adapter computes what the separate one does: of every kind, on every shape, and where weights are tied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from deploy.shapes import answers, difference, read_from, rows, save_adapter_of, save_shape, up, weights_of
from model.small_checkpoints import deploying
from raybench.deploy.strategies import Deployment, LoadCosts, deploy
from raybench.plan.plan import Configuration
from raybench.records import InputError, RaybenchError

Q = {"target_modules": ["q_proj", "v_proj"]}
EMBEDDINGS = 64 * 16 * 4
"""Bytes of the matrix that the tied models share, in float32."""

ALIKE: list[tuple[str, dict[str, Any]]] = [
    *[
        (shape, {"target_modules": targets} | kind)
        for shape, targets in {
            "llama": ["q_proj", "down_proj"],
            "bert": ["query", "dense"],
            "roberta": ["query"],
            "gpt2": ["c_attn", "c_fc"],  # Conv1D: its weight is the transpose of a linear layer's
            "llama-lm": ["q_proj", "down_proj"],
            "gpt2-lm": ["c_attn", "c_fc"],
            "mixtral-lm": ["q_proj", "v_proj"],
        }.items()
        for kind in ({}, {"use_dora": True}, {"use_rslora": True, "rank_pattern": {targets[0]: 2}})
    ],
    ("llama", Q | {"task_type": None}),
    ("llama", Q | {"alpha_pattern": {"v_proj": 3}, "rank_pattern": {"q_proj": 6}, "layers_to_transform": [1]}),
    ("llama-lm", Q | {"lora_bias": True}),
    ("llama-lm", {"target_modules": "all-linear"}),
    ("llama-lm", {"target_modules": ["embed_tokens", "lm_head", "q_proj"]}),
    ("llama-lm", {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True}),
    ("llama-lm", Q | {"modules_to_save": ["lm_head", "norm"]}),
    ("llama-lm", Q | {"trainable_token_indices": [1, 5, 7]}),
    ("bert", {"target_modules": ["word_embeddings", "query"]}),
    ("mixtral-lm", Q | {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}),
    ("mixtral-lm", {"target_parameters": ["mlp.experts.down_proj"]}),
]

TIED = [
    # Of an adapter on one of the two, or another on each, one matrix is copied; neither changes as the other does.
    ({"target_modules": ["{in}", "{q}"]}, EMBEDDINGS),
    ({"target_modules": ["{out}", "{q}"]}, EMBEDDINGS),
    ({"target_modules": ["{in}", "{out}", "{q}"]}, EMBEDDINGS),
    ({"target_modules": ["{in}", "{q}"], "use_dora": True}, EMBEDDINGS),
    ({"target_modules": ["{q}"], "trainable_token_indices": {"{out}": [1, 5, 7]}}, EMBEDDINGS),
    # The same tokens of both are replaced, as PEFT does where none is named: they stay tied.
    ({"target_modules": ["{q}"], "trainable_token_indices": [1, 5, 7]}, None),
    # A matrix of the adapter's own stands in the place of the shared one.
    ({"target_modules": ["{q}"], "modules_to_save": ["{out}"]}, None),
    ({"target_modules": ["{q}"], "modules_to_save": ["{in}"]}, None),
    ({"target_modules": ["{q}"], "modules_to_save": ["{in}", "{out}"]}, None),
    ({"target_modules": ["{in}", "{q}"], "modules_to_save": ["{out}"]}, None),
]
NAMES = {
    "llama-lm-tied": {"in": "embed_tokens", "out": "lm_head", "q": "q_proj"},
    "gemma3-lm": {"in": "embed_tokens", "out": "lm_head", "q": "q_proj"},
    "gpt2-lm": {"in": "wte", "out": "lm_head", "q": "c_attn"},
}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, Any]]:
    """Of a shape and an adapter's settings: the base, and the adapter."""
    bases: dict[str, str] = {}

    def made(shape: str, settings: dict[str, Any]) -> tuple[str, Any]:
        if shape not in bases:
            bases[shape] = save_shape(shape, tmp_path_factory.mktemp(shape))
        path = save_adapter_of(shape, bases[shape], tmp_path_factory.mktemp("adapter"), **settings)
        return bases[shape], read_from(path, "a")

    return made


def merged(base: str, shape: str, adapter: Any, **changes: Any) -> tuple[Deployment, LoadCosts]:
    weights = weights_of(base, shape)
    costs = LoadCosts(weights.device)
    return deploy(deploying(adapter, strategy="lora_merged", **changes), weights, costs), costs


def filled(settings: Any, names: dict[str, str]) -> Any:
    if isinstance(settings, dict):
        return {filled(key, names): filled(value, names) for key, value in settings.items()}
    if isinstance(settings, list):
        return [filled(one, names) for one in settings]
    return settings.format(**names) if isinstance(settings, str) else settings


@pytest.mark.parametrize(("shape", "settings"), ALIKE)
def test_a_merged_adapter_computes_what_the_separate_one_does(make: Any, shape: str, settings: dict[str, Any]) -> None:
    base, adapter = make(shape, settings)
    separate = answers(up(deploying(adapter), base, shape))
    bare = answers(up(Configuration("bare", "full_ft", 0, ("a",)), base, shape))
    assert difference(bare, separate) > 0.01
    deployment, costs = merged(base, shape, adapter)
    assert difference(answers(deployment), separate) < 1e-5
    assert costs.untied_bytes is None
    assert not any(type(module).__module__.startswith("peft.") for module in deployment.model.modules())


@pytest.mark.parametrize("shape", NAMES)
@pytest.mark.parametrize(("settings", "untied_bytes"), TIED)
def test_of_tied_embeddings_each_is_what_the_adapter_makes_of_it(
    make: Any, shape: str, settings: dict[str, Any], untied_bytes: int | None, tmp_path: Path
) -> None:
    base, adapter = make(shape, filled(settings, NAMES[shape]))
    separate = answers(up(deploying(adapter), base, shape))
    deployment, costs = merged(base, shape, adapter)
    model = deployment.model
    assert difference(answers(deployment), separate) < 1e-5
    assert costs.untied_bytes == untied_bytes
    inner, outer = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (inner is outer) == (inner.data_ptr() == outer.data_ptr()) == model.config.tie_word_embeddings
    assert (inner is outer) == ("trainable_token_indices" in settings and untied_bytes is None)
    model.tie_weights()
    assert difference(answers(deployment), separate) < 1e-5
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert difference(answers(Deployment(again, again)), separate) < 1e-5


@pytest.mark.parametrize("shape", ["llama-lm-tied", "gemma3-lm"])
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"target_modules": ["lm_head", "q_proj"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
)
@pytest.mark.parametrize("adapter_dtype", ["float32", "same"])
def test_an_adapter_that_was_kept_tied_is_merged_once_and_costs_no_copy(
    make: Any, shape: str, settings: dict[str, Any], adapter_dtype: str
) -> None:
    base, adapter = make(shape, settings | {"ensure_weight_tying": True})
    separate = answers(up(deploying(adapter, adapter_dtype=adapter_dtype), base, shape))
    deployment, costs = merged(base, shape, adapter, adapter_dtype=adapter_dtype)
    assert difference(answers(deployment), separate) < 1e-5
    assert costs.untied_bytes is None
    assert deployment.model.get_input_embeddings().weight is deployment.model.get_output_embeddings().weight
    assert deployment.model.config.tie_word_embeddings


def test_a_tied_head_that_peft_saves_and_cannot_load_is_refused(make: Any) -> None:
    """A GPT-2's embedding is not among the names by which PEFT ties: on loading the head has no place for its part."""
    base, adapter = make("gpt2-lm", {"target_modules": ["c_attn", "lm_head"], "ensure_weight_tying": True})
    with pytest.raises(
        InputError, match=r"2 of its file have no place in the model \(lm_head\.lora_A\.weight, lm_head"
    ):
        merged(base, "gpt2-lm", adapter)


def test_peft_alone_merges_into_both(make: Any) -> None:
    """What is guarded against; where this fails, PEFT has learned it."""
    base, adapter = make("llama-lm-tied", {"target_modules": ["lm_head"]})
    adapted = up(deploying(adapter), base, "llama-lm-tied")
    separate = answers(adapted)
    model = adapted.model.merge_and_unload()
    assert difference(answers(Deployment(model, model)), separate) > 0.5


def test_weights_of_replicated_layers_are_each_layers_own(make: Any) -> None:
    base, adapter = make("llama-lm", Q | {"layer_replication": [[0, 2], [1, 2]]})
    adapted = up(deploying(adapter), base, "llama-lm")
    inputs = rows() | {"use_cache": False}
    separate = answers(adapted, inputs)
    deployment, costs = merged(base, "llama-lm", adapter)
    assert difference(answers(deployment, inputs), separate) < 1e-5
    assert costs.untied_bytes == 2 * (16 * 16 + 16) * 4  # q_proj and v_proj of the layer that is there twice


def test_what_peft_merges_in_part_is_an_error(make: Any) -> None:
    """Of a LoRA layer around trained tokens PEFT takes the outer one away and leaves the inner one there."""
    base, adapter = make("llama-lm-tied", {"target_modules": ["lm_head"], "trainable_token_indices": [1, 5]})
    with pytest.raises(RaybenchError) as caught:
        merged(base, "llama-lm-tied", adapter)
    assert str(caught.value) == (
        "PEFT merged lm_head in part only: layers of the adapter are still there, and what it computes now is neither; "
        "measure this adapter by lora_separate"
    )


def test_a_merge_that_fails_half_way_fails_the_configuration(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    base, adapter = make("llama-lm", Q)
    merge_one, merged_so_far = peft.tuners.lora.Linear.merge, 0

    def fails_at_the_third(self: Any, *arguments: Any, **named: Any) -> None:
        nonlocal merged_so_far
        merged_so_far += 1
        if merged_so_far == 3:
            raise torch.OutOfMemoryError("no room")
        merge_one(self, *arguments, **named)

    monkeypatch.setattr(peft.tuners.lora.Linear, "merge", fails_at_the_third)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        merged(base, "llama-lm", adapter)


@pytest.mark.parametrize("active", ["a", "b"])
def test_the_active_adapter_of_several_is_merged_with_the_head_that_is_its_own(make: Any, active: str) -> None:
    from raybench.deploy.merging import merge

    base, first = make("llama", Q)
    other = read_from(save_adapter_of("llama", base, Path(first.path or "") / "b", seed=1, **Q), "b")
    alone = {a.name: answers(up(deploying(a), base, "llama")) for a in (first, other)}
    both = up(deploying(first, other, strategy="multi_lora"), base, "llama")
    assert both.switch is not None
    both.switch(active)
    model = merge(both.model).model
    assert difference(answers(Deployment(model, model)), alone[active]) < 1e-5
