"""Presets: the exact words of an engine's command, what a request says, and what is refused."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from model.small_checkpoints import llama_config, save_adapter, save_model
from raybench.records import InputError
from raybench.serve import llama_server
from raybench.serve.command_preset import CommandPreset
from raybench.serve.engine_python import find_python, versions_in
from raybench.serve.presets import PRESETS, preset_of, running
from raybench.serve.served import EngineSettings, Served
from serve.servers import SCRIPT, get, nothing_left

MODEL = Path("/models/base")
PYTHON = sys.executable


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters, of rank 4 and of rank 12."""
    folder = tmp_path_factory.mktemp("adapters")
    base = save_model(AutoModelForCausalLM.from_config, llama_config(), folder / "base")
    return {
        name: Path(save_adapter(base, folder / name, AutoModelForCausalLM, r=rank))
        for name, rank in (("four", 4), ("twelve", 12))
    }


def served(adapters: dict[str, Path] | None = None, **changes: Any) -> Served:
    return Served(**{"model": MODEL, "dtype": "bfloat16", "adapters": adapters or {}} | changes)


def test_presets_are_known_by_name() -> None:
    assert list(PRESETS) == ["vllm", "llama.cpp"]
    with pytest.raises(InputError, match=r"'sglang' is none; there are vllm, llama\.cpp"):
        preset_of("sglang")


