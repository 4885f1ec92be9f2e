"""A model's forward as CUDA graphs, one for each bucket of lengths: a request is one launch, whatever Python would do.

A graph replays the kernels that one forward launched, on the tensors that it launched them on: what Python decided
then, as which adapter PEFT has active, stays decided. Forms whose switch writes into tensors are followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from raybench.deploy.buckets import Buckets, buckets_of
from raybench.deploy.generation import within_peft
from raybench.deploy.switch import Chosen
from raybench.records import RaybenchError

_FORWARDS_BEFORE: Final = 3
"""As PyTorch's documentation of CUDA graphs has it: libraries choose and set up on a side stream what they will use."""


def captured(model: Any) -> Buckets:
    """The forward of a classifier on a CUDA device, captured for each bucket of lengths when it is first called there.

    Called with ``input_ids`` and ``attention_mask`` of shape (batch, tokens), on the model's device; requests are
    padded to 16, 32, 64, ... tokens. The outputs that it returns are overwritten by the next request. Graphs share a
    pool of memory, so that a further one costs little; one model must not be called by two threads. A stack's mixed
    batches have graphs of their own.

    Raises RaybenchError where the model is on another device, where it has no token to pad with, and where it is a
    PeftModel of several adapters, of which a graph would keep the one that is active.
    """
    if len(getattr(model, "peft_config", ())) > 1:
        raise RaybenchError(
            f"a CUDA graph keeps the adapter that is active of {', '.join(model.peft_config)}: stack them first "
            "(raybench.stacked), or load one"
        )
    inner = within_peft(model)
    device = _device_of(inner)
    if device.type != "cuda":
        raise RaybenchError(f"a CUDA graph is captured on a GPU, the model is on {device}; move it, or run it eagerly")
    pool = torch.cuda.graph_pool_handle()

    def make(tensors: Mapping[str, torch.Tensor]) -> Callable[[], Any]:
        here, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(_FORWARDS_BEFORE):
                inner(**tensors)
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            outputs = inner(**tensors)

        def replay() -> Any:
            graph.replay()
            return outputs

        return replay

    stacks = {module.chosen for module in inner.modules() if isinstance(getattr(module, "chosen", None), Chosen)}

    def state() -> tuple[tuple[bool, int], ...]:
        return tuple((chosen.mixes, chosen.rows) for chosen in stacks)

    return buckets_of(inner, make, state)


def _device_of(model: Any) -> torch.device:
    found: torch.device = next(model.parameters()).device
    return found
