"""The form stacked: each adapter as PEFT gives it alone, after each switch and in each row of a mixed batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import raybench
from deploy.forms import (
    LINEAR,
    OTHER,
    adapted,
    by_peft,
    family_folders,
    ids,
    logits,
    name_of,
    no_peft_in,
    refusal,
    several,
    whole_numbers,
)
from deploy.shapes import difference
from deploy.test_families import prompts
from deploy.test_generation import by_generate
from model.family_checkpoints import Family
from raybench.deploy.gate import TOLERANCE
from raybench.deploy.generation import Generator, generate
from raybench.deploy.stacked_layers import StackedLinear
from raybench.deploy.strategies import Deployment

folders = family_folders
LLAMA, HEADED = (next(f for f in LINEAR if name_of(f) == f"CAUSAL_LM-{n}") for n in ("llama", "llama-tied-headed"))
CLASSIFIER, ROBERTA = (next(f for f in LINEAR if name_of(f) == f"SEQ_CLS-{n}") for n in ("llama", "roberta"))
NAMES = ["a", "b", "c"]
ROWS = ["c", "a", "b"]
WHOLE: dict[str, dict[str, Any]] = {
    "a": {},
    "b": {"r": 3, "lora_alpha": 6, "target_modules": ["k"]},
    "c": {"target_modules": ["v", "out"]},
}


def settings(case: Family) -> dict[str, dict[str, Any]]:
    """Of several ranks; the last one leaves layers alone that the others change."""
    targets = case.adapter["target_modules"]
    fewer: dict[str, Any] = {"target_modules": targets[:1]} if isinstance(targets, list) else {}
    return {"a": {}, "b": {"r": 2, "lora_alpha": 3}, "c": {"r": 5} | fewer}


@pytest.mark.parametrize("case", LINEAR, ids=name_of)
def test_every_family_gives_pefts_logits(case: Family, folders: Any) -> None:
    model = several(case, folders(case)[0], settings(case))
    expected = by_peft(model, NAMES)
    plain, switch = raybench.stacked(model, NAMES)
    assert no_peft_in(plain)
    assert difference(logits(plain), expected["a"]) < TOLERANCE["float32"]
    for name in ("c", "a", "b"):
        switch(name)
        assert difference(logits(plain), expected[name]) < TOLERANCE["float32"]
        others = [other for other in ("a", "b", "c", "") if other != name]
        assert all(difference(expected[other], expected[name]) > 1e-2 for other in others)
    with switch.mixed(ROWS):
        found = logits(plain)
    for row, name in enumerate(ROWS):
        assert difference(found[row], expected[name][row]) < TOLERANCE["float32"]
    assert difference(logits(plain), expected["b"]) < TOLERANCE["float32"]  # as it was before


@pytest.mark.parametrize("case", [f for f in LINEAR if f.task_type == "CAUSAL_LM"], ids=name_of)
def test_language_models_generate_the_same_tokens(case: Family, folders: Any) -> None:
    asked, model = prompts(case.task_type), several(case, folders(case)[0], settings(case))
    expected = {}
    for name in NAMES:
        model.set_adapter(name)
        expected[name] = by_generate(model, asked)
    plain, switch = raybench.stacked(model, NAMES)
    generator = Generator(Deployment(plain, plain, mixed=switch.mixed))
    with torch.inference_mode():
        for name in NAMES:
            switch(name)
            assert torch.equal(generate(Generator(Deployment(plain, plain)), asked), expected[name])
        mixed = generate(generator, asked, names=("c", "b"))
    assert torch.equal(mixed, torch.stack([expected["c"][0], expected["b"][1]]))


@pytest.mark.parametrize("case", [CLASSIFIER, LLAMA], ids=name_of)
def test_in_bfloat16(case: Family, folders: Any) -> None:
    model = several(case, folders(case)[0], settings(case), torch.bfloat16)
    expected = by_peft(model, NAMES)
    plain, switch = raybench.stacked(model, NAMES)
    assert {weight.dtype for weight in plain.parameters()} == {torch.bfloat16}
    for name in NAMES:
        switch(name)
        assert difference(logits(plain), expected[name]) < TOLERANCE["bfloat16"]
    with switch.mixed(ROWS):
        found = logits(plain)
    assert difference(found, torch.stack([expected[n][i] for i, n in enumerate(ROWS)])) < TOLERANCE["bfloat16"]


@pytest.mark.parametrize(
    ("case", "own"),
    [
        (CLASSIFIER, ["score"]),
        (ROBERTA, ["classifier"]),
        (LLAMA, ["lm_head"]),
        (LLAMA, ["embed_tokens"]),
        (CLASSIFIER, ["embed_tokens", "score"]),
    ],
    ids=str,
)
def test_modules_that_adapters_bring_are_chosen_with_them(case: Family, own: list[str], folders: Any) -> None:
    brought = {"a": {"modules_to_save": own}, "b": {"modules_to_save": own, "r": 2}, "c": {}}
    if case.task_type == "SEQ_CLS":  # PEFT saves a classifier's head whatever it is told
        brought = {name: changes | {"task_type": None} for name, changes in brought.items()}
    model = several(case, folders(case)[0], brought)
    expected = by_peft(model, NAMES)
    plain, switch = raybench.stacked(model, NAMES)
    assert no_peft_in(plain)
    for name in ("b", "c", "a"):
        switch(name)
        assert difference(logits(plain), expected[name]) < TOLERANCE["float32"]
    with switch.mixed(ROWS):
        found = logits(plain)
    for row, name in enumerate(ROWS):
        assert difference(found[row], expected[name][row]) < TOLERANCE["float32"]


def test_whole_numbers_are_exact() -> None:
    model, x, expected = whole_numbers(**WHOLE)
    plain, switch = raybench.stacked(model, NAMES, {"input": x})
    assert isinstance(plain[0].q, StackedLinear)
    assert plain[0].q.stack.downs.shape == (3, 6, 2 + 3 + 2)
    assert plain[0].q.stack.ups.shape == (3, 2 + 3 + 2, 8 + 4 + 8)
    for name in ("a", "c", "b"):
        switch(name)
        assert torch.equal(plain(x), expected[name])
    with switch.mixed(["c", "b"]):
        assert torch.equal(plain(x), torch.stack([expected["c"][0], expected["b"][1]]))
        with switch.mixed(["a", "a"]):
            assert torch.equal(plain(x), expected["a"])
        assert torch.equal(plain(x), torch.stack([expected["c"][0], expected["b"][1]]))
    with switch.mixed(["c"]):
        assert torch.equal(plain(x[:1]), expected["c"][:1])
    assert torch.equal(plain(x), expected["b"])


def test_a_switch_writes_one_integer() -> None:
    model, x, _ = whole_numbers(a={}, b={})
    _, switch = raybench.stacked(model, ["b", "a"], {"input": x})
    index = switch.index
    assert (index.tolist(), index.dtype) == ([0], torch.int64)
    switch("a")
    assert switch.index is index
    assert index.tolist() == [1]
    assert switch.names == ("b", "a")


def test_weights_that_are_shared_stay_shared(folders: Any) -> None:
    model = several(HEADED, folders(HEADED)[0], {"a": {}, "b": {}})
    plain, _ = raybench.stacked(model, ["a", "b"])
    assert plain.lm_head.fused is plain.model.embed_tokens.weight


def test_what_is_refused(folders: Any) -> None:
    model, x, _ = whole_numbers(a={}, b={})
    plain, switch = raybench.stacked(model, ["a", "b"], {"input": x})
    assert refusal(switch, "mine") == "no adapter mine is stacked; there are a, b"
    assert refusal(switch.mixed(["a", "mine"]).__enter__) == "no adapter mine is stacked; there are a, b"
    assert refusal(switch.mixed([]).__enter__) == "a mixed batch has no rows; name an adapter for each"
    with switch.mixed(["a", "b", "a"]):
        line = "0.q: its input has 2 rows, adapters are named for 3; name one for each row of the batch"
        assert refusal(plain, x) == line
    with switch.mixed(["a"]):
        assert refusal(plain, x).startswith("0.q: its input has 2 rows, adapters are named for 1; ")
    plain(x)


@pytest.mark.parametrize("case", OTHER, ids=name_of)
def test_adapters_of_other_layers_are_refused(case: Family, folders: Any) -> None:
    model = adapted(case, folders(case))
    assert " adapter default has a layer of kind " in refusal(raybench.stacked, model, ["default"])


def test_compiled_a_switch_compiles_nothing(folders: Any) -> None:
    from torch._dynamo.testing import CompileCounter

    model = several(LLAMA, folders(LLAMA)[0], settings(LLAMA))
    expected = by_peft(model, NAMES)
    plain, switch = raybench.stacked(model, NAMES)
    torch.compiler.reset()
    counter = CompileCounter()
    compiled = torch.compile(plain, backend=counter, fullgraph=True, dynamic=False)

    def found() -> torch.Tensor:
        with torch.inference_mode():
            return compiled(input_ids=ids(), use_cache=False).logits  # type: ignore[no-any-return]

    for name in ("a", "b", "c", "a"):
        switch(name)
        assert difference(found(), expected[name]) < TOLERANCE["float32"]
    assert counter.frame_count == 1
    for rows in (ROWS, ["a", "a", "b"]):
        with switch.mixed(rows):
            assert difference(found(), torch.stack([expected[n][i] for i, n in enumerate(rows)])) < 1e-4
    assert counter.frame_count == 2  # a mixed batch is another graph, the same for all names
