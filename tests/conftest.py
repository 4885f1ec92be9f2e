"""What tests share: prepared micro models in one folder, small plans, and a device whose time is known."""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported: before anything else is

from raybench import plan_file, strategies
from raybench.device import Times
from raybench.plan import Plan
from raybench.plan_builder import Overrides
from raybench.tables import Tables
from raybench.workload import glue_tasks

# The same examples in every run, however long one takes: a machine that stalls fails nothing.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")

pytest_plugins = ["compared_runs", "drivers", "object_server", "stored_runs"]

SMALL_PLAN = """
name = "small"
rounds = 2
requests = 4
warmups = 1

[[adapters]]
name = "{task}_seed{seed}"
tasks = ["mrpc", "sst2"]
seeds = [42]
alpha = 8

[[matrix]]
name = "fullft_{task}_seed{seed}"
strategy = "full_ft"
tasks = ["mrpc", "sst2"]
seeds = [42]

[[matrix]]
name = "lora_{task}_seed{seed}"
strategy = "lora_separate"
tasks = ["mrpc", "sst2"]
seeds = [42]
adapters = ["{task}_seed{seed}"]

[[matrix]]
name = "lora_merged_{task}_seed{seed}"
strategy = "lora_merged"
tasks = ["mrpc", "sst2"]
seeds = [42]
adapters = ["{task}_seed{seed}"]

[[configurations]]
name = "multi_lora_2_adapters"
strategy = "multi_lora"
seed = 42
adapters = ["mrpc_seed42", "sst2_seed42"]
"""


def small_plan(rounds: int = 2, requests: int = 4) -> str:
    """`SMALL_PLAN` of another length: three blocks, so three visits a round."""
    return SMALL_PLAN.replace("rounds = 2", f"rounds = {rounds}").replace("requests = 4", f"requests = {requests}")


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared models go to one folder of the test run; nothing is fetched from a hub."""
    os.environ["RAYBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    torch.set_num_threads(1)
    import transformers.models.auto  # noqa: F401

    gc.collect()
    gc.freeze()  # as the fork server does: visits in this process look for garbage too


@pytest.fixture
def small_plan_path(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL_PLAN)
    return path


@pytest.fixture
def load_plan(small_plan_path: Path) -> Callable[..., Plan]:
    """Load the small plan, with overrides."""

    def load(**overrides: Any) -> Plan:
        plan, _ = plan_file.load(str(small_plan_path), strategies.all_traits(), glue_tasks(), Overrides(**overrides))
        return plan

    return load


@pytest.fixture(scope="session")
def known_tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A run of known latencies and memory, long enough for advice."""
    from advising import LATENCIES_MS, make_run, with_memory

    return with_memory(make_run(tmp_path_factory.mktemp("known"), LATENCIES_MS, rounds=3, requests=44))


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same latencies, too short for a p95, its memory not known."""
    from advising import LATENCIES_MS, make_run

    return make_run(tmp_path_factory.mktemp("short"), LATENCIES_MS, rounds=1)


@dataclasses.dataclass(frozen=True)
class Output:
    """What a forward of known cost returns: (host, wall, device) nanoseconds, and logits for the gate."""

    cost: tuple[int, int, int | None]
    logits: Any = None


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or extension modules take what was frozen for leaks


class FakeDevice:
    """A device whose clock moves only when something that costs time is called: by the ``cost`` of its `Output`."""

    kind = "cpu"
    identity = "fake-0"
    name = "fake device"

    def __init__(self) -> None:
        self.now_ns = 1_000
        self.used_bytes = 100

    def clock(self) -> int:
        return self.now_ns

    def time(self, call: Callable[..., object], inputs: Mapping[str, Any]) -> Times:
        started = self.now_ns
        host_ns, wall_ns, device_ns = call(**inputs).cost  # type: ignore[attr-defined]
        self.now_ns += wall_ns
        return Times(started, host_ns, wall_ns, device_ns)

    def synchronize(self) -> None:
        pass

    def memory_bytes(self) -> int:
        return self.used_bytes

    def reset_peak(self) -> None:
        pass

    def peak_bytes(self) -> int:
        return self.used_bytes + 7

    def process_peak_bytes(self) -> int:
        return 4096


@pytest.fixture
def fake_device() -> FakeDevice:
    return FakeDevice()


class KnownWeights:
    """Stands where a model would: its vocabulary is all that a visit asks of it."""

    class config:  # noqa: N801
        vocab_size = 50

    @staticmethod
    def named_parameters() -> list[tuple[str, Any]]:
        return []


@pytest.fixture
def known_latencies(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Callable[..., tuple]]], None]:
    """Give the strategies known costs: ``{"full_ft": lambda tokens, calls: (host, wall, device)}``.

    ``calls`` counts that configuration's forwards in its visit, from 0.
    """

    def give(costs: dict[str, Callable[..., tuple[int, int, int | None]]], switch_ns: int = 0) -> None:
        for name, cost in costs.items():
            monkeypatch.setitem(
                strategies.STRATEGIES, name, known_strategy(strategies.STRATEGIES[name].traits, cost, switch_ns)
            )

    return give


def known_strategy(
    traits: Any, cost: Callable[..., tuple[int, int, int | None]], switch_ns: int
) -> type[strategies.Strategy]:
    """A strategy whose forwards take what ``cost`` says, and its switches ``switch_ns``."""
    import torch

    class Known(strategies.Strategy):
        def load(self, configuration: Any, weights: Any, costs: Any) -> strategies.Deployment:
            calls = iter(range(10**9))

            def forward(input_ids: Any, attention_mask: Any) -> Output:
                return Output(cost(input_ids.shape[1], next(calls)), torch.ones(1, 2))

            def switch(adapter: str) -> None:
                weights.device.now_ns += switch_ns

            with costs.time("load"):
                weights.device.now_ns += 500
            multi = len(configuration.adapters) > 1
            return strategies.Deployment(forward, KnownWeights(), switch if multi else None)

    Known.traits = traits
    return Known
