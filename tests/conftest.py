"""What all tests share: prepared micro models in one folder, the small plan, strategies of known cost."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

os.environ.pop("COLUMNS", None)  # readline, which pytest imports, tells its workers a width that nobody asked for
os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported: before anything else is

from fake_device import make_known
from raybench.plan.plan import Plan
from small_plans import SMALL_PLAN, loaded_plan

# The same examples in every run, however long one takes: a machine that stalls fails nothing.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")

pytest_plugins = ["compare.compared_runs", "store.object_server", "store.stored_runs", "sweep.drivers"]


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

    return lambda **overrides: loaded_plan(small_plan_path, **overrides)


def pytest_configure() -> None:
    """Behind ``nohup ... &`` Ctrl-C is ignored, in processes that tests start and interrupt as well."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or extension modules take what was frozen for leaks


@pytest.fixture
def known_latencies(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Callable[..., tuple]]], None]:
    """Give the strategies known costs: ``{"full_ft": lambda tokens, calls: (host, wall, device)}``.

    ``calls`` counts that configuration's forwards in its visit, from 0.
    """

    return lambda costs, switch_ns=0: make_known(monkeypatch, costs, switch_ns)
