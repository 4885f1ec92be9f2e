"""Runs that pages are made of: each once for all tests here, and only read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from decide.advising import LATENCIES_MS, make_run
from fake_device import make_known
from generated_runs import MS, Took, even_cost, generated, load_generated
from loaded_runs import ADAPTERS, FULL, GOODPUT, HEAD, at, beside, loaded
from raybench.deploy.strategies import all_traits
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import Configuration
from runs import measure
from small_plans import SMALL_PLAN, load_small


@pytest.fixture(scope="session")
def of_classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latencies of `LATENCIES_MS`, three rounds."""
    return make_run(tmp_path_factory.mktemp("page") / "classifiers", LATENCIES_MS, rounds=3)


@pytest.fixture(scope="session")
def of_which_one_failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "failed"
    return make_run(folder, LATENCIES_MS, failing="lora_merged_sst2_seed42", rounds=2)


@pytest.fixture(scope="session")
def of_a_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Times of `EVEN_MS`, four rounds."""
    folder = tmp_path_factory.mktemp("page")
    root: Path = generated(load_generated(folder, rounds=4), folder / "results", even_cost)
    return root


@pytest.fixture(scope="session")
def of_servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At two and four at once, 10 ms a request."""
    folder = tmp_path_factory.mktemp("page")
    text = HEAD + GOODPUT + ADAPTERS + at(FULL, 2, 4) + at(beside("merged", "lora_merged"), 2, 4)
    return loaded(load_generated(folder, text, rounds=3, requests=8), folder / "results")


@pytest.fixture(scope="session")
def without_rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "small.toml").write_text(SMALL_PLAN)
    plan, _ = plan_file.load_plan(str(folder / "small.toml"), all_traits(), glue_tasks(), Overrides())
    root: Path = measure(plan, folder / "results", visits=0)
    return root


@pytest.fixture(scope="session")
def of_lengths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model whose request n took 10 ms and n for its first token, and 2 for each of the three after it."""
    folder = tmp_path_factory.mktemp("page")

    def cost(c: object, task: str, request: int, round_index: int) -> Took:
        return Took((10 + request) * MS, [2 * MS] * 3)

    root: Path = generated(load_generated(folder, rounds=2), folder / "results", cost)
    return root


@pytest.fixture(scope="session")
def of_noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classifiers whose requests take very different times, so that intervals are wide."""
    return _noisy(tmp_path_factory.mktemp("page"), 1)


@pytest.fixture(scope="session")
def of_two_noisy(of_noise: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return of_noise, _noisy(tmp_path_factory.mktemp("page"), 2)


def _noisy(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)

    def cost(tokens: int, calls: int) -> tuple[int, int, None]:
        ns = int(MS * rng.lognormal(1.0, 0.25))
        return ns, ns, None

    with pytest.MonkeyPatch.context() as patch:
        make_known(patch, dict.fromkeys(LATENCIES_MS, cost))
        root: Path = measure(load_small(folder, rounds=3), folder / "results", f"noise{seed}")
    return root


@pytest.fixture(scope="session")
def of_two(of_a_language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The run of `of_a_language_model`, and one whose separate adapters decode 10 % slower, on another torch."""
    folder = tmp_path_factory.mktemp("page")

    def slower_steps(c: Configuration, task: str, request: int, round_index: int) -> Took:
        took = even_cost(c, task, request, round_index)
        prefill = took.prefill + round_index * len(c.strategy)  # visits of no two runs are equal
        more = 260_000 if c.strategy == "lora_separate" else 0
        return dataclasses.replace(took, prefill=prefill, steps=[step + more for step in took.steps])

    b: Path = generated(load_generated(folder, rounds=4), folder / "results", slower_steps, "slower")
    description = json.loads((b / "run.json").read_text())
    description["environment"]["driver"]["versions"]["torch"] = "99.1"
    (b / "run.json").chmod(0o644)
    (b / "run.json").write_text(json.dumps(description))
    return of_a_language_model, b
