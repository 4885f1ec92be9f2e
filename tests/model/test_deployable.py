"""Which adapters can share a base, by their files: the most of them, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from raybench.model.adapter_files import AdapterConfig, AdapterFiles
from raybench.model.checkpoint_files import CheckpointFiles
from raybench.model.deployable import sharing
from raybench.records import TaskType

_TOKENS = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"


def adapter(
    name: str,
    more: Mapping[str, tuple[int, ...]] | None = None,
    task_type: TaskType = "CAUSAL_LM",
    **config: Any,
) -> AdapterFiles:
    """One on q_proj, with further tensors."""
    shapes = {f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight": (4, 4) for side in "AB"}
    settings = {"peft_type": "LORA", "target_modules": ["q_proj"]} | config
    return AdapterFiles(name, AdapterConfig.model_validate(settings), {**shapes, **(more or {})}, (), task_type)


def of(*names: str, **kinds: AdapterFiles) -> dict[str, AdapterFiles]:
    return {name: adapter(name) for name in names} | kinds


def test_adapters_that_have_nothing_against_each_other_share_a_base_in_the_order_given() -> None:
    found = sharing(of("b", "a", "c"), None)
    assert (found.names, found.without) == (("b", "a", "c"), ())


def test_one_that_must_be_alone_is_left_out_and_the_others_are_together() -> None:
    found = sharing(of("a", pissa=adapter("p", init_lora_weights="pissa")) | of("b"), None)
    assert found.names == ("a", "b")
    ((name, why),) = found.without
    assert name == "pissa"
    assert why.startswith("adapter pissa in p has init_lora_weights 'pissa': it changes the base itself")


@pytest.mark.parametrize("labels", [(5, 3, 3, 3), (3, 5, 3, 3), (3, 3, 3, 5)])
def test_of_classifiers_the_most_of_one_number_of_labels_are_together(labels: tuple[int, ...]) -> None:
    base = CheckpointFiles.of_config("base", {"model_type": "llama", "num_labels": 2}, None)
    adapters = {
        f"a{i}": adapter(f"a{i}", {"base_model.model.score.weight": (count, 4)}, "SEQ_CLS")
        for i, count in enumerate(labels)
    }
    odd = f"a{labels.index(5)}"
    found = sharing(adapters, base)
    assert found.names == tuple(name for name in adapters if name != odd)
    assert [name for name, _ in found.without] == [odd]
    assert found.without[0][1].startswith("its adapters have other numbers of labels (")
    assert f"{odd} 5" in found.without[0][1]


def test_one_with_single_tokens_trained_is_loaded_last() -> None:
    tokens = adapter("t", {_TOKENS: (1, 4)}, trainable_token_indices=[7])
    assert sharing({"t": tokens} | of("a", "b"), None).names == ("a", "b", "t")


def test_what_can_be_together_may_not_mix_in_a_batch() -> None:
    adapters = of("a", dora=adapter("d", use_dora=True)) | of("b")
    assert sharing(adapters, None).names == ("a", "dora", "b")
    mixed = sharing(adapters, None, mixed=True)
    assert mixed.names == ("a", "b")
    assert mixed.without == (("dora", "adapter dora is a DoRA adapter (use_dora)"),)


def test_where_no_two_can_be_together_one_is_left_and_each_other_has_its_reason() -> None:
    found = sharing({name: adapter(name, bias="all") for name in "ab"}, None)
    assert found.names == ()
    assert [name for name, _ in found.without] == ["a", "b"]
    assert sharing({}, None).names == ()
