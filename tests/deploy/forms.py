"""PeftModels of every family, and what their forms are held against: PEFT's own logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import peft
import pytest
import torch

from model.family_checkpoints import FAMILIES, Family
from raybench.model.adapters import without_low_rank
from raybench.records import RaybenchError

LINEAR = tuple(f for f in FAMILIES if f.name not in ("llama-embedded", "llama-tied-embedded", "mixtral", "qwen3-moe"))
"""Families whose adapters are on linear layers alone; those of the others are on embeddings or experts too."""
OTHER = tuple(f for f in FAMILIES if f not in LINEAR)


def name_of(case: Family) -> str:
    return f"{case.task_type}-{case.name}"


@pytest.fixture(scope="session")
def family_folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], tuple[str, str]]:
    """The base and the adapter of a family, made once."""
    made: dict[str, tuple[str, str]] = {}

    def of(case: Family) -> tuple[str, str]:
        if name_of(case) not in made:
            made[name_of(case)] = case.save(tmp_path_factory.mktemp(name_of(case)))
        return made[name_of(case)]

    return of


def adapted(case: Family, folders: tuple[str, str], dtype: torch.dtype = torch.float32) -> Any:
    return case.plain_peft(*folders).to(dtype)


def several(case: Family, base: str, settings: dict[str, dict[str, Any]], dtype: torch.dtype = torch.float32) -> Any:
    """A PeftModel of a family with several adapters, by name their settings; all weights are random, none is 0."""
    model: Any = None
    for seed, (name, changes) in enumerate(settings.items()):
        chosen = {key: value for key, value in case.adapter.items() if key != "save_embedding_layers"}
        if chosen["target_modules"] == "all-linear":  # of a second adapter also what is within the first one's head
            chosen["target_modules"] = r".*\.(\w_proj|gate_proj|up_proj|down_proj)"
        chosen = {"r": 4, "lora_alpha": 8, "init_lora_weights": False, "task_type": case.task_type} | chosen | changes
        config = peft.LoraConfig(**chosen)
        torch.manual_seed(seed + 1)
        if model is None:
            model = peft.get_peft_model(case.plain(base), config, name)
        else:
            peft.PeftModel.add_adapter(model, name, config)
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                if f".modules_to_save.{name}." in path:
                    parameter.add_(torch.randn_like(parameter))
    return model.to(dtype).eval()


def ids(rows: int = 3, tokens: int = 7) -> torch.Tensor:
    """None is a special one."""
    return torch.randint(4, 56, (rows, tokens), generator=torch.Generator().manual_seed(0))


def logits(model: Any, given: torch.Tensor | None = None) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids() if given is None else given).logits
    return found.float()


def by_peft(model: Any, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The logits of each adapter, as PEFT computes them, and as "" those of the base under the last one's head."""
    found = {}
    for name in names:
        model.set_adapter(name)
        found[name] = logits(model)
    with without_low_rank(model):
        return found | {"": logits(model)}


def refusal(made: Callable[..., Any], *arguments: Any) -> str:
    """The one line with which a form refuses."""
    try:
        made(*arguments)
    except RaybenchError as error:
        (line,) = error.lines
        return line
    raise AssertionError("it was not refused")


def no_peft_in(model: Any) -> bool:
    return not hasattr(model, "peft_config") and not any(type(m).__module__.startswith("peft") for m in model.modules())


class Attention(torch.nn.Module):
    """Three linear layers with one input and one with another, of whole numbers: sums are exact in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (torch.nn.Linear(6, size, bias=size != 4) for size in (8, 4, 8))
        self.out = torch.nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(torch.cat([self.q(x), self.k(x), self.v(x)], -1))
        return found


def whole_numbers(**adapters: dict[str, Any]) -> tuple[Any, torch.Tensor, Any]:
    """A PeftModel of one such module, an input, and what comes of it, computed here from the weights.

    ``adapters``: by name the settings of each, and what comes of each by its name; none is one adapter, ``default``.
    """
    draw = torch.Generator().manual_seed(0)
    settings = adapters or {"default": {}}
    model: Any = None
    for name, changes in settings.items():
        config = peft.LoraConfig(**{"r": 2, "lora_alpha": 4, "target_modules": ["q", "v", "out"]} | changes)
        if model is None:
            model = peft.get_peft_model(torch.nn.Sequential(Attention()), config, name).eval()
        else:
            model.add_adapter(name, config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-3, 4, parameter.shape, generator=draw))
    x = torch.randint(-3, 4, (2, 3, 6), generator=draw).float()
    attention = model.get_base_model()[0]

    def layer(which: Any, name: str, given: torch.Tensor) -> torch.Tensor:
        base = getattr(which, "base_layer", which)
        weight = base.weight.detach().clone()
        if name in getattr(which, "lora_A", {}):
            weight += which.scaling[name] * which.lora_B[name].weight @ which.lora_A[name].weight
        return given @ weight.T + (0 if base.bias is None else base.bias)

    with torch.no_grad():
        found = {
            name: layer(
                attention.out, name, torch.cat([layer(m, name, x) for m in (attention.q, attention.k, attention.v)], -1)
            )
            for name in settings
        }
    return model.requires_grad_(False), x, found if adapters else found["default"]
