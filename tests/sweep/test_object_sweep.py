"""Sweeps and their tables by URI, as a person runs them: real processes, real Ray, a real S3 server."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from invariants import committed_rows, timed_requests
from raybench import cli, sweep
from raybench.plan.plan import Plan
from raybench.store.location import ObjectUri
from raybench.store.store import RunStore
from runs import measure
from small_plans import small_plan
from store.object_server import ObjectServer
from store.stored_runs import Hands, copy_run
from sweep.drivers import Driver

SECRET = "tests-own-secret-5d1f"
ROUNDS, REQUESTS = 8, 20
VISITS = 3 * ROUNDS
"""More than are over while the test looks at the first."""


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_sweep_on_an_object_store_is_killed_and_resumed_to_its_tables(
    tmp_path: Path,
    bucket: ObjectUri,
    s3: ObjectServer,
    drivers: list[Driver],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    plan = tmp_path / "small.toml"
    plan.write_text(small_plan(ROUNDS, REQUESTS))
    options = ["--plan", str(plan), "--results", str(bucket), "--run-id", "one", "--resume"]

    drivers.append(Driver(plan, bucket, "--run-id", "one"))
    first, root = drivers[0], bucket / "one"
    first.wait_until_committed(1)
    assert sweep.main(options) == 2
    refused = capsys.readouterr().err
    assert refused.startswith(f"raybench: {root}: process {first.process.pid} on {os.uname().nodename} drives this run")
    assert refused.count("\n") == 1
    first.process.kill()
    first.process.wait()
    before = committed_rows(root)
    assert 0 < len(RunStore.open(root).committed()) < VISITS

    for part in ("/samples/", "/manifest/", "/live.json"):
        s3.inject(refuse="503 Slow Down:SlowDown", part=part, method="PUT", times=2)
        s3.inject(drop="after", part=part, method="PUT")
    drivers.append(Driver(plan, bucket, "--run-id", "one", "--resume"))
    assert drivers[1].wait() == 0, drivers[1].output()
    said = drivers[1].output()
    assert f"{root}: process {first.process.pid} on {os.uname().nodename} is gone and did not release this run" in said
    assert f"Results: {root}" in said.splitlines()
    assert "7 of 7 configurations complete." in said
    assert f"raybench tables {root}" in said
    assert all(fault.met for fault in s3.faults)
    assert before <= committed_rows(root)
    assert not any(name.startswith("manifest/") for name in Hands(root).names())  # all compacted

    keys = timed_requests(root)
    assert set(keys.values()) == {1}
    assert len(keys) == 8 * ROUNDS * REQUESTS
    assert cli.main(["sql", str(root), "SELECT count(*) AS n FROM timed", "--format", "csv"]) == 0
    assert capsys.readouterr().out == f"n\n{8 * ROUNDS * REQUESTS}\n"
    assert SECRET not in drivers[0].output() + said
    assert not any(SECRET.encode() in Hands(bucket).read(name) for name in Hands(bucket).names())


def test_every_command_says_the_same_of_a_run_and_its_copy_on_an_object_store(
    known_latencies: Callable[..., None],
    load_plan: Callable[..., Plan],
    tmp_path: Path,
    bucket: ObjectUri,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    costs = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4, "multi_lora": 6}
    known_latencies({name: lambda t, c, ms=ms: (ms * 10**6, ms * 10**6, None) for name, ms in costs.items()}, 10**6)
    folder = tmp_path / "results"
    for run_id in ("a", "b"):
        copy_run(measure(load_plan(rounds=3), folder, run_id), bucket / run_id)
    copies = tmp_path / "temporary"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    needs = ["--tasks", "4", "--gpu-memory", "24GB", "--slo-p95", "40ms", "--requests-per-second", "1"]
    for expected, command in (
        (0, ["tables", "{}/a"]),
        (0, ["sql", "{}/a", "FROM by_strategy", "--format", "csv"]),
        (0, ["compare", "{}/a", "{}/b"]),
        (1, ["decide", "{}/a", *needs]),  # the run is too short for advice, and says so
    ):
        said = []
        for results in (folder, bucket):
            code = cli.main([word.format(results) for word in command])
            captured = capsys.readouterr()
            said.append((code, captured.out.replace(str(results), "RESULTS").split(), captured.err))
        assert said[0] == said[1]
        assert (said[0][0], said[0][2]) == (expected, "")
        assert said[0][1]
    gc.collect()  # a connection is in a cycle with what asks it
    assert list(copies.iterdir()) == []


def test_what_is_wrong_with_a_uri_is_one_line_before_ray_is_started(
    bucket: ObjectUri, s3: ObjectServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> str:
        assert cli.main(list(arguments)) == 2
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        return captured.err

    absent = "there is no such bucket; create it, or name another\n"
    assert said("sweep", "--results", "s3://no-such-bucket/x") == (
        f"raybench: --results s3://no-such-bucket/x: cannot be written: {absent}"
    )
    assert said("tables", "s3://no-such-bucket/x") == f"raybench: s3://no-such-bucket/x: cannot be listed: {absent}"
    assert said("tables", str(bucket / "x")).startswith(f"raybench: {bucket}/x: no run here (no run.json); ")
    assert "no run of plan rq2 to resume" in said("sweep", "--results", str(bucket), "--resume")
    assert "--run-id '../x': use 1 to 100 letters" in said("sweep", "--results", str(bucket), "--run-id", "../x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for arguments in (["sweep", "--results", str(bucket)], ["tables", str(bucket / "x")]):
        assert "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (in ~/.aws: " in said(
            *arguments
        )