def test_vllm_without_adapters() -> None:
    launch = preset_of("vllm").launch(served(), EngineSettings(python=PYTHON), 8123, "thekey")
    assert launch.health == "/health"
    assert launch.command.words == (
        *(PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", "/models/base", "--served-model-name", "base"),
        *(
            "--host",
            "127.0.0.1",
            "--port",
            "8123",
            "--dtype",
            "bfloat16",
            "--no-enable-prefix-caching",
            "--enable-prompt-tokens-details",
        ),
    )
    assert launch.command.environment == {
        "VLLM_API_KEY": "thekey",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
    }
    assert launch.command.hidden == ("thekey",)


def test_the_key_of_a_visit_is_not_overwritten() -> None:
    settings = EngineSettings(python=PYTHON, environment={"VLLM_API_KEY": "mine"})
    with pytest.raises(InputError, match=r"servers\.environment\.VLLM_API_KEY: the key is drawn for each visit"):
        preset_of("vllm").check(settings, adapters=False)


def test_vllm_takes_its_share_of_a_gpu() -> None:
    settings = EngineSettings(python=PYTHON, device="cuda", memory_share=0.9 / 4)
    words = preset_of("vllm").launch(served(), settings, 8123, "thekey").command.words
    assert words[-2:] == ("--gpu-memory-utilization", "0.225")


def test_vllm_with_all_that_a_plan_may_say(adapters: dict[str, Path]) -> None:
    settings = EngineSettings(
        python=PYTHON,
        options=("--swap-space", "0"),
        environment={"VLLM_LOGGING_LEVEL": "DEBUG"},
        cores=(0, 1, 3),
        kv_cache_gib=2,
        prefix_caching=True,
        eager=True,
        max_loras=1,
        max_tokens=512,
        streams=8,
        runtime_adapters=True,
    )
    command = preset_of("vllm").launch(served(adapters), settings, 1, "thekey").command
    assert command.words[13:] == (
        *(
            "--enable-prefix-caching",
            "--enable-prompt-tokens-details",
            "--enforce-eager",
            "--max-model-len",
            "512",
            "--max-num-seqs",
            "8",
        ),
        *("--enable-lora", "--max-loras", "1", "--max-cpu-loras", "3", "--max-lora-rank", "16", "--lora-modules"),
        json.dumps({"name": "four", "path": str(adapters["four"])}),
        json.dumps({"name": "twelve", "path": str(adapters["twelve"])}),
        *("--swap-space", "0"),
    )
    assert command.environment["VLLM_CPU_OMP_THREADS_BIND"] == "0-1,3"
    assert command.environment["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert command.environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert command.environment["TORCH_COMPILE_DISABLE"] == "1"  # of torch and of vLLM itself
    assert command.environment["VLLM_LOGGING_LEVEL"] == "DEBUG"
    assert command.cores == (0, 1, 3)


def test_vllm_on_a_gpu_is_told_nothing_of_cores() -> None:
    settings = EngineSettings(python=PYTHON, device="cuda", cores=(1,), kv_cache_gib=1)
    assert not any("CPU" in name for name in preset_of("vllm").launch(served(), settings, 1, "k").command.environment)


@pytest.mark.parametrize(
    "option", ["--port", "--host=0.0.0.0", "--api_key", "--lora-modules", "--enable-pre", "--dtype"]
)
def test_vllm_is_not_told_otherwise_by_an_option(option: str) -> None:
    with pytest.raises(InputError, match=f"servers.options: '{option}' is what raybench says to the server"):
        preset_of("vllm").launch(served(), EngineSettings(python=PYTHON, options=(option,)), 1, "k")


def test_a_request_to_vllm_names_the_adapter_or_the_base(adapters: dict[str, Path]) -> None:
    preset, settings = preset_of("vllm"), EngineSettings()
    assert preset.request_fields(served(adapters), settings, "four") == {"model": "four", "return_token_ids": True}
    assert preset.request_fields(served(adapters), settings, None) == {"model": "base", "return_token_ids": True}
    with pytest.raises(InputError, match="no adapter 'five' is served; there are four, twelve"):
        preset.request_fields(served(adapters), settings, "five")


def test_llama_is_told_in_a_file() -> None:
    files = {"a": Path("/m/a.gguf"), "b": Path("/m/b.gguf")}
    one = served(files, model=Path("/m/base.gguf"), dtype="float32")
    settings = EngineSettings(python=PYTHON, cores=(1,), max_tokens=256, streams=2, options=("n_ubatch=64", "x.y=text"))
    command, health = preset_of("llama.cpp").launch(one, settings, 8123, "thekey")
    assert health == "/health"
    assert command.words == (PYTHON, "-I", str(llama_server.__file__), "settings.json")
    assert json.loads(command.files["settings.json"]) == {
        "model": "/m/base.gguf",
        "adapters": ["/m/a.gguf", "/m/b.gguf"],
        "alias": "base",
        "port": 8123,
        "key": "thekey",
        "cache_type": "F32",
        "parameters": {
            "cache_prompt": False,
            "cache_ram_mib": 0,
            "flash_attn_type": 0,
            "cpuparams.n_threads": 1,
            "cpuparams_batch.n_threads": 1,
            "n_parallel": 2,
            "n_ctx": 512,
            "n_gpu_layers": 0,
            "n_ubatch": 64,
            "x.y": "text",
        },
    }


def test_llama_leaves_a_core_to_the_client_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    one = served(model=Path("/m/base.gguf"), dtype="float32")

    def threads(**changes: Any) -> Any:
        command, _ = preset_of("llama.cpp").launch(one, EngineSettings(python=PYTHON, **changes), 8123, "thekey")
        told = json.loads(command.files["settings.json"])["parameters"]
        return told.get("cpuparams.n_threads"), told.get("cpuparams_batch.n_threads")

    assert threads() == (3, 3)
    assert threads(cores=(0, 1)) == (2, 2)
    assert threads(options=("cpuparams.n_threads=4",)) == (4, None)
    assert threads(device="cuda") == (None, None)


def test_a_request_to_llama_has_a_scale_for_every_adapter() -> None:
    """None, and it would apply all of them."""
    files = {"a": Path("/m/a.gguf"), "b": Path("/m/b.gguf")}
    preset, one = preset_of("llama.cpp"), served(files)
    off = EngineSettings()
    assert preset.request_fields(one, off, "b") == {
        "model": "base",
        "cache_prompt": False,
        "lora": [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}],
    }
    assert preset.request_fields(one, off, None)["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]
    assert preset.request_fields(served(), EngineSettings(prefix_caching=True), None) == {
        "model": "base",
        "cache_prompt": True,
    }


@pytest.mark.parametrize(
    "option", ["n_ctx", "__class__=1", "a b=1", "api_keys=[]", "model.path=x", "cache_prompt=true"]
)
def test_llama_takes_parameters_only_as_options(option: str) -> None:
    one = served(model=Path("/m/base.gguf"))
    with pytest.raises(InputError, match=r"^servers\.options: "):
        preset_of("llama.cpp").launch(one, EngineSettings(python=PYTHON, options=(option,)), 1, "k")


def test_llama_serves_gguf_files_and_loads_nothing_later() -> None:
    with pytest.raises(InputError, match="serves GGUF files"):
        preset_of("llama.cpp").launch(served(), EngineSettings(python=PYTHON), 1, "k")
    with pytest.raises(InputError, match="at its start only"):
        preset_of("llama.cpp").launch(served(), EngineSettings(python=PYTHON, runtime_adapters=True), 1, "k")


def test_a_command_is_filled_in() -> None:
    preset = CommandPreset(("serve", "{model}", "--port={port}", "{adapters}", "--key-file", "{key_file}", "{{x}}"))
    settings = EngineSettings(options=("--more", "{port}"), environment={"KEY": "{key}"}, cores=(0,))
    one = served({"a": Path("/m/a"), "b": Path("/m/b")})
    command = preset.launch(one, settings, 8123, "thekey").command
    assert command.words == (
        *("serve", "/models/base", "--port=8123", "a=/m/a", "b=/m/b", "--key-file", "key", "{x}"),
        *("--more", "{port}"),
    )
    assert command.environment == {"KEY": "thekey"}
    assert command.files == {"key": "thekey"}
    assert preset.request_fields(one, settings, "b") == {"model": "b"}
    assert preset.request_fields(one, settings, None) == {"model": "base"}


@pytest.mark.parametrize(
    "word", ["{modell}", "{}", "{0}", "{port!r}", "{port:5}", "{model.parent}", "x{adapters}", "{"]
)
def test_a_place_that_is_not_known_is_refused(word: str) -> None:
    with pytest.raises(InputError, match=r"^servers\.command: "):
        CommandPreset(("serve", word))
    if "adapters" not in word:
        with pytest.raises(InputError, match=r"^servers\.environment\.X: "):
            CommandPreset(("serve",)).launch(served(), EngineSettings(environment={"X": word}), 1, "k")


def test_adapters_need_a_place() -> None:
    with pytest.raises(InputError, match=r"no word \{adapters\}"):
        CommandPreset(("serve",)).launch(served({"a": Path("/m/a")}), EngineSettings(), 1, "k")


@pytest.mark.parametrize("health", ["health", "/a b", "/a\r\nX: y"])
def test_what_is_asked_whether_it_is_ready_is_a_path(health: str) -> None:
    with pytest.raises(InputError, match=r"servers\.ready"):
        CommandPreset(("serve",), health)


@pytest.mark.parametrize("name", ["", "base", "a\nb"])
def test_an_adapters_name_is_one_that_a_request_can_give(name: str) -> None:
    with pytest.raises(InputError, match="an adapter is named"):
        served({name: Path("/m/a")})


@pytest.mark.parametrize("option", [1, None, "a\0b"])
def test_options_are_words(option: Any) -> None:
    with pytest.raises(InputError, match="is not a string that can be a word"):
        EngineSettings(options=(option,))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with nothing_left(tmp_path):
        yield tmp_path


def test_a_real_server_by_a_command_of_the_plans_own(temporary: Path) -> None:
    """Its key is in a file, and nowhere that others see."""
    preset = CommandPreset((PYTHON, "-S", str(SCRIPT), "{port}", "--key-file", "{key_file}", "{adapters}"))
    with running("mine", preset, served(), EngineSettings(), ready_within_s=20) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert get(server.port, "/v1/models", server.key) == "hello"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(server.port, "/v1/models", "another")
        for pid in (server.process.pid, server.process._keeper.pid):
            assert server.key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert server.key not in repr(server)
        with running("other", preset, served(), EngineSettings(), ready_within_s=20) as other:
            assert other.key != server.key
            assert other.port != server.port


def test_the_python_of_an_engine_is_given_or_raybenchs_own(tmp_path: Path) -> None:
    assert find_python(None, "json", "JSON") == sys.executable
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert find_python(str(link), "vllm", "vLLM") == str(link)
    with pytest.raises(InputError, match="vLLM is not installed beside raybench"):
        find_python(None, "no_such_module", "vLLM")
    with pytest.raises(InputError, match="no such program; give the Python of an environment with vLLM"):
        find_python(str(tmp_path / "none"), "vllm", "vLLM")


def test_versions_are_those_of_the_engines_python(tmp_path: Path) -> None:
    found = versions_in(sys.executable, ["psutil", "no-such-package"])
    assert found.keys() == {"psutil"}
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(InputError, match="cannot be asked for its packages"):
        versions_in(str(broken), ["psutil"])
