"""Where visits run, as logical GPU nodes of one real Ray cluster come, go and come again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster as RayNodes

from raybench import sweep
from raybench.cluster.agenda import Agenda, Job
from raybench.cluster.cluster import Cluster
from raybench.model.prepare import Recipe
from raybench.model.weights import resolve_model
from raybench.model.workload import GlueLengths
from raybench.plan.plan import Plan
from raybench.visit.messages import Died, Finished, Message, Samples
from raybench.visit.spec import VisitSpec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
LoadPlan = Callable[..., Plan]
HERE = Path(__file__).parent


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayNodes]:
    """A head that has no GPU, of a cluster whose GPUs are this machine's cores under other names."""
    monkeypatch.setenv("PYTHONPATH", f"{HERE / 'logical_gpus'}:{HERE.parents[1] / 'src'}")
    found = RayNodes(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
    yield found
    found.shutdown()


def add(nodes: RayNodes, kind: str = "L4") -> Any:
    return nodes.add_node(num_cpus=1, num_gpus=1, resources={f"accelerator_type:{kind}": 1})


def device_of(node: Any) -> str:
    """How the logical GPU of a node is named: its raylet is the parent of its workers."""
    (raylet,) = node.all_processes["raylet"]
    return f"-{raylet.process.pid}-"


@dataclasses.dataclass
class Seen:
    """What a run's messages were: timed requests by key, devices of finished visits, attempts that died."""

    timed: Counter[tuple[Any, ...]] = dataclasses.field(default_factory=Counter)
    finished: list[tuple[str, int, str]] = dataclasses.field(default_factory=list)
    died: list[Died] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    open: dict[str, Counter[tuple[Any, ...]]] = dataclasses.field(default_factory=dict)

    def add(self, spec: VisitSpec, message: Message, agenda: Agenda) -> None:
        match message:
            case Samples(batch):
                of_visit = self.open.setdefault(spec.visit, Counter())
                for row in batch.to_pylist():
                    if row["phase"] == "timed":
                        of_visit[spec.block, row["configuration"], spec.round, row["task"], row["request"]] += 1
            case Finished(row):
                self.timed += self.open.pop(spec.visit)
                self.finished.append((spec.block, spec.round, row["device"]))
            case Died():
                self.open.pop(spec.visit, None)
                self.died.append(message)
                assert agenda.again(spec, lost=True)


def run(nodes: RayNodes, plan: Plan, at: Callable[[VisitSpec, Message, Seen], None] = lambda *_: None) -> Seen:
    """Every visit of ``plan`` on L4s; ``at`` sees each message after it was counted."""
    job = Job(plan, GlueLengths(0), resolve_model("micro"), Recipe.of("micro", plan), "cuda")
    agenda, seen = Agenda(job), Seen()
    with Cluster(nodes.address, "L4", wait_s=300.0) as cluster:
        cluster.start(job.model, job.recipe, wanted=len(agenda), note=seen.notes.append)
        for spec, message in cluster.run(agenda, note=seen.notes.append):
            seen.add(spec, message, agenda)
            at(spec, message, seen)
    assert set(seen.timed.values()) == {1}
    assert len(seen.timed) == plan.expected_samples()
    return seen


def test_gpus_of_another_type_are_never_used_and_a_new_one_of_the_right_type_at_once(
    nodes: RayNodes, load_plan: LoadPlan
) -> None:
    other, first = add(nodes, "T4"), add(nodes)
    later: list[Any] = []

    def at(spec: VisitSpec, message: Message, seen: Seen) -> None:
        if len(seen.finished) == 1 and not later:
            later.append(add(nodes))

    seen = run(nodes, load_plan(rounds=12), at)
    used = Counter(device for _, _, device in seen.finished)
    names = {
        key: sum(n for device, n in used.items() if device_of(node) in device)
        for key, node in {"other": other, "first": first, "later": later[0]}.items()
    }
    assert names["other"] == 0
    assert names["first"] + names["later"] == len(seen.finished) == 36
    assert names["later"] > 0
    assert seen.died == []


def test_a_node_that_goes_costs_the_visit_that_it_held_and_no_other(nodes: RayNodes, load_plan: LoadPlan) -> None:
    kept, lost = add(nodes), add(nodes)
    gone: list[str] = []

    def at(spec: VisitSpec, message: Message, seen: Seen) -> None:
        # In a visit of its: some of its samples have come, so more are under way.
        begun = isinstance(message, Samples) and not gone
        if begun and {d for *_, d in seen.finished if device_of(lost) in d} and spec.visit in seen.open:
            nodes.remove_node(lost, allow_graceful=False)
            gone.append(spec.visit)

    seen = run(nodes, load_plan(rounds=6, requests=20), at)
    assert gone
    assert len(seen.died) <= 1
    assert all((died.kind, died.configuration) == ("worker_lost", None) for died in seen.died)
    assert len(seen.finished) == 18
    assert device_of(kept) in seen.finished[-1][2]


def test_when_all_are_gone_the_run_waits_for_one_to_return(nodes: RayNodes, load_plan: LoadPlan) -> None:
    there = [add(nodes), add(nodes)]
    returned: list[Any] = []

    def at(spec: VisitSpec, message: Message, seen: Seen) -> None:
        if len(seen.finished) == 2 and not returned:
            for node in there:
                nodes.remove_node(node, allow_graceful=False)
            returned.append(add(nodes))

    seen = run(nodes, load_plan(rounds=3), at)
    assert len(seen.finished) == 9
    assert {died.kind for died in seen.died} <= {"worker_lost"}
    assert device_of(returned[0]) in seen.finished[-1][2]


def test_a_plan_that_no_node_can_satisfy_says_what_the_cluster_has(
    nodes: RayNodes, small_plan_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(nodes, "T4")
    command = ["--plan", str(small_plan_path), "--results", str(tmp_path / "results"), "--address", nodes.address]
    assert sweep.main([*command, "--accelerator-type", "L4", "--wait", "2"]) == 1
    said = capsys.readouterr().err
    assert "no worker on a GPU of type L4 came up within 2 s: the cluster has 2 nodes" in said
    assert "1 GPU of type T4" in said
    assert len(said.splitlines()) == 1
