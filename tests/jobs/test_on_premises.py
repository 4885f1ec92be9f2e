"""`ray up jobs/on_premises.yaml` for real: three machines, of namespaces, that are reached by ssh and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from docs.pages import as_typed
from jobs import machines
from jobs.cluster_user import DASHBOARD, LOGICAL_GPUS, ClusterUser, assert_complete
from jobs.machines import REPOSITORY, World
from sweep.own_plans import save_fine_tunes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

HEAD, WORKERS = "10.77.0.11", ["10.77.0.12", "10.77.0.13"]
ROUNDS, REQUESTS = 6, 4
SMALL = ("--model", "micro", "--rounds", str(ROUNDS), "--requests", str(REQUESTS))


@pytest.fixture(scope="module")
def user() -> Iterator[ClusterUser]:
    """Of a cluster that is up.

    Substituted in jobs/on_premises.yaml: the addresses, and the key's path, which ssh would look for in root's home.
    The machines have no network to install from: `pip` finds what it would fetch (see `machines.World`). What the
    workers have instead of a GPU is in their environment.
    """
    if reason := machines.why_not():
        pytest.skip(reason)
    l4 = {"RAY_OVERRIDE_RESOURCES": json.dumps({"GPU": 1, "accelerator_type:L4": 1})}
    with World("10.77.0.1/24", python=LOGICAL_GPUS) as world:
        world.machine("head", f"{HEAD}/24")
        for number, address in enumerate(WORKERS):
            world.machine(f"worker{number}", f"{address}/24", l4)
        config = yaml.safe_load((REPOSITORY / "jobs" / "on_premises.yaml").read_text())
        config["provider"] |= {"head_ip": HEAD, "worker_ips": WORKERS}
        config["auth"]["ssh_private_key"] = str(world.home / ".ssh" / "id_ed25519")
        user = ClusterUser(world, config, {"RAY_UP_enable_autoscaler_v2": "0"})
        user.up()
        with user.dashboard():
            yield user
        user.down()
        assert user.status(f"http://{HEAD}:6379", None) == 0


def test_who_has_no_token_is_refused(user: ClusterUser) -> None:
    for path in ("/api/version", "/api/jobs/", "/nodes?view=summary"):
        assert user.status(f"{DASHBOARD}{path}", None) == 401
        assert user.status(f"{DASHBOARD}{path}", "0" * 64) == 403
        assert user.status(f"{DASHBOARD}{path}", user.token()) == 200
    assert user.status(f"{DASHBOARD}/api/jobs/", None, "POST") == 401
    # From another machine the dashboard does not answer at all.
    assert user.status(f"http://{HEAD}:8265/api/version", user.token()) == 0
    submit = ["ray", "job", "submit", "--address", DASHBOARD, "--", "true"]
    refused = user.world.run("env", "RAY_AUTH_MODE=disabled", *submit, check=False)
    assert refused.returncode != 0
    assert "oken authentication is enabled" in refused.stderr
    join = f"import ray; ray.init('{HEAD}:6379')"
    refused = user.world.run("env", "RAY_AUTH_MODE=disabled", "python", "-c", join, check=False)
    assert "ConnectionError" in refused.stderr


def test_the_study_is_stopped_and_resumed_to_its_end_on_two_workers(user: ClusterUser) -> None:
    results = user.world.base / "results"
    run = results / "study"
    options = ("--run-id", "study", "--workers", "2", *SMALL)
    with user.submitted(as_typed("docs/cluster.md", "jobs/study.sh"), *options, RESULTS=str(results)) as job:
        job.wait_until_committed(run, 1)
        said = job.stop()
        assert "Go on: ray job submit --working-dir . -- python -m raybench.sweep --results" in said
        job.wait(60)
        assert "was stopped" in job.output()
    kept = {path: path.read_bytes() for path in run.glob("samples/*.parquet")}

    returncode, said = user.submit(as_typed("docs/cluster.md", "jobs/resume.sh"), *options, RESULTS=str(results))
    assert returncode == 0, said
    assert "29 of 29 configurations complete." in said
    assert {path: path.read_bytes() for path in kept} == kept
    tables = assert_complete(run, configurations=29, rounds=ROUNDS, requests=REQUESTS)
    visits = tables.rows("SELECT count(*) AS n, count(DISTINCT device) AS devices, max(attempt) AS attempt FROM visits")
    assert visits == [{"n": 11 * ROUNDS, "devices": 2, "attempt": 0}]
    hosts = tables.rows("SELECT DISTINCT host FROM visits ORDER BY host")
    assert hosts == [{"host": "worker0"}, {"host": "worker1"}]

    returncode, said = user.submit(as_typed("docs/cluster.md", "jobs/tables.sh"), RESULTS=str(results), RUN="study")
    assert returncode == 0, said
    assert "Significance" in said


@pytest.mark.parametrize(
    ("line", "job", "configurations"),
    [(as_typed("docs/cluster.md", "jobs/smoke.sh"), "smoke", 7), (as_typed("docs/cluster.md", "jobs/aa.sh"), "aa", 40)],
)
def test_the_other_jobs_run_to_their_end(line: str, job: str, configurations: int, user: ClusterUser) -> None:
    results = user.world.base / "results"
    options = ("--run-id", job, "--model", "micro", "--rounds", "1", "--requests", "2")
    returncode, said = user.submit(line, *options, RESULTS=str(results))
    assert returncode == 0, said
    assert_complete(Path(results, job), configurations, rounds=1, requests=2)


def test_adapters_of_ones_own_are_measured(user: ClusterUser) -> None:
    """From a folder that every machine sees, as they would from a hub that every machine reaches."""
    results, models = user.world.base / "results", user.world.base / "models"
    save_fine_tunes(models)
    own = {"BASE": str(models / "classifier"), "NAME=HUB-ID": f"support={models / 'support'}"}
    options = ("--run-id", "mine", "--rounds", "1", "--requests", "2")
    returncode, said = user.submit(as_typed("docs/cluster.md", "jobs/mine.sh"), *options, RESULTS=str(results), **own)
    assert returncode == 0, said
    assert_complete(results / "mine", 3, rounds=1, requests=2)


def test_a_job_is_submitted_at_length(user: ClusterUser) -> None:
    results = user.world.base / "results"
    options = ("--run-id", "long", "--plan", "smoke", "--model", "micro", "--rounds", "1", "--requests", "2")
    returncode, said = user.submit(
        as_typed("docs/cluster.md", "ray job submit --address"), *options, **{"s3://BUCKET/runs": str(results)}
    )
    assert returncode == 0, said
    assert_complete(results / "long", 7, rounds=1, requests=2)
