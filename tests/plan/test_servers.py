"""Plans whose deployments are served by an engine: what the table says, and what no server does."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.deploy.strategies import all_traits
from raybench.model.workload import glue_tasks
from raybench.plan.builder import Overrides
from raybench.plan.file import load_plan
from raybench.plan.plan import Plan
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[servers]]\n" + SEVERAL, "servers[0]: expected one of preset, command and url"),
        (SERVERS + SEVERAL + "batch = 2\n", "'several': an engine has forms, batches, caches and data types"),
        (SERVERS + SEVERAL + 'form = "stacked"\n', "'several': an engine has forms, batches, caches and data types"),
        (
            SERVERS + '[[configurations]]\nname = "d"\nstrategy = "delay"\ntask = "t"\nseed = 1\n',
            "delay is for classifiers",
        ),
        (SERVERS.replace("cores", "core") + SEVERAL, "servers[0].core: unknown key 'core'; expected"),
    ],
)
def test_what_no_server_does_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, HEAD + text)
    assert any(message in line for line in caught.value.lines)


def test_servers_are_of_language_models(tmp_path: Path) -> None:
    text = (HEAD + SERVERS + SEVERAL).replace('task_type = "CAUSAL_LM"\n', "").replace("output_tokens = 4\n", "")
    with pytest.raises(InputError, match='servers are of language models; set task_type = "CAUSAL_LM"'):
        plan_of(tmp_path, text)
