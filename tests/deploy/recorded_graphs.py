"""CUDA graphs where there is no GPU: what is called in a capture is kept, and called again in each replay.

As a GPU does it: on the tensors of the capture, whatever Python decides meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from raybench.deploy import capturing


class RecordedGraph:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, list[Any]]] = []

    def replay(self) -> None:
        for call, arguments, named, results in self.calls:
            for kept, new in zip(results, _tensors(call(*arguments, **named)), strict=True):
                if kept is not new and kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


class _Recording(TorchDispatchMode):
    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a value was asked for while a graph was captured, which waits for the GPU")
        found = func(*args, **(kwargs or {}))
        self.graph.calls.append((func, args, kwargs or {}, _tensors(found)))
        return found


def _tensors(found: Any) -> list[torch.Tensor]:
    return [one for one in tree_flatten(found)[0] if isinstance(one, torch.Tensor)]


class _Stream:
    def __init__(self, *_: Any) -> None:
        pass

    def wait_stream(self, other: _Stream) -> None:
        pass


@contextlib.contextmanager
def _capture(graph: RecordedGraph, pool: Any) -> Iterator[None]:
    assert pool == "pool"
    torch.cuda.is_current_stream_capturing = lambda: True
    try:
        with _Recording(graph):
            yield
    finally:
        torch.cuda.is_current_stream_capturing = lambda: False


@pytest.fixture
def recorded_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.cuda`'s names for graphs are these, and models are taken for ones on a GPU."""
    monkeypatch.setattr(capturing, "_device_of", lambda model: torch.device("cuda"))
    for name, value in {
        "CUDAGraph": RecordedGraph,
        "Stream": _Stream,
        "graph": _capture,
        "graph_pool_handle": lambda: "pool",
        "current_stream": _Stream,
        "stream": contextlib.nullcontext,
        "is_current_stream_capturing": lambda: False,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
