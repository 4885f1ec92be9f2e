"""Compiled deployments: whole, with lengths left open or by buckets, in caches of their own, nothing in silence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForSequenceClassification

from deploy.shapes import difference, rows
from model.small_checkpoints import deploying, llama_config
from raybench.deploy.compiling import as_it_is, compiled, compiled_by_length, own_cache, try_instruction_sets
from raybench.deploy.execution import executed
from raybench.deploy.strategy import Deployment
from raybench.records import RaybenchError

COMPILE = torch.compile


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return LlamaForSequenceClassification(llama_config(initializer_range=0.2, num_hidden_layers=1)).eval()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs and versions are torch.compile's own, what runs them is not compiled: that takes most of the time."""

    def compile_(model: Any, *, options: Any, **others: Any) -> Any:
        return COMPILE(model, backend="eager", **others)

    monkeypatch.setattr(torch, "compile", compile_)


def test_it_is_kept_in_its_own_part_of_the_cache(model: Any, tmp_path: Path) -> None:
    configuration = deploying(strategy="full_ft", execution="compile")
    found = executed(Deployment(model, model), configuration)
    assert found.model is model
    with torch.inference_mode(), own_cache(tmp_path, configuration.name):
        assert difference(found.forward(**rows(1, 12)).logits, model(**rows(1, 12)).logits) < 1e-5
    assert any((tmp_path / "compiled" / configuration.name).iterdir())


def test_what_a_cpu_can_do_is_tried_in_a_part_of_the_cache_that_all_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "before")
    monkeypatch.setattr(
        "torch._inductor.cpu_vec_isa.pick_vec_isa", lambda: asked.append(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    )
    try_instruction_sets(tmp_path)
    assert asked == [str(tmp_path / "compiled" / ".instruction-sets")]
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "before"


@pytest.mark.usefixtures("quickly")
def test_one_version_serves_every_length_and_another_is_an_error(model: Any) -> None:
    forward = compiled(model)
    with torch.inference_mode():
        forward(**rows(1, 12))
        with as_it_is():
            for tokens in (5, 12, 30):
                assert difference(forward(**rows(1, tokens)).logits, model(**rows(1, tokens)).logits) < 1e-5
            with pytest.raises(RuntimeError, match="recompile"):
                forward(**rows(2, 12))
        forward(**rows(2, 12))  # outside of it that is one more version


@pytest.mark.usefixtures("quickly")
def test_by_length_each_bucket_has_a_version_and_none_is_made_while_requests_are_timed(model: Any) -> None:
    forward = compiled_by_length(model)
    with torch.inference_mode():
        forward(**rows(1, 12))
        forward(**rows(1, 17))
        with as_it_is():
            for tokens in (5, 16, 30):
                assert difference(forward(**rows(1, tokens)).logits, model(**rows(1, tokens)).logits) < 1e-5
            with pytest.raises(RaybenchError, match="no bucket of 1 x 64 tokens was made before requests were timed"):
                forward(**rows(1, 33))
    assert len(forward) == 2


@pytest.mark.usefixtures("quickly")
def test_grad_mode_is_one_more_version(model: Any) -> None:
    forward = compiled(model)
    with torch.inference_mode():
        forward(**rows(1, 12))
    with as_it_is(), torch.no_grad(), pytest.raises(RuntimeError, match="recompile"):
        forward(**rows(1, 12))


@pytest.mark.usefixtures("quickly")
def test_more_versions_than_torch_keeps_is_an_error(model: Any) -> None:
    forward = compiled_by_length(model)
    with torch._dynamo.config.patch(recompile_limit=2), torch.inference_mode():
        forward(**rows(1, 12))
        forward(**rows(1, 17))
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            forward(**rows(1, 33))


@pytest.mark.usefixtures("quickly")
def test_models_of_one_class_share_no_versions(model: Any) -> None:
    torch.manual_seed(1)
    other = LlamaForSequenceClassification(llama_config(initializer_range=0.2, num_hidden_layers=2)).eval()
    with torch._dynamo.config.patch(recompile_limit=1), torch.inference_mode():
        for one in (model, other, model):  # more than one version of the class, none more than one of its own
            forward = compiled(one)
            assert difference(forward(**rows(1, 12)).logits, one(**rows(1, 12)).logits) < 1e-5


@pytest.mark.usefixtures("quickly")
def test_a_part_that_is_left_to_python_is_an_error(model: Any) -> None:
    model.model.layers[0].register_forward_hook(lambda *_: torch._dynamo.graph_break())
    forward = compiled(model)
    with torch.inference_mode(), pytest.raises(torch._dynamo.exc.Unsupported, match="graph_break"):
        forward(**rows(1, 12))


@pytest.mark.parametrize("execution", ["compile", "compile_static", "cudagraph"])
def test_a_forward_of_its_own_is_not_compiled(model: Any, execution: Any) -> None:
    configuration = deploying(strategy="delay", execution=execution)
    with pytest.raises(
        RaybenchError, match=f"chosen: delay has a forward of its own, which cannot be run by {execution}"
    ):
        executed(Deployment(model.forward, model, opener=model), configuration)
