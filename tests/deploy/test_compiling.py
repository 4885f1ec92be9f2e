"""Compiled deployments: whole, with lengths left open, in caches of their own, and nothing compiled in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForSequenceClassification

from deploy.shapes import difference, rows
from model.small_checkpoints import deploying, llama_config
from raybench.deploy.compiling import as_it_is, compiled, own_cache
from raybench.deploy.strategy import Deployment
from raybench.records import RaybenchError


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return LlamaForSequenceClassification(llama_config(initializer_range=0.2, num_hidden_layers=1)).eval()


def test_one_version_serves_every_length_and_another_is_an_error(model: Any, tmp_path: Path) -> None:
    configuration = deploying(strategy="full_ft", execution="compile")
    found = compiled(Deployment(model, model), configuration)
    assert found.model is model
    with torch.inference_mode():
        with own_cache(tmp_path, configuration):
            found.forward(**rows(1, 12))
        assert any((tmp_path / "compiled" / configuration.name).iterdir())
        with as_it_is():
            for tokens in (5, 12, 30):
                got, expected = (f(**rows(1, tokens)).logits for f in (found.forward, model))
                assert difference(got, expected) < 1e-5
            with pytest.raises(RuntimeError, match="recompile"):
                found.forward(**rows(2, 12))


def test_a_part_that_is_left_to_python_is_an_error(model: Any, tmp_path: Path) -> None:
    configuration = deploying(strategy="full_ft", execution="compile")
    model.model.layers[0].register_forward_hook(lambda *_: torch._dynamo.graph_break())
    found = compiled(Deployment(model, model), configuration)
    with (
        torch.inference_mode(),
        own_cache(tmp_path, configuration),
        pytest.raises(torch._dynamo.exc.Unsupported, match="graph_break"),
    ):
        found.forward(**rows(1, 12))


def test_a_forward_of_its_own_is_not_compiled(model: Any) -> None:
    configuration = deploying(strategy="delay", execution="compile")
    with pytest.raises(RaybenchError, match="chosen: delay has a forward of its own, which is not compiled; mea"):
        compiled(Deployment(model.forward, model, opener=model), configuration)
