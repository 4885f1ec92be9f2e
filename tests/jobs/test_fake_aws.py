"""`ray up cluster.yaml` for real, against an EC2 on loopback (moto) whose instances are machines of namespaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from docs.pages import as_typed, typed_words
from jobs import machines
from jobs.cluster_user import LOGICAL_GPUS, ClusterUser, assert_complete
from jobs.machines import REPOSITORY, World, within

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

EC2 = "tests/jobs/fakecloud/ec2.py"
ROUNDS, REQUESTS = 40, 4
"""Far more than one worker gets done before another machine is up: that took as long as 180 visits, of 440."""


@pytest.fixture(scope="module")
def user() -> Iterator[ClusterUser]:
    """Of a cluster that is up.

    Substituted in cluster.yaml: the two values that a person fills in, as jobs/aws_setup.py prints them; the time
    after which idle workers go, which nobody wants to wait for here. The machines have no network to install from and
    no GPU: see `machines.World` and `LOGICAL_GPUS`. That a worker has an L4 comes from cluster.yaml itself.
    """
    pytest.importorskip("moto.server")
    if reason := machines.why_not():
        pytest.skip(reason)
    with World("172.31.255.254/16", cloud=True, python=LOGICAL_GPUS) as world:
        setup = typed_words("docs/cluster.md", "python jobs/aws_setup.py")
        setup[setup.index("YOUR-ADDRESS")] = "172.31.255.254"
        image = world.run("python", EC2, "image").stdout.strip()
        printed = yaml.safe_load(world.run(*setup, "--image", image).stdout)
        config = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())
        for kind in config["available_node_types"].values():
            kind["node_config"] |= printed
        config["idle_timeout_minutes"] = 0.5
        user = ClusterUser(world, config)
        user.up()
        with user.dashboard():
            yield user


def instances(user: ClusterUser, kind: str, state: str = "running") -> list[dict[str, Any]]:
    found = json.loads(user.world.run("python", EC2, "list").stdout)
    return [i for i in found if (i["type"], i["state"]) == (kind, state)]


def test_the_head_alone_is_up_and_no_port_is_open_to_the_world(user: ClusterUser) -> None:
    (head,) = instances(user, "m7i.large")
    assert instances(user, "g6.xlarge") == []
    rules = [r for r in json.loads(user.world.run("python", EC2, "rules").stdout) if r["group"] in head["groups"]]
    sources = [source["CidrIp"] for rule in rules for source in rule["IpRanges"]]
    assert sources == ["172.31.255.254/32"]
    assert {rule["name"] for rule in rules} == {"raybench"}
    for path in ("/api/version", "/api/jobs/"):
        assert user.status(f"http://127.0.0.1:8265{path}", None) == 401
    assert user.status(f"http://{head['address']}:8265/api/version", user.token()) == 0


def test_the_study_survives_a_preemption_and_only_its_visits_are_repeated(user: ClusterUser) -> None:
    results = user.world.base / "results"
    run = results / "study"
    small = ("--model", "micro", "--rounds", str(ROUNDS), "--requests", str(REQUESTS))
    with user.submitted(
        as_typed("docs/cluster.md", "jobs/study.sh"),
        "--run-id",
        "study",
        "--workers",
        "2",
        *small,
        RESULTS=str(results),
    ) as job:
        with within(900, "two workers at work") as wait:
            while len(_hosts_at_work(run)) < 2:
                assert job.running(), job.output()
                wait()
        workers = instances(user, "g6.xlarge")
        assert len(workers) == 2
        assert {worker["market"] for worker in workers} == {"spot"}
        victim = workers[0]["id"]
        user.world.run("python", EC2, "terminate", victim)
        assert job.wait(900) == 0, job.output()
        assert "29 of 29 configurations complete." in job.output()
    tables = assert_complete(run, configurations=29, rounds=ROUNDS, requests=REQUESTS)

    attempts = tables.rows("SELECT block, round, attempt, kind, host FROM attempts")
    assert {(a["kind"], a["host"], a["attempt"]) for a in attempts} == {("worker_lost", victim, 0)}
    assert len(attempts) == 1, "a worker holds one visit"
    again = tables.rows("SELECT block, round FROM visits WHERE attempt > 0")
    assert again == [{key: attempt[key] for key in ("block", "round")} for attempt in attempts]
    hosts = {row["host"] for row in tables.rows("SELECT DISTINCT host FROM visits")}
    assert len(hosts - {victim}) == 2, f"{victim} was not replaced: {hosts}"
    assert hosts - {victim} >= {workers[1]["id"]}


def test_workers_go_when_idle_and_the_rest_by_ray_down(user: ClusterUser) -> None:
    with within(600, "no worker left") as wait:
        while instances(user, "g6.xlarge"):
            wait(2)
    assert len(instances(user, "m7i.large")) == 1
    user.down()
    assert instances(user, "m7i.large") == []


def _hosts_at_work(run: Any) -> set[str]:
    live = run / "live.json"
    workers = json.loads(live.read_text())["workers"] if live.is_file() else []
    return {worker["host"] for worker in workers if worker["state"] == "busy"}
