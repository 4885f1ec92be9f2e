"""The form fused gives PEFT's logits, and of a plain model its own; what it cannot know it refuses to guess."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification, GPT2LMHeadModel, LlamaForCausalLM

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
from model.small_checkpoints import bert_config, gpt2_config, llama_config
from raybench.deploy import fused_form
from raybench.deploy.fused_layers import Fellow, FusedLinear
from raybench.deploy.gate import TOLERANCE
from raybench.deploy.generation import Generator, generate
from raybench.deploy.lean_form import LeanLinear
from raybench.deploy.merging import merge
from raybench.deploy.strategies import Deployment
from raybench.model.own_memory import take_own_memory
from raybench.records import RaybenchError

folders = family_folders
LLAMA, HEADED = (next(f for f in LINEAR if name_of(f) == f"CAUSAL_LM-{n}") for n in ("llama", "llama-tied-headed"))


def fusions(model: Any) -> dict[str, list[int]]:
    """By the layer that computes the sizes of all that it computes."""
    return {name: m.sizes for name, m in model.named_modules() if isinstance(m, FusedLinear)}


@pytest.mark.parametrize("case", LINEAR, ids=name_of)
def test_every_family_gives_pefts_logits(case: Family, folders: Any) -> None:
    model = adapted(case, folders(case))
    expected = by_peft(model, ["default"])
    plain = raybench.fused(model)
    assert no_peft_in(plain)
    assert any(m.up is not None for m in plain.modules() if isinstance(m, FusedLinear))
    assert difference(expected[""], expected["default"]) > 1e-2
    for _ in range(2):
        assert difference(logits(plain), expected["default"]) < TOLERANCE["float32"]


@pytest.mark.parametrize("case", LINEAR, ids=name_of)
def test_merged_ones_give_their_own(case: Family, folders: Any) -> None:
    model = merge(adapted(case, folders(case))).model
    expected = logits(model)
    assert difference(logits(raybench.fused(model)), expected) < TOLERANCE["float32"]


@pytest.mark.parametrize("case", [f for f in LINEAR if f.task_type == "CAUSAL_LM"], ids=name_of)
def test_language_models_generate_the_same_tokens(case: Family, folders: Any) -> None:
    asked, model = prompts(case.task_type), adapted(case, folders(case))
    expected = by_generate(model, asked)
    plain = raybench.fused(model)
    with torch.inference_mode():
        assert torch.equal(generate(Generator(Deployment(plain, plain)), asked), expected)


@pytest.mark.parametrize("case", LINEAR[6:8] + LINEAR[-2:], ids=name_of)
def test_in_bfloat16(case: Family, folders: Any) -> None:
    model = adapted(case, folders(case), torch.bfloat16)
    expected = by_peft(model, ["default"])
    plain = raybench.fused(model)
    assert {weight.dtype for weight in plain.parameters()} == {torch.bfloat16}
    assert difference(logits(plain), expected["default"]) < TOLERANCE["bfloat16"]


@pytest.mark.parametrize("case", OTHER, ids=name_of)
def test_adapters_of_other_layers_are_refused(case: Family, folders: Any) -> None:
    assert " adapter default has a layer of kind " in refusal(raybench.fused, adapted(case, folders(case)))


def test_what_is_fused_is_found_by_what_it_is_called_with(folders: Any) -> None:
    model = raybench.fused(adapted(LLAMA, folders(LLAMA)))
    attention, mlp = [f"model.layers.{i}.self_attn.q_proj" for i in range(2)], [16, 8, 8]
    assert fusions(model) == {
        **dict.fromkeys(attention, mlp),
        **{f"model.layers.{i}.mlp.gate_proj": [32, 32] for i in range(2)},
    }
    first = model.get_submodule(attention[0])
    assert first.fused.shape == (16 + 8 + 8 + 2 * 4, 16)
    assert first.up.shape == (2 * 4, 16 + 8)  # of q and v; k, which has no adapter, comes after them
    assert [type(module).__name__ for module in model.model.layers[0].self_attn.children()] == [
        "FusedLinear",
        "Fellow",
        "Fellow",
        "Linear",
    ]


def test_the_plain_model_has_the_same_groups(folders: Any) -> None:
    separate = raybench.fused(adapted(LLAMA, folders(LLAMA)))
    merged = raybench.fused(merge(adapted(LLAMA, folders(LLAMA))).model)
    assert {n: sorted(sizes) for n, sizes in fusions(merged).items()} == {
        n: sorted(sizes) for n, sizes in fusions(separate).items()
    }


def test_encoders_and_transposed_weights() -> None:
    bert = raybench.fused(BertForSequenceClassification(bert_config()))
    assert fusions(bert) == {f"bert.encoder.layer.{i}.attention.self.query": [16, 16, 16] for i in range(2)}
    gpt2 = GPT2LMHeadModel(gpt2_config()).eval()
    expected = logits(gpt2)
    assert fusions(raybench.fused(gpt2)) == {}  # q, k and v are one already
    assert torch.equal(logits(gpt2), expected)


def test_a_layer_that_is_called_twice_has_no_fellows() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (torch.nn.Linear(3, 3) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.a(x) + self.b(x) + self.c(x)
            return found + self.a(2 * x)

    model, x = Twice().eval(), torch.randn(2, 3)
    expected = model(x)
    assert fusions(raybench.fused(model, {"x": x})) == {"b": [3, 3]}
    assert torch.allclose(model(x), expected)


def test_weights_that_are_shared_stay_shared(folders: Any) -> None:
    model = raybench.fused(adapted(HEADED, folders(HEADED)))
    assert type(model.lm_head) is LeanLinear
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_weights_of_layers_can_be_looked_at(folders: Any) -> None:
    model = LlamaForCausalLM(llama_config(attention_bias=True)).eval()
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        attention.k_proj.bias.normal_()
    before = {name: (m.weight.clone(), m.bias.clone()) for name, m in attention.named_children()}
    raybench.fused(model)
    assert isinstance(attention.k_proj, Fellow)
    for name, (weight, bias) in before.items():
        layer = attention.get_submodule(name)
        assert torch.equal(layer.weight, weight)
        assert torch.equal(layer.bias, bias)


def test_whole_numbers_are_exact() -> None:
    model, x, expected = whole_numbers()
    plain = raybench.fused(model, {"input": x})
    assert torch.equal(plain(x), expected)
    assert fusions(plain) == {"0.q": [8, 8, 4], "0.out": [5]}
    assert torch.equal(plain(x.half().float()), expected)


def test_another_input_is_an_error_and_never_a_wrong_number() -> None:
    model, x, expected = whole_numbers()
    plain = raybench.fused(model, {"input": x})
    q, k, v = (plain[0].get_submodule(name) for name in "qkv")
    q(x)
    with pytest.raises(RaybenchError, match=r"^0\.k was called with another input than the layers that it is fused"):
        k(x.clone())
    k(x)
    v(x)
    with pytest.raises(RaybenchError, match=r"^0\.v was called with another input .* or before the first of them: "):
        v(x)
    q(x)  # and then something fails: the next forward begins anew
    assert torch.equal(plain(x + 0), expected)


def test_nothing_is_kept_once_all_have_their_slices() -> None:
    model, x, _ = whole_numbers()
    plain = raybench.fused(model, {"input": x})
    given = x.clone()
    result = plain(given)
    gone = weakref.ref(given)
    del given, result
    gc.collect()
    assert gone() is None
    assert plain[0].q.slices.held == (None, ())


def test_a_copy_is_a_model_of_its_own() -> None:
    model, x, expected = whole_numbers()
    plain = raybench.fused(model, {"input": x})
    copied = copy.deepcopy(plain)
    take_own_memory(copied)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    assert torch.equal(copied(x), expected)
    assert not plain(x).any()


def test_an_input_that_is_written_to_between_two_calls_is_not_one_input() -> None:
    class Between(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (torch.nn.Linear(3, 3) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + 0
            found: torch.Tensor = self.a(x) + self.b(x)
            return found + self.c(x.add_(1))

    model, x = Between().eval(), torch.randn(2, 3)
    expected = model(x)
    assert fusions(raybench.fused(model, {"x": x})) == {"a": [3, 3]}
    assert torch.allclose(model(x), expected)


def test_the_weights_are_freed_group_by_group(monkeypatch: pytest.MonkeyPatch, folders: Any) -> None:
    model = adapted(LLAMA, folders(LLAMA))
    plain = model.get_base_model()
    alive = [weakref.ref(m) for n, m in plain.named_modules() if n.endswith(("q_proj.base_layer", "gate_proj"))]
    counts, fuse = [], fused_form._fuse

    def count_alive() -> None:
        gc.collect()
        counts.append(sum(one() is not None for one in alive))

    # Before each group, not at the end of the one before: once torch.compile was used in the process, a call keeps what
    # it is given until it returns.
    def counted(*arguments: Any) -> None:
        count_alive()
        fuse(*arguments)

    monkeypatch.setattr(fused_form, "_fuse", counted)
    raybench.fused(model)
    count_alive()
    assert counts == [4, 3, 2, 1, 0]


def test_a_base_of_several_adapters(folders: Any) -> None:
    model = several(LLAMA, folders(LLAMA)[0], {"a": {"r": 2}, "b": {"target_modules": "all-linear", "r": 3}})
    expected = by_peft(model, ["a", "b"])
    assert difference(logits(raybench.fused(model)), expected["b"]) < TOLERANCE["float32"]


def test_inputs_that_the_model_does_not_take() -> None:
    model = LlamaForCausalLM(llama_config())
    line = refusal(raybench.fused, model, {"input_ids": ids(), "nonsense": 1, "position_ids": "x"})
    assert line.startswith("a forward to find which layers share an input failed (")
    assert line.endswith("); give inputs that LlamaForCausalLM takes")
    line = "Linear says nothing of a vocabulary; give inputs that it takes"
    assert refusal(raybench.fused, torch.nn.Linear(2, 2)) == line


def test_compiled_it_is_one_graph_that_is_compiled_once(folders: Any) -> None:
    from torch._dynamo.testing import CompileCounter

    model, given = raybench.fused(adapted(LLAMA, folders(LLAMA))), ids()
    expected = logits(model)
    torch.compiler.reset()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=False)
    for _ in range(2):
        with torch.inference_mode():
            found = compiled(input_ids=given, use_cache=False).logits
        assert difference(found, expected) < TOLERANCE["float32"]
    assert counter.frame_count == 1
