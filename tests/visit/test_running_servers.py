"""Visits of a server that runs already, which raybench neither starts nor ends: a real one, asked by text and chat."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raybench.model.prepare import prepared
from raybench.plan.servers import Servers
from raybench.serve.checkpoints import Checkpoints
from raybench.serve.command_preset import CommandPreset
from raybench.serve.presets import RunningServer, running
from raybench.serve.served import EngineSettings, Served
from raybench.visit.spec import VisitSpec
from visit.test_served_visit import ENGINE, cache, of, spec_of, visited

__all__ = ["cache"]
BOTH = of("several", "multi_lora", "a{number}") + of("base", "base_beside_lora", "a{number}")


@pytest.fixture
def spec(tmp_path: Path) -> VisitSpec:
    return spec_of(tmp_path, BOTH)


@contextlib.contextmanager
def started(spec: VisitSpec, *options: str) -> Iterator[RunningServer]:
    files = Checkpoints(prepared(spec.model, spec.recipe), "float32")
    adapters = {adapter.name: files.adapter(adapter) for adapter in spec.configurations[0].adapters}
    preset = CommandPreset((sys.executable, str(ENGINE), "{model}", "{port}", "{key_file}", "{adapters}"))
    settings = EngineSettings(options=options)
    with running("its own", preset, Served(files.base(), "float32", adapters), settings) as server:
        yield server


@pytest.fixture
def server(spec: VisitSpec) -> Iterator[RunningServer]:
    with started(spec) as server:
        yield server


def at(spec: VisitSpec, server: RunningServer, **keys: object) -> VisitSpec:
    table = Servers(name="servers", url=server.url, api_key_variable="OWN_KEY", answer_within_s=20.0)
    return dataclasses.replace(spec, servers=(dataclasses.replace(table, **keys),))  # type: ignore[arg-type]


def test_it_is_asked_as_it_runs_and_left_running(
    spec: VisitSpec, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset = at(spec, server)
    _, samples, _, failed = visited(unset, server.process.pid)
    assert set(failed) == {"several", "base"}
    assert "the environment variable OWN_KEY is not set where the visit runs" in failed["base"]
    assert samples == []

    monkeypatch.setenv("OWN_KEY", server.key)
    messages, samples, loads, failed = visited(unset, server.process.pid)
    assert failed == {}
    assert loads["base"]["gate_error"] < loads["base"]["gate_tolerance"]  # the base's weights are known
    assert loads["several"]["gate_error"] is None  # what it loaded as adapters is not
    assert loads["several"]["load_ns"] == loads["several"]["weight_bytes"] == 0
    (told,) = json.loads(messages[-1].row["environment"])["servers"]  # type: ignore[union-attr]
    assert (told["url"], told["command"]) == (f"{server.url}/v1", None)
    assert told["metrics"]["asked_total"] > 8
    assert server.key not in json.dumps(told)

    for form in ("text", "chat"):
        _, samples, loads, failed = visited(at(spec, server, prompts_as=form), server.process.pid)
        assert failed == {}
        timed = [row for row in samples if row["phase"] == "timed"]
        assert len(timed) == 8
        assert all(row["prompt_tokens"] > 0 for row in timed)
        assert all(row["gate_error"] is None for row in loads.values())
    server.process.check_alive()


def test_a_model_that_it_does_not_know_is_told_with_those_it_does(
    spec: VisitSpec, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_KEY", server.key)
    _, _, loads, failed = visited(at(spec, server, model="another"), server.process.pid)
    assert loads == {}
    assert set(failed) == {"several", "base"}
    assert "server servers: it serves no model another; there are base, a1, a2" in failed["base"]

    monkeypatch.setenv("OWN_KEY", "wrong")
    _, _, _, failed = visited(at(spec, server), server.process.pid)
    assert "the server answered with an error: 401: " in failed["base"]

    server.process.end()
    _, _, _, failed = visited(at(spec, server))
    assert f"no connection to 127.0.0.1:{server.port}" in failed["base"]


def test_adapters_that_answer_each_prompt_as_the_base_does_are_not_used(
    spec: VisitSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(spec, "--fault=base-only") as server:
        monkeypatch.setenv("OWN_KEY", server.key)
        _, _, loads, failed = visited(at(spec, server), server.process.pid)
    assert set(loads) == {"base"}
    assert failed["several"] == (
        "gate: several: adapter a1 answers 4 prompts as the base does: the server does not use it, or it changes "
        "nothing"
    )
