"""What to know of a run of servers: cautions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loaded_runs import ADAPTERS, FULL, GOODPUT, HEAD, at, beside, even, load_loaded, loaded
from raybench.analysis.served import served_cautions
from raybench.analysis.server_versions import never_idle_cautions, version_cautions
from raybench.analysis.tables import Tables
from raybench.plan.plan import Configuration

PLAN = HEAD + GOODPUT + ADAPTERS + at(FULL, 1, 2) + at(beside("separate", "lora_separate"), 1, 2)
RUNS_ALREADY = HEAD.replace('command = ["serve", "{model}"]', 'url = "http://127.0.0.1:8000"')
cost = even


def visit(ttft: list[float], **values: Any) -> dict[str, Any]:
    row = {"configuration": "a", "deployment": "D", "load": "2 at once", "servers": "s", "ttft_ms": ttft}
    return (
        row
        | {"late_ms": None, "further": len(ttft), "at_once": 0, "steps": 0, "together": 0, "cache_untold": 0}
        | values
    )


@pytest.mark.parametrize(
    ("late_ms", "ttft_ms", "cautioned"), [(1.5, 100.0, True), (1.0, 1.0, False), (1.5, 150.0, False), (0.9, 1.0, False)]
)
def test_a_client_that_held_the_server_up_is_cautioned(late_ms: float, ttft_ms: float, cautioned: bool) -> None:
    visits = [visit([ttft_ms] * 4, late_ms=[late_ms] * 4)]
    found = served_cautions(visits, [], [])
    assert bool(found) == cautioned
    if cautioned:
        ((name, caution),) = found
        assert (name, caution.code) == ("a", "late_client")
        assert caution.message.startswith("D (2 at once): 1 % of requests were sent 1.5 ms late or later, 0.015 times")


def test_prompts_that_servers_count_differently_are_cautioned(tmp_path: Path) -> None:
    plan = load_loaded(tmp_path, PLAN)
    root = loaded(plan, tmp_path, cost, prompt_tokens=lambda c: 9 if c.strategy == "full_ft" else 5)
    (row,) = Tables(root).rows("FROM cautions WHERE code = 'other_prompts'")
    assert row["configuration"] is None
    assert row["message"] == (
        "8 requests have prompts of other lengths by server: request 0 of t "
        "has 5 tokens in separate_c1 and 9 in full_c1"
    )
    alike = Tables(loaded(plan, tmp_path, cost, "alike"))
    assert alike.rows("FROM cautions WHERE code IN ('other_prompts', 'late_client', 'running_server')") == []


def test_tokens_that_all_came_at_once_tell_no_step(tmp_path: Path) -> None:
    def at_once(configuration: Configuration, round_index: int, place: int) -> tuple[float, float]:
        steps = (10.0, 1e-6) if place == 1 else (4.0, 3.0)  # of the first timed one a nanosecond: they came together
        return steps if configuration.name == "full_c1" else even(configuration, round_index, place)

    tables = Tables(loaded(load_loaded(tmp_path, PLAN), tmp_path, at_once))
    of = "FROM measures WHERE configuration = 'full_c1' AND measure ="
    assert len(tables.rows(f"{of} 'ttft'")) == 8
    assert [row["wall_ns"] for row in tables.rows(f"{of} 'tpot'")] == [3e6] * 4
    ratios = tables.rows(
        "FROM visit_ratios WHERE configuration = 'separate_c1' AND reference_strategy = 'full_ft' AND measure = 'tpot'"
    )
    # Of the requests of which both are told.
    assert [(row["n"], row["compared_ms"], row["reference_ms"]) for row in ratios] == [(2, 3.0, 3.0)] * 2
    (row,) = tables.rows("FROM cautions WHERE code = 'at_once'")
    assert row["configuration"] == "full_c1"
    assert row["message"] == (
        "Full FT: of 4 of 8 requests all tokens came in one read, so that their TPOT is not told and their TTFT has "
        "all of it"
    )
    assert row["hint"].startswith("the client came to read too late, or the server does not stream each answer")


def test_where_all_requests_came_at_once_the_server_does_not_stream() -> None:
    # The fourth has one token, of which nothing can be told.
    visits = [visit([1.0] * 4, further=3, at_once=count) for count in (3, 3)]
    ((name, caution),) = served_cautions(visits, [], [])
    assert (name, caution.code) == ("a", "at_once")
    assert caution.message.startswith("D: of 6 of 8 requests all tokens came in one read")
    assert caution.hint.startswith("the server does not stream, or not token by token")
    ((_, caution),) = served_cautions([visits[0], visit([1.0] * 4, further=3, at_once=2)], [], [])
    assert caution.hint.startswith("the client came to read too late")


def test_a_server_that_ran_already_is_cautioned(tmp_path: Path) -> None:
    root = loaded(load_loaded(tmp_path, RUNS_ALREADY + at(FULL, 2)), tmp_path, cost)
    (row,) = Tables(root).rows("FROM cautions WHERE code = 'running_server'")
    assert (row["configuration"], row["message"]) == (
        None,
        "http://127.0.0.1:8000 ran already: no visit started it anew",
    )


def test_a_server_that_does_not_tell_its_cache_is_cautioned(tmp_path: Path) -> None:
    def messages(text: str, run_id: str, **values: Any) -> list[str]:
        root = loaded(load_loaded(tmp_path, text + at(FULL, 1, 2)), tmp_path, cost, run_id, **values)
        rows = Tables(root).rows("FROM cautions WHERE code = 'caching_unknown'")
        assert all(row["configuration"] is None and "--enable-prompt-tokens-details" in row["hint"] for row in rows)
        return [row["message"] for row in rows]

    (url,) = messages(RUNS_ALREADY, "url")
    assert url == (
        "http://127.0.0.1:8000 does not say which prompt tokens came out of a cache, of 16 requests: where it keeps "
        "prompts that begin alike, or were asked before, a TTFT may be that of a cached one"
    )
    (command,) = messages(HEAD, "command")
    assert command.startswith("serve does not say which prompt tokens came out of a cache, of 16 requests")
    assert messages(HEAD, "told", cached_tokens=0) == []
    assert messages(HEAD, "neither", prompt_tokens=lambda c: None) == []


def test_of_several_servers_the_one_that_does_not_tell_its_cache_is_named() -> None:
    visits = [visit([1.0], servers=name, cache_untold=1) for name in ("one", "two")]
    servers = [{"name": "one", "preset": "vllm"}, {"name": "two", "url": "http://me:secret@host"}]
    servers.append({"name": 3, "command": 1})
    ((_, caution),) = [one for one in served_cautions(visits, [], servers) if one[1].code == "caching_unknown"]
    assert caution.message.startswith("http://...@host does not say which prompt tokens came out of a cache, of 1 req")


def kept(*servers: tuple[str, dict[str, Any]]) -> str:
    return json.dumps({"machine": {}, "servers": [{"name": name, "versions": of} for name, of in servers]})


def test_servers_of_several_versions_are_cautioned_with_how_many_visits_each_had(tmp_path: Path) -> None:
    def environment(round_index: int) -> str:
        vllm = "0.11.0" if round_index < 2 else "0.12.0"
        return kept(("server of full_c1", {"vllm": vllm, "torch": "2"}), ("server of separate_c1", {"vllm": vllm}))

    text = HEAD.replace("rounds = 2", "rounds = 3") + at(FULL, 1)
    root = loaded(load_loaded(tmp_path, text), tmp_path, cost, environment=environment)
    (row,) = Tables(root).rows("FROM cautions WHERE code = 'other_versions'")
    assert (row["configuration"], row["message"]) == (
        None,
        "server of full_c1 and of 1 more had several versions of vllm: 0.11.0 in 2 visits and 0.12.0 in 1 visit",
    )


def test_servers_that_never_rested_are_cautioned_with_how_many_visits() -> None:
    def environment(**never: object) -> str:
        return json.dumps({"servers": [{"name": name, "never_idle": value} for name, value in never.items()]})

    visits = [environment(one=True, other=False), environment(one=True, other="yes"), environment(one=False)]
    ((configuration, caution),) = never_idle_cautions([*visits, "[", "{}", None, '{"servers": [1]}'])
    assert (configuration, caution.code) == (None, "never_idle")
    assert caution.message == "one computed without a pause in 2 visits, also while others beside it were asked"


def test_what_visits_kept_of_their_servers_may_be_anything() -> None:
    assert list(version_cautions([kept(("a", {"vllm": "1"})), kept(("b", {"vllm": "2"}))])) == []  # two servers
    nonsense: list[object] = ["", "[", "[]", "null", None, 3, "[" * 10**5, "1" * 5000]
    nonsense += ['{"servers": 3}', '{"servers": [3, null, {"name": 1}]}', '{"servers": [{"versions": ["a"]}]}']
    nonsense += ['{"servers": [{"name": "a", "versions": {"vllm": {"b": 1}}}]}']
    assert list(version_cautions(nonsense)) == []
    odd = '{"servers": [{"name": ["x"], "versions": {"\\ud800": "VERSION"}}]}'
    ((_, caution),) = version_cautions([odd.replace("VERSION", version) for version in ("1", "2" * 999)])
    assert caution.message == f"a server had several versions of ?: 1 in 1 visit and {'2' * 100} in 1 visit"


def test_what_was_held_to_no_weights_is_cautioned(tmp_path: Path) -> None:
    loads = {"full_ft": {"gate_error": 0.001, "gate_tolerance": 0.02}}
    tables = Tables(loaded(load_loaded(tmp_path, PLAN), tmp_path, cost, loads=loads))
    rows = tables.rows("FROM cautions WHERE code = 'not_held'")
    assert [row["configuration"] for row in rows] == ["separate_c1", "separate_c2"]
    assert {row["message"] for row in rows} == {
        f"LoRA Separate{load}: its answers were held to no weights, and those of another model would pass as its own"
        for load in ("", " (2 at once)")
    }


def test_a_weak_adapter_of_a_server_is_told_in_nats(tmp_path: Path) -> None:
    loads = {"lora_separate": {"gate_error": 0.001, "gate_tolerance": 0.3, "adapter_effect": 0.0123}}
    tables = Tables(loaded(load_loaded(tmp_path, PLAN), tmp_path, cost, loads=loads))
    rows = tables.rows("FROM cautions WHERE code = 'weak_adapter'")
    assert [row["configuration"] for row in rows] == ["separate_c1", "separate_c2"]
    assert {row["message"] for row in rows} == {
        "an adapter changes log probabilities by 0.012 nats at most, the gate's tolerance is 0.3"
    }
