"""Weights copied to memory of a model's own: equal, apart, and shared where they were shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")


def model_of(folder: Path) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=32, tie_word_embeddings=True)).save_pretrained(folder)
    return LlamaForCausalLM.from_pretrained(folder).eval()


def mapped(tensor: Any) -> bool:
    """Whether the tensor lies where a safetensors file is mapped."""
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= tensor.data_ptr() < last:
            return line.endswith(".safetensors")
    raise AssertionError("nowhere")


def test_what_was_mapped_is_copied_and_computes_the_same(tmp_path: Path) -> None:
    from raybench.model.own_memory import take_own_memory

    model = model_of(tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        before = model(ids).logits
    assert any(mapped(p) for p in model.parameters())
    take_own_memory(model)
    assert not any(mapped(p) for p in model.parameters())
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, before)


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    from raybench.model.own_memory import take_own_memory

    model = model_of(tmp_path)
    # As layers that are replicated are: two parameters of one memory.
    first, second = model.model.layers
    second.self_attn.q_proj.weight = torch.nn.Parameter(first.self_attn.q_proj.weight.data)
    take_own_memory(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert second.self_attn.q_proj.weight.data_ptr() == first.self_attn.q_proj.weight.data_ptr()
    assert len({p.data_ptr() for p in model.parameters()}) == len(list(model.parameters())) - 1


def test_each_lies_behind_the_one_before_as_it_was_laid_out(tmp_path: Path) -> None:
    from raybench.model.own_memory import take_own_memory

    model = model_of(tmp_path)
    gate = model.model.layers[0].mlp.gate_proj
    gate.weight = torch.nn.Parameter(gate.weight.data.t().contiguous().t())  # columns by columns
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    take_own_memory(model)
    place = None
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
        assert p.stride() == before[name].stride()
        assert p.data_ptr() % 64 == 0
        assert place is None or p.data_ptr() == place
        place = p.data_ptr() + -(-p.numel() * p.element_size() // 64) * 64
    assert not gate.weight.is_contiguous()


def test_weights_of_other_types_stay_where_they_are() -> None:
    from raybench.model.own_memory import take_own_memory

    class Packed(torch.nn.Parameter):
        pass

    module = torch.nn.Module()
    module.packed = Packed(torch.ones(4))
    module.meta = torch.nn.Parameter(torch.ones(4, device="meta"))
    place = module.packed.data_ptr()
    take_own_memory(module)
    assert module.packed.data_ptr() == place
    assert module.meta.device.type == "meta"
