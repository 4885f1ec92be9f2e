"""Workers on a real Ray cluster of two nodes on this machine, killed for real."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

import raybench
from raybench.cluster import cluster as cluster_module
from raybench.cluster.agenda import Agenda, Job
from raybench.cluster.cluster import Cluster
from raybench.cluster.connect import socket_path
from raybench.model.prepare import Recipe
from raybench.model.weights import resolve_model
from raybench.model.workload import GlueLengths
from raybench.plan.plan import Plan
from raybench.records import InputError, RaybenchError
from raybench.visit.messages import Died, Finished, Samples
from raybench.visit.spec import VisitSpec

LoadPlan = Callable[..., Plan]


def job(plan: Plan) -> Job:
    recipe = Recipe.of("micro", plan)
    return Job(plan, GlueLengths(0), resolve_model("micro"), recipe, "cpu")


def test_visits_go_to_every_worker_and_each_is_measured_once(address: str, load_plan: LoadPlan) -> None:
    work = job(load_plan(rounds=2))
    agenda = Agenda(work)
    ends, timed = [], Counter()
    with Cluster(address) as cluster:
        workers = cluster.start(work.model, work.recipe, wanted=len(agenda))
        assert len(workers) == 2
        assert {w["versions"]["peft"] for w in workers} == {workers[0]["versions"]["peft"]}
        for spec, message in cluster.run(agenda):
            if isinstance(message, Finished):
                ends.append(message.row)
                parent = psutil.Process().pid
                assert message.row["pid"] != parent
            if isinstance(message, Samples):
                for row in message.batch.to_pylist():
                    if row["phase"] == "timed":
                        timed[spec.block, row["configuration"], row["round"], row["task"], row["request"]] += 1
    assert Counter((e["block"], e["round"]) for e in ends) == Counter((v.block, v.round) for v in work.plan.visits())
    assert len({e["pid"] for e in ends}) == 6
    assert set(timed.values()) == {1}
    assert len(timed) == work.plan.expected_samples()


def test_a_worker_that_is_killed_is_replaced_and_its_visit_measured_again(address: str, load_plan: LoadPlan) -> None:
    work = job(load_plan(rounds=1, requests=100))
    agenda = Agenda(work)
    finished, died = [], []
    with Cluster(address) as cluster:
        cluster.start(work.model, work.recipe, wanted=len(agenda))
        for spec, message in cluster.run(agenda):
            if isinstance(message, Samples) and not died and spec.attempt == 0:
                victim = _actor_of(message)
                os.kill(victim, signal.SIGKILL)
                died.append(None)
            elif isinstance(message, Died):
                died.append(message)
                assert agenda.again(spec, lost=True)
            elif isinstance(message, Finished):
                finished.append((spec.block, spec.attempt))
    lost, *more = died[1:]
    assert more == []
    assert (lost.kind, lost.configuration) == ("worker_lost", None)
    assert sorted(block for block, _ in finished) == ["mrpc_seed42", "multi_lora_2_adapters", "sst2_seed42"]
    assert max(attempt for _, attempt in finished) == 1


def _actor_of(message: Samples) -> int:
    """The pid of a worker whose visit is under way: its fork server has a child."""
    for process in psutil.Process().children(recursive=True):
        below = process.children(recursive=True)
        if " ".join(process.cmdline()).startswith("ray::") and len(below) >= 3:
            return process.pid
    raise AssertionError(f"no worker is busy, and yet {message.batch.num_rows} samples came")


def _named_worker() -> Any:
    # A class of this function travels whole; workers do not find this module.
    class Named:
        """Stands for a worker: its visits say the name under which Ray knows them."""

        def __init__(self, device_kind: str) -> None:
            pass

        def start(self, model: object, recipe: object) -> dict[str, Any]:
            return {
                "machine": {"host": "here"},
                "versions": {"raybench": raybench.__version__},
                "device": f"GPU-{os.getpid()}",
                "device_name": "made up",
            }

        def visit(self, spec: VisitSpec) -> Iterator[list[Finished]]:
            yield [Finished({"visit": ray.get_runtime_context().get_task_name(), "block": spec.block})]

    return ray.remote(max_restarts=0, max_task_retries=0)(Named)


def test_ray_sees_no_more_names_than_there_are_blocks(
    address: str, load_plan: LoadPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name of a task is some series in Ray's metrics, and a driver grows with each of them."""
    monkeypatch.setattr(cluster_module, "_Worker", _named_worker())
    work = job(load_plan(rounds=5))
    with Cluster(address) as cluster:
        cluster.start(work.model, work.recipe, wanted=2)
        ends = [message.row for _, message in cluster.run(Agenda(work)) if isinstance(message, Finished)]
    assert len(ends) == 5 * len(work.plan.blocks)
    assert all(end["visit"] == end["block"] for end in ends)


def test_a_cluster_without_the_wanted_gpu_says_what_it_has_and_gives_up(address: str, load_plan: LoadPlan) -> None:
    work = job(load_plan())
    told: list[str] = []
    with Cluster(address, accelerator_type="L4", wait_s=3.0) as cluster:
        assert cluster.device_kind == "cuda"
        with pytest.raises(RaybenchError, match=r"no worker on a GPU of type L4 came up within 3 s: the cluster has"):
            cluster.start(work.model, work.recipe, wanted=2, note=told.append)
        assert cluster.state() == [{"state": "starting"}] * 2
    has = "the cluster has 2 nodes with 2 CPUs and 0 GPUs"
    assert told == [f"waiting for a GPU of type L4: {has}; giving up after 3 s (--wait)"]


def test_here_a_gpu_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a temporary folder that has just not too long a name for Ray's sockets."""
    room = 107 - len(socket_path(Path("/tmp/ray"), os.getpid())) - len("/")
    folder = Path("/tmp", f"{secrets.token_hex(4)}{'x' * room}"[:room])
    folder.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    assert len(socket_path(folder / "ray", os.getpid())) == 107
    try:
        with pytest.raises(InputError, match=r"no GPU of type 'L4': the cluster has 1 node with "):
            Cluster(None, accelerator_type="L4")
        node = ray._private.worker._global_node
        assert len(node.plasma_store_socket_name) == 107 > len(node.raylet_socket_name)
    finally:
        ray.shutdown()
        shutil.rmtree(folder)


def test_machines_that_are_lost_before_their_workers_start_do_not_end_the_asking(
    monkeypatch: pytest.MonkeyPatch, load_plan: LoadPlan
) -> None:
    """As when several spot machines go at once, and Ray has placed workers on them since."""
    from ray.core.generated.common_pb2 import ActorDiedErrorContext

    from raybench.cluster import cluster

    def lost(reference: object) -> None:
        raise ray.exceptions.ActorDiedError(
            ActorDiedErrorContext(error_message="The actor died because its node has died.", actor_id=b"0" * 16)
        )

    work = job(load_plan())
    held = Cluster.__new__(Cluster)
    held._workers = [cluster._Held(actor=None, node=None, waits_for=n) for n in range(5)]
    held._failed_starts, held._model = 0, (work.model, work.recipe)
    monkeypatch.setattr(cluster.ray, "get", lost)
    monkeypatch.setattr(cluster.ray, "kill", lambda actor: None)  # the real one would join any cluster it finds
    for worker in list(held._workers):
        assert held._settle(worker) is None
    assert held._workers == []
    assert held._failed_starts == 0
