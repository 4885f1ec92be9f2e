"""A stack into which adapters come and from which they go: each computes as PEFT has it, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from transformers import LlamaForCausalLM

import raybench
from deploy.forms import LINEAR, by_peft, family_folders, logits, name_of, refusal, several, whole_numbers
from deploy.shapes import difference
from model.family_checkpoints import Family
from model.small_checkpoints import llama_config
from raybench.deploy.gate import TOLERANCE
from raybench.machine import operations_of
from raybench.records import RaybenchError

folders = family_folders
CLASSIFIER, LLAMA = (next(f for f in LINEAR if name_of(f) == n) for n in ("SEQ_CLS-llama", "CAUSAL_LM-llama"))
NAMES = ["a", "b", "c"]


def settings(case: Family) -> dict[str, dict[str, Any]]:
    """The first has the largest rank and the most layers."""
    targets = case.adapter["target_modules"]
    fewer: dict[str, Any] = {"target_modules": targets[:1]} if isinstance(targets, list) else {}
    return {"a": {"r": 5}, "b": {"r": 2, "lora_alpha": 3} | fewer, "c": {}}


@pytest.mark.parametrize("case", LINEAR, ids=name_of)
def test_in_every_family_an_adapter_that_comes_later_gives_pefts_logits(case: Family, folders: Any) -> None:
    base = folders(case)[0]
    source = several(case, base, settings(case))
    expected = by_peft(source, NAMES)
    plain, switch = raybench.stacked(several(case, base, settings(case)), ["a"], capacity=3)
    switch.add("b", source)
    switch.add("later", source, "c")
    for name, same in (("later", "c"), ("a", "a"), ("b", "b")):
        for known in (name, switch.place(name)):
            switch("a")
            switch(known)
            assert difference(logits(plain), expected[same]) < TOLERANCE["float32"]
    with switch.mixed(["later", "a", "b"]):
        found = logits(plain)
    for row, name in enumerate(("c", "a", "b")):
        assert difference(found[row], expected[name][row]) < TOLERANCE["float32"]
    assert difference(by_peft(source, ["c"])["c"], expected["c"]) == 0  # the source is as it was


@pytest.mark.parametrize(
    ("case", "own"), [(CLASSIFIER, ["score"]), (LLAMA, ["lm_head"]), (LLAMA, ["embed_tokens"])], ids=str
)
def test_modules_come_with_their_adapters_and_one_without_has_the_bases(
    case: Family, own: list[str], folders: Any
) -> None:
    brought: dict[str, Any] = {"a": {"modules_to_save": own}, "b": {"modules_to_save": own}, "c": {}}
    if case.task_type == "SEQ_CLS":  # PEFT saves a classifier's head whatever it is told
        brought = {name: changes | {"task_type": None} for name, changes in brought.items()}
    source = several(case, folders(case)[0], brought)
    expected = by_peft(source, NAMES)
    plain, switch = raybench.stacked(several(case, folders(case)[0], brought), ["a"], capacity=2)
    for name in ("b", "c"):
        switch.add(name, source)
        switch(name)
        assert difference(logits(plain), expected[name]) < TOLERANCE["float32"]
        switch("a")
        switch.remove(name)
    assert difference(logits(plain), expected["a"]) < TOLERANCE["float32"]


def test_a_forward_moves_as_many_bytes_however_many_places_there_are(folders: Any) -> None:
    found = []
    for capacity in (1, 16):
        source = several(CLASSIFIER, folders(CLASSIFIER)[0], {"a": {}})
        plain, switch = raybench.stacked(source, ["a"], capacity=capacity)
        switch("a")
        with torch.inference_mode():
            found.append(operations_of(lambda: logits(plain), [*plain.parameters(), *plain.buffers()]))  # noqa: B023
    assert found[0] == found[1]
    assert found[0].weight_bytes > 0


def test_places_are_taken_and_given_back() -> None:
    many: dict[str, dict[str, Any]] = {"a": {}, "b": {"target_modules": ["v"]}, "c": {}}
    source, x, expected = whole_numbers(**many)
    plain, switch = raybench.stacked(whole_numbers(**many)[0], ["a"], {"input": x}, capacity=2)
    assert (switch.names, switch.capacity) == (("a",), 2)
    assert plain[0].q.stack.downs.shape[0] == 2
    switch.add("c", source)
    switch("c")
    assert torch.equal(plain(x), expected["c"])
    assert refusal(switch.add, "b", source).startswith("all 2 places are taken; remove an adapter, or stack with")
    switch("a")
    switch.remove("c")
    assert switch.names == ("a",)
    switch.add("b", source)  # of fewer layers, where c was
    switch("b")
    assert torch.equal(plain(x), expected["b"])
    switch("a")
    assert torch.equal(plain(x), expected["a"])


def test_tensors_stay_where_they_are() -> None:
    source, x, _ = whole_numbers(a={}, b={})
    plain, switch = raybench.stacked(whole_numbers(a={}, b={})[0], ["a"], {"input": x}, capacity=2)
    before = [parameter.data_ptr() for parameter in plain.parameters()]
    switch.add("b", source)
    switch.remove("b")
    assert [parameter.data_ptr() for parameter in plain.parameters()] == before


def test_what_has_no_room_is_refused_and_changes_nothing() -> None:
    wide, x, _ = whole_numbers(a={}, b={"r": 3}, c={"target_modules": ["k"]})
    plain, switch = raybench.stacked(whole_numbers(a={}, b={})[0], ["a"], {"input": x}, capacity=2)
    before = plain(x)
    assert refusal(switch.add, "b", wide) == (
        "0.out: adapter b has rank 3, the largest that was stacked 2; stack one of its rank too"
    )
    assert refusal(switch.add, "c", wide) == (
        "0.k: adapter c changes it, which none of those that were stacked did; stack one that does"
    )
    assert refusal(switch.add, "a", wide) == "adapter a is stacked already; remove it first, or take another name"
    assert refusal(switch.add, "d", wide) == "the model has no adapter d; it has a, b, c"
    assert refusal(switch.add, "d", plain) == "Sequential is no PeftModel; give the model with its adapters on it"
    assert switch.names == ("a",)
    assert torch.equal(plain(x), before)
    model, x, _ = whole_numbers(a={}, b={})
    with pytest.raises(RaybenchError, match="capacity 1 is too small for 2 adapters"):
        raybench.stacked(model, ["a", "b"], {"input": x}, capacity=1)


def test_the_adapter_that_computes_is_not_removed() -> None:
    model, x, _ = whole_numbers(a={}, b={}, c={})
    _, switch = raybench.stacked(model, NAMES, {"input": x})
    line = "the model computes by adapter {}; switch to another before it is removed"
    assert refusal(switch.remove, "a") == line.format("a")
    with switch.mixed(["b", "a"]):
        assert refusal(switch.remove, "b") == line.format("b")
        switch.remove("c")
    assert switch.names == ("a", "b")
    assert refusal(switch, "c") == "no adapter c is stacked; there are a, b"


OF_ITS_BASE = {
    "bias 'all'": {"bias": "all"},
    "bias 'lora_only'": {"bias": "lora_only"},
    "init_lora_weights 'pissa'": {"init_lora_weights": "pissa"},
    "init_lora_weights 'pissa_niter_2'": {"init_lora_weights": "pissa_niter_2"},
    "init_lora_weights 'olora'": {"init_lora_weights": "olora"},
    "layer_replication": {"layer_replication": [[0, 2], [0, 2]]},
}


@pytest.mark.parametrize("part", OF_ITS_BASE)
def test_an_adapter_that_changes_its_base_has_none_beside_it(part: str) -> None:
    torch.manual_seed(0)
    settings = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False}
    plain_lora, changing = (
        peft.get_peft_model(LlamaForCausalLM(llama_config(attention_bias=True)), peft.LoraConfig(**settings | changes))
        for changes in ({}, OF_ITS_BASE[part])
    )
    line = (
        f"adapter default has {part}: it changes the base itself, which others cannot share: stack it alone, without "
        "room for more, or use form peft"
    )
    plain, switch = raybench.stacked(plain_lora, ["default"], capacity=2)
    before = logits(plain)
    assert refusal(switch.add, "later", changing, "default") == line
    assert switch.names == ("default",)
    assert torch.equal(logits(plain), before)
    expected = logits(changing.eval())
    with pytest.raises(RaybenchError, match="changes the base itself"):
        raybench.stacked(changing, ["default"], capacity=2)
    assert torch.equal(logits(changing), expected)  # nothing was taken out of it
    alone, _ = raybench.stacked(changing, ["default"])
    assert difference(logits(alone), expected) < TOLERANCE["float32"]


@pytest.mark.parametrize("form", [raybench.lean, raybench.fused, lambda model: raybench.remerge(model, ["default"])[0]])
@pytest.mark.parametrize("part", ["bias 'all'", "init_lora_weights 'pissa'", "layer_replication"])
def test_alone_it_keeps_what_it_changed_in_its_base(form: Any, part: str) -> None:
    torch.manual_seed(0)
    settings = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False} | OF_ITS_BASE[part]
    model = peft.get_peft_model(LlamaForCausalLM(llama_config(attention_bias=True)), peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.fill_(0.5)  # as if trained
    expected = logits(model.eval())
    assert difference(logits(form(model)), expected) < TOLERANCE["float32"]
