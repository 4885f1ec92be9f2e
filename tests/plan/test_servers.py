"""Plans whose deployments are served by an engine: what the table says, and what no server does."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from raybench.deploy.strategies import all_traits
from raybench.model.workload import glue_tasks
from raybench.plan.builder import Overrides
from raybench.plan.file import load_plan
from raybench.plan.plan import Adapter, Plan
from raybench.plan.servers import ServerKey, Servers, servers_needed
from raybench.records import InputError

HEAD = """
name = "mine"
task_type = "CAUSAL_LM"
references = ["full_ft"]
[workload]
prompt_tokens = 8
output_tokens = 4
[[adapters]]
name = "a{number}"
tasks = ["t"]
seeds = [1]
alpha = 8
count = 2
"""
SERVERS = '[[servers]]\npreset = "vllm"\ncores = [[0], [1, 2]]\noptions = ["--x"]\nenvironment = { TOKEN = "secret" }\n'
SEVERAL = """
[[configurations]]
name = "several"
strategy = "multi_lora"
seed = 1
adapters = ["a{number}"]
"""


def plan_of(tmp_path: Path, text: str, **overrides: str) -> Plan:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return load_plan(str(path), all_traits(), glue_tasks(), Overrides(**overrides))[0]  # type: ignore[arg-type]


def test_the_table_is_read_and_told_without_what_may_be_secret(tmp_path: Path) -> None:
    (servers,) = plan_of(tmp_path, HEAD + SERVERS + SEVERAL).servers
    assert servers == Servers(preset="vllm", cores=((0,), (1, 2)), options=("--x",), environment=(("TOKEN", "secret"),))
    assert servers.describe()["environment"] == ["TOKEN"]
    assert "secret" not in str(servers.describe())


def test_other_values_of_its_environment_are_other_servers() -> None:
    def digest(*environment: tuple[str, str]) -> object:
        return Servers(preset="vllm", environment=environment).describe()["environment_digest"]

    assert digest() is None
    assert digest(("B", "2"), ("A", "1")) == hashlib.sha256(b"A=1\nB=2").hexdigest()[:8]
    assert digest(("A", "1")) != digest(("A", "2"))


def test_its_python_is_beside_the_plan_or_named_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    text = HEAD + SERVERS + 'python = "python"\n' + SEVERAL
    assert plan_of(tmp_path, text).servers[0].python == str(tmp_path / "python")
    assert plan_of(tmp_path, text, engine_python="/x/python").servers[0].python == "/x/python"
    with pytest.raises(InputError, match=r"--engine-python goes with .* there are none; leave it out"):
        plan_of(tmp_path, HEAD + SEVERAL, engine_python="/x/python")


def test_those_that_load_the_same_share_a_server() -> None:
    plan, _ = load_plan("served", all_traits(), glue_tasks())
    (block,) = plan.blocks
    groups = servers_needed(block.configurations, plan.servers)
    assert {key: [c.name for c in members] for key, members in groups.items()} == {
        ServerKey("servers", "full_ft", ("", "service", "1"), "auto"): ["full"],
        ServerKey("servers", "lora_merged", ("adapter_1",), "auto"): ["merged"],
        ServerKey("servers", "base", ("adapter_1",), "auto"): ["separate"],
        ServerKey("servers", "base", ("adapter_1", "adapter_2"), "auto"): ["several", "base_beside"],
    }
    compared = {(c.configuration, c.reference_strategy) for c in plan.comparisons}
    assert {("several", "lora_separate"), ("base_beside", "full_ft"), ("separate", "lora_merged")} <= compared


RUNS = '[[servers]]\nurl = "http://host:8000"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[servers]]\n" + SEVERAL, "servers[0]: expected one of preset, command and url; it has none"),
        (
            SERVERS + 'url = "http://host"\ncommand = ["x"]\n' + SEVERAL,
            "servers[0]: expected one of preset, command and url; it has preset and command and url",
        ),
        (SERVERS + 'model = "x"\n' + SEVERAL, "servers[0].model: goes with one that runs already (url); leave it out"),
        (RUNS + "eager = true\n" + SEVERAL, "servers[0].eager: goes with servers that raybench starts; leave it out"),
        (RUNS + 'ready = "/x"\n' + SEVERAL, "servers[0].ready: goes with servers that raybench starts; leave it out"),
        (
            SERVERS + 'ready = "/x"\n' + SEVERAL,
            "servers[0].ready: goes with a command, a preset knows its own; leave it out",
        ),
        (
            RUNS + 'api_key_variable = "sk-1234"\n' + SEVERAL,
            "servers[0].api_key_variable: expected the name of an environment variable; the key itself has no place in "
            "a plan",
        ),
        (SERVERS + SERVERS + SEVERAL, "servers: 'servers' is the name of 2 of them; give each a name of its own"),
        (
            SERVERS + 'name = "a b"\n' + SEVERAL,
            "servers.name: 'a b' is not a name; use letters, digits, '.', '_' and '-', starting with one of the first "
            "two",
        ),
        (
            SERVERS + SEVERAL + 'servers = "server"\n',
            "configurations[0].servers: unknown servers 'server'; expected one of servers; did you mean 'servers'?",
        ),
        (
            SEVERAL + 'servers = "x"\n',
            "configurations[0].servers: unknown servers 'x'; expected none, since the plan has no [[servers]]",
        ),
        (
            SERVERS + SEVERAL + "batch = 2\n",
            "configurations: 'several': an engine has forms, batches, caches and data types of adapters of its own; "
            "leave out form, execution, batch, kv_cache, quantization, adapter_dtype and routing mixed",
        ),
        (
            SERVERS + SEVERAL + 'form = "stacked"\n',
            "configurations: 'several': an engine has forms, batches, caches and data types of adapters of its own; "
            "leave out form, execution, batch, kv_cache, quantization, adapter_dtype and routing mixed",
        ),
        (
            SERVERS + '[[configurations]]\nname = "d"\nstrategy = "delay"\ntask = "t"\nseed = 1\n',
            "configurations[0].strategy: delay is for classifiers: steps of a language model would follow waits",
        ),
        (
            SERVERS
            + '[[servers]]\nname = "b"\npreset = "vllm"\n'
            + SEVERAL
            + SEVERAL.replace('"several"', '"other"')
            + 'servers = "b"\n',
            "configurations: 'several' of servers 'servers' and 'other' of 'b' are both multi_lora; give one of them a "
            "role of its own",
        ),
        (
            RUNS + SEVERAL + '[[configurations]]\nname = "full"\nstrategy = "full_ft"\ntask = "t"\nseed = 1\n',
            "configurations: 'several' (multi_lora) and 'full' (full_ft) are of other models, and 'servers' is one "
            "server that runs already; give each [[servers]] of its own, or ask for the base as base_beside_lora",
        ),
        (
            SERVERS + "[goodput]\n" + SEVERAL,
            "goodput: expected ttft_ms, tpot_ms or both, and it has neither",
        ),
        (
            "[goodput]\nttft_ms = 1.0\n" + SEVERAL,
            "goodput: goes with servers, and there are none; add [[servers]], or leave it out",
        ),
    ],
)
def test_what_no_server_does_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, HEAD + text)
    assert f"{tmp_path}/plan.toml: {message}" in caught.value.lines


def test_a_misspelt_key_is_told_with_what_it_may_have_been(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, HEAD + SERVERS.replace("eager", "eagre").replace("cores", "core") + SEVERAL)
    (line,) = caught.value.lines
    assert line.startswith(f"{tmp_path}/plan.toml: servers[0].core: unknown key 'core'; expected one of ")
    assert line.endswith("did you mean 'cores'?")


def test_a_strategy_from_outside_is_of_no_server(tmp_path: Path) -> None:
    traits = {**all_traits(), "own": dataclasses.replace(all_traits()["lora_separate"], label="Own")}
    path = tmp_path / "plan.toml"
    one = SEVERAL.replace("multi_lora", "own").replace("a{number}", "a1").replace("several", "one")
    path.write_text(HEAD + SERVERS + one)
    with pytest.raises(InputError) as caught:
        load_plan(str(path), traits, glue_tasks())
    assert caught.value.lines == (
        f"{path}: configurations: 'one': own is of no server; expected one of base_beside_lora, full_ft, lora_merged, "
        "lora_separate, multi_lora",
    )


def test_engine_python_goes_with_servers_that_are_started(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, HEAD + RUNS + SEVERAL, engine_python="/x/python")
    assert caught.value.lines == (
        f"{tmp_path}/plan.toml: servers: --engine-python goes with servers that raybench starts, and these run "
        "already; leave it out",
    )


def test_engine_python_is_of_presets_and_no_command_takes_it(tmp_path: Path) -> None:
    command = '[[servers]]\nname = "own"\ncommand = ["x", "{adapters}"]\n'
    both = plan_of(tmp_path, HEAD + SERVERS + command + SEVERAL, engine_python="/x/python")
    assert [table.python for table in both.servers] == ["/x/python", None]
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, HEAD + command + SEVERAL, engine_python="/x/python")
    assert caught.value.lines == (
        f"{tmp_path}/plan.toml: servers: --engine-python goes with a preset, and none of the [[servers]] has one; "
        "leave it out",
    )


def test_one_that_runs_already_has_adapters_of_which_only_their_names_are_known(tmp_path: Path) -> None:
    text = HEAD.replace("alpha = 8\n", "") + RUNS + 'model = "base"\napi_key_variable = "KEY"\nprompts_as = "chat"\n'
    plan = plan_of(tmp_path, text + SEVERAL)
    assert plan.servers == (Servers(url="http://host:8000", model="base", api_key_variable="KEY", prompts_as="chat"),)
    adapters = (Adapter("a1", "t", 1, None, None, None), Adapter("a2", "t", 1, None, None, None))
    assert plan.adapters() == adapters
    assert [adapter.is_known for adapter in adapters] == [False, False]
    assert servers_needed(plan.configurations, plan.servers) == {ServerKey("servers", "url"): list(plan.configurations)}
    with pytest.raises(InputError, match=r"adapters\[0\].alpha: missing; without a path there is no adapter"):
        plan_of(tmp_path, text + SERVERS + 'name = "other"\n' + SEVERAL)


TASKS = """
name = "mine"
task_type = "CAUSAL_LM"
references = ["lora_separate", "lora_merged"]
[workload]
prompt_tokens = 8
output_tokens = 4
[[servers]]
preset = "vllm"
[[adapters]]
name = "{task}"
tasks = ["support", "sales"]
seeds = [0]
alpha = 8
[[matrix]]
name = "merged_{task}_{load}"
strategy = "lora_merged"
tasks = ["support", "sales"]
seeds = [0]
adapters = ["{task}"]
concurrency = [1, 4]
[[matrix]]
name = "separate_{task}_{load}"
strategy = "lora_separate"
tasks = ["support", "sales"]
seeds = [0]
adapters = ["{task}"]
concurrency = [1, 4]
[[configurations]]
name = "together_{load}"
strategy = "multi_lora"
seed = 0
adapters = ["support", "sales"]
concurrency = [1, 4]
"""


def test_adapters_of_several_tasks_are_served_together_beside_their_separate_counterparts(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, TASKS)
    assert {block.name: [c.name for c in block.configurations] for block in plan.blocks} == {
        "support_seed0": ["merged_support_c1", "merged_support_c4", "separate_support_c1", "separate_support_c4"],
        "sales_seed0": ["merged_sales_c1", "merged_sales_c4", "separate_sales_c1", "separate_sales_c4"],
        "together_c1": ["together_c1", "separate_support_c1", "separate_sales_c1"],
        "together_c4": ["together_c4", "separate_support_c4", "separate_sales_c4"],
    }
    together = {
        (c.configuration, c.reference_strategy, tuple(r.configuration for r in c.references), c.via)
        for c in plan.comparisons
        if c.configuration.startswith("together")
    }
    assert together == {
        (f"together_{load}", strategy, (f"separate_support_{load}", f"separate_sales_{load}"), via)
        for load in ("c1", "c4")
        for strategy, via in (("lora_separate", None), ("lora_merged", "lora_separate"))
    }
    block = plan.blocks[2]
    groups = servers_needed(block.configurations, plan.servers)
    assert {key.names: [c.name for c in members] for key, members in groups.items()} == {
        ("support", "sales"): ["together_c1"],
        ("support",): ["separate_support_c1"],
        ("sales",): ["separate_sales_c1"],
    }


def test_counterparts_are_those_of_the_same_servers(tmp_path: Path) -> None:
    b = '[[servers]]\nname = "b"\npreset = "vllm"\noptions = ["--x"]\n'
    text = TASKS.replace("concurrency = [1, 4]\n", "").replace("_{load}", "") + b
    text += """
[[matrix]]
name = "separate_{task}_b"
strategy = "lora_separate"
tasks = ["support", "sales"]
seeds = [0]
adapters = ["{task}"]
role = "separate_b"
servers = "b"
[[configurations]]
name = "together_b"
strategy = "multi_lora"
seed = 0
adapters = ["support", "sales"]
role = "together_b"
servers = "b"
"""
    guests = {block.name: [c.name for c in block.guests] for block in plan_of(tmp_path, text).blocks}
    assert guests == {
        "support_seed0": [],
        "sales_seed0": [],
        "together": ["separate_support", "separate_sales"],
        "together_b": ["separate_support_b", "separate_sales_b"],
    }


def test_servers_are_of_language_models(tmp_path: Path) -> None:
    text = (HEAD + SERVERS + SEVERAL).replace('task_type = "CAUSAL_LM"\n', "").replace("output_tokens = 4\n", "")
    with pytest.raises(InputError, match='servers are of language models; set task_type = "CAUSAL_LM"'):
        plan_of(tmp_path, text)
