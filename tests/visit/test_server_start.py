"""What a visit gives the servers that it starts where the plan says nothing of it."""

from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace

import psutil
import pytest

from raybench.plan import Servers
from raybench.records import RaybenchError
from raybench.visit.server_start import ServerStart, _check_cores


@pytest.mark.parametrize(("free_gib", "expected"), [(0.5, 1), (16.5, 2), (100, 4)])
def test_servers_of_vllm_on_a_cpu_share_a_quarter_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, expected: int
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free_gib * 2**30))
    spec = SimpleNamespace(servers=(), configurations=(), device_kind="cpu")
    start = ServerStart(spec, "cpu", contextlib.ExitStack())  # type: ignore[arg-type]
    start._count = 2
    assert start._kv_cache_gib(Servers(preset="vllm")) == expected
    assert start._kv_cache_gib(Servers(preset="llama.cpp")) is None
    spec.device_kind = "cuda"
    assert start._kv_cache_gib(Servers(preset="vllm")) is None


def test_cores_that_the_machine_lacks_are_named_before_a_server_is_started() -> None:
    last = (os.cpu_count() or 1) - 1
    _check_cores(Servers(preset="vllm", cores=((0,), (last,))))
    with pytest.raises(RaybenchError, match=rf"servers one: cores {last + 98} are none of this machine's, 0 to {last}"):
        _check_cores(Servers(name="one", preset="vllm", cores=((0,), (last + 98,))))
