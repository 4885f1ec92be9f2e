"""Plans of servers, held against what they name before anything is started: traces, engines, URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.plan.builder import Overrides
from raybench.plan.load import Load
from raybench.records import Problems
from raybench.sweep.checked_plan import CheckedPlan, check_plan

HEAD = """
name = "mine"
task_type = "CAUSAL_LM"
requests = 3
[workload]
prompt_tokens = 8
output_tokens = 4
"""
VLLM = '[[servers]]\npreset = "vllm"\n'
FULL = '[[matrix]]\nname = "full_{load}"\nstrategy = "full_ft"\ntasks = ["t"]\nseeds = [1]\n'


def checked(folder: Path, text: str, model: str | None = None) -> tuple[CheckedPlan | None, list[str]]:
    path, problems = folder / "plan.toml", Problems()
    path.write_text(text)
    found = check_plan(str(path), Overrides(), model, problems)
    return found, [line.removeprefix(f"{path}: ") for line in problems.found]


def test_a_trace_is_read_as_far_as_a_round_needs_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("seconds,who\n0.5,a\n0.5,b\n2,c\n9,d\n")
    found, problems = checked(tmp_path, HEAD + VLLM + FULL + 'trace = "t.csv"\n')
    assert problems == []
    assert found is not None
    traced = Load(trace=str(tmp_path / "t.csv"), offsets_ns=(500_000_000, 500_000_000, 2_000_000_000))
    assert [c.load for c in found.plan.configurations] == [traced]
    assert [c.load for block in found.plan.blocks for c in block.members] == [traced]


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


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ('preset = "vlm"', "servers.preset: 'vlm' is none; there are vllm, llama.cpp, or give a command of your own"),
        (
            'preset = "llama.cpp"\nload_adapters = true',
            "servers.load_adapters: llama.cpp loads none as it runs, vllm does; leave it out",
        ),
        ("command = []", "servers.command: it has no words"),
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
