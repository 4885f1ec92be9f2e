"""A real vLLM, started by its preset: its tokens, its death, and what is left of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from engines.engines import ADAPTERS, TOKENS, Tiny, clean_machine, post, python_of, tiny
from raybench.serve.engine_python import versions_in
from raybench.serve.ports import is_free
from raybench.serve.presets import RunningServer, preset_of, running
from raybench.serve.served import BASE_NAME, EngineSettings, Served
from raybench.serve.server_errors import ServerError
from raybench.serve.vllm_preset import PACKAGES
from serve.servers import watch

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]


class Pair(NamedTuple):
    model: Tiny
    separate: RunningServer
    merged: RunningServer
    temporary: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two servers on a core each: one with both adapters beside the base, one of the first adapter merged."""
    python = python_of("vllm")
    model = tiny(tmp_path_factory.mktemp("model"))
    adapters = {adapter.name: model.checkpoints.adapter(adapter) for adapter in ADAPTERS}
    served = (
        Served(model.checkpoints.base(), "float32", adapters),
        Served(model.checkpoints.merged(ADAPTERS[0]), "float32"),
    )
    cores = sorted(os.sched_getaffinity(0))
    with clean_machine() as temporary, contextlib.ExitStack() as stack, ThreadPoolExecutor() as threads:
        contexts = []
        for place, one in enumerate(served):
            settings = EngineSettings(
                python=python, cores=(cores[place % len(cores)],), kv_cache_gib=1, eager=True, max_tokens=256, streams=4
            )
            contexts.append(running(f"vLLM {place}", preset_of("vllm"), one, settings, ready_within_s=600))
        starts = [threads.submit(context.__enter__) for context in contexts]
        for context, start in zip(contexts, starts, strict=True):
            if start.exception() is None:
                stack.push(context)
        servers = [start.result() for start in starts]
        yield Pair(model, *servers, temporary)


def tokens(server: RunningServer, adapter: str | None, prompt: tuple[int, ...]) -> list[int]:
    """What greedy decoding gives, as token ids."""
    body = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    answer = post(server, "/v1/completions", body | server.request_fields(adapter))
    assert answer["usage"]["completion_tokens"] == TOKENS
    return answer["choices"][0]["token_ids"]


def test_base_adapters_and_merged_give_the_tokens_that_transformers_gives(pair: Pair) -> None:
    """The same prompts under each adapter in turn, the base last, and then all once more: as a mix asks."""
    names = [adapter.name for adapter in ADAPTERS]
    for _ in range(2):
        for name in (*names, None):
            assert [tokens(pair.separate, name, p) for p in pair.model.prompts] == pair.model.expected[name]
    assert [tokens(pair.merged, None, p) for p in pair.model.prompts] == pair.model.expected[names[0]]
    assert pair.model.expected[names[0]] != pair.model.expected[names[1]] != pair.model.expected[None]


def test_a_wrong_key_and_a_wrong_model_are_refused(pair: Pair) -> None:
    body = {"model": BASE_NAME, "prompt": [5, 6], "max_tokens": 1}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post(pair.separate, "/v1/completions", body, key="another")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        post(pair.merged, "/v1/completions", body | {"model": ADAPTERS[0].name})
    command = Path(f"/proc/{pair.separate.process.pid}/cmdline").read_bytes()
    assert pair.separate.key.encode() not in command


def test_what_it_takes_is_measured_and_its_versions_are_known(pair: Pair) -> None:
    memory = pair.separate.process.memory()
    assert 200e6 < memory.resident_bytes < 8e9
    assert memory.peak_bytes >= memory.resident_bytes
    assert pair.separate.process.startup_ns > 1e9
    assert pair.separate.process.has_to_itself(pair.separate.port)
    assert versions_in(str(pair.separate.settings.python), PACKAGES).keys() >= {"torch", "transformers"}


def test_killed_in_the_middle_of_an_answer_it_is_dead_in_one_line_and_nothing_of_it_is_left(pair: Pair) -> None:
    server = pair.merged
    body = {"prompt": pair.model.prompts[0], "max_tokens": 200, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(
        f"{server.url}/v1/completions",
        json.dumps(body | server.request_fields()).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.readline().startswith(b"data: ")
        os.kill(server.process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert b"[DONE]" not in answer.read()
    with pytest.raises(ServerError) as caught:
        watch(server.process)
    assert caught.value.kind == "killed"
    assert str(caught.value).startswith("vLLM 1: died: signal SIGKILL; ")
    assert "\n" not in str(caught.value)
    server.process.end()
    assert is_free(server.port)
    assert tokens(pair.separate, None, pair.model.prompts[0]) == pair.model.expected[None][0]  # the other goes on
