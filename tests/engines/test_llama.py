"""A real llama.cpp server, started by its preset, on GGUF files of raybench's own writing."""

from __future__ import annotations

import contextlib
import os
import signal
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.engines import ADAPTERS, TOKENS, Tiny, clean_machine, post, python_of, tiny
from raybench.serve.engine_python import versions_in
from raybench.serve.gguf_files import gguf_adapter, gguf_model
from raybench.serve.llama_preset import PACKAGES
from raybench.serve.ports import is_free
from raybench.serve.presets import RunningServer, preset_of, running
from raybench.serve.served import EngineSettings, Served
from raybench.serve.server_errors import ServerError
from serve.servers import watch

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    python_of("llama.cpp")
    pytest.importorskip("gguf")
    return tiny(tmp_path_factory.mktemp("model"))


@contextlib.contextmanager
def serving(served: Served, **changes: object) -> Iterator[RunningServer]:
    settings = EngineSettings(python=python_of("llama.cpp"), cores=(0,), max_tokens=256, streams=1, **changes)
    with running("llama.cpp", preset_of("llama.cpp"), served, settings, ready_within_s=120) as server:
        yield server


def separate(model: Tiny) -> Served:
    base = model.checkpoints.base()
    adapters = {a.name: gguf_adapter(model.checkpoints.adapter(a), base) for a in ADAPTERS}
    return Served(gguf_model(base, "float32"), "float32", adapters)


def tokens(server: RunningServer, adapter: str | None, prompt: tuple[int, ...]) -> list[int]:
    body = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0, "ignore_eos": False, "return_tokens": True}
    answer = post(server, "/completion", body | server.request_fields(adapter))
    return answer["tokens"]


def test_base_adapters_and_merged_give_the_tokens_that_transformers_gives(model: Tiny) -> None:
    names = [adapter.name for adapter in ADAPTERS]
    with clean_machine(), serving(separate(model)) as server:
        for _ in range(2):
            for name in (*names, None):
                assert [tokens(server, name, p) for p in model.prompts] == model.expected[name]
        assert 5e6 < server.process.memory().resident_bytes < 1e9
        with pytest.raises(urllib.error.HTTPError, match="401"):
            post(server, "/v1/completions", {"prompt": [5, 6], "max_tokens": 1}, key="another")
        assert server.key.encode() not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert versions_in(str(server.settings.python), PACKAGES).keys() == {"xllamacpp"}
    merged = gguf_model(model.checkpoints.merged(ADAPTERS[0]), "float32")
    with clean_machine(), serving(Served(merged, "float32")) as server:
        assert [tokens(server, None, p) for p in model.prompts] == model.expected[names[0]]


def test_killed_in_the_middle_it_is_dead_in_one_line_and_nothing_of_it_is_left(model: Tiny) -> None:
    with clean_machine():
        with serving(separate(model)) as server:
            os.kill(server.process.pid, signal.SIGKILL)
            with pytest.raises(ServerError) as caught:
                watch(server.process)
        assert caught.value.kind == "killed"
        assert str(caught.value).startswith("llama.cpp: died: signal SIGKILL; ")
        assert is_free(server.port)


def test_a_file_that_is_no_model_is_told_in_one_line(model: Tiny, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with clean_machine(), pytest.raises(ServerError, match="did not start"), serving(Served(broken, "float32")):
        pass


def test_a_model_in_bfloat16_and_float16_is_read_too(model: Tiny) -> None:
    for dtype in ("bfloat16", "float16"):
        file = gguf_model(model.checkpoints.base(), dtype)
        with serving(Served(file, dtype)) as server:
            assert len(tokens(server, None, model.prompts[0])) == TOKENS
